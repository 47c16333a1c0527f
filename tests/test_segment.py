"""Masks as files: what the advice decides is done, on every image, whatever masks the target has."""

import json
import logging
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml
from PIL import Image

from scripts.adapt import adapt
from scripts.generate import generate
from scripts.segment import advised, segment
from shiftgain.adaptation import remedies
from shiftgain.domains import real
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import checkpoint, normalisation, tiles
from shiftgain.network.unet import to_input
from shiftgain.report import outlines
from shiftgain.study.checks import study as checked
from tests.conftest import MODEL, discs

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
ALL = {"adapt": "all", "test": "all"}
IMAGE = {"function": "remedy", "options": {"scope": "image", "weights": "balanced"}}
METHODS = {"batchnorm": {"function": "batchnorm", "options": {}}, "image_balanced": IMAGE}


def folder_of(path: Path, n: int = 6, masks: bool = True, **means) -> Path:
    """PNG images of discs, and masks in words that nobody would take for the truth."""
    images, labels = discs(n, 32, 5, **means)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        for kind, array in [("images", image), *([("masks", 1 - label)] if masks else [])]:
            (path / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path / kind / f"field {number}.png")
    return path


def settled(path: Path) -> dict:
    spec = {"name": "mine", "path": str(path), "split": ALL, "channels": 1, "transform": "identity", "level": 0.0}
    return real.settled({"mine": spec}, {"mine": real.look("mine", spec)})["mine"]


@pytest.fixture
def study(tmp_path, network, domain_path):
    """A function from a folder of images to the arguments of stage segment, stages generate and adapt done."""
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})

    def prepare(path: Path) -> dict:
        spec = settled(path)
        paths = {name: str(tmp_path / f"{path.name}.{name}.h5") for name in ("targets", "adapted")}
        generate({"mine": spec}, ["adapt", "test"], paths["targets"], False, 1)
        adapt(str(tmp_path / "model.h5"), str(domain_path), paths["targets"], paths["adapted"], METHODS, 0, "cpu")
        return {
            "model_path": str(tmp_path / "model.h5"), "adapted_path": paths["adapted"], "advice_path": None,
            "folder": str(tmp_path / f"out {path.name}"), "spec": spec, "source": "discs", "seed": 0,
            "action": "batchnorm", "unknown": "keep", "threshold": 0.5, "probabilities": False, "onnx": False,
            "device": "cpu",
        }  # fmt: skip

    return prepare


def masks_in(folder: str) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(Path(folder, "masks").iterdir())}


def about(folder: str) -> dict:
    return json.loads(Path(folder, "about.json").read_text())


def write_advice(path: Path, *decisions: str, gain: float = 0.3) -> str:
    key = {"source": "discs", "target": "mine", "transform": "identity", "level": 0.0}
    said = {"action": "turned", "gain": gain}
    rows = [key | said | {"seed": seed, "decision": decision} for seed, decision in enumerate(decisions)]
    rows.append(key | said | {"target": "other", "seed": 0, "decision": "other"})
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("method", ["source", "batchnorm", "image_balanced"])
def test_masks_and_probabilities_are_those_of_the_method_on_each_image(method, study, network, tmp_path):
    given = study(folder_of(tmp_path / "mine", foreground=0.9, background=0.5))
    segment(**given | {"action": method, "probabilities": True})
    found = masks_in(given["folder"])
    assert list(found) == [f"field {number}.png" for number in range(6)]
    with store.read(given["adapted_path"]) as adapted:
        state = {} if method == "source" else checkpoint.get_state(adapted["mine"][method], network)
        own = store.get_json(adapted["mine"][method], "own") if method == "image_balanced" else None
    for number, mask in enumerate(found.values()):
        image = to_input(np.array(Image.open(tmp_path / f"mine/images/field {number}.png"))[np.newaxis], CPU)
        with torch.inference_mode(), normalisation.adapted(network, state):
            tile = tiles.Tile(image, (slice(0, 32),) * 2, (slice(0, 32),) * 2, (32, 32), [0])
            each = remedies.of_image(network, [tile], remedies.Own(**own)) if own else {}
            with normalisation.adapted(network, each):
                p = torch.sigmoid(network(image))[0, 0].numpy()
        kept = tifffile.imread(Path(given["folder"], "probabilities", f"field {number}.tif"))
        np.testing.assert_allclose(kept, p, atol=1e-4)
        np.testing.assert_array_equal(mask, np.where(kept > 0.5, 255, 0))
    said = about(given["folder"])
    assert (said["method"], said["images"], said["n_target_images"]) == (method, 6, 0 if method == "source" else 6)
    assert said["foreground"] == pytest.approx(np.mean([mask > 0 for mask in found.values()]))


def test_nothing_of_the_targets_masks_is_read(study, tmp_path):
    found = []
    for masks in (True, False):
        given = study(folder_of(tmp_path / f"mine {masks}", masks=masks))
        segment(**given)
        found.append(masks_in(given["folder"]))
    assert found[0].keys() == found[1].keys()
    assert all((found[0][name] == found[1][name]).all() for name in found[0])
    opened = study(folder_of(tmp_path / "mine True"))
    for path in Path(opened["spec"]["path"], "masks").iterdir():
        path.write_bytes(b"no picture")
    segment(**opened)
    assert all((found[0][name] == mask).all() for name, mask in masks_in(opened["folder"]).items())


@pytest.mark.parametrize(
    ("decision", "unknown", "gain", "method", "why"),
    [
        ("batchnorm", "keep", 0.3, "batchnorm", "the advice is batchnorm"),
        ("keep", "batchnorm", 0.3, "source", "the advice is keep"),
        ("image_balanced", "keep", 0.3, "image_balanced", "the advice is image_balanced"),
        ("unknown", "keep", 0.3, "source", "the advice says unknown, where config key segment.unknown says keep"),
        ("unknown", "turned", -0.3, "turned", "the advice says unknown, where config key segment.unknown says turned"),
        *[("unknown", "expected", gain, method,
           "the advice says unknown, where config key segment.unknown says expected")
          for gain, method in ((0.3, "turned"), (0.0, "source"))],
        (None, "keep", 0.3, "source", "there is no advice for it, where config key segment.unknown says keep"),
        (None, "expected", 0.3, "source", "there is no advice for it, where config key segment.unknown says expected"),
    ],
)  # fmt: skip
def test_the_advice_is_followed(decision, unknown, gain, method, why, tmp_path):
    path = write_advice(tmp_path / "advice.csv", *(["other", decision] if decision else []), gain=gain)
    assert advised(path, "discs", "mine", 1, unknown) == (method, why)


def test_without_images_of_the_source_nothing_is_advised():
    method, why = advised(None, "theirs", "mine", 0, "keep")
    assert method == "source" and why.startswith(
        "nothing is advised without labelled images of theirs, by which advice is"
    )


def test_what_was_decided_is_said_and_done(study, tmp_path, caplog):
    given = study(folder_of(tmp_path / "mine", foreground=0.9, background=0.5))
    given |= {"action": "advised", "advice_path": write_advice(tmp_path / "advice.csv", "batchnorm")}
    with caplog.at_level(logging.INFO):
        segment(**given)
    assert "mine: batchnorm, the advice is batchnorm" in caplog.text
    said = about(given["folder"])
    assert said["method"] == "batchnorm" and said["action"] == "advised" and said["why"] == "the advice is batchnorm"
    followed = masks_in(given["folder"])
    segment(**given | {"action": "batchnorm", "advice_path": None, "folder": str(tmp_path / "asked")})
    assert all((followed[name] == mask).all() for name, mask in masks_in(str(tmp_path / "asked")).items())
    write_advice(tmp_path / "advice.csv", "turned")
    with pytest.raises(StudyError, match=r"mine: 'turned' was not tried \(tried: batchnorm, image_balanced\); add it"):
        segment(**given)


def test_the_network_says_what_made_it_of_which_images(study, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.segment.commit", lambda: "0123456789abcdef0123-changed")
    given = study(folder_of(tmp_path / "mine"))
    segment(**given)
    each = [sha256(path.read_bytes()).digest() for path in sorted((tmp_path / "mine/images").iterdir())]
    digest = sha256("".join(sha256(part).hexdigest() for part in each).encode()).hexdigest()
    described = yaml.safe_load(Path(given["folder"], "network/bioimageio.yaml").read_text())
    facts = {"images_sha256": digest, "commit": "0123456789abcdef0123-changed", "n_target_images": 6}
    assert facts.items() <= described["config"]["shiftgain"].items() and facts.items() <= about(given["folder"]).items()
    assert described["name"] == "discs on mine by batchnorm" and described["description"] == (
        f"Network of discs, adapted to 6 unlabelled images of mine by batchnorm; images sha256 {digest[:16]}, by "
        "shiftgain at commit 0123456789ab. Input: images of mine as 8-bit grey levels, 0 to 255."
    )


def test_a_large_image_passes_in_tiles_as_it_would_whole(study, network, tmp_path, monkeypatch):
    image = discs(1, 160, 3)[0][0]
    monkeypatch.setattr(tiles, "TILE_PIXELS", 96 * 96)
    (tmp_path / "large").mkdir()
    Image.fromarray(image).save(tmp_path / "large/one.png")
    given = study(tmp_path / "large")
    segment(**given | {"action": "source", "probabilities": True})
    with torch.inference_mode():
        p = torch.sigmoid(network(to_input(image[np.newaxis], CPU)))[0, 0].numpy()
    kept = tifffile.imread(Path(given["folder"], "probabilities/one.tif"))
    np.testing.assert_allclose(kept, p, atol=1e-5)


def test_the_sheet_shows_images_spread_over_the_series_with_the_rims_of_their_masks(study, tmp_path):
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    assert outlines.rim(mask).sum() == 12 and not outlines.rim(mask)[2:4, 2:4].any()
    picture = np.asarray(outlines.thumbnail(np.full((60, 120), 7, np.uint8), np.ones((60, 120), bool)))
    assert picture.shape == (120, 240, 3) and not (picture == outlines.COLOUR).all(-1).any(), "no rim at the border"
    given = study(folder_of(tmp_path / "mine", n=14))
    segment(**given)
    width, height = Image.open(Path(given["folder"], "outlines.png")).size
    cell = outlines.SIDE + outlines.MARGIN
    assert (width - outlines.MARGIN) // cell == 4 and height // (cell + outlines.LINE) == 3, "twelve of fourteen"


def config_of(path: Path, segment: dict, **block) -> dict:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    pair = {"name": "one", "sources": ["0.30-0.70", "0.70-0.30"], "targets": ["mine", "0.30-0.70"], "seeds": [3, 4]}
    pair |= {"transforms": {"identity": [0], "noise": [0.1]}, "methods": ["batchnorm", "turned"]}
    domains = {"mine": {"path": str(path)}, "idle": {"path": str(path)}}
    config = {"results": str(path / "results"), "domains": domains, "pairs": [pair | block]}
    return shipped | config | {"segment": shipped["segment"] | segment}


def test_masks_are_asked_of_each_source_at_its_first_seed(tmp_path):
    folder_of(tmp_path, masks=False)
    asked = config_of(tmp_path, {"targets": ["mine"], "methods": ["advised", "source", "turned"]})
    found = checked(asked).segmented
    assert list(found) == [
        f"mine/{source}/{action}" for source in ("0.30-0.70", "0.70-0.30") for action in ("advised", "source", "turned")
    ]
    assert {(each.family, each.seed) for each in found.values()} == {("one-identity+noise", 3)}
    assert checked(config_of(tmp_path, {"targets": "all"})).segmented.keys() == {
        "mine/0.30-0.70/advised",
        "mine/0.70-0.30/advised",
    }
    assert not checked(config_of(tmp_path, {})).segmented


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ({"targets": ["mien"]}, "segment.targets: 'mien' is no domain with a path; did you mean 'mine'?"),
        (
            {"targets": ["idle"]},
            "segment.targets: 'idle' is the target of no pair; add it to a block of pairs",
        ),
        ({"targets": ["mine"], "methods": ["balanced"]}, "segment.methods: 'balanced' is tried by no pair"),
        (
            {"targets": ["mine"], "unknown": "adapt"},
            "segment.unknown: 'adapt' is tried by no pair; known: expected, keep",
        ),
    ],
)
def test_what_cannot_be_segmented_is_one_line(segment, message, tmp_path):
    folder_of(tmp_path, masks=False)
    with pytest.raises(StudyError, match=re.escape(message)):
        checked(config_of(tmp_path, segment))


def test_all_is_the_whole_series_with_masks_and_without(tmp_path):
    for masks in (True, False):
        spec = settled(folder_of(tmp_path / f"{masks}", masks=masks)) | {"name": "mine"}
        found = real.parts("mine", spec, {"dtype": "uint8", "images": 6, "has_masks": masks})
        assert found == {"adapt": list(range(6)), "test": list(range(6))}
    with pytest.raises(StudyError, match=r"shares and ranges are mixed \(train and test\)"):
        real.check("mine", spec | {"split": {"train": 0.5, "test": "all"}})
