"""The stage that judges predictors: what of its tables it reads, and what it writes."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from scripts.predict import bootstraps, frozen, labelled, predict
from shiftgain.findings.pairs import COLUMNS
from shiftgain.prediction import forest, predictors
from shiftgain.prediction.predictors import LEARNED
from shiftgain.study.names import KEY
from tests.test_learning import NAMES, OPTIONS, study

FROZEN = "synthetic_to_real"


@pytest.fixture(scope="module")
def table():
    return study()


def write(folder: Path, table: pd.DataFrame) -> dict:
    """The tables of a study, and the arguments of :func:`predict`."""
    (folder / "tables").mkdir()
    pairs = table[[*KEY, *forest.OUTCOMES]].assign(method="batchnorm")
    pairs["true_foreground"] = np.where(table["tellable"], 0.2, 0.7)
    place = {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "distance": "bhattacharyya"}
    far = table[KEY].assign(**place, state="before", value=table["noise"].abs(), null=0.1)
    scores = table[[*KEY, *NAMES]].assign(own_foreground=0.3)
    tables = {"pairs": pairs.reindex(columns=COLUMNS), "scores": scores, "distances": far}
    for name, rows in tables.items():
        rows.to_csv(folder / "tables" / f"{name}.csv", index=False)
    paths = {f"{name}_path": str(folder / "tables" / f"{name}.csv") for name in (*tables, "predictors")}
    return paths | {
        "frozen_path": None,
        "asked": {FROZEN: {"source": [], "target": []}},
        "options": OPTIONS,
        "tree_path": str(folder / "tree.txt"),
        "forest_path": str(folder / "predictor.npz"),
        "figure_paths": {name: str(folder / f"{name}.svg") for name in (*predictors.PROTOCOLS, FROZEN)},
        "data_paths": {name: str(folder / f"{name}_data.csv") for name in (*predictors.PROTOCOLS, FROZEN)},
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
    assert set(found["protocol"]) == set(predictors.PROTOCOLS), "no real domains, nothing to freeze for"
    assert not found.duplicated(["predictor", "protocol", "outcome"]).any()
    kinds = found.groupby("kind")["predictor"].unique()
    assert "bhattacharyya_bottleneck_before_relu_position_before" in kinds["distance"]
    assert set(kinds["transparent"]) == {"small_tree", "linear"} and LEARNED in kinds["learned"]


def test_a_protocol_holds_out_what_it_is_named_for(arguments, table):
    """The constant of each: the mean gain of the other groups, and how far off it is. The gain has intervals."""
    held_out = {
        "leave_source_out": "source",
        "leave_transform_out": "transform",
        "leave_means_out": "target",
        "leave_seed_out": "seed",
    }
    found = pd.read_csv(arguments["predictors_path"]).query("outcome == 'gain_iou'")
    constants = found[found["predictor"] == "constant"].set_index("protocol")
    assert set(constants.index) == set(held_out)
    for protocol, column in held_out.items():
        others = table[column].map(
            {name: table.loc[table[column] != name, "gain_iou"].mean() for name in table[column]}
        )
        assert constants.loc[protocol, "mae"] == pytest.approx((table["gain_iou"] - others).abs().mean()), protocol
    assert found.loc[found["predictor"] == LEARNED, ["ci_low", "ci_high", "regret_low"]].notna().all(axis=None)


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


def test_a_pair_is_labelled_by_its_own_rows(tmp_path):
    """Outcomes of method batchnorm, shares of the target's masks, scores and distances of the pair itself."""
    plain = study(seeds=(0,)).query("level != 0").sample(frac=1, random_state=1)
    paths = write(tmp_path, plain)
    pairs, scores, distances = (pd.read_csv(paths[f"{name}_path"]) for name in ("pairs", "scores", "distances"))
    candidates, kinds = predictors.candidates(scores, distances)
    unlabelled = pairs.assign(target="t9", gain_iou=np.nan)
    other = pairs.assign(target="t8", method="tent")
    found = labelled(pd.concat([unlabelled, pairs, other]), candidates)
    expected = plain.sort_values(KEY, ignore_index=True)
    assert found[KEY].equals(expected[KEY])
    for name in (*forest.OUTCOMES, *NAMES, "tellable"):
        np.testing.assert_allclose(found[name].astype(float), expected[name].astype(float), err_msg=name)
    distance = "bhattacharyya_bottleneck_before_relu_position_before"
    np.testing.assert_allclose(found[distance], expected["noise"].abs())
    np.testing.assert_allclose(found[f"{distance}_to_null"], expected["noise"].abs() / 0.1)
    names = [*NAMES, "own_foreground"]
    assert kinds == {"score": [*names, "told_change"], "distance": [distance, f"{distance}_to_null"]}
    assert predictors.features(scores) == names


def test_a_frozen_forest_says_what_it_says(table, tmp_path):
    """Of the gain an interval of its own width; adapting always and never are gains of 1 and -1."""
    model = replace(predictors.fit(NAMES, table, 5, 2, seed=0), width=3.0)
    forest.save(model, tmp_path / "forest.npz")
    unseen = study(seeds=(7,), noise=0.2)
    runs = {(name, outcome): pairs for name, _, outcome, pairs in frozen(unseen, str(tmp_path / "forest.npz"))}
    expected, spread = model.predict(model.rows(unseen))
    for place, outcome in enumerate(forest.OUTCOMES):
        np.testing.assert_array_equal(runs[LEARNED, outcome]["predicted"], expected[:, place])
    np.testing.assert_allclose(runs[LEARNED, "gain_iou"]["low"], expected[:, 2] - 3 * spread)
    np.testing.assert_allclose(runs[LEARNED, "gain_iou"]["high"], expected[:, 2] + 3 * spread)
    assert runs[LEARNED, "iou_before"]["low"].isna().all()
    assert (runs["always_adapt", "gain_iou"]["predicted"] == 1).all()
    assert (runs["never_adapt", "gain_iou"]["predicted"] == -1).all()


def test_only_single_numbers_and_other_outcomes_than_the_gain_go_without_intervals():
    assert [bootstraps(kind, "gain_iou", OPTIONS) for kind in ("score", "distance", "learned")] == [20, 20, 20]
    assert [bootstraps(kind, "iou_after", OPTIONS) for kind in ("score", "distance", "learned")] == [0, 0, 20]


def test_the_stage_ships_a_forest_of_all_pairs(arguments, table):
    shipped = forest.load(arguments["forest_path"])
    names = [*NAMES, "own_foreground"]
    expected = predictors.fit_with_interval(names, table.assign(own_foreground=0.3).sort_values(KEY), OPTIONS)
    rows = expected.rows(table.assign(own_foreground=0.3))
    np.testing.assert_allclose(shipped.predict(rows)[0], expected.predict(rows)[0], atol=1e-6)
    assert shipped.width == pytest.approx(expected.width)


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
