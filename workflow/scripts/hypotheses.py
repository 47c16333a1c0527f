"""Judge the hypotheses on when and why adaptation works: tables -> a verdict each."""

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.findings.measures.selection import Tables
from shiftgain.findings.pairs import by_pair, read_pairs
from shiftgain.findings.verdicts import Hypothesis, judge
from shiftgain.study.names import DISTANCE, KEY


def hypotheses(
    pairs_path: str,
    distances_path: str,
    channels_path: str,
    scores_path: str,
    irregular: dict[str, list[str]],
    judged: dict[str, dict],
    verdicts_path: str,
) -> None:
    """Write a row per hypothesis ``judged``: name -> its entry of ``workflow/hypotheses.yaml``.

    ``irregular`` names the variants with another schedule or momentum.
    """
    pairs = read_pairs(pairs_path)
    distances = read_csv(distances_path, [*KEY, *DISTANCE, "value", "null"])
    channels = read_csv(channels_path, ["source", "seed", "dead", "non_gaussian"])
    scores = by_pair(read_csv(scores_path, [*KEY, "method"]))
    tables = Tables(pairs[pairs["iou_before"].notna()], distances, channels, scores, irregular)
    entries = {name: Hypothesis(**entry) for name, entry in judged.items()}
    write_csv(judge(tables, entries), verdicts_path, "%.6g")


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        hypotheses(
            pairs_path=snakemake.input.pairs,
            distances_path=snakemake.input.distances,
            channels_path=snakemake.input.channels,
            scores_path=snakemake.input.scores,
            irregular=snakemake.params.irregular,
            judged={name: snakemake.params[name] for name in snakemake.params.judged},
            verdicts_path=snakemake.output.verdicts,
        )
