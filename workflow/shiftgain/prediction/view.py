"""What a network says of some images in one state: the material that every label-free score is made of.

A statistic of one view is a property of it, worked out once and kept for as long as the view. A score compares views,
as a rule by a difference from the view of the source: those are the functions of :mod:`shiftgain.prediction.scores`.
Images may differ in size, so that pixels come as a list of batches. Pixels are in float32, sums in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from shiftgain.prediction import otsu, shapes
from shiftgain.prediction.calibration import platt

# Probabilities are kept this far from 0 and 1: the rounding of float32.
SMALLEST_PROBABILITY = 1e-7
# A share of pixels is kept this far from 0 and 1 where its logit is taken.
SMALLEST_SHARE = 1e-3
# Added to the parts of a ratio, in their unit, so that empty masks and flat images give finite numbers.
EPSILON = 1e-6
# Added to the deviation of grey levels within classes: a quarter of a level of 8 bits, below which nothing is resolved.
SMALLEST_SPREAD = 1e-3
N_QUANTILES = 200
# Pixels on either side of a boundary that count as near it.
BOUNDARY = 2
# Pixels between the two sides of a boundary whose grey levels are compared: blurred edges are some pixels wide.
ACROSS = 4


@dataclass(frozen=True, eq=False)
class View:
    """A network on the images of a domain, in one state.

    ``images`` and ``probabilities`` of the foreground: batches (n, H, W), grey level in [0, 1] and probability.
    ``rows`` (r, C) are the features that the head receives at a sample of positions, ``row_probabilities`` (r,)
    the probabilities there. ``labels``: batches of true masks, boolean (n, H, W), of a labelled source; never of a
    target; ``counted``, as large: the pixels that they speak of, all without it. A pixel is predicted foreground where
    its probability exceeds ``threshold``.

    ``perturbed`` and ``halfway``: probabilities for the first images of each batch under noise, and under statistics
    half-way back to the source's. ``turned``: whether the network sees negatives; ``own_part``: of the statistics, what
    is of each image; ``moved`` and ``off_refresh``: how far the statistics are from the source's, and from a plain
    refresh (:func:`shiftgain.prediction.states.distance`).
    """

    images: Sequence[np.ndarray]
    probabilities: Sequence[np.ndarray]
    rows: np.ndarray
    row_probabilities: np.ndarray
    threshold: float = 0.5
    labels: Sequence[np.ndarray] | None = None
    perturbed: Sequence[np.ndarray] = ()
    halfway: Sequence[np.ndarray] = ()
    turned: bool = False
    own_part: float = 0.0
    moved: float = 0.0
    off_refresh: float = 0.0
    counted: Sequence[np.ndarray] | None = None

    # Pixels

    @cached_property
    def predicted(self) -> list[np.ndarray]:
        """Predicted masks: batches, boolean (n, H, W)."""
        return [batch > self.threshold for batch in self.probabilities]

    @property
    def masks(self) -> Sequence[np.ndarray]:
        """True masks where there are any, predicted ones elsewhere."""
        return self.predicted if self.labels is None else self.labels

    @cached_property
    def grey(self) -> np.ndarray:
        """Grey levels of all pixels (p,)."""
        return flat(self.images)

    @cached_property
    def smoothed(self) -> list[np.ndarray]:
        """Grey levels, means over 3 x 3 pixels: batches (n, H, W)."""
        return [ndimage.uniform_filter(batch, (0, 3, 3)) for batch in self.images]

    @cached_property
    def p(self) -> np.ndarray:
        """Foreground probabilities of all pixels (p,)."""
        return flat(self.probabilities).clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)

    @cached_property
    def logits(self) -> np.ndarray:
        """log p / (1 - p) of all pixels (p,), at most 16 in size."""
        return logit(self.p)

    @cached_property
    def foreground(self) -> np.ndarray:
        """Whether each pixel lies in :attr:`masks` (p,)."""
        return flat(self.masks)

    @cached_property
    def told(self) -> np.ndarray | slice:
        """Which pixels the true masks speak of, as an index of all (p,)."""
        return slice(None) if self.counted is None else flat(self.counted)

    @cached_property
    def share(self) -> float:
        """Share of the pixels in :attr:`masks`."""
        return float(self.foreground.mean())

    @cached_property
    def predicted_flat(self) -> np.ndarray:
        """Whether each pixel is predicted foreground (p,)."""
        return self.foreground if self.labels is None else flat(self.predicted)

    @cached_property
    def image_shares(self) -> np.ndarray:
        """Share of the pixels of each image that are predicted foreground (n,)."""
        return np.concatenate([batch.mean(axis=(1, 2)) for batch in self.predicted])

    # Stability

    @cached_property
    def consistency(self) -> float:
        """IoU of the predictions with and without noise on the images; 1 where both are empty."""
        return self._overlap(self.perturbed)

    @cached_property
    def path_agreement(self) -> float:
        """IoU of the predictions with these statistics and with those half-way back; 1 where both are empty."""
        return self._overlap(self.halfway)

    def _overlap(self, others: Sequence[np.ndarray]) -> float:
        both = either = 0
        for batch, other in zip(self.predicted, others, strict=False):
            first, second = batch[: len(other)], other > self.threshold
            both += int(np.count_nonzero(first & second))
            either += int(np.count_nonzero(first | second))
        return float(both / either) if either else 1.0

    # Confidence

    @cached_property
    def entropy(self) -> np.ndarray:
        """-p log p - (1 - p) log(1 - p) of all pixels (p,), in nats."""
        return -(self.p * np.log(self.p) + (1 - self.p) * np.log1p(-self.p))

    @cached_property
    def inner_entropy(self) -> float:
        """Mean entropy of the pixels further than :data:`BOUNDARY` px from the boundary of the prediction.

        Near it any prediction is unsure. That of all pixels where none is further.
        """
        window = (1, 2 * BOUNDARY + 1, 2 * BOUNDARY + 1)
        inner = flat(
            [ndimage.maximum_filter(b, window) == ndimage.minimum_filter(b, window) for b in self._predicted_bytes]
        )
        return float(self.entropy[inner].mean(dtype=float) if inner.any() else self.entropy.mean(dtype=float))

    @property
    def _predicted_bytes(self) -> list[np.ndarray]:
        return [batch.view(np.uint8) for batch in self.predicted]

    @cached_property
    def logit_skewness(self) -> float:
        """Skewness of the logits."""
        return skewness(self.logits)

    @cached_property
    def atc_threshold(self) -> float:
        """The e-quantile of abs(logit), where e is the share of pixels that the network gets wrong: needs labels."""
        wrong = float((self.predicted_flat != self.foreground)[self.told].mean())
        return float(np.quantile(np.abs(self.logits[self.told]), wrong))

    @cached_property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset by :func:`platt` that fit the logits to the masks: needs labels."""
        return platt(self.logits[self.told], self.foreground[self.told])

    @cached_property
    def class_calibration(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """:func:`platt` of the pixels predicted background, and of those predicted foreground: needs labels.

        :attr:`calibration` for a class that is never predicted.
        """
        logits, true, predicted = (part[self.told] for part in (self.logits, self.foreground, self.predicted_flat))
        background, foreground = (
            platt(logits[chosen], true[chosen]) if chosen.any() else self.calibration
            for chosen in (~predicted, predicted)
        )
        return background, foreground

    # Grey levels

    @cached_property
    def grey_skewness(self) -> float:
        """Skewness of the grey levels."""
        return skewness(self.grey)

    @cached_property
    def grey_quantiles(self) -> np.ndarray:
        """200 evenly spaced quantiles (200,) of the grey levels, less their mean, in their standard deviations."""
        quantiles = np.quantile(self.grey, (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
        return (quantiles - self.grey.mean(dtype=float)) / (self.grey.std(dtype=float) + EPSILON)

    @cached_property
    def grey_contrast(self) -> float:
        """(m1 - m0) / sd: mean grey level inside :attr:`masks` less that outside, in standard deviations of the image.

        0 for empty and full masks.
        """
        if self.share in (0, 1):
            return 0.0
        inside, outside = self.grey[self.foreground].mean(dtype=float), self.grey[~self.foreground].mean(dtype=float)
        return float((inside - outside) / (self.grey.std(dtype=float) + EPSILON))

    @property
    def bright(self) -> bool:
        """Whether :attr:`masks` are brighter than their outside."""
        return self.grey_contrast > 0

    @cached_property
    def d_prime(self) -> float:
        """abs(m1 - m0) / sqrt((v1 + v0) / 2): grey levels inside and outside :attr:`masks`, by mean and variance.

        The sensitivity index of Green and Swets 1966; it bounds what any threshold can reach. 0 for empty and full
        masks.
        """
        if self.share in (0, 1):
            return 0.0
        inside, outside = self.grey[self.foreground], self.grey[~self.foreground]
        pooled = np.sqrt((inside.var(dtype=float) + outside.var(dtype=float)) / 2)
        return float(abs(inside.mean(dtype=float) - outside.mean(dtype=float)) / (pooled + SMALLEST_SPREAD))

    @cached_property
    def edge_contrast(self) -> float:
        """Mean of x_in - x_out over pairs of pixels across a boundary of :attr:`masks`, over the RMS of all pairs.

        x: :attr:`smoothed` grey levels; pairs lie :data:`ACROSS` px apart, along rows and columns. Large where the
        boundary follows edges of the image, whatever the illumination; 0 without a boundary.
        """
        step = crossing = squared = pairs = 0.0
        for (x, y), (a, b) in zip(shapes.apart(self.smoothed, ACROSS), shapes.apart(self.masks, ACROSS), strict=True):
            difference, side = x - y, a.astype(np.int8) - b.astype(np.int8)
            step += float((difference * side).sum(dtype=float))
            crossing += int(np.count_nonzero(side))
            squared += float(np.square(difference, dtype=float).sum())
            pairs += difference.size
        return step / crossing / (np.sqrt(squared / pairs) + EPSILON) if crossing else 0.0

    @cached_property
    def grey_spread(self) -> float:
        """var(m) / mean(s^2) + var(log s) over images of mean grey level m and deviation s."""
        m, s = (
            np.concatenate([getattr(batch, part)((1, 2), dtype=float) for batch in self.images])
            for part in ("mean", "std")
        )
        return float(m.var() / (np.mean(s**2) + EPSILON) + np.log(s + SMALLEST_SPREAD).var())

    @cached_property
    def gearys_c(self) -> float:
        """Mean of (x_i - x_j)^2 over neighbouring pixels i, j, over twice the variance: 1 for white noise, 0 if smooth.

        Geary 1954, The contiguity ratio and statistical mapping, The Incorporated Statistician 5(3); here with the
        variance over n and not n - 1.
        """
        squared = pairs = 0.0
        for batch in self.images:
            for difference in (np.diff(batch, axis=1), np.diff(batch, axis=2)):
                squared += float(np.square(difference, dtype=float).sum())
                pairs += difference.size
        return squared / max(1.0, pairs) / (2 * float(self.grey.var(dtype=float)) + EPSILON)

    # Two classes without labels

    @cached_property
    def split(self) -> otsu.Split:
        """:func:`otsu.split` of :attr:`smoothed` images, or of these less a plane each.

        Of the two, the one whose classes explain the larger share of variance: a plane takes off uneven illumination.
        """
        levelled = [otsu.without_plane(batch) for batch in self.smoothed]
        return max(
            (otsu.split(flat(batches)) for batches in (self.smoothed, levelled)), key=lambda split: split.explained
        )

    @cached_property
    def bright_class(self) -> np.ndarray:
        """Whether each pixel lies above the threshold of :attr:`split` (p,)."""
        return self.split.grey > self.split.threshold

    def reference(self, bright: bool) -> np.ndarray:
        """The bright or the dark class of the grey levels (p,): a segmentation that no network and no label made."""
        return self.bright_class == bright

    @cached_property
    def reference_variance(self) -> float:
        """:func:`otsu.variance_between` the two classes of :attr:`split`."""
        return otsu.variance_between(self.split.grey, self.reference(True))

    @cached_property
    def reference_quality(self) -> float:
        """:attr:`reference_variance` over the variance of the smoothed grey levels."""
        return self.reference_variance / (float(self.split.grey.var(dtype=float)) + EPSILON)

    # Shapes

    @cached_property
    def perimeter_per_area(self) -> float:
        """:func:`shapes.perimeter_per_area` of :attr:`masks`."""
        return shapes.perimeter_per_area(self.masks)

    @cached_property
    def join_count_ratio(self) -> float:
        """:func:`shapes.join_count_ratio` of :attr:`masks`."""
        return shapes.join_count_ratio(self.masks)

    @cached_property
    def component_size(self) -> float:
        """:func:`shapes.component_size` of :attr:`masks`."""
        return shapes.component_size(self.masks)

    @cached_property
    def hole_size(self) -> float:
        """:func:`shapes.hole_size` of :attr:`masks`."""
        return shapes.hole_size(self.masks)

    @cached_property
    def correlation_length(self) -> float:
        """:func:`shapes.correlation_length` of :attr:`masks`."""
        return shapes.correlation_length(self.masks)

    # Features

    @cached_property
    def row_scale(self) -> np.ndarray:
        """Standard deviation of each feature (C,), kept from 0."""
        return self.rows.std(axis=0) + EPSILON

    @cached_property
    def row_foreground(self) -> np.ndarray:
        """Whether each row is predicted foreground (r,)."""
        return self.row_probabilities > self.threshold

    @cached_property
    def class_means(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean features (C,) of background and of foreground rows; of all rows for a class that is empty."""
        background, foreground = (
            self.rows[chosen].mean(axis=0) if chosen.any() else self.rows.mean(axis=0)
            for chosen in (~self.row_foreground, self.row_foreground)
        )
        return background, foreground


def flat(batches: Sequence[np.ndarray]) -> np.ndarray:
    """The pixels of all batches (p,)."""
    return np.concatenate([batch.reshape(-1) for batch in batches])


def logit(p: np.ndarray) -> np.ndarray:
    """log p / (1 - p). scipy.special.logit rounds float32 otherwise, and the shipped forest was fitted on these."""
    return np.log(p) - np.log1p(-p)


def share_logit(share: float) -> float:
    """Logit of a share of pixels, which may be 0 or 1."""
    return float(logit(np.array(share).clip(SMALLEST_SHARE, 1 - SMALLEST_SHARE)))


def skewness(values: np.ndarray) -> float:
    """mean (x - m)^3 / var^1.5; 0 where nothing varies, where scipy.stats.skew is NaN."""
    centred = values.astype(float) - values.mean(dtype=float)
    variance = np.mean(centred**2)
    return float(np.mean(centred**3) / (variance**1.5 + EPSILON**3))
