"""Image transformations that make a shift, each with a level; level 0 is the identity bit for bit.

Grey levels have a full range of 1 (0 is black, 1 is white), whatever the bits they are stored in. Values are
computed in floating point, clipped, and rounded once, halves upwards: ties to even would map neighbouring
grey levels onto one when a brightness falls between two of them.

A new transform is one function and its line in :data:`TRANSFORMS`, one line in the config, and one test case.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from workflow.lib.errors import StudyError

Block = tuple[np.ndarray, np.ndarray | None]
GREY = np.arange(256, dtype=np.float32)


class Transform(NamedTuple):
    """``function(images, masks, level, rng)`` gives (images, masks); ``low`` and ``high`` bound its level.

    Images are uint8 (b, H, W) or (b, H, W, 3), masks uint8 0/1 (b, H, W) or None; none is written to, and
    what does not change may be handed back as it is. A function that moves pixels moves the masks along.
    ``unit`` is the text for axes and messages.
    """

    function: Callable[[np.ndarray, np.ndarray | None, float, np.random.Generator], Block]
    unit: str
    low: float
    high: float


def identity(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Images as they are; ``level`` is 0."""
    return images, masks


def brightness(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Add ``level`` (grey level)."""
    return _mapped(images, GREY + 255 * level), masks


def contrast(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Stretch about mid-grey (0.5) by the factor ``2**level``."""
    return _mapped(images, (GREY - 127.5) * 2**level + 127.5), masks


def gamma(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Raise grey levels to the power ``2**level``: above 0 darkens, below 0 brightens."""
    return _mapped(images, 255 * (GREY / 255) ** 2**level), masks


def noise(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Add white Gaussian noise of standard deviation ``level`` (grey level), per pixel and channel."""
    values = rng.standard_normal(images.shape, dtype=np.float32)
    values *= 255 * level
    values += images
    return _rounded(values), masks


# At 8 stops of contrast every 8-bit pixel is black or white, and at -8 all are mid-grey.
TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(identity, "none", 0, 0),
    "brightness": Transform(brightness, "grey level", -1, 1),
    "contrast": Transform(contrast, "stops (log2 of the factor)", -8, 8),
    "gamma": Transform(gamma, "stops (log2 of the exponent)", -8, 8),
    "noise": Transform(noise, "sd in grey level", 0, 1),
}


def check(name: str, level: float) -> None:
    """Whether ``name`` is a transform and ``level`` is one that it takes.

    Errors: :class:`StudyError` with the nearest name, or with the range.
    """
    if name not in TRANSFORMS:
        close = get_close_matches(name, TRANSFORMS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(TRANSFORMS)}"
        raise StudyError(f"transform '{name}' is not known; {hint}")
    transform = TRANSFORMS[name]
    if not transform.low <= level <= transform.high:
        raise StudyError(
            f"transform '{name}': level {level:g} is outside [{transform.low:g}, {transform.high:g}] "
            f"({transform.unit}); choose one inside"
        )


def apply(name: str, images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """(images, masks) under transform ``name`` at ``level``; at level 0 the very arrays, nothing drawn.

    Images are uint8 (b, H, W) or (b, H, W, 3), masks uint8 0/1 (b, H, W) or None. ``rng`` feeds the random
    transforms: a series cut into other blocks gets the same result from the same generator.

    Errors: :class:`StudyError` as :func:`check`.
    """
    check(name, level)
    if level == 0:
        return images, masks
    return TRANSFORMS[name].function(images, masks, level, rng)


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 on the scale of 0 to 255, which is overwritten, to uint8."""
    np.clip(values, 0, 255, out=values)
    values += 0.5
    return values.astype(np.uint8)


def _mapped(images: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each value replaced by its entry (float32, 256) of ``table``."""
    # bytes.translate is eight times as fast as indexing, which first widens every pixel to 8 bytes.
    pixels = bytearray(images).translate(_rounded(table).tobytes())
    return np.frombuffer(pixels, np.uint8).reshape(images.shape)
