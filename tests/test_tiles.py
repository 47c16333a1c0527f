"""Tiles: the core of one is what the whole image has there, and each position of each layer is in one core alone."""

from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest
import torch

from shiftgain.network import tiles
from shiftgain.network.inference import probabilities
from shiftgain.network.tiles import Tiled, core_at, cuts, grid_at, halo, place_at, tiles_of
from shiftgain.network.unet import Block, UNet, pad, to_input

CPU = torch.device("cpu")


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
    return torch.sigmoid(network(pad(to_input(images, CPU), network.depth))[:, 0, :rows, :columns])


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
        logits = network(pad(to_input(images, CPU).double(), depth))
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
    torch.testing.assert_close(tile.images, pad(to_input(images, CPU), 3), rtol=0, atol=0)
    others, same = tiles_of([torch.rand(5, 3, 8, 8), to_input(images, CPU)], 3)
    torch.testing.assert_close(same.images, tile.images, rtol=0, atol=0)
    assert same[1:] == tile[1:] and others.numbers == range(5)


def test_an_image_thinner_than_a_cell_is_padded_as_the_whole():
    images = random_images(1, 3, 400, 1)
    network = random_network(1, 3)
    expected = whole(network, images)
    for tile in Tiled(images, range(1), 3, CPU, pixels=30**2):
        torch.testing.assert_close(probabilities(network, tile), expected[:, *tile.at], rtol=0, atol=1e-5)
