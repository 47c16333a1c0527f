"""Means inside the network, by class: exact sums, and the pairs that are looked into."""

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.decompose import decompose
from shiftgain.files import store
from shiftgain.findings.cases import decomposed_cases
from shiftgain.findings.pairs import read_pairs
from shiftgain.latents.decomposition import ClassMeans, class_means, decomposition
from shiftgain.network import checkpoint
from shiftgain.network.inference import Inputs
from shiftgain.network.tiles import Tiled
from tests.conftest import MODEL, discs
from tests.made_up import two_sources
from tests.test_tables import faults

CPU = torch.device("cpu")


@pytest.fixture
def split(tmp_path):
    """Seven images of 18 x 21 discs, whose sides are no multiples of 4, with pixels that are ignored."""
    images, masks = discs(7, 21, 3)
    masks[:, 3:9, 5:14] = store.IGNORED
    with store.create(tmp_path / "split.h5") as file:
        store.append(file.create_group("test"), images[:, :18], masks[:, :18])
    with store.read(tmp_path / "split.h5") as file:
        yield file["test"]


def by_hand(network, split, layer: str) -> ClassMeans:
    """Every position as often as it has pixels of the class: activations blown up to the size of the image."""
    images, masks = split["images"][:], split["masks"][:]
    (tile,) = Tiled(images, range(len(images)), network.depth, CPU)
    taken = []
    relu = network.get_submodule(f"{layer}.relu2")
    hook = relu.register_forward_pre_hook(lambda _, given: taken.append(given[0].clone()))
    network.features(tile.images)
    hook.remove()
    stride = tile.images.shape[-1] // taken[0].shape[-1]
    large = taken[0].repeat_interleave(stride, 2).repeat_interleave(stride, 3)[:, :, *tile.core]
    rows = large.permute(0, 2, 3, 1).double().numpy()
    counted = rows[masks != store.IGNORED]
    means = [rows[masks == label].mean(0) for label in (1, 0)]
    return ClassMeans((masks == 1).sum() / len(counted), *means, counted.std(0))


@pytest.mark.parametrize("layer", ["encoder1", "bottleneck", "decoder2"])
def test_class_means_are_those_of_the_pixels(network, split, layer):
    found, expected = class_means(network, split, [layer], CPU)[layer], by_hand(network, split, layer)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_difference_is_the_sum_of_its_parts():
    deviation = np.array([2.0, 1e-6, 1.0])
    source = ClassMeans(0.25, np.array([4.0, 0, 1]), np.array([0.0, 0, 1]), deviation)
    target = ClassMeans(0.75, np.array([6.0, 0, 2]), np.array([2.0, 0, 0]), deviation)
    parts = decomposition(source, target)
    assert list(parts["channel"]) == [0, 2], "a dead channel is left out"
    # By share (0.75 - 0.25) (4 - 0) = 2, by appearance 2 for both classes; in deviations half of it.
    np.testing.assert_allclose(parts["prior_part"], [1, 0])
    np.testing.assert_allclose(parts["appearance_part"], [1, 0.75 - 0.25])
    np.testing.assert_allclose(parts["difference"], [2, 1.5 - 1])
    rng = np.random.default_rng(0)
    one, other = (ClassMeans(share, *rng.normal(size=(2, 5)), np.ones(5)) for share in (0.2, 0.7))
    parts = decomposition(one, other)
    np.testing.assert_allclose(parts["prior_part"] + parts["appearance_part"], parts["difference"], atol=1e-12)


@pytest.mark.parametrize(
    ("source", "target", "known"), [(0, 0.3, False), (1, 0.3, False), (0, 0, True), (0.3, 0, True)]
)
def test_what_a_class_looks_like_that_the_source_lacks_is_not_known(source, target, known):
    looks = np.array([3.0]), np.array([1.0]), np.ones(1)
    parts = decomposition(ClassMeans(source, *looks), ClassMeans(target, *looks))
    assert np.isfinite(parts["difference"]).all()
    assert {np.isfinite(parts[name]).all() for name in ("prior_part", "appearance_part")} == {known}


def test_another_share_of_the_same_look_is_all_prior():
    looks = np.array([3.0, -1.0]), np.array([1.0, 1.0]), np.ones(2)
    parts = decomposition(ClassMeans(0.35, *looks), ClassMeans(0.1, *looks))
    assert not parts["appearance_part"].any()
    np.testing.assert_allclose(parts["prior_part"], [-0.5, 0.5])


def test_cases_are_one_that_works_one_that_fails_and_another_share(tmp_path):
    drawn, _ = two_sources(tmp_path)
    pairs = read_pairs(drawn["tables"]["pairs"])
    assert list(decomposed_cases(pairs)) == ["works", "fails"], "every target has the share of its source"
    target = (pairs["target"] == "0.50-0.90") & (pairs["source"] == "0.30-0.70") & (pairs["transform"] == "identity")
    pairs.loc[target, ["share_change", "gain_iou"]] = 1.0, -0.3
    cases = decomposed_cases(pairs)
    assert cases["another share"]["target"] == "0.50-0.90" and cases["another share"]["gain_iou"] == -0.3
    assert decomposed_cases(pairs[pairs["home"]]) == {}


def test_the_stage_explains_the_cases_by_layer(tmp_path, network):
    drawn, _ = two_sources(tmp_path)
    models = {f"{source}/seed0": str(tmp_path / f"{source}.h5") for source in drawn["data"]}
    for path in models.values():
        checkpoint.save(path, network, MODEL, {})
    path = tmp_path / "decomposition.csv"
    arguments = [
        drawn["tables"]["pairs"],
        list(drawn["masks"]),
        models,
        drawn["data"],
        drawn["targets"],
        drawn["targets_of"],
        str(path),
    ]
    decompose(*arguments)
    table = pd.read_csv(path)
    assert not list(faults("decomposition", path))
    assert list(table["layer"].unique()) == ["encoder1", "encoder2", "bottleneck", "decoder2", "decoder1"]
    assert list(table["case"].unique()) == ["works", "fails"]
    np.testing.assert_allclose(table["prior_part"] + table["appearance_part"], table["difference"], atol=1e-5)
    works = table[(table["case"] == "works") & (table["layer"] == "encoder1")]
    source, target = (works[role].iloc[0] for role in ("source", "target"))
    means = []
    for path, group in ((drawn["data"][source], "test"), (drawn["targets"]["identity"], f"{target}/test")):
        with store.read(path) as file:
            (tile,) = Inputs(file[group], CPU, network.depth)
            block = network.encoder1
            before = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(network.standardise(tile.images))))))
            means.append(before[:, :, *tile.core].permute(0, 2, 3, 1).flatten(0, 2))
    expected = (means[1].mean(0) - means[0].mean(0)) / means[0].std(0)
    np.testing.assert_allclose(works["difference"], expected.numpy()[works["channel"]], rtol=1e-2, atol=1e-3)


def test_a_study_without_cases_has_an_empty_table(tmp_path):
    drawn, _ = two_sources(tmp_path)
    pairs = pd.read_csv(drawn["tables"]["pairs"])
    pairs[pairs["home"]].to_csv(drawn["tables"]["pairs"], index=False)
    decompose(
        drawn["tables"]["pairs"], list(drawn["masks"]), {}, {}, {}, drawn["targets_of"], str(tmp_path / "none.csv")
    )
    assert pd.read_csv(tmp_path / "none.csv").empty
