"""A user's own domain, an HDF5 file or a folder of PNG and TIFF, brought to uint8 in splits and blocks.

``spec`` is a plain dict from the config::

    {"path": ..., "split": {"train": 0.7, "test": 0.3}, "channels": 1, "window": [low, high]}

``path``: an HDF5 file with ``images`` uint8 or uint16 (n, H, W) or (n, H, W, 3) and, where labelled,
``masks`` (n, H, W); or a folder with ``images/`` and, where labelled, ``masks/``. There, PNG and TIFF of 8 or
16 bits, grey or RGB (alpha is dropped), are taken in the natural order of their names (img2 before img10),
every page of a TIFF as an image of its own. Images may differ in size; an image and its mask have the same
stem. Files of other kinds are passed over.

``split``: shares of the series, laid out as contiguous blocks in the order of :data:`SPLITS`, so that no
split lies among the neighbours of another; or [start, stop) image numbers from 0 for each. A split may be
left out.

``window`` (16 bits only): raw values shown as black and white. One window serves the whole domain, by default
the least and the greatest value of all its images (read once more for it): a window per image would undo the
very shift under study. 8-bit images pass unchanged.

``channels``: 1 turns RGB into luma (ITU-R BT.601-7, 2.5.1), rounded; 3 repeats grey. It acts on 8-bit values.

Masks: whatever is not zero is foreground; by its colour in PNG, where the order of a palette is the writer's
whim, by the stored value in TIFF and HDF5.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from shiftgain.domains import readers
from shiftgain.domains.readers import Series
from shiftgain.files.errors import StudyError

SPLITS = ("train", "validation", "adapt", "test")
BLOCK_BYTES = 2**24


def check(name: str, spec: dict) -> None:
    """Whether domain ``name`` can be read and split as ``spec`` asks; reads headers, not pixels.

    Errors: :class:`StudyError` naming the file or the config key.
    """
    _checked(name, spec)


def describe(spec: dict) -> dict:
    """``images`` (their number), ``sizes`` (distinct [rows, columns]), ``dtype`` as stored, ``has_masks``, and
    whether any is ``coloured`` (RGB).

    Errors: :class:`StudyError` naming the file.
    """
    series = readers.series(Path(spec["path"]))
    return {
        "images": len(series.shapes),
        "sizes": [list(size) for size in dict.fromkeys(shape[:2] for shape in series.shapes)],
        "dtype": series.dtype.name,
        "has_masks": series.masks is not None,
        "coloured": any(len(shape) == 3 for shape in series.shapes),
    }


def blocks(name: str, spec: dict, split: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """A split of domain ``name`` in series order, in blocks of one size and at most BLOCK_BYTES of pixels.

    Yields images uint8 (b, H, W), or (b, H, W, 3) where ``channels`` is 3, and masks uint8 0/1 (b, H, W) or
    None. An image above BLOCK_BYTES is a block by itself.

    Errors: :class:`StudyError` as :func:`check`, for a split that ``spec`` leaves out, and for damaged files.
    """
    series, ranges = _checked(name, spec)
    if split not in ranges:
        raise StudyError(f"config key domains.{name}.split: no '{split}'; add it, as a share or a range")
    channels = spec["channels"]
    table = None if series.dtype == np.uint8 else _table(*(spec.get("window") or _extremes(series)))
    for start, stop in _runs(series, *ranges[split], channels):
        images = series.images(start, stop)
        masks = None if series.masks is None else series.masks(start, stop)
        yield _with_channels(images if table is None else table[images], channels), masks


def _checked(name: str, spec: dict) -> tuple[Series, dict[str, tuple[int, int]]]:
    series = readers.series(Path(spec["path"]))
    where, window = f"config key domains.{name}.window", spec.get("window")
    if window and series.dtype == np.uint8:
        raise StudyError(f"{where}: {spec['path']} has 8-bit images, which pass unchanged; remove the window")
    if window and not window[0] < window[1]:
        raise StudyError(f"{where}: {window} is empty; give [low, high] with low below high")
    return series, _ranges(f"config key domains.{name}.split", spec["split"], len(series.shapes))


def _ranges(where: str, split: dict, count: int) -> dict[str, tuple[int, int]]:
    """[start, stop) of each split in a series of ``count`` images."""
    parts = {part: split[part] for part in SPLITS if part in split}
    shares = [value for value in parts.values() if isinstance(value, int | float)]
    if shares and len(shares) < len(parts):
        raise StudyError(f"{where}: shares and ranges are mixed; give all of one kind")
    if shares:
        if sum(shares) > 1 + 1e-9:
            raise StudyError(f"{where}: the shares sum to {sum(shares):g}; lower them to 1 together at most")
        edges = [round(sum(shares[:number]) * count) for number in range(len(shares) + 1)]
        ranges = dict(zip(parts, pairwise(edges), strict=True))
    else:
        ranges = {part: tuple(value) for part, value in parts.items()}
    for part, (start, stop) in ranges.items():
        if not 0 <= start < stop <= count:
            raise StudyError(
                f"{where}.{part}: {parts[part]} is empty or beyond the series of {count} images; "
                "change it, or leave the split out"
            )
    # Adaptation takes no labels, so its images may be those of another split.
    scored = sorted((span, part) for part, span in ranges.items() if part != "adapt")
    for ((_, stop), part), ((start, _), other) in pairwise(scored):
        if start < stop:
            raise StudyError(f"{where}: {part} and {other} overlap; take different images for each")
    return ranges


def _runs(series: Series, start: int, stop: int, channels: int) -> Iterator[tuple[int, int]]:
    """[start, stop) cut where the shape changes and where a block is full, before or after conversion."""
    while start < stop:
        shape = series.shapes[start]
        rows, columns, *samples = shape
        size = rows * columns * max(channels, series.dtype.itemsize * (samples or [1])[0])
        end, full = start + 1, min(stop, start + max(1, BLOCK_BYTES // size))
        while end < full and series.shapes[end] == shape:
            end += 1
        yield start, end
        start = end


def _extremes(series: Series) -> tuple[int, int]:
    """Least and greatest raw value of the whole domain, one apart at least."""
    low, high = 2**16, 0
    for start, stop in _runs(series, 0, len(series.shapes), 1):
        images = series.images(start, stop)
        low, high = min(low, int(images.min())), max(high, int(images.max()))
    return low, max(high, low + 1)


def _table(low: float, high: float) -> np.ndarray:
    """uint8 (65536): raw value -> grey level, ``low`` and below black, ``high`` and above white."""
    shares = (np.arange(2**16) - low) / (high - low)
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    if channels == 1 and images.ndim == 4:
        red, green, blue = (images[..., sample].astype(np.uint32) for sample in range(3))
        return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    if channels == 3 and images.ndim == 3:
        return np.repeat(images[..., np.newaxis], 3, axis=-1)
    return images
