"""Strong augmentation: each kind by hand, masks untouched, off without a trace, and a training that resumes exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from shiftgain.files import store
from shiftgain.network import augmentation, training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.unet import UNet
from tests.conftest import MODEL, discs
from tests.test_train import CPU, OPTIONS, run, weights

KINDS = ["GAMMA", "BLUR", "NOISE", "GAIN", "OFFSET"]
IMAGES = 0.3 + 0.4 * torch.from_numpy(discs(64, 16, 0)[0]).unsqueeze(1) / 255


def only(monkeypatch, kind: str, amount: float) -> torch.Tensor:
    """The images, and half of them under ``amount`` of one kind; again half of each as negatives."""
    for name in KINDS:
        monkeypatch.setattr(augmentation, name, (amount, amount) if name == kind else (0.0, 0.0))
    torch.manual_seed(0)
    return augmentation.strong(IMAGES)


def blurred(image: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, 1.0, 1.0), mode="nearest", truncate=3))


@pytest.mark.parametrize(
    ("kind", "amount", "expected"),
    [
        ("GAMMA", 1.0, lambda image: image**2),
        ("BLUR", 1.0, blurred),
        ("GAIN", 1.0, lambda image: image.mean() + 2 * (image - image.mean())),
        ("OFFSET", 0.1, lambda image: image + 0.1),
    ],
)
def test_each_kind_by_hand_and_each_to_half_of_the_crops(monkeypatch, kind, amount, expected):
    counts = dict.fromkeys(["plain", "negative", "varied", "both"], 0)
    for image, shown in zip(IMAGES, only(monkeypatch, kind, amount), strict=True):
        varied = expected(image).clamp(0, 1)
        ways = {"plain": image, "negative": 1 - image, "varied": varied, "both": 1 - varied}
        (way,) = [name for name, wanted in ways.items() if torch.allclose(shown, wanted, atol=1e-5)]
        counts[way] += 1
    assert sum(counts.values()) == 64 and min(counts.values()) > 6


def test_noise_is_white_and_of_its_deviation(monkeypatch):
    shown = only(monkeypatch, "NOISE", 0.05)
    rest = torch.stack(
        [
            min(one - image, 1 - one - image, key=lambda r: r.abs().sum())
            for one, image in zip(shown, IMAGES, strict=True)
        ]
    )
    noisy = rest.std((1, 2, 3)) > 0.01
    assert 16 < noisy.sum() < 48 and rest[~noisy].abs().max() < 1e-5
    assert rest[noisy].std().item() == pytest.approx(0.05, rel=0.05)
    neighbours = (rest[noisy][..., 1:] * rest[noisy][..., :-1]).mean() / rest[noisy].square().mean()
    assert abs(neighbours) < 0.05


def test_amounts_fill_their_ranges_and_each_crop_has_its_own():
    torch.manual_seed(0)
    amounts = augmentation._drawn(torch.zeros(4000, 1, 1, 1), -2.0, 2.0).flatten()
    chosen = amounts[amounts != 0]
    assert len(chosen) == pytest.approx(2000, abs=150) and len(chosen.unique()) > 1900
    assert chosen.min() < -1.95 and chosen.max() > 1.95 and abs(chosen.mean()) < 0.1


def test_colours_and_sizes_are_kept():
    torch.manual_seed(0)
    shown = augmentation.strong(torch.rand(8, 3, 5, 9).contiguous(memory_format=torch.channels_last))
    assert shown.shape == (8, 3, 5, 9) and shown.min() >= 0 and shown.max() <= 1


def seen(domain_path, folder: Path, kind: str) -> tuple[list, list]:
    """Images and masks of two epochs as the step of a training sees them."""
    network, images, masks = UNet(**MODEL), [], []

    def step(batch, true, _):
        images.append(batch)
        masks.append(true)
        return {"loss": batch.mean()}

    with store.read(domain_path) as domain:
        learner = training.Learner(network, network, [training.adam(network, 0.01)], step)
        options = OPTIONS | {"epochs": 2, "augmentation": kind}
        pool = TrainingImages(domain["train"], batch=8)
        training.fit(learner, pool, None, domain["validation"], options, {}, 0, CPU, folder / f"{kind}.h5", kind)
    return images, masks


def test_masks_and_order_stay_as_they_are(tmp_path, domain_path):
    (plain, masks), (strong, same) = (seen(domain_path, tmp_path, kind) for kind in ("none", "strong"))
    assert all(torch.equal(a, b) for a, b in zip(masks, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(plain, strong, strict=True))
    crops = zip(torch.cat(plain), torch.cat(strong), strict=True)
    alike = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in crops if b.std() > 0.05]
    assert np.mean(np.abs(alike)) > 0.8


def test_off_draws_nothing(tmp_path, domain_path, monkeypatch):
    def refused(_):
        raise AssertionError("augmented")

    monkeypatch.setattr(augmentation, "strong", refused)
    run(tmp_path, domain_path, epochs=1)
    with pytest.raises(AssertionError, match="augmented"):
        run(tmp_path, domain_path, epochs=1, augmentation="strong")


def test_same_seed_same_weights_also_where_a_training_goes_on(tmp_path, domain_path, monkeypatch):
    whole = weights(run(tmp_path, domain_path, "whole", epochs=4, augmentation="strong"))
    judge, judged = training.predict, []

    def interrupted(*arguments):
        judged.append(1)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(training, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, domain_path, "again", epochs=4, augmentation="strong")
    assert (tmp_path / "again.resume.h5").exists()
    again = weights(run(tmp_path, domain_path, "again", epochs=4, augmentation="strong"))
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    assert not torch.equal(whole["head.weight"], weights(run(tmp_path, domain_path, "plain", epochs=4))["head.weight"])
