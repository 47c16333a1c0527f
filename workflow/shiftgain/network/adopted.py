"""Networks that were trained elsewhere, in the place of the U-Net: any module with batch norm, looked through once.

``model`` is a plain dict in the words of BioImage.IO (spec 0.5): ``architecture`` with ``callable``, ``source`` (a
file) or ``import_from`` (a module), ``sha256`` and ``kwargs``; ``preprocessing`` with ``id`` and ``kwargs``, of images
whose grey levels are 0 to 255; ``activation`` of its outputs, and which of these are ``foreground``. Building the
architecture runs code of the user: nothing else here does. Weights are tensors in a state dict; nothing is unpickled.

What the study asks of a network beside its output is read off what passes through its modules
(:mod:`shiftgain.network.examination`), and kept in ``model`` as ``traits``.
"""

import importlib
import json
import struct
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shiftgain.files.errors import StudyError
from shiftgain.files.sums import digest
from shiftgain.network.tiles import Frame
from shiftgain.network.unet import Block, UNet

# Of safetensors (format 1.0).
TENSOR_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1",
    "BOOL": "?",
}  # fmt: skip
# Where checkpoints keep their weights beside other things.
NESTING_KEYS = ("state_dict", "model_state_dict", "model")
PREFIX = "module."


class Adopted(UNet):
    """A module of somebody else's as the study sees networks: images in [0, 1] to one foreground logit a pixel.

    Has all of a :class:`UNet` but ``encode``, ``decode`` and ``head``, which training alone uses. ``input_mean`` and
    ``input_sd`` are what is subtracted and divided by, as of a U-Net, and may be refreshed; ``input_scale`` and
    ``input_shift`` then bring the images to what the module was trained with: at first all four together do what
    ``preprocessing`` says.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, module: nn.Module, channels: int, model: dict):
        nn.Module.__init__(self)
        self.module, self.model = module, model
        gain, offset = preprocessing(model["preprocessing"], channels)
        self.register_buffer("input_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("input_sd", torch.ones(channels, 1, 1))
        self.register_buffer("input_scale", gain)
        self.register_buffer("input_shift", offset)
        self.foreground: list[int] = np.atleast_1d(model["foreground"]).tolist()
        self._received: Tensor | None = None
        if traits := model.get("traits"):
            self.depth = Frame(traits["cell"], traits["halo"], each_of(model["preprocessing"]))  # type: ignore[assignment]
            self.values_per_pixel: float = traits["values_per_pixel"]
            receiver = module.get_submodule(traits["receiver"])
            receiver.register_forward_pre_hook(self._receive)

    def match_input(self, mean: Tensor, sd: Tensor) -> None:
        """Set ``input_mean`` and ``input_sd`` to ``mean`` and ``sd`` (channels, 1, 1) of the source's images.

        ``input_scale`` and ``input_shift`` are set so that the output stays.
        """
        scale, shift = (
            self.input_scale / self.input_sd,
            self.input_shift - self.input_scale * self.input_mean / self.input_sd,
        )
        self.input_mean.copy_(mean)
        self.input_sd.copy_(sd)
        self.input_scale.copy_(scale * sd)
        self.input_shift.copy_(shift + scale * mean)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 1, H, W) of images (n, channels, H, W); H and W are multiples of the frame's cell."""
        logits, self._received = self._logits(images), None
        return logits

    def standardise(self, images: Tensor) -> Tensor:
        """Images (n, channels, H, W) as the module sees them."""
        return (images - self.input_mean) / self.input_sd * self.input_scale + self.input_shift

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the last convolution receives, brought to the size of the images, and the logits."""
        logits = self._logits(images)
        assert self._received is not None, "the last convolution has run"
        features, self._received = self._received, None
        stride = images.shape[-2] // features.shape[-2]
        return features.repeat_interleave(stride, -2).repeat_interleave(stride, -1), logits

    def foreground_logit(self, outputs: Tensor) -> Tensor:
        """log p / (1 - p) (n, 1, H, W), p the foreground probability that ``outputs`` (n, classes, H, W) mean."""
        chosen, activation = outputs[:, self.foreground], self.model["activation"]
        if activation == "sigmoid":
            return chosen
        if activation == "softmax":
            others = outputs[:, [number for number in range(outputs.shape[1]) if number not in self.foreground]]
            return chosen.logsumexp(1, keepdim=True) - others.logsumexp(1, keepdim=True)
        return torch.logit(chosen.float().sum(1, keepdim=True), eps=1e-7)

    @property
    def layers(self) -> dict[str, dict]:
        """Layer, in the order of execution -> ``norm``, a module, and ``relu``, the activation after it or None."""
        return self.model["traits"]["layers"]

    @property
    def norms(self) -> list[str]:
        """Names of the batch-norm layers in the order of execution."""
        return [f"{PREFIX}{name}" for name in self.model["traits"]["norms"]]

    def watched(self, layer: str, activation: str) -> nn.Module:
        """The module whose output is ``before_relu`` or ``after_relu`` of a layer.

        Errors: :class:`StudyError` for ``after_relu`` of a layer whose activation is no module.
        """
        place = self.layers[layer]
        if activation == "after_relu" and place["relu"] is None:
            raise StudyError(f"config key latents.activations: no module follows '{place['norm']}' of this network; "
                             "give before_relu")  # fmt: skip
        return self.module.get_submodule(place["norm" if activation == "before_relu" else "relu"])

    def _logits(self, images: Tensor) -> Tensor:
        return self.foreground_logit(output_of(self.module(self.standardise(images))))

    def _receive(self, _: nn.Module, taken: tuple) -> None:
        self._received = taken[0]


def layers_of(network: UNet) -> list[str]:
    """Names of the layers of which latents are taken, in the order of execution."""
    if isinstance(network, Adopted):
        return list(network.layers)
    return [name for name, block in network.named_children() if isinstance(block, Block)]


def decoder_norms(network: UNet) -> list[str]:
    """Names of the batch-norm layers behind the bottleneck."""
    if isinstance(network, Adopted):
        if not network.norms:
            return []
        last = network.norms.index(f"{PREFIX}{network.layers['bottleneck']['norm']}")
        return network.norms[last + 1 :]
    return [
        name
        for name, norm in network.named_modules()
        if isinstance(norm, nn.BatchNorm2d) and name.startswith("decoder")
    ]


def build(model: dict, channels: int) -> Adopted:
    """The network of ``model``, its weights as the architecture leaves them. Runs the code that ``model`` names.

    Errors: :class:`StudyError` where that fails, in one line.
    """
    architecture = model["architecture"]
    name = architecture["callable"]
    try:
        factory: Any = _module(architecture)
        for part in name.split("."):
            factory = getattr(factory, part)
        module = factory(**architecture.get("kwargs", {}))
    except StudyError:
        raise
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(
            f"network architecture '{name}': {what}; correct callable, source, import_from or kwargs"
        ) from error
    if not isinstance(module, nn.Module):
        raise StudyError(
            f"network architecture '{name}': gives {type(module).__name__}, no torch module; name another callable"
        )
    return Adopted(module.eval().requires_grad_(False), channels, model)


def _module(architecture: dict) -> Any:
    if "import_from" in architecture:
        return importlib.import_module(architecture["import_from"])
    path = Path(architecture["source"])
    known = digest(path)
    if known != architecture["sha256"]:
        raise StudyError(f"{path}: sha256 is {known}, not {architecture['sha256']}; correct it if you trust the file")
    spec = spec_from_file_location(f"adopted_{known[:12]}", path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path}: no Python source; name a .py file")
    module = module_from_spec(spec)
    # Before it runs, as for any import: dataclasses and pickles look for their module there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the state dict of a file, of torch or safetensors, into ``module``; of torch, tensors alone are read.

    Errors: :class:`StudyError` naming the file where it holds anything else, or does not fit.
    """
    held: Any
    try:
        held = _safetensors(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        what = " ".join(str(error).split())[:200]
        raise StudyError(
            f"{path}: no state dict of tensors ({what}); save it by torch.save(network.state_dict(), path)"
        ) from error
    state = next((held[name] for name in NESTING_KEYS if name in held and isinstance(held[name], dict)), held)
    if all(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        lines = " ".join(str(error).split())[:300]
        raise StudyError(
            f"{path}: the weights do not fit the architecture ({lines}); correct kwargs or the file"
        ) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name: a header of JSON and their bytes, too little to ask for the package safetensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    state = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        first, stop = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(content[first:stop], "<u2").astype(np.uint32) << 16
            array = bits.view(np.float32)
        else:
            array = np.frombuffer(content[first:stop], TENSOR_TYPES[entry["dtype"]])
        state[name] = torch.from_numpy(array.reshape(entry["shape"]).copy())
    return state


def preprocessing(entry: dict, channels: int) -> tuple[Tensor, Tensor]:
    """(gain, offset), each (channels, 1, 1), that images in [0, 1] are multiplied by and added to.

    ``entry``: ``id`` none, zero_mean_unit_variance, fixed_zero_mean_unit_variance or scale_linear of BioImage.IO, and
    its ``kwargs``, of grey levels 0 to 255. zero_mean_unit_variance is of each image by itself, and has been done
    before (:class:`shiftgain.network.tiles.Frame`).
    """
    kwargs = entry.get("kwargs", {})
    each = lambda name, default: torch.tensor(kwargs.get(name, default), dtype=torch.float32).reshape(-1, 1, 1)  # noqa: E731
    gain, offset = {
        "none": lambda: (torch.tensor(255.0), torch.tensor(0.0)),
        "zero_mean_unit_variance": lambda: (torch.tensor(1.0), torch.tensor(0.0)),
        "scale_linear": lambda: (255 * each("gain", 1.0), each("offset", 0.0)),
        "fixed_zero_mean_unit_variance": lambda: (255 / each("std", 1.0), -each("mean", 0.0) / each("std", 1.0)),
    }[entry["id"]]()
    return tuple(part.expand(channels, 1, 1).clone() for part in (gain, offset))  # type: ignore[return-value]


def each_of(entry: dict) -> str:
    """What of each image is standardised by itself: ``image``, ``channel`` or nothing."""
    if entry["id"] != "zero_mean_unit_variance":
        return ""
    axes = entry.get("kwargs", {}).get("axes")
    return "image" if axes is None or "c" in axes or "channel" in axes else "channel"


def output_of(outputs: Any) -> Tensor:
    """The output (n, classes, H, W) of a module that may give several: the first."""
    while isinstance(outputs, (list, tuple)) and outputs:
        outputs = outputs[0]
    if not isinstance(outputs, Tensor) or outputs.ndim != 4:
        raise StudyError("network: gives no tensor (n, classes, rows, columns); wrap it in one that does")
    return outputs
