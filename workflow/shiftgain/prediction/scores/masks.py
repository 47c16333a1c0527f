"""Scores of masks: their area, their overlap, their shape."""

import numpy as np

from shiftgain.network import metrics
from shiftgain.prediction.scores.log_ratio import log_ratio
from shiftgain.prediction.view import View, share_logit

# An image of which a smaller share is predicted foreground looks empty.
EMPTY = 0.002


def foreground(source: View, state: View) -> float:
    """Share of pixels that are predicted foreground."""
    return state.share


def foreground_change(source: View, state: View) -> float:
    """Logit of the predicted foreground share minus logit of the share of the source's masks."""
    return share_logit(state.share) - share_logit(source.share)


def foreground_distance(source: View, state: View) -> float:
    """Absolute :func:`foreground_change`."""
    return abs(foreground_change(source, state))


def share_spread_change(source: View, state: View) -> float:
    """Standard deviation between images of the logit of the predicted share, minus that on the source."""
    return _share_spread(state) - _share_spread(source)


def empty_change(source: View, state: View) -> float:
    """Share of images in which less than :data:`EMPTY` of the pixels is predicted, minus that on the source."""
    return float((state.image_shares < EMPTY).mean() - (source.image_shares < EMPTY).mean())


def own_iou(source: View, state: View) -> float:
    """IoU of the network on labelled validation images of the source: what it reaches at home."""
    return overlap(source.predicted_flat[source.told], source.foreground[source.told])


def own_foreground(source: View, state: View) -> float:
    """Share of the source's pixels in its masks."""
    return source.share


def perimeter_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.perimeter_per_area` of the predicted mask to that of the source's masks."""
    return log_ratio(state.perimeter_per_area, source.perimeter_per_area)


def join_count_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.join_count_ratio` of the predicted mask to that of the source's masks."""
    return log_ratio(state.join_count_ratio, source.join_count_ratio)


def component_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.component_size` of the predicted mask to that of the source's masks.

    Shape priors of the source as a label-free check: Franco-Barranco et al. 2022 (Comput. Methods Programs Biomed.).
    """
    return log_ratio(state.component_size, source.component_size)


def hole_change(source: View, state: View) -> float:
    """:func:`component_change` of the outside of the mask: with it, tells a mask from its complement."""
    return log_ratio(state.hole_size, source.hole_size)


def length_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.correlation_length` of the predicted mask to that of the source's masks."""
    return log_ratio(state.correlation_length, source.correlation_length)


def agreement(source: View, first: View, second: View) -> float:
    """IoU between two predictions on the same images: of the network as it is, and under the action.

    Jiang et al. 2022 (arXiv:2106.13799): two networks disagree as often as each errs, if calibrated.
    """
    return overlap(first.predicted_flat, second.predicted_flat)


def complement_agreement(source: View, first: View, second: View) -> float:
    """IoU between the first prediction and the outside of the second."""
    return overlap(first.predicted_flat, ~second.predicted_flat)


def foreground_moved(source: View, first: View, second: View) -> float:
    """Predicted foreground share of the second minus that of the first."""
    return second.share - first.share


def _share_spread(view: View) -> float:
    return float(np.std([share_logit(share) for share in view.image_shares]))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of two masks (p,); 1 where both are empty."""
    areas = (np.count_nonzero(mask) for mask in (first & second, first, second))
    return float(metrics.iou(np.array(list(areas))))
