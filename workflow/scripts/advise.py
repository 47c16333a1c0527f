"""Advise on every pair of the study, labelled or not: scores + a fitted predictor -> whether to adapt."""

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.prediction import forest
from shiftgain.prediction.advice import advise as advice
from shiftgain.study.names import KEY


def advise(scores_path: str, predictor_path: str, advice_path: str) -> None:
    """Write ``advice.csv`` as :func:`shiftgain.prediction.advice.advise`; nothing is fitted."""
    scores = read_csv(scores_path, KEY)
    write_csv(advice(scores, forest.load(predictor_path)), advice_path, "%.9g")


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        advise(
            scores_path=snakemake.input.scores,
            predictor_path=snakemake.input.predictor,
            advice_path=snakemake.output.advice,
        )
