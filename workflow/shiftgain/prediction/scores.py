"""Label-free scores: what can be known of a prediction on a target without its masks.

Four registries, each a function per column of the table ``scores``:

* :data:`SCORES`, of one state of the network on the target (``source, state``): columns ``NAME_before``, ``_after``
  adaptation, and ``_inverted``, adapted to the images turned about their mean grey level. The last is a probe of
  polarity: where the target flips it, the turned images are like the source's. ``NAME_change`` is after less before;
* :data:`REFERENCES`, of one state against a segmentation of the images that no network made (``source, images,
  state``): columns as those of :data:`SCORES`. ``images`` is a view whose grey levels are looked at;
* :data:`COMPARISONS` of two states (``source, first, second``): columns ``NAME_before_after`` and so on;
* :data:`DOMAINS` of the source and the images of the target (``source, state``): column ``NAME``.

``source`` is a :class:`View` of labelled validation images of the source by the unadapted network; the others are
of the target, without labels. Every score is finite for every prediction, empty and full masks included. Most are
differences from what the same number is on the source, so that they mean the same for every source.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import ndimage

from shiftgain.network import metrics
from shiftgain.prediction import shapes
from shiftgain.prediction.view import View, flat, share_logit

# Added to a ratio's parts, in their unit, so that empty masks give numbers.
TINY = 1e-6
# Beyond this a log-ratio says no more than "very".
LARGEST_LOG_RATIO = 6.0
# Of the log-likelihood per pixel, on the squares of slope and offset.
RIDGE = 1e-5
# Views whose numbers are kept: the source's, which every score asks for, and the states of one target.
KEPT = 4


def confidence(source: View, state: View) -> float:
    """Mean over pixels of max(p, 1 - p) (Hendrycks and Gimpel 2017, arXiv:1610.02136)."""
    return float(np.maximum(state.p, 1 - state.p).mean())


def entropy(source: View, state: View) -> float:
    """Mean over pixels of -p log p - (1 - p) log(1 - p), in nats."""
    return float(-(state.p * np.log(state.p) + (1 - state.p) * np.log1p(-state.p)).mean())


def difference_of_confidences(source: View, state: View) -> float:
    """Mean confidence on the source minus that on the target (Guillory et al. 2021, arXiv:2107.03315)."""
    return confidence(source, source) - confidence(source, state)


def atc(source: View, state: View) -> float:
    """Average thresholded confidence: estimated pixel accuracy (Garg et al. 2022, arXiv:2201.04234).

    The share of target pixels whose confidence exceeds the threshold that as large a share of source pixels fail to
    exceed as the source gets wrong. Negative entropy as the confidence gives the same: two classes, one order.
    """
    return float((np.abs(state.logits) > _atc_threshold(source)).mean())


def soft_dice(source: View, state: View) -> float:
    """Soft Dice confidence 2 sum(p y) / (sum p + sum y), y the predicted mask (arXiv:2402.10665)."""
    both = float(state.p[state.predicted_flat].sum(dtype=float))
    return 2 * both / float(state.p.sum(dtype=float) + np.count_nonzero(state.predicted_flat))


def expected_iou(source: View, state: View) -> float:
    """sum(p y) / (sum y + sum p (1 - y)): the expected IoU if p were calibrated and pixels many."""
    return _expected_iou(state.p, state.predicted_flat)


def expected_iou_calibrated(source: View, state: View) -> float:
    """:func:`expected_iou` with p calibrated on the source (:func:`calibration`)."""
    slope, offset = calibration(source)
    return _expected_iou(1 / (1 + np.exp(-(slope * state.logits + offset))), state.predicted_flat)


@lru_cache(maxsize=KEPT)
def calibration(source: View) -> tuple[float, float]:
    """Slope and offset of logits that maximise the likelihood of the source's masks.

    Platt 1999, Probabilistic outputs for support vector machines: logistic regression on the logit, here by Newton's
    method from slope and offset 0. A ridge keeps a separable source finite.
    """
    x = np.stack([source.logits, np.ones_like(source.logits)]).astype(float)
    ridge = RIDGE * source.logits.size * np.eye(2)
    theta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(theta @ x)))
        gradient = x @ (p - source.foreground) + ridge @ theta
        step = np.linalg.solve((x * (p * (1 - p))) @ x.T + ridge, gradient)
        theta -= step
        if np.abs(step).max() < 1e-6:
            break
    return float(theta[0]), float(theta[1])


def foreground(source: View, state: View) -> float:
    """Share of pixels that are predicted foreground."""
    return state.share


def foreground_change(source: View, state: View) -> float:
    """Logit of the predicted foreground share minus logit of the share of the source's masks."""
    return share_logit(state.share) - share_logit(source.share)


def foreground_distance(source: View, state: View) -> float:
    """Absolute :func:`foreground_change`."""
    return abs(foreground_change(source, state))


def cot(source: View, state: View) -> float:
    """Confidence optimal transport: estimated pixel error (Lu et al. 2023, arXiv:2302.05018, two classes).

    Wasserstein-1 between the predicted probabilities of the target and the labels of the source: the mean distance
    of the sorted probabilities from as many sorted labels of the source's shares.
    """
    n_background = round((1 - source.share) * len(state.p))
    p = np.partition(state.p, min(n_background, len(state.p) - 1))
    return float((p[:n_background].sum(dtype=float) + (1 - p[n_background:]).sum(dtype=float)) / len(p))


def logit_skewness(source: View, state: View) -> float:
    """Skewness of the logits minus that on the source: its sign turns with polarity."""
    return _logit_skewness(state) - _logit_skewness(source)


def grey_polarity(source: View, state: View) -> float:
    """Mean grey level inside minus outside the predicted mask, over the deviation of the image, times its sign in
    the source's masks: positive where the prediction lies on the same side of grey level as the source's masks."""
    return float(_grey_contrast(state) * np.sign(_grey_contrast(source)))


def separation(source: View, state: View) -> float:
    """Log-ratio to the source of d' = abs(difference of class means) / pooled deviation, in grey level.

    Classes are the predicted mask and its outside; of the source, the true ones (methods of signal detection:
    Green and Swets 1966). It bounds what any threshold can reach.
    """
    return _log_ratio(_separation(state), _separation(source))


def latent_contrast(source: View, state: View) -> float:
    """Log-ratio to the source of the dispersion of features between the predicted classes.

    Dispersion as Xie et al. 2023 (arXiv:2303.15488): scatter of the class means about the common mean, over the
    total variance of the source's features.
    """
    return _log_ratio(_dispersion(state, source), _dispersion(source, source))


def class_distance(source: View, state: View) -> float:
    """Class-conditional distance of features: RMS over channels, mean over the two pseudo-classes, of the shift of
    the class mean from that of the source, in standard deviations of the source's features.

    Features are what the head receives; classes are predicted ones on both sides (Kang et al. 2019, arXiv:1901.00976).
    """
    scale = source.rows.std(axis=0) + TINY
    shifts = [(first - second) / scale for first, second in zip(_class_means(source), _class_means(state), strict=True)]
    return float(np.mean([np.sqrt(np.mean(shift**2)) for shift in shifts]))


def mmd(source: View, state: View) -> float:
    """Maximum mean discrepancy of features, Gaussian kernel of the source's median distance (Gretton et al. 2012).

    Biased estimate, as a root: 0 between equal samples. Features are in standard deviations of the source's.
    """
    width = float(np.median(_distances(source, source, source))) + TINY
    within, own, between = (
        np.exp(-((_distances(first, second, source) / width) ** 2) / 2).mean()
        for first, second in ((state, state), (source, source), (source, state))
    )
    return float(np.sqrt(max(0.0, within + own - 2 * between)))


def energy(source: View, state: View) -> float:
    """Energy distance of features, as a root (Szekely and Rizzo 2013), in standard deviations of the source's."""
    within, own, between = (
        _distances(first, second, source).mean()
        for first, second in ((state, state), (source, source), (source, state))
    )
    return float(np.sqrt(max(0.0, 2 * between - within - own)))


def perimeter_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.perimeter_per_area` of the predicted mask to that of the source's masks."""
    return _shape_ratio(shapes.perimeter_per_area, state, source)


def roughness_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.roughness` of the predicted mask to that of the source's masks."""
    return _shape_ratio(shapes.roughness, state, source)


def component_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.component_size` of the predicted mask to that of the source's masks.

    Shape priors of the source as a label-free check: Franco-Barranco et al. 2022 (Comput. Methods Programs Biomed.).
    """
    return _shape_ratio(shapes.component_size, state, source)


def hole_change(source: View, state: View) -> float:
    """:func:`component_change` of the outside of the mask: with it, tells a mask from its complement."""
    return _shape_ratio(shapes.hole_size, state, source)


def length_change(source: View, state: View) -> float:
    """Log-ratio of :func:`shapes.correlation_length` of the predicted mask to that of the source's masks."""
    return _shape_ratio(shapes.correlation_length, state, source)


SCORES: dict[str, Callable[[View, View], float]] = {
    "confidence": confidence,
    "entropy": entropy,
    "difference_of_confidences": difference_of_confidences,
    "atc": atc,
    "soft_dice": soft_dice,
    "expected_iou": expected_iou,
    "expected_iou_calibrated": expected_iou_calibrated,
    "foreground": foreground,
    "foreground_change": foreground_change,
    "foreground_distance": foreground_distance,
    "cot": cot,
    "logit_skewness": logit_skewness,
    "grey_polarity": grey_polarity,
    "separation": separation,
    "latent_contrast": latent_contrast,
    "class_distance": class_distance,
    "mmd": mmd,
    "energy": energy,
    "perimeter_change": perimeter_change,
    "roughness_change": roughness_change,
    "component_change": component_change,
    "hole_change": hole_change,
    "length_change": length_change,
}


def agreement(source: View, first: View, second: View) -> float:
    """IoU between two predictions on the same images.

    Jiang et al. 2022 (arXiv:2106.13799): two networks disagree as often as each errs, if calibrated.
    """
    return _iou(first.predicted_flat, second.predicted_flat)


def complement_agreement(source: View, first: View, second: View) -> float:
    """IoU between the first prediction and the outside of the second."""
    return _iou(first.predicted_flat, ~second.predicted_flat)


def foreground_moved(source: View, first: View, second: View) -> float:
    """Predicted foreground share of the second minus that of the first."""
    return second.share - first.share


COMPARISONS: dict[str, Callable[[View, View, View], float]] = {
    "agreement": agreement,
    "complement_agreement": complement_agreement,
    "foreground_moved": foreground_moved,
}


def reference_iou(source: View, images: View, state: View) -> float:
    """IoU of the prediction and :func:`reference`: the expected IoU if the target keeps the polarity of the source."""
    return _iou(state.predicted_flat, reference(images, _bright(source)))


def reference_iou_flipped(source: View, images: View, state: View) -> float:
    """:func:`reference_iou` if the target flips the polarity."""
    return _iou(state.predicted_flat, reference(images, not _bright(source)))


def resolved_iou(source: View, images: View, state: View) -> float:
    """The expected IoU by the polarity that :func:`polarity_margin` decides for: the two scores above in one.

    Nothing is fitted. It fails where a shift of the foreground share across one half looks like a flip: no method
    without labels can tell those two apart, whose images are alike.
    """
    kept = polarity_margin(source, images) >= 0
    return (reference_iou if kept else reference_iou_flipped)(source, images, state)


def explained(source: View, images: View, state: View) -> float:
    """Variance of the smoothed images that two mean grey levels, inside and outside the prediction, explain, over
    what :func:`reference` explains, which is the most: 1 for the same mask or its complement (Otsu 1979)."""
    grey, _ = _levelled(images)
    return _between(grey, state.predicted_flat) / (_between(grey, reference(images, True)) + TINY**2)


REFERENCES: dict[str, Callable[[View, View, View], float]] = {
    "reference_iou": reference_iou,
    "reference_iou_flipped": reference_iou_flipped,
    "resolved_iou": resolved_iou,
    "explained": explained,
}


@lru_cache(maxsize=2 * KEPT)
def reference(images: View, bright: bool) -> np.ndarray:
    """The bright or the dark class of the grey levels, smoothed over 3 x 3 pixels (p,): no network, no labels.

    The threshold, one for all images, maximises the variance between classes (Otsu 1979, IEEE Trans. SMC 9). Where
    illumination is uneven the classes are those of the images less the plane that fits each best.
    """
    grey, threshold = _levelled(images)
    return (grey > threshold) == bright


def own_reference(source: View, state: View) -> float:
    """IoU of :func:`reference` and the masks of the source: how far to trust the grey levels alone."""
    return _iou(reference(source, _bright(source)), source.foreground)


def reference_change(source: View, state: View) -> float:
    """Logit of the share of :func:`reference`, if the target keeps the polarity, less that of the source's masks."""
    return share_logit(float(reference(state, _bright(source)).mean())) - share_logit(source.share)


def reference_change_flipped(source: View, state: View) -> float:
    """:func:`reference_change` if the target flips its polarity."""
    return share_logit(float(reference(state, not _bright(source)).mean())) - share_logit(source.share)


def polarity_margin(source: View, state: View) -> float:
    """By how many logits the foreground share of :func:`reference` is nearer the source's if the target keeps its
    polarity than if it flips it: negative where a flip is likelier."""
    return abs(reference_change_flipped(source, state)) - abs(reference_change(source, state))


def reference_quality(source: View, state: View) -> float:
    """Share of the variance of the smoothed images that :func:`reference` explains, less the same of the source."""
    return _reference_quality(state) - _reference_quality(source)


def own_iou(source: View, state: View) -> float:
    """IoU of the network on labelled validation images of the source: what it reaches at home."""
    return _iou(source.predicted_flat, source.foreground)


def own_foreground(source: View, state: View) -> float:
    """Share of the source's pixels in its masks."""
    return source.share


def own_separation(source: View, state: View) -> float:
    """log(1 + d') of the source's classes, in grey level: see :func:`separation`."""
    return float(np.log1p(_separation(source)))


def grey_shift(source: View, state: View) -> float:
    """Mean grey level of the target minus that of the source, in standard deviations of the source's grey levels."""
    return float((state.grey.mean(dtype=float) - source.grey.mean(dtype=float)) / (source.grey.std(dtype=float) + TINY))


def grey_scale(source: View, state: View) -> float:
    """Log-ratio of the standard deviation of grey levels to the source's."""
    return _log_ratio(float(state.grey.std(dtype=float)), float(source.grey.std(dtype=float)))


def grey_moments(source: View, state: View) -> float:
    """Gaussian Wasserstein-2 of the grey levels, in standard deviations of the source's: distance of the inputs."""
    return float(np.hypot(grey_shift(source, state), np.expm1(grey_scale(source, state))))


def grey_shape(source: View, state: View) -> float:
    """Wasserstein-1 between the standardised grey levels: what no shift and scale of them undoes."""
    return float(np.abs(_quantiles(state) - _quantiles(source)).mean())


def grey_shape_inverted(source: View, state: View) -> float:
    """:func:`grey_shape` of the target's images turned about their mean: small where the polarity flipped."""
    return float(np.abs(-_quantiles(state)[::-1] - _quantiles(source)).mean())


def grey_skewness(source: View, state: View) -> float:
    """Skewness of the target's grey levels times the sign of the source's: negative where the polarity flipped, and
    nothing at a foreground share of one half."""
    return _grey_skewness(state) * float(np.sign(_grey_skewness(source)))


def texture(source: View, state: View) -> float:
    """Log-ratio to the source of the share of grey-level variance between neighbouring pixels."""
    return _log_ratio(_texture(state), _texture(source))


DOMAINS: dict[str, Callable[[View, View], float]] = {
    "own_iou": own_iou,
    "own_foreground": own_foreground,
    "own_separation": own_separation,
    "grey_shift": grey_shift,
    "grey_scale": grey_scale,
    "grey_moments": grey_moments,
    "grey_shape": grey_shape,
    "grey_shape_inverted": grey_shape_inverted,
    "grey_skewness": grey_skewness,
    "texture": texture,
    "own_reference": own_reference,
    "reference_change": reference_change,
    "reference_change_flipped": reference_change_flipped,
    "polarity_margin": polarity_margin,
    "reference_quality": reference_quality,
}


def scores(source: View, states: dict[str, View]) -> dict[str, float]:
    """Every score of a target. ``states``: name, ``before`` among them, -> :class:`View` of the same images."""
    found = {name: function(source, states["before"]) for name, function in DOMAINS.items()}
    for state, view in states.items():
        found |= {f"{name}_{state}": function(source, view) for name, function in SCORES.items()}
        found |= {f"{name}_{state}": function(source, states["before"], view) for name, function in REFERENCES.items()}
    if "after" in states:
        names = [*SCORES, *REFERENCES]
        found |= {f"{name}_change": found[f"{name}_after"] - found[f"{name}_before"] for name in names}
    names = list(states)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            views = states[first], states[second]
            found |= {f"{name}_{first}_{second}": function(source, *views) for name, function in COMPARISONS.items()}
    return found


def _bright(source: View) -> bool:
    """Whether the source's masks are brighter than their outside."""
    return _grey_contrast(source) > 0


@lru_cache(maxsize=KEPT)
def _levelled(view: View) -> tuple[np.ndarray, float]:
    """Smoothed grey levels (p,), as they are or less a plane for each image, whichever two classes explain better; and
    the threshold between these."""
    smoothed = [ndimage.uniform_filter(batch, (0, 3, 3)) for batch in view.images]
    found = [(grey, *_otsu(grey)) for grey in (flat(smoothed), flat([_without_plane(batch) for batch in smoothed]))]
    grey, threshold, _ = max(found, key=lambda split: split[2])
    return grey, threshold


def _without_plane(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W) less the slopes along rows and columns that fit each best, by least squares."""
    for axis in (1, 2):
        place = np.linspace(-1, 1, images.shape[axis], dtype=images.dtype) if images.shape[axis] > 1 else np.zeros(1)
        along = place.reshape([-1 if other == axis else 1 for other in range(3)])
        slope = (images * along).sum((1, 2), keepdims=True) / ((along**2).sum() * images[0].size / len(place) + TINY)
        images = images - slope * along
    return images


def _otsu(grey: np.ndarray) -> tuple[float, float]:
    """The threshold that splits grey levels (p,) into classes of most different means, and the share of the variance
    that these explain; 0 of grey levels that do not vary."""
    if np.ptp(grey) < TINY:
        return float(grey[0]), 0.0
    counts, edges = np.histogram(grey, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)[:-1] / len(grey)
    mass = np.cumsum(counts * centres) / len(grey)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mass[-1] * weight - mass[:-1]) ** 2 / (weight * (1 - weight)))
    best = between.argmax()
    return float(edges[1:-1][best]), float(between[best] / grey.var(dtype=float))


def _between(grey: np.ndarray, mask: np.ndarray) -> float:
    """Variance of grey levels between the mask and its outside."""
    share = float(mask.mean())
    if share in (0, 1):
        return 0.0
    return share * (1 - share) * float(grey[mask].mean(dtype=float) - grey[~mask].mean(dtype=float)) ** 2


@lru_cache(maxsize=KEPT)
def _reference_quality(view: View) -> float:
    grey, _ = _levelled(view)
    return _between(grey, reference(view, True)) / (float(grey.var(dtype=float)) + TINY)


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    areas = (np.count_nonzero(mask) for mask in (first & second, first, second))
    return float(metrics.iou(np.array(list(areas))))


def _expected_iou(p: np.ndarray, predicted: np.ndarray) -> float:
    inside = float(p[predicted].sum(dtype=float))
    outside = float(p.sum(dtype=float)) - inside
    return float(inside / (np.count_nonzero(predicted) + outside))


def _log_ratio(value: float, reference: float) -> float:
    ratio = np.log(value + TINY) - np.log(reference + TINY)
    return float(np.clip(ratio, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))


@lru_cache(maxsize=KEPT * len(SCORES))
def _shape(function: Callable, view: View) -> float:
    return function(view.masks)


def _shape_ratio(function: Callable, state: View, source: View) -> float:
    return _log_ratio(_shape(function, state), _shape(function, source))


@lru_cache(maxsize=KEPT)
def _atc_threshold(source: View) -> float:
    wrong = float((source.predicted_flat != source.foreground).mean())
    return float(np.quantile(np.abs(source.logits), wrong))


@lru_cache(maxsize=KEPT)
def _logit_skewness(view: View) -> float:
    return _skewness(view.logits)


@lru_cache(maxsize=KEPT)
def _grey_skewness(view: View) -> float:
    return _skewness(view.grey)


def _skewness(values: np.ndarray) -> float:
    centred = values.astype(float) - values.mean(dtype=float)
    variance = np.mean(centred**2)
    return float(np.mean(centred**3) / (variance**1.5 + TINY**3))


@lru_cache(maxsize=KEPT)
def _grey_contrast(view: View) -> float:
    if view.share in (0, 1):
        return 0.0
    inside, outside = view.grey[view.foreground].mean(dtype=float), view.grey[~view.foreground].mean(dtype=float)
    return float((inside - outside) / (view.grey.std(dtype=float) + TINY))


@lru_cache(maxsize=KEPT)
def _separation(view: View) -> float:
    if view.share in (0, 1):
        return 0.0
    inside, outside = view.grey[view.foreground], view.grey[~view.foreground]
    pooled = np.sqrt((inside.var(dtype=float) + outside.var(dtype=float)) / 2)
    return float(abs(inside.mean(dtype=float) - outside.mean(dtype=float)) / (pooled + 1e-3))


@lru_cache(maxsize=KEPT)
def _class_means(view: View) -> list[np.ndarray]:
    """Mean features of background and foreground rows; of all rows for a class that is empty."""
    inside = view.row_probabilities > view.threshold
    return [view.rows[chosen].mean(axis=0) if chosen.any() else view.rows.mean(axis=0) for chosen in (~inside, inside)]


@lru_cache(maxsize=KEPT)
def _dispersion(view: View, source: View) -> float:
    background, foreground = _class_means(view)
    share = float((view.row_probabilities > view.threshold).mean())
    between = share * (1 - share) * np.sum((foreground - background) ** 2)
    return float(between / (source.rows.var(axis=0).sum() + TINY))


@lru_cache(maxsize=KEPT)
def _scaled_rows(view: View, source: View) -> np.ndarray:
    return view.rows / (source.rows.std(axis=0) + TINY)


@lru_cache(maxsize=KEPT)
def _distances(first: View, second: View, source: View) -> np.ndarray:
    """Between the rows of two views, in standard deviations of the source's rows."""
    a, b = (_scaled_rows(view, source) for view in (first, second))
    return np.sqrt(((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T).clip(0))


@lru_cache(maxsize=KEPT)
def _quantiles(view: View) -> np.ndarray:
    """200 quantiles of the grey levels, standardised."""
    quantiles = np.quantile(view.grey, (np.arange(200) + 0.5) / 200)
    return (quantiles - view.grey.mean(dtype=float)) / (view.grey.std(dtype=float) + TINY)


@lru_cache(maxsize=KEPT)
def _texture(view: View) -> float:
    """Mean squared difference of neighbours over twice the variance: 1 for white noise, 0 for a smooth image."""
    squared = pairs = 0.0
    for batch in view.images:
        for difference in (np.diff(batch, axis=1), np.diff(batch, axis=2)):
            squared += float(np.square(difference, dtype=float).sum())
            pairs += difference.size
    return squared / max(1.0, pairs) / (2 * float(view.grey.var(dtype=float)) + TINY)
