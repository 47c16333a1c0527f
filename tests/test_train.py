"""Training: it learns, it repeats itself, and it resumes to the same weights."""

import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from scripts.train import train
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import checkpoint, metrics, training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import predict, probabilities
from shiftgain.network.tiles import tiles_of
from shiftgain.network.training import learning_rate, segmentation_loss
from shiftgain.network.unet import UNet, pad
from shiftgain.study.names import layer_names
from tests.conftest import MODEL, delete, discs, write_domain

OPTIONS = {
    "epochs": 6, "patience": 6, "batch": 8, "crop": None, "learning_rate": 0.01, "weight_decay": 0,
    "batchnorm_momentum": 0.1, "precision": "float32", "crops_per_image": 1, "images_per_epoch": None,
    "augmentation": "none",
}  # fmt: skip
CPU = torch.device("cpu")


def run(folder, domain_path, name="model", **options):
    path = folder / f"{name}.h5"
    train(
        str(domain_path),
        str(path),
        str(path.with_suffix(".csv")),
        MODEL,
        OPTIONS | options,
        seed=3,
        device="cpu",
    )
    return path


def weights(path):
    return checkpoint.load(path, CPU).state_dict()


def test_learns_and_keeps_the_best_epoch(tmp_path, domain_path):
    path = run(tmp_path, domain_path, epochs=25, patience=25)
    curve = pd.read_csv(path.with_suffix(".csv"))
    assert list(curve["epoch"]) == list(range(1, 26))
    assert curve["loss"].iloc[-1] < 0.5 * curve["loss"].iloc[0]
    assert curve["validation_iou"].max() > 0.8
    with store.read(domain_path) as domain:
        kept = metrics.scores(predict(checkpoint.load(path, CPU), domain["validation"], 0.5, CPU))
    assert kept["iou"] == curve["validation_iou"].max()
    assert not list(tmp_path.glob("*.resume.h5"))


def test_same_seed_same_weights(tmp_path, domain_path):
    one, other = (weights(run(tmp_path, domain_path, name, epochs=2)) for name in ("a", "b"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_sees_the_training_images_and_is_judged_on_validation_alone(tmp_path, domain_path):
    whole = weights(run(tmp_path, domain_path, epochs=1))
    curve = pd.read_csv(tmp_path / "model.csv")
    delete(domain_path, "adapt", "test")
    torch.testing.assert_close(weights(run(tmp_path, domain_path, epochs=1)), whole, rtol=0, atol=0)
    with h5py.File(domain_path, "a") as domain:
        # Whatever the network calls foreground is now wrong, and nothing is right.
        domain["validation/masks"][...] = 0
        mean = domain["train/images"][...].mean() / 255
    unlike = weights(run(tmp_path, domain_path, "other", epochs=1))
    assert unlike["input_mean"].item() == whole["input_mean"].item() == pytest.approx(mean, rel=1e-5)
    assert pd.read_csv(tmp_path / "other.csv")["loss"].equals(curve["loss"])
    assert not pd.read_csv(tmp_path / "other.csv")["validation_iou"].equals(curve["validation_iou"])


def judged_by(monkeypatch, ious: list) -> list[torch.Tensor]:
    """Epochs have these IoU in turn, or end in this exception; filled with a weight of the network after each."""
    after: list[torch.Tensor] = []
    judged = iter(ious)

    def scores(_) -> dict[str, float]:
        iou = next(judged)
        if not isinstance(iou, float):
            raise iou
        return {"iou": iou}

    monkeypatch.setattr(training, "predict", lambda network, *_: after.append(network.head.bias.clone()))
    monkeypatch.setattr(metrics, "scores", scores)
    return after


@pytest.mark.parametrize(
    ("ious", "patience", "epochs", "best"),
    [
        ([0.5, 0.6, 0.55, 0.6, 0.9], 2, 4, 2),
        ([0.5, 0.6, 0.55, 0.7, 0.7], 2, 5, 4),
        ([0.5, 0.4, 0.9], 1, 2, 1),
        ([0.0, 0.0, 0.0], 3, 3, 1),
    ],
)
def test_stops_after_patience_and_keeps_the_first_of_equal_epochs(
    tmp_path, domain_path, monkeypatch, ious, patience, epochs, best
):
    after = judged_by(monkeypatch, ious)
    kept = weights(run(tmp_path, domain_path, epochs=len(ious), patience=patience))["head.bias"]
    assert len(pd.read_csv(tmp_path / "model.csv")) == len(after) == epochs
    assert [torch.equal(kept, bias) for bias in after].index(True) == best - 1


def test_an_epochs_loss_is_the_mean_over_its_images_and_batch_norm_trains_in_all(domain_path, tmp_path):
    """Batches of 5, 5, 4, 4 and so on; every pass after a judgement is in training mode again."""
    network, modes = UNet(**MODEL), []

    def step(images, masks, _):
        modes.append(network.training)
        return {"loss": images.mean() + masks.mean() + 10 * (len(images) == 5)}

    with store.read(domain_path) as domain:
        learner = training.Learner(network, network, [training.adam(network, 0.01)], step)
        images = TrainingImages(domain["train"], batch=5)
        options = OPTIONS | {"epochs": 2}
        rest = (options, {}, 0, CPU, tmp_path / "a.resume.h5", "a")
        curve = training.fit(learner, images, None, domain["validation"], *rest)
        mean = domain["train/images"][...].mean() / 255 + domain["train/masks"][...].mean()
    assert len(modes) == 10 and all(modes)
    assert [row["loss"] for row in curve] == pytest.approx([mean + 10 * 20 / 24] * 2, rel=1e-5)
    assert [row["presented"] for row in curve] == [24, 24]
    # Of the last batch, which 20 images went before.
    rates = [learning_rate((epoch + 20 / 24) / 2, 0.01) for epoch in range(2)]
    assert [row["learning_rate"] for row in curve] == pytest.approx(rates)


def killed_and_run_again(tmp_path, domain_path, monkeypatch) -> tuple[list[bool], pd.DataFrame]:
    """Killed in the third of four epochs, judged 0.6, 0.5, 0.55, 0.4: which weights are kept, and the curve."""
    after = judged_by(monkeypatch, [0.6, 0.5, KeyboardInterrupt, 0.55, 0.4])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, domain_path, epochs=4)
    kept = weights(run(tmp_path, domain_path, epochs=4))["head.bias"]
    return [torch.equal(kept, bias) for bias in after], pd.read_csv(tmp_path / "model.csv")


def test_a_training_that_goes_on_keeps_its_best_epoch(tmp_path, domain_path, monkeypatch):
    kept, curve = killed_and_run_again(tmp_path, domain_path, monkeypatch)
    assert kept == [True, False, False, False, False] and len(curve) == 4


def test_the_curve_of_a_training_that_goes_on_has_its_columns(tmp_path, domain_path, monkeypatch):
    _, curve = killed_and_run_again(tmp_path, domain_path, monkeypatch)
    assert list(curve["validation_iou"]) == [0.6, 0.5, 0.55, 0.4] and list(curve["epoch"]) == [1, 2, 3, 4]


@pytest.mark.parametrize("change", ["none", "domain", "seed", "options"])
def test_a_training_goes_on_only_from_its_own(tmp_path, domain_path, change):
    def fit(name, seed, **options):
        network = training.fresh(MODEL, OPTIONS, CPU)
        with store.read(domain_path) as domain:
            arguments = (domain, OPTIONS | {"epochs": 1} | options, seed, CPU, tmp_path / "a.resume.h5", name)
            return training.train(network, *arguments)

    before = fit("first", 3)
    if change == "domain":
        with h5py.File(domain_path, "a") as domain:
            store.put_json(domain, "domain", {"name": "others", "transform": "identity", "level": 0.0})
            domain["train/images"][...] = 255 - domain["train/images"][...]
    after = fit("second", 4 if change == "seed" else 3, **({"batch": 4} if change == "options" else {}))
    assert (after == before) == (change == "none")


def test_killed_training_resumes_to_the_same_weights(tmp_path, domain_path):
    undisturbed = weights(run(tmp_path, domain_path, "undisturbed", epochs=20))
    program = (
        "import sys; from pathlib import Path; from tests.test_train import run; "
        "run(Path(sys.argv[1]), sys.argv[2], 'killed', epochs=20)"
    )
    job = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(domain_path)])
    resume_path = tmp_path / "killed.resume.h5"
    while not resume_path.exists() and job.poll() is None:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert resume_path.exists() and not (tmp_path / "killed.h5").exists()
    with store.read(resume_path) as file:
        assert 1 <= len(store.get_json(file, "curve")) < 20
    resumed = weights(run(tmp_path, domain_path, "killed", epochs=20))
    torch.testing.assert_close(resumed, undisturbed, rtol=0, atol=0)


def test_a_resume_file_of_another_config_is_not_used(tmp_path, domain_path):
    with store.create(tmp_path / "b.resume.h5") as file:
        store.put_json(file, "fingerprint", {"options": "other"})
    one, other = (weights(run(tmp_path, domain_path, name, epochs=2)) for name in ("a", "b"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_infinite_loss_is_named(tmp_path, domain_path):
    with pytest.raises(StudyError, match=r"not finite in epoch .*lower train\.learning_rate"):
        run(tmp_path, domain_path, learning_rate=1e30)


def test_loss_by_hand():
    logits = torch.tensor([[[[0.0, 0.0]]]])
    masks = torch.tensor([[[[1.0, 0.0]]]])
    expected = np.log(2) + 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert segmentation_loss(logits, masks).item() == pytest.approx(expected, rel=1e-6)


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(progress, 1.0) for progress in np.linspace(0, 1, 101)]
    assert 0 < rates[0] < 0.2 and max(rates) == pytest.approx(1.0, abs=0.02) and rates[-1] < 1e-6
    assert np.argmax(rates) in (9, 10, 11)


def test_unet_has_the_named_blocks_and_widths():
    network = UNet(channels=3, width=4, depth=3)
    assert [name for name in dict(network.named_children()) if name in layer_names(3)] == [
        "encoder1", "encoder2", "encoder3", "bottleneck", "decoder3", "decoder2", "decoder1",
    ]  # fmt: skip
    assert network.bottleneck.norm2.num_features == 32
    assert network(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)


def test_talks_unet_has_1024_channels():
    with torch.device("meta"):
        assert UNet(channels=1, width=64, depth=4).bottleneck.norm2.num_features == 1024


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (5, 3)])
def test_prediction_takes_any_size(size, network):
    (tile,) = tiles_of([torch.rand(2, 1, *size)], 2)
    assert probabilities(network, tile).shape == (2, *size)
    assert all(side % 4 == 0 for side in pad(torch.rand(1, 1, *size), 4).shape[-2:])


@pytest.mark.parametrize("window", [10**9, 1500])
def test_an_epoch_presents_every_image_once(tmp_path, window):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images, masks = discs(20, 16, 0)
        images[:, 0, 0] = masks[:, 0, 0] = np.arange(20)
        images[:, 0, -1] = images[:, -1, 0] = images[:, -1, -1] = images[:, 0, 0]
        group = file.create_group("train")
        for start in range(0, 20, 3):
            store.append(group, images[start : start + 3], masks[start : start + 3])
        pool = TrainingImages(group, batch=6, window_bytes=window)
        epochs = [
            np.concatenate([batch[:, 0, 0] for batch, _ in pool.epoch(np.random.default_rng(k))]) for k in (0, 0, 1)
        ]
    assert sorted(epochs[0]) == list(range(20))
    assert np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[0], epochs[2])


def test_crops_move_images_and_masks_alike(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        rng = np.random.default_rng(0)
        masks = rng.integers(0, 2, (6, 20, 30), dtype=np.uint8)
        store.append(file.create_group("train"), masks * 200, masks)
        pool = TrainingImages(file["train"], batch=4, crop=[8, 8], crops_per_image=5)
        batches = list(pool.epoch(rng))
    assert sum(len(images) for images, _ in batches) == 30
    assert all(images.shape[1:] == (8, 8) and np.array_equal(images, cut * 200) for images, cut in batches)


def test_crops_reach_every_row_and_column(tmp_path):
    rows, columns = (np.broadcast_to(lines, (2, 12, 10)).astype(np.uint8) for lines in np.indices((12, 10)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        store.append(file.create_group("train"), rows, columns)
        pool = TrainingImages(file["train"], batch=4, crop=[8, 8], crops_per_image=50)
        images, masks = (np.concatenate(part) for part in zip(*pool.epoch(np.random.default_rng(0)), strict=True))
    assert set(np.unique(images)) == set(range(12)) and set(np.unique(masks)) == set(range(10))


@pytest.mark.parametrize("at_most", [1, 9, 30, 99])
def test_an_epoch_may_be_shorter_than_the_images(domain_path, at_most):
    with store.read(domain_path) as file:
        pool = TrainingImages(file["train"], batch=4, images_per_epoch=at_most)
        shown = sum(len(images) for images, _ in pool.epoch(np.random.default_rng(0)))
    assert pool.per_epoch == min(24, max(4, at_most)) and pool.per_epoch - 4 < shown <= pool.per_epoch


@pytest.mark.parametrize(("crop", "seen"), [([32, 32], (20, 30)), ([32, 8], (20, 8)), ([8, 32], (8, 30))])
def test_a_side_no_longer_than_the_crop_is_taken_whole(tmp_path, crop, seen):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        store.append(file.create_group("train"), np.zeros((6, 20, 30), np.uint8), np.zeros((6, 20, 30), np.uint8))
        batches = list(TrainingImages(file["train"], batch=4, crop=crop).epoch(np.random.default_rng(0)))
    assert all(images.shape[1:] == masks.shape[1:] == seen for images, masks in batches)


@pytest.mark.parametrize("crop", [None, [64, 64]])
def test_whole_images_of_any_size_train(tmp_path, crop):
    with store.create(tmp_path / "odd.h5") as file:
        write_domain(file, {"train": 24, "validation": 6}, size=21)
    curve = pd.read_csv(run(tmp_path, tmp_path / "odd.h5", crop=crop, epochs=25, patience=25).with_suffix(".csv"))
    assert curve["validation_iou"].max() > 0.8


def test_checkpoint_of_another_network_is_refused(tmp_path, network):
    checkpoint.save(tmp_path / "a.h5", network, MODEL | {"depth": 3}, {})
    with pytest.raises(StudyError, match=r"a\.h5.*do not fit"):
        checkpoint.load(tmp_path / "a.h5", CPU)


def test_flipped_bit_in_a_checkpoint_is_refused(tmp_path, network):
    path = tmp_path / "a.h5"
    checkpoint.save(path, network, MODEL, {})
    name = "bottleneck.conv2.weight"
    with h5py.File(path) as file:
        offset = file["weights"][name].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(StudyError, match=r"a\.h5.*damaged"):
        checkpoint.load(path, CPU)
