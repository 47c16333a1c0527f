"""Advise on every pair of the study, labelled or not: scores + a fitted predictor -> whether to adapt."""

from workflow.lib import files, forest, job
from workflow.lib.advice import advise as advice
from workflow.lib.names import KEY


def advise(scores_path: str, predictor_path: str, advice_path: str) -> None:
    """Write ``advice.csv`` as :func:`workflow.lib.advice.advise`; nothing is fitted."""
    scores = files.read_csv(scores_path, KEY)
    files.write_csv(advice(scores, forest.load(predictor_path)), advice_path, "%.9g")


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        advise(
            scores_path=snakemake.input.scores,
            predictor_path=snakemake.input.predictor,
            advice_path=snakemake.output.advice,
        )
