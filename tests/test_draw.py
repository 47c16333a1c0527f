"""The figures, from a small study whose scores are made up by rule."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib.contour import ContourSet

from scripts.draw import draw
from shiftgain.files import store
from shiftgain.findings.pairs import CASES, abroad, by_method, example_cases, method_scores, read_pairs
from shiftgain.report import figures, page
from shiftgain.report.pictures import gallery, scored_splits
from shiftgain.study.names import KEY, PAIR, target_name
from tests.made_up import FIGURES, spec_of, text_of, two_sources, write_domain


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> dict:
    drawn, _ = two_sources(tmp_path_factory.mktemp("study"))
    draw(**drawn)
    return drawn


def test_a_legend_of_long_names_stays_on_the_figure():
    names = [f"0.30-0.70~{name}" for name in ("momentum_high", "momentum_low", *(f"rate_{k}" for k in range(7)))]
    curves = pd.DataFrame({"domain": names, "seed": 0, "epoch": 1, "loss": 0.5, "validation_iou": 0.5})
    figure = figures.training(curves, names)
    box, page = figure.legends[0].get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and len(figure.legends[0].get_texts()) == len(names)


def test_the_rows_of_the_distances_are_named_on_the_figure():
    key = {"layer": "bottleneck", "state": "before", "null": 0.1, "group": "kept"}
    names = ["bhattacharyya", "wasserstein_diagonal"]
    table = pd.DataFrame([key | {"distance": name, "value": 0.2, "gain_iou": 1.0} for name in names])
    none = pd.DataFrame(columns=["layer", "state", "distance", "spearman", "ci_low", "ci_high"])
    figure = figures.distances(table, none)
    figure.draw_without_rendering()
    label = figure.axes[0].yaxis.label
    assert label.get_text().startswith("bottleneck") and label.get_window_extent().x0 >= figure.bbox.x0


def test_every_figure_says_what_it_shows(arguments):
    texts = {name: text_of(path) for name, path in arguments["figure_paths"].items()}
    for name, words in {
        "domains": ["mask mean 0.3", "background", "noise", "cells"],
        "training": ["epoch", "0.30-0.70", "0.70-0.30"],
        "maps": ["source 0.30-0.70", "IoU before", "IoU after", "gain", "pixel ceiling", ".88"],
        "transforms": ["noise", "polarity kept", "polarity flipped", "level"],
        "predictions": [case.name for case in CASES],
        "latents": ["works", "fails", "harms", "encoder1", "bottleneck", "after adaptation"],
        "distances": ["wasserstein", "bhattacharyya", "bottleneck", "-0.72 [-0.82, -0.62]"],
        "correlations": ["with gain", "with IoU after", "wasserstein"],
        "methods": ["batchnorm", "other", "mean gain, polarity flipped"],
        "depth": ["Spearman with gain", "encoder1", "bottleneck", "before relu"],
    }.items():
        for word in words:
            assert word in texts[name].replace("−", "-"), f"{name} lacks '{word}'"
    assert "does not occur" not in texts["predictions"]


def test_channels_of_networks_with_another_weight_decay():
    rows = np.random.default_rng(0).standard_normal((512, 5))
    activations = {"before_relu": rows, "after_relu": rows.clip(0)}
    figure = figures.channels({"a": activations, "a~decay": activations}, "bottleneck")
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
    *_, shifted = gallery(specs, scored_splits({}, {"all": path}, {"all": list(specs)}), ["0.30-0.70"])
    assert {title: list(levels) for title, levels in shifted.items()} == {
        "blur, px (sd of the Gaussian): 0.30-0.70": [0.0, 1.0, 2.0],
        "rotation, degrees, counter-clockwise: 0.10-0.50": [90.0],
    }


def test_the_gallery_outlines_the_mask_in_the_rows_that_move_it():
    image, mask = np.zeros((8, 8), np.uint8), np.eye(8, dtype=np.uint8)
    still, moved = {0.0: (image, mask), 1.0: (image, mask)}, {0.0: (image, mask), 90.0: (image, mask[::-1])}
    shifted = {"blur": still, "rotation": moved, "noise": {0.1: (image, None)}}
    canvas = figures.domains({"a": (image, mask)}, {"a": spec_of("a")}, ["a"], shifted).axes[0]
    assert len(canvas.images) == 1 + 5
    assert sum(isinstance(drawn, ContourSet) for drawn in canvas.collections) == 2
    assert {"blur", "rotation", "noise", "0 (none)", "90"} <= {text.get_text() for text in canvas.texts}


def test_a_case_without_a_method_leaves_its_column_empty():
    picture = np.zeros((8, 8), np.uint8)
    all_of_them = {"image": picture, "tent": picture, "ynet+batchnorm": picture}
    fewer = {"image": picture, "ynet+batchnorm": picture}
    canvas = figures.predictions({"works": ("a", all_of_them), "fails": ("b", fewer), "harms": None}).axes[0]
    lefts = [round(drawn.get_extent()[0], 2) for drawn in canvas.images]
    assert lefts[:3] == sorted(set(lefts)) and lefts[3:] == [lefts[0], lefts[2]]
    assert {"tent", "ynet\n+batchnorm", "does not occur in this study: harms"} <= {t.get_text() for t in canvas.texts}


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


def test_many_transforms_wrap_into_bands():
    names = [f"t{number}" for number in range(8)]
    key = {"source": "a", "target": "b", "level": 1.0, "polarity": "", "pixel_ceiling": 0.9}
    table = pd.DataFrame([key | {"transform": name} | dict.fromkeys(figures.QUANTITIES, 0.1) for name in names])
    shown = [axes for axes in figures.transforms(table, ["a"]).axes if axes.axison]
    assert [axes.get_title() for axes in shown if axes.get_title()] == names
    assert len(shown) == 3 * len(names)
    assert len({round(axes.get_position().x0, 3) for axes in shown}) == 4


def test_the_same_inputs_give_the_same_bytes(arguments, tmp_path):
    again = {name: str(tmp_path / f"{name}.svg") for name in FIGURES}
    draw(**arguments | {"figure_paths": again})
    for name, path in arguments["figure_paths"].items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes(), name


def test_a_figure_with_nothing_to_show_says_so(arguments):
    blank = {name for name, path in arguments["figure_paths"].items() if page.is_blank(path)}
    assert blank == {"channels"}
