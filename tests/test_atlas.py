"""The atlas: what the page knows of every pair, and which pictures it keeps."""

import base64
import io
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scripts.atlas import atlas
from shiftgain.report import atlas as gather
from shiftgain.report import cards, thumbnails
from tests.made_up import atlas_arguments, make_study


def opened(text: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[dict, dict]:
    """Two sources, two of the grid's targets and an unlabelled one, plain and noisy, two seeds; and its atlas."""
    folder = tmp_path_factory.mktemp("study")
    targets, transforms = ["0.50-0.90", "0.70-0.30", "cells"], {"identity": [0.0], "noise": [0.1]}
    arguments = atlas_arguments(
        *make_study(folder, ["0.30-0.70", "0.70-0.30"], targets, transforms, ("cells",), seeds=(0, 1))
    )
    atlas(**arguments)
    return arguments, json.loads(Path(arguments["atlas_path"]).read_text())


def said(found: dict, field: str, number: int) -> str:
    """What the card of a pair says, put together as the page's script does."""
    words, tokens = found["advice"]["words"], found["advice"]["said"][field][number]
    return "".join(words[token] if isinstance(token, int) else token for token in tokens)


def place(found: dict, source: str, target: str, transform: str = "identity") -> int:
    columns = found["pairs"]
    for number in range(len(columns["source"])):
        names = found["sources"][columns["source"][number]], found["targets"][columns["target"][number]]
        if (*names, found["shifts"][columns["shift"][number]][0]) == (source, target, transform):
            return number
    raise LookupError(target)


def test_a_pair_has_its_numbers_and_its_words(made):
    _, found = made
    assert len(found["pairs"]["source"]) == 12 and found["shifts"] == [
        ["identity", 0.0, "none"],
        ["noise", 0.1, "sd in grey level"],
    ]
    number = place(found, "0.30-0.70", "0.50-0.90")
    assert found["iou"]["kept"][number] == 0.3 and found["iou"]["batchnorm"][number] == 0.88
    assert found["pairs"]["seeds"][number] == 2 and found["conditions"][found["pairs"]["condition"][number]] == (
        "brightness or contrast"
    )
    assert found["advice"]["decision"][number] == "batchnorm"
    assert found["advice"]["expected"]["batchnorm"][number] == 0.8
    assert found["means"]["0.50-0.90"] == [0.5, 0.9] and "cells" not in found["means"]
    unlabelled = place(found, "0.30-0.70", "cells")
    assert found["iou"]["kept"][unlabelled] is None and "expected" in said(found, "expected", unlabelled).lower()
    home = place(found, "0.70-0.30", "0.70-0.30")
    assert found["pairs"]["home"][home] == 1 and sum(found["pairs"]["home"]) == 1
    assert found["methods"] == ["batchnorm", "other"] and found["remedies"] == ["other"]


def test_the_atlas_says_of_a_pair_what_its_card_says(made):
    arguments, found = made
    rows = cards.of_pairs(cards.read(arguments["tables"]["advice"])).to_dict("records")
    assert len(rows) == len(found["pairs"]["source"])
    for row in rows:
        number = place(found, row["source"], row["target"], row["transform"])
        expected = cards.card(row, row["target"] == "cells")
        assert {field: said(found, field, number) for field in cards.FIELDS} == expected
    assert len(found["advice"]["words"]) < 30, "words that pairs share are kept once"
    assert not [word for word in found["advice"]["words"] if word.strip("+-").replace(".", "").isdigit()]


def test_a_card_shows_both_masks_of_the_same_images(made):
    arguments, found = made
    assert len(found["cards"]) == 12 and {card["seed"] for card in found["cards"]} == {0}
    assert {card["target"] for card in found["cards"][:4]} == {"cells"}, "those without labels come first"
    for card in found["cards"]:
        name = card["target"] + ("@noise=0.1" if card["level"] else "")
        job = f"{card['source']}/seed0/{card['transform']}"
        assert len(card["pictures"]) == 2
        with (
            h5py.File(arguments["masks"][job]) as masks,
            h5py.File(arguments["targets"][card["transform"]]) as targets,
        ):
            for number, look in enumerate(card["pictures"]):
                for key, method in (("kept", "source"), ("adapted", card["action"])):
                    assert np.array_equal(opened(look[key])[..., 0], 255 * masks[f"{name}/{method}"][number])
                image = targets[f"{name}/test/images"][number].astype(float)
                low, high = np.sort(image, axis=None)[[1, -2]]  # of 256 pixels
                seen = (255 * (image - low) / (high - low)).clip(0, 255)
                assert np.abs(opened(look["image"])[..., 0] - seen).max() <= 12, "to 16 grey levels"


def test_what_was_segmented_gets_the_first_cards(made, tmp_path):
    arguments, _ = made
    atlas(**arguments | {"segmented": ["0.70-0.30"], "atlas_path": str(tmp_path / "atlas.json")})
    found = json.loads((tmp_path / "atlas.json").read_text())["cards"]
    assert [card["target"] for card in found[:5]] == ["0.70-0.30"] * 4 + ["cells"]


def test_distances_stand_in_the_order_of_the_network_with_their_nulls(made):
    arguments, found = made
    assert found["distances"]["columns"][0] == ["encoder1", "before", "wasserstein"]
    assert [column[0] for column in found["distances"]["columns"]] == ["encoder1"] * 4 + ["bottleneck"] * 4
    assert found["distances"]["nulls"] == [[0.5, 0.5]] * 8
    table = pd.read_csv(arguments["tables"]["distances"])
    rows = table.query(
        "source == '0.30-0.70' and target == '0.50-0.90' and transform == 'noise' and layer == 'bottleneck'"
        " and state == 'after' and distance == 'wasserstein'"
    )
    column = found["distances"]["columns"].index(["bottleneck", "after", "wasserstein"])
    value = found["distances"]["values"][column][place(found, "0.30-0.70", "0.50-0.90", "noise")]
    assert len(rows) == 2 and value == pytest.approx(rows["value"].mean(), rel=0.01)


def test_pictures_are_those_of_the_first_seed_and_shared(made):
    arguments, found = made
    assert len(found["shown"]) == 12
    one, other = (
        found["shown"][str(place(found, source, "0.50-0.90", "noise"))] for source in ("0.30-0.70", "0.70-0.30")
    )
    assert one["image"] == other["image"] and one["mask"] == other["mask"] and one["predicted"] != other["predicted"]
    assert set(one["predicted"]) == {"kept", "batchnorm", "other"}
    with h5py.File(arguments["masks"]["0.30-0.70/seed0/noise"]) as file:
        mask = file["0.50-0.90@noise=0.1/other"][0]
    assert np.array_equal(opened(found["pool"][one["predicted"]["other"]])[..., 0], 255 * mask)
    assert found["shown"][str(place(found, "0.30-0.70", "cells"))]["mask"] is None


def test_histograms_are_of_what_moved_most(made):
    _, found = made
    layers = found["shown"]["0"]["latents"]
    assert [layer for layer, _ in layers] == ["encoder1", "bottleneck"]
    moved = [dimension[1] for dimension in layers[0][1]]
    assert len(moved) == 3 and moved == sorted(moved, reverse=True)
    _, _, low, high, *texts = layers[0][1][0]
    assert low < high and len(texts) == 3 and all(len(text) == thumbnails.BINS for text in texts)


def test_what_has_no_room_is_left_out_and_nothing_else(made, monkeypatch, tmp_path):
    arguments, whole = made
    monkeypatch.setattr(gather, "PICTURE_CHARACTERS", 8000)
    atlas(**arguments | {"atlas_path": str(tmp_path / "small.json")})
    found = json.loads((tmp_path / "small.json").read_text())
    assert 0 < len(found["shown"]) < 12 and found["iou"] == whole["iou"]
    assert sum(map(len, found["pool"])) < 8000
    used = {entry["image"] for entry in found["shown"].values()}
    for entry in found["shown"].values():
        used |= set(entry["predicted"].values()) | {entry["mask"]} - {None}
    assert used == set(range(len(found["pool"]))), "no picture that no pair shows"
    labels = {found["targets"][found["pairs"]["target"][int(number)]] for number in found["shown"]}
    assert "cells" in labels, "those without labels come first"


def test_any_first_part_of_the_order_spans_the_gains():
    rows = pd.DataFrame({"iou_before": 0.5, "iou_after": [*np.linspace(0, 1, 64), np.nan]})
    order = gather.spread(rows)
    assert sorted(order) == list(range(65)) and order[0] == 64
    for n in (8, 16, 32):
        assert np.abs(np.sort(order[1 : n + 1]) - np.arange(0, 64, 64 // n)).max() <= 64 // n


def test_the_same_inputs_give_the_same_atlas(made, tmp_path):
    arguments, _ = made
    atlas(**arguments | {"atlas_path": str(tmp_path / "again.json")})
    assert (tmp_path / "again.json").read_bytes() == Path(arguments["atlas_path"]).read_bytes()


def test_pictures_are_small_and_true():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    small = opened(thumbnails.image(ramp))
    assert (
        max(small.shape[:2]) <= thumbnails.SIDE
        and np.abs(small[0, :, 0] - np.linspace(1, 254, small.shape[1])).max() < 12
    )
    colours = np.zeros((40, 40, 3), np.uint8)
    colours[:20, :, 0] = 250
    assert np.array_equal(opened(thumbnails.image(colours)), colours)
    mask = np.zeros((200, 100), np.uint8)
    mask[:100] = 1
    mask[160:] = 255  # pixels that do not count are no foreground
    small = opened(thumbnails.mask(mask))
    assert small.shape[:2] == (66, 33) and small[:33].min() == 255 and small[34:].max() == 0


def test_the_fullest_bin_is_the_last_letter():
    low, high, (one, other) = thumbnails.histograms([np.linspace(0, 1, 1000), np.r_[np.zeros(900), np.ones(100)]])
    assert (low, high) == (0, pytest.approx(1, abs=0.01)) and len(one) == thumbnails.BINS
    assert other[0] == "/" and other[1] == "A" and set(one) <= set("BCDE")
    assert thumbnails.histograms([np.zeros(5)])[2][0].count("/") == 1, "a dead dimension"


def test_a_dim_image_is_stretched_whatever_a_hot_pixel_says():
    image = np.zeros((20, 50), np.uint8)
    image[:10], image[0, 0] = 40, 255
    assert np.array_equal(thumbnails.stretched(image), np.where(image, 255, 0))
    assert not thumbnails.stretched(np.full((4, 4), 7, np.uint8)).any(), "an image of one grey level"


def test_a_layer_that_a_network_lacks_is_left_out():
    """One that was trained elsewhere, say without a batch norm behind its bottleneck."""
    rng = np.random.default_rng(0)
    with h5py.File("lacking", "w", driver="core", backing_store=False) as file:
        for state in ("source", "before"):
            group = file.create_group(f"{state}/encoder1/before_relu/position")
            rows = rng.normal(size=(20, 3))
            for name, array in {"rows": rows, "mean": rows.mean(0), "covariance": np.cov(rows.T)}.items():
                group[name] = array
        found = list(gather._histograms(file, ["encoder1", "decoder1"], "before_relu"))
    assert [layer for layer, _ in found] == ["encoder1"]
