"""Scores against a segmentation that no network made: the bright or the dark class of the grey levels.

Which of the two it is follows from the source: the class on the side of grey level of its masks if the target keeps
the source's polarity, the other if it flips it. See :meth:`View.reference`.
"""

from shiftgain.prediction import otsu
from shiftgain.prediction.scores.confidence import expected_iou_classwise
from shiftgain.prediction.scores.masks import overlap
from shiftgain.prediction.view import EPSILON, View, share_logit


def reference_iou(source: View, images: View, state: View) -> float:
    """IoU of the prediction and the reference: the expected IoU if the target keeps the polarity of the source."""
    return overlap(state.predicted_flat, images.reference(source.bright))


def reference_iou_flipped(source: View, images: View, state: View) -> float:
    """:func:`reference_iou` if the target flips the polarity."""
    return overlap(state.predicted_flat, images.reference(not source.bright))


def resolved_iou(source: View, images: View, state: View) -> float:
    """:func:`reference_iou` where :func:`polarity_margin` is at least 0, else :func:`reference_iou_flipped`.

    Nothing is fitted. It fails where a shift of the foreground share across one half looks like a flip: no method
    without labels can tell those two apart, whose images are alike.
    """
    keeps_polarity = polarity_margin(source, images) >= 0
    return (reference_iou if keeps_polarity else reference_iou_flipped)(source, images, state)


def trusted_iou(source: View, images: View, state: View) -> float:
    """t r + (1 - t) e: :func:`resolved_iou` r and :func:`expected_iou_classwise` e, t = :func:`own_reference`.

    Grey levels count as far as they are right on the source. Nothing is fitted.
    """
    trust = own_reference(source, source)
    return trust * resolved_iou(source, images, state) + (1 - trust) * expected_iou_classwise(source, state)


def explained(source: View, images: View, state: View) -> float:
    """Between-class variance of the prediction over that of the Otsu split of the same images, its maximum.

    1 if the prediction is one of the two classes of the split (Otsu 1979, IEEE Trans. SMC 9).
    """
    return otsu.variance_between(images.split.grey, state.predicted_flat) / (images.reference_variance + EPSILON**2)


def own_reference(source: View, state: View) -> float:
    """IoU of the reference and the masks of the source: how far to trust the grey levels alone."""
    return overlap(source.reference(source.bright)[source.told], source.foreground[source.told])


def reference_change(source: View, state: View) -> float:
    """Logit of the share of the reference, if the target keeps the polarity, less that of the source's masks."""
    return share_logit(float(state.reference(source.bright).mean())) - share_logit(source.share)


def reference_change_flipped(source: View, state: View) -> float:
    """:func:`reference_change` if the target flips its polarity."""
    return share_logit(float(state.reference(not source.bright).mean())) - share_logit(source.share)


def polarity_margin(source: View, state: View) -> float:
    """abs(reference_change_flipped) - abs(reference_change).

    Positive where keeping the polarity fits the source's foreground share better than flipping it.
    """
    return abs(reference_change_flipped(source, state)) - abs(reference_change(source, state))


def reference_quality(source: View, state: View) -> float:
    """Share of the variance of the smoothed images that the two classes explain, less that share on the source."""
    return state.reference_quality - source.reference_quality
