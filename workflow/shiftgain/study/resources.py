"""What a job asks of the machine."""

from collections.abc import Callable


def growing(amount: int) -> Callable[..., int]:
    """A resource (MB, minutes) for a rule: ``amount``, and as much again at every retry."""
    return lambda wildcards, attempt: amount * attempt
