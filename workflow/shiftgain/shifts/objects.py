"""Transformations of what is to be found: objects, which the masks mark, change with their masks.

For arguments and results see :class:`shiftgain.shifts.transforms.Transform`; masks are needed here. SciPy is imported
where it is used, as in :mod:`shiftgain.shifts.intensity`.
"""

import numpy as np

from shiftgain.shifts.intensity import Block


def emptied(images: np.ndarray, masks: np.ndarray, level: float, rng: np.random.Generator) -> Block:
    """Paint the objects of an image out with probability ``level``: x <- 2 b - x, b the nearest pixel of background.

    A pixel x of an object takes the value of its mirror image at the border, so that the grain goes on, or that of b
    where the mirror image is no background. An image without background stays as it is. The same images, and more, are
    emptied at a higher level.
    """
    images, masks = images.copy(), masks.copy()
    for number in np.flatnonzero(rng.random(len(images)) < level):
        objects = masks[number] == 1
        if not objects.all():
            images[number] = _painted_out(images[number], objects)
            masks[number][objects] = 0
    return images, masks


def _painted_out(image: np.ndarray, objects: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    places = np.indices(objects.shape)
    nearest = distance_transform_edt(objects, return_distances=False, return_indices=True)
    last = np.reshape(objects.shape, (2, 1, 1)) - 1
    mirrored = (2 * nearest - places).clip(0, last)
    taken = np.where(objects[tuple(mirrored)], nearest, mirrored)
    return np.where(objects.reshape(objects.shape + (1,) * (image.ndim - 2)), image[tuple(taken)], image)
