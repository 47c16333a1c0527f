"""The figures, from a small study whose scores are made up by rule."""

import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.contour import ContourSet
from matplotlib.patches import Polygon, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from seaborn.utils import relative_luminance

from scripts.draw import MODULES, draw
from shiftgain.files import store
from shiftgain.findings.cases import CASES, example_cases
from shiftgain.findings.pairs import abroad, of_jobs, over_seeds, read_pairs
from shiftgain.findings.summaries import by_method, by_training, method_scores
from shiftgain.report import of_images, of_latents, of_outcomes, of_remedies, page, panels, predictor_figures
from shiftgain.report.contents import figures
from shiftgain.report.latent_tables import channel_histograms
from shiftgain.report.panels import QUANTITIES
from shiftgain.report.pictures import (
    Example,
    Gallery,
    PictureRow,
    first_example,
    gallery,
    predicted_masks,
    scored_splits,
)
from shiftgain.study.names import KEY, PAIR, target_name
from tests.made_up import FIGURES, GRID, TEXTS, spec_of, text_of, two_sources, write_domain


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> dict:
    drawn, _ = two_sources(tmp_path_factory.mktemp("study"))
    draw(**drawn)
    return drawn


def test_the_table_of_figures_agrees_with_functions_and_captions():
    for name, entry in figures("draw").items():
        function = getattr(MODULES[entry["of"]], name)
        assert list(inspect.signature(function).parameters) == entry["needs"], name
    for name, entry in figures("draw", "compare", "predict").items():
        assert page.paragraphs(str(TEXTS / f"{name}.rst")), name
        assert {"category", "heading", "link", "alternative"} <= set(entry), name


def test_a_legend_of_long_names_stays_on_the_figure():
    names = [f"0.30-0.70~{name}" for name in ("momentum_high", "momentum_low", *(f"rate_{k}" for k in range(7)))]
    curves = pd.DataFrame({"domain": names, "seed": 0, "epoch": 1, "loss": 0.5, "validation_iou": 0.5})
    figure = of_outcomes.training(curves, names)
    figure.draw_without_rendering()
    box, page = figure.legends[0].get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and len(figure.legends[0].get_texts()) == len(names)


def test_the_rows_of_the_distances_are_named_on_the_figure():
    key = {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "state": "before"}
    key |= {"null": 0.1, "group": "kept"}
    names = ["bhattacharyya", "wasserstein_diagonal"]
    table = pd.DataFrame([key | {"distance": name, "value": 0.2, "gain_iou": 1.0} for name in names])
    none = pd.DataFrame(columns=[*key, "outcome", "distance", "spearman", "ci_low", "ci_high"])
    figure = of_latents.distances(table, none)
    figure.draw_without_rendering()
    label = figure.axes[0].yaxis.label
    assert label.get_text().startswith("bottleneck") and label.get_window_extent().x0 >= figure.bbox.x0


def test_every_figure_says_what_it_shows(arguments):
    texts = {name: text_of(path) for name, path in arguments["figure_paths"].items()}
    expected = {
        "domains": ["mask mean 0.3", "background", "noise", "cells"],
        "training": ["epoch", "0.30-0.70", "0.70-0.30"],
        "maps": ["source 0.30-0.70", "IoU before", "IoU after", "gain", "pixel ceiling", ".88"],
        "transforms": ["noise", "polarity kept", "polarity flipped", "level"],
        "predictions": [case.name for case in CASES],
        "latents": ["works", "fails", "harms", "encoder1", "bottleneck", "after adaptation"],
        "distances": ["wasserstein", "bhattacharyya", "bottleneck", "-0.72 [-0.82, -0.62]"],
        "correlations": ["with gain", "with IoU after", "wasserstein"],
        "methods": ["batchnorm", "other", "mean gain, polarity flipped"],
        "remedies": ["home (2 pairs)", "polarity", "kept", "other", "best", "yardsticks"],
        "decomposition": ["works: 0.30-0.70", "foreground 0.30", "appearance part", "bottleneck"],
        "closed_form": ["closed form", "pairs: r = ", "polarity"],
        "depth": ["Spearman with gain", "encoder1", "bottleneck", "before relu"],
        "channels": ["no variant with another weight decay"],
    }
    assert set(expected) == set(FIGURES), "every figure has its words"
    for name, words in expected.items():
        for word in words:
            assert word in texts[name].replace("−", "-"), f"{name} lacks '{word}'"
    assert "does not occur" not in texts["predictions"]


NUMBER = r"-?\d+\.?\d*(?:e-?\d+)?"
SVG = "{http://www.w3.org/2000/svg}"
INVISIBLE = ("defs", "metadata", "clipPath")


def seen(element: Element) -> Iterator[Element]:
    """What is drawn, in its order."""
    yield element
    for child in element:
        if child.tag not in [SVG + name for name in INVISIBLE]:
            yield from seen(child)


def style(element: Element, key: str) -> str | None:
    match = re.search(rf"(?:^|[; ]){key}: ([^;]+)", element.get("style", ""))
    return match and match[1]


def middle(text: Element, place: tuple[float, float]) -> tuple[float, float]:
    """About the middle of the letters of a text that is written from, to or about ``place``."""
    size = float((style(text, "font-size") or "7px").removesuffix("px"))
    width = 0.55 * size * len("".join(text.itertext()))
    along = {"middle": 0, "end": -width / 2}.get(style(text, "text-anchor") or "start", width / 2)
    turned = re.search(rf"rotate\(({NUMBER})", text.get("transform", ""))
    angle = np.deg2rad(float(turned[1]) if turned else 0)
    across = 0.35 * size
    return (
        place[0] + along * np.cos(angle) + across * np.sin(angle),
        place[1] + along * np.sin(angle) - across * np.cos(angle),
    )


def contrasts(path: str) -> Iterator[tuple[float, str]]:
    """Of every text of a figure, by WCAG 2: the contrast with what was drawn below its middle before, and the text."""
    root = ElementTree.parse(path).getroot()
    outlines = {element.get("id"): element for element in root.iter(f"{SVG}path") if element.get("id")}
    shapes: list[tuple[Outline, np.ndarray, float]] = []
    place, ink = (0.0, 0.0), None
    for element in seen(root):
        where = (float(element.get("x", 0)), float(element.get("y", 0)))
        if moved := re.match(rf"translate\(({NUMBER}) ({NUMBER})\)", element.get("transform", "")):
            place, ink = (float(moved[1]), float(moved[2])), style(element, "fill")
        if element.tag in (f"{SVG}path", f"{SVG}use"):
            named = element.get("{http://www.w3.org/1999/xlink}href", "#")[1:]
            corners = re.findall(rf"({NUMBER}) ({NUMBER})", outlines.get(named, element).get("d", ""))
            if corners and (fill := style(element, "fill")) not in (None, "none"):
                outline = Outline(np.array(corners, float) + (where if named else (0, 0)))
                opacity = float(style(element, "fill-opacity") or 1) * float(style(element, "opacity") or 1)
                shapes.append((outline, np.array(to_rgb(fill)), opacity))
        elif element.tag == f"{SVG}text":
            # Formulas are placed by the group around them, which has their colour too; black is not written.
            point, otherwise = (middle(element, where), None) if element.get("x") else (middle(element, place), ink)
            ground = np.ones(3)
            for outline, colour, opacity in shapes:
                if outline.contains_point(point):
                    ground = opacity * colour + (1 - opacity) * ground
            written = np.array(to_rgb(style(element, "fill") or otherwise or "black"))
            dark, light = sorted(relative_luminance(tuple(colour)) + 0.05 for colour in (ground, written))
            yield light / dark, "".join(element.itertext())


def test_every_text_of_a_figure_can_be_read(arguments):
    for name, path in arguments["figure_paths"].items():
        assert min(contrasts(path))[0] >= 4.5, (name, min(contrasts(path)))


@pytest.mark.parametrize("colours", ["viridis", panels.GAIN_COLOURS])
def test_a_number_can_be_read_on_a_cell_of_any_colour(colours, tmp_path):
    figure = panels.canvas(4)
    panels.heat_map(figure.subplots(), pd.DataFrame(np.linspace(0, 1, 99).reshape(9, 11)), colours, Normalize(0, 1), 7)
    panels.save(figure, str(tmp_path / "a.svg"))
    found = list(contrasts(str(tmp_path / "a.svg")))
    assert len(found) >= 99 and min(found)[0] >= 4.5, min(found)


def test_every_figure_has_its_numbers_beside_it(arguments):
    tables = {name: pd.read_csv(path) for name, path in arguments["data_paths"].items()}
    assert {name for name, table in tables.items() if not len(table)} == {"channels"}
    assert set(tables["maps"]["name"]) > set(GRID) and "iou_other" in tables["transforms"]
    assert len(tables["distances"]) and len(tables["training"]) == 6 and len(tables["predictions"]) == len(CASES)
    bins = tables["latents"].query("place == 0 and state == 'after'").groupby(["pair", "layer"])
    assert all(0.9 < ((part["right"] - part["left"]) * part["density"]).sum() < 1.1 for _, part in bins)
    ratios = tables["depth"].set_index(["distance", "state", "layer"])["ratio"]
    distances = pd.read_csv(arguments["tables"]["distances"]).query("state == 'after' and layer == 'encoder1'")
    median = distances[distances["distance"] == "wasserstein"]["value"].median() / 0.5
    assert ratios["wasserstein", "after", "encoder1"] == pytest.approx(median, rel=1e-4)


def test_channels_of_networks_with_another_weight_decay():
    rows = np.random.default_rng(0).standard_normal((512, 5))
    activations = {"before_relu": rows, "after_relu": rows.clip(0)}
    networks = {"a": activations, "a~decay": activations}
    figure = of_latents.channels(channel_histograms(networks), networks, "bottleneck")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "a, bottleneck after the ReLU: 0% dead, 100% not Gaussian" and len(titles) == 4


def pair(source: str, target: str, transform: str = "identity", level: float = 0.0, **more) -> dict:
    """A row of the pair table: a shift of kept polarity that gains 0.4 and comes up to the source's own."""
    row = {"source": source, "target": target, "transform": transform, "level": level, "seed": 0}
    row |= {"iou_before": 0.5, "iou_after": 0.9, "gain_iou": 0.4, "own_iou": 0.9, "foreground_before": 0.3}
    row |= {"true_foreground": 0.3, "name": target_name(target, transform, level), "home": False}
    row |= {"variant": "", "shifted": False, "method": "batchnorm"}
    return row | {"polarity": "kept", "brightness": False} | more


def test_a_pair_shows_one_case_only_and_home_shows_none():
    """The whitest pair is also the one that gains most."""
    white = pair("a", "b", foreground_before=1.0, gain_iou=0.6)
    rows = [pair("a", "a", home=True, gain_iou=0.9, foreground_before=1.0), white, pair("a", "c")]
    found = example_cases(pd.DataFrame(rows))
    assert {name: case["target"] for name, case in found.items() if case is not None} == {
        "all white": "b", "works": "c",
    }  # fmt: skip
    assert len(found) == len(CASES)


def test_pairs_abroad_are_the_labelled_ones_but_home_over_seeds():
    rows = [
        pair("a", "a", home=True), pair("a", "b"), pair("a", "b", gain_iou=0.6) | {"seed": 1},
        pair("a", "a", "noise", 0.1, gain_iou=0.1), pair("a", "c", gain_iou=np.nan),
    ]  # fmt: skip
    table = abroad(pd.DataFrame(rows)).set_index("name")
    assert table["gain_iou"].to_dict() == pytest.approx({"a@noise=0.1": 0.1, "b": 0.5})


def test_a_case_is_shown_on_the_images_that_its_network_met(tmp_path):
    """Families of other seeds hold other images of the same target: the picture is that of the pair's own job."""
    rng = np.random.default_rng(0)
    targets = {}
    for family, level in (("first", 10), ("second", 20)):
        targets[family] = str(tmp_path / f"{family}.h5")
        with store.create(targets[family]) as file:
            images = np.full((2, 8, 8), level, np.uint8)
            store.append(file.create_group("b/test"), images, rng.integers(0, 2, images.shape, dtype=np.uint8))
    masks = {"a/seed1/second": str(tmp_path / "masks.h5")}
    with store.create(masks["a/seed1/second"]) as file:
        for method in ("source", "batchnorm"):
            store.put(file, f"b/{method}", np.zeros((2, 8, 8), np.uint8))
    rows = pd.DataFrame([pair("a", "b") | {"seed": seed} for seed in (0, 1)] + [pair("a", "c") | {"seed": 1}])
    at_hand = of_jobs(rows, masks, {"first": ["b", "c"], "second": ["b"]})
    assert at_hand[["target", "seed"]].to_numpy().tolist() == [["b", 1]]
    gains = pd.DataFrame({"method": ["batchnorm"]})
    shown = predicted_masks({"works": at_hand.iloc[0].copy(), "fails": None}, targets, masks, gains, [])
    assert shown["works"].pictures["image"].max() == 20 and shown["fails"] is None


def test_methods_are_summarised_over_the_shifts():
    rows = [
        ("a", "a", "identity", 0.0, "batchnorm", 0.9), ("a~wide", "a", "identity", 0.0, "batchnorm", 0.9),
        ("a", "b", "identity", 0.0, "batchnorm", 0.3), ("a", "a", "noise", 0.1, "batchnorm", -0.1),
        ("a", "b", "identity", 0.0, "tent", 0.01),
    ]  # fmt: skip
    gains = pd.DataFrame(rows, columns=[*PAIR, "method", "gain_iou"]).assign(seed=0, iou_before=0.5, gap_closed=0.5)
    pairs = gains[KEY].drop_duplicates()
    pairs = pairs.assign(home=(pairs["target"] == "a") & (pairs["transform"] == "identity"))
    table = method_scores(gains.assign(iou_after=0.5 + gains["gain_iou"]), pairs).set_index("method")
    assert table.loc["batchnorm", ["n", "gain_iou", "gained", "lost"]].tolist() == pytest.approx([2, 0.1, 0.5, 0.5])
    assert table.loc["tent", ["n", "gain_iou", "gained", "lost"]].tolist() == pytest.approx([1, 0.01, 0, 0])
    mixes = gains.assign(method=[f"prior_{k}" for k in (16, 1, 128, 2, 4)], iou_after=0.5)
    assert list(method_scores(mixes, pairs)["method"]) == ["prior_2", "prior_4", "prior_128"], "by number"


def test_networks_trained_in_several_ways_are_compared_at_home_and_where_polarity_is_kept():
    rows = [
        pair(source, target, gain_iou=gain, home=target == "a", polarity=polarity, own_iou=own, variant=variant)
        for source, own, variant in (("a", 0.9, ""), ("a~wide", 0.8, "wide"))
        for target, gain, polarity in (("a", 0.1 - own / 10, "kept"), ("b", 0.3, "kept"), ("c", -0.5, "flipped"))
    ]
    table = by_training(pd.DataFrame([*rows, pair("b", "c")])).set_index("network")
    assert table["own_iou"].to_dict() == pytest.approx({"a": 0.9, "a~wide": 0.8})
    assert table["gain_at_home"].to_dict() == pytest.approx({"a": 0.01, "a~wide": 0.02})
    assert table["gain_elsewhere"].to_dict() == pytest.approx({"a": 0.3, "a~wide": 0.3})


def test_methods_are_compared_on_the_pairs_that_they_share():
    rows = [("a", "b", "noise", 0.1, "batchnorm", 0.1), ("a", "b", "noise", 0.1, "tent", 0.3),
            ("a", "c", "noise", 0.1, "batchnorm", 0.9)]  # fmt: skip
    gains = pd.DataFrame(rows, columns=[*PAIR, "method", "gain_iou"]).assign(seed=0)
    pairs = gains[KEY].drop_duplicates().assign(home=False, polarity="kept")
    found = by_method(gains, pairs).groupby("method")["gain_iou"].mean()
    assert found.to_dict() == {"batchnorm": 0.1, "tent": 0.3}
    alone = by_method(gains[gains["method"] == "batchnorm"], pairs)
    assert sorted(alone["gain_iou"]) == [0.1, 0.9], "of a single method all pairs are shown"


def test_cases_prefer_plain_pairs_and_show_each_once(arguments):
    pairs = read_pairs(arguments["tables"]["pairs"])
    found = example_cases(pairs)
    assert {name: case["transform"] for name, case in found.items()} == {
        "all white": "identity",
        "all black": "identity",
        "works": "identity",
        "kinda works": "noise",
        "fails": "identity",
        "harms": "identity",
    }
    assert len({tuple(case[KEY]) for case in found.values()}) == len(found)
    assert found["works"]["gain_iou"] == pytest.approx(0.58)
    none = example_cases(pairs[pairs["home"]])
    assert set(none) == set(found) and all(case is None for case in none.values())


def test_the_gallery_takes_for_each_transform_a_domain_that_goes_through_it(tmp_path):
    rng, path = np.random.default_rng(0), str(tmp_path / "targets.h5")
    shifts = [("0.30-0.70", "blur", 1.0), ("0.30-0.70", "blur", 2.0), ("0.10-0.50", "rotation", 90.0)]
    targets = [("0.30-0.70", "identity", 0.0), *shifts]
    specs = {target_name(*target): spec_of(*target) for target in targets}
    with store.create(path) as file:
        for name, spec in specs.items():
            write_domain(file.create_group(name), spec, rng, 1, True)
    found = gallery(specs, scored_splits({}, {"all": path}, {"all": list(specs)}), ["0.30-0.70"])
    assert {title: list(levels) for title, levels in found.shifted.items()} == {
        "blur, px (sd of the Gaussian): 0.30-0.70": [0.0, 1.0, 2.0],
        "rotation, degrees, counter-clockwise: 0.10-0.50": [90.0],
    }


def test_the_gallery_outlines_the_mask_in_the_rows_that_move_it():
    image, mask = np.zeros((8, 8), np.uint8), np.eye(8, dtype=np.uint8)
    here, there, none = Example(image, mask, 8), Example(image, mask[::-1], 8), Example(image, None, 8)
    shifted = {"blur": {0.0: here, 1.0: here}, "rotation": {0.0: here, 90.0: there}, "noise": {0.1: none}}
    figure = of_images.domains(Gallery({"a": here}, shifted), {"a": spec_of("a")}, ["a"])
    panels = {axes.get_title(loc="left"): axes for axes in figure.get_axes() if axes.axison}
    assert {title: len(axes.images) for title, axes in panels.items()} == {"": 1, "blur": 2, "rotation": 2, "noise": 1}
    outlined = {title: sum(isinstance(one, ContourSet) for one in axes.collections) for title, axes in panels.items()}
    assert outlined == {"": 0, "blur": 0, "rotation": 2, "noise": 0}
    assert [label.get_text() for label in panels["rotation"].get_xticklabels()] == ["0 (none)", "90"]


@pytest.mark.parametrize(("side", "kept"), [(2047, 2047), (2048, 1024), (8192, 1024)])
def test_large_images_are_thinned_as_they_are_read(tmp_path, side, kept):
    """A picture shows no more of them; at what size they are stored is not forgotten."""
    with store.create(tmp_path / "a.h5") as file:
        image = (np.arange(side, dtype=np.uint16) // (side // kept) % 251).astype(np.uint8)
        store.append(file.create_group("test"), np.tile(image, (1, 4, 1)), np.ones((1, 4, side), np.uint8))
    example = first_example((str(tmp_path / "a.h5"), "test"))
    assert example.image.shape[1] == example.mask.shape[1] == kept and example.side == side
    np.testing.assert_array_equal(example.image[0], np.arange(kept) % 251)


def test_a_case_without_a_method_leaves_its_column_empty():
    picture = np.zeros((8, 8), np.uint8)
    rows = {
        "works": PictureRow("a", {"image": picture, "tent": picture, "ynet+batchnorm": picture}),
        "fails": PictureRow("b", {"image": picture, "ynet+batchnorm": picture}),
        "harms": None,
    }
    axes = of_images.predictions(rows).axes[0]
    assert [drawn.get_extent()[0] for drawn in axes.images] == [0, 1, 2, 0, 2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["image", "tent", "ynet\n+batchnorm"]
    assert {"works", "fails"} <= {text.get_text() for text in axes.texts}
    assert axes.get_xlabel() == "does not occur in this study: harms"


def test_methods_may_differ_between_families(tmp_path):
    drawn, _ = two_sources(tmp_path)
    gains = pd.read_csv(drawn["tables"]["gains"])
    gains[(gains["method"] != "other") | (gains["transform"] != "noise")].to_csv(drawn["tables"]["gains"], index=False)
    for path in (path for job, path in drawn["masks"].items() if job.endswith("noise")):
        with h5py.File(path, "a") as file:
            for target in file:
                del file[f"{target}/other"]
    draw(**drawn)
    assert "other" in text_of(drawn["figure_paths"]["predictions"])


def test_lines_of_the_theory_run_between_cells_and_cut_corners_tell_nothing_lost_from_nothing_won(arguments):
    pairs = over_seeds(read_pairs(arguments["tables"]["pairs"]))
    figure = of_outcomes.maps(pairs, arguments["specs"], ["0.30-0.70"])
    before, after, gain, ceiling = figure.axes[:4]
    for axes, style in ((before, "--"), (after, "-")):
        (lines,) = [one for one in axes.collections if isinstance(one, LineCollection)]
        assert all(np.array_equal(ends, np.round(ends)) for ends in lines.get_segments()) and lines.get_segments()
        assert (lines.get_linestyle()[0][1] is None) == (style == "-")
    assert not [one for axes in (gain, ceiling) for one in axes.collections if isinstance(one, LineCollection)]
    cut = {tuple(patch.get_xy()[1]) for patch in gain.patches if isinstance(patch, Polygon)}
    # Means 0.1, 0.3, 0.5, 0.7, 0.9 across and 0.3, 0.5, 0.7, 0.9 up: the flips, 0.70-0.30 and 0.90-0.50.
    assert cut == {(4, 1), (5, 2)}


def test_levels_have_their_unit_and_ticks_that_do_not_collide():
    key = {"source": "a", "target": "b", "polarity": "", "pixel_ceiling": 0.9, "transform": "share_spread"}
    levels = [0.0, 0.01, 0.02, 1.0, 2.0, 3.9, 4.0]
    table = pd.DataFrame([key | {"level": level} | dict.fromkeys(QUANTITIES, 0.1) for level in levels])
    axes = of_outcomes.transforms(table, ["a"]).axes[-1]
    assert axes.get_xlabel() == "level, logits (sd of an\nimage's foreground share)"
    assert list(axes.get_xticks()) == [0, 1, 2, 4]


def test_whiskers_of_sources_stand_beside_each_other():
    key = {"target": "b", "polarity": "", "pixel_ceiling": 0.9, "transform": "noise"}
    rows = [key | {"source": s, "level": level} | dict.fromkeys(QUANTITIES, v)
            for s in "ab" for level in (0.0, 1.0) for v in (0.4, 0.6)]  # fmt: skip
    axes = of_outcomes.transforms(pd.DataFrame(rows), ["a", "b"]).axes[0]
    one, other = (bars.lines[0].get_xdata() for bars in axes.containers)
    assert np.all(one < other) and np.abs(one - other).max() < 0.05
    whiskers = axes.containers[0].lines[2][0].get_segments()
    assert np.allclose([np.ptp(ends[:, 1]) for ends in whiskers], 2 * np.std([0.4, 0.6], ddof=1))


# Machado, Oliveira and Fernandes 2009: linear RGB as it is seen without one of the three cones.
VISION = {
    "all cones": np.eye(3),
    "no L": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no M": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no S": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.412456, 0.357576, 0.180438], [0.212673, 0.715152, 0.072175], [0.019334, 0.119192, 0.950304]])


def lab(colour, vision: str) -> np.ndarray:
    """CIE L*a*b* of a colour as one of :data:`VISION` sees it: a distance of 2 is just seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ (np.array(VISION[vision]) @ linear).clip(0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart_by_every_eye(vision):
    sources = panels.source_colours([f"s{number}" for number in range(panels.MOST_COLOURS)]).values()
    gain = colormaps[panels.GAIN_COLOURS]
    groups = [sources, panels.POLARITY.values(), panels.STATES.values(), predictor_figures.COLOURS.values()]
    groups += [(gain(0.2), gain(0.5), gain(0.8)), of_remedies.PARTS.values()]
    for group in groups:
        places = [lab(colour, vision) for colour in group]
        assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(places, 2)) > 10


def test_many_transforms_wrap_into_bands():
    names = [f"t{number}" for number in range(8)]
    key = {"source": "a", "target": "b", "level": 1.0, "polarity": "", "pixel_ceiling": 0.9}
    table = pd.DataFrame([key | {"transform": name} | dict.fromkeys(QUANTITIES, 0.1) for name in names])
    shown = [axes for axes in of_outcomes.transforms(table, ["a"]).axes if axes.axison]
    assert [axes.get_title() for axes in shown if axes.get_title()] == names
    assert len(shown) == 3 * len(names)
    assert len({round(axes.get_position().x0, 3) for axes in shown}) == 4


def remedy_rows(condition: str, pairs: int, **scores: tuple[float, int]) -> list[dict]:
    """Rows of the table of remedies, scores (IoU, number of pairs that have it) by method."""
    row = {"condition": condition, "pairs": pairs}
    return [row | {"method": method, "iou": iou, "n": n} for method, (iou, n) in scores.items()]


def test_the_best_remedy_of_a_condition_is_framed_among_those_that_all_its_pairs_tried():
    nan, yardsticks = np.nan, {"best per pair": (0.99, 4), "target-trained": (0.97, 3)}
    rows = [
        *remedy_rows("share", 4, kept=(0.3, 4), batchnorm=(0.801, 4), turned=(0.799, 4), image=(0.9, 2), **yardsticks),
        *remedy_rows("polarity", 1, kept=(0.3, 1), batchnorm=(0.1, 1), turned=(0.7, 1), image=(nan, 0), **yardsticks),
    ]
    axes = of_remedies.remedies(pd.DataFrame(rows)).axes
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["share (4 pairs)", "polarity (1 pair)"]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["kept", "batchnorm", "turned", "image"]
    framed = [patch.get_xy() for patch in axes[0].patches if isinstance(patch, Rectangle)]
    assert framed == [(1, 0), (2, 0), (2, 1)], "equal to two decimals; not over the half of the pairs"
    texts = [text.get_text() for text in axes[0].texts]
    assert texts == [".30", ".80", ".80", ".90\n(2)", ".30", ".10", ".70"]
    assert [text.get_text() for text in axes[2].texts] == [".97\n(3)", ".97"]
    assert axes[0].collections[0].get_cmap().name == "viridis" and axes[0].collections[0].norm.vmax == 1


def in_theory(theory: float, measured: float, **more) -> dict:
    """A pair of means with an IoU by theory and one that was measured."""
    relations = {"towards_mask": 0.1, "share_spread": 0.0, "share_change": 0.0, "contrast_change": 0.0}
    return pair("a", "b", theory_after=theory, iou_batchnorm=measured, **relations | more)


def test_the_closed_form_is_measured_by_the_points_that_are_drawn():
    rows = [
        in_theory(0.0, 0.1), in_theory(0.5, 0.4), in_theory(1.0, 0.9, share_change=1.0),
        in_theory(np.nan, 0.9, transform="texture"),
    ]  # fmt: skip
    axes = of_remedies.closed_form(pd.DataFrame(rows)).axes[0]
    points = {tuple(point) for line in axes.lines[1:] for point in line.get_xydata()}
    assert points == {(0, 0.1), (0.5, 0.4), (1, 0.9)} and len(axes.lines) == 1 + 2, "a colour for each condition"
    r = np.corrcoef([0, 0.5, 1], [0.1, 0.4, 0.9])[0, 1]
    assert axes.get_title() == f"3 pairs: r = {r:.3f}, RMSE = 0.100"
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert len({line.get_marker() for line in axes.lines[1:]}) == 2, "told apart without colour"


def test_the_parts_of_a_difference_add_up_to_its_size():
    """Along the difference: what lies across it, here half of each part, takes nothing from its size."""
    key = dict(zip(KEY, ("a", "b", "identity", 0.0, 0), strict=True)) | {"case": "fails", "layer": "encoder1"}
    rows = [key | {"difference": d, "prior_part": p, "appearance_part": d - p, "source_share": 0.3, "target_share": 0.6}
            for d, p in ((3.0, 4.0), (0.0, 1.0), (-3.0, -4.0), (0.0, -1.0))]  # fmt: skip
    axes = of_remedies.decomposition(pd.DataFrame(rows)).axes[0]
    size, along = np.sqrt(4.5), 24 / 4 / np.sqrt(4.5)
    bars = [(bar.get_y(), bar.get_height()) for bar in axes.patches]
    np.testing.assert_allclose(bars, [(0, along), (0, size - along)], atol=1e-12)
    (line,) = axes.collections[0].get_segments()
    assert line[:, 1] == pytest.approx([size] * 2) and size - along < 0
    assert axes.get_title() == "fails: a → b\nforeground 0.30 → 0.60"


def test_of_many_methods_the_masks_show_the_best_remedy_of_the_case(tmp_path):
    """A case is a pair of its own: another remedy may be the best for it."""
    target, methods = "0.30-0.70", ["batchnorm", "balanced", "turned", *(f"prior_{k}" for k in range(4))]
    targets = {"means": str(tmp_path / "targets.h5")}
    with store.create(targets["means"]) as file:
        write_domain(file.create_group(target), spec_of(target), np.random.default_rng(0), 1, True)
    with store.create(tmp_path / "masks.h5") as file:
        for number, method in enumerate(["source", *methods]):
            store.put(file, f"{target}/{method}", np.full((1, 4, 4), number, np.uint8))
    masks, gains = {"a/seed0/means": str(tmp_path / "masks.h5")}, pd.DataFrame({"method": methods})
    scores = [{"iou_balanced": 0.2, "iou_turned": 0.8}, {"iou_balanced": 0.9, "iou_turned": np.nan}, {}]
    cases = {name: pd.Series(pair("a", target) | ious) for name, ious in zip("xyz", scores, strict=True)}
    rows = predicted_masks(cases | {"absent": None}, targets, masks, gains, ["balanced", "turned"])
    assert rows["absent"] is None
    shown = {name: {title: picture.flat[0] // 255 for title, picture in row.pictures.items() if title != "image"}
             for name, row in rows.items() if row}  # fmt: skip
    assert [list(row) for row in shown.values()] == [["true mask", "unadapted", "batchnorm", "best remedy"]] * 2 + [
        ["true mask", "unadapted", "batchnorm"]
    ]
    assert [rows[name].label.split("\n")[-1] for name in "xy"] == ["turned 0.800", "balanced 0.900"]
    few = predicted_masks(cases, targets, masks, gains[:3], ["balanced", "turned"])
    assert list(few["x"].pictures) == ["image", "true mask", "unadapted", "batchnorm", "balanced", "turned"]
    without = predicted_masks(cases, targets, masks, gains, [])
    assert len(without["x"].pictures) == 3 + len(methods), "without remedies every method has its column"


def test_the_same_inputs_give_the_same_bytes(arguments, tmp_path):
    again = {name: str(tmp_path / f"{name}.svg") for name in FIGURES}
    draw(**arguments | {"figure_paths": again})
    for name, path in arguments["figure_paths"].items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes(), name


def test_a_saved_figure_bears_no_last_digits_of_the_layout(tmp_path):
    figure, (upper, lower) = panels.bands([1.3, 0.7])
    for part in (upper, lower):
        part.subplots(1, 3)
    panels.save(figure, str(tmp_path / "figure.svg"))
    bounds = [axes.get_position().bounds for axes in figure.get_axes()]
    bounds += [part.bbox_relative.bounds for part in (upper, lower)]
    np.testing.assert_allclose(bounds, np.round(bounds, 4), rtol=0, atol=1e-12)


def test_a_figure_with_nothing_to_show_says_so(arguments):
    blank = {name for name, path in arguments["figure_paths"].items() if page.is_blank(path)}
    assert blank == {"channels"}


def crossing(axes, box: Bbox) -> list:
    """Lines, edges of cells and frames of ``axes`` that go through a box of the screen."""
    drawn = [(line, line.get_path(), line.get_transform()) for line in axes.lines]
    drawn += [(patch, patch.get_path(), patch.get_transform()) for patch in axes.patches if not patch.get_fill()]
    drawn += [
        (one, path, one.get_transform())
        for one in axes.collections
        if isinstance(one, LineCollection | ContourSet)
        for path in one.get_paths()
    ]
    return [one for one, path, place in drawn if place.transform_path(path).intersects_bbox(box, filled=False)]


def test_no_text_of_a_figure_lies_on_another_and_no_line_crosses_a_number(arguments, monkeypatch):
    figures_drawn, texts = {}, []
    monkeypatch.setattr(panels, "save", lambda figure, path: figures_drawn.update({Path(path).stem: figure}))
    draw(**arguments)
    write = Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, renderer: texts.append(text) or write(text, renderer))
    for name, figure in figures_drawn.items():
        texts.clear()
        figure.draw_without_rendering()
        for axes in figure.get_axes():
            for text in (text for text in axes.texts if text.get_text()):
                lines = crossing(axes, text.get_window_extent().padded(-1))
                assert not lines, f"{name}: {text.get_text()!r} is crossed by {lines}"
        # The box of a slanted text is larger than the text.
        straight = [text for text in texts if text.get_visible() and text.get_text() and text.get_rotation() % 90 == 0]
        boxes = {text: text.get_window_extent() for text in straight}
        assert boxes
        for (one, box), (other, another) in itertools.combinations(boxes.items(), 2):
            shared = Bbox.intersection(box, another)
            apart = shared is None or min(shared.width, shared.height) < 1  # pixel
            assert apart, f"{name}: {one.get_text()!r} lies on {other.get_text()!r}"
