"""Predictors: what they see, that a known relation is found and noise is not, and measures worked out by hand."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import r2_score

from scripts.predict import in_folds
from shiftgain.findings.correlations import resamples
from shiftgain.prediction import forest, predictors
from shiftgain.prediction.assessment import INTERVALS, MEASURES, judge, measures, tellable
from shiftgain.prediction.predictors import LEARNED
from shiftgain.study.names import KEY

OPTIONS = {"trees": 20, "leaf": 2, "coverage": 0.9, "bootstrap": 20}
FEWER = OPTIONS | {"trees": 5}
NAMES = ["told_before", "told_after", "noise"]


def study(seeds=(0, 1), noise=0.01) -> pd.DataFrame:
    """Pairs whose IoU before and after are told by two scores; a third is noise."""
    rng = np.random.default_rng(0)
    names = [[f"s{k}" for k in range(4)], [f"t{k}" for k in range(5)], ["blur", "noise"], [0.0, 1.0, 2.0], seeds]
    table = pd.MultiIndex.from_product(names, names=KEY).to_frame(index=False)
    table["transform"] = table["transform"].where(table["level"] != 0, "identity")
    table = table.drop_duplicates(KEY, ignore_index=True)
    for state in ("before", "after"):
        table[f"iou_{state}"] = rng.uniform(size=len(table))
        table[f"told_{state}"] = 1 - table[f"iou_{state}"] + noise * rng.normal(size=len(table))
    table = table.assign(tellable=table["target"] != "t4", noise=rng.normal(size=len(table)))
    return table.assign(gain_iou=table["iou_after"] - table["iou_before"])


@pytest.fixture(scope="module")
def table():
    return study()


# Measures


def hand(**columns) -> pd.DataFrame:
    return pd.DataFrame({"source": list("aabb"), "target": list("cdcd"), **columns})


def test_measures_by_hand():
    gain = np.array([0.5, -0.3, 0.01, -0.1])
    pairs = hand(
        iou_before=0.5, iou_after=0.5 + gain, gain_iou=gain, predicted=[0.4, 0.1, -0.2, -0.3], low=-1, high=0.3,
        tellable=[True, False, True, True],
    )  # fmt: skip
    found = judge(pairs, "gain_iou", 0, 0)
    assert found["mae"] == pytest.approx((0.1 + 0.4 + 0.21 + 0.2) / 4)
    assert found["r2"] == pytest.approx(r2_score(gain, pairs["predicted"]))
    assert found["spearman"] == pytest.approx(spearmanr(gain, pairs["predicted"]).statistic)
    assert found["sign_accuracy"] == pytest.approx(2 / 3), "a gain of 0.01 has no sign"
    assert found["base_rate"] == pytest.approx(2 / 3)
    assert found["regret"] == pytest.approx((0.3 + 0.01) / 4) and found["regret_always_adapt"] == pytest.approx(0.4 / 4)
    assert found["coverage"] == 0.75 and found["n"] == 4
    assert found["n_tellable"] == 3 and found["sign_accuracy_tellable"] == 1
    assert found["regret_tellable"] == pytest.approx(0.01 / 3)
    assert judge(pairs, "iou_after", 0, 0)["regret"] != 0 and np.isnan(judge(pairs, "iou_after", 0, 0)["regret"])


def test_a_weight_of_two_is_a_row_that_stands_twice():
    rng = np.random.default_rng(0)
    gain = rng.normal(size=4)
    pairs = hand(iou_before=0.5, iou_after=0.5 + gain, gain_iou=gain, predicted=rng.normal(size=4))
    doubled = measures(pairs, "gain_iou", np.array([[2.0], [1], [0], [3]]))
    copied = measures(pairs.iloc[[0, 0, 1, 3, 3, 3]], "gain_iou", np.ones((6, 1)))
    for name, value in copied.items():
        assert doubled[name] == pytest.approx(value, nan_ok=True), name


def test_intervals_hold_the_estimate(table):
    found = judge(table.assign(predicted=table["gain_iou"] + 0.3 * table["noise"]), "gain_iou", 100, 0)
    assert set(found) == set(MEASURES)
    for name, prefix in INTERVALS.items():
        assert found[f"{prefix}_low"] <= found[name] <= found[f"{prefix}_high"], name


def test_regret_keeps_where_no_gain_is_predicted():
    """Of gains 0.5 and -0.3, each predicted as 0 and as 0.1, keeping loses the first and adapting the second."""
    pairs = hand(iou_before=0.5, iou_after=0.5, gain_iou=[0.5, -0.3, 0.5, -0.3], predicted=[0, 0, 0.1, 0.1])
    found = {name: value.item() for name, value in measures(pairs, "gain_iou", np.ones((4, 1))).items()}
    assert found["regret"] == pytest.approx((0.5 + 0 + 0 + 0.3) / 4)
    assert found["sign_accuracy"] == 0.25, "0 is no sign"


def test_a_gain_within_two_hundredths_has_no_sign():
    gain = np.array([0.019, -0.019, 0.021, -0.021])
    pairs = hand(iou_before=0.5, iou_after=0.5 + gain, gain_iou=gain, predicted=[-1, 1, 1, 1])
    assert measures(pairs, "gain_iou", np.ones((4, 1)))["sign_accuracy"].item() == 0.5


def test_the_ends_of_an_interval_are_covered():
    """An interval covers its ends; a pair without one is not covered."""
    pairs = hand(iou_before=0.5, iou_after=0.6, gain_iou=[0.1, 0.1, 0.1, 0.3], predicted=0.2)
    pairs = pairs.assign(low=[0.1, -0.3, 0.11, 0.2], high=[0.3, 0.1, 0.3, 0.299])
    assert measures(pairs, "gain_iou", np.ones((4, 1)))["coverage"].item() == 0.5


def test_intervals_are_percentiles_over_resampled_domains():
    """Each resample written out: a pair stands as often as its source was drawn times as often as its target was."""
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame([{"source": s, "target": t} for s in "abcd" for t in "uvwxy"]).assign(tellable=True)
    gain = rng.gamma(1, 0.3, 20) - 0.2
    pairs = pairs.assign(iou_before=0.3, iou_after=0.3 + gain, gain_iou=gain, predicted=gain + rng.normal(0, 0.3, 20))
    found = judge(pairs, "gain_iou", 50, 7)
    drawn = {name: [] for name in INTERVALS}
    for weights in np.concatenate(list(resamples(pairs["source"], pairs["target"], 50, 7)), axis=1).T:
        chosen = pairs.loc[np.repeat(pairs.index, weights.astype(int))]
        true, told = chosen["gain_iou"], chosen["predicted"]
        clear = chosen[true.abs() > 0.02]
        lost = np.where(told > 0, (-true).clip(0), true.clip(0))
        drawn["spearman"].append(spearmanr(true, told).statistic)
        drawn["r2"].append(r2_score(true, told))
        drawn["sign_accuracy"].append(((clear["gain_iou"] > 0) == (clear["predicted"] > 0)).mean())
        drawn["regret"].append(lost.mean())
    for name, values in drawn.items():
        edges = np.percentile(values, 2.5), np.percentile(values, 97.5)
        assert tuple(found[f"{INTERVALS[name]}_{edge}"] for edge in ("low", "high")) == pytest.approx(edges), name
    alone = judge(pairs[(pairs["source"] == "a") & (pairs["target"] == "u")], "gain_iou", 50, 7)
    assert np.isnan(alone["ci_low"]) and np.isnan(alone["regret_high"]), "no domains to draw"


# Folds


def test_every_row_is_held_out_once_with_its_whole_group():
    groups = np.array(list("aabbbcddee"))
    held = list(predictors.folds(groups, most=3))
    assert len(held) == 3 and (np.sum(held, axis=0) == 1).all()
    for fold in held:
        assert not set(groups[fold]) & set(groups[~fold])


@pytest.mark.parametrize("column", predictors.PROTOCOLS.values())
def test_what_is_held_out_is_not_seen(table, column):
    """Outcomes that follow the group alone cannot be told for a group that is held out."""
    groups = table[column].astype(str)
    level = groups.map({name: value for value, name in enumerate(sorted(groups.unique()))}) / 5
    leak = table.assign(iou_after=level + table["noise"] / 100, iou_before=0.0)
    leak["gain_iou"] = leak["iou_after"]
    leak["told_after"] = leak["told_before"] = groups.map(lambda name: crc32(name.encode()) % 97)
    runs = {
        (name, outcome): pairs for name, _, outcome, pairs in in_folds(leak, column, {}, NAMES, OPTIONS, Parallel(1))
    }
    for name in (LEARNED, "constant", "small_tree"):
        assert judge(runs[name, "gain_iou"], "gain_iou", 0, 0)["r2"] < 0.3


def slow_width(table: pd.DataFrame, column: str, coverage: float) -> float:
    """The next width after the one that covers ``coverage`` of the pairs, one more counted, each told without its
    group."""
    names, ratios = sorted(set(table[column].astype(str))), []
    for part in range(4):
        out = table[column].astype(str).isin(names[part::4])
        if out.any():
            model = predictors.fit(NAMES, table[~out], FEWER["trees"], FEWER["leaf"], seed=0)
            expected, spread = model.predict(table.loc[out, NAMES].to_numpy(np.float32))
            ratios += list(abs(expected[:, 2] - table.loc[out, "gain_iou"]) / spread)
    enough = int(np.ceil(coverage * (len(ratios) + 1)))
    return sorted(ratios)[min(enough, len(ratios) - 1)]


def grouped(column: str) -> pd.DataFrame:
    """Pairs whose outcomes follow the group of ``column`` alone, which the scores name: told only if it was seen."""
    pairs = study(seeds=range(3))
    groups = pairs[column].astype(str)
    rng = np.random.default_rng(3)
    level = groups.map({name: rng.uniform(-0.4, 0.4) for name in sorted(groups.unique())})
    named = groups.map({name: k for k, name in enumerate(sorted(groups.unique()))})
    pairs = pairs.assign(told_before=named, told_after=named, iou_before=0.5 + pairs["noise"] / 300)
    pairs["iou_after"] = pairs["iou_before"] + level + pairs["noise"] / 100
    return pairs.assign(gain_iou=pairs["iou_after"] - pairs["iou_before"])


@pytest.mark.parametrize("column", ["source", "target", "seed"])
def test_the_interval_is_of_whole_groups_that_were_not_seen(column):
    """Half as wide, and less, it would be if the forest had seen the group of a pair, or the pair itself."""
    pairs = grouped(column)
    groups = pairs[column].to_numpy()
    found = predictors.interval_width(NAMES, pairs, groups, FEWER)
    assert found == pytest.approx(slow_width(pairs, column, 0.9))
    assert found > 2 * predictors.interval_width(NAMES, pairs, np.arange(len(pairs)), FEWER)
    forest = predictors.fit(NAMES, pairs, FEWER["trees"], FEWER["leaf"], seed=0)
    expected, spread = forest.predict(forest.rows(pairs))
    assert found > 2 * np.quantile(abs(expected[:, 2] - pairs["gain_iou"]) / spread, 0.9)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.999])
def test_the_interval_covers_what_was_asked(table, coverage):
    width = predictors.interval_width(NAMES, table, table["source"].to_numpy(), FEWER | {"coverage": coverage})
    assert width == pytest.approx(slow_width(table, "source", coverage))


def test_what_a_user_is_advised_by_speaks_of_sources_not_seen():
    pairs = grouped("source")
    width = predictors.fit_with_interval(NAMES, pairs, FEWER).width
    assert width == pytest.approx(slow_width(pairs, "source", 0.9)) and width > 2 * slow_width(pairs, "target", 0.9)


@pytest.mark.parametrize("column", ["source", "target"])
def test_a_pair_is_told_by_the_pairs_of_other_groups(column):
    """Prediction and interval of the forest of each fold, written out: what is held out bears on neither."""
    table = study(seeds=(0,)).query("level < 2").reset_index(drop=True)
    runs = {(name, outcome): pairs for name, _, outcome, pairs in
            in_folds(table, column, {}, NAMES, FEWER, Parallel(1))}  # fmt: skip
    found = runs[LEARNED, "gain_iou"]
    for name in table[column].unique():
        out = table[column] == name
        model = predictors.fit(NAMES, table[~out], FEWER["trees"], FEWER["leaf"], seed=0)
        expected, spread = model.predict(table.loc[out, NAMES].to_numpy(np.float32))
        half = slow_width(table[~out], column, 0.9) * spread
        np.testing.assert_allclose(found.loc[out, "predicted"], expected[:, 2])
        np.testing.assert_allclose(found.loc[out, "low"], expected[:, 2] - half)
        np.testing.assert_allclose(found.loc[out, "high"], expected[:, 2] + half)
        assert (runs["constant", "gain_iou"].loc[out, "predicted"] == table.loc[~out, "gain_iou"].mean()).all()
        size = table.loc[~out, "gain_iou"].abs().mean()
        assert (runs["always_adapt", "gain_iou"].loc[out, "predicted"] == size).all()
        assert (runs["never_adapt", "gain_iou"].loc[out, "predicted"] == -size).all()
    assert runs[LEARNED, "iou_after"]["low"].isna().all() and runs["constant", "gain_iou"]["low"].isna().all()
    for name in ("source", "target", "gain_iou", "tellable"):
        assert found[name].equals(table[name]), name


def test_a_prediction_depends_on_the_training_pairs_and_the_scores_of_its_own_pair():
    """Not on the other pairs of the test fold, nor on any outcome there, the headroom's own excepted."""
    train, test = study(seeds=(0,)), study(seeds=(1,), noise=0.3).iloc[:9]
    test = test.assign(told_before=3 + 5 * test["told_before"], noise=test["noise"] - 2)
    kinds = {"score": NAMES}
    whole, width = predictors.held_out(train, test, "source", kinds, NAMES, FEWER)
    alone, own_width = predictors.held_out(train, test.iloc[[4]], "source", kinds, NAMES, FEWER)
    blind, _ = predictors.held_out(train, test.assign(iou_after=np.nan, gain_iou=np.nan), "source", kinds, NAMES, FEWER)
    assert set(whole) == set(alone) and own_width[0] == pytest.approx(width[4])
    for key, values in whole.items():
        assert alone[key][0] == pytest.approx(values[4]), key
        np.testing.assert_array_equal(blind[key], values, err_msg=str(key))
    assert {key[:2] for key in whole} == {
        *((name, "baseline") for name in predictors.BASELINES), *((name, "score") for name in NAMES),
        *((name, "transparent") for name in predictors.TRANSPARENT), (LEARNED, "learned")}  # fmt: skip


def many_scores(n: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """An outcome of seven of nine scores, which differ in mean and scale; one of them does not vary."""
    rng = np.random.default_rng(seed)
    names = [f"score{k}" for k in range(9)]
    scores = rng.normal(size=(n, 9)) * 10.0 ** np.arange(-4, 5) + seed * 10.0 ** np.arange(-4, 5)
    scores[:, 4] = 2.0
    weights = np.array([3, -2.5, 2, -1.5, 0, 1, -0.7, 0, 0]) / 10.0 ** np.arange(-4, 5)
    return pd.DataFrame(scores, columns=names).assign(gain_iou=scores @ weights + rng.normal(0, 0.1, n)), names


def test_the_linear_predictor_takes_five_scores_one_after_the_other():
    """Matching pursuit written out: the score most correlated with what is left, then least squares on those taken."""
    (train, names), (test, _) = many_scores(40, 0), many_scores(10, 1)
    mean, scale = train[names].mean(), train[names].std(ddof=0).replace(0, np.inf)
    x, y = ((train[names] - mean) / scale).to_numpy(), train["gain_iou"] - train["gain_iou"].mean()
    taken, left = [], y
    for _ in range(5):
        taken.append(int(np.argmax(abs(x.T @ left))))
        slopes = np.linalg.lstsq(x[:, taken], y, rcond=None)[0]
        left = y - x[:, taken] @ slopes
    expected = train["gain_iou"].mean() + ((test[names] - mean) / scale).to_numpy()[:, taken] @ slopes
    assert len(set(taken)) == 5
    np.testing.assert_allclose(predictors.linear(names, train, test, "gain_iou"), expected, rtol=1e-6)


def test_the_tree_in_words_asks_five_questions():
    train, names = many_scores(200, 0)
    text = predictors.small_tree_text(names, train, "gain_iou")
    assert text.count("<=") == text.count("> ") == 5 and text.count("value:") == 6
    assert len(set(predictors.small_tree(names, train, train, "gain_iou"))) == 6


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_number_is_fitted_as_scikit_learn_fits_it(sign):
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"score": rng.integers(0, 12, 60).astype(float)})
    train["gain_iou"] = sign * np.sqrt(train["score"]) + rng.normal(0, 0.5, 60)
    test = pd.DataFrame({"score": [-3, 0, 0.25, 4.5, 11, 99]})
    model = IsotonicRegression(increasing=sign > 0, out_of_bounds="clip").fit(train["score"], train["gain_iou"])
    np.testing.assert_allclose(predictors.single("score", train, test, "gain_iou"), model.predict(test["score"]))


def test_predictors_find_what_there_is_and_nothing_in_noise(table):
    kinds = {"score": NAMES, "distance": []}
    found = {
        (name, outcome): judge(pairs, outcome, 0, 0)
        for name, _, outcome, pairs in in_folds(table, "source", kinds, NAMES, OPTIONS, Parallel(1))
    }
    assert found[LEARNED, "gain_iou"]["r2"] > 0.75 and found[LEARNED, "iou_after"]["spearman"] > 0.85
    assert found["told_after", "iou_after"]["r2"] > 0.95, "falling as well as rising"
    assert found["linear", "gain_iou"]["r2"] > 0.95 and found["small_tree", "gain_iou"]["r2"] > 0.5
    assert abs(found["noise", "gain_iou"]["r2"]) < 0.2 and abs(found["constant", "gain_iou"]["r2"]) < 0.1
    assert 0.8 < found[LEARNED, "gain_iou"]["coverage"] <= 1
    assert found["always_adapt", "gain_iou"]["regret"] == found["constant", "gain_iou"]["regret_always_adapt"]
    assert found["never_adapt", "gain_iou"]["regret"] == pytest.approx(table["gain_iou"].clip(0).mean())
    assert found["headroom_with_labels", "gain_iou"]["r2"] > 0.3


def test_a_missing_number_is_predicted_by_the_mean(table):
    gaps = table.assign(told_after=table["told_after"].where(table["level"] != 0))
    predicted = predictors.single("told_after", gaps, gaps, "iou_after")
    assert np.isfinite(predicted).all()
    assert set(predicted[gaps["level"] == 0]) == {gaps["iou_after"].mean()}
    empty = predictors.single("told_after", gaps.assign(told_after=np.nan), gaps, "iou_after")
    assert set(empty) == {gaps["iou_after"].mean()}


# The forest as arrays


def test_the_arrays_say_what_scikit_learn_says(table, tmp_path):
    found = predictors.fit(NAMES, table, trees=10, leaf=3, seed=5)
    model = ExtraTreesRegressor(10, min_samples_leaf=3, max_features=1 / 3, random_state=5)
    model.fit(table[NAMES].to_numpy(np.float32), table[forest.OUTCOMES].to_numpy())
    others = study(seeds=(7,), noise=0.2)
    np.testing.assert_allclose(found.predict(found.rows(others))[0], model.predict(others[NAMES].to_numpy()), atol=1e-6)
    forest.save(found, tmp_path / "forest.npz")
    again = forest.load(tmp_path / "forest.npz")
    np.testing.assert_array_equal(again.predict(found.rows(others))[0], found.predict(found.rows(others))[0])
    assert again.features == NAMES
    wide = replace(found, width=1.7)
    forest.save(wide, tmp_path / "forest.npz")
    again = forest.load(tmp_path / "forest.npz")
    assert again.width == 1.7
    for name in forest.ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(wide, name), err_msg=name)


def test_the_forest_is_as_large_as_asked_and_knows_the_range_of_its_pairs(table):
    found = predictors.fit(NAMES, table, trees=7, leaf=4, seed=0)
    assert len(found.roots) == 7
    rows = found.rows(table)
    leaves = [np.unique(found._leaves(root, rows), return_counts=True)[1] for root in found.roots]
    assert min(counts.min() for counts in leaves) in (4, 5)
    np.testing.assert_array_equal(found.low, table[NAMES].min().astype(np.float32))
    np.testing.assert_array_equal(found.high, table[NAMES].max().astype(np.float32))
    assert np.isnan(found.width)


def test_a_threshold_parts_rounded_scores_as_it_parts_the_scores():
    """The largest float32 at or below it: no float32 score changes sides."""
    thresholds = np.random.default_rng(0).normal(size=1000)
    rounded = forest._rounded_down(thresholds)
    assert rounded.dtype == np.float32 and (rounded <= thresholds).all()
    assert (np.nextafter(rounded, np.float32(np.inf)) > thresholds).all()
    exact = np.array([0.5, -2.0])
    np.testing.assert_array_equal(forest._rounded_down(exact), exact)


def test_the_trees_correct_the_estimates():
    """A forest that never saw a low IoU follows the estimates there."""
    scored = study(noise=0.0)
    scored["resolved_iou_before"], scored["resolved_iou_after"] = scored["iou_before"] - 0.1, scored["iou_after"] + 0.1
    names = [*forest.ESTIMATES, "noise"]
    high = scored[(scored["iou_before"] > 0.5) & (scored["iou_after"] > 0.5)]
    model = predictors.fit(names, high, trees=10, leaf=3, seed=0)
    rows = model.rows(scored)
    np.testing.assert_allclose(model.predict(rows)[0], scored[forest.OUTCOMES], atol=1e-5)
    np.testing.assert_allclose(model.drivers(rows).sum(axis=1) - 0.2, scored["gain_iou"], atol=1e-5)


def test_trees_with_estimates_are_those_of_what_the_estimates_miss(table):
    """Of all three outcomes: IoU before and after less their estimates, and the gain less the estimated gain. Of nine
    scores three are tried at a split, so that outcomes bear on where it is."""
    names = [*forest.ESTIMATES, *(f"noise{k}" for k in range(7))]
    noise = np.random.default_rng(0).normal(size=(len(table), 7))
    scored = table.assign(**dict(zip(names, [table["told_before"], table["told_after"], *noise.T], strict=True)))
    train, rows = scored[::2], scored.loc[1::2, names].to_numpy(np.float32)
    before, after = train[forest.ESTIMATES].to_numpy().T
    estimates = np.stack([before, after, after - before], axis=1)
    model = ExtraTreesRegressor(5, min_samples_leaf=3, max_features=1 / 3, random_state=0)
    model.fit(train[names].to_numpy(np.float32), train[forest.OUTCOMES].to_numpy() - estimates)
    found, _ = predictors.fit(names, train, trees=5, leaf=3, seed=0).predict(rows)
    np.testing.assert_allclose(found[:, :2], model.predict(rows)[:, :2] + rows[:, :2], atol=1e-5)


def test_the_interval_covers_what_was_not_seen():
    """Of two draws with the same relation, one fits the forest and its interval, the other is covered."""
    noisy = study(seeds=(0, 1, 2), noise=0.2)
    model = predictors.fit_with_interval(NAMES, noisy[noisy["seed"] < 2], OPTIONS)
    unseen = noisy[noisy["seed"] == 2]
    rows = model.rows(unseen)
    expected, spread = model.predict(rows)
    wrong = np.abs(expected[:, 2] - unseen["gain_iou"])
    assert 0.8 < (wrong <= model.width * spread).mean() < 0.98
    assert np.isnan(predictors.interval_width(NAMES, noisy, np.zeros(len(noisy)), OPTIONS))


def test_changes_and_nulls_are_candidates():
    keys = {"source": "a", "target": "b", "transform": "identity", "level": 0.0, "seed": 0}
    scores = pd.DataFrame([keys | {"atc_before": 0.5, "atc_after": 0.9, "own_iou": 1.0, "seed_agreement_before": 1.0}])
    place = keys | {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "distance": "w"}
    states = [
        place | {"state": "before", "value": 3.0, "null": 1.5},
        place | {"state": "after", "value": 1.0, "null": 0},
    ]
    wide, kinds = predictors.candidates(scores, pd.DataFrame(states))
    row = wide.iloc[0]
    stem = "w_bottleneck_before_relu_position"
    assert row["atc_change"] == pytest.approx(0.4) and row[f"{stem}_change"] == -2
    assert row[f"{stem}_before_to_null"] == 2 and f"{stem}_before_to_null" in kinds["distance"]
    assert predictors.features(scores) == ["atc_before", "atc_after", "own_iou"]


def test_pairs_are_tellable_whose_shares_lie_on_the_same_side_of_one_half():
    own, other = pd.Series([0.3, 0.3, 0.7, 0.7, 0.5, 0.3]), pd.Series([0.1, 0.7, 0.6, 0.2, 0.3, 0.51])
    assert list(tellable(own, other)) == [True, False, True, False, False, False]


@pytest.mark.parametrize(("share", "told"), [(0.44, True), (0.46, False), (0.54, False), (0.56, True)])
def test_a_share_within_a_twentieth_of_one_half_lies_on_neither_side(share, told):
    near, far = pd.Series([share]), pd.Series([0.2 if share < 0.5 else 0.8])
    assert list(tellable(near, far)) == list(tellable(far, near)) == [told]
