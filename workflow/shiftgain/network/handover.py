"""A network for use elsewhere: a state dict that plain PyTorch loads, and a BioImage.IO description of it (spec 0.5).

The description holds the architecture, the steps before and after the network, a pair of test tensors, and where the
network comes from. :mod:`shiftgain.study.descriptions` reads it back.
"""

import importlib
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from shiftgain.files.errors import StudyError
from shiftgain.files.sums import digest
from shiftgain.network import unet
from shiftgain.network.adopted import Adopted, output_of
from shiftgain.network.tiles import Frame, frame_of, up
from shiftgain.network.unet import UNet, to_input

FORMAT = "0.5.4"
# Side of the test tensors at most, px.
TEST_SIDE = 256
ONNX_VERSION = 17


def hand_over(
    network: UNet, model: dict, image: np.ndarray, words: dict, facts: dict, folder: Path, onnx: bool
) -> None:
    """Write ``weights.pt``, ``bioimageio.yaml``, test tensors, the architecture's file, and ``network.onnx`` if asked.

    ``model``: of the checkpoint; ``image``: uint8 (H, W) or (H, W, 3), of which the test tensors are made; ``words``:
    ``name`` and ``description``; ``facts``: what else the description says, under ``config.shiftgain``.

    Errors: :class:`StudyError` where ONNX is asked for, and the package is missing or the network cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module, channels, outputs = plain(network), len(network.input_mean), outputs_of(network)
    torch.save(module.state_dict(), folder / "weights.pt")
    before, after = steps_before(network), steps_after(network)
    frame = frame_of(network.depth)
    given = given_to(image, frame.cell, least_side(frame))
    output = apply(module, given, before, after)
    for name, tensor in (("test_input", given), ("test_output", output)):
        np.save(folder / f"{name}.npy", tensor.numpy())
    own: dict = {"callable": "UNet", "source": unet.__file__}
    own["kwargs"] = {name: model[name] for name in ("channels", "width", "depth") if name in model}
    about = {
        "format_version": FORMAT, "type": "model", **words,
        "inputs": [tensor_of("input", channels, _input_axes(channels, frame), before)],
        "outputs": [tensor_of("output", outputs, _output_axes(network, outputs), after, "post")],
        "weights": {"pytorch_state_dict": {
            "source": "weights.pt", "sha256": digest(folder / "weights.pt"),
            "architecture": carried(model.get("architecture", own), folder),
            "pytorch_version": torch.__version__.split("+")[0],
        }},
        "config": {"shiftgain": facts | _own(network)},
    }  # fmt: skip
    if onnx:
        export(module, given, folder / "network.onnx")
        about["weights"]["onnx"] = {
            "source": "network.onnx", "sha256": digest(folder / "network.onnx"), "opset_version": ONNX_VERSION,
            "parent": "pytorch_state_dict",
        }  # fmt: skip
    (folder / "bioimageio.yaml").write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True))


def plain(network: UNet) -> nn.Module:
    """The module itself: a U-Net, or what was adopted, less what stands around it."""
    return network.module if isinstance(network, Adopted) else network


def steps_before(network: UNet) -> list[dict]:
    """What is done to images of grey levels 0 to 255 before :func:`plain` takes them, in BioImage.IO's words."""
    if not isinstance(network, Adopted):
        return [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0.0}}]
    steps = []
    levels = 255.0
    if each := frame_of(network.depth).each:
        axes = ["y", "x"] if each == "channel" else ["channel", "y", "x"]
        steps.append({"id": "zero_mean_unit_variance", "kwargs": {"axes": axes, "eps": 1e-6}})
        levels = 1.0
    gain = (network.input_scale / network.input_sd / levels).flatten().tolist()
    shift = (network.input_shift - network.input_scale * network.input_mean / network.input_sd).flatten().tolist()
    if not (np.allclose(gain, 1) and np.allclose(shift, 0, atol=1e-6)):
        single = {"gain": gain[0], "offset": shift[0]}
        steps.append(
            {
                "id": "scale_linear",
                "kwargs": single if len(gain) == 1 else {"axis": "channel", "gain": gain, "offset": shift},
            }
        )
    return steps


def steps_after(network: UNet) -> list[dict]:
    """What is done to the outputs of :func:`plain`."""
    activation = network.model["activation"] if isinstance(network, Adopted) else "sigmoid"
    known: dict[str, list[dict]] = {
        "sigmoid": [{"id": "sigmoid"}],
        "softmax": [{"id": "softmax", "kwargs": {"axis": "channel"}}],
        "none": [],
    }
    return known[activation]


def apply(module: nn.Module, images: Tensor, before: list[dict], after: list[dict]) -> Tensor:
    """after(module(before(images))) for images (n, channels, H, W): what a reader of the description computes."""
    for step in before:
        kwargs = step["kwargs"]
        if step["id"] == "scale_linear":
            gain, offset = (torch.tensor(kwargs[name]).reshape(1, -1, 1, 1) for name in ("gain", "offset"))
            images = images * gain + offset
        else:
            axes = [{"channel": 1, "y": 2, "x": 3}[axis] for axis in kwargs["axes"]]
            mean, sd = images.mean(axes, keepdim=True), images.std(axes, correction=0, keepdim=True)
            images = (images - mean) / (sd + kwargs["eps"])
    with torch.inference_mode():
        outputs = output_of(module(images)).float()
    for step in after:
        outputs = outputs.sigmoid() if step["id"] == "sigmoid" else outputs.softmax(1)
    return outputs


def least_side(frame: Frame) -> int:
    """The smallest side of an image of which anything is left once the halo is cut off."""
    return up(2 * frame.halo + 1, frame.cell)


def given_to(image: np.ndarray, cell: int, least: int) -> Tensor:
    """The upper left of an image, float (1, channels, H, W) of 0 to 255.

    Its sides are multiples of ``cell``, and ``least`` or more; what an image lacks are copies of its border.
    """
    side = max(up(TEST_SIDE, cell), least)
    part = to_input(image[np.newaxis, :side, :side], torch.device("cpu"))
    rows, columns = (max(up(side, cell), least) - side for side in part.shape[-2:])
    return functional.pad(part, (0, columns, 0, rows), mode="replicate").contiguous() * 255


def outputs_of(network: UNet) -> int:
    """Number of output channels."""
    return network.model["traits"]["outputs"] if isinstance(network, Adopted) else 1


def tensor_of(name: str, channels: int, axes: list[dict], steps: list[dict], when: str = "pre") -> dict:
    """The description of an input or output."""
    entry: dict = {"id": name, "axes": axes, "test_tensor": {"source": f"test_{name}.npy"}, "data": {"type": "float32"}}
    return entry | ({f"{when}processing": steps} if steps else {})


def carried(architecture: dict, folder: Path) -> dict:
    """The architecture, its file copied beside the description."""
    if "source" not in architecture:
        return {name: architecture[name] for name in ("callable", "import_from", "kwargs") if name in architecture}
    source = Path(architecture["source"])
    shutil.copy(source, folder / source.name)
    kwargs = architecture.get("kwargs", {})
    return {"callable": architecture["callable"], "source": source.name, "sha256": digest(source), "kwargs": kwargs}


def export(module: nn.Module, images: Tensor, path: Path) -> None:
    """Write ``module`` as ONNX, batch norm folded into the convolutions; sides and number of images are free."""
    try:
        importlib.import_module("onnx")
    except ImportError as error:
        raise StudyError(
            "config key segment.onnx: needs the package onnx; pip install onnx, or set it to false"
        ) from error
    axes = {0: "batch", 2: "y", 3: "x"}
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                _First(module).eval(), (images,), str(path), dynamo=False, opset_version=ONNX_VERSION,
                input_names=["input"], output_names=["output"], dynamic_axes={"input": axes, "output": axes},
            )  # fmt: skip
    except Exception as error:  # whatever the code of an adopted network makes of being traced
        what = " ".join(str(error).split())[:200]
        raise StudyError(
            f"config key segment.onnx: this network cannot be written as ONNX ({what}); set it to false"
        ) from error


class _First(nn.Module):
    """A module without the outputs that it may give beside the first."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return output_of(self.module(images))


def _axes(names: list[str], sides: dict[str, dict]) -> list[dict]:
    channels = {"type": "channel", "id": "channel", "channel_names": names}
    return [{"type": "batch"}, channels, *({"type": "space", "id": axis} | sides[axis] for axis in "yx")]


def _input_axes(channels: int, frame: Frame) -> list[dict]:
    names = ["red", "green", "blue"] if channels == 3 else [f"channel{number}" for number in range(channels)]
    return _axes(names, {axis: {"size": {"min": least_side(frame), "step": frame.cell}} for axis in "yx"})


def _output_axes(network: UNet, outputs: int) -> list[dict]:
    foreground = network.foreground if isinstance(network, Adopted) else [0]
    names = ["foreground" if [number] == foreground else f"class{number}" for number in range(outputs)]
    halo = frame_of(network.depth).halo
    reference = {axis: {"size": {"tensor_id": "input", "axis_id": axis}} for axis in "yx"}
    return _axes(names, {axis: size | ({"halo": halo} if halo else {}) for axis, size in reference.items()})


def _own(network: UNet) -> dict:
    """What a description of ours says beside BioImage.IO's keys, to be read again."""
    frame = frame_of(network.depth)
    about = {"cell": frame.cell, "halo": frame.halo}
    if isinstance(network, Adopted):
        about |= {"activation": network.model["activation"], "foreground": network.model["foreground"]}
    return about
