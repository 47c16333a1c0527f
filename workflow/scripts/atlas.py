"""Gather what the atlas of the page shows of every pair: tables, images, masks and latents -> JSON."""

import json

from shiftgain.files import job
from shiftgain.files.tables import read_csv, replacing
from shiftgain.findings.pairs import read_pairs
from shiftgain.report import atlas as gather
from shiftgain.report.pictures import scored_splits


def atlas(
    tables: dict[str, str], specs: dict[str, dict], data: dict[str, str], targets: dict[str, str],
    targets_of: dict[str, list[str]], masks: dict[str, str], latents: dict[str, str], layers: list[str],
    activation: str, remedies: list[str], atlas_path: str,
) -> None:  # fmt: skip
    """Write the atlas as JSON: :func:`shiftgain.report.atlas.contents` and, of the pairs that have room, pictures.

    Dicts map to paths: ``tables`` from the name of a table, ``data`` from a domain, ``targets`` from a shift family,
    ``masks`` and ``latents`` from ``source/seed0/family``, of the first seed of each pair. ``specs``: parameters of
    every domain by full name; ``targets_of``: full names of the targets of a family.
    """
    rows = gather.pair_rows(read_pairs(tables["pairs"]))
    advice, distances = read_csv(tables["advice"]), read_csv(tables["distances"])
    distances = distances.query("activation == @activation and unit == 'position'")
    said = gather.contents(rows, advice, distances, specs, layers, remedies)
    jobs = {(job.split("/")[0], name): job for job in reversed(masks) for name in targets_of[job.split("/")[2]]}
    pictures = gather.gathered(
        rows, scored_splits(data, targets, targets_of), jobs, masks, latents, layers, activation, said["methods"],
        gather.PICTURE_CHARACTERS,
    )  # fmt: skip
    with replacing(atlas_path) as partial:
        partial.write_text(json.dumps(said | pictures, separators=(",", ":"), allow_nan=False))


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        atlas(
            tables={name: snakemake.input[name] for name in snakemake.params.tables},
            specs=snakemake.params.specs,
            data=dict(zip(snakemake.params.domains, snakemake.input.data, strict=True)),
            targets=dict(zip(snakemake.params.targets_of, snakemake.input.targets, strict=True)),
            targets_of=snakemake.params.targets_of,
            masks=dict(zip(snakemake.params.jobs, snakemake.input.masks, strict=True)),
            latents=dict(zip(snakemake.params.jobs, snakemake.input.latents, strict=True)),
            layers=snakemake.params.layers,
            activation=snakemake.params.activation,
            remedies=snakemake.params.remedies,
            atlas_path=snakemake.output.atlas,
        )
