"""Draw the figures of the study: tables, curves and arrays -> SVG."""

import pandas as pd

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.findings.cases import example_cases
from shiftgain.findings.conditions import remedy_scores
from shiftgain.findings.correlations import with_gains
from shiftgain.findings.layers import few, in_order
from shiftgain.findings.pairs import of_jobs, over_seeds, read_pairs
from shiftgain.findings.summaries import by_method
from shiftgain.report import of_images, of_latents, of_outcomes, of_remedies, panels
from shiftgain.report.latent_tables import by_depth, channel_histograms, histograms
from shiftgain.report.pictures import (
    channel_rows,
    gallery,
    latent_samples,
    predicted_masks,
    scored_splits,
    training_curves,
)
from shiftgain.study.names import domain_of

MODULES = {"images": of_images, "outcomes": of_outcomes, "latents": of_latents, "remedies": of_remedies}
CHANNEL_LAYER = "bottleneck"


def draw(
    tables: dict[str, str], specs: dict[str, dict], curves: dict[str, str], data: dict[str, str],
    targets: dict[str, str], targets_of: dict[str, list[str]], masks: dict[str, str], latents: dict[str, str],
    layers: list[str], activation: str, decays: list[str], remedies: list[str],
    figures: dict[str, dict], figure_paths: dict[str, str], data_paths: dict[str, str],
) -> None:  # fmt: skip
    """Write a figure to each of ``figure_paths``, and the numbers in it to the path of its name in ``data_paths``.

    Dicts map to paths: ``tables`` from the name of a table, ``figure_paths`` from that of a figure, ``curves`` from
    ``domain/seed0``, ``data`` from a domain, ``targets`` from a shift family, ``masks`` and ``latents`` from
    ``source/seed0/family``; images, masks and latents are of the first seed of each pair. ``specs`` are the parameters
    of every domain by full name, ``targets_of`` the full names of the targets of every family. ``layers`` are in the
    order of the network, ``activation`` is the one that figures show, ``decays`` the networks whose weight decay is
    compared, ``remedies`` the methods that are remedies. ``figures``: name -> the module it is ``of`` and what it
    ``needs``, and the table that is its ``data`` (:mod:`shiftgain.report.contents`).
    """
    pairs = read_pairs(tables["pairs"])
    gains, distances, correlations = (read_csv(tables[name]) for name in ("gains", "distances", "correlations"))
    splits = scored_splits(data, targets, targets_of)
    sources = list(dict.fromkeys(key.split("/")[0] for key in masks))
    cases = example_cases(of_jobs(pairs, masks, targets_of))
    correlations = in_order(correlations, layers)
    few_layers = few(layers)
    clouds = distances.query("activation == @activation and unit == 'position' and layer in @few_layers")
    clouds = in_order(with_gains(clouds, pairs), layers)
    channels = channel_rows(latents, decays, CHANNEL_LAYER)
    source_domains = list(dict.fromkeys(map(domain_of, sources)))
    material = {
        "sources": sources,
        "source_domains": source_domains,
        "specs": specs,
        "layers": layers,
        "pairs": over_seeds(pairs),
        "gallery": gallery(specs, splits, source_domains),
        "curves": training_curves(curves),
        "cases": predicted_masks(cases, targets, masks, gains, remedies),
        "histogram_table": histograms(latent_samples(cases, latents, few_layers, activation)),
        "clouds": clouds,
        "correlation_table": correlations,
        "depth_table": by_depth(distances, correlations),
        "remedy_table": remedy_scores(over_seeds(pairs), remedies),
        "decomposition_table": read_csv(tables["decomposition"], ["case", "layer", "difference"]),
        "gains_by_method": by_method(gains, pairs),
        "channel_rows": channels,
        "channel_table": channel_histograms(channels),
        "domain_table": pd.json_normalize(list(specs.values()), sep="_"),
        "case_table": pd.DataFrame([pair.rename(None) for pair in cases.values() if pair is not None]),
        "channel_layer": CHANNEL_LAYER,
    }
    for name, path in figure_paths.items():
        function = getattr(MODULES[figures[name]["of"]], name)
        panels.save(function(**{need: material[need] for need in figures[name]["needs"]}), path)
        write_csv(material[figures[name]["data"]], data_paths[name], "%.6g")


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        draw(
            **job.by_name(snakemake.input, snakemake.params.names),
            tables={name: snakemake.input[name] for name in snakemake.params.tables},
            specs=snakemake.params.specs,
            targets_of=snakemake.params.targets_of,
            layers=snakemake.params.layers,
            activation=snakemake.params.activation,
            decays=snakemake.params.decays,
            remedies=snakemake.params.remedies,
            figures=snakemake.params.figures,
            figure_paths={name: snakemake.output[name] for name in snakemake.params.figures},
            data_paths={name: snakemake.output[f"{name}_data"] for name in snakemake.params.figures},
        )
