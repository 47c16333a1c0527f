"""Correlations of distances with outcomes: exact ranks, and intervals that know the domains."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as some

from scripts.correlate import correlate as stage
from shiftgain.findings import correlations
from shiftgain.findings.correlations import correlate, pearson, resamples, spearman
from shiftgain.study.names import KEY

COLUMNS = [
    "distance",
    "layer",
    "activation",
    "unit",
    "state",
    "outcome",
    "spearman",
    "pearson",
    "ci_low",
    "ci_high",
    "n",
    "below_null",
]


def pairs(n_sources=3, n_targets=8, levels=(0.0, 0.1, 0.2), seeds=(0, 1)):
    """All pairs of a study."""
    names = [
        [f"s{k}" for k in range(n_sources)],
        [f"t{k}" for k in range(n_targets)],
        ["noise"],
        levels,
        seeds,
    ]
    return pd.MultiIndex.from_product(names, names=KEY).to_frame(index=False)


def measured(pairs, value, distance="wasserstein", state="before"):
    """Rows of ``distances.csv``."""
    place = {
        "layer": "bottleneck",
        "activation": "before_relu",
        "unit": "position",
        "state": state,
        "distance": distance,
    }
    return pairs.assign(**place, value=value, null=0.1)


def scored(pairs, gain):
    """Rows of ``gains.csv``."""
    return pairs.assign(method="batchnorm", iou_before=0.5, iou_after=0.5 + np.asarray(gain), gain_iou=gain)


def one(distances, gains, outcome="gain_iou", n_bootstrap=200, seed=0):
    """The only row of the table."""
    (row,) = correlate(distances, gains, [outcome], n_bootstrap, seed).to_dict("records")
    return row


def test_table_has_a_sorted_row_for_each_distance_and_outcome():
    rng = np.random.default_rng(0)
    there = pairs()
    distances = pd.concat(
        measured(there, rng.random(len(there)), distance, state) for distance in "ba" for state in ("before", "after")
    )
    table = correlate(distances, scored(there, rng.random(len(there))), ["iou_before", "gain_iou"], 20, 0)
    assert list(table) == COLUMNS and len(table) == 2 * 2 * 2
    assert table.equals(table.sort_values(COLUMNS[:5], ignore_index=True))
    assert set(table["n"]) == {len(there)}


def test_monotone_relation_is_one():
    there = pairs()
    value = np.random.default_rng(0).random(len(there))
    row = one(measured(there, value), scored(there, np.exp(5 * value)))
    assert row["spearman"] == row["ci_low"] == row["ci_high"] == pytest.approx(1)
    assert row["pearson"] == pytest.approx(np.corrcoef(value, np.exp(5 * value))[0, 1])
    assert row["pearson"] < 0.99
    assert one(measured(there, value), scored(there, -value))["spearman"] == pytest.approx(-1)


def test_point_estimates_as_scipy():
    rng = np.random.default_rng(0)
    there = pairs()
    value, gain = rng.integers(0, 9, len(there)), rng.integers(0, 9, len(there))
    row = one(measured(there, value), scored(there, gain))
    assert row["spearman"] == pytest.approx(scipy.stats.spearmanr(value, gain).statistic)
    assert row["pearson"] == pytest.approx(scipy.stats.pearsonr(value, gain).statistic)


def test_interval_of_no_relation_covers_zero():
    there = pairs(n_targets=12)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        row = one(measured(there, rng.random(len(there))), scored(there, rng.random(len(there))))
        assert row["ci_low"] < 0 < row["ci_high"]
        assert row["ci_low"] < row["spearman"] < row["ci_high"]


def test_copies_within_a_domain_do_not_narrow_the_interval():
    """Ten copies of each domain against the same rows taken for ten domains: a bootstrap of rows."""
    rng = np.random.default_rng(0)
    there = pairs(n_sources=1, n_targets=15, seeds=range(10), levels=(0.0,))
    domain = there["target"].str[1:].astype(int)
    value = rng.random(15)
    gain = value + rng.normal(0, 0.3, 15)
    domains = one(measured(there, value[domain]), scored(there, gain[domain]))
    apart = there.assign(target=there["target"] + "-" + there["seed"].astype(str))
    rows = one(measured(apart, value[domain]), scored(apart, gain[domain]))
    assert rows["spearman"] == pytest.approx(domains["spearman"])
    assert domains["ci_high"] - domains["ci_low"] > 2 * (rows["ci_high"] - rows["ci_low"])

    single = pairs(n_sources=1, n_targets=15, seeds=[0], levels=(0.0,))
    without = one(measured(single, value), scored(single, gain))
    assert [without[key] for key in ("spearman", "ci_low", "ci_high")] == pytest.approx(
        [domains[key] for key in ("spearman", "ci_low", "ci_high")]
    )


def test_order_of_rows_is_nothing_and_the_seed_is_all():
    rng = np.random.default_rng(0)
    there = pairs()
    distances, gains = measured(there, rng.random(len(there))), scored(there, rng.random(len(there)))
    table = correlate(distances, gains, ["gain_iou", "iou_after"], 100, 0)
    shuffled = (frame.sample(frac=1, random_state=1) for frame in (distances, gains))
    pd.testing.assert_frame_equal(correlate(*shuffled, ["iou_after", "gain_iou"], 100, 0), table, check_exact=True)
    assert not correlate(distances, gains, ["gain_iou", "iou_after"], 100, 1).equals(table)


@pytest.mark.parametrize("constant", ["value", "outcome"])
def test_what_does_not_vary_correlates_with_nothing(constant):
    there = pairs()
    vary, still = np.arange(len(there)), np.full(len(there), 0.1)
    value, gain = (still, vary) if constant == "value" else (vary, still)
    row = one(measured(there, value), scored(there, gain))
    assert np.isnan([row[key] for key in ("spearman", "pearson", "ci_low", "ci_high")]).all()
    assert row["n"] == len(there)


def test_pairs_without_outcome_are_left_out():
    rng = np.random.default_rng(0)
    there = pairs()
    value, gain = rng.random(len(there)), rng.random(len(there))
    unlabelled = (there["target"] == "t3").to_numpy()
    distances, gains = measured(there, value), scored(there, np.where(unlabelled, np.nan, gain))
    row = one(distances, gains)
    assert row["n"] == (~unlabelled).sum()
    assert row == one(distances, gains[~unlabelled])
    # Whether a distance exceeds its null is asked of every pair.
    del row["below_null"]
    assert row.items() <= one(distances[~unlabelled], gains[~unlabelled]).items()
    assert row.items() <= one(distances.assign(value=np.where(unlabelled, np.inf, value)), scored(there, gain)).items()

    for unscored in (scored(there, np.full(len(there), np.nan)), gains[:0]):
        nothing = one(distances, unscored)
        assert nothing["n"] == 0 and np.isnan(nothing["spearman"])


def test_resamples_in_which_nothing_varies_are_left_out():
    there = pairs(n_sources=1, n_targets=2)
    value = (there["target"] == "t1").to_numpy(float)
    row = one(measured(there, value), scored(there, 2 * value))
    assert row["spearman"] == row["ci_low"] == row["ci_high"] == pytest.approx(1)


def test_the_share_below_the_null_counts_every_pair_that_has_both():
    there = pairs(n_sources=1, n_targets=5, levels=(0.0,), seeds=[0])
    distances = measured(there, [0.05, 0.1, 0.2, 0.3, np.nan])
    gains = scored(there, [0.1, np.nan, 0.2, 0.3, 0.4])
    assert one(distances, gains)["below_null"] == 2 / 4
    assert np.isnan(one(distances.assign(null=np.nan), gains)["below_null"])


def test_two_methods_are_refused():
    there = pairs()
    gains = scored(there, np.arange(len(there)))
    with pytest.raises(pd.errors.MergeError):
        one(measured(there, 1.0), pd.concat([gains, gains.assign(method="tent")]))


def test_one_source_resamples_targets_and_the_other_way_round():
    rng = np.random.default_rng(0)
    value, gain = rng.random(24), rng.random(24)
    by_target, by_source = (pairs(*shape, levels=(0.0, 0.1, 0.2), seeds=[0]) for shape in ((1, 8), (8, 1)))
    first, second = (one(measured(there, value), scored(there, gain)) for there in (by_target, by_source))
    for row in (first, second):
        assert row["ci_low"] < row["spearman"] < row["ci_high"]
    single = pairs(1, 1, levels=range(24), seeds=[0])
    row = one(measured(single, value), scored(single, gain))
    assert row["spearman"] == pytest.approx(first["spearman"])
    assert np.isnan(row["ci_low"]) and np.isnan(row["ci_high"])


def test_resamples_draw_whole_domains_of_both_sides():
    there = pairs(n_sources=3, n_targets=5)
    (weights,) = resamples(there["source"].to_numpy(), there["target"].to_numpy(), 50, seed=0)
    assert weights.shape == (len(there), 50) and (weights % 1 == 0).all()
    copies = len(there) / 15
    np.testing.assert_array_equal(weights.sum(axis=0), len(there))
    for side, domains in (("source", 3), ("target", 5)):
        drawn = pd.DataFrame(weights).groupby(there[side]).sum().to_numpy() / (copies * 15 / domains)
        assert (drawn % 1 == 0).all() and (drawn.sum(axis=0) == domains).all() and drawn.max() > 1
    cells = pd.DataFrame(weights).groupby([there["source"], there["target"]])
    assert (cells.nunique() == 1).all(axis=None)


def test_the_interval_is_of_95_percent_over_whole_domains():
    """The percentiles of SciPy's correlation of the rows, each repeated as often as its pair was drawn."""
    rng = np.random.default_rng(0)
    there = pairs(n_sources=3, n_targets=6, levels=(0.0,), seeds=(0,))
    value, gain = rng.random((2, len(there)))
    row = one(measured(there, value), scored(there, gain), n_bootstrap=60, seed=7)
    (weights,) = resamples(there["source"].to_numpy(), there["target"].to_numpy(), 60, seed=7)
    repeated = [(np.repeat(value, column), np.repeat(gain, column)) for column in weights.T.astype(int)]
    estimates = [scipy.stats.spearmanr(*both).statistic for both in repeated]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.percentile(estimates, [2.5, 97.5])))


def test_stage_takes_the_gain_of_batchnorm(tmp_path):
    rng = np.random.default_rng(0)
    there = pairs(n_sources=2, n_targets=3, levels=(0.0,), seeds=(0,))
    value = rng.random(len(there))
    measured(there, value).to_csv(tmp_path / "d.csv", index=False)
    others = [scored(there, rng.random(len(there))).assign(method=name) for name in ("mean_only", "tent")]
    pd.concat([others[0], scored(there, -value), others[1]]).to_csv(tmp_path / "g.csv", index=False)
    stage(*(str(tmp_path / name) for name in ("g.csv", "d.csv", "c.csv")), ["gain_iou"], 20)
    (row,) = pd.read_csv(tmp_path / "c.csv").to_dict("records")
    assert row["spearman"] == row["ci_high"] == pytest.approx(-1) and row["n"] == len(there)


def test_resamples_do_not_depend_on_the_blocks(monkeypatch):
    there = pairs()
    names = there["source"].to_numpy(), there["target"].to_numpy()
    (whole,) = resamples(*names, 50, seed=0)
    monkeypatch.setattr(correlations, "BLOCK", 10 * len(there))
    blocks = list(resamples(*names, 50, seed=0))
    assert len(blocks) == 5
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


counts = some.lists(some.tuples(some.integers(0, 4), some.integers(0, 4), some.integers(0, 3)), min_size=2, max_size=12)


@settings(max_examples=200, deadline=None)
@given(rows=counts)
def test_weighted_correlations_are_those_of_repeated_rows(rows):
    first, second, weights = np.array(rows, float).T
    repeated = [np.repeat(side, weights.astype(int)) for side in (first, second)]
    found = spearman(first, second, weights[:, None]).item()
    plain = pearson(first[:, None], second[:, None], weights[:, None]).item()
    if min(len(np.unique(side)) for side in repeated) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(*repeated).statistic, abs=1e-12)
        assert plain == pytest.approx(scipy.stats.pearsonr(*repeated).statistic, abs=1e-12)
