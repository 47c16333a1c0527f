"""Advise on every pair of the study, labelled or not: scores + predictor + rehearsals -> what to do."""

from collections.abc import Sequence

import pandas as pd

from shiftgain.files import job
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.prediction import forest
from shiftgain.prediction.advice import advise as advice
from shiftgain.prediction.estimator import read_rehearsals
from shiftgain.study.names import KEY

# Columns of the numbers of target images: adapted to, and segmented.
IMAGES = ["n_target_images", "n_images"]


def advise(
    scores_path: str,
    segmentation_path: str,
    rehearsal_paths: list[str],
    predictor_path: str,
    advice_path: str,
    order: Sequence[str],
    options: dict,
    code: str,
) -> None:
    """Write ``advice.csv`` as :func:`shiftgain.prediction.advice.advise`.

    Beside each pair stands how many images of the target its action was adapted to, and how many were segmented.
    ``order``: actions, the simpler first. ``options``: ``trees``, ``leaf`` and ``coverage``.
    ``code``: of the scores, as :func:`forest.load`.
    """
    scores = read_csv(scores_path, [*KEY, "method"])
    segmentation = read_csv(segmentation_path, [*KEY, "method", *IMAGES])
    images = segmentation.rename(columns={"method": "action"})[[*KEY, "action", *IMAGES]]
    advised = advice(scores, forest.load(predictor_path, code), read_rehearsals(rehearsal_paths), order, options)
    table = advised.merge(images.astype(dict.fromkeys(IMAGES, "Int64")), "left", [*KEY, "action"])
    write_csv(pd.DataFrame(table), advice_path, "%.9g")


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        advise(
            scores_path=snakemake.input.scores,
            segmentation_path=snakemake.input.segmentation,
            rehearsal_paths=list(snakemake.input.rehearsals),
            predictor_path=snakemake.input.predictor,
            advice_path=snakemake.output.advice,
            order=snakemake.params.order,
            options=snakemake.params.options,
            code=snakemake.params.scores,
        )
