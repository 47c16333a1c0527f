"""Networks on disk: named tensors in a checksummed HDF5 file, so that loading one executes nothing.

HDF5 and not safetensors, since it has a checksum for each chunk, and holds the states of all targets in one file.

But one: an adopted network needs its architecture, which is code that the config names.
"""

from pathlib import Path

import h5py
import torch
from torch import Tensor

from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import adopted
from shiftgain.network.unet import UNet


def put_tensors(group: h5py.Group, tensors: dict[str, Tensor]) -> None:
    """Write named tensors as datasets of ``group``."""
    for name, tensor in tensors.items():
        store.put(group, name, tensor.detach().cpu().contiguous().numpy())


def get_tensors(group: h5py.Group) -> dict[str, Tensor]:
    """The tensors that :func:`put_tensors` wrote."""
    return {
        name: torch.from_numpy(dataset[...]) if dataset.ndim else torch.tensor(dataset[()])
        for name, dataset in store.members(group)
    }


def get_state(group: h5py.Group, network: UNet) -> dict[str, Tensor]:
    """The tensors of :func:`put_tensors`, to be put into ``network``, on its device.

    Errors: KeyError, which :func:`shiftgain.files.store.read` turns into one line, where names or shapes do not fit.
    """
    network_tensors, tensors = network.state_dict(), get_tensors(group)
    for name, tensor in tensors.items():
        if name not in network_tensors or network_tensors[name].shape != tensor.shape:
            raise KeyError(f"{group.name}/{name} of shape {tuple(tensor.shape)} does not fit the network")
    return {name: tensor.to(network_tensors[name].device) for name, tensor in tensors.items()}


def save(path: str | Path, network: UNet, model: dict, about: dict) -> None:
    """Write ``network``; ``model`` holds channels, width and depth, or what :mod:`shiftgain.network.adopted` says.

    ``about`` is kept as it is.
    """
    with store.create(path) as file:
        store.put_json(file, "model", model)
        store.put_json(file, "about", about)
        put_tensors(file.create_group("weights"), network.state_dict())


def about(path: str | Path) -> dict:
    """What :func:`save` was told about a network."""
    with store.read(path) as file:
        return store.get_json(file, "about")


def model(path: str | Path) -> dict:
    """The ``model`` that :func:`save` was given."""
    with store.read(path) as file:
        return store.get_json(file, "model")


def load(path: str | Path, device: torch.device) -> UNet:
    """The network of a checkpoint, in evaluation mode, its parameters frozen.

    Errors: :class:`StudyError` naming the file when it is damaged or does not hold the network it says.
    """
    with store.read(path) as file:
        model = store.get_json(file, "model")
        weights = get_tensors(file["weights"])
    network = adopted.build(model, model["channels"]) if "architecture" in model else UNet(**model)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        kind = "the architecture" if "architecture" in model else f"a U-Net of {model}"
        raise StudyError(f"{path}: the weights do not fit {kind}; delete it and run again") from error
    network.requires_grad_(False)
    return network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
