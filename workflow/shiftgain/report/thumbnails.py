"""Pictures and histograms small enough for a page that holds thousands of them.

A picture is a PNG of at most :data:`SIDE` pixels, as base64: of 16 grey levels, of 64 colours, or of black and white. A
histogram is a character for each bin.
"""

import base64
import io

import numpy as np
from PIL import Image

# Pixels of the longer side. A page shows a picture at about this size; synthetic images are smaller.
SIDE = 96
GREYS, COLOURS = 16, 64
BINS = 24
# Shares of the pixels of an image that are shown black and white where dim images are to be seen too.
TAILS = (0.005, 0.995)
# A bin of a histogram is one of these, from empty to the fullest of its histograms.
SCALE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def image(picture: np.ndarray, side: int = SIDE) -> str:
    """The PNG of ``picture`` uint8 (H, W), at 16 grey levels, or (H, W, 3), at 64 colours."""
    small = shrunk(picture, side)
    if small.ndim == 3:
        return _png(Image.fromarray(small).quantize(COLOURS), bits=8)
    levels = np.round(small / (255 / (GREYS - 1))).astype(np.uint8)
    paletted = Image.frombytes("P", levels.shape[::-1], levels.tobytes())
    paletted.putpalette([level * 255 // (GREYS - 1) for level in range(GREYS) for _ in range(3)])
    return _png(paletted, bits=4)


def stretched(picture: np.ndarray) -> np.ndarray:
    """``picture`` uint8 (H, W, ...) from its darkest to its brightest half per cent, as uint8."""
    low, high = np.quantile(picture, TAILS)
    return np.clip((picture - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)


def mask(picture: np.ndarray, side: int = SIDE) -> str:
    """The PNG of a mask (H, W), foreground white: where at least half of a block is 1."""
    small = shrunk(255 * (picture == 1).astype(np.uint8), side) >= 128
    return _png(Image.fromarray(small), bits=1)


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """``picture`` uint8 (H, W, ...) averaged over blocks of k x k, the least k that leaves at most ``side`` pixels."""
    step = -(-max(picture.shape[:2]) // side)
    if step == 1:
        return picture
    rows, columns = (max(1, length // step) for length in picture.shape[:2])
    cut = picture[: rows * step, : columns * step]
    height, width = (min(step, length) for length in picture.shape[:2])
    blocks = cut.reshape(rows, height, columns, width, *picture.shape[2:])
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def histograms(values: list[np.ndarray]) -> tuple[float, float, list[str]]:
    """(low, high, texts) of samples of one number: :data:`BINS` bins between their 0.5th and 99.5th percentile.

    A character is a density, of which the fullest bin of all ``values`` has the last of :data:`SCALE`.
    """
    low, high = np.percentile(np.concatenate(values), [0.5, 99.5])
    high = high if high > low else low + 1
    counts = np.array([np.histogram(part, BINS, (low, high))[0] / len(part) for part in values])
    levels = np.round(counts / max(counts.max(), 1e-12) * (len(SCALE) - 1)).astype(int)
    return float(low), float(high), ["".join(SCALE[level] for level in row) for row in levels]


def _png(picture: Image.Image, bits: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, **({"bits": bits} if picture.mode == "P" else {}))
    return base64.b64encode(buffer.getvalue()).decode()
