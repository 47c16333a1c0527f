"""Draw the figures and write the page that answers the question: tables, curves and arrays -> SVG and HTML."""

import base64
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import yaml

from workflow.lib import figures, files, job, showcase, store
from workflow.lib.names import target_name

SCORES = ["iou_before", "iou_after", "own_iou"]
COLUMNS = {
    "iou": "IoU",
    "dice": "Dice",
    "n_images": "test images",
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
    title: str, settings: dict, template_path: str, captions: dict[str, str], figure_paths: dict[str, str],
    page_path: str,
) -> None:  # fmt: skip
    """Write a figure to each of ``figure_paths`` and the page, which holds them all.

    Dicts map to paths: ``tables`` from the name of a table, ``captions`` and ``figure_paths`` from that of a figure,
    ``curves`` from ``domain/seed0``, ``masks`` and ``latents`` from ``source/seed0/family``. ``layers`` are in the
    order of the network, ``settings`` is the config, to be printed, and ``activation`` is the one that figures show.
    """
    segmentation, gains, distances, correlations = (
        read(tables[name]) for name in ("segmentation", "gains", "distances", "correlations")
    )
    oracles = pd.concat([read(path) for path in oracle_paths], ignore_index=True)
    specs, splits = domains(data_paths, targets_paths)
    sources = list(dict.fromkeys(key.split("/")[0] for key in masks))
    pairs = showcase.pairs(segmentation, gains, oracles, specs)
    cases = showcase.cases(pairs)
    pooled = showcase.over_seeds(pairs)
    correlations = in_order(showcase.below_null(correlations, distances), layers)
    clouds = in_order(with_gains(distances[distances["activation"] == activation], pairs), layers)
    for name, figure in {
        "domains": figures.domains(*domain_examples(specs, splits, sources)),
        "training": figures.training(training_curves(curves), sources),
        "maps": figures.maps(pooled[pooled["transform"] == "identity"], specs, sources),
        "transforms": figures.transforms(pooled, sources),
        "predictions": figures.predictions(predictions(cases, splits, masks, showcase.main_method(gains))),
        "latents": figures.latents(latent_samples(cases, latents, layers, activation)),
        "distances": figures.distances(
            clouds, correlations.query("activation == @activation and outcome == 'gain_iou'")
        ),
        "correlations": figures.correlations(correlations),
    }.items():
        figures.save(figure, figure_paths[name])

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = template.from_string(Path(template_path).read_text()).render(
        title=title,
        when=list(showcase.when(pairs)),
        why=list(showcase.why(pairs)),
        told=list(showcase.told(correlations)),
        captions={name: Path(path).read_text().strip().split("\n\n") for name, path in captions.items()},
        figures={name: base64.b64encode(Path(path).read_bytes()).decode() for name, path in figure_paths.items()},
        tables=page_tables(pairs, gains, oracles, correlations, cases),
        unlabelled=sorted(set(segmentation.loc[segmentation["iou"].isna(), "target"])),
        n_pairs=len(pairs),
        seeds=sorted(oracles["seed"].unique()),
        settings=yaml.safe_dump(settings, sort_keys=False),
        versions=versions(),
    )
    with files.replacing(page_path) as partial:
        partial.write_text(page)


def read(path: str) -> pd.DataFrame:
    """A table whose names of domains stay text, whatever they look like."""
    return pd.read_csv(path, dtype={"source": str, "target": str})


def in_order(table: pd.DataFrame, layers: list[str]) -> pd.DataFrame:
    """Rows by layer in the order of the network, and before, then after: not by the alphabet."""
    places = {name: place for place, name in enumerate([*layers, "before", "after"])}
    return table.sort_values(["layer", "state"], key=lambda names: names.map(places), kind="stable")


def with_gains(distances: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distances of the labelled pairs, with their ``gain_iou`` and the ``group`` that colours them."""
    scored = pairs[pairs["gain_iou"].notna()]
    has_polarity = (scored["polarity"] != "").any()
    scored = scored.assign(group=scored["polarity" if has_polarity else "transform"].replace("", "unknown"))
    return showcase.at_identity(distances).merge(scored[[*showcase.KEY, "gain_iou", "group"]], on=showcase.KEY)


def training_curves(curves: dict[str, str]) -> pd.DataFrame:
    """All training curves in one table; ``domain`` and ``seed`` come from the names."""
    parts = []
    for key, path in curves.items():
        domain, _, seed = key.rpartition("/seed")
        parts.append(pd.read_csv(path).assign(domain=domain, seed=int(seed)))
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
    """What :func:`figures.domains` asks for: the transforms are shown on the domain that has most of them."""
    base = [name for name in specs if name in sources or specs[name]["level"] == 0]
    shifted = [spec for spec in specs.values() if spec["level"] != 0]
    names = [spec["name"] for spec in shifted]
    domain = max([*sources, *base], key=names.count)
    levels: dict[str, dict[float, np.ndarray]] = {}
    for spec in shifted:
        if spec["name"] == domain:
            of_transform = levels.setdefault(spec["transform"], {0.0: first_example(splits[domain])[0]})
            name = target_name(domain, spec["transform"], spec["level"])
            of_transform[spec["level"]] = first_example(splits[name])[0]
    return {name: first_example(splits[name]) for name in base}, specs, sources, levels, domain


def predictions(cases: dict, splits: dict, masks: dict[str, str], method: str) -> dict:
    """Case -> label and pictures of its first test image, as :func:`figures.predictions` asks for."""
    shown: dict = dict.fromkeys(cases)
    for name, pair in cases.items():
        if pair is not None:
            image, true = first_example(splits[pair["name"]])
            with store.read(file_of(pair, masks, "")) as file:
                predicted = [file[f"{pair['name']}/{of}"][0] for of in ("source", method)]
            pictures = [image, *(255 * mask for mask in (true, *predicted))]
            titles = ["image", "true mask", "without adaptation", f"with {method}"]
            scores = f"IoU {pair['iou_before']:.3f} → {pair['iou_after']:.3f}\n(source at home {pair['own_iou']:.3f})"
            shown[name] = (f"{label(pair)}\n{scores}", dict(zip(titles, pictures, strict=True)))
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
                    layer: {state: sample(group[f"{layer}/{activation}"]) for state, group in states.items()}
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


def file_of(pair: pd.Series, files: dict[str, str], prefix: str) -> str:
    """The file, of one per source, seed and family, that holds the target of ``pair``."""
    for key, path in files.items():
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
        "methods": html(showcase.method_scores(gains)),
        "cases": html(pd.DataFrame(rows, columns=["case", "rule", "pair", *SCORES])),
        "correlations": html(best[columns]),
    }


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
            title=snakemake.params.title,
            settings=snakemake.params.settings,
            template_path=snakemake.input.template,
            captions=dict(zip(snakemake.params.figures, snakemake.input.captions, strict=True)),
            figure_paths={name: snakemake.output[name] for name in snakemake.params.figures},
            page_path=snakemake.output.page,
        )
