"""What a job asks of the machine."""

from collections.abc import Callable


def growing(amount: int) -> Callable[..., int]:
    """A resource (MB, minutes) for a rule: ``amount``, and as much again at every retry.

    Memory needs no look at the images: stages hold one image of 8 bits and a tile of it
    (:mod:`shiftgain.network.tiles`). `make bench` measures that at 8192 x 8192, in rows ``section_*``.
    """
    return lambda wildcards, attempt: amount * attempt
