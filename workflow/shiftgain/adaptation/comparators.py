"""Published adaptations without gradient, beside which the remedies stand.

They mix the source's statistics with the target's: by one weight for all (:func:`alpha_bn`), by all or nothing in each
channel (:func:`hybrid_ttn`), or by several weights whose predictions are averaged (:func:`intent`).
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from shiftgain.adaptation.remedies import towards_source
from shiftgain.adaptation.statistics import Mix, Moments, refresh
from shiftgain.network.normalisation import Mixture, State, adapted, norm_layers, statistics
from shiftgain.network.tiles import Tile
from shiftgain.network.unet import UNet


def alpha_bn(network: UNet, tiles: Iterable[Tile], alpha: float = 0.5) -> State:
    """Mean and variance are ``alpha`` source and 1 - ``alpha`` target (You et al. 2021, arXiv:2110.04065)."""
    return refresh(network, tiles, norm_layers(network), towards_source(alpha))


def hybrid_ttn(network: UNet, tiles: Iterable[Tile]) -> State:
    """Of the C channels of layer l = 0 ... L - 1, C (L - 1 - l) / (L - 1) are refreshed: those that move least.

    A channel moves by (m_t - m_s)^2 + (s_t - s_s)^2, the squared Wasserstein distance between Gaussians of its mean and
    deviation in target and source. Hybrid-TTN (Vianna et al. 2024, arXiv:2402.04958) as its authors' code has it, which
    ranks channels without regard to classes and needs neither labels nor images of the source.
    """
    norms = norm_layers(network)
    last = len(norms) - 1
    counts = {name: norm.num_features * (last - k) // last for k, (name, norm) in enumerate(norms.items())}
    mixes = {name: least_moved(count) for name, count in counts.items() if count}
    return refresh(network, tiles, mixes, mixes)


def least_moved(count: int) -> Mix:
    """A mix of which the ``count`` channels that move least are the target's, the others the source's."""

    def mix(source: Moments, target: Moments) -> Moments:
        moved = (target[0] - source[0]).square() + (target[1].sqrt() - source[1].sqrt()).square()
        chosen = torch.zeros_like(moved, dtype=torch.bool)
        chosen[moved.argsort()[:count]] = True
        return torch.where(chosen, target[0], source[0]), torch.where(chosen, target[1], source[1])

    return mix


@torch.inference_mode()
def intent(network: UNet, tiles: Iterable[Tile], steps: int = 5) -> Mixture:
    """sum_k w_k p_k: predictions under the statistics k / ``steps`` target and the rest source, k = 0 ... ``steps``.

    InTEnt (Dong et al. 2024, arXiv:2402.09604), for a single image: :func:`balanced_entropy` of each prediction gives
    its weight, :func:`weights_by_entropy`.
    """
    target = refresh(network, tiles, norm_layers(network))
    source = {name: tensor.clone() for name, tensor in statistics(network).items()}
    states = [{name: torch.lerp(source[name], target[name], k / steps) for name in target} for k in range(steps + 1)]
    weights = weights_by_entropy([balanced_entropy(network, tiles, state) for state in states])
    return list(zip(weights, states, strict=True))


def balanced_entropy(network: UNet, tiles: Iterable[Tile], state: State) -> float:
    """(e_1 + e_0) / 2: mean entropy of the pixels called foreground, and of the others; of one class where all are."""
    sums = torch.zeros(2, 2, dtype=torch.float64)
    with adapted(network, state):
        for tile in tiles:
            logits = network(tile.images)[:, 0, *tile.core].float()
            entropy, classes = entropies(logits).double(), torch.stack([logits < 0, logits >= 0]).double()
            sums += torch.stack([(classes * entropy).sum((1, 2, 3)), classes.sum((1, 2, 3))]).cpu()
    entropy, pixels = sums[:, sums[1] > 0]
    return float((entropy / pixels).mean())


def weights_by_entropy(entropies: list[float]) -> list[float]:
    """softmax((max e - e_k) / (max e - min e)): the surest prediction counts e = 2.72 times as much as the least sure.

    Equal where all entropies are.
    """
    values = torch.tensor(entropies, dtype=torch.float64)
    span = values.max() - values.min()
    return torch.softmax((values.max() - values) / (span if span else 1), 0).tolist()


def entropies(logits: Tensor) -> Tensor:
    """Entropy of each foreground probability given by its logit, in nats."""
    return torch.sigmoid(logits) * -logits + functional.softplus(logits)
