"""Scores: exact on hand-made masks, and the table of the stage."""

from copy import deepcopy

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from scripts.adapt import adapt
from scripts.evaluate import evaluate
from shiftgain.files import store
from shiftgain.network import checkpoint, metrics
from shiftgain.network.inference import predict
from tests.conftest import METHODS, MODEL, delete, discs


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


def test_an_image_of_which_no_pixel_counts_has_no_part_in_means():
    true, predicted = np.ones((2, 2, 2), np.uint8), np.ones((2, 2, 2), bool)
    true[0], predicted[1, 0] = store.IGNORED, False
    scores = metrics.scores([(predicted, true)])
    assert scores["iou_mean"] == scores["iou"] == 1 / 2 and scores["dice_mean"] == scores["dice"]
    assert np.isnan(metrics.scores([(predicted[:1], true[:1])])["iou_mean"])


def test_foreground_of_images_without_objects_by_hand():
    """Of three images two have no objects, 3 and 4 of whose pixels count: 1 and 2 of them are called foreground."""
    true, predicted = np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2), bool)
    true[0, 0, 0], true[1, 0, 0] = 1, store.IGNORED
    predicted[0], predicted[1, 0], predicted[2, 0] = True, True, True
    assert metrics.scores([(predicted[:1], true[:1]), (predicted[1:], true[1:])])["empty_foreground"] == 3 / 7
    assert np.isnan(metrics.scores([(predicted[:1], true[:1])])["empty_foreground"])
    assert np.isnan(metrics.scores([(predicted, None)])["empty_foreground"])


@pytest.fixture
def evaluated(tmp_path, domain_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    adapt(
        str(tmp_path / "model.h5"), str(domain_path), str(targets_path), str(tmp_path / "adapted.h5"), METHODS, 0, "cpu"
    )

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


def test_scores_see_the_test_split_alone(tmp_path, domain_path, targets_path, network):
    """Share of clipped pixels and ceiling too, which are those of the images that are scored."""
    path, half = str(tmp_path / "a.h5"), METHODS["batchnorm"] | {"at_test": 4}
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    with h5py.File(targets_path, "a") as targets:
        for number, group in enumerate(targets.values(), 1):
            group["test"].attrs["clipped_share"] = 0.1 * number
            group["test/masks"][:, :4] = 1
    adapt(str(tmp_path / "model.h5"), str(domain_path), str(targets_path), path, METHODS | {"half": half}, 0, "cpu")

    def run() -> pd.DataFrame:
        evaluate(
            str(tmp_path / "model.h5"), str(targets_path), path, str(tmp_path / "s.csv"), str(tmp_path / "m.h5"),
            source="dark", seed=3, threshold=0.5, examples=2, device="cpu",
        )  # fmt: skip
        return pd.read_csv(tmp_path / "s.csv")

    whole = run()
    with h5py.File(targets_path) as targets:
        true = {group.name: group["test/masks"][...].mean() for group in targets.values()}
    assert list(whole["true_foreground"].unique()) == pytest.approx(list(true.values()))
    assert list(whole["clipped_share"].unique()) == [0.1, 0.2] and (whole["pixel_ceiling"] < 0.9).all()
    delete(targets_path, "discs/adapt", "discs@brightness=0.2/adapt")
    assert run().equals(whole)


def test_a_baseline_is_scored_and_adapted_with_its_own_weights(tmp_path, domain_path, targets_path, network):
    """Its rows are those of a study with it as the source: it has other weights before and after batch norm."""
    name, other = "discs@brightness=0.2", deepcopy(network)
    other.encoder1.conv1.weight.mul_(3)
    other.head.weight.neg_()
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    checkpoint.save(tmp_path / "ynet.h5", other, MODEL, {"image_presentations": 0, "status": ""})

    def run(model: str, **more) -> pd.DataFrame:
        paths = [str(tmp_path / stem) for stem in (model, "targets.h5", "adapted.h5", "scores.csv", "masks.h5")]
        adapt(paths[0], str(domain_path), paths[1], paths[2], METHODS, 0, "cpu")
        evaluate(*paths, source="dark", seed=3, threshold=0.5, examples=2, device="cpu", **more)
        return pd.read_csv(tmp_path / "scores.csv").query("transform == 'brightness'").set_index("method")

    methods = ["batchnorm", "ynet", "ynet+batchnorm"]
    found = run("model.h5", baseline_paths={(name, "ynet"): str(tmp_path / "ynet.h5")}, methods=methods)
    own = run("ynet.h5")
    for rows in (found, own):
        adapted, kept = (rows.loc[method, ["iou", "predicted_foreground"]] for method in ("batchnorm", "source"))
        assert (adapted != kept).any(), "scores are of what was adapted"
    for method, same in (("ynet", "source"), ("ynet+batchnorm", "batchnorm")):
        share = found.loc[method, "predicted_foreground"]
        assert share == own.loc[same, "predicted_foreground"] != found.loc[same, "predicted_foreground"]
        assert found.loc[method, "iou"] == own.loc[same, "iou"] != found.loc[same, "iou"]


def test_a_baseline_adapts_to_no_image_that_it_was_trained_on(tmp_path, domain_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {"image_presentations": 0, "status": ""})
    with h5py.File(targets_path, "a") as targets:
        for group in targets.values():
            store.put_json(group["adapt"], "trained_on", {"dark": [0, 1, 2]})
    paths = [str(tmp_path / stem) for stem in ("model.h5", "targets.h5", "adapted.h5", "scores.csv", "masks.h5")]
    adapt(paths[0], str(domain_path), paths[1], paths[2], METHODS, 0, "cpu")
    evaluate(
        *paths, source="dark~brief", seed=3, threshold=0.5, examples=2, device="cpu",
        baseline_paths={("discs", "ynet"): paths[0]}, methods=["ynet+batchnorm"],
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "scores.csv").set_index(["transform", "method"])
    assert rows.loc[("identity", "ynet+batchnorm"), "image_presentations"] == 5


def test_adapting_to_one_test_batch_of_all_is_adapting_to_the_test_split(tmp_path, domain_path, targets_path, network):
    path = str(tmp_path / "a.h5")
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    with h5py.File(targets_path, "a") as targets:
        for group in targets.values():
            del group["adapt"]
            group.copy("test", "adapt")
    whole, each = ({"function": "batchnorm", "options": {}, "at_test": n} for n in (8, 1))
    adapt(
        str(tmp_path / "model.h5"),
        str(domain_path),
        str(targets_path),
        path,
        METHODS | {"whole": whole, "each": each},
        0,
        "cpu",
    )
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


def test_baselines_of_the_targets_have_rows_of_their_own(tmp_path, domain_path, targets_path, network):
    """A baseline, BN adaptation on top of it, and one that diverged, whose row has no scores."""
    name = "discs@brightness=0.2"
    made = {"selection": "target_oracle", "n_target_images": 8, "image_presentations": 100}
    for stem, about in {
        "model": {"selection": "source_validation", "n_target_images": 0, "image_presentations": 50},
        "ynet": made | {"status": ""},
        "lost": made | {"status": "diverged: the loss is not finite in epoch 3"},
    }.items():
        checkpoint.save(tmp_path / f"{stem}.h5", network, MODEL, about)
    methods = {**METHODS, "few": METHODS["batchnorm"] | {"images": 3}, "twice": {"function": "prior", "options": {}}}
    adapt(
        str(tmp_path / "model.h5"), str(domain_path), str(targets_path), str(tmp_path / "adapted.h5"), methods, 0, "cpu"
    )
    evaluate(
        *(str(tmp_path / stem) for stem in ("model.h5", "targets.h5", "adapted.h5", "scores.csv", "masks.h5")),
        source="dark", seed=3, threshold=0.5, examples=2, device="cpu",
        baseline_paths={(name, stem): str(tmp_path / f"{stem}.h5") for stem in ("ynet", "lost")},
        methods=["batchnorm", "ynet", "ynet+batchnorm", "lost"],
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "scores.csv").set_index(["transform", "method"])
    assert set(rows.loc["identity"].index) == {"source", "batchnorm", "few", "twice"}
    row = rows.loc["brightness"]
    assert set(row.index) == {"source", "batchnorm", "few", "twice", "ynet", "ynet+batchnorm", "lost"}
    # The baseline is the same network here: it scores as the source does, adapted and not.
    assert row.loc["ynet", "iou"] == row.loc["source", "iou"]
    assert row.loc["ynet+batchnorm", "iou"] == row.loc["batchnorm", "iou"]
    assert row.loc["lost", ["iou", "dice", "iou_mean", "dice_mean", "predicted_foreground"]].isna().all()
    assert (
        row.loc["lost", "status"] == "diverged: the loss is not finite in epoch 3" and row["status"].notna().sum() == 1
    )
    assert row["selection"].to_dict() == {
        **dict.fromkeys(["source", "batchnorm", "few", "twice"], "source_validation"),
        **dict.fromkeys(["ynet", "ynet+batchnorm", "lost"], "target_oracle"),
    }
    assert row["n_target_images"].to_dict() == {
        "source": 0, "batchnorm": 8, "few": 3, "twice": 8, "ynet": 8, "ynet+batchnorm": 8, "lost": 8,
    }  # fmt: skip
    # Each image once, but method prior looks twice.
    assert row["image_presentations"].to_dict() == {
        "source": 50, "batchnorm": 58, "few": 53, "twice": 66, "ynet": 100, "ynet+batchnorm": 108, "lost": 100,
    }  # fmt: skip
