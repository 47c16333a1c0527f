"""Latents: the right activation, exact moments, the same rows again."""

import numpy as np
import pytest
import torch

from tests.conftest import METHODS, MODEL
from workflow.lib import checkpoint, store
from workflow.lib.latents import summarise
from workflow.scripts.adapt import adapt
from workflow.scripts.latents import latents

BATCHES = list(torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)).split(2))


def by_hand(network, layer):
    """Rows (positions, C) of a block before its second ReLU, by calling its parts."""
    rows = []
    for images in BATCHES:
        block = network.encoder1
        if layer == "bottleneck":
            images = torch.nn.functional.max_pool2d(network.encoder1(images), 2)
            images = torch.nn.functional.max_pool2d(network.encoder2(images), 2)
            block = network.bottleneck
        rows.append(block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(images))))).permute(0, 2, 3, 1))
    return torch.cat(rows).flatten(0, 2).double().numpy()


@pytest.mark.parametrize("layer", ["encoder1", "bottleneck"])
def test_moments_are_exact_over_all_rows(network, layer):
    found = summarise(network, BATCHES, 6, [layer], ["before_relu", "after_relu"], ["position"], rows=30)
    expected = by_hand(network, layer)
    for activation, rows in (("before_relu", expected), ("after_relu", expected.clip(0))):
        arrays = found[f"{layer}/{activation}/position"]
        np.testing.assert_allclose(arrays["mean"], rows.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(arrays["covariance"], np.cov(rows.T), rtol=1e-3, atol=1e-5)
        members = {tuple(row) for row in rows.astype(np.float32).round(4)}
        assert {tuple(row) for row in arrays["rows"].round(4)} <= members


def test_rows_do_not_depend_on_the_batches(network):
    one = summarise(network, BATCHES, 6, ["encoder1"], ["before_relu"], ["position"], rows=30)
    other = summarise(network, [torch.cat(BATCHES)], 6, ["encoder1"], ["before_relu"], ["position"], rows=30)
    np.testing.assert_allclose(
        one["encoder1/before_relu/position"]["rows"], other["encoder1/before_relu/position"]["rows"], atol=1e-5
    )


def test_pooled_rows_are_means_over_the_positions_of_an_image(network):
    found = summarise(network, BATCHES, 6, ["encoder1"], ["before_relu", "after_relu"], ["position", "image"], rows=30)
    for activation, rows in (
        ("before_relu", by_hand(network, "encoder1")),
        ("after_relu", by_hand(network, "encoder1").clip(0)),
    ):
        pooled = found[f"encoder1/{activation}/image"]
        np.testing.assert_allclose(pooled["rows"], rows.reshape(6, -1, 4).mean(1), atol=1e-5)
        np.testing.assert_allclose(pooled["mean"], rows.mean(0), atol=1e-5)
        assert found[f"encoder1/{activation}/position"]["rows"].shape == (30, 4)


def test_a_small_layer_gives_what_it_has(network):
    found = summarise(network, BATCHES, 6, ["bottleneck"], ["before_relu"], ["position"], rows=10_000)
    assert found["bottleneck/before_relu/position"]["rows"].shape == (6 * 4 * 4, 16)


def test_far_from_zero_variances_survive(network):
    with torch.no_grad():
        network.encoder1.norm2.bias.fill_(1000.0)
    found = summarise(network, BATCHES, 6, ["encoder1"], ["before_relu"], ["position"], rows=30)[
        "encoder1/before_relu/position"
    ]
    expected = by_hand(network, "encoder1").var(0, ddof=1)
    np.testing.assert_allclose(np.diag(found["covariance"]), expected, rtol=0.01)


def test_stage_writes_halves_and_states(tmp_path, domain_path, targets_path, network):
    model, adapted, out = (str(tmp_path / f"{name}.h5") for name in ("model", "adapted", "latents"))
    checkpoint.save(model, network, MODEL, {})
    adapt(model, str(targets_path), adapted, METHODS, 0, "cpu")
    latents(
        model,
        str(domain_path),
        str(targets_path),
        adapted,
        out,
        ["bottleneck"],
        ["before_relu"],
        ["position"],
        20,
        "cpu",
    )
    with store.read(out) as file:
        sizes = {name: file[f"{name}/bottleneck/before_relu/position/rows"].shape for name in (
            "source/reference", "source/null", "targets/discs/before", "targets/discs/after",
        )}  # fmt: skip
        assert set(sizes.values()) == {(20, 16)}
        after = file["targets/discs@brightness=0.2/after/bottleneck/before_relu/position"]
        before = file["targets/discs@brightness=0.2/before/bottleneck/before_relu/position"]
        norm = network.bottleneck.norm2
        scale = np.abs(before["mean"][:] - norm.bias.numpy()).mean()
        assert np.abs(after["mean"][:] - norm.bias.numpy()).mean() < 0.5 * scale
