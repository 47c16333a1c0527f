"""Advice: what a forest written by hand says of every action, why, and what it warns of."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from scripts.advise import advise as stage
from shiftgain.files.commit import UNKNOWN
from shiftgain.files.errors import StudyError
from shiftgain.prediction import advice, forest
from shiftgain.prediction.advice import COLUMNS, advise, images_to_label
from shiftgain.prediction.estimator import OUTCOME, REHEARSED
from shiftgain.prediction.forest import Forest

# One tree: where agreement is at most 0.5 little is expected, else much if contrast exceeds 1.
TREE = Forest(
    features=["agreement", "contrast"],
    feature=np.array([0, -1, 1, -1, -1], np.int16),
    threshold=np.array([0.5, 0, 1, 0, 0], np.float32),
    right=np.array([2, 0, 4, 0, 0], np.int32),
    logit=logit(np.array([0.5, 0.1, 0.6, 0.4, 0.9])).astype(np.float32),
    roots=np.array([0], np.int32),
    low=np.zeros(2, np.float32),
    high=np.full(2, 2, np.float32),
    width=2.0,
)
ORDER = ["batchnorm", "balanced"]
OPTIONS = {"trees": 5, "leaf": 1, "coverage": 0.9}
NONE = pd.DataFrame(columns=[*REHEARSED, "method", OUTCOME, "gain_sd"])
LOW, MIDDLE, HIGH = (0.2, 1.5), (0.9, 0.5), (0.9, 1.5)  # scores of which the tree expects 0.1, 0.4 and 0.9


def scored(*pairs) -> pd.DataFrame:
    """A pair per argument: (agreement, contrast) of the network as it is, and of each action of :data:`ORDER`."""
    key = {"source": "a", "transform": "identity", "level": 0.0, "seed": 0}
    return pd.DataFrame(
        [
            key | {"target": f"t{n}", "method": method, "agreement": agreement, "contrast": contrast}
            for n, rows in enumerate(pairs)
            for method, (agreement, contrast) in zip(["source", *ORDER], rows, strict=False)
        ]
    )


def advised(*pairs, tree=TREE, rehearsals=NONE) -> pd.DataFrame:
    return advise(scored(*pairs), tree, rehearsals, ORDER, OPTIONS)


def test_the_tree_is_followed():
    found = advised((MIDDLE, LOW, HIGH), (MIDDLE, LOW, MIDDLE), (HIGH, LOW, MIDDLE), (LOW, HIGH, HIGH))
    assert list(found)[: len(COLUMNS)] == COLUMNS
    assert list(found)[len(COLUMNS) :] == ["expected_source", "expected_batchnorm", "expected_balanced"]
    assert found["expected_before"].tolist() == pytest.approx([0.4, 0.4, 0.9, 0.1])
    assert found["gain"].tolist() == pytest.approx([0.5, 0, -0.5, 0.8])
    assert list(found["action"]) == ["balanced", "balanced", "balanced", "batchnorm"], "the simpler of two alike"
    assert list(found["decision"]) == ["balanced", "keep", "keep", "batchnorm"]
    assert (found["gain_high"] - found["gain"]).tolist()[:3] == pytest.approx([2 * 0.02 * 2**0.5] * 3), (
        "one tree agrees"
    )
    assert found["expected_batchnorm"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.9])


@pytest.mark.parametrize(
    ("gain", "half", "expected"),
    [
        (0.05, 0.2, "unknown"),
        (-0.05, 0.2, "unknown"),
        (0.05, 0.14, "balanced"),  # a loss of 0.09 is tolerated
        (0.15, 0.2, "balanced"),
        (-0.15, 0.2, "keep"),
        (0.02, 0.05, "keep"),  # hardly more than keeping
        (0.021, 0.05, "balanced"),
    ],
)
def test_what_cannot_be_told_and_what_is_hardly_better(gain, half, expected):
    low, high = pd.Series([gain - half]), pd.Series([gain + half])
    assert advice.decision(pd.Series(["balanced"]), pd.Series([gain]), low, high).tolist() == [expected]


@pytest.mark.parametrize(("spread", "n"), [(0.3, 27), (0.05, 3), (0.01, 2), (np.nan, None)])
def test_how_many_images_to_label(spread, n):
    """1.706 * 0.3 / sqrt(27) = 0.098 is below a tenth, 1.708 * 0.3 / sqrt(26) = 0.1005 is not; 2 are the fewest."""
    assert images_to_label(spread, 0.9) == n


def rehearsed(kinds: dict[str, float], source="a") -> pd.DataFrame:
    """A rehearsed target per kind, whose IoU under balancing is what is given; all else is as the tree expects."""
    rows = []
    for target, (kind, iou) in enumerate(kinds.items()):
        for method, (agreement, contrast), reached in zip(
            ["source", *ORDER], (MIDDLE, LOW, HIGH), (0.4, 0.1, iou), strict=True
        ):
            row = {"source": source, "seed": 0, "target": target, "kinds": kind, "method": method}
            rows.append(row | {"agreement": agreement, "contrast": contrast, "iou": reached, "gain_sd": 0.3})
    return pd.DataFrame(rows)


def test_a_rehearsal_corrects_what_the_forest_expects_of_its_own_source():
    """Balancing reaches 0.5 on the source where the forest expects 0.9: so it does on the target."""
    own = rehearsed(dict.fromkeys(["noise", "blur", "gamma", "zoom"], 0.5))
    found = advised((MIDDLE, LOW, HIGH), rehearsals=own).iloc[0]
    assert found["expected_after"] == pytest.approx(0.5, abs=0.01) and found["expected_before"] == pytest.approx(
        0.4, abs=0.01
    )
    other = advised((MIDDLE, LOW, HIGH), rehearsals=own.assign(source="b")).iloc[0]
    assert other["expected_after"] == pytest.approx(0.9)


def test_a_network_is_advised_by_its_own_rehearsal_and_not_by_that_of_another_seed():
    own = rehearsed(dict.fromkeys(["noise", "blur", "gamma", "zoom"], 0.5))
    other = rehearsed(dict.fromkeys(["noise", "blur", "gamma", "zoom"], 0.7)).assign(seed=1)
    found = advised((MIDDLE, LOW, HIGH), rehearsals=pd.concat([own, other]))
    pd.testing.assert_frame_equal(found, advised((MIDDLE, LOW, HIGH), rehearsals=own))


def test_the_interval_is_of_rehearsed_kinds_that_were_held_out():
    """Three kinds of four agree; the fourth is told by them, and is off by as much as it differs: the largest error."""
    own = rehearsed({"noise": 0.9, "blur": 0.9, "gamma": 0.9, "zoom": 0.3})
    widths = {"none": float("nan"), "narrow": 2.0, "wide": 50.0}
    found = {
        name: advised((MIDDLE, LOW, HIGH), tree=replace(TREE, width=width), rehearsals=own).iloc[0]
        for name, width in widths.items()
    }
    half = {name: row["gain"] - row["gain_low"] for name, row in found.items()}
    assert half["narrow"] < 0.59 < half["none"] < half["wide"]
    assert found["none"]["decision"] == "unknown" and found["none"]["images_to_label"] == images_to_label(0.3, 0.9)
    assert found["narrow"]["decision"] == "balanced", "where the forest's own interval is narrow, half-way to it"


def test_the_interval_is_wide_where_trees_disagree():
    """Two trees of 0.9 and 0.5 under the action, 0.75 in the mean of logits, and of 0.1 and 0.1 kept."""
    logits = np.concatenate([TREE.logit, logit(np.array([0.5, 0.1, 0.6, 0.4, 0.5]))])
    arrays = {name: np.concatenate([getattr(TREE, name)] * 2) for name in ("feature", "threshold")}
    two = replace(TREE, logit=logits, right=np.array([2, 0, 4, 0, 0, 7, 0, 9, 0, 0]), roots=np.array([0, 5]), **arrays)
    found = advised((LOW, HIGH, LOW), tree=two).iloc[0]
    assert found["gain"] == pytest.approx(0.65)
    spread = 0.75 * 0.25 * logit(0.9) / 2 + 0.02
    assert found["gain"] - found["gain_low"] == pytest.approx(2 * np.hypot(spread, 0.02))


def test_no_gain_lies_beyond_one():
    found = advised((LOW, HIGH, LOW), tree=replace(TREE, width=99.0)).iloc[0]
    assert (found["gain_low"], found["gain_high"]) == (-1, 1) and found["decision"] == "unknown"
    assert pd.isna(found["images_to_label"]), "nothing was rehearsed"


def test_the_scores_that_moved_it_most_are_named_whichever_way_they_moved_it():
    moved = pd.Series({"a": 0.1, "b": -0.5, "c": 0.2, "d": -0.05})
    named = advice._drivers(pd.Series(1.0, moved.index), moved)
    assert named == "b = 1.00 (-0.50); c = 1.00 (+0.20); a = 1.00 (+0.10)"


def test_drivers_sum_to_the_expectation():
    table = scored((LOW, HIGH, MIDDLE))
    moved = TREE.drivers(TREE.rows(table))
    expected = [[-logit(0.9), 0], [logit(0.6), logit(0.9) - logit(0.6)], [logit(0.6), -2 * logit(0.6)]]
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    np.testing.assert_allclose(moved.sum(axis=1), TREE.predict(TREE.rows(table)), atol=1e-6)
    twice = replace(TREE, roots=np.array([0, 0], np.int32))
    np.testing.assert_allclose(twice.drivers(TREE.rows(table)), moved, atol=1e-6, err_msg="trees are averaged")
    found = advised((LOW, HIGH, MIDDLE))["drivers"][0]
    assert found == "agreement = 0.90 (+0.47); contrast = 1.50 (+0.33)", "of the action, less those of keeping"


def test_what_lies_outside_is_warned_of():
    found = advised((MIDDLE, (0.9, 2.1), LOW), (MIDDLE, (0.9, 2.3), LOW), (MIDDLE, (7, 9), LOW))["warning"]
    assert found[0] == "", "within a tenth of the range"
    assert found[1] == "1 of 2 scores lie outside all that the predictor was fitted on: contrast = 2.30"
    assert found[2].startswith("2 of 2") and found[2].endswith("agreement = 7.00, contrast = 9.00")


def test_what_was_rehearsed_is_not_outside():
    own = rehearsed(dict.fromkeys(["noise", "blur"], 0.9)).assign(contrast=[0.5, 3, 1.5] * 2)
    assert advised((MIDDLE, (0.9, 2.3), LOW), rehearsals=own)["warning"][0] == ""


def test_a_score_is_outside_a_tenth_of_the_range_beyond_either_end():
    tree = replace(TREE, low=np.array([1, 1], np.float32), high=np.array([3, 5], np.float32))
    rows = np.array([[0.79, 0.59], [0.81, 0.61], [3.19, 5.39], [3.21, 5.41]], np.float32)
    np.testing.assert_array_equal(tree.outside(rows), np.array([[True], [False], [False], [True]]).repeat(2, axis=1))


@pytest.mark.parametrize(("scores", "warned"), [(25, True), (26, False)])
def test_one_score_in_twenty_five_outside_is_warned_of(scores, warned):
    names = [f"s{k}" for k in range(scores)]
    bounds = {"low": np.zeros(scores, np.float32), "high": np.ones(scores, np.float32)}
    table = scored((LOW, LOW, LOW)).assign(**dict.fromkeys(names, 0.5)).assign(s3=2.0)
    found = advise(table, replace(TREE, features=names, **bounds), NONE, ORDER, OPTIONS).iloc[0]
    assert (found["warning"] != "") == warned
    assert len(found["drivers"].split("; ")) == 3, "three are named"


def test_a_pair_without_actions_gets_no_advice():
    assert list(advised((MIDDLE,), (MIDDLE, HIGH))["target"]) == ["t1"]
    assert len(advised((MIDDLE,))) == 0 and list(advised((MIDDLE,)))[: len(COLUMNS)] == COLUMNS


def test_a_score_that_is_missing_is_named():
    with pytest.raises(StudyError, match=r"score 'contrast'.*make predictor"):
        advise(scored((LOW, LOW)).drop(columns="contrast"), TREE, NONE, ORDER, OPTIONS)


def test_stage_reads_a_shipped_file(tmp_path):
    names = ("scores.csv", "segmentation.csv", "rehearsed.csv", "forest.npz", "advice.csv")
    paths = [str(tmp_path / name) for name in names]
    table = scored((MIDDLE, LOW, HIGH), (HIGH, LOW, LOW)).iloc[::-1]
    table.to_csv(paths[0], index=False)
    images = table[["source", "target", "transform", "level", "seed", "method"]].assign(n_images=12)
    images["n_target_images"] = images["method"].map({"source": 0, "batchnorm": 48, "balanced": 47})
    images.to_csv(paths[1], index=False)
    rehearsed(dict.fromkeys(["noise", "blur"], 0.9), source="b").to_csv(paths[2], index=False)
    forest.save(TREE, paths[3])
    stage(*paths[:2], [paths[2]], *paths[3:], ORDER, OPTIONS, UNKNOWN)
    found = pd.read_csv(paths[4])
    assert list(found["target"]) == ["t0", "t1"] and list(found["decision"]) == ["balanced", "keep"]
    assert found["n_target_images"].tolist() == [47, 48] and found["n_images"].tolist() == [12, 12]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04damaged"])
def test_a_damaged_predictor_is_one_line(tmp_path, content):
    path = tmp_path / "forest.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=r"forest\.npz: no predictor or damaged"):
        forest.load(path)
