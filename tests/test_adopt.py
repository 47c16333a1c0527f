"""A network trained elsewhere: found out, adapted, advised on and handed over, as the U-Net is."""

import hashlib
import importlib
import json
import struct
import sys
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from scripts.adapt import adapt
from scripts.adopt import adopt
from scripts.latents import latents
from scripts.score import score
from shiftgain.adaptation import batchnorm, remedies
from shiftgain.domains import real
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import adopted, checkpoint, examination, handover, normalisation
from shiftgain.network.inference import Inputs, of_images
from shiftgain.network.tiles import Frame, Tiled, frame_of, halo, tiles_of, up
from shiftgain.network.unet import UNet, to_input
from shiftgain.study import descriptions
from shiftgain.study.checks import study
from shiftgain.study.descriptions import described
from shiftgain.study.faults.schema import description_faults
from tests.conftest import METHODS, MODEL, discs, write_domain
from tests.test_safety import Trap

CPU = torch.device("cpu")
# A network of somebody else's: functional ReLU and pooling, three classes, unlike names, and a layer that never runs.
SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F


class Theirs(nn.Module):
    def __init__(self, channels=1, classes=3, norm=nn.BatchNorm2d):
        super().__init__()
        self.last = nn.Conv2d(6, classes, 1)
        self.idle = nn.BatchNorm2d(7)
        self.third, self.n3 = nn.Conv2d(12, 6, 3, padding=1), norm(6)
        self.first, self.n1 = nn.Conv2d(channels, 6, 3, padding=1), norm(6)
        self.second, self.n2 = nn.Conv2d(6, 6, 5, padding=2), norm(6)

    def forward(self, x):
        a = F.relu(self.n1(self.first(x)))
        b = F.relu(self.n2(self.second(F.max_pool2d(a, 2))))
        b = F.interpolate(b, scale_factor=2)
        return [self.last(F.relu(self.n3(self.third(torch.cat([a, b], 1))))), b]


def plain(**kwargs):
    return Theirs(norm=nn.Identity, **kwargs)
"""
OUTPUT = {"activation": "softmax", "foreground": [1, 2]}
FIXED = {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": [100.0], "std": [50.0]}}
COLOURED = {
    "id": "fixed_zero_mean_unit_variance",
    "kwargs": {"mean": [100.0, 50.0, 150.0], "std": [50.0, 25.0, 60.0]},
}
MONAI_UNET = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "norm": "batch",
}


def describe(folder: Path, kwargs: dict | None = None, name: str = "Theirs", **more) -> dict:
    """A description of a network of ``SOURCE`` with random weights, settled, its files in ``folder``."""
    (folder / "theirs.py").write_text(SOURCE)
    scope: dict = {}
    exec(SOURCE, scope)
    torch.manual_seed(1)
    module = scope[name](**kwargs or {}).train()
    with torch.no_grad():
        channels = (kwargs or {}).get("channels", 1)
        for _ in range(8):
            module(torch.randn(4, channels, 32, 32))
    torch.save(module.state_dict(), folder / "theirs.pt")
    entry = {"architecture": {"callable": name, "source": "theirs.py", "kwargs": kwargs or {}}, "weights": "theirs.pt"}
    (folder / "network.yaml").write_text(yaml.safe_dump(entry | OUTPUT | more))
    return described("domains.home.network", str(folder / "network.yaml"), description_faults)


@pytest.fixture
def home(tmp_path) -> str:
    """A few labelled images of the network's own domain, all in every split."""
    with store.create(tmp_path / "home.h5") as file:
        write_domain(file, dict.fromkeys(("train", "validation", "adapt", "test"), 5), size=24)
    return str(tmp_path / "home.h5")


def adopted_at(folder: Path, home: str, **more) -> tuple[str, adopted.Adopted]:
    path = str(folder / "model.h5")
    adopt(home, path, describe(folder, **more), more.get("kwargs", {}).get("channels", 1) if more.get("kwargs") else 1)
    return path, checkpoint.load(path, CPU)


def as_they_would(folder: Path, images: np.ndarray) -> np.ndarray:
    """Foreground probability by the author's own code: fixed standardisation, softmax, classes 1 and 2."""
    scope: dict = {}
    exec(SOURCE, scope)
    module = scope["Theirs"]().eval()
    module.load_state_dict(torch.load(folder / "theirs.pt", weights_only=True))
    with torch.inference_mode():
        outputs = module((torch.from_numpy(images).float()[:, None] - 100) / 50)[0]
    return outputs.softmax(1)[:, 1:].sum(1).numpy()


def said(network, images: np.ndarray) -> np.ndarray:
    p = np.empty(images.shape[:3], np.float32)
    for tile, found in of_images(network, images, CPU):
        p[:, *tile.at] = found.numpy()
    return p


def test_it_says_what_it_says_elsewhere(tmp_path, home):
    _, network = adopted_at(tmp_path, home, preprocessing=FIXED)
    images = discs(3, 24, 9)[0]
    np.testing.assert_allclose(said(network, images), as_they_would(tmp_path, images), atol=1e-5)
    odd = discs(1, 23, 9)[0]
    assert said(network, odd).shape == (1, 23, 23), "padded to its grid"


def test_its_input_is_matched_to_the_images_that_sources_train_on(tmp_path, home):
    _, network = adopted_at(tmp_path, home)
    with store.read(home) as file:
        means = {split: file[f"{split}/images"][:].mean() / 255 for split in file}
    assert float(network.input_mean) == pytest.approx(means["train"], rel=1e-5)
    assert all(abs(means["train"] - mean) > 1e-3 for split, mean in means.items() if split != "train")


def test_its_layers_are_those_that_run_in_the_order_in_which_they_do(tmp_path, home):
    path, network = adopted_at(tmp_path, home)
    assert list(normalisation.norm_layers(network)) == ["module.n1", "module.n2", "module.n3"]
    assert {name: place["norm"] for name, place in network.layers.items()} == {
        "encoder1": "n1", "bottleneck": "n2", "decoder1": "n3",
    }  # fmt: skip
    assert adopted.decoder_norms(network) == ["module.n3"]
    traits = checkpoint.model(path)["traits"]
    # From a border between squares of two: 1 by third, so the whole square, 2; 2 more squares by second, 6; 1 by first.
    assert examination.reach(network.module, 1, 2) == 7
    assert (traits["cell"], traits["receiver"], traits["outputs"]) == (2, "last", 3)
    assert traits["halo"] == 8 and not traits["sees_whole_image"]


def test_layers_are_named_by_their_grids_on_the_way_down_and_up():
    down, up = [("a", 1, None), ("b", 1, "relu"), ("c", 2, None)], [("f", 2, None), ("g", 1, None), ("h", 1, None)]
    found = examination._named([*down, ("d", 8, None), ("e", 8, None), *up])
    named = {name: place["norm"] for name, place in found.items()}
    assert list(named.items()) == [
        ("encoder1", "b"), ("encoder2", "c"), ("bottleneck", "e"), ("decoder2", "f"), ("decoder1", "h"),
    ]  # fmt: skip
    assert found["encoder1"]["relu"] == "relu"
    flat = examination._named([("a", 1, None), ("b", 1, None)])
    assert {name: place["norm"] for name, place in flat.items()} == {"encoder1": "a", "bottleneck": "b"}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_reach_that_is_measured_is_that_which_is_worked_out(depth):
    network = UNet(1, 2, depth).eval()
    assert up(examination.reach(network, 1, 2**depth), 2**depth) == halo(depth)


@pytest.mark.parametrize(("norm", "expected"), [(nn.Identity(), 3), (nn.GroupNorm(1, 2), None)])
def test_what_sees_the_whole_image_has_no_reach(norm, expected):
    module = nn.Sequential(nn.Conv2d(1, 2, 7, padding=3), norm, nn.Conv2d(2, 1, 1)).eval()
    assert examination.reach(module, 1, 1) == expected
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Upsample(size=(256, 256)))
    model = {"preprocessing": {"id": "none"}, "activation": "sigmoid", "foreground": 0}
    traits = examination.examine(adopted.Adopted(pooled.eval(), 1, model))
    assert traits["sees_whole_image"] and traits["halo"] == examination.WHOLE_IMAGE_HALO


def test_large_images_pass_in_tiles_as_they_would_whole(tmp_path, home, monkeypatch):
    _, network = adopted_at(tmp_path, home, preprocessing={"id": "zero_mean_unit_variance"})
    image = discs(1, 101, 3)[0]
    whole = said(network, image)
    monkeypatch.setattr("shiftgain.network.tiles.TILE_PIXELS", 40 * 40)
    assert len(list(Tiled(image, range(1), network.depth, CPU))) > 4
    np.testing.assert_allclose(said(network, image), whole, atol=1e-5)


@pytest.mark.parametrize(("axes", "each"), [(None, "image"), (["y", "x"], "channel")])
def test_each_image_is_standardised_whole(axes, each):
    images = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), np.uint8)
    entry = {"id": "zero_mean_unit_variance", "kwargs": {"axes": axes} if axes else {}}
    assert adopted.each_of(entry) == each
    (tile,) = Tiled(images, range(3), Frame(1, 0, each), CPU)
    values = images.transpose(0, 3, 1, 2).astype(float)
    dims = (1, 2, 3) if each == "image" else (2, 3)
    expected = (values - values.mean(dims, keepdims=True)) / (values.std(dims, keepdims=True) + 1e-6)
    np.testing.assert_allclose(tile.images, expected, atol=1e-4)
    (again,) = Tiled(torch.from_numpy(values).float() / 255, range(3), Frame(1, 0, each), CPU)
    np.testing.assert_allclose(again.images, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": "none"}, [0, 51, 255]),
        ({"id": "scale_linear", "kwargs": {"gain": 2, "offset": -1}}, [-1, 101, 509]),
        (FIXED, [-2, -0.98, 3.1]),
    ],
)
def test_preprocessing_is_of_grey_levels(entry, expected):
    gain, offset = adopted.preprocessing(entry, 1)
    found = torch.tensor([0, 51, 255]) / 255 * gain.flatten() + offset.flatten()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "foreground", "expected"),
    [("sigmoid", 1, 0.7311), ("softmax", 1, 0.2447), ("softmax", [1, 2], 0.9100), ("none", 3, 0.5)],
)
def test_the_foreground_is_what_the_outputs_mean(activation, foreground, expected):
    """Outputs 0, 1, 2, 0.5: sigmoid of 1; e / (1 + e + e^2) is not it, the fourth output counts too."""
    outputs = torch.tensor([0.0, 1, 2, 0.5]).reshape(1, 4, 1, 1)
    if activation == "softmax":
        outputs = outputs[:, :3]
    model = {"preprocessing": {"id": "none"}, "activation": activation, "foreground": foreground}
    logit = adopted.Adopted(nn.Identity(), 1, model).foreground_logit(outputs)
    assert float(torch.sigmoid(logit)) == pytest.approx(expected, abs=1e-4) and logit.shape == (1, 1, 1, 1)


def test_a_refresh_is_that_of_torch_and_brightness_is_undone(tmp_path, home):
    _, network = adopted_at(tmp_path, home, preprocessing=FIXED)
    images = torch.from_numpy(discs(6, 24, 4)[0])[:, None] / 255.0
    state = batchnorm.batchnorm(network, tiles_of([images], network.depth))
    twin = deepcopy(network.module)
    for norm in (twin.n1, twin.n2, twin.n3):
        norm.train().momentum = None
        norm.reset_running_stats()
    twin(network.standardise(images))
    for name in ("n1", "n2", "n3"):
        for kind in ("running_mean", "running_var"):
            torch.testing.assert_close(
                state[f"module.{name}.{kind}"], twin.state_dict()[f"{name}.{kind}"], rtol=1e-3, atol=1e-4
            )
    affine = remedies.refreshed(network, tiles_of([images], network.depth)).state
    darker = remedies.refreshed(network, tiles_of([0.4 * images + 0.1], network.depth)).state
    with torch.inference_mode():
        with normalisation.adapted(network, affine):
            expected = network(images)
        with normalisation.adapted(network, darker):
            torch.testing.assert_close(network(0.4 * images + 0.1), expected, rtol=1e-3, atol=1e-3)


def latents_of(path: str, home: str, targets_path: Path, files: list[str]) -> None:
    place = (["encoder1", "bottleneck"], ["before_relu"], ["position"])
    latents(path, home, str(targets_path), *files[:2], *place, 50, 0, "cpu")


def test_all_stages_take_it(tmp_path, home, targets_path):
    path, _ = adopted_at(tmp_path, home, preprocessing={"id": "zero_mean_unit_variance"})
    own = {"function": "remedy", "options": {"scope": "image", "weights": "balanced", "polarity": "told"}}
    files = [str(tmp_path / name) for name in ("adapted.h5", "latents.h5", "scores.csv")]
    adapt(path, home, str(targets_path), files[0], METHODS | {"own": own}, 0, "cpu", "home")
    with h5py.File(files[0]) as file:
        assert set(file["discs/batchnorm/"]) >= {"module.n1.running_mean", "module.n3.running_var"}
    latents_of(path, home, targets_path, files)
    with h5py.File(files[1]) as file:
        rows = file["source/reference/bottleneck/before_relu/position/rows"][...]
        assert rows.shape == (50, 6) and (rows < 0).any(), "before the ReLU"
    score(path, home, str(targets_path), files[0], {}, files[2], "home", 0, ["batchnorm", "own"], 8, 40, 0.5, "cpu")
    scores = pd.read_csv(files[2])
    assert set(scores["method"]) == {"source", "batchnorm", "own"} and scores["expected_iou"].notna().all()


def test_a_network_without_batch_norm_is_kept_and_scored(tmp_path, home, targets_path, caplog):
    path, _ = adopted_at(tmp_path, home, name="plain")
    assert "has no batch-norm layer: nothing can be adapted, and it is kept" in caplog.text
    files = [str(tmp_path / name) for name in ("adapted.h5", "latents.h5", "scores.csv")]
    adapt(path, home, str(targets_path), files[0], METHODS, 0, "cpu", "home")
    with h5py.File(files[0]) as file:
        assert list(file["discs"]) == []
    latents_of(path, home, targets_path, files)
    score(path, home, str(targets_path), files[0], {}, files[2], "home", 0, list(METHODS), 8, 40, 0.5, "cpu")
    scores = pd.read_csv(files[2])
    assert set(scores["method"]) == {"source"} and scores["expected_iou"].notna().all()


def shown(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey images as they are, or in three unlike colours."""
    return images if channels == 1 else np.stack([images, images // 2, 255 - images], -1)


def in_colours(folder: Path) -> str:
    """A few labelled images of a network of RGB images."""
    images, masks = discs(4, 40, 1)
    with store.create(folder / "coloured.h5") as file:
        for split in ("train", "adapt"):
            store.append(file.create_group(split), shown(images, 3), masks)
    return str(folder / "coloured.h5")


def handed_over(network, model: dict, folder: Path, **facts) -> dict:
    (image,) = shown(discs(1, 50, 2)[0], model["channels"])
    words = {"name": "theirs on mine", "description": "of a test"}
    handover.hand_over(network, model, image, words, {"commit": "abc"} | facts, folder, False)
    return yaml.safe_load((folder / "bioimageio.yaml").read_text())


def by_its_description(folder: Path, about: dict) -> np.ndarray:
    """The output for the test input, by nothing but the description, its files, torch and numpy."""
    entry = about["weights"]["pytorch_state_dict"]
    assert hashlib.sha256((folder / entry["source"]).read_bytes()).hexdigest() == entry["sha256"]
    architecture, scope = entry["architecture"], {"__name__": "theirs"}
    if "import_from" in architecture:
        scope = vars(importlib.import_module(architecture["import_from"]))
    else:
        exec((folder / architecture["source"]).read_text(), scope)
    module = scope[architecture["callable"]](**architecture["kwargs"]).eval()
    module.load_state_dict(torch.load(folder / entry["source"], weights_only=True))
    images = torch.from_numpy(np.load(folder / about["inputs"][0]["test_tensor"]["source"]))
    for step in about["inputs"][0]["preprocessing"]:
        if step["id"] == "scale_linear":
            gain, offset = (np.float32(step["kwargs"][name]) for name in ("gain", "offset"))
            if step["kwargs"].get("axis") == "channel":
                gain, offset = gain[:, None, None], offset[:, None, None]
            images = images * torch.from_numpy(np.asarray(gain)) + torch.from_numpy(np.asarray(offset))
        else:
            images = (images - images.mean()) / (images.std(correction=0) + 1e-6)
    with torch.inference_mode():
        outputs = module(images)
    outputs = outputs[0] if isinstance(outputs, list) else outputs
    (after,) = about["outputs"][0]["postprocessing"]
    return (outputs.sigmoid() if after["id"] == "sigmoid" else outputs.softmax(1)).numpy()


@pytest.mark.parametrize(
    "theirs",
    [
        {"preprocessing": FIXED},
        {"preprocessing": {"id": "zero_mean_unit_variance"}},
        {"preprocessing": COLOURED, "kwargs": {"channels": 3}},
        {"architecture": {"callable": "Theirs", "import_from": "theirs_installed", "kwargs": {}}},
        None,
    ],
)
def test_what_is_handed_over_gives_its_test_output_and_may_be_adopted_again(
    theirs, tmp_path, home, network, monkeypatch
):
    """Adapted to brighter images, by statistics of the input too; None: a U-Net of ours."""
    (tmp_path / "theirs_installed.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    model, channels = MODEL, 1
    if theirs is not None:
        channels = theirs.get("kwargs", {}).get("channels", 1)
        home = home if channels == 1 else in_colours(tmp_path)
        path, network = adopted_at(tmp_path, home, **theirs)
        model = checkpoint.model(path)
    images = shown(discs(6, 32, 4, 0.9, 0.5)[0], channels)
    tiles = tiles_of([to_input(images, CPU)], network.depth)
    each = frame_of(network.depth).each
    method = batchnorm.batchnorm if each else remedies.refreshed
    state = method(network, tiles)
    normalisation.put(network, state if isinstance(state, dict) else state.state)
    about = handed_over(network, model, tmp_path / "out")
    saved = np.load(tmp_path / "out" / about["outputs"][0]["test_tensor"]["source"])
    np.testing.assert_allclose(by_its_description(tmp_path / "out", about), saved, atol=1e-4)
    assert saved.shape == ((1, 3, 50, 50) if theirs else (1, 1, 52, 52))
    for axis in about["inputs"][0]["axes"][2:]:
        assert axis["size"]["min"] > 2 * about["outputs"][0]["axes"][2]["halo"], "something is left of the smallest"
    assert about["config"]["shiftgain"]["commit"] == "abc"
    ways = {"callable", "import_from", "kwargs"} if theirs and "architecture" in theirs else {"sha256", "source"}
    assert ways <= set(about["weights"]["pytorch_state_dict"]["architecture"])
    if channels == 3:
        (before,) = about["inputs"][0]["preprocessing"]
        assert before["kwargs"]["axis"] == "channel" and len(set(before["kwargs"]["gain"])) == 3
    again = described("domains.a.network", str(tmp_path / "out/bioimageio.yaml"), description_faults)
    adopt(home, str(tmp_path / "again.h5"), again, channels)
    np.testing.assert_allclose(
        said(checkpoint.load(tmp_path / "again.h5", CPU), images), said(network, images), atol=1e-4
    )


def test_onnx_folds_the_statistics_or_names_what_is_missing(tmp_path, network, monkeypatch):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    images = discs(1, 32, 4)[0][0]
    handover.hand_over(network, MODEL, images, {"name": "a", "description": "b"}, {}, tmp_path, True)
    kinds = {node.op_type for node in onnx.load(tmp_path / "network.onnx").graph.node}
    assert "Conv" in kinds and "BatchNormalization" not in kinds
    given = np.random.default_rng(0).random((2, 1, 24, 40)).astype(np.float32)
    (found,) = ReferenceEvaluator(str(tmp_path / "network.onnx")).run(None, {"input": given})
    np.testing.assert_allclose(found, network(torch.from_numpy(given)).numpy(), atol=1e-4)
    assert yaml.safe_load((tmp_path / "bioimageio.yaml").read_text())["weights"]["onnx"]["opset_version"] == 17


def test_onnx_of_an_adopted_network_is_its_first_output(tmp_path, home):
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    path, network = adopted_at(tmp_path, home, preprocessing=FIXED)
    images = discs(1, 32, 4)[0][0]
    given = {"image": images, "words": {"name": "a", "description": "b"}, "facts": {}, "onnx": True}
    handover.hand_over(network, checkpoint.model(path), folder=tmp_path / "out", **given)
    values = np.random.default_rng(0).random((2, 1, 24, 40)).astype(np.float32)
    (found,) = ReferenceEvaluator(str(tmp_path / "out/network.onnx")).run(None, {"input": values})
    np.testing.assert_allclose(found, network.module(torch.from_numpy(values))[0].numpy(), atol=1e-4)
    network.module.last = Odd()
    with pytest.raises(
        StudyError, match=r"segment\.onnx: this network cannot be written as ONNX \(.*igamma.*\); set it"
    ):
        handover.hand_over(network, checkpoint.model(path), folder=tmp_path / "out", **given)


class Odd(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x):
        return torch.igamma(x.abs() + 1, x.abs() + 1)[:, :3]


def test_onnx_without_the_package_is_one_line(tmp_path, network, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(StudyError, match=r"config key segment\.onnx: needs the package onnx; pip install onnx"):
        handover.hand_over(network, MODEL, discs(1, 32, 4)[0][0], {"name": "a", "description": "b"}, {}, tmp_path, True)


def of_library(folder: Path, library: str, name: str, kwargs: dict, classes: int, **more) -> dict:
    """A description of a network of a library with the weights that it starts with."""
    nets = pytest.importorskip(library)
    torch.manual_seed(0)
    torch.save(getattr(nets, name)(**kwargs).state_dict(), folder / "theirs.pt")
    architecture = {"callable": name, "import_from": library, "kwargs": kwargs}
    before = {"id": "scale_linear", "kwargs": {"gain": 1 / 255}}
    entry = {"architecture": architecture, "weights": str(folder / "theirs.pt"), "preprocessing": before}
    outputs = {"activation": "softmax", "foreground": 1} if classes > 1 else {}
    return described("domains.home.network", entry | outputs | more, description_faults)


@pytest.mark.parametrize(
    ("library", "name", "channels", "classes", "kwargs", "norms"),
    [
        ("monai.networks.nets", "UNet", 1, 2, MONAI_UNET | {"num_res_units": 2, "out_channels": 2}, 9),
        (
            "monai.networks.nets",
            "FlexibleUNet",
            3,
            1,
            {"in_channels": 3, "out_channels": 1, "backbone": "resnet10", "decoder_channels": [16, 8, 8, 8, 4]},
            22,
        ),
        (
            "segmentation_models_pytorch",
            "Unet",
            3,
            2,
            {
                "encoder_name": "resnet18",
                "encoder_weights": None,
                "encoder_depth": 3,
                "decoder_channels": [16, 8, 4],
                "classes": 2,
            },
            16,
        ),
    ],
)
def test_networks_of_libraries(library, name, channels, classes, kwargs, norms, tmp_path):
    # Measuring how far the larger ones see, 288 px of FlexibleUNet, takes seconds.
    halo = {} if name == "UNet" else {"halo": 288}
    model = of_library(tmp_path, library, name, kwargs, classes, **halo)
    images, masks = discs(4, 40, 1)
    images = shown(images, channels)
    with store.create(tmp_path / "home.h5") as file:
        for split in ("train", "adapt"):
            store.append(file.create_group(split), images, masks)
    adopt(str(tmp_path / "home.h5"), str(tmp_path / "model.h5"), model, channels)
    network = checkpoint.load(tmp_path / "model.h5", CPU)
    assert len(normalisation.norm_layers(network)) == norms and {"encoder1", "bottleneck", "decoder1"} <= set(
        network.layers
    )
    with torch.inference_mode():
        module = network.module.eval()
        values = torch.from_numpy(images).float() / 255
        values = values[:, None] if channels == 1 else values.permute(0, 3, 1, 2)
        padded = torch.nn.functional.pad(values, [0, -40 % network.depth.cell] * 2, mode="reflect")
        outputs = module(padded)[:, :, :40, :40]
    expected = outputs.softmax(1)[:, 1] if classes > 1 else outputs.sigmoid()[:, 0]
    np.testing.assert_allclose(said(network, images), expected.numpy(), atol=1e-4)
    with store.read(tmp_path / "home.h5") as file:
        inputs = Inputs(file["adapt"], CPU, network.depth)
        state = batchnorm.batchnorm(network, inputs)
        assert len(state) == 2 * norms
        domain = remedies.Domain(network, inputs)
        assert len(remedies.remedy(domain, remedies.reference(network, inputs), weights="balanced")[0]) == 2 * norms + 2


@pytest.mark.parametrize("kind", ["nested", "parallel", "safetensors"])
def test_weights_come_in_the_forms_that_people_save(kind, tmp_path):
    module, path = nn.Conv2d(2, 3, 1), tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    state = module.state_dict()
    if kind == "safetensors":
        header, blob = {"__metadata__": {"by": "us"}}, b""
        for name, tensor in state.items():
            raw = tensor.numpy().tobytes()
            header[name] = {
                "dtype": "F32",
                "shape": list(tensor.shape),
                "data_offsets": [len(blob), len(blob) + len(raw)],
            }
            blob += raw
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + blob)
    elif kind == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    other = nn.Conv2d(2, 3, 1)
    adopted.load_weights(other, path)
    assert all((other.state_dict()[name] == tensor).all() for name, tensor in state.items())


FORGED = {"callable": "Theirs", "source": "theirs.py", "sha256": "0" * 64}


def test_what_is_no_state_dict_is_one_line_and_nothing_is_unpickled(tmp_path):
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "w.pt")
    with pytest.raises(StudyError, match=r"w\.pt: no state dict of tensors .*; save it by torch\.save"):
        adopted.load_weights(nn.Conv2d(1, 1, 1), tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()
    torch.save(nn.Conv2d(1, 2, 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(StudyError, match=r"w\.pt: the weights do not fit the architecture .*size mismatch"):
        adopted.load_weights(nn.Conv2d(1, 1, 1), tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "no.pt"}, r"network.yaml: no file '.*no.pt'; give it relative to the description"),
        ({"foreground": -1}, r"network.yaml: foreground"),
        ({"activate": "sigmoid"}, r"network.yaml: \(top level\): unknown key 'activate'; did you mean 'activation'"),
        ({"architecture": {"callable": "Theirs"}}, r"architecture: give source, a Python file, or import_from"),
        (
            {"architecture": FORGED},
            r"theirs.py: sha256 is \w+, not what",
        ),
        ({"preprocessing": {"id": "scale_range"}}, r"network.yaml: preprocessing.id: 'scale_range' is not one of"),
    ],
)
def test_a_description_that_cannot_be_is_one_line(change, message, tmp_path):
    describe(tmp_path)
    entry = yaml.safe_load((tmp_path / "network.yaml").read_text()) | change
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(entry))
    with pytest.raises(StudyError, match=message):
        described("domains.home.network", str(tmp_path / "network.yaml"), description_faults)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"domains\.home\.network names a file in it, such as rdf\.yaml$"),
        ("weights: {pytorch_state_dict: {source: theirs.pt}}", r"\(KeyError: 'architecture'\); it needs weights with"),
        ("weights: {pytorch_state_dict: theirs.pt}", r"no whole description of a model \(TypeError: "),
        (
            "weights: {pytorch_state_dict: {source: theirs.pt, architecture: 'theirs.py:Theirs'}}",
            r"\(KeyError: 'inputs'\)",
        ),
    ],
    ids=["folder", "architecture", "weights", "inputs"],
)
def test_half_a_description_is_one_line(text, message, tmp_path):
    describe(tmp_path)
    if text:
        (tmp_path / "rdf.yaml").write_text(text)
    with pytest.raises(StudyError, match=message):
        described("domains.home.network", str(tmp_path / "rdf.yaml" if text else tmp_path), description_faults)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kwargs": {"chanels": 1}}, r"architecture 'Theirs': .*unexpected keyword argument 'chanels'; correct"),
        ({"callable": "Ours"}, r"architecture 'Ours': .*no attribute 'Ours'; correct callable"),
        ({"callable": "torch.nn"}, None),
    ],
)
def test_an_architecture_that_fails_is_one_line(change, message, tmp_path, home):
    model = describe(tmp_path)
    if message is None:
        change, message = (
            {"callable": "len", "import_from": "builtins", "kwargs": {}},
            r"architecture 'len': .*; correct",
        )
        model["architecture"].pop("source")
    model["architecture"] |= change
    with pytest.raises(StudyError, match=message):
        adopt(home, str(tmp_path / "model.h5"), model, 1)
    three = describe(tmp_path)
    with pytest.raises(StudyError, match=r"network: cannot take 3 channels .*; set generate.channels"):
        examination.examine(adopted.build(three, 3))
    with pytest.raises(StudyError, match=r"network: foreground \[5\] of 3 outputs"):
        examination.examine(adopted.build(three | {"foreground": 5}, 1))
    with pytest.raises(StudyError, match="sha256 is"):
        (tmp_path / "theirs.py").write_text(SOURCE + "\n")
        adopted.build(three, 1)


def test_descriptions_of_bioimageio_of_either_form(tmp_path):
    describe(tmp_path)
    state = {"source": "theirs.pt", "architecture": "theirs.py:Theirs", "kwargs": {"classes": 3}}
    old = {
        "inputs": [{"preprocessing": [{"name": "scale_linear", "kwargs": {"gain": 2.0, "axes": "xy"}}]}],
        "outputs": [{"postprocessing": [{"name": "sigmoid"}]}], "weights": {"pytorch_state_dict": state},
        "config": {"shiftgain": {"foreground": 2, "halo": 16}},
    }  # fmt: skip
    path = tmp_path / "rdf.yaml"
    path.write_text(yaml.safe_dump(old))
    found = described("k", str(path), description_faults)
    assert found["architecture"]["callable"] == "Theirs" and found["architecture"]["kwargs"] == {"classes": 3}
    assert found["preprocessing"] == {"id": "scale_linear", "kwargs": {"gain": 2.0, "axes": "xy"}}
    assert (found["activation"], found["foreground"], found["halo"]) == ("sigmoid", 2, 16)
    path.write_text(yaml.safe_dump(old | {"weights": {"onnx": {}}}))
    with pytest.raises(StudyError, match=r"rdf.yaml: weights: only onnx; take a model with pytorch_state_dict"):
        described("k", str(path), description_faults)
    step = {"name": "zero_mean_unit_variance", "kwargs": {"mode": "fixed", "mean": 103.5, "std": 11.2, "axes": "yx"}}
    path.write_text(yaml.safe_dump(old | {"inputs": [{"preprocessing": [step]}]}))
    found = described("k", str(path), description_faults)["preprocessing"]
    kwargs = {"mean": 103.5, "std": 11.2, "axes": "yx"}
    assert found == {"id": "fixed_zero_mean_unit_variance", "kwargs": kwargs}
    step["kwargs"]["mode"] = "per_dataset"
    path.write_text(yaml.safe_dump(old | {"inputs": [{"preprocessing": [step]}]}))
    with pytest.raises(StudyError, match=r"preprocessing zero_mean_unit_variance of mode per_dataset; one step can"):
        described("k", str(path), description_faults)
    steps = [{"preprocessing": [{"id": "scale_range"}]}]
    path.write_text(yaml.safe_dump(old | {"inputs": steps}))
    with pytest.raises(StudyError, match=r"preprocessing scale_range; one step can be followed"):
        described("k", str(path), description_faults)


def config_of(folder: Path, home: dict, **block) -> dict:
    shipped = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())
    images, masks = discs(3, 24, 0)
    for name, arrays in (("few/images", images), ("few/masks", masks), ("mine", images)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(folder / name / f"{number}.png")
    pair = {"name": "one", "sources": ["home"], "targets": ["mine"], "methods": ["batchnorm"]}
    pair |= {"transforms": {"identity": [0]}}
    domains = {"home": {"network": str(folder / "network.yaml")} | home, "mine": {"path": str(folder / "mine")}}
    config = {"results": str(folder / "results"), "domains": domains, "pairs": [pair | block]}
    return shipped | config | {"segment": shipped["segment"] | {"targets": ["mine"]}}


def test_a_few_images_serve_in_every_split_and_nothing_is_trained(tmp_path):
    describe(tmp_path)
    found = study(config_of(tmp_path, {"path": str(tmp_path / "few")}))
    assert list(found.adopted) == ["home"] and found.fitted_names == [] and found.networks == ("home",)
    spec = found.specs(["home"], [])["home"]
    seen = {"dtype": "uint8", "images": 3, "has_masks": True}
    assert real.parts("home", spec, seen) == {part: [0, 1, 2] for part in ("train", "validation", "adapt", "test")}
    assert "network" not in spec, "what is read does not hang on the network"
    with pytest.raises(StudyError, match=r"network 'home~augmented': the network of 'home' was trained elsewhere"):
        study(config_of(tmp_path, {"path": str(tmp_path / "few")}, sources=["home~augmented"]))


def test_without_images_of_its_own_masks_are_made_and_nothing_else(tmp_path):
    describe(tmp_path)
    found = study(config_of(tmp_path, {}))
    assert (found.jobs, found.networks, list(found.adopted)) == ([], (), ["home"])
    assert list(found.segmented) == ["mine/home/advised"] and found.data_if_any("home", 0) == []
    with pytest.raises(
        StudyError, match=r"domains.home: method 'image' compares targets with images of the source; add"
    ):
        study(config_of(tmp_path, {}, methods=["image"]))
    with pytest.raises(StudyError, match=r"config key domains.home: no path, so that it can be a source only"):
        study(config_of(tmp_path, {}, targets=["home", "mine"]))
    adopt(None, str(tmp_path / "model.h5"), described("k", str(tmp_path / "network.yaml"), description_faults), 1)
    images = discs(3, 24, 9)[0]
    network = checkpoint.load(tmp_path / "model.h5", CPU)
    np.testing.assert_allclose(said(network, images), said(adopted_at(tmp_path, None)[1], images))


def test_which_output_of_a_softmax_are_the_objects_is_asked_where_nothing_says_it(tmp_path):
    entry = {"architecture": {"callable": "UNet", "import_from": "x"}, "weights": "w.pt", "activation": "softmax"}
    with pytest.raises(StudyError, match="softmax has an output for each class; give foreground"):
        described("domains.home.network", entry, description_faults)


@pytest.mark.parametrize(
    ("names", "number"), [(["background", "nucleus"], 1), (["Cell", "BG"], 0), (["a", "b"], None), ([], None)]
)
def test_the_output_that_is_not_background_is_the_objects(names, number):
    axes = ["batch", {"type": "channel", "channel_names": names}] if names else "bcyx"
    assert descriptions._objects({"axes": axes}) == number


@pytest.mark.parametrize(
    ("data", "step", "refused"),
    [
        ({"type": "uint16"}, "scale_linear", True),
        ({"type": "uint16"}, "zero_mean_unit_variance", False),
        ({"type": "float32"}, "none", False),
        ({}, "none", False),
    ],
)
def test_a_network_of_other_grey_levels_is_refused(data, step, refused):
    with (
        pytest.raises(StudyError, match="inputs of type uint16, but images come as 8-bit") if refused else nullcontext()
    ):
        descriptions._check_range("n", {"data": data}, step)
