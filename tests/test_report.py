"""The figures and the page, from a small study whose scores are made up by rule, so that sums can be done by hand."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.contour import ContourSet

from workflow.lib import answers, figures, showcase, store
from workflow.lib.names import KEY, PAIR, target_name
from workflow.scripts.report import by_method, domain_examples, domains, report

FIGURES = [
    "domains",
    "training",
    "maps",
    "transforms",
    "predictions",
    "latents",
    "distances",
    "correlations",
    "depth",
    "methods",
    "channels",
]
TEXTS = Path(__file__).parents[1] / "workflow" / "report"
SIZE = 16
OWN = 0.9
# Of 10 labelled pairs of kept polarity adapted: 2 at home, 3 by their means, 5 noisy; 10 flips are kept as they were.
FOLLOWED = (2 * 0.91 + 3 * 0.88 + 5 * 0.72 + 5 * 0.2 + 5 * 0.1) / 20

GRID = {
    name: [float(mean) for mean in name.split("-")]
    for name in ("0.30-0.70", "0.50-0.90", "0.10-0.50", "0.70-0.30", "0.90-0.50")
}


def scores(source: str, target: str, transform: str) -> tuple[float, float, float]:
    """IoU before and after, and the share of pixels called foreground before, of a pair."""
    if "-" not in source:
        return 0.5, 0.4, 0.3
    flipped = (GRID[source][0] > GRID[source][1]) != (GRID[target][0] > GRID[target][1])
    if transform != "identity":
        return (0.1, 0.1, 0.3) if flipped else (0.5, 0.72, 0.3)
    if source == target:
        return OWN, 0.91, 0.3
    return (0.2, 0.05, 1.0) if flipped else (0.3, 0.88, 0.0)


def picture(rng, channels: int) -> np.ndarray:
    return rng.integers(0, 256, (2, SIZE, SIZE + 4, *[3] * (channels == 3)), dtype=np.uint8)


def write_domain(group, spec: dict, rng, channels: int, labelled: bool) -> None:
    store.put_json(group, "domain", spec)
    masks = rng.integers(0, 2, (2, SIZE, SIZE + 4), dtype=np.uint8) if labelled else None
    store.append(group.create_group("test"), picture(rng, channels), masks)


def spec_of(name: str, transform: str = "identity", level: float = 0.0) -> dict:
    spec = {"name": name, "transform": transform, "level": level}
    return spec | ({"means": GRID[name]} if name in GRID else {"path": "somewhere.h5"})


def write_latents(path: Path, names: list[str], layers: list[str], states: list[str], rng) -> None:
    with store.create(path) as file:
        groups = ["source/reference", *(f"targets/{name}/{state}" for name in names for state in states)]
        for group, layer in itertools.product(groups, layers):
            rows = rng.normal(size=(20, 5))
            for key, array in (("rows", rows), ("mean", rows.mean(0)), ("covariance", np.cov(rows.T))):
                store.put(file, f"{group}/{layer}/before_relu/position/{key}", array)


def predictor_tables(gains: list[dict]) -> dict[str, list[dict]]:
    """Tables of label-free scores, of predictors and of advice: adapt where the source's polarity is kept."""
    scores, advice = [], []
    for row in (row for row in gains if row["method"] == "batchnorm"):
        key = {name: row[name] for name in KEY}
        kept = row["source"] in GRID and row["target"] in GRID and scores_of_polarity(row["source"], row["target"])
        scores.append(key | {"told": 1.0 if kept else 0.0, "noise": 0.0, "seed_agreement_before": np.nan})
        expected = {"expected_before": 0.3, "expected_after": 0.8, "gain": 0.5, "gain_low": 0.4, "gain_high": 0.6}
        words = {"drivers": "told = 1.00 (+0.50)", "warning": "far off" if row["target"] == "cells" else ""}
        advice.append(key | expected | {"decision": "adapt" if kept else "keep"} | words)
    numbers = {"protocol": "leave_source_out", "outcome": "gain_iou", "spearman": 0.95, "r2": 0.9, "mae": 0.02}
    numbers |= {"sign_accuracy": 0.97, "base_rate": 0.6, "regret": 0.004, "regret_always_adapt": 0.04, "n": 18}
    numbers |= {"ci_low": 0.9, "ci_high": 0.98, "coverage": 0.9, "n_tellable": 15}
    numbers |= {
        "spearman_tellable": 0.96,
        "r2_tellable": 0.95,
        "sign_accuracy_tellable": 0.99,
        "regret_tellable": 0.001,
    }
    kinds = {"forest": "learned", "told": "score", "small_tree": "transparent"}
    predictors = [{"predictor": name, "kind": kind} | numbers for name, kind in kinds.items()]
    return {"scores": scores, "advice": advice, "predictors": predictors}


def scores_of_polarity(source: str, target: str) -> bool:
    return (GRID[source][0] > GRID[source][1]) == (GRID[target][0] > GRID[target][1])


def make_study(
    folder: Path,
    sources: list[str],
    targets: list[str],
    transforms: dict[str, list[float]],
    unlabelled: tuple[str, ...] = (),
    channels: int = 1,
    seeds: tuple[int, ...] = (0,),
    adapted: bool = True,
) -> dict:
    """What the stages before leave behind, in ``folder``; returns the arguments of :func:`report`."""
    rng = np.random.default_rng(0)
    layers = ["encoder1", "bottleneck"]
    segmentation, gains, distances = [], [], []
    data, families, masks, latents, curves = [], [], {}, {}, {}
    for name in sources:
        data.append(str(folder / f"data-{name}.h5"))
        with store.create(data[-1]) as file:
            write_domain(file, spec_of(name), rng, channels, True)
    for transform, levels in transforms.items():
        names = [target_name(target, transform, level) for target in targets for level in levels]
        families.append(str(folder / f"targets-{transform}.h5"))
        with store.create(families[-1]) as file:
            for target, level in itertools.product(targets, levels):
                group = file.create_group(target_name(target, transform, level))
                write_domain(group, spec_of(target, transform, level), rng, channels, target not in unlabelled)
        for source, seed in itertools.product(sources, seeds):
            job = f"{source}/seed{seed}/{transform}"
            masks[job], latents[job] = (
                str(folder / f"{kind}-{source}-{seed}-{transform}.h5") for kind in ("masks", "latents")
            )
            with store.create(masks[job]) as file:
                for name, method in itertools.product(names, ("source", "batchnorm", "other")):
                    store.put(file, f"{name}/{method}", rng.integers(0, 2, (2, SIZE, SIZE + 4), dtype=np.uint8))
            write_latents(Path(latents[job]), names, layers, ["before", "after"] if adapted else ["before"], rng)
            for target, level in itertools.product(targets, levels):
                key = {"source": source, "target": target, "transform": transform, "level": level, "seed": seed}
                before, after, foreground = (np.nan,) * 3 if target in unlabelled else scores(source, target, transform)
                area = {"n_images": 2, "predicted_foreground": foreground, "true_foreground": 0.3, "pixel_ceiling": 0.9}
                segmentation.append(key | {"method": "source", "iou": before, "dice": before} | area)
                for method in ("batchnorm", "other"):
                    row = key | {"method": method, "iou_before": before, "iou_after": after, "gain_iou": after - before}
                    gains.append(row | {"iou_target_trained": np.nan, "gain_dice": np.nan, "gap_closed": np.nan})
                for layer, state, distance in itertools.product(
                    layers, ("before", "after"), ("wasserstein", "bhattacharyya")
                ):
                    row = {
                        "layer": layer,
                        "activation": "before_relu",
                        "unit": "position",
                        "state": state,
                        "distance": distance,
                    }
                    distances.append(key | row | {"value": rng.uniform(0, 2), "null": 0.5})
    for name, seed in itertools.product(sources, seeds):
        curves[f"{name}/seed{seed}"] = str(folder / f"curve-{name}-{seed}.csv")
        rows = [{"epoch": epoch, "loss": 1 / epoch, "validation_iou": 0.3 * epoch} for epoch in (1, 2, 3)]
        pd.DataFrame(rows).to_csv(curves[f"{name}/seed{seed}"], index=False)
    correlations = [
        {
            "distance": distance,
            "layer": layer,
            "activation": "before_relu",
            "unit": "position",
            "state": state,
            "outcome": outcome,
        }
        | {"spearman": spearman, "pearson": 0.1, "ci_low": spearman - 0.1, "ci_high": spearman + 0.1, "n": 18}
        for outcome, sign in (("gain_iou", 1), ("iou_after", -1))
        for (layer, state, distance), spearman in zip(
            itertools.product(layers, ("after", "before"), ("bhattacharyya", "wasserstein")),
            sign * np.array([0.11, -0.72, 0.2, 0.41, 0.3, 0.1, 0.2, np.nan]),
            strict=True,
        )
    ]
    oracle = [
        {"target": name, "seed": seed, "n_images": 2, "iou": OWN, "dice": 0.95} for name in sources for seed in seeds
    ]
    tables = {"segmentation": segmentation, "gains": gains, "distances": distances, "correlations": correlations}
    verdict = {
        "claim": "flips fail",
        "verdict": "supported",
        "experiment": "all",
        "figure": "maps",
        "bound": "at most 1",
    }
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6, "seeds": 3}
    untested = dict.fromkeys(numbers, np.nan) | {"verdict": "not tested", "claim": "an untested claim"}
    tables |= predictor_tables(gains)
    tables["hypotheses"] = [{"hypothesis": "H2"} | verdict | numbers, {"hypothesis": "H9"} | verdict | untested]
    (folder / "small_tree.txt").write_text("|--- agreement <= 0.5\n")
    for name in ("predictors", "none"):
        figures.save(figures.blank("four bars"), str(folder / f"{name}.svg"))
    for name, rows in (tables | {"oracle": oracle}).items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return {
        "tables": {name: str(folder / f"{name}.csv") for name in tables},
        "oracle_paths": [str(folder / "oracle.csv")],
        "curves": curves,
        "data_paths": data,
        "targets_paths": families,
        "masks": masks,
        "latents": latents,
        "layers": layers,
        "activation": "before_relu",
        "decays": [],
        "predictor_figures": {
            "leave_source_out": str(folder / "predictors.svg"),
            "leave_seed_out": str(folder / "none.svg"),
        },
        "tree_path": str(folder / "small_tree.txt"),
        "title": "Does it work? <yes & no>",
        "settings": {"seeds": list(seeds), "model": {"width": 4}},
        "template_path": str(TEXTS / "page.html.j2"),
        "captions": {name: str(TEXTS / f"{name}.rst") for name in (*FIGURES, "predictors")},
        "figure_paths": {name: str(folder / f"{name}.svg") for name in FIGURES},
        "page_path": str(folder / "report.html"),
    }


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> dict:
    """The report of two sources, five targets by their means and an unlabelled one, untransformed and noisy."""
    targets = [*GRID, "cells"]
    transforms = {"identity": [0.0], "noise": [0.1]}
    arguments = make_study(
        tmp_path_factory.mktemp("study"), ["0.30-0.70", "0.70-0.30"], targets, transforms, ("cells",)
    )
    report(**arguments)
    return arguments


@pytest.fixture(scope="module")
def page(arguments) -> str:
    return Path(arguments["page_path"]).read_text()


def text_of(path: str) -> str:
    """All that is written in a figure, which must be well-formed."""
    return " ".join(ElementTree.parse(path).getroot().itertext())


def test_a_legend_of_long_names_stays_on_the_figure():
    names = [f"0.30-0.70~{name}" for name in ("momentum_high", "momentum_low", *(f"rate_{k}" for k in range(7)))]
    curves = pd.DataFrame({"domain": names, "seed": 0, "epoch": 1, "loss": 0.5, "validation_iou": 0.5})
    figure = figures.training(curves, names)
    box, page = figure.legends[0].get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and len(figure.legends[0].get_texts()) == len(names)


def test_every_figure_says_what_it_shows(arguments):
    texts = {name: text_of(path) for name, path in arguments["figure_paths"].items()}
    for name, words in {
        "domains": ["mask mean 0.3", "background", "noise", "cells"],
        "training": ["epoch", "0.30-0.70", "0.70-0.30"],
        "maps": ["source 0.30-0.70", "IoU before", "IoU after", "gain", "pixel ceiling", ".88"],
        "transforms": ["noise", "polarity kept", "polarity flipped", "level"],
        "predictions": [case.name for case in showcase.CASES],
        "latents": ["works", "fails", "harms", "encoder1", "bottleneck", "after adaptation"],
        "distances": ["wasserstein", "bhattacharyya", "bottleneck", "-0.72 [-0.82, -0.62]"],
        "correlations": ["with gain", "with IoU after", "wasserstein"],
        "methods": ["batchnorm", "other", "mean gain, polarity flipped"],
        "depth": ["Spearman with gain", "encoder1", "bottleneck", "before relu"],
    }.items():
        for word in words:
            assert word in texts[name].replace("−", "-"), f"{name} lacks '{word}'"
    assert "does not occur" not in texts["predictions"]


def test_the_answer_is_worked_out_from_the_tables(page):
    # Shifts: 3 of brightness (0.3 -> 0.88), 5 flips (0.2 -> 0.05), 5 noisy kept (0.5 -> 0.72), 5 noisy flips (0.1).
    for words in (
        "an IoU of 0.900 (0.30-0.70) and 0.900 (0.70-0.30)",
        "Of 18 pairs of a source and a shifted target, 8 gain more than 0.02",
        "5 lose more than 0.02 and 5 change by less",
        f"rises from {4.9 / 18:.3f} to {6.99 / 18:.3f}",
        "pure brightness shift (3 pairs) the IoU lies 0.020 from the source&#39;s own on average with adaptation",
        f"kept (8 pairs) the mean IoU rises from {3.4 / 8:.3f} to {6.24 / 8:.3f}",
        "flips (10 pairs) it falls from 0.150 to 0.075",
        "changes by +0.010 to +0.010",
        "In 5 pairs the unadapted network calls nearly every pixel foreground (all white)",
        "In 3 pairs the unadapted network calls hardly any pixel foreground (all black)",
        "Of the 5 pairs that lose, 5 flip the polarity",
        "Of 7 combinations of distance, layer and state, wasserstein of encoder1 before the ReLU measured after",
        "Spearman -0.72 (interval -0.82 to -0.62), the nearer the higher, over 18 pairs",
        "measured before adaptation, wasserstein of encoder1 before the ReLU is the strongest: +0.41",
        "Without masks, hence without scores, and in no number or score map of this page: cells",
        "24 pairs of source, target, transform, level and seed",
    ):
        assert words in page, words


def test_the_page_holds_every_figure_caption_and_case(arguments, page):
    assert page.count("<img ") == len(FIGURES) - 1 + 1 and "Weight decay and the ReLU" not in page
    assert "0.500 (0.400 to 0.600)" in page and "an untested claim" not in page
    for path in (path for name, path in arguments["captions"].items() if name != "channels"):
        assert Path(path).read_text()[:40].split("\n")[0].replace("'", "&#39;") in page
    for case in showcase.CASES:
        assert f"<td>{case.name}</td>" in page
    assert "<td>batchnorm</td>" in page and "<td>other</td>" in page
    assert "Does it work? &lt;yes &amp; no&gt;" in page
    assert "width: 4" in page and "matplotlib 3" in page


def test_channels_of_networks_with_another_weight_decay():
    rows = np.random.default_rng(0).standard_normal((512, 5))
    activations = {"before_relu": rows, "after_relu": rows.clip(0)}
    figure = figures.channels({"a": activations, "a~decay": activations}, "bottleneck")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "a, bottleneck after the ReLU: 0% dead, 100% not Gaussian" and len(titles) == 4


def test_the_page_tells_what_to_do_and_why(page):
    for words in (
        "On source domains that it was not fitted on (18 pairs)",
        "Spearman correlation of 0.95 (interval 0.90 to 0.98), R² 0.90 and a mean error of 0.020",
        "in 97.0% (the commoner sign alone: 60.0%), and following it loses 0.0040 of IoU",
        "Of single numbers told predicts an unseen source best, with R² 0.90; a tree of five questions: 0.90",
        "Of 24 pairs the shipped predictor advises to adapt in 10 and to keep the network in 14; it warns of 4",
        f"Where there are labels (20 pairs) following it gives a mean IoU of {FOLLOWED:.3f}",
        "→ cells</strong> (seed 0): <strong>keep</strong>",
        "driven by told = 1.00 (+0.50)",
        "Warning: far off",
        "|--- agreement &lt;= 0.5",
        "told (1.00)",
        "noise 0%",
    ):
        assert words in page, words
    answer = page.partition('<div class="answer">')[2].partition("</div>")[0]
    assert "Can it be told?</strong> On source domains that it was not fitted on" in answer
    assert page.count("Predictors of the gain, leave") == 1, "only protocols that were judged"


def test_methods_are_compared_on_the_pairs_that_they_share():
    rows = [("a", "b", "noise", 0.1, "batchnorm", 0.1), ("a", "b", "noise", 0.1, "tent", 0.3),
            ("a", "c", "noise", 0.1, "batchnorm", 0.9)]  # fmt: skip
    gains = pd.DataFrame(rows, columns=[*PAIR, "method", "gain_iou"]).assign(seed=0)
    pairs = gains[KEY].drop_duplicates().assign(home=False, polarity="kept")
    found = by_method(gains, pairs).groupby("method")["gain_iou"].mean()
    assert found.to_dict() == {"batchnorm": 0.1, "tent": 0.3}
    alone = by_method(gains[gains["method"] == "batchnorm"], pairs)
    assert sorted(alone["gain_iou"]) == [0.1, 0.9], "of a single method all pairs are shown"


def test_networks_by_their_training():
    columns = ["source", "home", "polarity", "own_iou", "gain_iou"]
    rows = [
        ("a", True, "kept", 0.9, 0.0),
        ("a", False, "kept", 0.9, 0.4),
        ("a", False, "flipped", 0.9, -0.4),
        ("a~slow", True, "kept", 0.6, 0.2),
        ("b", True, "kept", 0.8, 0.1),
    ]
    found = showcase.by_training(pd.DataFrame(rows, columns=columns)).set_index("network")
    assert list(found.index) == ["a", "a~slow"] and found.loc["a~slow", "gain_at_home"] == 0.2
    assert found.loc["a", "gain_elsewhere"] == 0.4 and np.isnan(found.loc["a~slow", "gain_elsewhere"])
    assert not len(showcase.by_training(pd.DataFrame(rows[-1:], columns=columns)))


def test_separation_of_polarities():
    flipped = pd.Series([True, True, False, False])
    assert answers.separation(pd.Series([3, 4, 1, 2]), flipped) == 1
    assert answers.separation(pd.Series([1, 2, 3, 4]), flipped) == 1, "either side"
    assert answers.separation(pd.Series([1, 1, 1, 1]), flipped) == 0.5
    assert answers.separation(pd.Series([1, 3, 2, 4]), flipped) == 0.75


def test_at_one_half_no_score_sees_the_flip():
    names = [f"t{n}" for n in range(16)]
    pairs = pd.DataFrame({"source": "s", "target": names, "transform": "identity", "level": 0.0, "seed": 0})
    pairs["polarity"] = ["kept", "flipped"] * 8
    pairs["true_foreground"] = [0.35] * 8 + [0.5] * 8
    pairs["home"] = False
    told = (pairs["polarity"] == "flipped") & (pairs["true_foreground"] < 0.4)
    scores = pairs[KEY].assign(share=told.astype(float))
    found = " ".join(answers._polarity(pairs, scores))
    assert "share (1.00)" in found and "there share reaches 0.50" in found


def test_unlabelled_targets_get_the_first_cards():
    rows = [{name: f"{name}{n}" for name in KEY} | {"gain": n / 100, "drivers": ""} for n in range(30)]
    advice = pd.DataFrame(rows).assign(warning="")
    found = answers.cards(advice, ["target7"])
    assert len(found) == answers.CARDS and found[0]["target"] == "target7" and found[0]["warning"] == ""
    assert [card["target"] for card in found[1:3]] == ["target29", "target28"] and found[-1]["target"] == "target4"


def test_the_page_needs_nothing_from_outside(page):
    assert "http" not in page and "@import" not in page and "<script" not in page
    links = re.findall(r"(?:src|href)=[\"']?([^\"'> ]{0,5})|url\((.{0,5})", page)
    assert links and all(link.startswith(("#", "data:")) for pair in links for link in pair if link)


def test_the_same_inputs_give_the_same_bytes(arguments, page, tmp_path):
    again = {name: str(tmp_path / f"{name}.svg") for name in FIGURES}
    report(**arguments | {"figure_paths": again, "page_path": str(tmp_path / "report.html")})
    for name, path in arguments["figure_paths"].items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes(), name
    assert (tmp_path / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ({"sources": ["a", "b"], "targets": ["a", "b"], "channels": 3, "adapted": False}, "does not occur: all white"),
        ({"sources": ["a"], "targets": ["b"], "unlabelled": ("b",)}, "does not occur: all white"),
        (
            {"sources": ["0.30-0.70"], "targets": [*GRID], "seeds": (0, 1, 2)},
            "of a source and a shifted target, 2 gain",
        ),
    ],
    ids=["real RGB without an after state", "no labels at all", "three seeds"],
)
def test_other_studies(tmp_path, study, expected):
    arguments = make_study(tmp_path, transforms={"identity": [0.0]}, **study)
    report(**arguments)
    texts = {name: text_of(path) for name, path in arguments["figure_paths"].items()}
    assert "scores no transform" in texts["transforms"]
    page = Path(arguments["page_path"]).read_text()
    case = re.match(r"does not occur: (.*)", expected)
    assert (case and case[1] in texts["predictions"] and "does not occur" in page) or expected in page


def test_cases_prefer_plain_pairs_and_show_each_once(arguments):
    tables = {name: pd.read_csv(path) for name, path in arguments["tables"].items()}
    specs = {
        target_name(name, *shift): spec_of(name, *shift)
        for name in [*GRID, "cells"]
        for shift in (("identity", 0.0), ("noise", 0.1))
    }
    pairs = showcase.pairs(tables["segmentation"], tables["gains"], pd.read_csv(arguments["oracle_paths"][0]), specs)
    found = showcase.cases(pairs)
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
    none = showcase.cases(pairs[pairs["home"]])
    assert set(none) == set(found) and all(case is None for case in none.values())


def test_the_gallery_takes_for_each_transform_a_domain_that_goes_through_it(tmp_path):
    rng, path = np.random.default_rng(0), str(tmp_path / "targets.h5")
    shifts = [("0.30-0.70", "blur", 1.0), ("0.30-0.70", "blur", 2.0), ("0.10-0.50", "rotation", 90.0)]
    with store.create(path) as file:
        for name, transform, level in [("0.30-0.70", "identity", 0.0), *shifts]:
            group = file.create_group(target_name(name, transform, level))
            write_domain(group, spec_of(name, transform, level), rng, 1, True)
    *_, shifted = domain_examples(*domains([], [path]), ["0.30-0.70"])
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


def test_many_transforms_wrap_into_bands():
    names = [f"t{number}" for number in range(8)]
    key = {"source": "a", "target": "b", "level": 1.0, "polarity": "", "pixel_ceiling": 0.9}
    table = pd.DataFrame([key | {"transform": name} | dict.fromkeys(figures.QUANTITIES, 0.1) for name in names])
    shown = [axes for axes in figures.transforms(table, ["a"]).axes if axes.axison]
    assert [axes.get_title() for axes in shown if axes.get_title()] == names
    assert len(shown) == 3 * len(names)
    assert len({round(axes.get_position().x0, 3) for axes in shown}) == 4
