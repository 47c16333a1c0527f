"""Spatial structure of masks: boundaries, components, range of correlation. Batches are boolean (n, H, W).

Written here and not taken from scikit-image because images come in batches of several sizes and these sums go over all
of them; its perimeters are other estimators, which the shipped forest does not know.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

# Pixels of one image only are neighbours: 4-connected along rows and columns, none along the first axis.
NEIGHBOURS = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))], bool)
# Lags of the autocorrelation, in pixels: each twice the one before, up to the size of the largest structures.
LAGS = (1, 2, 4, 8, 16)


def changes(masks: Sequence[np.ndarray], lag: int) -> float:
    """Share of the pairs of pixels ``lag`` apart, along rows and columns, that differ; 0 where there are none."""
    differ = pairs = 0
    for first, second in apart(masks, lag):
        differ += int(np.count_nonzero(first != second))
        pairs += first.size
    return differ / pairs if pairs else 0.0


def apart(batches: Sequence[np.ndarray], lag: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each batch (n, H, W) the pixels ``lag`` further and those before them, along columns and along rows."""
    for batch in batches:
        yield batch[:, lag:], batch[:, :-lag]
        yield batch[:, :, lag:], batch[:, :, :-lag]


def perimeter_per_area(masks: Sequence[np.ndarray]) -> float:
    """Sides between a pixel in the mask and one outside, per pixel in the mask; 0 for an empty mask."""
    sides = sum(np.count_nonzero(np.diff(batch, axis=axis)) for batch in masks for axis in (1, 2))
    return sides / max(1, sum(np.count_nonzero(batch) for batch in masks))


def join_count_ratio(masks: Sequence[np.ndarray]) -> float:
    """Share of unlike joins over its expectation 2 s (1 - s), where s is the share of pixels in the mask.

    A join is a pair of neighbouring pixels along a row or a column; it is unlike where one pixel lies in the mask and
    the other outside. 0 for a mask without boundaries, 1 for pixels drawn independently; a mask and its complement
    have equal values. Join counts under free sampling: Cliff and Ord 1981, Spatial Processes, section 1.3.
    """
    share = sum(np.count_nonzero(batch) for batch in masks) / max(1, sum(batch.size for batch in masks))
    chance = 2 * share * (1 - share)
    return changes(masks, 1) / chance if chance else 0.0


def correlation_length(masks: Sequence[np.ndarray]) -> float:
    """Integral over lags 0 to 16 of r(lag) = 1 - changes(lag) / (2 s (1 - s)), in pixels, by the trapezoidal rule.

    r is the autocorrelation of the mask, s its share of pixels; :data:`LAGS` are the nodes of the rule. 0 where the
    mask does not vary or the integral is negative.
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
