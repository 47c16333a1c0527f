"""Gather what the atlas of the page shows of every pair: tables, images, masks and latents -> JSON."""

import json

from shiftgain.files import job
from shiftgain.files.tables import read_csv, replacing
from shiftgain.findings.pairs import read_pairs
from shiftgain.report import atlas as gather
from shiftgain.report import cards
from shiftgain.report.pictures import scored_splits
from shiftgain.study.names import KEY


def atlas(
    tables: dict[str, str], specs: dict[str, dict], data: dict[str, str], targets: dict[str, str],
    targets_of: dict[str, list[str]], masks: dict[str, str], latents: dict[str, str], layers: list[str],
    activation: str, remedies: list[str], segmented: list[str], atlas_path: str,
) -> None:  # fmt: skip
    """Write the atlas as JSON: :func:`shiftgain.report.atlas.contents` and, of the pairs that have room, pictures.

    Besides, the ``cards`` that the page shows without a script, those of the targets ``segmented`` first.

    Dicts map to paths: ``tables`` from the name of a table, ``data`` from a domain, ``targets`` from a shift family,
    ``masks`` and ``latents`` from ``source/seed0/family``, of the first seed of each pair. ``specs``: parameters of
    every domain by full name; ``targets_of``: full names of the targets of a family.
    """
    rows = gather.pair_rows(read_pairs(tables["pairs"]))
    advice, distances = cards.read(tables["advice"]), read_csv(tables["distances"])
    distances = distances.query("activation == @activation and unit == 'position'")
    said = gather.contents(rows, advice, distances, specs, layers, remedies)
    jobs = {(job.split("/")[0], name): job for job in reversed(masks) for name in targets_of[job.split("/")[2]]}
    splits = scored_splits(data, targets, targets_of)
    pictures = gather.gathered(
        rows, splits, jobs, masks, latents, layers, activation, said["methods"],
        gather.PICTURE_CHARACTERS,
    )  # fmt: skip
    shown = cards.cards(advice, sorted(set(rows.loc[rows["iou_before"].isna(), "target"])), segmented)
    looks = gather.compared(shown, splits, jobs, masks)
    said["cards"] = [
        {name: card[name] for name in (*KEY, "action", "decision", *cards.FIELDS)} | {"pictures": look}
        for card, look in zip(shown, looks, strict=True)
    ]
    with replacing(atlas_path) as partial:
        partial.write_text(json.dumps(said | pictures, separators=(",", ":"), allow_nan=False))


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        atlas(
            **job.by_name(snakemake.input, snakemake.params.names),
            tables={name: snakemake.input[name] for name in snakemake.params.tables},
            specs=snakemake.params.specs,
            targets_of=snakemake.params.targets_of,
            layers=snakemake.params.layers,
            activation=snakemake.params.activation,
            remedies=snakemake.params.remedies,
            segmented=snakemake.params.segmented,
            atlas_path=snakemake.output.atlas,
        )
