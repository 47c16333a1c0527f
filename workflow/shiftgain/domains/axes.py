"""Which numbers of an array make an image: axes as the file names them, and a question where it does not.

Axes are letters: Y rows, X columns, S samples of a colour, C channels, anything else (Z, T, I, Q) counts images.
"""

from collections.abc import Sequence
from itertools import product

from shiftgain.domains.stack import Request
from shiftgain.files.errors import StudyError

Index = tuple[int | slice, ...]
# A last axis at most this long, and a quarter of the others, counts images that are stored as (H, W, n).
NARROWEST = 32
# A last axis at most this long is the samples of a pixel (grey, RGB, RGBA), where the other sides are four times it:
# no image is so narrow.
MOST_SAMPLES = 4


def images_of(where: str, axes: str, shape: Sequence[int], request: Request) -> tuple[str, list[Index]]:
    """(axes of an image, the index of each image) of an array with ``axes`` and ``shape``.

    Axes of an image are YX, or YX and S (or C, taken as colours) in the order of the array.
    Errors: :class:`StudyError`, starting with ``where``, for several channels of which the config takes none.
    """
    if "Y" not in axes or "X" not in axes or 0 in shape:
        raise StudyError(f"{where} is {axes} {tuple(shape)}; save rows and columns of one pixel at least")
    sizes = dict(zip(axes, shape, strict=True)) if len(set(axes)) == len(axes) else {}
    channels = sizes.get("C", 1)
    inner = "".join(axis for axis in axes if axis in "YXS")
    if sizes.get("S", 3) not in (3, 4):
        raise StudyError(f"{where} has {sizes['S']} samples a pixel; save grey or RGB")
    taken: Sequence[int] = range(channels)
    if channels > 1:
        if request.channel == "rgb" and channels in (3, 4):
            inner, taken = "".join(axis for axis in axes if axis in "YXC"), ()
        elif isinstance(request.channel, int):
            check_channel(channels, request)
            taken = [request.channel]
        elif request.channel != "all":
            raise StudyError(asked(where, channels, request))
    choices: list[list[int | slice]] = []
    for axis, size in zip(axes, shape, strict=True):
        if axis in inner:
            choices.append([slice(None)])
        else:
            choices.append(list(taken if axis == "C" else range(size)))
    return inner, list(product(*choices))


def is_one(request: Request) -> bool:
    """Whether the config takes one channel of the images, be they samples of a colour."""
    return isinstance(request.channel, int) and not request.masks


def check_channel(channels: int, request: Request) -> None:
    """Errors: :class:`StudyError` where the channel asked for is not one of ``channels``."""
    if isinstance(request.channel, int) and request.channel >= channels:
        raise StudyError(f"config key {request.key}.channel: {request.channel} of {channels}; count from 0")


def asked(where: str, channels: int, request: Request, in_pages: bool = False) -> str:
    """The question which of several channels is meant; ``in_pages``: each lies in a page of its own."""
    rgb = ", or save them as one RGB page for colours" if in_pages else ", or `channel: rgb` for colours"
    rgb = rgb if channels in (3, 4) else ""
    return (
        f"{where} has {channels} channels; give config key {request.key}.channel: one from 0 to {channels - 1}, "
        f"such as `channel: 0`, or `channel: all` if each is an image of its own{rgb}"
    )


def check_sides(where: str, count: int, rows: int, columns: int) -> None:
    """Errors: :class:`StudyError` where the last axis looks like samples: (64, 64, 3) is one image, not 64."""
    narrow = columns <= NARROWEST and 4 * columns <= min(count, rows)
    if (columns <= MOST_SAMPLES and min(count, rows) >= 4 * MOST_SAMPLES) or narrow:
        raise StudyError(
            f"{where} is ({count}, {rows}, {columns}), which would be {count} images of {rows} x {columns}; "
            f"store one colour image as (1, H, W, 3), and grey ones as (n, H, W)"
        )
