"""The stage that judges predictors: what of its tables it reads, and what it writes."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from scripts.predict import frozen, gain_table, labelled, measure, of_pairs_asked, predict
from shiftgain.files.commit import commit
from shiftgain.findings.pairs import COLUMNS
from shiftgain.prediction import forest, predictors
from shiftgain.prediction.learned import FOREST, LEARNED
from shiftgain.study.names import KEY
from tests.test_learning import FEWER, NAMES, NONE, ORDER, fitted, rehearsal, study

FROZEN = "synthetic_to_real"
DISTANCE = "bhattacharyya_bottleneck_before_relu_position_before"


@pytest.fixture(scope="module")
def table():
    return study(sources=3, targets=3)


def write(folder: Path, table: pd.DataFrame) -> dict:
    """The tables of a study, and the arguments of :func:`predict`."""
    (folder / "tables").mkdir()
    place = {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "distance": "bhattacharyya"}
    far = table.drop_duplicates(KEY)[KEY].assign(**place, state="before", value=table["noise"].abs(), null=0.1)
    scores = table[[*KEY, "method", *NAMES]].assign(own_foreground=0.3, seed_agreement=np.nan)
    tables = {"pairs": pairs_of(table), "scores": scores, "distances": far}
    for name, rows in tables.items():
        rows.to_csv(folder / "tables" / f"{name}.csv", index=False)
    own = rehearsal(table[(table["source"] == "s0") & (table["seed"] == 0)]).assign(own_foreground=0.3)
    own.to_csv(folder / "rehearsal.csv", index=False)
    paths = {f"{name}_path": str(folder / "tables" / f"{name}.csv") for name in (*tables, "predictors")}
    return paths | {
        "rehearsal_paths": [str(folder / "rehearsal.csv")],
        "frozen_path": None,
        "asked": {FROZEN: {"source": [], "target": []}},
        "order": ORDER,
        "options": FEWER | {"trees": 2},
        "tree_path": str(folder / "tree.txt"),
        "forest_path": str(folder / "predictor.npz"),
        "figure_paths": {name: str(folder / f"{name}.svg") for name in (*predictors.PROTOCOLS, FROZEN)},
        "data_paths": {name: str(folder / f"{name}_data.csv") for name in (*predictors.PROTOCOLS, FROZEN)},
        "threads": 1,
        "code": "abc",
    }


def pairs_of(table: pd.DataFrame) -> pd.DataFrame:
    """The pair table of a study whose actions have the IoU of ``table``."""
    index = [*KEY, "true_foreground"]
    known = table.assign(true_foreground=np.where(table["tellable"], 0.2, 0.7))
    wide = known.pivot(index=index, columns="method", values="iou").add_prefix("iou_").reset_index()
    wide = wide.rename(columns={"iou_source": "iou_before"})
    return wide.reindex(columns=[*COLUMNS, *(name for name in wide if name not in COLUMNS)])


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, table):
    arguments = write(tmp_path_factory.mktemp("study"), table)
    # No pair is asked of the shipped forest, which therefore may be of a form that is no longer read.
    damaged = Path(arguments["forest_path"]).with_name("shipped.npz")
    damaged.write_text("of another time")
    predict(**arguments | {"frozen_path": str(damaged)})
    return arguments


def test_the_table_follows_the_contract(arguments):
    found = pd.read_csv(arguments["predictors_path"])
    assert {"predictor", "protocol", "spearman", "r2", "mae", "sign_accuracy", "base_rate", "regret", "aurc",
            "regret_always_adapt", "n", "outcome", "mean_width", "ci_low", "coverage"} <= set(found)  # fmt: skip
    gain = found[found["outcome"] == "gain_iou"]
    assert (gain["n_tellable"] == gain["n"]).all() and gain["r2_tellable"].notna().any()
    assert set(found["protocol"]) == set(predictors.PROTOCOLS), "no real domains, nothing to freeze for"
    assert not found.duplicated(["predictor", "protocol", "outcome"]).any()
    kinds = found.groupby("kind")["predictor"].unique()
    assert DISTANCE in kinds["distance"] and "expected_iou_classwise_unfitted" in kinds["unfitted"]
    assert set(kinds["transparent"]) == set(predictors.TRANSPARENT) and set(kinds["learned"]) == {FOREST, LEARNED}
    assert {"never_adapt", "always_adapt", "always_balanced", "always_turned", "constant"} == set(kinds["baseline"])
    intervals = gain[gain["kind"] == "learned"]
    assert intervals[["coverage", "mean_width", "ci_low", "regret_low"]].notna().all(axis=None)
    assert gain.loc[gain["kind"] != "learned", "mean_width"].isna().all()


def test_figures_name_what_they_show(arguments):
    text = " ".join(ElementTree.parse(arguments["figure_paths"]["leave_source_out"]).getroot().itertext())
    for word in ("Spearman", "right sign", "regret", "rehearsed", "small tree", "always adapt", "true gain"):
        assert word in text, word
    assert "told" in Path(arguments["tree_path"]).read_text()


def test_the_same_tables_give_the_same_bytes(arguments, table, tmp_path):
    again = write(tmp_path, table.sample(frac=1, random_state=3))
    for name in ("distances_path", "rehearsal_paths"):
        again[name] = arguments[name]
    predict(**again)
    for name in ("predictors_path", "tree_path", "forest_path"):
        assert Path(again[name]).read_bytes() == Path(arguments[name]).read_bytes(), name
    for name, path in arguments["figure_paths"].items():
        assert Path(again["figure_paths"][name]).read_bytes() == Path(path).read_bytes(), name


def test_a_frozen_forest_is_judged_on_the_pairs_asked_only(table, tmp_path):
    """Alone and rehearsed, beside the constant rules and what needs no fitting, on the same pairs."""
    forest.save(fitted(table), tmp_path / "forest.npz")
    unseen = study(seeds=(0,), noise=0.02)
    rows = unseen[unseen["source"].isin(["s0", "s1"])].reset_index(drop=True)
    runs = {run[0]: run for run in frozen(rows, forest.load(tmp_path / "forest.npz"), rehearsal(rows), ORDER, FEWER)}
    assert {FOREST, LEARNED, "constant", "never_adapt", "always_turned", "expected_iou_classwise_unfitted"} <= set(runs)
    judged = {row["outcome"]: row for row in measure(rows, runs[FOREST], FROZEN, ORDER, FEWER)}
    assert judged["gain_iou"]["n"] == 2 * 5 * 3 and judged["iou"]["n"] == 2 * 5 * 3 * 4
    assert judged["iou"]["r2"] > 0.6 and np.isnan(judged["gain_iou"]["coverage"]), "no width, no interval"
    assert [row["outcome"] for row in measure(rows, runs["always_turned"], FROZEN, ORDER, FEWER)] == ["gain_iou"]
    assert not list(frozen(rows, None, NONE, ORDER, FEWER))


@pytest.mark.parametrize(
    ("asked", "pairs"),
    [
        ({"source": ["a"], "target": ["b", "c"]}, ["ab", "ac"]),
        ({"target": ["b"]}, ["ab", "db"]),
        ({"source": ["a"], "target": []}, []),
    ],
)
def test_pairs_that_are_asked_about_have_both_domains_asked(asked, pairs):
    table = pd.DataFrame([{"source": s, "target": t} for s in "ad" for t in "bce"])
    rows = of_pairs_asked(table, asked)
    assert list(rows["source"] + rows["target"]) == pairs


def test_a_pair_is_labelled_by_its_own_rows():
    """IoU and share of the target's masks under the same action; pairs without masks and other methods are left out."""
    plain = study(seeds=(0,)).query("level != 0")
    unlabelled = plain.assign(target=plain["target"] + " without masks", iou=np.nan)
    other = plain[plain["method"] == "source"].assign(method="tent")
    scores = plain[[*KEY, "method", *NAMES]].assign(own_foreground=0.3)
    pairs = pairs_of(pd.concat([unlabelled, plain, other])).sample(frac=1, random_state=1)
    found = labelled(pairs, pd.concat([scores, scores.assign(target=unlabelled["target"])]))
    expected = plain.sort_values([*KEY, "method"], ignore_index=True)
    for name in (*KEY, "method", "iou", *NAMES, "tellable"):
        assert found[name].equals(expected[name]), name


def test_the_gain_of_the_action_that_is_preferred():
    """Of one pair: balancing is preferred, the best would have been to turn; the interval lies about what is
    promised."""
    key = dict(zip(KEY, ("a", "b", "identity", 0.0, 0), strict=True))
    methods = ["source", *ORDER]
    table = pd.DataFrame(
        [key | {"method": m, "iou": v, "tellable": True} for m, v in zip(methods, (0.5, 0.4, 0.6, 0.9), strict=True)]
    )
    (row,) = gain_table(table, np.array([0.3, 0.2, 0.8, 0.1]), np.full(4, 0.15), ORDER).to_dict("records")
    assert (
        row["action"] == "balanced" and row["predicted"] == pytest.approx(0.5) and row["gain_iou"] == pytest.approx(0.1)
    )
    half = np.hypot(0.15, 0.15)
    assert (row["low"], row["high"]) == pytest.approx((0.5 - half, 0.5 + half))
    (wide,) = gain_table(table, np.array([0.3, 0.2, 0.8, 0.1]), np.full(4, 0.9), ORDER).to_dict("records")
    assert (wide["low"], wide["high"]) == pytest.approx((0.5 - 0.9 * 2**0.5, 1)), "no gain lies beyond one"
    assert [row[f"iou_{name}"] for name in ("kept", "action", "plain", "best")] == pytest.approx([0.5, 0.6, 0.4, 0.9])


def test_without_labels_there_is_nothing_to_judge(tmp_path, table):
    paths = write(tmp_path, table)
    pairs_of(table.assign(iou=np.nan)).to_csv(paths["pairs_path"], index=False)
    predict(**paths)
    assert pd.read_csv(paths["predictors_path"]).empty and Path(paths["tree_path"]).read_text() == "no labels\n"
    assert np.isnan(forest.load(paths["forest_path"]).width)


def test_the_forest_says_by_what_code_it_was_fitted(arguments):
    assert forest.load(arguments["forest_path"]).stamp == forest.Stamp("abc", commit())
