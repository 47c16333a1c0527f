"""Advise on every pair of the study, labelled or not: scores + a fitted predictor -> whether to adapt."""

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.prediction import forest
from shiftgain.prediction.advice import advise as advice
from shiftgain.study.names import KEY

METHOD = "batchnorm"
# Of the target: those adapted to, and those segmented.
IMAGES = ["n_target_images", "n_images"]


def advise(scores_path: str, segmentation_path: str, predictor_path: str, advice_path: str) -> None:
    """Write ``advice.csv`` as :func:`shiftgain.prediction.advice.advise`; nothing is fitted.

    Beside each pair stands how many images of the target were adapted to, and how many were segmented.
    """
    scores = read_csv(scores_path, KEY)
    segmentation = read_csv(segmentation_path, [*KEY, "method", *IMAGES])
    images = segmentation[segmentation["method"] == METHOD][[*KEY, *IMAGES]].astype(dict.fromkeys(IMAGES, "Int64"))
    write_csv(advice(scores, forest.load(predictor_path)).merge(images, "left", KEY), advice_path, "%.9g")


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        advise(
            scores_path=snakemake.input.scores,
            segmentation_path=snakemake.input.segmentation,
            predictor_path=snakemake.input.predictor,
            advice_path=snakemake.output.advice,
        )
