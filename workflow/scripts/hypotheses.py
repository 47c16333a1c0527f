"""Judge the hypotheses on when and why adaptation works: tables -> a verdict each."""

import pandas as pd

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.findings.hypotheses import Tables, judge, wide
from shiftgain.study.names import KEY


def hypotheses(
    segmentation_path: str,
    gains_path: str,
    distances_path: str,
    channels_path: str,
    scores_path: str,
    oracle_paths: list[str],
    irregular: dict[str, list[str]],
    judged: list[str],
    verdicts_path: str,
) -> None:
    """Write a row per hypothesis ``judged``; ``irregular`` names the variants with another schedule or momentum."""
    segmentation = read_csv(segmentation_path, [*KEY, "method", "iou"])
    gains = read_csv(gains_path, [*KEY, "method", "iou_after"])
    distances = read_csv(distances_path, [*KEY, "layer", "distance", "value"])
    channels = read_csv(channels_path, ["source", "seed", "dead", "non_gaussian"])
    scores = read_csv(scores_path, KEY)
    oracles = pd.concat([read_csv(path, ["target", "seed", "iou"]) for path in oracle_paths], ignore_index=True)
    tables = Tables(wide(segmentation, gains, oracles), distances, channels, scores, irregular)
    write_csv(judge(tables, judged), verdicts_path, "%.6g")


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        hypotheses(
            segmentation_path=snakemake.input.segmentation,
            gains_path=snakemake.input.gains,
            distances_path=snakemake.input.distances,
            channels_path=snakemake.input.channels,
            scores_path=snakemake.input.scores,
            oracle_paths=list(snakemake.input.oracles),
            irregular=snakemake.params.irregular,
            judged=snakemake.params.judged,
            verdicts_path=snakemake.output.verdicts,
        )
