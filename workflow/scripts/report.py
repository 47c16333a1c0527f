"""Draw the figures and write the page that answers the question: tables, curves and arrays -> SVG and HTML."""

import base64
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import yaml

from workflow.lib import answers, figures, files, job, showcase, store
from workflow.lib.names import KEY, PAIR, domain_of, target_name
from workflow.lib.transforms import TRANSFORMS

SCORES = ["iou_before", "iou_after", "own_iou"]
COLUMNS = {
    "iou": "IoU",
    "dice": "Dice",
    "n_images": "test images",
    "n_target_images": "target images",
    "iou_sd": "sd of IoU",
    "iou_before": "IoU before",
    "iou_after": "IoU after",
    "own_iou": "source at home",
    "gain_iou": "gain",
    "ci_low": "from",
    "ci_high": "to",
    "n": "pairs",
    "spearman": "Spearman",
    "below_null": "share not above null",
}
LATENT_CASES = ("works", "fails", "harms")
PACKAGES = ("snakemake", "torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "h5py")


def report(
    tables: dict[str, str], oracle_paths: list[str], curves: dict[str, str], data_paths: list[str],
    targets_paths: list[str], masks: dict[str, str], latents: dict[str, str], layers: list[str], activation: str,
    decays: list[str], predictor_figures: dict[str, str], tree_path: str, title: str, settings: dict,
    template_path: str, captions: dict[str, str], figure_paths: dict[str, str], page_path: str,
    comparison: list[str] | None = None,
) -> None:  # fmt: skip
    """Write a figure to each of ``figure_paths`` and the page, which holds them all.

    Dicts map to paths: ``tables`` from the name of a table, ``captions`` and ``figure_paths`` from that of a figure,
    ``curves`` from ``domain/seed0``, ``masks`` and ``latents`` from ``source/seed0/family``. ``layers`` are in the
    order of the network, ``activation`` is the one that figures show, ``decays`` the networks whose weight decay is
    compared, ``predictor_figures`` those of stage predict by protocol, ``tree_path`` its small tree in words,
    ``settings`` is the config, to be printed, and ``comparison`` the arguments of :func:`compared`, where a method
    trains with target images.
    """
    segmentation, gains, distances, correlations = (
        files.read_csv(tables[name]) for name in ("segmentation", "gains", "distances", "correlations")
    )
    oracles = pd.concat([files.read_csv(path, ["target", "seed", "iou"]) for path in oracle_paths], ignore_index=True)
    specs, splits = domains(data_paths, targets_paths)
    sources = list(dict.fromkeys(key.split("/")[0] for key in masks))
    pairs = showcase.pairs(segmentation, gains, oracles, specs)
    cases = showcase.cases(pairs)
    pooled = showcase.over_seeds(pairs)
    correlations = in_order(showcase.below_null(correlations, distances), layers)
    shown = few(layers)
    clouds = distances.query("activation == @activation and unit == 'position' and layer in @shown")
    clouds = in_order(with_gains(clouds, pairs), layers)
    drawn = {
        "domains": figures.domains(*domain_examples(specs, splits, list(dict.fromkeys(map(domain_of, sources))))),
        "training": figures.training(training_curves(curves), sources),
        "maps": figures.maps(pooled[pooled["transform"] == "identity"], specs, sources),
        "transforms": figures.transforms(pooled, sources),
        "predictions": figures.predictions(predictions(cases, splits, masks, gains)),
        "latents": figures.latents(latent_samples(cases, latents, shown, activation)),
        "distances": figures.distances(
            clouds,
            correlations.query("activation == @activation and unit == 'position' and outcome == 'gain_iou'"),
        ),
        "depth": figures.depth(correlations, distances, layers),
        "correlations": figures.correlations(correlations[correlations["layer"].isin(shown)]),
        "methods": figures.methods(by_method(gains, pairs)),
        "channels": figures.channels(channel_samples(latents, decays, "bottleneck"), "bottleneck"),
    }
    for name, figure in drawn.items():
        figures.save(figure, figure_paths[name])

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = template.from_string(Path(template_path).read_text()).render(
        title=title,
        blank=[name for name, figure in drawn.items() if figure.get_label() == figures.BLANK],
        when=list(showcase.when(pairs)),
        why=list(showcase.why(pairs)),
        told=list(showcase.told(correlations)),
        captions={name: Path(path).read_text().strip().split("\n\n") for name, path in captions.items()},
        figures={name: base64.b64encode(Path(path).read_bytes()).decode() for name, path in figure_paths.items()},
        tables=page_tables(pairs, gains, oracles, correlations, cases)
        | {"hypotheses": html(verdicts(files.read_csv(tables["hypotheses"])))},
        **prediction(tables, pairs, predictor_figures, tree_path),
        unlabelled=sorted(set(segmentation.loc[segmentation["iou"].isna(), "target"])),
        comparison=compared(*comparison) if comparison else None,
        n_pairs=len(pairs),
        seeds=sorted(oracles["seed"].unique()),
        settings=yaml.safe_dump(settings, sort_keys=False),
        versions=versions(),
    )
    with files.replacing(page_path) as partial:
        partial.write_text(page)


def prediction(tables: dict[str, str], pairs: pd.DataFrame, drawn: dict[str, str], tree_path: str) -> dict:
    """What the page says of predictors and advice, and why: sentences, cards and figures."""
    predictors, advice, scores = (files.read_csv(tables[name]) for name in ("predictors", "advice", "scores"))
    advice = advice.astype({"drivers": object, "warning": object}).fillna({"drivers": "", "warning": ""})
    judged = set(predictors["protocol"])
    unlabelled = sorted(set(pairs.loc[pairs["gain_iou"].isna(), "target"]))
    return {
        "predicted": list(answers.predicted(predictors)),
        "advised": list(answers.advised(advice, pairs)),
        "explained": list(answers.explained(pairs, showcase.at_identity(scores))),
        "cards": answers.cards(showcase.at_identity(advice), unlabelled),
        "tree": Path(tree_path).read_text(),
        "protocols": {
            name: base64.b64encode(Path(path).read_bytes()).decode() for name, path in drawn.items() if name in judged
        },
    }


def in_order(table: pd.DataFrame, layers: list[str]) -> pd.DataFrame:
    """Rows by layer in the order of the network, and before, then after: not by the alphabet."""
    places = {name: place for place, name in enumerate([*layers, "before", "after"])}
    return table.sort_values(["layer", "state"], key=lambda names: names.map(places), kind="stable")


def few(layers: list[str]) -> list[str]:
    """At most three layers, for figures with a row each: the first, the deepest and the last."""
    return layers if len(layers) <= 3 else [layers[0], "bottleneck", layers[-1]]


def with_gains(distances: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distances of the labelled pairs, with their ``gain_iou`` and the ``group`` that colours them."""
    scored = pairs[pairs["gain_iou"].notna()]
    has_polarity = (scored["polarity"] != "").any()
    scored = scored.assign(group=scored["polarity" if has_polarity else "transform"].replace("", "unknown"))
    return showcase.at_identity(distances).merge(scored[[*KEY, "gain_iou", "group"]], on=KEY)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The hypotheses that this study tests, with the interval in one column."""
    table = table[table["verdict"] != "not tested"]
    spans = [
        f"{value:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")
        for value, low, high in zip(table["value"], table["low"], table["high"], strict=True)
    ]
    return table.assign(measured=spans)[
        ["hypothesis", "claim", "verdict", "measured", "bound", "seeds", "experiment", "figure"]
    ]


def by_method(gains: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Gains of all methods over the shifts, averaged over seeds, with the polarity of the pair.

    A pair under one method compares nothing: it is left out where others have several.
    """
    known = pairs.loc[~pairs["home"], [*KEY, "polarity"]]
    merged = showcase.at_identity(gains[gains["gain_iou"].notna()]).merge(known, on=KEY)
    several = merged.groupby(KEY)["method"].transform("nunique") > 1
    merged = merged[several | ~several.any()]
    fixed = [*PAIR, "method", "polarity"]
    return merged.groupby(fixed, sort=False)["gain_iou"].mean().reset_index()


def channel_samples(latents: dict[str, str], networks: list[str], layer: str) -> dict[str, dict[str, np.ndarray]]:
    """Network -> activation -> rows (r, C) of the source's own images, where both activations were kept."""
    shown = {}
    for network in networks:
        path = next(path for key, path in latents.items() if key.startswith(f"{network}/"))
        with store.read(path) as file:
            kept = file["source/reference"].get(layer, {})
            if {"before_relu", "after_relu"} <= set(kept):
                shown[network] = {activation: group["position/rows"][:] for activation, group in kept.items()}
    return shown


def training_curves(curves: dict[str, str]) -> pd.DataFrame:
    """All training curves in one table; ``domain`` and ``seed`` come from the names."""
    parts = []
    for key, path in curves.items():
        domain, _, seed = key.rpartition("/seed")
        parts.append(files.read_csv(path, ["epoch"]).assign(domain=domain, seed=int(seed)))
    return pd.concat(parts, ignore_index=True)


def domains(data_paths: list[str], targets_paths: list[str]) -> tuple[dict[str, dict], dict[str, tuple[str, str]]]:
    """Full name of every domain -> its parameters, and -> (file, group) of its test split; targets come first."""
    specs, splits = {}, {}
    for path in [*targets_paths, *data_paths]:
        with store.read(path) as file:
            groups = [file] if path in data_paths else [file[name] for name in file]
            for group in groups:
                spec = store.get_json(group, "domain")
                name = target_name(spec["name"], spec["transform"], spec["level"])
                specs.setdefault(name, spec)
                splits.setdefault(name, (path, f"{group.name}/test"))
    return specs, splits


def first_example(split: tuple[str, str]) -> tuple[np.ndarray, np.ndarray | None]:
    """First image of a split, uint8 (H, W) or (H, W, 3), and its mask (H, W) where there is one."""
    path, group = split
    with store.read(path) as file:
        images, masks = store.stacks(file[group])[0]
        return images[0], None if masks is None else masks[0]


def domain_examples(specs: dict, splits: dict, sources: list[str]) -> tuple:
    """What :func:`figures.domains` asks for: a transform is shown on the domain that has most levels of it, of several
    on the one that has most of all transforms."""
    base = [name for name in specs if name in sources or specs[name]["level"] == 0]
    shifted = [spec for spec in specs.values() if spec["level"] != 0]
    names = [spec["name"] for spec in shifted]
    levels: dict[str, dict[float, tuple]] = {}
    for transform in dict.fromkeys(spec["transform"] for spec in shifted):
        own = [spec["name"] for spec in shifted if spec["transform"] == transform]
        domain = max(dict.fromkeys([*sources, *base, *own]), key=lambda name: (own.count(name), names.count(name)))
        shown = {0.0: domain} if domain in splits else {}
        for spec in shifted:
            if (spec["name"], spec["transform"]) == (domain, transform):
                shown[spec["level"]] = target_name(domain, transform, spec["level"])
        title = f"{transform}, {TRANSFORMS[transform].unit}: {domain}"
        levels[title] = {level: first_example(splits[name]) for level, name in shown.items()}
    return {name: first_example(splits[name]) for name in base}, specs, sources, levels


def predictions(cases: dict, splits: dict, masks: dict[str, str], gains: pd.DataFrame) -> dict:
    """Case -> label and pictures of its first test image, as :func:`figures.predictions` asks for."""
    main = showcase.main_method(gains)
    methods = [main, *(name for name in gains["method"].unique() if name != main)]
    shown: dict = dict.fromkeys(cases)
    for name, pair in cases.items():
        if pair is not None:
            image, true = first_example(splits[pair["name"]])
            with store.read(file_of(pair, masks, "")) as file:
                predicted = {method: 255 * file[f"{pair['name']}/{method}"][0] for method in ("source", *methods)}
            pictures = {"image": image, "true mask": 255 * true, "unadapted": predicted.pop("source"), **predicted}
            scores = f"IoU {pair['iou_before']:.3f} → {pair['iou_after']:.3f}\n(source at home {pair['own_iou']:.3f})"
            shown[name] = (f"{label(pair)}\n{scores}", pictures)
    return shown


def label(pair: pd.Series) -> str:
    """Source, target and transform of a pair in words."""
    level = "" if pair["transform"] == "identity" else f", {pair['transform']} {pair['level']:g}"
    return f"{pair['source']} → {pair['target']}{level}"


def latent_samples(cases: dict, latents: dict[str, str], layers: list[str], activation: str) -> dict:
    """Samples of source and target for :data:`LATENT_CASES`, as :func:`figures.latents` asks for."""
    shown = {}
    for name, pair in cases.items():
        if pair is not None and name in LATENT_CASES:
            with store.read(file_of(pair, latents, "targets/")) as file:
                states = {"source": file["source/reference"], **file[f"targets/{pair['name']}"]}
                shown[f"{name}: {label(pair)}"] = {
                    layer: {state: sample(group[f"{layer}/{activation}/position"]) for state, group in states.items()}
                    for layer in layers
                }
    return shown


def sample(group) -> dict[str, np.ndarray]:
    """``rows`` (r, C), ``mean`` (C,) and standard deviation ``sd`` (C,) of one layer."""
    return {
        "rows": group["rows"][:],
        "mean": group["mean"][:],
        "sd": np.sqrt(np.diagonal(group["covariance"][:]).clip(0)),
    }


def file_of(pair: pd.Series, paths: dict[str, str], prefix: str) -> str:
    """The file, of one per source, seed and family, that holds the target of ``pair``."""
    for key, path in paths.items():
        if key.startswith(f"{pair['source']}/seed{pair['seed']}/"):
            with store.read(path) as file:
                if prefix + pair["name"] in file:
                    return path
    raise LookupError(f"no file holds {pair['name']} as a target of {pair['source']}")


def page_tables(
    pairs: pd.DataFrame, gains: pd.DataFrame, oracles: pd.DataFrame, correlations: pd.DataFrame, cases: dict
) -> dict[str, str]:
    """The tables of the page, in HTML."""
    best = pd.concat(showcase.strongest(correlations, outcome).head(6) for outcome in ("gain_iou", "iou_after"))
    columns = [
        "outcome",
        "distance",
        "layer",
        "activation",
        "unit",
        "state",
        "spearman",
        "ci_low",
        "ci_high",
        "n",
        "below_null",
    ]
    rows = []
    for case in showcase.CASES:
        pair = cases[case.name]
        empty = {"pair": "does not occur"}
        found = empty if pair is None else {"pair": label(pair), **pair[SCORES]}
        rows.append({"case": case.name, "rule": case.rule} | found)
    return {
        "oracles": html(oracles[["target", "seed", "n_images", "iou", "dice"]].sort_values(["target", "seed"])),
        "trainings": html(trainings) if len(trainings := showcase.by_training(pairs)) else "",
        "methods": html(showcase.method_scores(gains)),
        "cases": html(pd.DataFrame(rows, columns=["case", "rule", "pair", *SCORES])),
        "correlations": html(best[columns]),
    }


def compared(baselines_path: str, costs_path: str, figure_path: str, caption_path: str, talk_path: str) -> dict:
    """What the section on the baselines shows: its tables in HTML, and its figure."""
    table, costs = files.read_csv(baselines_path), files.read_csv(costs_path)
    seconds = costs.groupby(["method", "source", "target"])["training_seconds"].mean()
    at_home = {source: seconds.get(("source", source, source)) for source in table["source"]}
    names = [target_name(*key) for key in zip(table["target"], table["transform"], table["level"], strict=True)]
    keys = zip(table["method"].str.removesuffix("+batchnorm"), table["source"], names, strict=True)
    # Adaptation starts from the source's network; the oracle is the network of the target.
    table["training_seconds"] = [
        seconds.get(("source", target, target) if method == "target" else (method, source, target), at_home[source])
        for method, source, target in keys
    ]
    shown = [
        *["method", "selection", "seeds", "n_target_images", "image_presentations", "iou", "iou_sd", "gain_iou"],
        *["gap_closed", "training_seconds", "status"],
    ]
    table = table.assign(target=names, status=table["status"].fillna(""), order=table["method"].map(_place))
    table = table.sort_values(["source", "target", "order", "method"])
    directions = {
        f"{source} → {target}": html(rows[shown]) for (source, target), rows in table.groupby(["source", "target"])
    }
    return {
        "directions": directions,
        "talk": html(pd.read_csv(talk_path)),
        "figure": base64.b64encode(Path(figure_path).read_bytes()).decode(),
        "caption": Path(caption_path).read_text().strip().split("\n\n"),
    }


def _place(method: str) -> int:
    """Rows in the order of the question: without adaptation, all others, the oracle."""
    return {"source": 0, "target": 2}.get(method, 1)


def html(table: pd.DataFrame) -> str:
    """A table in HTML, escaped, with the columns in words."""
    named = table.rename(columns=lambda name: COLUMNS.get(name, name.replace("_", " ")))
    # Adding 0 makes a rounded -0 positive.
    return named.to_html(index=False, border=0, na_rep="–", float_format=lambda value: f"{round(value, 3) + 0:.3f}")


def versions() -> dict[str, str]:
    """Package -> version, of those installed where the page is made."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        report(
            tables={name: snakemake.input[name] for name in snakemake.params.tables},
            oracle_paths=list(snakemake.input.oracles),
            curves=dict(zip(snakemake.params.networks, snakemake.input.curves, strict=True)),
            data_paths=list(snakemake.input.data),
            targets_paths=list(snakemake.input.targets),
            masks=dict(zip(snakemake.params.jobs, snakemake.input.masks, strict=True)),
            latents=dict(zip(snakemake.params.jobs, snakemake.input.latents, strict=True)),
            layers=snakemake.params.layers,
            activation=snakemake.params.activation,
            decays=snakemake.params.decays,
            predictor_figures=dict(zip(snakemake.params.protocols, snakemake.input.predictor_figures, strict=True)),
            tree_path=snakemake.input.tree,
            title=snakemake.params.title,
            settings=snakemake.params.settings,
            template_path=snakemake.input.template,
            captions=dict(zip(snakemake.params.captions, snakemake.input.captions, strict=True)),
            figure_paths={name: snakemake.output[name] for name in snakemake.params.figures},
            page_path=snakemake.output.page,
            comparison=list(snakemake.input.comparison),
        )
