"""Rehearsal: labelled targets from the source's own images, every action on each, and what is written of them."""

import h5py
import numpy as np
import pandas as pd
import pytest

from scripts.rehearse import held_out, outcome, rehearse
from shiftgain.files import store
from shiftgain.network import checkpoint
from shiftgain.prediction import rehearsal
from shiftgain.prediction.rehearsal import COLOURS, LEVELS, SHARE, recipes
from shiftgain.prediction.scores import registry
from shiftgain.prediction.view import View
from shiftgain.shifts.transforms import TRANSFORMS
from tests.conftest import METHODS, MODEL, discs

REMEDIES = METHODS | {"balanced": {"function": "remedy", "options": {"weights": "balanced"}}}
OPTIONS = {"targets": 3, "pieces": 4, "side": 16}


def kinds(recipe):
    return [change.kind for change in recipe]


def test_recipes_begin_with_no_change_and_every_kind_by_itself():
    """Every transform of grey levels and places is rehearsed, those of colours where there are any; then pairs."""
    drawn, n = recipes(60, True, np.random.default_rng(0)), 1 + len(LEVELS | COLOURS)
    assert drawn[0] == ()
    assert [kinds(recipe) for recipe in drawn[1:n]] == [[name] for name in LEVELS | COLOURS]
    assert [recipe[0] for recipe in drawn[n : n + 2]] == [(SHARE, 0.0), (SHARE, 1.0)]
    assert set(LEVELS | COLOURS) | {"identity", "crop"} == {
        name for name, transform in TRANSFORMS.items() if transform.changes in ("images", "colours")
    }
    pairs = drawn[n + 2 :]
    assert all(len(set(kinds(pair))) == 2 for pair in pairs)
    assert sum("inversion" in kinds(pair) for pair in pairs) >= len(pairs) / 6
    assert sum(SHARE in kinds(pair) for pair in pairs) >= len(pairs) / 6


def test_levels_are_drawn_and_lie_where_they_may():
    drawn = [
        change for seed in range(30) for recipe in recipes(40, True, np.random.default_rng(seed)) for change in recipe
    ]
    for name, (low, high) in (LEVELS | COLOURS).items():
        levels = [change.level for change in drawn if change.kind == name]
        assert (
            low <= min(levels) and max(levels) <= high and TRANSFORMS[name].low <= low and high <= TRANSFORMS[name].high
        )
        assert low == high or len(set(levels)) > 20, name
    assert recipes(40, True, np.random.default_rng(7)) == recipes(40, True, np.random.default_rng(7))


@pytest.fixture(scope="module")
def labelled():
    images, masks = discs(6, 48, 0)
    return list(images), list(masks)


def made(labelled, targets=20, pieces=3, side=48, seed=0):
    return list(rehearsal.rehearse(*labelled, targets=targets, pieces=pieces, side=side, multiple=4, seed=seed))


def test_pieces_are_cut_with_their_masks(labelled):
    """Without a change each piece lies somewhere in an image of the source, as it is or mirrored, and so does its
    mask."""
    first = made(labelled, targets=1, side=20)[0]
    assert first.kinds == "identity" and first.images.shape == (3, 20, 20) == first.masks.shape
    for piece, mask in zip(first.images, first.masks, strict=True):
        places = [
            truth[i : i + 20, j : j + 20]
            for image, truth in zip(*labelled, strict=True)
            for i in range(29)
            for j in range(29)
            if any((image[i : i + 20, j : j + 20] == piece[step]).all() for step in MIRRORED)
        ]
        assert len(places) == 1 and any((places[0] == mask[step]).all() for step in MIRRORED)


MIRRORED = [np.s_[::i, ::j] for i in (1, -1) for j in (1, -1)]


def test_changes_are_those_of_the_recipe(labelled):
    targets = made(labelled)
    assert [target.kinds for target in targets[:3]] == ["identity", "brightness", "contrast"]
    negative = next(target for target in targets if target.kinds == "inversion")
    dark = [image[mask == 1].mean() < image[mask == 0].mean() for image, mask in zip(*negative[1:], strict=True)]
    assert all(dark), "discs are bright in the source"
    few, many = (target for target in targets if target.kinds == SHARE)
    usual = np.mean([mask.mean() for mask in labelled[1]])
    assert few.masks.mean() < usual < many.masks.mean()
    assert few.images.shape[1:] == (32, 32), "smaller than the image, so that shares differ"


def test_masks_move_with_their_images(labelled):
    """Discs are brighter than what is around them by 102 of 255; where the masks stayed, by 87 at most."""
    moved = [target for target in made(labelled) if target.kinds in ("zoom", "rotation", "shear", "stretch", "elastic")]
    assert len(moved) >= 5
    for target in moved:
        for image, mask in zip(target.images, target.masks, strict=True):
            assert image[mask == 1].mean() - image[mask == 0].mean() > 95, target.kinds


def test_the_same_seed_makes_the_same_targets_and_another_others(labelled):
    one, again, other = (made(labelled, targets=12, seed=seed) for seed in (0, 0, 1))
    assert all((a.images == b.images).all() and a.changes == b.changes for a, b in zip(one, again, strict=True))
    assert any(
        a.images.shape != b.images.shape or (a.images != b.images).any() for a, b in zip(one, other, strict=True)
    )


def test_of_large_pieces_there_are_fewer(labelled, monkeypatch):
    monkeypatch.setattr(rehearsal, "TARGET_PIXELS", 5 * 48**2)
    assert len(made(labelled, targets=1, pieces=9)[0].images) == 5
    assert len(made(labelled, targets=1, pieces=4)[0].images) == 4
    monkeypatch.setattr(rehearsal, "TARGET_PIXELS", 1)
    assert len(made(labelled, targets=1, pieces=9)[0].images) == 3


@pytest.fixture
def arguments(tmp_path, domain_path, network):
    model = str(tmp_path / "model.h5")
    checkpoint.save(model, network, MODEL, {})
    return {
        "model_path": model,
        "source_path": str(domain_path),
        "rehearsal_path": str(tmp_path / "rehearsal.csv"),
        "source": "discs",
        "seed": 3,
        "methods": REMEDIES,
        "options": OPTIONS,
        "images": 6,
        "rows": 30,
        "threshold": 0.5,
        "device": "cpu",
    }


def test_a_row_per_target_and_action(arguments):
    rehearse(**arguments)
    table = pd.read_csv(arguments["rehearsal_path"])
    assert list(table["target"]) == [0] * 3 + [1] * 3 + [2] * 3 and set(table["seed"]) == {3}
    assert list(table["method"]) == ["source", "batchnorm", "balanced"] * 3
    assert list(table["kinds"].unique()) == ["identity", "brightness", "contrast"]
    assert {*registry.SCORES, *registry.DOMAINS} < set(table) and table["iou"].between(0, 1).all()
    assert (table.loc[table["method"] == "source", "gain_sd"] == 0).all() and (table["gain_sd"] > 0).any()


def test_neither_training_nor_test_images_bear_on_it(arguments, domain_path):
    """Those of training are what remedies compare with, without their masks; of the test split nothing is read."""
    rehearse(**arguments)
    first = pd.read_csv(arguments["rehearsal_path"])
    with h5py.File(domain_path, "r+") as file:
        del file["test"], file["train"]["masks"]
    rehearse(**arguments)
    assert pd.read_csv(arguments["rehearsal_path"]).equals(first)
    with h5py.File(domain_path, "r+") as file:
        file["adapt"]["masks"][:] = 1 - file["adapt"]["masks"][:]
    rehearse(**arguments)
    assert not pd.read_csv(arguments["rehearsal_path"])["iou"].equals(first["iou"])


def test_images_of_a_user_that_a_network_has_seen_are_left_out(tmp_path):
    """Of the images to adapt to those not trained on, by number; where all were seen, those of validation."""
    path = tmp_path / "mine.h5"
    with store.create(path) as file:
        for split, n in (("validation", 2), ("adapt", 5)):
            store.append(file.create_group(split), *discs(n, 16, n))
            store.put_json(file[split], "look", {})
        store.put_json(file["adapt"], "trained_on", {"mine": [0, 1, 3], "other": list(range(5))})
    with h5py.File(path) as file:
        images, masks = held_out(file, "mine")
        np.testing.assert_array_equal(images, file["adapt"]["images"][:][[2, 4]])
        np.testing.assert_array_equal(masks, file["adapt"]["masks"][:][[2, 4]])
        np.testing.assert_array_equal(held_out(file, "other")[0], file["validation"]["images"][:])


def test_the_outcome_by_hand():
    """Of two images one is right as it is and under the action, the other only under the action; a pixel counts not."""
    masks = np.zeros((2, 2, 2), np.uint8)
    masks[:, 0] = 1
    masks[0, 1, 1] = store.IGNORED
    kept, action = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    kept[0, 0], action[:, 0], action[0, 1, 1] = 1, 1, 1
    kept[1, 0, 0] = 1
    views = [View([p], [p], np.ones((2, 1)), np.ones(2)) for p in (action, kept)]
    found = outcome(*views, masks)
    assert found["iou"] == 1 and found["gain_sd"] == pytest.approx(np.std([0, 0.5], ddof=1))
    assert outcome(views[1], views[1], masks) == {"iou": 0.75, "gain_sd": 0}
    masks, some = np.array([[[1, 1], [1, 1]], [[1, 0], [0, 0]]], np.uint8), np.zeros((2, 2, 2), np.float32)
    some[:, 0, 0] = 1
    view = View([some], [some], np.ones((2, 1)), np.ones(2))
    assert outcome(view, view, masks)["iou"] == pytest.approx(2 / 5), "over the pixels of all images, as in the study"
