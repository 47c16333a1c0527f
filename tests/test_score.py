"""Label-free scores: exact cases, what they say of empty and full masks, and that no target mask is read."""

import copy
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from scipy.stats import skew

from scripts.adapt import adapt
from scripts.score import score
from shiftgain.adaptation import batchnorm, remedies
from shiftgain.files import store
from shiftgain.network import checkpoint
from shiftgain.network.tiles import tiles_of
from shiftgain.network.unet import UNet
from shiftgain.prediction import shapes, states
from shiftgain.prediction.scores import confidence, grey_levels, reference
from shiftgain.prediction.scores import masks as mask_scores
from shiftgain.prediction.scores import registry as scores
from shiftgain.prediction.scores.log_ratio import LARGEST_LOG_RATIO
from shiftgain.prediction.states import Action, labelled_view, looked_at, middle, refreshed, views
from shiftgain.prediction.view import View
from tests.conftest import METHODS, MODEL


def square(n=2, size=8, low=2, high=6):
    """Masks (n, size, size) of one square each: 16 of 64 pixels."""
    masks = np.zeros((n, size, size), bool)
    masks[:, low:high, low:high] = True
    return masks


def viewed(masks, p_inside=0.9, p_outside=0.1, grey=(0.7, 0.3), labels=None, noise=0.0):
    """A view that predicts ``masks`` with these probabilities, of an image whose classes have these grey levels."""
    rng = np.random.default_rng(0)
    images = np.where(masks if labels is None else labels, *grey) + noise * rng.normal(size=masks.shape)
    p = np.where(masks, p_inside, p_outside).astype(np.float32)
    rows = np.stack([p.reshape(-1), images.reshape(-1)], axis=1).astype(float)
    labels = None if labels is None else [labels]
    return View([images.astype(np.float32)], [p], rows, p.reshape(-1), 0.5, labels, [p[:1]], [1 - p[:1]])


SOURCE = viewed(square(), labels=square(), noise=0.02)
SAME = viewed(square(), noise=0.02)
EMPTY, FULL = (viewed(np.full((2, 8, 8), value), noise=0.02) for value in (False, True))
COMPLEMENT = viewed(~square(), noise=0.02)


# score -> what it is where the prediction on the target is that on the source
@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "entropy": -(0.9 * np.log(0.9) + 0.1 * np.log(0.1)),
        "difference_of_confidences": 0,
        "soft_dice": 2 * 0.9 * 16 / (0.9 * 16 + 0.1 * 48 + 16),
        "expected_iou": 0.9 * 16 / (16 + 0.1 * 48),
        "foreground": 0.25,
        "foreground_change": 0,
        "foreground_distance": 0,
        "cot": 0.1,
        "logit_skewness": 0,
        "latent_contrast": 0,
        "class_distance": 0,
        "inner_uncertainty": 0,
        "mean_probability_change": 0,
        "share_spread_change": 0,
        "empty_change": 0,
        "consistency": 1,
        "consistency_change": 0,
        "path_agreement": 0,
        "moved": 0,
        "energy": 0,
        "separation": 0,
        "edge_change": 0,
        "perimeter_change": 0,
        "roughness_change": 0,
        "component_change": 0,
        "hole_change": 0,
        "length_change": 0,
    }.items(),
)
def test_no_shift(name, expected):
    assert scores.SCORES[name](SOURCE, SAME) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", scores.SCORES)
@pytest.mark.parametrize("state", [SAME, EMPTY, FULL, COMPLEMENT], ids=["same", "empty", "full", "complement"])
def test_scores_are_finite_for_every_prediction(name, state):
    value = scores.SCORES[name](SOURCE, state)
    assert type(value) is float and np.isfinite(value)


@pytest.mark.parametrize("name", scores.DOMAINS)
def test_domain_scores_are_finite_for_a_flat_image(name):
    flat = viewed(square(), grey=(0.5, 0.5))
    assert np.isfinite(scores.DOMAINS[name](SOURCE, flat))


def test_images_that_look_empty_are_counted():
    some = np.concatenate([square(1), np.zeros((3, 8, 8), bool)])
    assert mask_scores.empty_change(SOURCE, viewed(some)) == 0.75
    assert mask_scores.share_spread_change(SOURCE, viewed(some)) > 1


def test_empty_and_full_masks_are_as_far_as_a_score_goes():
    assert mask_scores.foreground_change(SOURCE, EMPTY) < -4 and mask_scores.foreground_change(SOURCE, FULL) > 4
    assert mask_scores.perimeter_change(SOURCE, EMPTY) == -LARGEST_LOG_RATIO


def test_grey_polarity_turns_with_the_prediction():
    right, wrong = (grey_levels.grey_polarity(SOURCE, viewed(square(), grey=grey)) for grey in ((0.7, 0.3), (0.3, 0.7)))
    assert right == -wrong > 0.5


def test_grey_skewness_turns_with_polarity_and_vanishes_at_one_half():
    flipped = viewed(square(), grey=(0.3, 0.7))
    half = viewed(np.tile([[True, False]], (2, 8, 4)))
    values = [grey_levels.grey_skewness(SOURCE, state) for state in (SAME, flipped, half)]
    assert values[0] == pytest.approx(skew(SAME.grey, axis=None), rel=1e-4)
    assert values[0] == pytest.approx(-values[1], rel=0.05) and values[2] == pytest.approx(0, abs=1e-5)
    assert 3 * grey_levels.grey_shape_inverted(SOURCE, flipped) < grey_levels.grey_shape(SOURCE, flipped)


def test_brightness_and_contrast_are_undone_by_the_shape_of_grey_levels():
    moved = viewed(square(), grey=(0.5 + 0.2, 0.3 + 0.2), noise=0.01)
    assert grey_levels.grey_shape(SOURCE, moved) == pytest.approx(0, abs=1e-4)
    assert grey_levels.grey_shift(SOURCE, moved) == pytest.approx((0.55 - 0.4) / SOURCE.grey.std(), rel=0.02)
    assert grey_levels.grey_scale(SOURCE, moved) == pytest.approx(np.log(0.5), abs=1e-3)


def test_atc_returns_the_accuracy_of_the_source_on_the_source():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(1, 100, 100)).astype(np.float32)
    labels = rng.uniform(size=p.shape) < p
    rows = np.ones((4, 1))
    source = View([p], [p], rows, np.ones(4), labels=[labels])
    accuracy = ((p > 0.5) == labels).mean()
    assert confidence.atc(source, source) == pytest.approx(accuracy, abs=1e-3)


def test_calibration_finds_the_temperature():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (1, 300, 300))
    labels = rng.uniform(size=true.shape) < 1 / (1 + np.exp(-true))
    overconfident = (1 / (1 + np.exp(-(3 * true + 1)))).astype(np.float32)
    source = View([overconfident], [overconfident], np.ones((4, 1)), np.ones(4), labels=[labels])
    slope, offset = source.calibration
    assert slope == pytest.approx(1 / 3, abs=0.02) and offset == pytest.approx(-1 / 3, abs=0.03)
    expected = mask_scores.own_iou(source, source)
    assert confidence.expected_iou_calibrated(source, source) == pytest.approx(expected, abs=0.01)
    assert confidence.expected_iou(source, source) > expected + 0.1


def test_comparisons():
    assert mask_scores.agreement(SOURCE, SAME, COMPLEMENT) == 0
    assert mask_scores.complement_agreement(SOURCE, SAME, COMPLEMENT) == 1
    assert mask_scores.agreement(SOURCE, SAME, FULL) == 0.25
    assert mask_scores.foreground_moved(SOURCE, SAME, FULL) == 0.75


def test_the_reference_is_the_bright_or_the_dark_class_whatever_the_network_says():
    masks = square(size=16, low=3, high=12)
    source = viewed(masks, labels=masks, noise=0.02)
    assert reference.own_reference(source, source) > 0.85, "smoothing takes corners off"
    for grey, name in (((0.9, 0.1), "reference_iou"), ((0.1, 0.9), "reference_iou_flipped")):
        images = viewed(masks, grey=grey, noise=0.02)
        for predicted in (masks, ~masks):
            state = viewed(predicted, labels=None)
            expected = mask_scores.overlap(predicted.reshape(-1), images.reference(grey[0] > grey[1]))
            assert getattr(reference, name)(source, images, state) == expected
            assert reference.explained(source, images, state) > 0.85
        change = "reference_change" + name.removeprefix("reference_iou")
        assert scores.DOMAINS[change](source, images) == pytest.approx(0, abs=0.2)
        assert (reference.polarity_margin(source, images) > 0) == (name == "reference_iou")
        assert reference.resolved_iou(source, images, state) == getattr(reference, name)(source, images, state)
    salt = viewed(np.random.default_rng(0).uniform(size=masks.shape) < 0.5)
    assert reference.explained(source, source, salt) < 0.1


def test_the_reference_sees_past_uneven_illumination():
    masks = square(size=16, low=3, high=12)
    even = viewed(masks, labels=masks, noise=0.02)
    ramp = np.linspace(-0.5, 0.5, 16, dtype=np.float32)
    uneven = View(
        [batch + ramp[:, None] for batch in even.images], even.probabilities, even.rows, even.row_probabilities
    )
    plain = [ndimage.uniform_filter(batch, (0, 3, 3)) for batch in uneven.images]
    assert mask_scores.overlap(np.concatenate(plain).reshape(-1) > np.median(plain), masks.reshape(-1)) < 0.6
    assert mask_scores.overlap(uneven.reference(even.bright), masks.reshape(-1)) > 0.8


@pytest.mark.parametrize("name", scores.REFERENCES)
@pytest.mark.parametrize("state", [SAME, EMPTY, FULL], ids=["same", "empty", "full"])
def test_references_are_finite_for_flat_images_too(name, state):
    for images in (SAME, viewed(square(), grey=(0.5, 0.5))):
        assert np.isfinite(scores.REFERENCES[name](SOURCE, images, state))


# Shapes


def test_perimeter_and_components_by_hand():
    masks = square(2)
    assert shapes.perimeter_per_area([masks]) == 1  # 16 sides, 16 pixels
    assert shapes.component_size([masks]) == 16, "squares of two images do not touch"
    masks[:, 0, 0] = True
    assert shapes.component_size([masks]) == 17 / 2
    assert shapes.component_size([masks, masks]) == 17 / 2, "batches add up"


def test_join_counts_of_salt_are_those_of_chance_and_equal_those_of_the_complement():
    salt = np.random.default_rng(0).uniform(size=(4, 64, 64)) < 0.2
    assert shapes.join_count_ratio([salt]) == pytest.approx(1, abs=0.03)
    assert shapes.join_count_ratio([~salt]) == shapes.join_count_ratio([salt])
    assert shapes.join_count_ratio([square()]) < 0.5
    assert shapes.correlation_length([salt]) == pytest.approx(0.5, abs=0.2), "half of the first lag"


def test_changes_of_stripes():
    stripes = np.tile(np.arange(16) % 4 < 2, (1, 16, 1))
    assert shapes.changes([stripes], 4) == 0
    assert shapes.changes([stripes], 2) == 0.5, "every pair along rows, none along columns"


# The stage


@pytest.fixture
def arguments(tmp_path, domain_path, targets_path, network):
    model, adapted = (str(tmp_path / f"{name}.h5") for name in ("model", "adapted"))
    checkpoint.save(model, network, MODEL, {})
    adapt(model, str(domain_path), str(targets_path), adapted, METHODS, 0, "cpu")
    return {
        "model_path": model,
        "source_path": str(domain_path),
        "targets_path": str(targets_path),
        "adapted_path": adapted,
        "partner_paths": {},
        "scores_path": str(tmp_path / "scores.csv"),
        "source": "discs",
        "seed": 3,
        "methods": ["batchnorm"],
        "images": 6,
        "rows": 30,
        "threshold": 0.5,
        "device": "cpu",
    }


def test_a_row_per_target_and_action_and_a_column_per_score(arguments):
    score(**arguments)
    table = pd.read_csv(arguments["scores_path"])
    assert list(table["level"]) == [0, 0, 0.2, 0.2] and set(table["seed"]) == {3}
    assert list(table["method"]) == ["source", "batchnorm"] * 2
    registries = (scores.SCORES, scores.DOMAINS, scores.REFERENCES, scores.COMPARISONS)
    assert {name for registry in registries for name in registry} < set(table)
    assert table["seed_agreement"].isna().all()
    names = [name for registry in registries for name in registry]
    assert np.isfinite(table[names]).all(axis=None)


def test_target_masks_are_never_read(arguments, tmp_path):
    score(**arguments)
    blind = tmp_path / "blind.h5"
    shutil.copy(arguments["targets_path"], blind)
    with h5py.File(blind, "r+") as file:
        for group in file.values():
            for split in ("adapt", "test"):
                del group[split]["masks"]
            del group["test"]
    again = arguments | {"targets_path": str(blind), "scores_path": str(tmp_path / "again.csv")}
    score(**again)
    assert Path(arguments["scores_path"]).read_bytes() == Path(again["scores_path"]).read_bytes()


def test_of_the_source_only_the_validation_split_is_read(arguments, domain_path):
    score(**arguments)
    before = Path(arguments["scores_path"]).read_bytes()
    with h5py.File(domain_path, "r+") as file:
        for split in ("train", "adapt", "test"):
            del file[split]
    score(**arguments)
    assert Path(arguments["scores_path"]).read_bytes() == before


def test_the_first_images_are_looked_at_and_no_others(arguments, domain_path, targets_path):
    """Of images 0 to 7 the first four: what comes after may be anything, the fourth may not."""
    arguments["images"] = 4
    score(**arguments)
    first_four = pd.read_csv(arguments["scores_path"])
    for number, same in ((4, True), (3, False)):
        with h5py.File(domain_path, "r+") as source, h5py.File(targets_path, "r+") as targets:
            for split in (source["validation"], targets["discs"]["adapt"]):
                split["images"][number:] = 255 - split["images"][number:]
            source["validation"]["masks"][number:] = 1
        score(**arguments)
        assert pd.read_csv(arguments["scores_path"]).equals(first_four) == same


def test_at_home_images_that_were_trained_on_are_not_looked_at(arguments, targets_path):
    """Of images 0 to 7 a network on their domain has seen two: what they show bears on no score."""
    with h5py.File(targets_path, "r+") as targets:
        for group in targets.values():
            store.put_json(group["adapt"], "trained_on", {"discs": [1, 4]})
    adapt_source(arguments, METHODS, "discs")
    score(**arguments)
    before = pd.read_csv(arguments["scores_path"])
    with h5py.File(targets_path, "r+") as targets:
        for group in targets.values():
            group["adapt/images"][1] = 255 - group["adapt/images"][1]
    score(**arguments)
    assert pd.read_csv(arguments["scores_path"]).equals(before)
    score(**arguments | {"source": "another"})
    assert not pd.read_csv(arguments["scores_path"])["entropy"].equals(before["entropy"])


def predictions(model, batch, state):
    """The probabilities (n, H, W) of a network with these statistics, no library code between."""
    with torch.no_grad():
        changed = copy.deepcopy(model)
        changed.load_state_dict(model.state_dict() | state)
        return torch.sigmoid(changed.eval()(batch))[:, 0].numpy()


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


def adapt_source(arguments, methods, home=""):
    """Put what ``methods`` make of the targets into the place from which the stage reads it."""
    paths = [arguments[f"{name}_path"] for name in ("model", "source", "targets", "adapted")]
    adapt(*paths, methods, 0, "cpu", home)


def test_each_state_is_of_the_images_it_says(arguments, network, domain_path, targets_path, tmp_path):
    """As it is, and adapted to all images, the network sees the first ones. A partner adapts by its own statistics."""
    torch.manual_seed(1)
    partner = UNet(**MODEL).requires_grad_(False).eval()
    paths = {name: str(tmp_path / f"partner-{name}.h5") for name in ("model", "adapted")}
    checkpoint.save(paths["model"], partner, MODEL, {})
    methods = {"mean_only": {"function": "mean_only", "options": {}}} | METHODS
    adapt_source(arguments, methods)
    adapt(paths["model"], str(domain_path), str(targets_path), paths["adapted"], methods, 0, "cpu")
    with h5py.File(targets_path) as targets:
        images = torch.from_numpy(targets["discs@brightness=0.2"]["adapt"]["images"][:])[:, None] / 255
    shown = images[:6]
    adapted = batchnorm.batchnorm(network, tiles_of([images], 2))
    p = {"source": predictions(network, shown, {}), "batchnorm": predictions(network, shown, adapted)}
    threshold = float(np.quantile(p["source"], 0.4))
    masks = {name: values > threshold for name, values in p.items()}
    score(**arguments | {"partner_paths": paths, "threshold": threshold})
    found = pd.read_csv(arguments["scores_path"]).query("level == 0.2").set_index("method")
    for name, values in p.items():
        row = found.loc[name]
        assert row["foreground"] == pytest.approx(masks[name].mean(), abs=1e-3)
        assert row["entropy"] == pytest.approx(
            -np.mean(values * np.log(values) + (1 - values) * np.log1p(-values)), abs=1e-5
        )
        # Grey levels are of the images as they are, whatever the network sees; the discs of the source are bright.
        inside, outside = (shown[:, 0].numpy()[chosen].mean() for chosen in (masks[name], ~masks[name]))
        assert row["grey_polarity"] == pytest.approx((inside - outside) / shown.numpy().std(), abs=5e-3)
        assert row["agreement"] == pytest.approx(overlap(masks["source"], masks[name]), abs=2e-3)
        state = {} if name == "source" else batchnorm.batchnorm(partner, tiles_of([images], 2))
        other = predictions(partner, shown, state) > threshold
        assert row["seed_agreement"] == pytest.approx(overlap(masks[name], other), abs=2e-3)
    with h5py.File(domain_path) as file:
        home, true = (file["validation"][name][:6] for name in ("images", "masks"))
    own = predictions(network, torch.from_numpy(home)[:, None] / 255, {}) > threshold
    row = found.loc["source"]
    assert row["own_iou"] == pytest.approx(overlap(own, true.astype(bool)), abs=2e-3)
    assert row["grey_shift"] == pytest.approx((float(shown.mean()) - home.mean() / 255) / (home / 255).std(), rel=1e-4)


def test_how_far_the_statistics_moved(network):
    """Root mean square of the means, in deviations of where they came from; no distance of a state from itself."""
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    end = refreshed(network, [images])
    found = views(network, [images], {"batchnorm": end, "turned": turned_state(network, images)}, 12, 0.5)
    own = network.state_dict()
    names = [name for name in own if name.endswith("running_mean")]
    moves = [(end.state[n] - own[n]) / own[n.replace("mean", "var")].clamp(min=1e-5).sqrt() for n in names]
    assert found["batchnorm"].moved == pytest.approx(min(10, float(torch.cat(moves).square().mean().sqrt())), rel=1e-4)
    assert found["source"].moved == 0 == found["batchnorm"].off_refresh and found["source"].off_refresh > 0
    assert [found[name].turned for name in ("source", "batchnorm", "turned")] == [False, False, True]


def test_a_kept_network_is_on_the_way_to_what_stage_adapt_made(network):
    """A refresh of all images of the target, where only some of them are looked at."""
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    end, own = refreshed(network, [2 * images]), network.state_dict()
    found = views(network, [images[:6]], {"batchnorm": end}, 12, 0.5)["source"]
    middle_state = {name: (own[name] + tensor) / 2 for name, tensor in end.state.items()}
    np.testing.assert_allclose(found.halfway[0], predictions(network, images[:6], middle_state), atol=1e-5)


def turned_state(network, images):
    return Action(remedies.refreshed(network, tiles_of([images], 2), polarity="turned").state)


def test_what_is_half_way_and_what_withstands_noise(network):
    """The kept network is half-way to a plain refresh, another state half-way back; noise is on the first six
    images."""
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    end = refreshed(network, [images])
    found = views(network, [images], {"batchnorm": end}, 12, 0.5)
    own = network.state_dict()
    middle_state = {name: (own[name] + tensor) / 2 for name, tensor in end.state.items()}
    for view in found.values():
        np.testing.assert_allclose(view.halfway[0], predictions(network, images[:6], middle_state), atol=1e-5)
        assert view.perturbed[0].shape == (6, 16, 16) and 0 <= view.consistency < 1
    again = views(network, [images], {"batchnorm": end}, 12, 0.5)["source"]
    np.testing.assert_array_equal(found["source"].perturbed[0], again.perturbed[0], err_msg="the same noise each time")
    turned = turned_state(network, images)
    between = {name: (own[name] + tensor) / 2 for name, tensor in turned.state.items() if "running" in name}
    between |= {name: turned.state[name] for name in ("input_mean", "input_sd")}
    view = views(network, [images], {"turned": turned}, 12, 0.5)["turned"]
    np.testing.assert_allclose(view.halfway[0], predictions(network, images[:6], between), atol=1e-5)


def test_each_image_has_its_own_statistics_where_the_action_says_so(network, monkeypatch):
    monkeypatch.setattr(remedies, "SMALLEST_CONTRAST", -1e9)
    monkeypatch.setattr(remedies, "SMALLEST_STABILITY", 0)
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    images = images * torch.tensor([0.3, 0.6, 1.0])[:, None, None, None]
    domain = refreshed(network, [images]).state
    own = remedies.Own(part=1.0, share=0.5, contrast=1.0, stability=1.0, weights="plain", polarity="kept")
    found = views(network, [images], {"image": Action(domain, own)}, 12, 0.5)["image"]
    for number in range(3):
        alone = images[number : number + 1]
        state = remedies.refreshed(network, tiles_of([alone], 2)).state
        np.testing.assert_allclose(found.probabilities[0][number], predictions(network, alone, state)[0], atol=1e-4)
    assert found.own_part == 1.0
    part = Action(
        domain, remedies.Own(part=0.3, share=0.5, contrast=1.0, stability=1.0, weights="plain", polarity="kept")
    )
    assert views(network, [images], {"image": part}, 12, 0.5)["image"].own_part == 0.3


def test_the_reference_is_the_source_with_its_masks(network, domain_path):
    with h5py.File(domain_path) as file:
        found = labelled_view(network, file["validation"], 4, 8, 0.3, torch.device("cpu"))
        images, masks = (file["validation"][name][:4] for name in ("images", "masks"))
    np.testing.assert_allclose(np.concatenate(found.images), images / 255, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate(found.labels), masks.astype(bool))
    assert found.threshold == 0.3
    middle_of_all = float(np.median(np.concatenate(found.probabilities)[:, :2]))
    with h5py.File(domain_path, "r+") as file:
        file["validation/masks"][:, :2] = store.IGNORED
        found = labelled_view(network, file["validation"], 4, 8, middle_of_all, torch.device("cpu"))
    predicted = np.concatenate(found.probabilities) > middle_of_all
    assert 0 < predicted[:, :2].mean() < 1
    masks[:, :2] = predicted[:, :2]
    np.testing.assert_array_equal(np.concatenate(found.labels), masks.astype(bool), err_msg="there is a prediction")


@pytest.mark.parametrize(
    "number",
    [
        lambda view: mask_scores.own_iou(view, view),
        lambda view: view.atc_threshold,
        lambda view: view.calibration,
        lambda view: np.ravel(view.class_calibration),
    ],
    ids=["own_iou", "atc", "calibration", "class_calibration"],
)
def test_what_compares_with_the_masks_takes_the_pixels_that_count(number):
    rng = np.random.default_rng(0)
    p, labels = rng.uniform(size=(3, 8, 8)).astype(np.float32), rng.uniform(size=(3, 8, 8)) > 0.5
    counted = np.zeros(labels.shape, bool)
    counted[:, :3] = True
    nothing = {"images": [p], "rows": np.zeros((1, 1)), "row_probabilities": np.zeros(1)}
    part = View(**nothing, probabilities=[p[:, :3]], labels=[labels[:, :3]])
    for rest in (labels, ~labels):
        whole = View(**nothing, probabilities=[p], labels=[np.where(counted, labels, rest)], counted=[counted])
        assert number(whole) == pytest.approx(number(part))
    assert number(View(**nothing, probabilities=[p], labels=[labels])) != pytest.approx(number(part))


def test_features_are_drawn_at_the_same_places_of_each_image_whatever_the_network(network):
    images = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    places = []
    for drawn_from in (network, UNet(**MODEL).requires_grad_(False).eval()):
        found = views(drawn_from, [images[:3], images[3:]], {}, 20, 0.5)["source"]
        p, at = np.concatenate(found.probabilities).reshape(5, -1), found.row_probabilities.reshape(5, 4)
        places.append([[set(np.flatnonzero(p[n] == value)) for value in at[n]] for n in range(5)])
    common = [[first & second for first, second in zip(*image, strict=True)] for image in zip(*places, strict=True)]
    assert all(place for image in common for place in image)
    assert common[0] != common[1] != common[2], "other places in other images"


def test_a_partner_that_is_the_network_itself_agrees(arguments):
    partner = {"model": arguments["model_path"], "adapted": arguments["adapted_path"]}
    score(**arguments | {"partner_paths": partner})
    table = pd.read_csv(arguments["scores_path"])
    assert (table["seed_agreement"] == 1).all()


def test_without_methods_only_the_network_as_it_is_is_scored(arguments):
    score(**arguments | {"methods": []})
    table = pd.read_csv(arguments["scores_path"])
    assert list(table["method"]) == ["source"] * 2 and table["path_agreement"].notna().all()


def test_a_view_predicts_what_the_network_predicts(network):
    images = torch.rand(5, 1, 18, 20, generator=torch.Generator().manual_seed(0))
    found = views(network, [images[:3], images[3:]], {}, 10, 0.5)["source"]
    padded = torch.nn.functional.pad(images, (0, 0, 0, 2), mode="reflect")
    expected = torch.sigmoid(network(padded))[:, 0, :18].numpy()
    np.testing.assert_allclose(np.concatenate(found.probabilities), expected, atol=1e-6)
    assert found.rows.shape == (10, 4) and found.row_probabilities.shape == (10,)
    head = network.head.weight[0, :, 0, 0].double(), network.head.bias.double()
    logits = torch.from_numpy(found.rows) @ head[0] + head[1]
    np.testing.assert_allclose(torch.sigmoid(logits).numpy(), found.row_probabilities, atol=1e-5)


def test_no_more_of_the_source_is_read_than_is_looked_at(network, domain_path, monkeypatch):
    """The validation split may be larger than the memory of a device: batches after the last image stay on disk."""
    monkeypatch.setattr(states, "BATCH_PIXELS", 2 * 16**2)
    read, batches = [], store.batches

    def counted(split, pixels):
        for images, masks in batches(split, pixels):
            read.append(len(images))
            yield images, masks

    monkeypatch.setattr(store, "batches", counted)
    with h5py.File(domain_path) as file:
        found = labelled_view(network, file["validation"], 3, 8, 0.5, torch.device("cpu"))
        masks = file["validation"]["masks"][:3]
    assert read == [2, 2], "of three pairs of images, the last stays on disk"
    assert sum(len(batch) for batch in found.images) == 3
    np.testing.assert_array_equal(np.concatenate(found.labels), masks.astype(bool))


def test_a_split_of_several_sizes(tmp_path, network):
    with store.create(tmp_path / "mixed.h5") as file:
        rng = np.random.default_rng(0)
        for size in (16, 24):
            images = rng.integers(0, 255, (3, size, size), np.uint8)
            store.append(file.create_group("adapt") if size == 16 else file["adapt"], images, None)
        batches = [torch.from_numpy(batch)[:, None] / 255 for batch in store.image_batches(file["adapt"], 10**6)]
    found = views(network, batches, {}, 12, 0.5)["source"]
    assert len(found.grey) == 3 * 16**2 + 3 * 24**2 == len(found.p)
    assert all(np.isfinite(function(SOURCE, found)) for name, function in scores.SCORES.items()
               if name not in ("latent_contrast", "class_distance", "energy"))  # fmt: skip


def test_of_large_images_the_middle_is_looked_at_and_fewer_of_them(network, domain_path, monkeypatch):
    """So many pixels of a domain at most, the same of images and masks; small images are looked at whole."""
    with h5py.File(domain_path) as file:
        split = file["validation"]
        images, masks = (split[name][:4] for name in ("images", "masks"))
        monkeypatch.setattr(states, "FEWEST_IMAGES", 4)
        monkeypatch.setattr(states, "VIEW_PIXELS", 5 * 16 * 16)
        assert torch.cat(looked_at(split, 6, torch.device("cpu"))).shape == (5, 1, 16, 16)
        monkeypatch.setattr(states, "VIEW_PIXELS", 4 * 8 * 8)
        found = labelled_view(network, split, 6, 8, 0.5, torch.device("cpu"))
        (batch,) = looked_at(split, 6, torch.device("cpu"))
    np.testing.assert_allclose(np.concatenate(found.images), images[:, 4:12, 4:12] / 255, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate(found.labels), masks[:, 4:12, 4:12].astype(bool))
    np.testing.assert_allclose(batch[:, 0], images[:, 4:12, 4:12] / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "pixels", "rest"),
    [((2, 30, 40, 3), 1200, (30, 40)), ((1, 300, 400), 1200, (30, 40)), ((1, 1, 90), 9, (1, 9))],
)
def test_the_middle_keeps_the_proportions(shape, pixels, rest):
    given = middle(np.zeros(shape, np.uint8), pixels)
    assert given.shape[1:3] == rest
