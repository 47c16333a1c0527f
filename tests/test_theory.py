"""The single-pixel theory against the closed forms of two Gaussians and against brute force."""

from statistics import NormalDist

import numpy as np
import pytest

from shiftgain.findings.theory import (
    Classes,
    alike,
    best_levels,
    classes,
    contrast_change,
    grey_distribution,
    iou,
    pixel_ceiling,
    predicted_iou,
    predicted_map,
    share_spread,
)
from shiftgain.shifts.generation import drawn_compound


def two_classes(d, share, sd=0.05):
    """Classes ``d`` deviations apart around mid-grey, far from clipping."""
    return share * grey_distribution(0.5 + d * sd / 2, sd), (1 - share) * grey_distribution(0.5 - d * sd / 2, sd)


@pytest.mark.parametrize(
    ("d", "share", "ceiling"),
    [(1, 0.3, 0.402), (2, 0.1, 0.441), (2, 0.3, 0.621), (3, 0.5, 0.875), (4, 0.3, 0.934)],
)
def test_ceiling_of_two_gaussians(d, share, ceiling):
    assert pixel_ceiling(*two_classes(d, share)) == pytest.approx(ceiling, abs=0.002)


def test_no_set_of_levels_is_better():
    rng = np.random.default_rng(0)
    foreground, background = np.zeros((2, 256))
    foreground[:8], background[:8] = rng.random((2, 8))
    every = [np.isin(np.arange(256), [k for k in range(8) if number >> k & 1]) for number in range(1, 256)]
    best = max(iou(chosen, foreground, background) for chosen in every)
    assert iou(best_levels(foreground, background), foreground, background) == pytest.approx(best)


def test_the_floor_is_the_foreground_share():
    assert pixel_ceiling(*two_classes(0, 0.3)) == pytest.approx(0.3)


def test_distribution_is_clipped_into_the_ends():
    distribution = grey_distribution(1.0, 0.1)
    assert distribution.sum() == pytest.approx(1) and distribution[255] == pytest.approx(0.5, abs=0.01)
    assert grey_distribution(0.5, 0)[128] == 1


def test_adaptation_undoes_what_is_affine_and_not_a_flip():
    sds, share = (0.03, 0.03), 0.3
    home = Classes((0.4, 0.6), sds, share)
    at_home, refreshed = predicted_iou(home, home)
    assert at_home == refreshed == pytest.approx(pixel_ceiling(*two_classes(0.2 / 0.03, share, 0.03)), abs=0.01)
    before, after = predicted_iou(home, home.mapped(1, 0.2))
    assert before < 0.1 and after == pytest.approx(at_home, abs=0.01)
    assert predicted_iou(home, home.mapped(-1, 0))[1] < 0.1


def above(level: float, means: tuple[float, float], sd: float, share: float) -> float:
    """IoU of calling what is brighter than ``level`` foreground, of two Gaussians: by their distribution functions."""
    hit, false = (1 - NormalDist(mean, sd).cdf(level) for mean in means)
    return share * hit / (share + (1 - share) * false)


def moments(means: tuple[float, float], sd: float, share: float) -> tuple[float, float]:
    """Mean and deviation of the two Gaussians together."""
    return share * means[0] + (1 - share) * means[1], np.sqrt(sd**2 + share * (1 - share) * (means[0] - means[1]) ** 2)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("target", [(0.7, 0.3), (0.55, 0.45), (0.72, 0.55), (0.5, 0.3)])
def test_a_threshold_moves_with_mean_and_deviation(target, share):
    """Against the closed form: the source's best threshold t becomes mean + (t - own mean) sd / own sd."""
    source, sd = (0.6, 0.4), 0.04
    best = max(np.arange(0.4, 0.6, 0.0002), key=lambda level: above(level, source, sd, share))
    (own_mean, own_sd), (mean, all_sd) = moments(source, sd, share), moments(target, sd, share)
    moved = mean + (best - own_mean) * all_sd / own_sd
    before, after = predicted_iou(*(Classes(means, (sd, sd), share) for means in (source, target)))
    assert before == pytest.approx(above(best, target, sd, share), abs=0.03)
    assert after == pytest.approx(above(moved, target, sd, share), abs=0.03)


def test_the_map_has_the_background_down_and_the_mask_across():
    means = np.array([0.2, 0.4, 0.7])
    source = Classes((0.6, 0.4), (0.05, 0.1), 0.3)
    before, after = predicted_map(source, means)
    for row, background in enumerate(means):
        for column, mask in enumerate(means):
            expected = predicted_iou(source, Classes((mask, background), (0.05, 0.1), 0.3))
            assert (before[row, column], after[row, column]) == expected
    assert not np.allclose(before, before.T)


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("target", [Classes((0.7, 0.3), (0.04, 0.04), 0.3), Classes((0.6, 0.5), (0.05, 0.05), 0.3)])
def test_a_threshold_moves_with_the_share_and_the_noise_too(target, share):
    """Against the closed form, as above, of a source of another share and noise than the target's."""
    source, sd = Classes((0.6, 0.4), (0.04, 0.04), share), target.sds[0]
    best = max(np.arange(0.4, 0.6, 0.0002), key=lambda level: above(level, source.means, 0.04, share))
    (own_mean, own_sd), (mean, all_sd) = moments(source.means, 0.04, share), moments(target.means, sd, target.share)
    before, after = predicted_iou(source, target)
    assert before == pytest.approx(above(best, target.means, sd, target.share), abs=0.03)
    moved = mean + (best - own_mean) * all_sd / own_sd
    # A level of the source is up to three of the target here, and a threshold between levels is rounded.
    assert after == pytest.approx(above(moved, target.means, sd, target.share), abs=0.04)


SPEC = {
    "name": "0.60-0.30", "transform": "identity", "level": 0.0, "channels": 1, "means": [0.6, 0.3],
    "noise": {"mask_sd": 0.05, "background_sd": 0.1}, "foreground": 0.35,
}  # fmt: skip


@pytest.mark.parametrize(
    ("transform", "level", "means", "sds", "share"),
    [
        ("identity", 0, (0.6, 0.3), (0.05, 0.1), 0.35),
        ("brightness", 0.2, (0.8, 0.5), (0.05, 0.1), 0.35),
        ("contrast", -1, (0.55, 0.4), (0.025, 0.05), 0.35),
        ("inversion", 1, (0.4, 0.7), (0.05, 0.1), 0.35),
        ("inversion", 0.75, (0.45, 0.6), (0.025, 0.05), 0.35),
        ("noise", 0.12, (0.6, 0.3), (0.13, 0.15620499), 0.35),
        ("foreground", -2, (0.6, 0.3), (0.05, 0.1), 0.0679231),
    ],
)
def test_classes_of_a_domain_under_its_transform(transform, level, means, sds, share):
    found = classes(SPEC | {"transform": transform, "level": float(level)})
    assert [*found.means, *found.sds, found.share] == pytest.approx([*means, *sds, share])


def test_classes_of_a_compound():
    change = drawn_compound(1)  # a flip
    found = classes(SPEC | {"transform": "compound", "level": 1.0})
    expected = classes(SPEC | {"transform": "foreground", "level": change.share}).mapped(change.gain, change.offset)
    assert [*found.means, *found.sds, found.share] == pytest.approx([*expected.means, *expected.sds, expected.share])
    assert found.means[0] < found.means[1] and found.contrast_to_noise == pytest.approx(0.3 / 0.0790569)


@pytest.mark.parametrize(
    "change",
    [
        {"transform": "gamma", "level": 1.0},
        {"transform": "texture", "level": 1.0},
        {"foreground": None, "threshold": 0.1},
        {"channels": 3},
    ],
)
def test_what_is_not_two_classes_of_white_noise_has_none(change):
    assert classes(SPEC | change) is None
    assert classes({"name": "mine", "path": "a.h5", "channels": 1, "transform": "identity", "level": 0.0}) is None


@pytest.mark.parametrize(
    ("change", "spread", "all_alike"),
    [
        ({}, 0, True),
        ({"transform": "brightness", "level": 0.1}, 0, True),
        ({"transform": "exposure", "level": 0.5}, 0, False),
        ({"transform": "share_spread", "level": 1.5}, 1.5, False),
        ({"foreground_spread": 0.7}, 0.7, False),
        ({"foreground_spread": 0.7, "transform": "exposure", "level": 0.5}, 0.7, False),
    ],
)
def test_images_of_unlike_exposure_or_share_have_the_classes_of_one_in_the_middle(change, spread, all_alike):
    spec = SPEC | change
    assert share_spread(spec) == spread and alike(spec) == all_alike
    assert contrast_change(classes(SPEC), classes(spec)) == pytest.approx(0) and classes(spec).share == 0.35
    assert np.isnan(share_spread({"name": "mine", "path": "a.h5", "transform": "identity", "level": 0.0}))


def test_contrast_to_noise_changes_in_stops():
    home = classes(SPEC)
    assert contrast_change(home, home.mapped(-0.3, 0.1)) == pytest.approx(0)
    assert contrast_change(home, home._replace(means=(0.45, 0.3))) == pytest.approx(-1)
    assert contrast_change(home, home._replace(sds=(0.025, 0.05))) == pytest.approx(1)
    assert home.in_context().sds == (0.0125, 0.025)
    for other in (home._replace(means=(0.3, 0.3)), home._replace(sds=(0.0, 0.0))):
        assert np.isnan(contrast_change(home, other)) and np.isnan(contrast_change(other, home))
