"""Distances between latents: closed forms, POT, dead channels, and what few rows do to them."""

from contextlib import nullcontext
from unittest.mock import Mock

import h5py
import numpy as np
import ot
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.linalg import expm
from scipy.stats import kstest

from scripts import distances as stage
from scripts.distances import distances as measure
from shiftgain.files import store
from shiftgain.latents import channels
from shiftgain.latents.distances import (
    DISTANCES,
    RIDGE,
    Latents,
    bhattacharyya,
    bhattacharyya_diagonal,
    projections,
    sliced_gaussian,
    sliced_wasserstein,
    wasserstein,
    wasserstein_diagonal,
)

every_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
gaussian_wasserstein = pytest.mark.parametrize("distance", [wasserstein, wasserstein_diagonal])
every_wasserstein = pytest.mark.parametrize("distance", [f for name, f in DISTANCES.items() if "wasserstein" in name])
every_bhattacharyya = pytest.mark.parametrize("distance", [bhattacharyya, bhattacharyya_diagonal])


# Halves of the null, and by how much their means differ in these tests.
HALVES = {"first": 0.0, "second": 1.0}


def of_rows(rows):
    """Latents whose moments are those of the rows kept."""
    centred = rows - rows.mean(0)
    return Latents(rows, rows.mean(0), centred.T @ centred / max(1, len(rows) - 1))


def of_moments(mean, covariance):
    """Latents for the distances that look at no rows."""
    return Latents(np.zeros((1, len(mean))), mean, covariance)


def normal(seed, n=60, channels=6, shift=0.0, scale=1.0, dead=()):
    """Latents of correlated normal rows, some channels always zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(channels, channels)) / np.sqrt(channels)
    rows = scale * (rng.normal(size=(n, channels)) @ mixing) + shift
    rows[:, list(dead)] = 0
    return of_rows(rows)


def between(distance, first, second):
    return distance(first, second, projections(first.mean.size, 32, seed=0))


# Properties of every distance: a new one is tested by its line in DISTANCES.

HARD = {
    "alike": (normal(0), normal(1)),
    "shifted": (normal(0), normal(0, shift=3.0)),
    "fewer rows than channels": (normal(0, n=5, channels=40), normal(1, n=7, channels=40)),
    "one row": (normal(0, n=1), normal(1, n=1)),
    "one channel": (normal(0, channels=1), normal(1, channels=1, n=11)),
    "dead on one side": (normal(0), normal(1, dead=[1, 3])),
    "dead on both sides": (normal(0, dead=[1]), normal(1, dead=[1, 2])),
    "all dead on one side": (normal(0), of_rows(np.full((9, 6), 2.0))),
    "all dead": (of_rows(np.zeros((9, 6))), of_rows(np.full((9, 6), 2.0))),
    "scales apart": (normal(0, scale=1e-4), normal(1, scale=1e4)),
}


def check(distance, first, second):
    """Finite, non-negative, symmetric, and zero on itself but for the square root of rounding."""
    rounding = 1e-9 + 1e-6 * max(np.sqrt(side.variance.sum()) for side in (first, second))
    value = between(distance, first, second)
    assert type(value) is float and np.isfinite(value) and value >= 0
    assert between(distance, second, first) == pytest.approx(value, rel=1e-5, abs=rounding)
    for side in (first, second):
        assert 0 <= between(distance, side, Latents(side.rows, side.mean, side.covariance)) <= rounding


@every_distance
@pytest.mark.parametrize("sides", HARD.values(), ids=HARD)
def test_hard_latents(distance, sides):
    check(distance, *sides)


@every_distance
@settings(max_examples=50, deadline=None)
@given(data=some.data())
def test_any_latents(distance, data):
    channels = data.draw(some.integers(1, 12))
    sides = []
    for _ in range(2):
        n, seed = data.draw(some.integers(1, 15)), data.draw(some.integers(0, 1000))
        scale = 10.0 ** data.draw(some.integers(-3, 3))
        dead = data.draw(some.lists(some.booleans(), min_size=channels, max_size=channels))
        rows = np.random.default_rng(seed).normal(size=(n, channels)) * scale
        sides.append(of_rows(np.where(dead, data.draw(some.sampled_from([0.0, 0.1, -7.0])), rows)))
    check(distance, *sides)


@every_distance
def test_1024_channels_with_moments_in_float32(distance):
    rng = np.random.default_rng(0)
    sides = []
    for shift in (0.0, 0.5):
        exact = of_rows(rng.normal(size=(300, 1024)) * np.linspace(0, 2, 1024) + shift)
        sides.append(Latents(np.float32(exact.rows), np.float32(exact.mean), np.float32(exact.covariance)))
    check(distance, *sides)


@every_distance
def test_grows_with_the_shift(distance):
    values = [between(distance, normal(0), normal(1, shift=shift)) for shift in (0, 1, 2, 4)]
    assert values == sorted(values) and values[0] < values[-1] / 2


@every_distance
def test_order_of_rows_and_of_calls_is_nothing(distance):
    first, second = normal(0), normal(1, n=40)
    value = between(distance, first, second)
    between(distance, first, normal(2))
    assert between(distance, first, of_rows(second.rows[::-1])) == pytest.approx(value, rel=1e-12)
    assert between(distance, first, second) == pytest.approx(value, rel=1e-12)


@every_distance
def test_the_reference_is_prepared_once(distance, monkeypatch):
    decompose, sort = Mock(side_effect=np.linalg.eigh), Mock(side_effect=np.sort)
    monkeypatch.setattr(np.linalg, "eigh", decompose)
    monkeypatch.setattr(np, "sort", sort)
    reference, directions = normal(0), projections(6, 32, seed=0)
    for seed in range(1, 4):
        distance(reference, normal(seed), directions)
    assert decompose.call_count <= 1 and sort.call_count <= 1 + 3


def test_other_directions_are_not_taken_for_the_first():
    first, second = normal(0), normal(1)
    values = [sliced_wasserstein(first, second, projections(6, 3, seed)) for seed in range(20)]
    fresh = [sliced_wasserstein(normal(0), normal(1), projections(6, 3, seed)) for seed in range(20)]
    assert values == pytest.approx(fresh, rel=1e-12)


# Closed forms


@every_wasserstein
def test_translation_is_its_length(distance):
    latents = normal(0)
    shift = np.array([3.0, 0, 0, 4.0, 0, 0])
    directions = np.eye(6)
    expected = 5 / np.sqrt(6) if distance is sliced_wasserstein else 5
    assert distance(latents, of_rows(latents.rows + shift), directions) == pytest.approx(expected)


@every_wasserstein
def test_scaling_about_the_mean(distance):
    rows = normal(0).rows
    first, second = of_rows(rows - rows.mean(0)), of_rows(3 * (rows - rows.mean(0)))
    # Along each direction the rows move by twice their own distance from the mean.
    expected = 2 * np.sqrt((first.rows**2).mean() if distance is sliced_wasserstein else first.variance.sum())
    assert distance(first, second, np.eye(6)) == pytest.approx(expected)


@gaussian_wasserstein
def test_wasserstein_of_diagonal_covariances(distance):
    first, second = of_moments([0, 1, 2], np.diag([1, 4, 0])), of_moments([1, 1, 0], np.diag([9, 4, 16]))
    expected = np.sqrt(1 + 4 + (3 - 1) ** 2 + 0 + 4**2)
    assert between(distance, first, second) == pytest.approx(expected)


def test_wasserstein_of_commuting_covariances():
    turn = expm(np.array([[0, 1.0, 0.3], [-1, 0, 2], [-0.3, -2, 0]]))
    first, second = (of_moments(np.zeros(3), turn @ np.diag(d) @ turn.T) for d in ([1, 4, 9], [16, 4, 0]))
    assert between(wasserstein, first, second) == pytest.approx(np.sqrt(3**2 + 0 + 3**2))


def test_a_small_change_of_a_singular_covariance_is_not_lost_in_rounding():
    rows = normal(0, n=10, channels=300).rows
    first, second = (of_rows(scale * (rows - rows.mean(0))) for scale in (1, 1.0001))
    assert between(wasserstein, first, second) == pytest.approx(1e-4 * np.sqrt(first.variance.sum()), rel=1e-3)


@every_bhattacharyya
def test_bhattacharyya_of_normals_on_a_line(distance):
    first, second = of_moments([0], [[1]]), of_moments([3], [[4]])
    expected = 9 / (4 * 5) + 0.5 * np.log(5 / (2 * 2))
    assert between(distance, first, second) == pytest.approx(expected, rel=2 * RIDGE)


def test_bhattacharyya_of_equal_covariances_is_an_eighth_of_mahalanobis_squared():
    covariance = normal(0).covariance + np.eye(6)
    shift = np.arange(6)
    expected = shift @ np.linalg.solve(covariance, shift) / 8
    first, second = of_moments(np.zeros(6), covariance), of_moments(shift, covariance)
    assert between(bhattacharyya, first, second) == pytest.approx(expected, rel=2 * RIDGE)


def test_bhattacharyya_of_diagonal_covariances_is_a_sum_and_has_no_unit():
    first, second = of_moments([0, 1, 2], np.diag([1, 4, 0])), of_moments([1, 1, 2], np.diag([9, 4, 16]))
    value = between(bhattacharyya, first, second)
    assert between(bhattacharyya_diagonal, first, second) == pytest.approx(value, rel=1e-12)
    first, second = (of_moments(100 * side.mean, 1e4 * side.covariance) for side in (first, second))
    assert between(bhattacharyya, first, second) == pytest.approx(value, rel=1e-9)


@every_bhattacharyya
def test_a_channel_dead_on_one_side_adds_little(distance):
    alive, dead = (of_moments(np.zeros(200), np.diag([1.0] * 199 + [last])) for last in (1, 0))
    assert between(distance, alive, dead) == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize("below, bearable", [(0.5 * RIDGE, True), (5 * RIDGE, False)])
def test_bhattacharyya_bears_rounding_below_zero_up_to_the_ridge(below, bearable):
    sound, unsound = (of_moments(np.zeros(9), np.diag([1.0] * 8 + [last])) for last in (1, -below))
    for pair in ((unsound, sound), (sound, unsound)):
        with nullcontext() if bearable else pytest.raises(np.linalg.LinAlgError):
            assert np.isfinite(between(bhattacharyya, *pair))


# Against POT


@pytest.mark.parametrize("n", [60, 200])
def test_wasserstein_as_pot(n):
    first, second = normal(0, n=n), normal(1, n=n, shift=0.5)
    moments = first.mean, second.mean, first.covariance, second.covariance
    expected = ot.gaussian.bures_wasserstein_distance(*moments)
    assert between(wasserstein, first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [60, 45, 7, 1])
def test_sliced_wasserstein_as_pot(n):
    first, second = normal(0, n=60), normal(1, n=n, shift=0.5)
    directions = projections(6, 50, seed=3)
    expected = ot.sliced_wasserstein_distance(first.rows, second.rows, projections=directions, p=2)
    assert sliced_wasserstein(first, second, directions) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n, m", [(20, 20), (20, 30), (7, 11), (1, 5)])
def test_sliced_wasserstein_on_a_line_is_exact(n, m):
    first, second = normal(0, n=n, channels=1), normal(1, n=m, channels=1)
    value = sliced_wasserstein(first, second, np.ones((1, 1))) ** 2
    assert value == pytest.approx(ot.emd2_1d(first.rows, second.rows), rel=1e-9)
    assert value == pytest.approx(ot.wasserstein_1d(first.rows, second.rows, p=2).item(), rel=1e-9)


# Metric


@every_wasserstein
@pytest.mark.parametrize("seed", range(5))
def test_triangle(distance, seed):
    a, b, c = (normal(10 * seed + k, n=8 + 5 * k, shift=k * seed / 4) for k in range(3))
    assert between(distance, a, c) <= between(distance, a, b) + between(distance, b, c) + 1e-9


def test_sliced_gaussian_is_sliced_wasserstein_where_the_distribution_keeps_its_form():
    directions = projections(6, 32, 0)
    first = normal(0)
    moved = of_rows(2 * first.rows + np.arange(6))
    assert sliced_gaussian(first, moved, directions) == pytest.approx(sliced_wasserstein(first, moved, directions))
    bent = of_rows(first.rows.clip(0))
    assert sliced_gaussian(first, bent, directions) < 0.99 * sliced_wasserstein(first, bent, directions)


def test_sliced_is_at_most_full_and_about_the_square_root_of_channels_below():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 64))
    first, second = of_rows(rows), of_rows(rows + rng.normal(size=64))
    directions = projections(64, 500, seed=1)
    full, sliced = (distance(first, second, directions) for distance in (wasserstein, sliced_wasserstein))
    assert sliced < full and sliced * 8 == pytest.approx(full, rel=0.1)


def test_projections_are_unit_and_seeded():
    directions = projections(300, 40, seed=5)
    assert directions.shape == (300, 40)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
    np.testing.assert_array_equal(directions, projections(300, 40, seed=5))
    # On a sphere the mean of a unit vector is zero: of 12,000 coordinates it has a deviation of 0.0005.
    assert abs(directions.mean()) < 0.003
    assert np.abs(directions - projections(300, 40, seed=6)).max() > 0.01


# What few rows do


def test_few_rows_drown_a_shift_in_full_covariance_only():
    """One standard deviation in a tenth of 256 channels, 300 rows a side."""
    rng = np.random.default_rng(0)
    channels, n = 256, 300
    shift = np.where(np.arange(channels) < channels // 10, 1.0, 0.0)
    reference, same = (of_rows(rng.normal(size=(n, channels))) for _ in range(2))
    shifted = of_rows(rng.normal(size=(n, channels)) + shift)
    nulls = {name: between(distance, reference, same) for name, distance in DISTANCES.items()}
    values = {name: between(distance, reference, shifted) for name, distance in DISTANCES.items()}
    assert nulls["wasserstein"] > 2 * np.sqrt(shift.sum())
    assert nulls["wasserstein"] > 0.85 * values["wasserstein"]
    assert nulls["bhattacharyya"] > 0.7 * values["bhattacharyya"]
    for name in ("wasserstein_diagonal", "sliced_wasserstein", "bhattacharyya_diagonal"):
        assert nulls[name] < 0.5 * values[name]
    assert values["wasserstein_diagonal"] == pytest.approx(np.sqrt(shift.sum()), rel=0.1)


# Latents


@pytest.mark.parametrize(
    "rows, mean, covariance, message",
    [
        (np.zeros((5, 3)), np.zeros(4), np.zeros((4, 4)), "rows of shape"),
        (np.zeros((5, 4)), np.zeros(4), np.zeros(4), "covariance of shape"),
        (np.full((5, 1), np.inf), np.zeros(1), np.zeros((1, 1)), "rows that are not finite"),
        (np.zeros((5, 1)), np.full(1, np.nan), np.zeros((1, 1)), "mean that are not finite"),
        (np.zeros((5, 1)), np.zeros(1), np.full((1, 1), np.nan), "covariance that are not finite"),
    ],
)
def test_latents_that_cannot_be(rows, mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        Latents(rows, mean, covariance).finite()


def test_latents_that_are_not_finite_are_named_when_they_are_read():
    with h5py.File("latents", "w", driver="core", backing_store=False) as file:
        group = file.create_group("source/reference")
        arrays = {"rows": np.full((5, 1), np.nan), "mean": np.zeros(1), "covariance": np.zeros((1, 1))}
        for name, array in arrays.items():
            group[name] = array
        with pytest.raises(KeyError, match="/source/reference: latents have rows that are not finite"):
            stage.load(group)


def test_dead_and_non_gaussian_channels_are_counted():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((512, 3))
    rows = np.column_stack([normal, normal[:, 0].clip(0), 1e-6 * normal[:, 1], np.ones(512)])
    assert channels.shares(rows.astype(np.float32)) == {"dead": 2 / 6, "non_gaussian": 1 / 6}
    assert channels.kolmogorov(rows)[3] == pytest.approx(0.25, abs=0.06)
    assert (channels.kolmogorov(normal) < 0.06).all()


def test_the_gap_to_a_gaussian_as_scipy_has_it():
    """The largest gap of a sample lies below its step where that of its negative lies above."""
    sample = np.random.default_rng(0).exponential(size=200)
    rows = np.column_stack([sample, -sample])
    expected = [kstest((column - column.mean()) / column.std(), "norm").statistic for column in rows.T]
    np.testing.assert_allclose(channels.kolmogorov(rows), expected, rtol=1e-9)


def test_sliced_gaussian_by_hand():
    """Two means 3 apart and deviations 1 and 2 along the first axis, nothing along the second."""
    first, second = (of_rows(np.array([[mean - sd, 5.0], [mean + sd, 5.0]])) for mean, sd in ((0, 1), (3, 2)))
    assert sliced_gaussian(first, second, np.eye(2)) == pytest.approx(np.sqrt((3**2 + 1**2) / 2))


def test_stage_measures_from_the_reference_and_the_null_between_halves(tmp_path):
    """Groups of known moments: the values and nulls of the table are those worked out here."""
    rng = np.random.default_rng(0)
    groups = {"source/reference": (0.0, 1.0), "targets/b/before": (4.0, 0.5)}
    groups |= {f"source/null/{k}/{half}": (k + shift, 1.5) for k in (0, 1) for half, shift in HALVES.items()}
    rows = {name: mean + sd * rng.standard_normal((60, 4)) for name, (mean, sd) in groups.items()}
    rows["source/null/0/first"][:, 3:] = 1.0
    rows["source/null/0/second"][:, :3] = 1.0
    with store.create(tmp_path / "targets.h5") as targets, store.create(tmp_path / "latents.h5") as latents:
        store.put_json(targets.create_group("b"), "domain", {"name": "b", "transform": "identity", "level": 0.0})
        for name, sample in rows.items():
            for key, array in {"rows": sample, "mean": sample.mean(0), "covariance": np.cov(sample.T)}.items():
                store.put(latents, f"{name}/encoder1/before_relu/position/{key}", array)
    paths = [str(tmp_path / name) for name in ("latents.h5", "targets.h5", "d.csv", "c.csv")]
    measure(*paths, list(DISTANCES), 16, "a", seed=5)
    sides = {name: of_rows(sample) for name, sample in rows.items()}
    directions = projections(4, 16, seed=0)  # Those of every seed of the study.
    table = pd.read_csv(tmp_path / "d.csv").set_index("distance")
    for name, distance in DISTANCES.items():
        value = distance(sides["source/reference"], sides["targets/b/before"], directions)
        pairs = [[sides[f"source/null/{k}/{half}"] for half in HALVES] for k in (0, 1)]
        null = sum(distance(*pair, directions) for pair in pairs) / 2
        assert table.loc[name, "value"] == pytest.approx(value, rel=1e-6)
        assert table.loc[name, "null"] == pytest.approx(null, rel=1e-6)
    assert pd.read_csv(tmp_path / "c.csv")["dead"].item() == 0, "the channels are those of the reference"


def test_stage_writes_a_row_per_place_and_the_channels_of_the_source(tmp_path):
    rng = np.random.default_rng(0)
    spec = {"name": "b", "transform": "noise", "level": 0.1}
    groups = ["source/reference", "targets/b@noise=0.1/before", "targets/b@noise=0.1/after"]
    groups += [f"source/null/0/{half}" for half in HALVES]
    with store.create(tmp_path / "targets.h5") as targets, store.create(tmp_path / "latents.h5") as latents:
        store.put_json(targets.create_group("b@noise=0.1"), "domain", spec)
        for group in groups:
            for unit in ("position", "image"):
                rows = rng.standard_normal((40, 4)) + 3 * group.endswith("before")
                arrays = {"rows": rows, "mean": rows.mean(0), "covariance": np.cov(rows.T)}
                for key, array in arrays.items():
                    store.put(latents, f"{group}/encoder1/before_relu/{unit}/{key}", array)
    names = ["wasserstein", "sliced_wasserstein"]
    measure(*(str(tmp_path / name) for name in ("latents.h5", "targets.h5", "d.csv", "c.csv")), names, 16, "a", 0)
    table = pd.read_csv(tmp_path / "d.csv")
    assert len(table) == 2 * 2 * len(names)
    value = table.set_index(["unit", "state", "distance"])["value"]
    assert (value.xs("before", level="state") > 4 * value.xs("after", level="state")).all()
    assert list(pd.read_csv(tmp_path / "c.csv")["unit"]) == ["image", "position"]
