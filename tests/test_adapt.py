"""BN adaptation: what it may change, and that it is what the question defines."""

import h5py
import pytest
import torch

from tests.conftest import MODEL
from workflow.lib import batchnorm, checkpoint, store
from workflow.scripts.adapt import adapt

BRIGHT = [torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(k)) + 2 for k in range(3)]

# method -> what it may change. Adding a method adds a line.
MAY_CHANGE = {"batchnorm": ("running_mean", "running_var")}


def test_every_method_is_tested():
    assert MAY_CHANGE.keys() == batchnorm.METHODS.keys()


@pytest.mark.parametrize("method", MAY_CHANGE)
def test_only_named_tensors_change(method, network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = batchnorm.METHODS[method](network, BRIGHT)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(name.endswith(MAY_CHANGE[method]) for name in state)
    with batchnorm.adapted(network, state):
        after = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_first_layer_holds_the_moments_of_the_target(network):
    state = batchnorm.batchnorm(network, BRIGHT)
    outputs = [network.encoder1.conv1(images) for images in BRIGHT]
    means = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    variances = torch.stack([output.var((0, 2, 3)) for output in outputs]).mean(0)
    torch.testing.assert_close(state["encoder1.norm1.running_mean"], means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["encoder1.norm1.running_var"], variances, rtol=1e-4, atol=1e-6)


def test_source_statistics_are_dropped(network):
    state = batchnorm.batchnorm(network, BRIGHT)
    for norm in batchnorm.norm_layers(network).values():
        norm.running_mean.fill_(123.0)
    torch.testing.assert_close(batchnorm.batchnorm(network, BRIGHT), state)


def test_order_of_batches_does_not_matter(network):
    torch.testing.assert_close(
        batchnorm.batchnorm(network, BRIGHT), batchnorm.batchnorm(network, BRIGHT[::-1]), rtol=1e-4, atol=1e-5
    )


def test_positive_affine_change_of_the_input_is_undone(network):
    """Hypothesis H1: exactly for a factor; for an added value up to what the zero padding lets in from the border."""
    images = [torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    own_state = batchnorm.batchnorm(network, images)

    def outputs(batches, state):
        with batchnorm.adapted(network, state):
            return torch.cat([network(batch)[..., 32:64, 32:64] for batch in batches])

    def error_left(moved):
        own, unadapted = outputs(images, own_state), outputs(moved, own_state)
        adapted = outputs(moved, batchnorm.batchnorm(network, moved))
        return ((adapted - own).abs().mean() / (unadapted - own).abs().mean()).item()

    assert error_left([0.5 * batch for batch in images]) < 0.02
    assert error_left([0.5 * batch + 0.3 for batch in images]) < 0.3
    assert error_left([1 - batch for batch in images]) > 0.5


def test_stage_writes_statistics_only(tmp_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    adapt(str(tmp_path / "model.h5"), str(targets_path), str(tmp_path / "adapted.h5"), ["batchnorm"], "cpu")
    names = set(batchnorm.statistics(network))
    with store.read(tmp_path / "adapted.h5") as adapted:
        assert set(adapted) == {"discs", "discs@brightness=0.2"}
        assert all(set(group["batchnorm"]) == names for group in adapted.values())


def test_masks_are_never_read(tmp_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    adapt(str(tmp_path / "model.h5"), str(targets_path), str(tmp_path / "with.h5"), ["batchnorm"], "cpu")
    with h5py.File(targets_path, "a") as targets:
        for group in targets.values():
            del group["adapt/masks"]
    adapt(str(tmp_path / "model.h5"), str(targets_path), str(tmp_path / "without.h5"), ["batchnorm"], "cpu")
    with store.read(tmp_path / "with.h5") as one, store.read(tmp_path / "without.h5") as other:
        for target in one:
            torch.testing.assert_close(
                checkpoint.get_tensors(one[target]["batchnorm"]),
                checkpoint.get_tensors(other[target]["batchnorm"]),
                rtol=0,
                atol=0,
            )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_agree(network):
    on_cpu = batchnorm.batchnorm(network, BRIGHT)
    on_gpu = batchnorm.batchnorm(network.cuda(), [images.cuda() for images in BRIGHT])
    moved = {name: tensor.cpu() for name, tensor in on_gpu.items()}
    torch.testing.assert_close(moved, on_cpu, rtol=1e-2, atol=1e-3)
