"""Latents: the right activation, exact moments, the same rows again."""

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.adapt import adapt
from scripts.distances import distances
from scripts.latents import latents
from shiftgain.files import store
from shiftgain.latents.activations import summarise
from shiftgain.network import checkpoint, normalisation
from shiftgain.network.tiles import tiles_of
from tests.conftest import METHODS, MODEL, delete

BATCHES = list(torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)).split(2))
TILES = tiles_of(BATCHES, 2)


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
    found = summarise(network, TILES, 6, [layer], ["before_relu", "after_relu"], ["position"], rows=30)
    expected = by_hand(network, layer)
    for activation, rows in (("before_relu", expected), ("after_relu", expected.clip(0))):
        arrays = found[f"{layer}/{activation}/position"]
        np.testing.assert_allclose(arrays["mean"], rows.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(arrays["covariance"], np.cov(rows.T), rtol=1e-3, atol=1e-5)
        members = {tuple(row) for row in rows.astype(np.float32).round(4)}
        assert {tuple(row) for row in arrays["rows"].round(4)} <= members


@pytest.mark.parametrize("size", [1, 3, 4, 6])
def test_rows_do_not_depend_on_the_batches(network, size):
    one = summarise(network, TILES, 6, ["encoder1"], ["before_relu"], ["position"], rows=30)
    others = torch.cat(BATCHES).split(size)
    other = summarise(network, tiles_of(others, 2), 6, ["encoder1"], ["before_relu"], ["position"], rows=30)
    np.testing.assert_allclose(
        one["encoder1/before_relu/position"]["rows"], other["encoder1/before_relu/position"]["rows"], atol=1e-5
    )


def test_few_positions_have_an_unbiased_covariance(network):
    images = [batch[..., :4, :4] for batch in BATCHES[:1]]
    found = summarise(network, tiles_of(images, 2), 2, ["bottleneck"], ["after_relu"], ["position", "image"], rows=2)
    for arrays in found.values():
        assert arrays["rows"].shape == (2, 16)
        np.testing.assert_allclose(arrays["covariance"], np.cov(arrays["rows"].T), rtol=1e-3, atol=1e-6)


def test_pooled_rows_are_means_over_the_positions_of_an_image(network):
    found = summarise(network, TILES, 6, ["encoder1"], ["before_relu", "after_relu"], ["position", "image"], rows=30)
    for activation, rows in (
        ("before_relu", by_hand(network, "encoder1")),
        ("after_relu", by_hand(network, "encoder1").clip(0)),
    ):
        pooled = found[f"encoder1/{activation}/image"]
        np.testing.assert_allclose(pooled["rows"], rows.reshape(6, -1, 4).mean(1), atol=1e-5)
        np.testing.assert_allclose(pooled["mean"], rows.mean(0), atol=1e-5)
        assert found[f"encoder1/{activation}/position"]["rows"].shape == (30, 4)


def test_a_small_layer_gives_what_it_has(network):
    found = summarise(network, TILES, 6, ["bottleneck"], ["before_relu"], ["position"], rows=10_000)
    assert found["bottleneck/before_relu/position"]["rows"].shape == (6 * 4 * 4, 16)


def test_far_from_zero_variances_survive(network):
    with torch.no_grad():
        network.encoder1.norm2.bias.fill_(1000.0)
    found = summarise(network, TILES, 6, ["encoder1"], ["before_relu"], ["position"], rows=30)[
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


# Grey levels of the halves of a split.
FIRST, SECOND, OTHER = 60, 180, 110


def write_halves(group, first: int, second: int) -> None:
    """Split ``adapt`` of two halves of four images, each of one grey level."""
    levels = np.repeat(np.array([first, second], np.uint8), 4)
    images = np.broadcast_to(levels[:, None, None], (8, 16, 16))
    store.append(group.create_group("adapt"), images, np.zeros((8, 16, 16), np.uint8))
    store.put_json(group, "domain", {"name": group.name.strip("/") or "source", "transform": "identity", "level": 0.0})


def measured_halves(folder, network, first: int, second: int, methods: dict) -> tuple[dict, pd.DataFrame]:
    """Mean latents by group, and the distances, of a source of two halves and three targets by their second half."""
    paths = {name: str(folder / f"{name}.h5") for name in ("model", "source", "targets", "adapted", "latents")}
    checkpoint.save(paths["model"], network, MODEL, {})
    with store.create(paths["source"]) as source, store.create(paths["targets"]) as targets:
        write_halves(source, first, second)
        for name, half in (("like_first", first), ("like_second", second), ("like_none", OTHER)):
            write_halves(targets.create_group(name), 255, half)
    adapt(paths["model"], paths["targets"], paths["adapted"], methods, 0, "cpu")
    place = (["encoder1"], ["before_relu"], ["position"], 40)
    latents(paths["model"], paths["source"], paths["targets"], paths["adapted"], paths["latents"], *place, "cpu")
    tables = [str(folder / f"{name}.csv") for name in ("distances", "channels")]
    distances(paths["latents"], paths["targets"], *tables, ["wasserstein", "sliced_wasserstein"], 16, "source", 0)
    with store.read(paths["latents"]) as file:
        groups = {f"source/{half}": file[f"source/{half}"] for half in ("reference", "null")}
        groups |= {f"{target}/{state}": file[f"targets/{target}/{state}"] for target in file["targets"]
                   for state in file[f"targets/{target}"]}  # fmt: skip
        means = {name: group["encoder1/before_relu/position/mean"][...] for name, group in groups.items()}
    return means, pd.read_csv(tables[0]).set_index(["target", "state", "distance"])


def test_the_null_is_between_two_different_halves(tmp_path, network):
    """The null is what a target reads that is like the second half; one like the first half reads zero."""
    means, table = measured_halves(tmp_path, network, FIRST, SECOND, {})
    turned, back = measured_halves(tmp_path, network, SECOND, FIRST, {})
    np.testing.assert_array_equal(turned["source/reference"], means["source/null"])
    np.testing.assert_array_equal(turned["source/null"], means["source/reference"])
    assert not np.allclose(means["source/reference"], means["source/null"])
    assert (table["null"] > 0.01).all() and table["null"].groupby("distance").nunique().eq(1).all()
    np.testing.assert_allclose(table["null"], back["null"], rtol=1e-6)
    value = table["value"].unstack("distance").xs("before", level="state")
    null = table["null"].groupby("distance").first()
    np.testing.assert_allclose(value.loc["like_second"], null[value.columns], rtol=1e-6)
    np.testing.assert_allclose(value.loc["like_first"], 0, atol=1e-3 * null.min())
    assert ((value.loc["like_none"] - null[value.columns]).abs() > 0.1 * null[value.columns]).all()


def test_before_and_after_are_of_the_second_half_of_the_target(tmp_path, network):
    """``after`` by hand, for a network adapted to both halves: it alone has seen the first."""
    means, _ = measured_halves(tmp_path, network, FIRST, SECOND, METHODS)
    second = torch.full((4, 1, 16, 16), OTHER / 255)

    def by_hand(state):
        with normalisation.adapted(network, state):
            found = summarise(network, tiles_of([second], 2), 4, ["encoder1"], ["before_relu"], ["position"], 40)
        return found["encoder1/before_relu/position"]["mean"]

    with store.read(tmp_path / "adapted.h5") as adapted:
        state = checkpoint.get_tensors(adapted["like_none/batchnorm"])
    np.testing.assert_allclose(means["like_none/before"], by_hand({}), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(means["like_none/after"], by_hand(state), rtol=1e-5, atol=1e-6)
    assert not np.allclose(means["like_none/before"], means["like_none/after"])


def test_latents_are_of_the_images_of_split_adapt_alone(tmp_path, domain_path, targets_path, network):
    model, adapted = str(tmp_path / "model.h5"), str(tmp_path / "adapted.h5")
    checkpoint.save(model, network, MODEL, {})
    adapt(model, str(targets_path), adapted, METHODS, 0, "cpu")

    def arrays() -> dict:
        place = (["bottleneck"], ["after_relu"], ["position"], 20)
        latents(model, str(domain_path), str(targets_path), adapted, str(tmp_path / "latents.h5"), *place, "cpu")
        found = {}
        with store.read(tmp_path / "latents.h5") as file:
            file.visititems(lambda name, node: found.update({name: node[...]} if hasattr(node, "shape") else {}))
        return found

    whole = arrays()
    delete(domain_path, "train", "validation", "test", "adapt/masks")
    for target in ("discs", "discs@brightness=0.2"):
        delete(targets_path, f"{target}/test", f"{target}/adapt/masks")
    np.testing.assert_equal(arrays(), whole)
