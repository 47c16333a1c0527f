"""Transformations of places: images and masks are moved by the same map, masks stay 0/1.

Images are interpolated by cubic splines: linear interpolation, an average of neighbours, would take a third of the
standard deviation of white noise and so be a blur too (cubic takes an eighth). Masks take the nearest pixel. What comes
from beyond the border is mirrored there. The affine maps leave the centre of the image in place.

Thin over SciPy and pillow and not a library's: what a level means, rounding, and that level 0 is the image itself are
what the study measures with.

For arguments and results see :class:`shiftgain.shifts.transforms.Transform`. SciPy is imported where it is used: it is
slow to import, and Snakemake reads the registry at each start.
"""

from collections.abc import Iterable

import numpy as np

Block = tuple[np.ndarray, np.ndarray | None]
SMOOTHNESS = 8.0  # px, standard deviation of the Gaussian that makes a displacement field smooth


def crop(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Keep the middle of each image, cutting the share ``level`` of its rows and columns off: images get smaller."""
    sides = [max(1, round(side * (1 - level))) for side in images.shape[1:3]]
    window = tuple(
        slice((side - length) // 2, (side - length) // 2 + length)
        for side, length in zip(images.shape[1:3], sides, strict=True)
    )
    return images[:, *window], None if masks is None else masks[:, *window]


def zoom(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Magnify ``2**level`` times; below 0 the image shrinks and mirrors itself around."""
    return _affine(images, masks, np.eye(2) / 2**level)


def rotation(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Rotate by ``level`` degrees, counter-clockwise as seen."""
    cos, sin = np.cos(np.deg2rad(level)), np.sin(np.deg2rad(level))
    return _affine(images, masks, np.array([[cos, sin], [-sin, cos]]))


def shear(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Push each row to the right by ``level`` columns for each row that it lies below the centre."""
    return _affine(images, masks, np.array([[1, 0], [-level, 1]]))


def stretch(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Multiply widths by ``2**(level / 2)`` and divide heights by as much: areas stay."""
    return _affine(images, masks, np.diag([2 ** (level / 2), 2 ** (-level / 2)]))


def elastic(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> Block:
    """Displace pixels by a smooth random field of root mean square ``level`` (px) along each axis, one per image.

    White noise smoothed by a Gaussian (Simard, Steinkraus and Platt, ICDAR 2003), of :data:`SMOOTHNESS` px and
    periodic, so that it has the same variance everywhere.
    """
    from scipy import ndimage

    n, rows, columns = images.shape[:3]
    noise = rng.standard_normal((n, 2, rows, columns), dtype=np.float32)
    point = np.zeros((rows, columns))
    point[0, 0] = 1
    kernel = ndimage.gaussian_filter(point, SMOOTHNESS, mode="wrap")
    field = ndimage.gaussian_filter(noise, SMOOTHNESS, mode="wrap", axes=(2, 3))
    field *= level / np.sqrt((kernel**2).sum())
    return _moved(images, masks, np.indices((rows, columns)) + field)


def _affine(images: np.ndarray, masks: np.ndarray | None, matrix: np.ndarray) -> Block:
    """The pixel at offset (row, column) from the centre shows what lay at ``matrix`` times that offset."""
    shape = images.shape[1:3]
    centre = (np.array(shape).reshape(2, 1, 1) - 1) / 2
    places = np.einsum("ij,jrc->irc", matrix, np.indices(shape) - centre) + centre
    return _moved(images, masks, np.broadcast_to(places, (len(images), *places.shape)))


def _moved(images: np.ndarray, masks: np.ndarray | None, places: Iterable[np.ndarray]) -> Block:
    """Each image, and its mask, as seen at its ``places`` (2, H, W): rows, columns."""
    from scipy import ndimage

    layers = images.reshape(*images.shape[:3], -1)
    moved = np.empty_like(layers, order="C")
    moved_masks = None if masks is None else np.empty_like(masks, order="C")
    for number, where in enumerate(places):
        for channel in range(layers.shape[3]):
            values = ndimage.map_coordinates(
                layers[number, ..., channel], where, output=np.float32, order=3, mode="reflect"
            )
            moved[number, ..., channel] = np.clip(values, 0, 255) + 0.5
        if masks is not None and moved_masks is not None:
            ndimage.map_coordinates(masks[number], where, output=moved_masks[number], order=0, mode="reflect")
    return moved.reshape(images.shape), moved_masks
