"""Networks trained as one: each ends as it would have ended alone."""

import h5py
import pytest
import torch

from shiftgain.network import training
from tests import together
from tests.conftest import MODEL, write_domain

OPTIONS = {
    "epochs": 4, "patience": 4, "batch": 8, "crop": None, "crops_per_image": 1, "images_per_epoch": None,
    "augmentation": "none",
    "learning_rate": 0.01, "weight_decay": 0.01, "batchnorm_momentum": 0.1, "precision": "float32",
}  # fmt: skip
CPU = torch.device("cpu")
# Grey levels of foreground and background of three domains, and the seeds of their networks.
DOMAINS = [{"foreground": 0.7, "background": 0.3}, {"foreground": 0.2, "background": 0.6}, {}]
SEEDS = [0, 1, 0]


@pytest.fixture
def domains(tmp_path):
    """Three small domains of as many images each."""
    with h5py.File(tmp_path / "domains.h5", "w") as file:
        for k, means in enumerate(DOMAINS):
            write_domain(file.create_group(str(k)), {"train": 20, "validation": 6}, seed=k, **means)
        yield list(file.values())


def fresh(seed, **model):
    torch.manual_seed(seed)
    return training.fresh(MODEL | model, OPTIONS, CPU)


@pytest.mark.parametrize("patience", [4, 1])
def test_each_follows_the_path_it_follows_alone(domains, tmp_path, patience):
    options = OPTIONS | {"patience": patience}
    networks = [together.standardised(fresh(seed), domain, CPU) for seed, domain in zip(SEEDS, domains, strict=True)]
    curves = together.fit(networks, domains, options, SEEDS, CPU)
    for k, (network, curve, seed) in enumerate(zip(networks, curves, SEEDS, strict=True)):
        alone = fresh(seed)
        resume = tmp_path / f"{k}.h5"
        expected = training.train(alone, domains[k], options, seed, CPU, resume, "alone")
        assert len(curve) == len(expected)
        for row, other in zip(curve, expected, strict=True):
            assert row == pytest.approx(other, rel=1e-3, abs=1e-3)
        torch.testing.assert_close(network.state_dict(), alone.state_dict(), rtol=1e-2, atol=1e-3)


def test_networks_come_out_of_a_stack_as_they_went_in():
    networks = [fresh(seed) for seed in range(3)]
    whole = together.SideBySide(networks)
    images = torch.rand(2, 3, 16, 16)
    said = whole.eval()(images)
    for j, network in enumerate(networks):
        torch.testing.assert_close(whole.state(j), network.state_dict(), rtol=0, atol=0)
        torch.testing.assert_close(said[:, j], network.eval()(images[:, j : j + 1])[:, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_lie_network_by_network(channels):
    batches = [torch.full((2, 4, 5, 3)[: 3 + (channels == 3)], k) for k in range(2)]
    whole = together.side_by_side(batches)
    assert whole.shape == (2, 2 * channels, 4, 5)
    assert whole[0, :, 0, 0].tolist() == [0] * channels + [1] * channels


def test_losses_are_those_of_single_networks():
    logits, masks = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 8, 8).round()
    expected = [training.segmentation_loss(logits[:, j : j + 1], masks[:, j : j + 1]) for j in range(3)]
    torch.testing.assert_close(together.losses(logits, masks), torch.stack(expected))
