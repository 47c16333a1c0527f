"""Advice: what a forest written by hand says, why, and what it warns of."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scripts.advise import advise as stage
from shiftgain.files.errors import StudyError
from shiftgain.prediction import forest
from shiftgain.prediction.advice import COLUMNS, advise
from shiftgain.prediction.forest import Forest

# One tree: where agreement_after is at most 0.5 adapting ruins, else it helps if contrast_after exceeds 1.
TREE = Forest(
    features=["agreement_after", "contrast_after"],
    feature=np.array([0, -1, 1, -1, -1], np.int16),
    threshold=np.array([0.5, 0, 1, 0, 0], np.float32),
    right=np.array([2, 0, 4, 0, 0], np.int32),
    value=np.array([[0.5, 0.6], [0.8, 0.1], [0.4, 0.7], [0.5, 0.5], [0.3, 0.9]], np.float32),
    roots=np.array([0], np.int32),
    low=np.zeros(2, np.float32),
    high=np.full(2, 2, np.float32),
    width=2.0,
)


def scored(*pairs) -> pd.DataFrame:
    key = {"source": "a", "transform": "identity", "level": 0.0, "seed": 0}
    return pd.DataFrame(
        [key | {"target": f"t{n}", "agreement_after": a, "contrast_after": c} for n, (a, c) in enumerate(pairs)]
    )


def test_the_tree_is_followed():
    found = advise(scored((0.2, 1.5), (0.9, 1.5), (0.9, 0.5), (0.5, 9)), TREE)
    assert list(found) == COLUMNS
    assert list(found["gain"]) == pytest.approx([-0.7, 0.6, 0.0, -0.7])
    assert list(found["expected_before"]) == pytest.approx([0.8, 0.3, 0.5, 0.8])
    assert list(found["decision"]) == ["keep", "adapt", "keep", "keep"]
    assert (found["gain_high"] - found["gain"]).tolist() == pytest.approx([2 * forest.SPREAD_FLOOR] * 4)


def test_trees_are_averaged_and_their_deviation_is_the_spread():
    """Two trees that say +0.4 and -0.2 after 0.3 and 0.5 before, and the same twice."""
    leaves = {"feature": [-1, -1], "threshold": [0, 0], "right": [0, 0], "roots": [0, 1]}
    arrays = {name: np.array(values) for name, values in leaves.items()}
    two = replace(TREE, value=np.array([[0.3, 0.7], [0.5, 0.3]], np.float32), **arrays)
    rows = TREE.rows(scored((0, 0)))
    expected, spread = two.predict(rows)
    assert expected[0] == pytest.approx([0.4, 0.5, 0.1]) and spread[0] == pytest.approx(0.3 + 0.02)
    agreeing = replace(two, value=np.array([[0.3, 0.7], [0.3, 0.7]], np.float32))
    assert agreeing.predict(rows)[1] == pytest.approx([0.02]), "two hundredths where all trees agree"


def test_the_interval_is_as_many_spreads_as_the_forest_says_and_no_gain_lies_beyond_one():
    found = advise(scored((0.9, 1.5)), replace(TREE, width=5.0)).iloc[0]
    assert (found["gain_low"], found["gain_high"]) == pytest.approx((0.6 - 0.1, 0.6 + 0.1))
    found = advise(scored((0.9, 1.5), (0.2, 1)), replace(TREE, width=100.0))
    assert list(found["gain_high"]) == [1, 1] and list(found["gain_low"]) == [-1, -1]


def test_the_estimates_move_the_gain_by_themselves():
    """One down, one up: what a tree adds to them is put down to what it asked."""
    names = ["agreement_after", *forest.ESTIMATES]
    bounds = {"low": np.zeros(3, np.float32), "high": np.ones(3, np.float32)}
    tree = replace(TREE, features=names, **bounds)
    rows = np.array([[0.9, 0.3, 0.8], [0.2, 0.6, 0.5]], np.float32)
    expected, _ = tree.predict(rows)
    np.testing.assert_allclose(expected[0], [0.3 + 0.5, 0.8 + 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(expected[1], [0.6 + 0.8, 0.5 + 0.1, -0.8], atol=1e-6)
    np.testing.assert_allclose(tree.drivers(rows), [[0.2, -0.3 - 0.3, 0.8], [-0.8, -0.6, 0.5]], atol=1e-6)


def test_no_iou_is_expected_beyond_its_range():
    found = advise(scored((0.2, 1)), replace(TREE, value=np.array([[0, 0], [1.01, -0.02], *[[0, 0]] * 3], np.float32)))
    assert found.loc[0, ["expected_before", "expected_after", "gain"]].tolist() == [1, 0, -1]


def test_drivers_sum_to_the_gain():
    rows = TREE.rows(scored((0.2, 1.5), (0.9, 1.5), (0.9, 0.5)))
    moved = TREE.drivers(rows)
    np.testing.assert_allclose(moved, [[-0.8, 0], [0.2, 0.3], [0.2, -0.3]], atol=1e-6)
    np.testing.assert_allclose(0.1 + moved.sum(axis=1), TREE.predict(rows)[0][:, 2], atol=1e-6)
    twice = replace(TREE, roots=np.array([0, 0], np.int32))
    np.testing.assert_allclose(twice.drivers(rows), moved, atol=1e-6, err_msg="trees are averaged")
    assert (
        advise(scored((0.9, 0.5)), TREE)["drivers"][0]
        == "contrast_after = 0.50 (-0.30); agreement_after = 0.90 (+0.20)"
    )


def test_what_lies_outside_is_warned_of():
    found = advise(scored((0.9, 2.1), (0.9, 2.3), (-1, 7)), TREE)["warning"]
    assert found[0] == "", "within a tenth of the range"
    assert found[1] == "1 of 2 scores lie outside all that the predictor was fitted on: contrast_after = 2.30"
    assert found[2].endswith("contrast_after = 7.00, agreement_after = -1.00")


def test_a_score_is_outside_a_tenth_of_the_range_beyond_either_end():
    tree = replace(TREE, low=np.array([1, 1], np.float32), high=np.array([3, 5], np.float32))
    rows = np.array([[0.79, 0.59], [0.81, 0.61], [3.19, 5.39], [3.21, 5.41]], np.float32)
    np.testing.assert_array_equal(tree.outside(rows), np.array([[True], [False], [False], [True]]).repeat(2, axis=1))


@pytest.mark.parametrize(("scores", "warned"), [(50, True), (51, False)])
def test_one_score_in_fifty_outside_is_warned_of(scores, warned):
    names = [f"s{k}" for k in range(scores)]
    bounds = {"low": np.zeros(scores, np.float32), "high": np.ones(scores, np.float32)}
    table = scored((0, 0)).assign(**dict.fromkeys(names, 0.5)).assign(s3=2.0)
    found = advise(table, replace(TREE, features=names, **bounds)).iloc[0]
    assert (found["warning"] != "") == warned
    assert len(found["drivers"].split("; ")) == 3, "three are named"


def test_the_furthest_in_units_of_its_range_is_named_first():
    tree = replace(TREE, high=np.array([2, 100], np.float32))
    assert advise(scored((5, 150)), tree)["warning"][0].endswith(": agreement_after = 5.00, contrast_after = 150.00")


def test_pairs_without_scores_are_left_out_and_a_study_without_adaptation_gets_no_advice():
    assert list(advise(scored((np.nan, 1), (0.9, 1)), TREE)["target"]) == ["t1"]
    assert len(advise(scored((1, 1)).drop(columns=["agreement_after", "contrast_after"]), TREE)) == 0


def test_a_score_that_is_missing_is_named():
    with pytest.raises(StudyError, match=r"score 'contrast_after'.*make predictor"):
        advise(scored((1, 1)).drop(columns="contrast_after"), TREE)


def test_stage_reads_a_shipped_file(tmp_path):
    paths = [str(tmp_path / name) for name in ("scores.csv", "segmentation.csv", "forest.npz", "advice.csv")]
    table = scored((0.2, 1.5), (0.9, 1.5)).iloc[::-1]
    table.to_csv(paths[0], index=False)
    images = [
        table.assign(method=name, n_target_images=n, n_images=12) for name, n in (("source", 0), ("batchnorm", 48))
    ]
    pd.concat(images).to_csv(paths[1], index=False)
    forest.save(TREE, paths[2])
    stage(*paths)
    found = pd.read_csv(paths[3])
    assert found["n_target_images"].tolist() == [48, 48] and found["n_images"].tolist() == [12, 12]
    assert list(found["target"]) == ["t0", "t1"] and list(found["decision"]) == ["keep", "adapt"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04damaged"])
def test_a_damaged_predictor_is_one_line(tmp_path, content):
    path = tmp_path / "forest.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=r"forest\.npz: no predictor or damaged"):
        forest.load(path)
