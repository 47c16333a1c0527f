"""BN adaptation, and methods that change or keep a part of what it does: one function per method.

A method takes a frozen network and tiles of target images (an iterable that may be iterated again), leaves the
network as it found it, and returns the tensors that it would change, by their name in the state dict: the whole
artefact of the adaptation. :func:`adapted` puts them into the network for as long as a block lasts. Options of a
method are keyword arguments, set by the config block ``methods``. :mod:`shiftgain.adaptation.methods` names them.
"""

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor

from shiftgain.adaptation.comparators import entropies
from shiftgain.adaptation.remedies import towards_source
from shiftgain.adaptation.statistics import refresh
from shiftgain.network.adopted import decoder_norms
from shiftgain.network.inference import input_moments
from shiftgain.network.normalisation import State, adapted, norm_layers
from shiftgain.network.tiles import Tile
from shiftgain.network.unet import UNet


def batchnorm(network: UNet, tiles: Iterable[Tile]) -> State:
    """Running means and variances of ``tiles``; source statistics dropped, everything else frozen.

    AdaBN (Li et al. 2016, arXiv:1603.04779): mean and unbiased variance over all positions of all images, as PyTorch
    takes them in training mode of one batch that holds everything, at momentum 1.
    """
    return refresh(network, tiles, norm_layers(network))


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
    behind = decoder_norms(network)
    return refresh(network, tiles, [name for name in norm_layers(network) if name not in behind])


def decoder_only(network: UNet, tiles: Iterable[Tile]) -> State:
    """:func:`batchnorm` in the decoder; encoder and bottleneck keep the source's statistics."""
    return refresh(network, tiles, decoder_norms(network))


def prior(network: UNet, tiles: Iterable[Tile], weight: float = 16) -> State:
    """Mean and variance are N / (N + n) source and n / (N + n) target (Schneider et al. 2020, equation 1).

    N is ``weight``, in images; n is the number of target images.
    """
    images = sum(tile.begun for tile in tiles)
    return refresh(network, tiles, norm_layers(network), towards_source(weight / (weight + images)))


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
    return entropies(logits).mean()
