"""Splitting grey levels into two classes without labels, after Otsu 1979 (IEEE Trans. SMC 9).

Written here and not taken from scikit-image, which would bring 30 MB for one function: its threshold lies a bin
elsewhere, and the shipped forest was fitted on scores of this one.
"""

from typing import NamedTuple

import numpy as np

# Grey levels whose range is below this do not vary. Added to a sum of squares, so that a single row has no slope.
EPSILON = 1e-6
BINS = 256


class Split(NamedTuple):
    """Grey levels (p,), the threshold between their two classes, the share of their variance that these explain."""

    grey: np.ndarray
    threshold: float
    explained: float


def split(grey: np.ndarray) -> Split:
    """t = argmax w0 w1 (m0 - m1)^2 over 255 thresholds; explained = that maximum over the variance of ``grey`` (p,).

    w and m are the shares and the means of the pixels up to t and above it. 0 is explained where nothing varies.
    """
    if np.ptp(grey) < EPSILON:
        return Split(grey, float(grey[0]), 0.0)
    counts, edges = np.histogram(grey, bins=BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)[:-1] / len(grey)
    mass = np.cumsum(counts * centres) / len(grey)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mass[-1] * weight - mass[:-1]) ** 2 / (weight * (1 - weight)))
    best = between.argmax()
    return Split(grey, float(edges[1:-1][best]), float(between[best] / grey.var(dtype=float)))


def without_plane(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W) less the slopes along rows and columns that fit each best, by least squares."""
    for axis in (1, 2):
        place = np.linspace(-1, 1, images.shape[axis], dtype=images.dtype) if images.shape[axis] > 1 else np.zeros(1)
        along = place.reshape([-1 if other == axis else 1 for other in range(3)])
        squares = (along**2).sum() * images[0].size / len(place)
        slope = (images * along).sum((1, 2), keepdims=True) / (squares + EPSILON)
        images = images - slope * along
    return images


def variance_between(grey: np.ndarray, mask: np.ndarray) -> float:
    """s (1 - s) (m1 - m0)^2: variance of grey levels (p,) between a mask of share s, with mean m1, and its outside.

    0 for an empty or a full mask.
    """
    share = float(mask.mean())
    if share in (0, 1):
        return 0.0
    return share * (1 - share) * float(grey[mask].mean(dtype=float) - grey[~mask].mean(dtype=float)) ** 2
