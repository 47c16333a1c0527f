"""Latents: the right activation, exact moments, the same rows again."""

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.adapt import adapt
from scripts.distances import distances
from scripts.latents import latents
from shiftgain.files import store
from shiftgain.latents.activations import halves, summarise, summarise_parts
from shiftgain.network import checkpoint, normalisation
from shiftgain.network.tiles import Tiled, tiles_of
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


@pytest.mark.parametrize("n_images", [1, 2, 7, 8])
def test_halves_hold_every_image_once_and_are_drawn_by_the_seed(n_images):
    """Between them the two halves hold all images, none in both, and over many draws each image is in either."""
    drawn = halves(n_images, 400, 3)
    assert drawn.shape == (400, n_images) and drawn.dtype == bool
    assert (drawn.sum(axis=1) == n_images // 2).all(), "the second half has the others"
    np.testing.assert_array_equal(drawn, halves(n_images, 400, 3))
    if n_images > 1:
        # Standard error of a share of 400 draws: 0.025.
        np.testing.assert_allclose(drawn.mean(axis=0), n_images // 2 / n_images, atol=0.1)
        assert (drawn != halves(n_images, 400, 4)).any()


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_parts_are_summarised_as_if_their_images_had_passed_alone(network, size):
    images = torch.cat(BATCHES)
    parts = [np.ones(6, bool), np.array([1, 0, 0, 1, 1, 0], bool), np.array([0, 1, 1, 0, 0, 1], bool)]
    place = (["encoder1", "bottleneck"], ["before_relu"], ["position", "image"])
    together = summarise_parts(network, tiles_of(images.split(size), 2), parts, *place, 30)
    for part, summaries in zip(parts, together, strict=True):
        numbers = np.flatnonzero(part)
        own = [tile for k in numbers for tile in Tiled(images[k : k + 1], range(k, k + 1), 2, images.device)]
        alone = summarise(network, own, 6, *place, 30 * 6 // len(numbers))
        for name, arrays in alone.items():
            for key, array in arrays.items():
                np.testing.assert_allclose(summaries[name][key], array, rtol=1e-4, atol=1e-5)


def test_all_parts_take_one_forward_pass(network, monkeypatch):
    passes, features = [], network.features
    monkeypatch.setattr(network, "features", lambda images: passes.append(len(images)) or features(images))
    parts = [np.ones(6, bool), *halves(6, 4, 0)]
    summarise_parts(network, TILES, parts, ["encoder1"], ["before_relu"], ["position"], 30)
    assert passes == [2, 2, 2]


def test_stage_writes_parts_of_the_source_and_states_of_the_targets(tmp_path, domain_path, targets_path, network):
    model, adapted, out = (str(tmp_path / f"{name}.h5") for name in ("model", "adapted", "latents"))
    checkpoint.save(model, network, MODEL, {})
    adapt(model, str(domain_path), str(targets_path), adapted, METHODS, 0, "cpu")
    place = (["bottleneck"], ["before_relu"], ["position"], 24)
    latents(model, str(domain_path), str(targets_path), adapted, out, *place, 0, "cpu")
    with store.read(out) as file:
        names = ["source/reference", "targets/discs/before", "targets/discs/after"]
        names += [f"source/null/{number}/{half}" for number in range(4) for half in ("first", "second")]
        sizes = {name: file[f"{name}/bottleneck/before_relu/position/rows"].shape for name in names}
        assert set(sizes.values()) == {(24, 16)}
        assert set(file["source"]) == {"reference", "null"} and set(file["source/null"]) == {"0", "1", "2", "3"}
        after = file["targets/discs@brightness=0.2/after/bottleneck/before_relu/position"]
        before = file["targets/discs@brightness=0.2/before/bottleneck/before_relu/position"]
        norm = network.bottleneck.norm2
        scale = np.abs(before["mean"][:] - norm.bias.numpy()).mean()
        assert np.abs(after["mean"][:] - norm.bias.numpy()).mean() < 0.5 * scale


# Grey levels of eight images of the source, and of a target.
SOURCE, TARGET = [20, 50, 80, 110, 140, 170, 200, 230], [40, 60, 80, 200, 220, 240]


def write_levels(group, split: str, levels: list[int]) -> None:
    """A split of images of one grey level each."""
    images = np.broadcast_to(np.array(levels, np.uint8)[:, None, None], (len(levels), 16, 16))
    store.append(group.create_group(split), images, np.zeros((len(levels), 16, 16), np.uint8))


def measured(
    folder, network, source: list[int], methods: dict, seed: int = 0, left_out: list[int] | None = None
) -> tuple[dict, pd.DataFrame]:
    """Mean latents by group, and the distances, of a source and a target of images of one grey level each.

    Of images ``left_out`` of the source no pixel counts.
    """
    paths = {name: str(folder / f"{name}.h5") for name in ("model", "source", "targets", "adapted", "latents")}
    checkpoint.save(paths["model"], network, MODEL, {})
    with store.create(paths["source"]) as file:
        write_levels(file, "validation", source)
        if left_out:
            file["validation/masks"][left_out] = store.IGNORED
    with store.create(paths["targets"]) as file:
        group = file.create_group("target")
        store.put_json(group, "domain", {"name": "target", "transform": "identity", "level": 0.0})
        write_levels(group, "adapt", TARGET)
    adapt(paths["model"], paths["source"], paths["targets"], paths["adapted"], methods, 0, "cpu")
    place = (["encoder1"], ["before_relu"], ["position"], 40)
    latents(paths["model"], paths["source"], paths["targets"], paths["adapted"], paths["latents"], *place, seed, "cpu")
    tables = [str(folder / f"{name}.csv") for name in ("distances", "channels")]
    distances(paths["latents"], paths["targets"], *tables, ["wasserstein", "sliced_wasserstein"], 16, "source", 0)
    means: dict = {}
    with store.read(paths["latents"]) as file:
        file.visititems(
            lambda name, node: means.update({name.split("/encoder1/")[0]: node[...]} if name.endswith("/mean") else {})
        )
    return means, pd.read_csv(tables[0]).set_index(["state", "distance"])


def mean_latents(network, levels: list[int], state: dict | None = None) -> np.ndarray:
    """Mean over ``levels`` of the latents of an image of one grey level, each passed by itself."""
    means = []
    for level in levels:
        with normalisation.adapted(network, state or {}):
            images = tiles_of([torch.full((1, 1, 16, 16), level / 255)], 2)
            found = summarise(network, images, 1, ["encoder1"], ["before_relu"], ["position"], 40)
        means.append(found["encoder1/before_relu/position"]["mean"])
    return np.mean(means, axis=0)


def test_source_and_target_are_compared_by_all_their_images(tmp_path, network):
    """``after`` by hand, for a network adapted to all images of the target."""
    means, _ = measured(tmp_path, network, SOURCE, METHODS)
    with store.read(tmp_path / "adapted.h5") as adapted:
        state = checkpoint.get_tensors(adapted["target/batchnorm"])
    expected = {
        "source/reference": mean_latents(network, SOURCE),
        "targets/target/before": mean_latents(network, TARGET),
        "targets/target/after": mean_latents(network, TARGET, state),
    }
    for name, mean in expected.items():
        np.testing.assert_allclose(means[name], mean, rtol=1e-4, atol=1e-5)
    assert not np.allclose(means["targets/target/before"], means["targets/target/after"])


def test_the_null_is_between_random_halves_of_the_images_of_the_source(tmp_path, network):
    """Each group by hand, from the halves that the seed draws; the two of a pair hold all images between them."""
    means, table = measured(tmp_path, network, SOURCE, {}, seed=5)
    levels = np.array(SOURCE)
    for number, first in enumerate(halves(8, 4, 5)):
        pair = [means[f"source/null/{number}/{half}"] for half in ("first", "second")]
        np.testing.assert_allclose(pair[0], mean_latents(network, levels[first]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(pair[1], mean_latents(network, levels[~first]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.mean(pair, axis=0), means["source/reference"], rtol=1e-4, atol=1e-5)
    assert (table["null"] > 0.01).all()
    _, again = measured(tmp_path, network, SOURCE, {}, seed=5)
    np.testing.assert_array_equal(again["null"], table["null"])
    _, other = measured(tmp_path, network, SOURCE, {}, seed=6)
    assert (other["null"] != table["null"]).all() and (other["value"] == table["value"]).all()


def test_a_half_of_which_nothing_counts_is_no_part_of_the_null(tmp_path, network):
    """Six images of eight have no pixel that counts, so that half of the pairs has both of the two that do in one."""
    levels, counts = np.array(SOURCE), np.array([0, 5])
    means, table = measured(tmp_path, network, SOURCE, {}, seed=5, left_out=sorted({*range(8)} - {*counts}))
    told = [number for number, first in enumerate(halves(8, 4, 5)) if first[counts[0]] != first[counts[1]]]
    assert 0 < len(told) < 4
    assert {name.split("/")[2] for name in means if "null" in name and name.endswith("first")} >= set(map(str, told))
    np.testing.assert_allclose(means["source/reference"], mean_latents(network, levels[counts]), rtol=1e-4, atol=1e-5)
    gap = np.linalg.norm(mean_latents(network, levels[counts[:1]]) - mean_latents(network, levels[counts[1:]]))
    null = table.loc[("before", "wasserstein"), "null"]
    assert null == pytest.approx(gap, rel=0.02), "the mean over the pairs that tell, each of one image against another"


def test_a_source_of_one_image_has_no_null(tmp_path, network):
    _, table = measured(tmp_path, network, SOURCE[:1], {})
    assert table["null"].isna().all() and (table["value"] > 0).all()


def test_latents_are_of_the_validation_images_of_the_source_and_of_split_adapt_of_the_target(
    tmp_path, domain_path, targets_path, network
):
    model, adapted = str(tmp_path / "model.h5"), str(tmp_path / "adapted.h5")
    checkpoint.save(model, network, MODEL, {})
    adapt(model, str(domain_path), str(targets_path), adapted, METHODS, 0, "cpu")

    def arrays() -> dict:
        place = (["bottleneck"], ["after_relu"], ["position"], 20)
        latents(model, str(domain_path), str(targets_path), adapted, str(tmp_path / "latents.h5"), *place, 0, "cpu")
        found = {}
        with store.read(tmp_path / "latents.h5") as file:
            file.visititems(lambda name, node: found.update({name: node[...]} if hasattr(node, "shape") else {}))
        return found

    whole = arrays()
    delete(domain_path, "train", "validation/masks", "adapt", "test")
    for target in ("discs", "discs@brightness=0.2"):
        delete(targets_path, f"{target}/test", f"{target}/adapt/masks")
    np.testing.assert_equal(arrays(), whole)
