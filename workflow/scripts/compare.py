"""Set the baselines beside adaptation: tables and benchmarks -> one row per pair and method, costs, and a figure.

What jobs cost differs from run to run, so it has a table of its own, which does not repeat byte for byte.
"""

import pandas as pd

from shiftgain.files import job, store
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.findings.pairs import numbered, sorted_by
from shiftgain.report import of_images, panels
from shiftgain.report.pictures import PictureRow, first_example, thinned
from shiftgain.study.names import KEPT, PAIR, full_names

COSTS = ["stage", "method", "source", "target", "seed", "training_seconds", "peak_mb"]


def compare(
    segmentation_path: str,
    gains_path: str,
    trainings: list[tuple[str, str, str, int]],
    benchmarks: dict[tuple[str, str, str, str, int], str],
    masks: dict[str, str],
    targets: dict[str, str],
    baselines_path: str,
    costs_path: str,
    figure_path: str,
) -> None:
    """Write the two tables and the figure.

    ``trainings``: (baseline, source, full name of the target, seed); ``benchmarks``: (stage, method, source, target,
    seed) -> what Snakemake measured of that job; ``masks``: ``source/seed0/family`` -> predicted masks; ``targets``:
    family -> its images.
    """
    segmentation = read_csv(segmentation_path, [*PAIR, "method", "seed", "iou"])
    gains = read_csv(gains_path, [*PAIR, "method", "seed", "gain_iou"])
    pairs = {(source, target) for _, source, target, _ in trainings}
    measured = costs(benchmarks)
    write_csv(summary(of_pairs(segmentation, pairs), gains), baselines_path, "%.9g")
    write_csv(measured, costs_path, "%.9g")
    panels.save(of_images.masks_by_method(pictures(sorted(pairs), masks, targets)), figure_path)


def of_pairs(table: pd.DataFrame, pairs: set[tuple[str, str]]) -> pd.DataFrame:
    """The rows of ``table`` whose source and full target are among ``pairs``."""
    return table[[pair in pairs for pair in zip(table["source"], full_names(table), strict=True)]]


def summary(segmentation: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """A row per pair, method and selection rule: mean and standard deviation over seeds; empty sd for one seed.

    ``seeds`` counts the seeds with a score, and ``status`` names what went wrong in any.
    """
    outcomes = gains[[*PAIR, "method", "seed", "gain_iou", "gap_closed"]]
    rows = segmentation.merge(outcomes, on=[*PAIR, "method", "seed"], how="left")
    rows[["selection", "status"]] = rows[["selection", "status"]].fillna("").astype(str)
    keys = [*PAIR, "method", "selection"]
    table = (
        rows.groupby(keys)
        .agg(
            seeds=("iou", "count"),
            n_target_images=("n_target_images", "max"),
            image_presentations=("image_presentations", "mean"),
            iou=("iou", "mean"),
            iou_sd=("iou", "std"),
            gain_iou=("gain_iou", "mean"),
            gain_sd=("gain_iou", "std"),
            gap_closed=("gap_closed", "mean"),
            status=("status", lambda statuses: "; ".join(sorted(set(statuses) - {""}))),
        )
        .reset_index()
    )
    return sorted_by(table, keys)


def costs(benchmarks: dict[tuple[str, str, str, str, int], str]) -> pd.DataFrame:
    """A row per job: wall seconds, starting included, of its last attempt, and its peak memory in MB."""
    rows = []
    for key, path in benchmarks.items():
        measured = read_csv(path, ["s", "max_rss"], sep="\t", na_values=["", "-", "NA"]).iloc[-1]
        rows.append((*key, measured["s"], measured["max_rss"]))
    return pd.DataFrame(rows, columns=COSTS).sort_values(COSTS[:5])


def pictures(pairs: list[tuple[str, str]], masks: dict[str, str], targets: dict[str, str]) -> list[PictureRow]:
    """Of the first test image of each pair: the image, the truth, and each method's mask.

    Of the first seed; the first shift family that holds the pair speaks for it.
    """
    rows: dict[str, PictureRow] = {}
    for source, target in pairs:
        for key, path in masks.items():
            label = f"{source} → {target}"
            with store.read(path) as predicted:
                if key.split("/")[0] == source and target in predicted and label not in rows:
                    image, true, _ = first_example((targets[key.split("/")[2]], f"{target}/test"))
                    drawn = {"image": image} | ({} if true is None else {"true mask": 255 * true})
                    methods = pd.Index(list(predicted[target])).sort_values(key=numbered)
                    for method in sorted(methods, key=lambda name: name != KEPT):
                        drawn[method] = 255 * thinned(predicted[f"{target}/{method}"][0])
                    rows[label] = PictureRow(label, drawn)
    return list(rows.values())


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        compare(
            **job.by_name(snakemake.input, snakemake.params.names),
            segmentation_path=snakemake.input.segmentation,
            gains_path=snakemake.input.gains,
            trainings=snakemake.params.trainings,
            baselines_path=snakemake.output.baselines,
            costs_path=snakemake.output.costs,
            figure_path=snakemake.output.figure,
        )
