"""Ask how well each distance orders the outcomes of BN adaptation: tables -> correlations."""

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.findings.correlations import correlate as correlations
from shiftgain.study.names import KEY, PLAIN


def correlate(
    gains_path: str, distances_path: str, correlations_path: str, outcomes: list[str], bootstrap: int
) -> None:
    """Write a row per distance, layer, activation, unit, state and outcome; intervals are over domains."""
    # Of a study in which nothing can be adapted the table is empty, and nothing says what its columns hold.
    gains = read_csv(gains_path, [*KEY, "method", *outcomes]).astype(dict.fromkeys(outcomes, float))
    table = correlations(
        read_csv(distances_path, [*KEY, "layer", "distance", "value", "null"]),
        gains[gains["method"] == PLAIN],
        outcomes=outcomes,
        n_bootstrap=bootstrap,
        seed=0,
    )
    write_csv(table, correlations_path, "%.9g")


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        correlate(
            gains_path=snakemake.input.gains,
            distances_path=snakemake.input.distances,
            correlations_path=snakemake.output.correlations,
            outcomes=snakemake.params.outcomes,
            bootstrap=snakemake.params.bootstrap,
        )
