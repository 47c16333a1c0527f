"""Adaptation of batch norm to unlabelled images. One function per method; :data:`METHODS` names them.

A method takes a frozen network and batches of target images, leaves the network as it found it, and returns the
tensors that it would change, by their name in the state dict: the whole artefact of the adaptation.
:func:`adapted` puts them into the network for as long as a block lasts.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workflow.lib.unet import UNet, pad

State = dict[str, Tensor]


def batchnorm(network: UNet, batches: Iterable[Tensor]) -> State:
    """Running means and variances of ``batches``; source statistics dropped, everything else frozen.

    AdaBN (Li et al. 2016, arXiv:1603.04779) as PyTorch does it with momentum None: one forward pass in which each
    layer normalises by the statistics of the batch, and the running statistics become the plain average over
    batches of mean and unbiased variance. ``batches``: float tensors (n, channels, H, W) of any size.
    """
    norms = norm_layers(network)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.inference_mode():
            for images in batches:
                network(pad(images, network.depth))
        return {name: tensor.clone() for name, tensor in statistics(network).items()}
    finally:
        for name, norm in norms.items():
            norm.momentum = momenta[name]
            norm.eval()
        _put(network, before)


METHODS: dict[str, Callable[[UNet, Iterable[Tensor]], State]] = {
    "batchnorm": batchnorm,
}


def norm_layers(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch-norm layers by name, in the order of the network."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def statistics(network: nn.Module) -> State:
    """Running means and variances of every batch-norm layer: the tensors themselves, not copies."""
    return {
        f"{name}.{kind}": getattr(norm, kind)
        for name, norm in norm_layers(network).items()
        for kind in ("running_mean", "running_var")
    }


@contextmanager
def adapted(network: UNet, state: State) -> Iterator[UNet]:
    """The network with the tensors of ``state`` in place; as it was, when the block ends."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if name in state}
    _put(network, state)
    try:
        yield network
    finally:
        _put(network, before)


def _put(network: nn.Module, state: State) -> None:
    own = network.state_dict()
    for name, tensor in state.items():
        own[name].copy_(tensor)
