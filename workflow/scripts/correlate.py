"""Ask how well each distance orders the outcomes of BN adaptation: tables -> correlations."""

from workflow.lib import files, job
from workflow.lib.correlations import correlate as correlations
from workflow.lib.names import KEY

METHOD = "batchnorm"


def correlate(
    gains_path: str, distances_path: str, correlations_path: str, outcomes: list[str], bootstrap: int
) -> None:
    """Write a row per distance, layer, activation, state and outcome; intervals are over domains."""
    gains = files.read_csv(gains_path, [*KEY, "method", *outcomes])
    table = correlations(
        files.read_csv(distances_path, [*KEY, "layer", "distance", "value"]),
        gains[gains["method"] == METHOD],
        outcomes=outcomes,
        n_bootstrap=bootstrap,
        seed=0,
    )
    files.write_csv(table, correlations_path, "%.9g")


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        correlate(
            gains_path=snakemake.input.gains,
            distances_path=snakemake.input.distances,
            correlations_path=snakemake.output.correlations,
            outcomes=snakemake.params.outcomes,
            bootstrap=snakemake.params.bootstrap,
        )
