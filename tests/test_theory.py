"""The single-pixel theory against the closed forms of two Gaussians and against brute force."""

import numpy as np
import pytest

from workflow.lib.theory import best_levels, grey_distribution, iou, pixel_ceiling, predicted_iou


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
    at_home, refreshed = predicted_iou((0.4, 0.6), (0.4, 0.6), sds, share)
    assert at_home == refreshed == pytest.approx(pixel_ceiling(*two_classes(0.2 / 0.03, share, 0.03)), abs=0.01)
    before, after = predicted_iou((0.4, 0.6), (0.6, 0.8), sds, share)
    assert before < 0.1 and after == pytest.approx(at_home, abs=0.01)
    assert predicted_iou((0.4, 0.6), (0.6, 0.4), sds, share)[1] < 0.1
