"""Predictors: what they see, that a known relation is found and noise is not, and measures worked out by hand."""

from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import r2_score

from workflow.lib import forest, learning
from workflow.lib.judging import INTERVALS, MEASURES, judge, measures, tellable
from workflow.lib.learning import LEARNED
from workflow.lib.names import KEY
from workflow.scripts.predict import in_folds, predict

FROZEN = "synthetic_to_real"
OPTIONS = {"trees": 20, "leaf": 2, "coverage": 0.9, "bootstrap": 20}
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


# Folds


def test_every_row_is_held_out_once_with_its_whole_group():
    groups = np.array(list("aabbbcddee"))
    held = list(learning.folds(groups, most=3))
    assert len(held) == 3 and (np.sum(held, axis=0) == 1).all()
    for fold in held:
        assert not set(groups[fold]) & set(groups[~fold])


@pytest.mark.parametrize("column", learning.PROTOCOLS.values())
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
    predicted = learning.single("told_after", gaps, gaps, "iou_after")
    assert np.isfinite(predicted).all()
    assert set(predicted[gaps["level"] == 0]) == {gaps["iou_after"].mean()}
    empty = learning.single("told_after", gaps.assign(told_after=np.nan), gaps, "iou_after")
    assert set(empty) == {gaps["iou_after"].mean()}


# The forest as arrays


def test_the_arrays_say_what_scikit_learn_says(table, tmp_path):
    found = learning.fit(NAMES, table, trees=10, leaf=3, seed=5)
    model = ExtraTreesRegressor(10, min_samples_leaf=3, max_features=1 / 3, random_state=5)
    model.fit(table[NAMES].to_numpy(np.float32), table[forest.OUTCOMES].to_numpy())
    others = study(seeds=(7,), noise=0.2)
    np.testing.assert_allclose(found.predict(found.rows(others))[0], model.predict(others[NAMES].to_numpy()), atol=1e-6)
    forest.save(found, tmp_path / "forest.npz")
    again = forest.load(tmp_path / "forest.npz")
    np.testing.assert_array_equal(again.predict(found.rows(others))[0], found.predict(found.rows(others))[0])
    assert again.features == NAMES


def test_the_trees_correct_the_estimates():
    """A forest that never saw a low IoU follows the estimates there."""
    scored = study(noise=0.0)
    scored["resolved_iou_before"], scored["resolved_iou_after"] = scored["iou_before"] - 0.1, scored["iou_after"] + 0.1
    names = [*forest.ESTIMATES, "noise"]
    high = scored[(scored["iou_before"] > 0.5) & (scored["iou_after"] > 0.5)]
    model = learning.fit(names, high, trees=10, leaf=3, seed=0)
    rows = model.rows(scored)
    np.testing.assert_allclose(model.predict(rows)[0], scored[forest.OUTCOMES], atol=1e-5)
    np.testing.assert_allclose(model.drivers(rows).sum(axis=1) - 0.2, scored["gain_iou"], atol=1e-5)


def test_the_interval_covers_what_was_not_seen():
    """Of two draws with the same relation, one fits the forest and its interval, the other is covered."""
    noisy = study(seeds=(0, 1, 2), noise=0.2)
    model = learning.fit_with_interval(NAMES, noisy[noisy["seed"] < 2], OPTIONS)
    unseen = noisy[noisy["seed"] == 2]
    rows = model.rows(unseen)
    expected, spread = model.predict(rows)
    wrong = np.abs(expected[:, 2] - unseen["gain_iou"])
    assert 0.8 < (wrong <= model.width * spread).mean() < 0.98
    assert np.isnan(learning.interval_width(NAMES, noisy, np.zeros(len(noisy)), OPTIONS))


def test_changes_and_nulls_are_candidates():
    keys = {"source": "a", "target": "b", "transform": "identity", "level": 0.0, "seed": 0}
    scores = pd.DataFrame([keys | {"atc_before": 0.5, "atc_after": 0.9, "own_iou": 1.0, "seed_agreement_before": 1.0}])
    place = keys | {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "distance": "w"}
    states = [
        place | {"state": "before", "value": 3.0, "null": 1.5},
        place | {"state": "after", "value": 1.0, "null": 0},
    ]
    wide, kinds = learning.candidates(scores, pd.DataFrame(states))
    row = wide.iloc[0]
    stem = "w_bottleneck_before_relu_position"
    assert row["atc_change"] == pytest.approx(0.4) and row[f"{stem}_change"] == -2
    assert row[f"{stem}_before_to_null"] == 2 and f"{stem}_before_to_null" in kinds["distance"]
    assert learning.features(scores) == ["atc_before", "atc_after", "own_iou"]


def test_pairs_are_tellable_whose_shares_lie_on_the_same_side_of_one_half():
    own, other = pd.Series([0.3, 0.3, 0.7, 0.7, 0.5, 0.3]), pd.Series([0.1, 0.7, 0.6, 0.2, 0.3, 0.51])
    assert list(tellable(own, other)) == [True, False, True, False, False, False]


# The stage


def write(folder: Path, table: pd.DataFrame) -> dict:
    """The tables of a study, and the arguments of :func:`predict`."""
    (folder / "tables").mkdir()
    gains = table[[*KEY, *forest.OUTCOMES]].assign(method="batchnorm")
    other = gains.assign(method="mean_only", gain_iou=-1.0)
    place = {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "distance": "bhattacharyya"}
    far = table[KEY].assign(**place, state="before", value=table["noise"].abs(), null=0.1)
    shares = table[KEY].assign(method="batchnorm", true_foreground=np.where(table["tellable"], 0.2, 0.7))
    scores = table[[*KEY, *NAMES]].assign(own_foreground=0.3)
    tables = {"gains": pd.concat([gains, other]), "segmentation": shares, "scores": scores, "distances": far}
    for name, rows in tables.items():
        rows.to_csv(folder / "tables" / f"{name}.csv", index=False)
    paths = {f"{name}_path": str(folder / "tables" / f"{name}.csv") for name in (*tables, "predictors")}
    return paths | {
        "frozen_path": None,
        "asked": {FROZEN: {"source": [], "target": []}},
        "options": OPTIONS,
        "tree_path": str(folder / "tree.txt"),
        "forest_path": str(folder / "predictor.npz"),
        "figure_paths": {name: str(folder / f"{name}.svg") for name in (*learning.PROTOCOLS, FROZEN)},
        "threads": 1,
    }


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, table):
    arguments = write(tmp_path_factory.mktemp("study"), table)
    predict(**arguments)
    return arguments


def test_the_table_follows_the_contract(arguments):
    found = pd.read_csv(arguments["predictors_path"])
    assert {"predictor", "protocol", "spearman", "r2", "mae", "sign_accuracy", "base_rate", "regret",
            "regret_always_adapt", "n", "outcome", "coverage", "ci_low", "ci_high"} <= set(found)  # fmt: skip
    assert (found["n_tellable"] == found["n"] * 4 / 5).all() and found["r2_tellable"].notna().any()
    assert set(found["protocol"]) == set(learning.PROTOCOLS), "no real domains, nothing to freeze for"
    assert not found.duplicated(["predictor", "protocol", "outcome"]).any()
    kinds = found.groupby("kind")["predictor"].unique()
    assert "bhattacharyya_bottleneck_before_relu_position_before" in kinds["distance"]
    assert set(kinds["transparent"]) == {"small_tree", "linear"} and LEARNED in kinds["learned"]


def test_figures_name_what_they_show(arguments):
    text = " ".join(ElementTree.parse(arguments["figure_paths"]["leave_source_out"]).getroot().itertext())
    for word in ("Spearman", "right sign", "regret", "forest", "small tree", "told after", "always adapt", "true gain"):
        assert word in text, word
    assert "told" in Path(arguments["tree_path"]).read_text()


def test_the_same_tables_give_the_same_bytes(arguments, table, tmp_path):
    again = write(tmp_path, table.sample(frac=1, random_state=3))
    predict(**again)
    for name in ("predictors_path", "tree_path", "forest_path"):
        assert Path(again[name]).read_bytes() == Path(arguments[name]).read_bytes(), name
    for name, path in arguments["figure_paths"].items():
        assert Path(again["figure_paths"][name]).read_bytes() == Path(path).read_bytes(), name


def test_a_frozen_forest_is_judged_on_the_pairs_asked_only(arguments, table, tmp_path):
    unseen = write(tmp_path, study(seeds=(0,), noise=0.02))
    real = {"source": ["s0", "s1"], "target": ["t0", "t1"]}
    asked = {FROZEN: real, "another_width": {"source": ["s3"]}}
    predict(**unseen | {"frozen_path": arguments["forest_path"], "asked": asked})
    judged = pd.read_csv(unseen["predictors_path"]).query("outcome == 'gain_iou'")
    for protocol, n in ((FROZEN, 2 * 2 * 5), ("another_width", 5 * 5)):
        found = judged[judged["protocol"] == protocol]
        assert set(found["predictor"]) == {LEARNED, "always_adapt", "never_adapt"}
        assert set(found["n"]) == {n} and found.set_index("predictor").loc[LEARNED, "r2"] > 0.6


@pytest.mark.parametrize("rows", [0, 3])
def test_a_study_of_hardly_any_labels(tmp_path, table, rows):
    few = table.copy()
    few.loc[rows:, ["iou_before", "iou_after", "gain_iou"]] = np.nan
    arguments = write(tmp_path, few)
    predict(**arguments)
    assert len(pd.read_csv(arguments["predictors_path"])) == 0 or rows
    assert forest.load(arguments["forest_path"]).features == [*NAMES, "own_foreground"]
    text = " ".join(ElementTree.parse(arguments["figure_paths"]["leave_source_out"]).getroot().itertext())
    assert "too few" in text
