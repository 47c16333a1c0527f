"""Scores of how sure the network is: of its probabilities alone."""

import numpy as np
from scipy.special import expit

from shiftgain.prediction.view import View, share_logit


def confidence(source: View, state: View) -> float:
    """Mean over pixels of max(p, 1 - p) (Hendrycks and Gimpel 2017, arXiv:1610.02136)."""
    return float(np.maximum(state.p, 1 - state.p).mean())


def entropy(source: View, state: View) -> float:
    """Mean over pixels of -p log p - (1 - p) log(1 - p), in nats."""
    return float(state.entropy.mean())


def difference_of_confidences(source: View, state: View) -> float:
    """Mean confidence on the source minus that on the target (Guillory et al. 2021, arXiv:2107.03315)."""
    return confidence(source, source) - confidence(source, state)


def atc(source: View, state: View) -> float:
    """Share of target pixels with confidence above t, where the share of source pixels below t is the source's error.

    The error is the share of labelled source pixels that the network gets wrong. Average thresholded confidence
    estimates pixel accuracy (Garg et al. 2022, arXiv:2201.04234). abs(logit) stands for confidence: both order pixels
    alike.
    """
    return float((np.abs(state.logits) > source.atc_threshold).mean())


def soft_dice(source: View, state: View) -> float:
    """Soft Dice confidence 2 sum(p y) / (sum p + sum y), y the predicted mask (arXiv:2402.10665)."""
    both = float(state.p[state.predicted_flat].sum(dtype=float))
    return 2 * both / float(state.p.sum(dtype=float) + np.count_nonzero(state.predicted_flat))


def expected_iou(source: View, state: View) -> float:
    """sum(p y) / (sum y + sum p (1 - y)), y the predicted mask: the expected IoU of calibrated p over many pixels."""
    return _expected_iou(state.p, state.predicted_flat)


def expected_iou_calibrated(source: View, state: View) -> float:
    """:func:`expected_iou` of 1 / (1 + exp(-(a z + b))), z the logits, a and b calibrated on the source.

    scipy.special.expit rounds float32 otherwise, and the shipped forest was fitted on these.
    """
    slope, offset = source.calibration
    return _expected_iou(1 / (1 + np.exp(-(slope * state.logits + offset))), state.predicted_flat)


def expected_iou_classwise(source: View, state: View) -> float:
    """:func:`expected_iou` of probabilities calibrated on the source for each predicted class by itself.

    Class-wise calibrated confidence as an estimate of overlap (Li et al. 2022, arXiv:2207.09957, and its successor
    MOVAL), the confidence of a class by slope and offset instead of a temperature.
    """
    p = np.empty_like(state.logits)
    for (slope, offset), chosen in zip(
        source.class_calibration, (~state.predicted_flat, state.predicted_flat), strict=True
    ):
        p[chosen] = expit(slope * state.logits[chosen] + offset)
    return _expected_iou(p, state.predicted_flat)


def inner_uncertainty(source: View, state: View) -> float:
    """:attr:`View.inner_entropy` minus that on the source: doubt inside of objects and far from them.

    Where doubt lies says more than how much there is (spatially aware aggregation of uncertainty, arXiv:2603.29941).
    """
    return state.inner_entropy - source.inner_entropy


def mean_probability_change(source: View, state: View) -> float:
    """Logit of the mean foreground probability minus that on the source: the share at which a fixed point arrived."""
    return share_logit(float(state.p.mean(dtype=float))) - share_logit(float(source.p.mean(dtype=float)))


def cot(source: View, state: View) -> float:
    """Wasserstein-1 between the probabilities of the target and the labels of the source.

    Confidence optimal transport estimates pixel error (Lu et al. 2023, arXiv:2302.05018): with two classes, the mean
    distance of the sorted probabilities from as many sorted labels, in the shares of the source's masks.
    """
    n_background = round((1 - source.share) * len(state.p))
    p = np.partition(state.p, min(n_background, len(state.p) - 1))
    return float((p[:n_background].sum(dtype=float) + (1 - p[n_background:]).sum(dtype=float)) / len(p))


def logit_skewness(source: View, state: View) -> float:
    """Skewness of the logits minus that on the source: its sign turns with polarity."""
    return state.logit_skewness - source.logit_skewness


def _expected_iou(p: np.ndarray, predicted: np.ndarray) -> float:
    inside = float(p[predicted].sum(dtype=float))
    outside = float(p.sum(dtype=float)) - inside
    return float(inside / (np.count_nonzero(predicted) + outside))
