"""Spatial structure of masks: boundaries, components, range of correlation. Batches are boolean (n, H, W)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

# Pixels of one image only are neighbours: 4-connected along rows and columns, none along the first axis.
NEIGHBOURS = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))], bool)
LAGS = (1, 2, 4, 8, 16)


def changes(masks: Sequence[np.ndarray], lag: int) -> float:
    """Share of the pairs of pixels ``lag`` apart, along rows and columns, that differ; 0 where there are none."""
    differ = pairs = 0
    for batch in masks:
        for first, second in (
            (batch[:, lag:], batch[:, :-lag]),
            (batch[:, :, lag:], batch[:, :, :-lag]),
        ):
            differ += int(np.count_nonzero(first != second))
            pairs += first.size
    return differ / pairs if pairs else 0.0


def perimeter_per_area(masks: Sequence[np.ndarray]) -> float:
    """Sides between a pixel in the mask and one outside, per pixel in the mask; 0 for an empty mask."""
    sides = sum(np.count_nonzero(np.diff(batch, axis=axis)) for batch in masks for axis in (1, 2))
    return sides / max(1, sum(np.count_nonzero(batch) for batch in masks))


def roughness(masks: Sequence[np.ndarray]) -> float:
    """:func:`changes` between neighbours over what pixels drawn at random would have, 2 s (1 - s) for share s.

    0 for a mask without boundaries, 1 for salt and pepper, whatever the share; the same for the complement.
    """
    share = sum(np.count_nonzero(batch) for batch in masks) / max(1, sum(batch.size for batch in masks))
    chance = 2 * share * (1 - share)
    return changes(masks, 1) / chance if chance else 0.0


def correlation_length(masks: Sequence[np.ndarray]) -> float:
    """Integral over 0 to 16 pixels of the autocorrelation of the mask, by trapezoids between :data:`LAGS`, in pixels.

    The autocorrelation at a lag is 1 - changes / 2 s (1 - s). 0 where the mask does not vary, and where
    anticorrelation outweighs.
    """
    share = sum(np.count_nonzero(batch) for batch in masks) / max(1, sum(batch.size for batch in masks))
    chance = 2 * share * (1 - share)
    if not chance:
        return 0.0
    correlations = [1, *(1 - changes(masks, lag) / chance for lag in LAGS)]
    return max(0.0, float(np.trapezoid(correlations, [0, *LAGS])))


def component_size(masks: Sequence[np.ndarray]) -> float:
    """Pixels per 4-connected component; 0 for an empty mask."""
    components = sum(ndimage.label(batch, NEIGHBOURS)[1] for batch in masks)
    return sum(np.count_nonzero(batch) for batch in masks) / max(1, components)


def hole_size(masks: Sequence[np.ndarray]) -> float:
    """:func:`component_size` of the outside of the mask."""
    return component_size([~batch for batch in masks])
