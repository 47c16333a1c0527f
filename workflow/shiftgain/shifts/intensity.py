"""Transformations of grey levels and colours: pixels keep their places, and masks pass as they are.

Grey levels have a full range of 1 (0 is black, 1 is white), whatever the bits they are stored in. Values are
computed in floating point, clipped, and rounded once, halves upwards: ties to even would map neighbouring
grey levels onto one when a brightness falls between two of them.

Thin over SciPy and pillow and not a library's: what a level means, rounding, and that level 0 is the image itself are
what the study measures with.

For arguments and results see :class:`shiftgain.shifts.transforms.Transform`. SciPy is imported where it is used: it is
slow to import, and Snakemake reads the registry at each start.
"""

from io import BytesIO

import numpy as np
from PIL import Image

Block = tuple[np.ndarray, np.ndarray | None]
GREY = np.arange(256, dtype=np.float32)
DETAIL_SD = 1.0  # px
# Grey level of offset for each stop of gain: at one stop, what `brightness` adds at most in the default study.
OFFSET_PER_STOP = 0.2


def brightness(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Add ``level`` (grey level)."""
    return _mapped(images, GREY + 255 * level), masks


def contrast(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Stretch about mid-grey (0.5) by the factor ``2**level``."""
    return _mapped(images, (GREY - 127.5) * 2**level + 127.5), masks


def gamma(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Raise grey levels to the power ``2**level``: above 0 darkens, below 0 brightens."""
    return _mapped(images, 255 * (GREY / 255) ** 2**level), masks


def inversion(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Mix with the negative, of which ``level`` is the share: at 0.5 all is mid-grey, at 1 the polarity is flipped."""
    return _mapped(images, (1 - level) * GREY + level * (255 - GREY)), masks


def quantisation(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Keep ``2**(8 - level)`` evenly spaced grey levels, black and white among them; each value goes to the nearest."""
    steps = 2 ** (8 - level) - 1
    return _mapped(images, np.floor(GREY / 255 * steps + 0.5) / steps * 255), masks


def illumination(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Multiply by ``2**x``, ``x`` rising from ``-level / 2`` at the left edge to ``level / 2`` at the right."""
    factors = np.exp2(np.linspace(-level / 2, level / 2, images.shape[2], dtype=np.float32))
    return _rounded(images * factors.reshape((-1,) + (1,) * (images.ndim - 3))), masks


def exposure(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Map each image by x -> 1/2 + 2**g (x - 1/2) + o: its own gain about mid-grey and its own offset.

    g is normal of deviation ``level`` (stops), o normal of deviation ``level`` x :data:`OFFSET_PER_STOP` (grey level),
    both of mean 0 and drawn for every image, the same standard normals at every level. Channels go alike.
    """
    draws = level * rng.standard_normal((len(images), 2)).astype(np.float32)
    tables = [(GREY - 127.5) * 2**stops + 127.5 + 255 * OFFSET_PER_STOP * offset for stops, offset in draws]
    return np.stack([_mapped(image, table) for image, table in zip(images, tables, strict=True)]), masks


def hue(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Rotate RGB about its grey axis by ``level`` degrees: 120 takes red to green, green to blue, blue to red.

    A rotation in space (Rodrigues' formula), and not one of the hue of HSV: it keeps the mean of the channels, and
    noise that is white and alike in them stays so.
    """
    angle = np.deg2rad(level)
    same = (1 + 2 * np.cos(angle)) / 3
    before, after = ((1 - np.cos(angle) + sign * np.sqrt(3) * np.sin(angle)) / 3 for sign in (1, -1))
    return _recoloured(images, [[same, after, before], [before, same, after], [after, before, same]]), masks


def saturation(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Multiply the distance of each colour from its grey, the mean of the channels, by ``2**level``."""
    factor = 2**level
    return _recoloured(images, factor * np.eye(3) + (1 - factor) / 3), masks


def noise(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Add white Gaussian noise of standard deviation ``level`` (grey level), per pixel and channel."""
    values = rng.standard_normal(images.shape, dtype=np.float32)
    values *= 255 * level
    values += images
    return _rounded(values), masks


def blur(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Convolve with a Gaussian of standard deviation ``level`` (px), mirrored at the borders."""
    return _rounded(_smoothed(images, level)), masks


def sharpen(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Unsharp masking: add ``level`` times what a Gaussian of standard deviation 1 px takes away."""
    detail = images - _smoothed(images, DETAIL_SD)
    detail *= level
    detail += images
    return _rounded(detail), masks


def jpeg(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Compress to JPEG of quality ``100 - level`` (rounded to a whole number) and back; at level 0 do not.

    JPEG rounds at quality 100 too, so that this is the one transform that leaps at 0 (by about a grey level).
    """
    return (np.stack([_through_jpeg(image, round(100 - level)) for image in images]) if level else images), masks


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _smoothed(images: np.ndarray, sd: float) -> np.ndarray:
    """float32, within each image and channel."""
    from scipy import ndimage

    return ndimage.gaussian_filter(images, sd, output=np.float32, mode="reflect", axes=(1, 2))


def _recoloured(images: np.ndarray, matrix) -> np.ndarray:
    """RGB images whose colours, as columns, are multiplied by ``matrix`` (3, 3)."""
    return _rounded(images @ np.asarray(matrix, np.float32).T)


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
