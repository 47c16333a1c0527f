"""Scores: exact on hand-made masks, and the table of the stage."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import METHODS, MODEL, discs
from workflow.lib import checkpoint, metrics, store
from workflow.lib.prediction import predict
from workflow.scripts.adapt import adapt
from workflow.scripts.evaluate import evaluate


@pytest.mark.parametrize(
    ("predicted", "true", "iou", "dice"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1, 1),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0, 0),
        ([1, 1, 0, 0], [1, 0, 1, 0], 1 / 3, 1 / 2),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1, 1),
        ([1, 1, 1, 1], [1, 0, 0, 0], 1 / 4, 2 / 5),
    ],
)
def test_scores_by_hand(predicted, true, iou, dice):
    masks = [np.array(mask, bool).reshape(1, 2, 2) for mask in (predicted, true)]
    scores = metrics.scores([tuple(masks)])
    assert scores["iou"] == scores["iou_mean"] == pytest.approx(iou)
    assert scores["dice"] == scores["dice_mean"] == pytest.approx(dice)
    assert scores["true_foreground"] == np.mean(true)


def test_pooled_counts_first_then_divides():
    true = np.zeros((2, 2, 2), bool)
    true[0], true[1, 0, 0] = True, True
    predicted = np.ones((2, 2, 2), bool)
    scores = metrics.scores([(predicted[:1], true[:1]), (predicted[1:], true[1:])])
    assert scores["iou"] == pytest.approx(5 / 8)
    assert scores["iou_mean"] == pytest.approx((1 + 1 / 4) / 2)


@pytest.fixture
def evaluated(tmp_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    adapt(str(tmp_path / "model.h5"), str(targets_path), str(tmp_path / "adapted.h5"), METHODS, 0, "cpu")

    def run():
        evaluate(
            *(str(tmp_path / name) for name in ("model.h5", "targets.h5", "adapted.h5", "scores.csv", "masks.h5")),
            source="dark", seed=3, threshold=0.5, examples=2, device="cpu",
        )  # fmt: skip
        return pd.read_csv(tmp_path / "scores.csv")

    return run


def test_a_row_per_target_and_method(evaluated, tmp_path):
    scores = evaluated()
    assert list(scores["method"]) == ["source", "batchnorm"] * 2
    assert list(scores["transform"]) == ["identity"] * 2 + ["brightness"] * 2
    assert set(scores["target"]) == {"discs"} and set(scores["seed"]) == {3} and set(scores["n_images"]) == {8}
    assert scores["iou"].between(0, 1).all() and scores["pixel_ceiling"].between(0.9, 1).all()
    with store.read(tmp_path / "masks.h5") as masks:
        assert masks["discs/batchnorm"].shape == (2, 16, 16)


def test_adapting_to_one_test_batch_of_all_is_adapting_to_the_test_split(tmp_path, targets_path, network):
    path = str(tmp_path / "a.h5")
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    with h5py.File(targets_path, "a") as targets:
        for group in targets.values():
            del group["adapt"]
            group.copy("test", "adapt")
    whole, each = ({"function": "batchnorm", "options": {}, "at_test": n} for n in (8, 1))
    adapt(str(tmp_path / "model.h5"), str(targets_path), path, METHODS | {"whole": whole, "each": each}, 0, "cpu")
    evaluate(
        str(tmp_path / "model.h5"), str(targets_path), path, str(tmp_path / "scores.csv"), str(tmp_path / "masks.h5"),
        source="dark", seed=3, threshold=0.5, examples=2, device="cpu",
    )  # fmt: skip
    iou = pd.read_csv(tmp_path / "scores.csv").pivot(index="transform", columns="method", values="iou")
    # The test batch is normalised by its biased variance in neither case: both put running statistics in place.
    assert iou["whole"].equals(iou["batchnorm"]) and not iou["each"].equals(iou["whole"])


def test_a_target_without_masks_has_no_scores_but_a_prediction(evaluated, targets_path):
    labelled = evaluated()
    with h5py.File(targets_path, "a") as targets:
        for group in targets.values():
            del group["test/masks"], group["adapt/masks"]
    unlabelled = evaluated()
    assert (
        unlabelled[["iou", "dice", "iou_mean", "dice_mean", "true_foreground", "pixel_ceiling"]].isna().all(axis=None)
    )
    assert unlabelled["predicted_foreground"].equals(labelled["predicted_foreground"])


def test_mixed_sizes_are_scored_together(tmp_path, network):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("test")
        store.append(group, *discs(3, 16, 0))
        store.append(group, *discs(2, 20, 1))
        store.append(group, *discs(4, 16, 2))
        assert [len(images) for images, _ in store.stacks(group)] == [7, 2]
        assert metrics.scores(predict(network, group, 0.5, torch.device("cpu")))["n_images"] == 9
