"""Statistics are pooled over all positions of all images, whatever the tiles, the batches and their order."""

import pytest
import torch

from shiftgain.adaptation.statistics import INPUT, Pooled, gather, movement, refresh, settle
from shiftgain.network.normalisation import norm_layers
from shiftgain.network.tiles import Tiled, tiles_of

CPU = torch.device("cpu")


def exposures(n: int, size: int) -> torch.Tensor:
    """Images (n, 1, size, size) of unlike brightness and contrast: an average of their statistics is not the pooled."""
    generator = torch.Generator().manual_seed(n)
    images = torch.rand(n, 1, size, size, generator=generator)
    return images * torch.linspace(0.2, 3, n)[:, None, None, None] + torch.linspace(0, 1, n)[:, None, None, None]


def layers_of(network) -> list[str]:
    return [INPUT, *norm_layers(network)]


def test_pooled_moments_are_those_of_everything_at_once():
    parts = [5 + k * torch.randn(3, 2, 4, 6, generator=torch.Generator().manual_seed(k)) for k in (1, 4)]
    pooled = Pooled(2)
    for part in parts:
        pooled.add(part)
    everything = torch.cat(parts)
    torch.testing.assert_close(pooled.moments(unbiased=True), (everything.mean((0, 2, 3)), everything.var((0, 2, 3))))
    biased = everything.var((0, 2, 3), correction=0)
    torch.testing.assert_close(pooled.moments(unbiased=False)[1], biased)


def test_a_weight_of_two_counts_a_position_twice():
    values = torch.tensor([1.0, 2.0, 7.0, 9.0]).reshape(1, 1, 2, 2)
    pooled = Pooled(1)
    pooled.add(values, torch.tensor([[[2.0, 1.0], [1.0, 0.0]]]))
    mean, variance = pooled.moments()
    assert mean.item() == pytest.approx(11 / 4)
    assert variance.item() == pytest.approx((2 * (1 - 2.75) ** 2 + (2 - 2.75) ** 2 + (7 - 2.75) ** 2) / 4)


@pytest.mark.parametrize("step", [1, 3])
def test_batches_make_no_difference(network, step):
    images = exposures(6, 16)
    at_once = refresh(network, tiles_of([images], 2), layers_of(network))
    in_parts = refresh(network, tiles_of(images.split(step), 2), layers_of(network))
    assert movement(at_once, in_parts) < 1e-3
    one_by_one = [refresh(network, tiles_of([image], 2), layers_of(network)) for image in images.split(step)]
    averaged = {name: sum(state[name] for state in one_by_one) / len(one_by_one) for name in at_once}
    assert movement(at_once, averaged) > 0.1


def test_tiles_of_a_large_image_make_no_difference(network):
    image = exposures(4, 80).reshape(1, 1, 160, 160)
    cut = Tiled(image, range(1), 2, CPU, pixels=80**2)
    assert len(list(cut)) > 4
    at_once = refresh(network, tiles_of([image], 2), layers_of(network))
    assert movement(at_once, refresh(network, cut, layers_of(network))) < 1e-3


def test_order_makes_no_difference(network):
    tiles = tiles_of(exposures(6, 16).split(2), 2)
    assert (
        movement(refresh(network, tiles, layers_of(network)), refresh(network, tiles[::-1], layers_of(network))) < 1e-3
    )


@pytest.mark.parametrize("step", [6, 1])
def test_passes_are_bounded_by_the_number_of_layers(network, step):
    """One where all images pass together; else one for each layer, and one that finds them settled."""
    layers, passes = layers_of(network), []
    network.encoder1.register_forward_hook(lambda *_: passes.append(1))
    tiles = tiles_of(exposures(6, 16).split(step), 2)
    settle(network, tiles, layers)
    assert len(passes) <= len(tiles) * (1 if len(tiles) == 1 else len(layers) + 1)


def test_weights_of_zero_leave_an_image_out(network):
    images = exposures(2, 16)
    weights = torch.stack([torch.ones(16, 16), torch.zeros(16, 16)])
    weighted = gather(network, tiles_of([images], 2), layers_of(network), weights=[weights]).biased
    alone = gather(network, tiles_of([images[:1]], 2), layers_of(network)).biased
    assert movement(alone, weighted) < 1e-4


def test_weights_of_a_coarse_layer_are_means_over_its_cells(network):
    """Of an image whose sides are no multiple of a cell, the last cells are means over the pixels that there are."""
    images, weights = exposures(1, 16)[..., :14, :14], torch.rand(1, 14, 14, generator=torch.Generator().manual_seed(0))
    received = {}
    hook = network.bottleneck.norm1.register_forward_pre_hook(lambda _, taken: received.update(taken=taken[0]))
    found = gather(network, tiles_of([images], 2), layers_of(network), weights=[weights]).biased
    hook.remove()
    cells = torch.stack(
        [torch.stack([weights[0, r : r + 4, c : c + 4].mean() for c in range(0, 14, 4)]) for r in range(0, 14, 4)]
    )
    expected = (received["taken"][0] * cells).sum((1, 2)) / cells.sum()
    torch.testing.assert_close(found["bottleneck.norm1.running_mean"], expected, rtol=1e-4, atol=1e-5)


def test_the_network_is_left_as_it_was(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    refresh(network, tiles_of(exposures(4, 16).split(2), 2), layers_of(network))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    assert not network.bottleneck.norm1._forward_pre_hooks
