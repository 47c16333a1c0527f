"""A small study whose scores are made up by rule, so that sums can be done by hand."""

import itertools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from shiftgain.files import store
from shiftgain.findings.pairs import pair_table
from shiftgain.report import panels
from shiftgain.report.contents import figures
from shiftgain.study.names import KEY, target_name

FIGURES = list(figures("draw"))
TEXTS = Path(__file__).parents[1] / "workflow" / "report"
SIZE = 16
OWN = 0.9

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
    noise = {"mask_sd": 0.08, "background_sd": 0.08}
    drawn = {"means": GRID.get(name), "foreground": 0.3, "noise": noise, "channels": 1}
    return spec | (drawn if name in GRID else {"path": "somewhere.h5"})


def write_latents(path: Path, names: list[str], layers: list[str], states: list[str], rng) -> None:
    with store.create(path) as file:
        groups = ["source/reference", *(f"targets/{name}/{state}" for name in names for state in states)]
        for group, layer in itertools.product(groups, layers):
            rows = rng.normal(size=(20, 5))
            for key, array in (("rows", rows), ("mean", rows.mean(0)), ("covariance", np.cov(rows.T))):
                store.put(file, f"{group}/{layer}/before_relu/position/{key}", array)


def predictor_tables(gains: list[dict]) -> dict[str, list[dict]]:
    """Tables of label-free scores, of predictors and of advice: refresh where the source's polarity is kept."""
    scores, advice = [], []
    for row in (row for row in gains if row["method"] == "batchnorm"):
        key = {name: row[name] for name in KEY}
        kept = row["source"] in GRID and row["target"] in GRID and scores_of_polarity(row["source"], row["target"])
        for method, told in (("source", 0.5), ("batchnorm", 1.0 if kept else 0.0)):
            scores.append(key | {"method": method, "told": told, "noise": 0.0, "seed_agreement": np.nan})
        expected = {"expected_before": 0.3, "expected_after": 0.8, "gain": 0.5, "gain_low": 0.4, "gain_high": 0.6}
        expected |= {"n_target_images": 48, "n_images": 12}
        expected |= {"expected_source": 0.3, "expected_batchnorm": 0.8, "action": "batchnorm"}
        words = {
            "drivers": "agreement = 1.00 (+0.50)",
            "warning": "3 of 50 scores lie outside all: far" if row["target"] == "cells" else "",
        }
        advice.append(key | expected | {"decision": "batchnorm" if kept else "keep"} | words)
    numbers = {"protocol": "leave_source_out", "outcome": "gain_iou", "spearman": 0.95, "r2": 0.9, "mae": 0.02}
    numbers |= {"sign_accuracy": 0.97, "base_rate": 0.6, "regret": 0.004, "regret_always_adapt": 0.04, "n": 18}
    numbers |= {"ci_low": 0.9, "ci_high": 0.98, "coverage": 0.9, "n_tellable": 15}
    numbers |= {
        "spearman_tellable": 0.96,
        "r2_tellable": 0.95,
        "sign_accuracy_tellable": 0.99,
        "regret_tellable": 0.001,
    }
    numbers |= {"mean_width": 0.25}
    kinds = {
        "rehearsed": "learned",
        "told_unfitted": "unfitted",
        "three_conditions": "transparent",
        "always_adapt": "baseline",
    }
    predictors = [{"predictor": name, "kind": kind} | numbers for name, kind in kinds.items()]
    predictors.append(predictors[0] | {"outcome": "iou", "r2": 0.8, "mae": 0.03})
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
) -> tuple[dict, dict]:
    """What the stages before leave behind, in ``folder``; the arguments of :func:`draw` and of :func:`report`."""
    rng = np.random.default_rng(0)
    layers = ["encoder1", "bottleneck"]
    segmentation, gains, distances = [], [], []
    data, families, targets_of, masks, latents, curves = {}, {}, {}, {}, {}, {}
    specs = {
        target_name(target, transform, level): spec_of(target, *((transform, level) if level else ()))
        for transform, levels in transforms.items()
        for target in targets
        for level in levels
    }
    for name in sources:
        specs.setdefault(name, spec_of(name))
        data[name] = str(folder / f"data-{name}.h5")
        with store.create(data[name]) as file:
            write_domain(file, spec_of(name), rng, channels, True)
    for transform, levels in transforms.items():
        names = [target_name(target, transform, level) for target in targets for level in levels]
        targets_of[transform] = names
        families[transform] = str(folder / f"targets-{transform}.h5")
        with store.create(families[transform]) as file:
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
                area = {"n_images": 2, "predicted_foreground": foreground, "true_foreground": 0.3}
                area |= {"pixel_ceiling": 0.9, "clipped_share": 0.0}
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
    correlations = [row | {"below_null": 0.25} for row in correlations]
    networks = [
        {"network": name, "seed": seed, "n_images": 2, "iou": OWN, "dice": 0.95} for name in sources for seed in seeds
    ]
    pairs = pair_table(*map(pd.DataFrame, (segmentation, gains, networks)), specs)
    tables = {"gains": gains, "distances": distances, "correlations": correlations, "networks": networks}
    verdict = {
        "claim": "flips fail",
        "verdict": "supported",
        "experiment": "all",
        "figure": "maps",
        "measure": "best_flip",
        "bound": "at most 1",
    }
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6, "seeds": 3}
    untested = dict.fromkeys(numbers, np.nan) | {"verdict": "not tested", "claim": "an untested claim"}
    tables |= predictor_tables(gains)
    tables["hypotheses"] = [{"hypothesis": "H2"} | verdict | numbers, {"hypothesis": "H9"} | verdict | untested]
    tables["published"] = [{"hypothesis": "H2", "study": "phase"} | verdict | numbers | {"value": 0.7}]
    (folder / "small_tree.txt").write_text("|--- agreement <= 0.5\n")
    for name in ("predictors", "none"):
        panels.save(panels.blank("four bars"), str(folder / f"{name}.svg"))
    key = dict(zip(KEY, (sources[0], targets[0], "identity", 0.0, 0), strict=True)) | {"case": "works"}
    parts = {"source_share": 0.3, "target_share": 0.6, "difference": 0.5, "prior_part": 0.7, "appearance_part": -0.2}
    tables["decomposition"] = [key | {"layer": layer, "channel": 0} | parts for layer in layers]
    look = {"domain": "cells", "split": "test", "images": 12, "series": 60, "passed_over": 1, "why": "1: no reader"}
    look |= {"sizes": "64x64", "channels": 1, "dtype": "uint16", "window_low": 0, "window_high": 255, "window": "given"}
    look |= {
        "grey_low": 3,
        "grey_high": 250,
        "mask_values": "none",
        "foreground_share": np.nan,
        "ignored_share": np.nan,
    }
    tables |= {
        "pairs": pairs,
        "domains": [look | {"notes": ""}] if "cells" in targets else pd.DataFrame(columns=list(look)),
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    paths = {name: str(folder / f"{name}.csv") for name in tables}
    figure_paths = {name: str(folder / f"{name}.svg") for name in FIGURES}
    read = {"tables": paths, "layers": layers}
    drawn = read | {"curves": curves, "masks": masks, "latents": latents, "figure_paths": figure_paths}
    drawn["data_paths"] = {name: str(folder / "data" / f"{name}.csv") for name in FIGURES}
    drawn |= {"specs": specs, "data": data, "targets": families, "targets_of": targets_of}
    drawn |= {"activation": "before_relu", "decays": [], "remedies": ["other"], "figures": figures("draw")}
    written = read | {
        "contents": figures("draw", "predict"),
        "figures": figure_paths,
        "captions": {name: str(TEXTS / f"{name}.rst") for name in figures("draw", "predict")},
        "predictor_figures": {
            "leave_source_out": str(folder / "predictors.svg"),
            "replication": str(folder / "none.svg"),
        },
        "tree_path": str(folder / "small_tree.txt"),
        "comparison": {},
        "folders": [],
        "title": "Does it work? <yes & no>",
        "remedies": ["other"],
        "settings": {"seeds": list(seeds), "model": {"width": 4}},
        "glossary_path": str(TEXTS / "glossary.yaml"),
        "template_path": str(TEXTS / "page.html.j2"),
        "style_path": str(TEXTS / "page.css"),
        "script_paths": [str(TEXTS / f"{name}.js") for name in ("pair", "predictor", "atlas", "download")],
        "data": drawn["data_paths"] | {"leave_source_out": str(folder / "pairs.csv")},
        "atlas_path": str(folder / "atlas.json"),
        "published": {"hypotheses": str(folder / "published.csv")},
        "page_path": str(folder / "report.html"),
        "answer_path": str(folder / "answer.html"),
    }
    return drawn, written


def atlas_arguments(drawn: dict, written: dict) -> dict:
    """The arguments of stage atlas, from those of draw and of report."""
    names = ["tables", "specs", "data", "targets", "targets_of", "masks", "latents", "layers", "activation", "remedies"]
    return {name: drawn[name] for name in names} | {"segmented": [], "atlas_path": written["atlas_path"]}


def two_sources(folder: Path) -> tuple[dict, dict]:
    """The study of two sources, five targets by their means and an unlabelled one, untransformed and noisy."""
    targets, transforms = [*GRID, "cells"], {"identity": [0.0], "noise": [0.1]}
    return make_study(folder, ["0.30-0.70", "0.70-0.30"], targets, transforms, ("cells",))


def text_of(path: str) -> str:
    """All that is written in a figure, which must be well-formed."""
    return " ".join(ElementTree.parse(path).getroot().itertext())
