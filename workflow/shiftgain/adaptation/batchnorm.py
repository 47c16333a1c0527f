"""Adaptation to unlabelled images. One function per method; :data:`METHODS` names them.

A method takes a frozen network and tiles of target images (an iterable that may be iterated again), leaves the
network as it found it, and returns the tensors that it would change, by their name in the state dict: the whole
artefact of the adaptation. :func:`adapted` puts them into the network for as long as a block lasts. Options of a
method are keyword arguments, set by the config block ``methods``.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftgain.network.inference import input_moments
from shiftgain.network.normalisation import KINDS, State, adapted, norm_layers, put, statistics
from shiftgain.network.tiles import Tile, core_at
from shiftgain.network.unet import UNet

Moments = tuple[Tensor, Tensor]


def batchnorm(network: UNet, tiles: Iterable[Tile]) -> State:
    """Running means and variances of ``tiles``; source statistics dropped, everything else frozen.

    AdaBN (Li et al. 2016, arXiv:1603.04779) as PyTorch does it with momentum None: one forward pass in which each
    layer normalises by the statistics of the batch, and the running statistics become the plain average over
    batches of mean and unbiased variance, over the cores of tiles alone. A large image is as many batches as tiles.
    """
    return refresh(network, tiles, norm_layers(network), lambda source, target: target)


def mean_only(network: UNet, tiles: Iterable[Tile]) -> State:
    """Running means of the target, variances of the source (Schneider et al. 2020, arXiv:2006.16971)."""
    state = refresh(network, tiles, norm_layers(network), lambda source, target: (target[0], source[1]))
    return {name: tensor for name, tensor in state.items() if name.endswith("running_mean")}


def variance_only(network: UNet, tiles: Iterable[Tile]) -> State:
    """Running variances of the target, means of the source (Schneider et al. 2020, arXiv:2006.16971)."""
    state = refresh(network, tiles, norm_layers(network), lambda source, target: (source[0], target[1]))
    return {name: tensor for name, tensor in state.items() if name.endswith("running_var")}


def encoder_only(network: UNet, tiles: Iterable[Tile]) -> State:
    """:func:`batchnorm` in the encoder and the bottleneck; the decoder keeps the source's statistics."""
    layers = [name for name in norm_layers(network) if not name.startswith("decoder")]
    return refresh(network, tiles, layers, lambda source, target: target)


def decoder_only(network: UNet, tiles: Iterable[Tile]) -> State:
    """:func:`batchnorm` in the decoder; encoder and bottleneck keep the source's statistics."""
    layers = [name for name in norm_layers(network) if name.startswith("decoder")]
    return refresh(network, tiles, layers, lambda source, target: target)


def prior(network: UNet, tiles: Iterable[Tile], weight: float = 16) -> State:
    """Mean and variance are N / (N + n) source and n / (N + n) target (Schneider et al. 2020, equation 1).

    N is ``weight``, in images; n is the number of target images.
    """
    share = weight / (weight + sum(tile.begun for tile in tiles))

    def mix(source: Moments, target: Moments) -> Moments:
        return torch.lerp(target[0], source[0], share), torch.lerp(target[1], source[1], share)

    return refresh(network, tiles, norm_layers(network), mix)


def standardise(network: UNet, tiles: Iterable[Tile]) -> State:
    """The input standardised by the target's mean and deviation; batch norm is left alone (hypothesis H14)."""
    mean, sd = input_moments(tiles)
    return {"input_mean": mean, "input_sd": sd}


def tent(network: UNet, tiles: Iterable[Tile], steps: int = 1, learning_rate: float = 0.001) -> State:
    """:func:`batchnorm`, after ``steps`` passes that make the predictions surer (Wang et al. 2021, arXiv:2006.10726).

    Each batch is normalised by its own statistics, and Adam moves weight and bias of every batch-norm layer, nothing
    else, down the mean entropy of its pixels.
    """
    # Evaluation may run in inference mode, whose tensors know no gradient.
    with torch.inference_mode(False), torch.enable_grad():
        learner = deepcopy(network).requires_grad_(False)
        for norm in norm_layers(learner).values():
            norm.train().requires_grad_(True)
        parameters = {name: tensor for name, tensor in learner.named_parameters() if tensor.requires_grad}
        optimiser = torch.optim.Adam(parameters.values(), lr=learning_rate)
        for _ in range(steps):
            for tile in tiles:
                optimiser.zero_grad(set_to_none=True)
                entropy(learner(tile.images.clone())).backward()
                optimiser.step()
    state = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    with adapted(network, state):
        return state | batchnorm(network, tiles)


def entropy(logits: Tensor) -> Tensor:
    """Mean over pixels of the entropy of a foreground probability given by its logit, in nats."""
    return (torch.sigmoid(logits) * -logits + functional.softplus(logits)).mean()


METHODS: dict[str, Callable[..., State]] = {
    "batchnorm": batchnorm,
    "mean_only": mean_only,
    "variance_only": variance_only,
    "encoder_only": encoder_only,
    "decoder_only": decoder_only,
    "prior": prior,
    "standardise": standardise,
    "tent": tent,
}


@torch.inference_mode()
def refresh(
    network: UNet, tiles: Iterable[Tile], layers: Collection[str], mix: Callable[[Moments, Moments], Moments]
) -> State:
    """Statistics of the batch-norm ``layers`` after one forward pass, each the average over batches.

    While a batch passes, each layer normalises by ``mix(source, target)`` of its own (mean, variance) and those of
    what it receives, so that deeper layers see what they will see once adapted.
    """
    norms = {name: norm for name, norm in norm_layers(network).items() if name in layers}
    before = {name: tensor.clone() for name, tensor in statistics(network).items()}
    # Sums, not lists: small tensors that stay between large ones that go would keep the memory of every batch.
    sums = {name: torch.zeros_like(before[name]) for name in before if name.rpartition(".")[0] in norms}
    passed = 0

    def look(name: str, norm: nn.BatchNorm2d, activation: Tensor) -> None:
        source = before[f"{name}.running_mean"], before[f"{name}.running_var"]
        mean, variance, n = _moments(activation[:, :, *core_at(tile, activation.shape[-2:])])
        # A batch is normalised by its biased variance; what is kept estimates that of the domain.
        unbiased = variance * (n / max(1, n - 1))
        used, estimates = mix(source, (mean, variance)), mix(source, (mean, unbiased))
        for kind, tensor, estimate in zip(KINDS, used, estimates, strict=True):
            getattr(norm, kind).copy_(tensor)
            sums[f"{name}.{kind}"].add_(estimate)

    with ExitStack() as stack:
        stack.callback(put, network, before)
        for name, norm in norms.items():
            hook = norm.register_forward_pre_hook(lambda norm, taken, name=name: look(name, norm, taken[0]))
            stack.callback(hook.remove)
        for tile in tiles:
            network.features(tile.images)
            passed += 1
    return {name: total / passed for name, total in sums.items()}


def _moments(activation: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel of (n, channels, H, W), and the number of positions they are over."""
    positions = activation.movedim(1, -1).flatten(0, -2).float()
    mean = positions.mean(0)
    return mean, (positions - mean).square_().mean(0), len(positions)
