"""The batch-norm layers of a network, and a context in which a network has other tensors than its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from shiftgain.network.adopted import Adopted
from shiftgain.network.unet import UNet

State = dict[str, Tensor]
# States under which a network predicts, each with its weight; weights sum to 1.
Mixture = list[tuple[float, State]]
KINDS = ("running_mean", "running_var")


def norm_layers(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch-norm layers by name, in the order of the network; none of those that it never runs."""
    found = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {name: found[name] for name in network.norms} if isinstance(network, Adopted) else found


def statistics(network: nn.Module) -> State:
    """Running means and variances of every batch-norm layer: the tensors themselves, not copies."""
    return {f"{name}.{kind}": getattr(norm, kind) for name, norm in norm_layers(network).items() for kind in KINDS}


@contextmanager
def adapted(network: UNet, state: State) -> Iterator[UNet]:
    """``network`` with the tensors of ``state`` in place; when the block ends its own are put back."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if name in state}
    put(network, state)
    try:
        yield network
    finally:
        put(network, before)


def put(network: nn.Module, state: State) -> None:
    """Copy the tensors of ``state`` into ``network``."""
    tensors = network.state_dict()
    for name, tensor in state.items():
        tensors[name].copy_(tensor)
