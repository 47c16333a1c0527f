"""Tiles: the core of one is what the whole image has there, and each position of each layer is in one core alone."""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from shiftgain.adaptation import batchnorm
from shiftgain.files import store
from shiftgain.latents.activations import summarise
from shiftgain.network import inference, tiles
from shiftgain.network.inference import Inputs, input_moments, probabilities
from shiftgain.network.tiles import Tiled, core_at, cuts, grid_at, halo, place_at, tiles_of
from shiftgain.network.unet import Block, UNet, pad, to_input

CPU = torch.device("cpu")
WORKFLOW = str(Path(__file__).parents[1] / "workflow")


def random_network(channels: int, depth: int) -> UNet:
    """A U-Net of width 2 whose batch norms have any statistics."""
    torch.manual_seed(depth)
    network = UNet(channels, 2, depth).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.05, 0.3)
    return network


def random_images(n: int, height: int, width: int, channels: int) -> np.ndarray:
    """Images uint8 as they are stored."""
    shape = (n, height, width) if channels == 1 else (n, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def whole(network: UNet, images: np.ndarray) -> torch.Tensor:
    """Foreground probability (n, H, W), the images passing as they are, padded as they always were."""
    rows, columns = images.shape[1:3]
    return torch.sigmoid(network(pad(to_input(images, CPU), 2**network.depth))[:, 0, :rows, :columns])


@contextmanager
def activations(network: UNet):
    """Block name -> what its last forward pass gave."""
    given = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: given.update({name: output.clone()}))
        for name, module in network.named_modules()
        if isinstance(module, Block)
    ]
    yield given
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(("depth", "pixels"), [(1, 24), (2, 80), (3, 160), (4, 300), (5, 580)])
def test_the_core_of_a_tile_is_what_the_whole_image_has_there(depth, pixels):
    """In double precision, in every block of the network; the image is odd and wider than high."""
    network = random_network(1, depth).double()
    height, width = (2 * pixels - 2**depth - 1) // 2 + pixels // 4, pixels + pixels // 2 + 1
    images = random_images(1, height, width, 1)
    tiled = Tiled(images, range(1), depth, CPU, pixels=pixels**2)
    assert len(list(tiled)) >= 2
    with activations(network) as given:
        logits = network(pad(to_input(images, CPU).double(), 2**depth))
        expected = dict(given)
        counts = {name: torch.zeros(output.shape[-2:]) for name, output in expected.items()}
        for tile in tiled:
            (rows, columns), (top, left) = tile.core, tile.at
            torch.testing.assert_close(
                network(tile.images.double())[..., rows, columns], logits[..., top, left], rtol=0, atol=1e-12
            )
            for name, output in given.items():
                inside, place = core_at(tile, output.shape[-2:]), place_at(tile, output.shape[-2:])
                core = output[..., inside[0], inside[1]]
                torch.testing.assert_close(core, expected[name][..., place[0], place[1]], rtol=0, atol=1e-12)
                counts[name][place] += 1
                stride = 2 ** (depth if name == "bottleneck" else int(name[-1]) - 1)
                assert grid_at(tile, output.shape[-2:]) == (-(-height // stride), -(-width // stride))
    for name, count in counts.items():
        stride = 2 ** (depth if name == "bottleneck" else int(name[-1]) - 1)
        rows, columns = -(-height // stride), -(-width // stride)
        assert (count[:rows, :columns] == 1).all(), name
        assert count.sum() == rows * columns, "no position of the padding"


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_no_smaller_halo_would_do(depth, monkeypatch):
    network = random_network(1, depth).double()
    for name, parameter in network.named_parameters():
        if "norm" in name and name.endswith("bias"):
            parameter.fill_(2)  # hardly a ReLU hides what comes from afar
    cell, enough = 2**depth, halo(depth)
    images = random_images(1, 8 * cell, 4 * enough, 1)

    def error(reach: int) -> float:
        monkeypatch.setattr(tiles, "halo", lambda depth: reach)
        logits, most = network(to_input(images, CPU).double()), 0.0
        for cut in cuts(images.shape[2], depth, 2 * reach + cell):
            part = network(to_input(images[:, :, cut.outer], CPU).double())
            most = max(most, float((part[..., cut.core] - logits[..., cut.at]).abs().max()))
        return most

    assert error(enough) < 1e-12
    assert error(enough - cell) > 1e-12


@pytest.mark.parametrize(("depth", "channels"), list(product([1, 2, 3], [1, 3])))
def test_probabilities_by_tiles_are_those_of_the_whole_image(depth, channels):
    network = random_network(channels, depth)
    images = random_images(2, 117, 245, channels)
    expected = whole(network, images)
    given = torch.full_like(expected, torch.nan)
    for tile in Tiled(images, range(2), depth, CPU, pixels=128**2):
        given[:, *tile.at] = probabilities(network, tile)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("side", [1, 63, 1024, 1025, 1500, 8192, 8191])
def test_tiles_are_bounded_aligned_and_nearly_equal(depth, side):
    parts = cuts(side, depth, 1024)
    assert [cut.at.start for cut in parts[1:]] == [cut.at.stop for cut in parts[:-1]]
    assert (parts[0].at.start, parts[-1].at.stop) == (0, side)
    assert all(cut.at.start % 2**depth == cut.outer.start % 2**depth == 0 for cut in parts)
    assert all(cut.outer.stop - cut.outer.start <= max(1024, 3 * halo(depth)) for cut in parts)
    assert len({cut.at.stop - cut.at.start for cut in parts[:-1]}) <= 1


def test_small_images_are_one_tile_of_all():
    images = random_images(3, 30, 41, 3)
    (tile,) = Tiled(images, range(5, 8), 3, CPU)
    assert tile.images.shape == (3, 3, 32, 48) and tile.numbers == range(5, 8) and tile.size == (30, 41)
    assert tile.core == tile.at == (slice(0, 30), slice(0, 41))
    torch.testing.assert_close(tile.images, pad(to_input(images, CPU), 8), rtol=0, atol=0)
    others, same = tiles_of([torch.rand(5, 3, 8, 8), to_input(images, CPU)], 3)
    torch.testing.assert_close(same.images, tile.images, rtol=0, atol=0)
    assert same[1:] == tile[1:] and others.numbers == range(5)


def test_an_image_thinner_than_a_cell_is_padded_as_the_whole():
    images = random_images(1, 3, 400, 1)
    network = random_network(1, 3)
    expected = whole(network, images)
    for tile in Tiled(images, range(1), 3, CPU, pixels=30**2):
        torch.testing.assert_close(probabilities(network, tile), expected[:, *tile.at], rtol=0, atol=1e-5)


def by_sizes(network: UNet, images: np.ndarray, counted: np.ndarray | None, pixels: int, **asked) -> dict:
    """Latents of two images (2, H, W) under tiles of at most ``pixels``."""
    batches = (
        Tiled(image[None], range(k, k + 1), network.depth, CPU, None if counted is None else counted[k : k + 1], pixels)
        for k, image in enumerate(images)
    )
    return summarise(network, (tile for batch in batches for tile in batch), len(images), **asked)


@pytest.mark.parametrize("some_ignored", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_latents_do_not_depend_on_the_tiles(depth, some_ignored):
    network, images = random_network(1, depth), random_images(2, 113, 245, 1)
    counted = np.random.default_rng(1).random(images.shape) < 0.7 if some_ignored else None
    asked = {"layers": [f"encoder{depth}", "bottleneck", "decoder1"], "activations": ["before_relu", "after_relu"],
             "units": ["position", "image"], "rows": 60}  # fmt: skip
    one = by_sizes(network, images, counted, 2**20, **asked)
    other = by_sizes(network, images, counted, 96**2, **asked)
    for place, arrays in one.items():
        assert arrays["rows"].shape == ((60 if place.endswith("position") else 2), arrays["mean"].size)
        for name, array in arrays.items():
            np.testing.assert_allclose(other[place][name], array, rtol=1e-4, atol=1e-5, err_msg=f"{place} {name}")


def test_latents_are_of_the_positions_that_count():
    """By hand, in one layer at half size: the mean, the rows and the mean of each image leave out what is ignored."""
    network, images = random_network(1, 1), random_images(2, 21, 33, 1)
    counted = np.ones(images.shape, bool)
    counted[0, :, :17] = False
    counted[1, 20, 30:] = False  # all pixels that the last two positions have of the image
    counted[1, :2, :2] = [[True, False], [False, False]]  # one of four: too few
    # Column 8 of image 0 has two of four: enough.
    names = (["bottleneck"], ["after_relu"], ["position", "image"])
    found = summarise(network, Tiled(images, range(2), 1, CPU, counted), 2, *names, rows=10_000)
    with activations(network) as given:
        network(pad(to_input(images, CPU), 2))
    layer = given["bottleneck"].permute(0, 2, 3, 1).numpy()
    expected = layer[0, :, 8:17].reshape(-1, 4)
    second = np.ones((11, 17), bool)
    second[10, 15:] = second[0, 0] = False
    np.testing.assert_allclose(found["bottleneck/after_relu/position"]["mean"],
                               np.concatenate([expected, layer[1][second]]).mean(0), rtol=1e-4, atol=1e-6)  # fmt: skip
    assert len(found["bottleneck/after_relu/position"]["rows"]) == 11 * 9 + second.sum()
    means = np.stack([expected.mean(0), layer[1][second].mean(0)])
    np.testing.assert_allclose(found["bottleneck/after_relu/image"]["rows"], means, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ignored", [False, True])
def test_moments_of_the_input_are_of_the_pixels_that_count_once(tmp_path, ignored):
    """No halo, no padding and no pixel that a mask leaves out; of 300 x 211 pixels in tiles."""
    images, masks = random_images(2, 300, 211, 3), random_images(2, 300, 211, 1) % 2
    images[:, :100] //= 4
    if ignored:
        masks[:, 50:200] = store.IGNORED
    with store.create(tmp_path / "a.h5") as file:
        split = file.create_group("train")
        store.append(split, images, masks)
        inputs = Inputs(split, CPU, 2, masked=True, pixels=128**2)
        assert sum(tile.begun for tile in inputs) == 2 < len(list(inputs))
        mean, sd = input_moments(inputs)
    pixels = images[masks != store.IGNORED] / 255
    np.testing.assert_allclose(mean[:, 0, 0], pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(sd[:, 0, 0], pixels.std(0), rtol=1e-5)


def test_statistics_hold_no_position_of_a_halo():
    """The first batch norm receives what does not depend on the statistics: its mean is that of the whole image."""
    network, images = random_network(1, 2), random_images(1, 61, 300, 1)
    tiled = Tiled(images, range(1), 2, CPU, pixels=80**2)
    assert len(list(tiled)) > 1
    state = batchnorm.batchnorm(network, tiled)
    received = network.encoder1.conv1(network.standardise(pad(to_input(images, CPU), 4)))[:, :, :61, :300]
    torch.testing.assert_close(state["encoder1.norm1.running_mean"], received.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_masks_of_a_split_are_those_of_its_whole_images(tmp_path, channels, monkeypatch):
    network = random_network(channels, 2)
    with store.create(tmp_path / "a.h5") as file:
        split = file.create_group("test")
        large, small = random_images(2, 333, 401, channels), random_images(3, 30, 30, channels)
        store.append(split, large, np.zeros(large.shape[:3], np.uint8))
        store.append(split, small, np.zeros(small.shape[:3], np.uint8))
        threshold = float(np.median(whole(network, large)))
        monkeypatch.setattr(inference, "Tiled", partial(Tiled, pixels=128**2))
        monkeypatch.setattr(inference, "BATCH_PIXELS", 2**16)
        found = list(inference.predict(network, split, threshold, CPU))
    assert [len(predicted) for predicted, _ in found] == [1, 1, 3]
    for images, predicted in ((large, found[:2]), (small, found[2:])):
        expected = whole(network, images).numpy()
        given = np.concatenate([masks for masks, _ in predicted])
        np.testing.assert_array_equal(given, np.where(abs(expected - threshold) < 1e-5, given, expected > threshold))


MEMORY = r"""
import pathlib, re, sys
import numpy as np, torch
from shiftgain.adaptation import batchnorm
from shiftgain.files import job
from shiftgain.latents.activations import summarise
from shiftgain.network import inference
from shiftgain.network.unet import UNet

torch.set_num_threads(1)
job._keep_freed_memory()
network = UNet(1, 4, 2).eval().requires_grad_(False)
images = np.zeros((1, int(sys.argv[1]), int(sys.argv[1])), np.uint8)
inference.store.batches = lambda *_: [(images, None)]
tiled = inference.Tiled(images, range(1), 2, torch.device("cpu"))
# Not ru_maxrss, which a process inherits from its parent.
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 2**10
before = peak()
batchnorm.batchnorm(network, tiled)
inference.input_moments(tiled)
summarise(network, tiled, 1, ["encoder1", "bottleneck"], ["before_relu"], ["position", "image"], 100)
list(inference.predict(network, None, 0.5, torch.device("cpu")))
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_image():
    """Four times the pixels of one tile in twice its memory at most; whole images took four times as much."""

    def peak(side: int) -> float:
        command = [sys.executable, "-c", MEMORY, str(side)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": WORKFLOW}, capture_output=True, text=True)
        return float(done.stdout or pytest.fail(done.stderr))

    assert peak(2048) < 2 * peak(1024)
