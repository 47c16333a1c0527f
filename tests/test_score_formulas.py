"""Every label-free score against a second, slow formula, where the target is unlike the source.

The slow formulas go pixel by pixel from the fields of a view, share nothing with the library but its names, and spell
its constants out.
"""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import skew, wasserstein_distance

from shiftgain.prediction.scores import registry as scores
from shiftgain.prediction.view import View, share_logit

SIZES = ((2, 20, 18), (1, 12, 24))
THRESHOLD = 0.4


def blobs(rng, share, sizes):
    """Batches of masks of two sizes, smooth enough for components of several pixels."""
    batches = []
    for n, height, width in sizes:
        noise = rng.normal(size=(n, height + 2, width + 2))
        smooth = sum(noise[:, i : i + height, j : j + width] for i in range(3) for j in range(3))
        batches.append(smooth > np.quantile(smooth, 1 - share))
    return batches


def viewed(seed, share, grey, agreement, confidence, ramp=0.0, labelled=False, shift=0.0, sizes=SIZES):
    """A view of images whose masks cover ``share`` and have these grey levels, and of a prediction that agrees with the
    masks in a share ``agreement`` of the pixels."""
    rng = np.random.default_rng(seed)
    masks = blobs(rng, share, sizes)
    images, probabilities = [], []
    for mask in masks:
        slope = ramp * np.linspace(-1, 1, mask.shape[2])
        images.append((np.where(mask, *grey) + slope + rng.gamma(2, 0.02, mask.shape)).astype(np.float32))
        inside = mask == (rng.uniform(size=mask.shape) < agreement)
        p = np.where(inside, confidence, 1 - confidence) + rng.uniform(-0.14, 0.04, mask.shape)
        probabilities.append(p.clip(0.01, 0.99).astype(np.float32))
    at = rng.uniform(size=15)
    rows = rng.gamma(1, 1, (15, 3)) * [1, 3, 0.2] + np.outer(at > THRESHOLD, [2, 0, 0.5]) + shift
    labels = masks if labelled else None
    others = [
        [(p[:1] + rng.normal(0, scale, p[:1].shape)).astype(np.float32) for p in probabilities] for scale in (0.1, 0.3)
    ]
    state = {"turned": seed % 2 == 1, "own_part": seed / 8, "moved": seed / 2, "off_refresh": seed / 3}
    return View(images, probabilities, rows, at, THRESHOLD, labels, *others, **state)


SOURCE = viewed(0, 0.3, (0.7, 0.3), 0.9, 0.85, labelled=True)
DARK = viewed(1, 0.6, (0.2, 0.5), 0.8, 0.7, labelled=True, shift=0.3)
TARGETS = {
    "alike": viewed(2, 0.4, (0.8, 0.45), 0.85, 0.75, shift=0.5),
    "flipped": viewed(3, 0.2, (0.1, 0.6), 0.2, 0.8, shift=-0.4),
    "uneven": viewed(4, 0.7, (0.5, 0.3), 0.7, 0.65, ramp=0.4, shift=1.0),
}
LARGER = {"larger": viewed(5, 0.35, (0.9, 0.2), 0.9, 0.9, shift=0.2, sizes=((4, 20, 18), (2, 12, 24)))}
PAIRS = [pytest.param(source, *targets, id=f"{name}-{'-'.join(names)}")
         for name, source in {"bright": SOURCE, "dark": DARK}.items()
         for names, targets in zip(itertools.permutations(TARGETS, 2), itertools.permutations(TARGETS.values(), 2),
                                   strict=True)]  # fmt: skip


# What the slow formulas are made of


def pixels(batches):
    return np.concatenate([batch.reshape(-1).astype(float) for batch in batches])


def predicted(view):
    return pixels(view.probabilities) > view.threshold


def true(view):
    return pixels(view.labels).astype(bool)


def masks(view):
    """The images' masks one by one: of a source the true ones."""
    batches = view.labels if view.labels is not None else [p > view.threshold for p in view.probabilities]
    return [mask for batch in batches for mask in batch]


def inside(view):
    return np.concatenate([mask.reshape(-1) for mask in masks(view)])


def logits(view):
    p = pixels(view.probabilities)
    return np.log(p / (1 - p))


def iou(first, second):
    return np.sum(first & second) / np.sum(first | second)


def log_ratio(value, of_source):
    return min(6, max(-6, np.log((value + 1e-6) / (of_source + 1e-6))))


def logit(share):
    return np.log(share / (1 - share))


def contrast(view):
    grey, mask = pixels(view.images), inside(view)
    return (grey[mask].mean() - grey[~mask].mean()) / grey.std()


def d_prime(view):
    grey, mask = pixels(view.images), inside(view)
    pooled = np.sqrt(0.5 * (grey[mask].var() + grey[~mask].var()))
    return abs(grey[mask].mean() - grey[~mask].mean()) / (pooled + 1e-3)


def expected_iou(p, mask):
    return sum(p[mask]) / (sum(mask) + sum(p[~mask]))


def regression(x, y):
    """Logistic regression of true masks on logits, with a ridge of 1e-5 for each pixel, by a general search."""

    def loss(theta):
        z = theta[0] * x + theta[1]
        return np.mean(np.logaddexp(0, z) - y * z) + 1e-5 * np.sum(theta**2) / 2

    return minimize(loss, [1, 0], tol=1e-10).x


def calibrated(source, state):
    slope, offset = regression(logits(source), true(source))
    return expected_iou(1 / (1 + np.exp(-slope * logits(state) - offset)), predicted(state))


def calibrated_by_class(source, state):
    """:func:`calibrated` of the pixels of each predicted class by themselves."""
    p = np.empty(len(logits(state)))
    for foreground in (True, False):
        of_source, of_state = predicted(source) == foreground, predicted(state) == foreground
        slope, offset = regression(logits(source)[of_source], true(source)[of_source])
        p[of_state] = 1 / (1 + np.exp(-slope * logits(state)[of_state] - offset))
    return expected_iou(p, predicted(state))


def confidence(view):
    return np.mean([max(p, 1 - p) for p in pixels(view.probabilities)])


def entropies(p):
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def inner_entropy(view):
    """Mean over the pixels around which, two to either side and no further than the image, all are predicted alike."""
    values = []
    for p in (image for batch in view.probabilities for image in batch):
        mask = p > THRESHOLD
        for i, j in np.ndindex(p.shape):
            around = mask[max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
            values += [entropies(p[i, j])] if around.all() or not around.any() else []
    return np.mean(values) if values else np.mean(entropies(pixels(view.probabilities)))


def image_shares(view):
    return [np.mean(image > THRESHOLD) for batch in view.probabilities for image in batch]


def overlap_of_first(view, others):
    """IoU of the prediction and another one, of the first images of each batch."""
    pairs = [
        (p[: len(other)] > THRESHOLD, other > THRESHOLD) for p, other in zip(view.probabilities, others, strict=True)
    ]
    return sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs)


def grey_spread(view):
    images = [image for batch in view.images for image in batch]
    means, deviations = np.array([image.mean() for image in images]), np.array([image.std() for image in images])
    return np.var(means) / np.mean(deviations**2) + np.var(np.log(deviations + 0.001))


def trusted(source, images, state):
    trust = iou(reference(source, source), true(source))
    by_grey = iou(predicted(state), reference(images, source, margin(source, images) >= 0))
    return trust * by_grey + (1 - trust) * calibrated_by_class(source, state)


def thresholded_confidence(source, state):
    ordered, wrong = sorted(abs(logits(source))), np.mean(predicted(source) != true(source))
    place = wrong * (len(ordered) - 1)
    low = int(place)
    threshold = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    return np.mean(abs(logits(state)) > threshold)


def dispersion(state, source):
    """Scatter of the class means about the mean of all rows, over the variance of the source."""
    foreground = state.row_probabilities > state.threshold
    common, scatter = state.rows.mean(axis=0), 0
    for chosen in (foreground, ~foreground):
        scatter += np.mean(chosen) * sum((state.rows[chosen].mean(axis=0) - common) ** 2)
    return scatter / sum(np.var(column) for column in source.rows.T)


def class_distance(source, state):
    shifts = []
    for foreground in (False, True):
        means = [view.rows[(view.row_probabilities > view.threshold) == foreground].mean(axis=0)
                 for view in (source, state)]  # fmt: skip
        shifts.append(np.sqrt(np.mean(((means[1] - means[0]) / source.rows.std(axis=0)) ** 2)))
    return (shifts[0] + shifts[1]) / 2


def between(first, second, source, function=lambda distance: distance):
    """Mean over all pairs of rows of a function of the distance, in standard deviations of the source."""
    scale = source.rows.std(axis=0)
    return np.mean([function(np.linalg.norm((a - b) / scale)) for a in first.rows for b in second.rows])


def energy(source, state):
    pairs = ((source, state), (state, state), (source, source))
    cross, same, own = (between(*pair, source) for pair in pairs)
    return np.sqrt(2 * cross - same - own)


def neighbours(mask, lag=1):
    """The values of all pairs of pixels ``lag`` apart along rows or columns."""
    for row, column in np.ndindex(mask.shape):
        for other_row, other_column in ((row + lag, column), (row, column + lag)):
            if other_row < mask.shape[0] and other_column < mask.shape[1]:
                yield mask[row, column], mask[other_row, other_column]


@cache
def differing(view, lag):
    return np.mean([a != b for mask in masks(view) for a, b in neighbours(mask, lag)])


def perimeter(view):
    return sum(a != b for mask in masks(view) for a, b in neighbours(mask)) / sum(inside(view))


def roughness(view):
    share = np.mean(inside(view))
    return differing(view, 1) / (2 * share * (1 - share))


def length(view):
    share, lags = np.mean(inside(view)), (0, 1, 2, 4, 8, 16)
    kept = [1 - differing(view, lag) / (2 * share * (1 - share)) if lag else 1 for lag in lags]
    return sum((kept[k] + kept[k + 1]) / 2 * (lags[k + 1] - lags[k]) for k in range(5))


@cache
def edge_contrast(view):
    """Grey level inside less outside over pairs of pixels, 4 apart, that the mask parts; in the RMS over all pairs."""
    images = [smoothed(image) for batch in view.images for image in batch]
    all_pairs = [pair for image in images for pair in neighbours(image, 4)]
    sides = [pair for mask in masks(view) for pair in neighbours(mask, 4)]
    steps = [(x - y) * (1 if a else -1) for (x, y), (a, b) in zip(all_pairs, sides, strict=True) if a != b]
    return np.mean(steps) / np.sqrt(np.mean([(x - y) ** 2 for x, y in all_pairs]))


def component_size(images):
    """Pixels over 4-connected components, each filled from a seed."""
    components = n = 0
    for mask in images:
        left = {tuple(place) for place in np.argwhere(mask)}
        n += len(left)
        while left:
            components, edge = components + 1, [left.pop()]
            while edge:
                row, column = edge.pop()
                around = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)} & left
                left, edge = left - around, edge + list(around)
    return n / components


def smoothed(image):
    """The mean of the 3 x 3 pixels around each; what lies beyond the border mirrors what lies within."""
    padded, (height, width) = np.pad(image.astype(float), 1, mode="symmetric"), image.shape
    return sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9


def levelled(image):
    """An image less the slopes of the plane that fits it best."""
    rows, columns = (axis.reshape(-1) for axis in np.indices(image.shape))
    design = np.stack([np.ones_like(rows), rows - rows.mean(), columns - columns.mean()], axis=1)
    plane = np.linalg.lstsq(design, image.reshape(-1), rcond=None)[0]
    return image - (design[:, 1:] @ plane[1:]).reshape(image.shape)


def variance_between(grey, mask):
    """Of the grey levels with each replaced by the mean of its class."""
    return np.var(np.where(mask, grey[mask].mean(), grey[~mask].mean()))


@cache
def otsu(view):
    """(grey levels, bright class) that two classes explain best: as they are or levelled, at any of 255 thresholds."""
    images = [smoothed(image) for batch in view.images for image in batch]
    best = []
    for those in (images, [levelled(image) for image in images]):
        grey = np.concatenate([image.reshape(-1) for image in those])
        cuts = np.linspace(grey.min(), grey.max(), 257)[1:-1]
        cut = max(cuts, key=lambda cut: round(variance_between(grey, grey > cut), 12))
        best.append((variance_between(grey, grey > cut) / np.var(grey), grey, grey > cut))
    return max(best, key=lambda split: split[0])[1:]


def reference(images, source, kept=True):
    """The class that is as bright or dark as the source's masks are, or the other."""
    bright = otsu(images)[1]
    return bright if (contrast(source) > 0) == kept else ~bright


def reference_change(source, images, kept=True):
    return logit(np.mean(reference(images, source, kept))) - logit(np.mean(true(source)))


def margin(source, images):
    return abs(reference_change(source, images, False)) - abs(reference_change(source, images))


def explained(images, mask=None):
    """Share of the variance of the grey levels that two classes explain: those of a mask, or the best."""
    grey, best = otsu(images)
    return variance_between(grey, best if mask is None else mask) / np.var(grey)


def standardised(view, sign=1):
    grey = np.sort(sign * pixels(view.images))
    places = (np.arange(200) + 0.5) / 200 * (len(grey) - 1)
    below = places.astype(int)
    quantiles = grey[below] + (places - below) * (grey[below + 1] - grey[below])
    return (quantiles - grey.mean()) / grey.std()


@cache
def texture(view):
    squares = [(float(a) - float(b)) ** 2 for batch in view.images for image in batch for a, b in neighbours(image)]
    return np.mean(squares) / (2 * np.var(pixels(view.images)))


def grey_of(view):
    return pixels(view.images)


SLOW = {
    "entropy": lambda s, t: np.mean([-p * np.log(p) - (1 - p) * np.log(1 - p) for p in pixels(t.probabilities)]),
    "difference_of_confidences": lambda s, t: confidence(s) - confidence(t),
    "atc": thresholded_confidence,
    "soft_dice": lambda s, t: (
        2 * sum(pixels(t.probabilities) * predicted(t)) / (sum(pixels(t.probabilities)) + sum(predicted(t)))
    ),
    "expected_iou": lambda s, t: expected_iou(pixels(t.probabilities), predicted(t)),
    "expected_iou_calibrated": calibrated,
    "expected_iou_classwise": calibrated_by_class,
    "inner_uncertainty": lambda s, t: inner_entropy(t) - inner_entropy(s),
    "mean_probability_change": lambda s, t: (
        logit(np.mean(pixels(t.probabilities))) - logit(np.mean(pixels(s.probabilities)))
    ),
    "share_spread_change": lambda s, t: (
        np.std([logit(share) for share in image_shares(t)]) - np.std([logit(share) for share in image_shares(s)])
    ),
    "empty_change": lambda s, t: (
        np.mean([share < 0.002 for share in image_shares(t)]) - np.mean([share < 0.002 for share in image_shares(s)])
    ),
    "seen_polarity": lambda s, t: contrast(t) * np.sign(contrast(s)) * (-1 if t.turned else 1),
    "consistency": lambda s, t: overlap_of_first(t, t.perturbed),
    "consistency_change": lambda s, t: overlap_of_first(t, t.perturbed) - overlap_of_first(s, s.perturbed),
    "path_agreement": lambda s, t: overlap_of_first(t, t.halfway),
    "moved": lambda s, t: t.moved,
    "off_refresh": lambda s, t: t.off_refresh,
    "own_part": lambda s, t: t.own_part,
    "turned": lambda s, t: float(t.turned),
    "foreground": lambda s, t: np.mean(predicted(t)),
    "foreground_change": lambda s, t: logit(np.mean(predicted(t))) - logit(np.mean(true(s))),
    "foreground_distance": lambda s, t: abs(logit(np.mean(predicted(t))) - logit(np.mean(true(s)))),
    "cot": lambda s, t: wasserstein_distance(pixels(t.probabilities), pixels(s.labels)),
    "logit_skewness": lambda s, t: skew(logits(t)) - skew(logits(s)),
    "grey_polarity": lambda s, t: contrast(t) * np.sign(contrast(s)),
    "separation": lambda s, t: log_ratio(d_prime(t), d_prime(s)),
    "edge_change": lambda s, t: log_ratio(abs(edge_contrast(t)), abs(edge_contrast(s))),
    "seen_edge": lambda s, t: edge_contrast(t) * np.sign(edge_contrast(s)) * (-1 if t.turned else 1),
    "latent_contrast": lambda s, t: log_ratio(dispersion(t, s), dispersion(s, s)),
    "class_distance": class_distance,
    "energy": energy,
    "perimeter_change": lambda s, t: log_ratio(perimeter(t), perimeter(s)),
    "roughness_change": lambda s, t: log_ratio(roughness(t), roughness(s)),
    "component_change": lambda s, t: log_ratio(component_size(masks(t)), component_size(masks(s))),
    "hole_change": lambda s, t: log_ratio(
        component_size([~mask for mask in masks(t)]), component_size([~mask for mask in masks(s)])
    ),
    "length_change": lambda s, t: log_ratio(length(t), length(s)),
    # of the images of the target
    "own_iou": lambda s, t: iou(predicted(s), true(s)),
    "own_foreground": lambda s, t: np.mean(true(s)),
    "own_separation": lambda s, t: np.log(1 + d_prime(s)),
    "grey_shift": lambda s, t: (grey_of(t).mean() - grey_of(s).mean()) / grey_of(s).std(),
    "grey_scale": lambda s, t: log_ratio(grey_of(t).std(), grey_of(s).std()),
    "grey_moments": lambda s, t: (
        np.sqrt((grey_of(t).mean() - grey_of(s).mean()) ** 2 + (grey_of(t).std() - grey_of(s).std()) ** 2)
        / grey_of(s).std()
    ),
    "grey_shape": lambda s, t: np.mean(abs(standardised(t) - standardised(s))),
    "grey_shape_inverted": lambda s, t: np.mean(abs(standardised(t, -1) - standardised(s))),
    "grey_skewness": lambda s, t: skew(grey_of(t)) * np.sign(skew(grey_of(s))),
    "grey_spread": lambda s, t: log_ratio(grey_spread(t), grey_spread(s)),
    "texture": lambda s, t: log_ratio(texture(t), texture(s)),
    "own_reference": lambda s, t: iou(reference(s, s), true(s)),
    "reference_change": reference_change,
    "reference_change_flipped": lambda s, t: reference_change(s, t, False),
    "polarity_margin": margin,
    "reference_quality": lambda s, t: explained(t) - explained(s),
    # of a state beside the images as they are, or beside another state
    "reference_iou": lambda s, i, t: iou(predicted(t), reference(i, s)),
    "resolved_iou": lambda s, i, t: iou(predicted(t), reference(i, s, margin(s, i) >= 0)),
    "trusted_iou": trusted,
    "explained": lambda s, i, t: explained(i, predicted(t)) / explained(i),
    "agreement": lambda s, a, b: iou(predicted(a), predicted(b)),
    "complement_agreement": lambda s, a, b: iou(predicted(a), ~predicted(b)),
    "foreground_moved": lambda s, a, b: np.mean(predicted(b)) - np.mean(predicted(a)),
}
OF_ONE = scores.SCORES | scores.DOMAINS
OF_TWO = scores.REFERENCES | scores.COMPARISONS


def test_every_score_has_a_case():
    assert set(SLOW) == set(OF_ONE | OF_TWO)


def test_the_cases_are_off_the_diagonal():
    """Sources of both polarities and targets of either, one of them with a plane to take off; no score is of itself."""
    assert contrast(SOURCE) > 0 > contrast(DARK)
    assert {margin(source, target) >= 0 for source in (SOURCE, DARK) for target in TARGETS.values()} == {True, False}
    assert all(iou(predicted(view), true(view)) < 0.9 for view in (SOURCE, DARK))
    for image in TARGETS["uneven"].images[0]:
        assert np.std(levelled(image)) < 0.8 * np.std(image)


@pytest.mark.parametrize("source", [SOURCE, DARK], ids=["bright", "dark"])
@pytest.mark.parametrize("target", [pytest.param(view, id=name) for name, view in (TARGETS | LARGER).items()])
@pytest.mark.parametrize("name", OF_ONE)
def test_a_score_is_what_its_formula_says(name, source, target):
    assert OF_ONE[name](source, target) == pytest.approx(SLOW[name](source, target), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("source", "first", "second"), PAIRS)
@pytest.mark.parametrize("name", OF_TWO)
def test_a_score_of_two_is_what_its_formula_says(name, source, first, second):
    expected = SLOW[name](source, first, second)
    assert OF_TWO[name](source, first, second) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_shares_of_all_or_nothing_have_a_logit():
    """Kept a thousandth from 0 and 1."""
    assert [share_logit(share) for share in (0.0, 0.25, 1.0)] == pytest.approx([-np.log(999), -np.log(3), np.log(999)])


def test_certain_probabilities_have_a_logit_and_the_threshold_is_background():
    certain = replace(SOURCE, probabilities=[np.array([[[0.0, 1.0, THRESHOLD]]])], labels=None)
    assert list(certain.logits[:2]) == pytest.approx([-np.log(1e7), np.log(1e7)], rel=1e-3)
    assert list(certain.foreground) == [False, True, False]


def test_the_row_of_each_state_of_a_target():
    """Which state, and which images, each column is of: those of references are of the network that is kept."""
    states = dict(zip(("kept", "plain", "other"), TARGETS.values(), strict=True))
    found = scores.scores(SOURCE, states, "kept")
    kept = states["kept"]
    for name, view in states.items():
        expected = {score: function(SOURCE, kept) for score, function in scores.DOMAINS.items()}
        expected |= {score: function(SOURCE, view) for score, function in scores.SCORES.items()}
        expected |= {score: function(SOURCE, kept, view) for score, function in OF_TWO.items()}
        assert found[name] == expected
