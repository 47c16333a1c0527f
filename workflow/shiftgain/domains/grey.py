"""Grey levels keep their meaning: one window from stored values to 8 bits for all domains of a study.

``grey = rint(255 * clip((value - low) / (high - low), 0, 1))``. Images of 8 bits pass unchanged. For others the window
is, in this order, the config's ``window``; the bits that the file's metadata say are used (12 in 16); or the smallest
of 8, 10, 12, 14, 16 bits (and more for wider types) that holds the values of every domain of the study that has
neither. Hence half the exposure is half as bright, and the same values are the same grey level whatever type they are
stored in. A window is bounded by quantiles, not by the greatest value: a hot pixel does not move it.
"""

import math
from collections.abc import Iterable

import numpy as np

from shiftgain.files.errors import StudyError

BITS = (8, 10, 12, 14, 16, 20, 24, 32, 64)
# Share of the pixels that may lie beyond a window on either side: hot and dead ones.
TAIL_SHARE = 0.001
# A domain in fewer grey levels than this would be read as nearly blank.
FEWEST_LEVELS = 8
# Floats up to here are shares of white; a little above one is left by interpolation.
UNIT = 1.01
# Pixels of an image that are looked at: some sixty lie beyond each quantile of TAIL_SHARE.
SAMPLED_PIXELS = 2**16

# Rows of an image that are turned into grey levels at a time: their numbers take many bytes a pixel.
PART_ROWS = 256

Window = tuple[float, float]


def range_of(images: Iterable[np.ndarray]) -> Window:
    """The quantiles :data:`TAIL_SHARE` and 1 - :data:`TAIL_SHARE` of the pixels, from a grid of each image."""
    samples = []
    for image in images:
        step = max(1, math.isqrt(image.size // SAMPLED_PIXELS))
        pixels = image[::step, ::step].ravel()
        samples.append(pixels[np.isfinite(pixels)])
    pixels = np.concatenate(samples)
    if not len(pixels):
        return 0.0, 0.0
    low, high = np.quantile(pixels.astype(np.float64), [TAIL_SHARE, 1 - TAIL_SHARE])
    return float(low), float(high)


def windows(facts: dict[str, dict]) -> dict[str, tuple[Window | None, str]]:
    """(window, where it comes from) of every domain of a study; None where 8 bits pass unchanged.

    ``facts``: domain -> ``dtype``, ``low`` and ``high`` of :func:`range_of`, ``bits`` and ``window`` or None.
    Errors: :class:`StudyError` naming the config key, where a domain would keep fewer grey levels than
    :data:`FEWEST_LEVELS`.
    """
    window_of: dict[str, tuple[Window | None, str]] = {}
    shared: dict[str, list[str]] = {"i": [], "f": [], "unit": []}
    for name, fact in facts.items():
        if fact["dtype"] == "uint8":
            window_of[name] = None, "8 bits as stored"
        elif fact["window"]:
            low, high = fact["window"]
            window_of[name] = (low, high), "of the config"
        elif fact["bits"] and fact["high"] < 2 ** fact["bits"]:
            window_of[name] = (0, 2 ** fact["bits"] - 1), f"{fact['bits']} bits by the metadata"
        else:
            is_float = np.dtype(fact["dtype"]).kind == "f"
            in_unit = max(-fact["low"], fact["high"]) <= UNIT
            shared[("unit" if in_unit else "f") if is_float else "i"].append(name)
    if shared["i"] and shared["f"]:
        # The same values, and so the same exposure, whatever type they are stored in.
        shared["i"] += shared["f"]
        shared["f"] = []
    for group, names in shared.items():
        if not names:
            continue
        kind = "i" if group == "i" else "f"
        window = _window(kind, [facts[name] for name in names])
        for name in names:
            _check_levels(name, facts[name], window, _window(kind, [facts[name]]), kind, names)
            window_of[name] = window, f"the smallest that holds {', '.join(names)}"
    return {name: window_of[name] for name in facts}


def levels(images: np.ndarray, window: Window | None) -> np.ndarray:
    """Grey levels uint8 of stored values (n, H, W, ...) under ``window``; not-a-number is black."""
    if window is None:
        return images
    grey = np.empty(images.shape, np.uint8)
    for start in range(0, images.shape[1], PART_ROWS):
        rows = slice(start, start + PART_ROWS)
        grey[:, rows] = _levels(images[:, rows], window)
    return grey


def luma(images: np.ndarray) -> np.ndarray:
    """Luma uint8 (n, H, W) of RGB uint8 (n, H, W, 3), ITU-R BT.601-7, 2.5.1, rounded."""
    grey = np.empty(images.shape[:3], np.uint8)
    for start in range(0, images.shape[1], PART_ROWS):
        rows = slice(start, start + PART_ROWS)
        red, green, blue = (images[:, rows, :, sample].astype(np.uint32) for sample in range(3))
        grey[:, rows] = (299 * red + 587 * green + 114 * blue + 500) // 1000
    return grey


def _levels(images: np.ndarray, window: Window) -> np.ndarray:
    if images.dtype.kind in "ui" and images.dtype.itemsize <= 2:
        kind = np.iinfo(images.dtype)
        return _grey(np.arange(kind.min, kind.max + 1), *window)[images.astype(np.int32) - kind.min]
    return _grey(np.nan_to_num(images.astype(np.float64), nan=window[0]), *window)


def _grey(stored: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * np.clip((stored - low) / (high - low), 0, 1)).astype(np.uint8)


def _window(kind: str, facts: list[dict]) -> Window:
    low, high = min(fact["low"] for fact in facts), max(fact["high"] for fact in facts)
    # What interpolation leaves below zero, and above one, is no sign of another scale.
    if low < -0.01 * abs(high):
        size = max(-low, high)
        if kind == "f":
            side = 2.0 ** math.ceil(math.log2(size))
            return -side, side
        half = next(2 ** (bits - 1) for bits in BITS if size < 2 ** (bits - 1) or bits == BITS[-1])
        return -half, half - 1
    if kind == "f" and high <= UNIT:
        return 0.0, 1.0
    return 0, next(2**bits - 1 for bits in BITS if high < 2**bits or bits == BITS[-1])


def _check_levels(name: str, fact: dict, window: Window, window_alone: Window, kind: str, names: list[str]) -> None:
    used = 255 * (fact["high"] - fact["low"]) / (window[1] - window[0])
    far_from_black = fact["low"] > fact["high"] / 2
    if 0 < used < FEWEST_LEVELS and (kind == "f" or window_alone != window or far_from_black):
        low, high = (f"{fact[side]:.6g}" for side in ("low", "high"))
        others = f", as {', '.join(names)} need" if window_alone != window else ""
        raise StudyError(
            f"config key domains.{name}: its values, {low} to {high}, would be {math.ceil(used)} of 256 grey levels "
            f"under the window [{window[0]:g}, {window[1]:g}]{others}; give `window: [{low}, {high}]`, "
            "or what is meant by black and white"
        )
