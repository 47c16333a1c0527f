"""Judge how well label-free numbers predict the outcomes of adaptation: tables -> predictors, figures and a forest.

Every predictor is fitted inside the folds of a protocol and judged on what was held out. The forest that comes with
the repository was fitted on synthetic domains and networks of one width; it is judged, as it is, on pairs of real
domains and on networks of another width.
"""

import logging
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from shiftgain.files import job
from shiftgain.files.tables import read_csv, replacing, write_csv
from shiftgain.findings.pairs import read_pairs
from shiftgain.prediction import forest, predictors
from shiftgain.prediction.assessment import MEASURES, judge, tellable
from shiftgain.prediction.forest import OUTCOMES
from shiftgain.prediction.predictors import LEARNED, PROTOCOLS
from shiftgain.report import panels, predictor_figures
from shiftgain.study.names import DISTANCE, KEY

METHOD = "batchnorm"
ROW = ["predictor", "kind", "protocol", "outcome"]
# What is judged of a pair beside what is predicted of it.
JUDGED_COLUMNS = [*KEY, *OUTCOMES, "tellable"]


def predict(
    pairs_path: str,
    scores_path: str,
    distances_path: str,
    frozen_path: str | None,
    asked: dict[str, dict[str, list[str]]],
    options: dict,
    predictors_path: str,
    tree_path: str,
    forest_path: str,
    figure_paths: dict[str, str],
    data_paths: dict[str, str],
    threads: int,
) -> None:
    """Write ``predictors.csv``, the small tree of the gain in words, a forest of all pairs, and a figure per protocol.

    To ``data_paths``, by protocol, go the pairs that its figure shows: what happened to each and what was predicted.

    ``asked``: protocol -> the ``source`` and ``target`` names of the pairs that the forest at ``frozen_path`` is
    judged on as it is; all where a key is missing. ``options``: ``trees``, ``leaf``, ``coverage`` and ``bootstrap``. A
    protocol with fewer than two groups to hold out is left out.
    """
    scores = read_csv(scores_path, [*KEY, "own_foreground"])
    candidates, kinds = predictors.candidates(scores, read_csv(distances_path, [*KEY, *DISTANCE, "value", "null"]))
    table, names = labelled(read_pairs(pairs_path), candidates), predictors.features(scores)
    judged, predictions = [], {}
    # Processes, since most of the work is of Python; what each says does not depend on how many there are.
    with Parallel(threads, return_as="generator") as pool:
        for protocol in [*PROTOCOLS, *asked]:
            if protocol in asked:
                among = [table[role].isin(chosen) for role, chosen in asked[protocol].items()]
                runs = list(frozen(table[np.logical_and.reduce(among)], frozen_path))
            else:
                runs = list(in_folds(table, PROTOCOLS[protocol], kinds, names, options, pool))
            judgements = pool(
                delayed(judge)(predicted, outcome, bootstraps(kind, outcome, options), seed=0)
                for _, kind, outcome, predicted in runs
            )
            measured = counted(judgements, f"{protocol}: judged", len(runs))
            for (predictor, kind, outcome, predicted), numbers in zip(runs, measured, strict=True):
                judged.append(dict(zip(ROW, (predictor, kind, protocol, outcome), strict=True)) | numbers)
                if (predictor, outcome) == (LEARNED, "gain_iou"):
                    predictions[protocol] = predicted
    assessments = pd.DataFrame(judged, columns=[*ROW, *MEASURES]).sort_values(ROW, kind="stable")
    write_csv(assessments, predictors_path, "%.9g")
    with replacing(tree_path) as partial:
        partial.write_text(predictors.small_tree_text(names, table, "gain_iou") if len(table) else "no labels\n")
    forest.save(predictors.fit_with_interval(names, table, options, threads), forest_path)
    for protocol, path in figure_paths.items():
        rows = assessments[(assessments["protocol"] == protocol) & (assessments["outcome"] == "gain_iou")]
        predicted = predictions.get(protocol, pd.DataFrame(columns=[*JUDGED_COLUMNS, "predicted", "low", "high"]))
        panels.save(predictor_figures.predictors(rows, predictions.get(protocol)), path)
        write_csv(predicted, data_paths[protocol], "%.6g")


def bootstraps(kind: str, outcome: str, options: dict) -> int:
    """Intervals of every single number and outcome would take longer than the rest of the study."""
    return options["bootstrap"] if outcome == "gain_iou" or kind not in ("score", "distance") else 0


def labelled(pairs: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    """Candidates and outcomes of the pairs that have labels and were tried with method ``batchnorm``, sorted."""
    known = pairs[(pairs["method"] == METHOD) & pairs["gain_iou"].notna()]
    outcomes = known[[*KEY, *OUTCOMES, "true_foreground"]]
    table = outcomes.merge(candidates, on=KEY).sort_values(KEY, ignore_index=True)
    return table.assign(tellable=tellable(table["own_foreground"], table["true_foreground"]))


def in_folds(
    table: pd.DataFrame, column: str, kinds: dict[str, list[str]], names: list[str], options: dict, pool: Parallel
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """(predictor, kind, outcome, predictions) of every predictor, each group of ``column`` predicted by the others."""
    if table[column].nunique() < 2:
        return
    held = list(predictors.folds(table[column].to_numpy()))
    fitted = pool(
        delayed(predictors.held_out)(table[~rows], table[rows], column, kinds, names, options) for rows in held
    )
    parts = counted(fitted, f"{column} held out, fold", len(held))
    pooled = {key: np.full(len(table), np.nan) for key in parts[0][0]}
    half = np.full(len(table), np.nan)
    for rows, (predictions, width) in zip(held, parts, strict=True):
        half[rows] = width
        for key, predicted in predictions.items():
            pooled[key][rows] = predicted
    for (predictor, kind, outcome), predicted in pooled.items():
        has_interval = (predictor, outcome) == (LEARNED, "gain_iou")
        low, high = (predicted - half, predicted + half) if has_interval else (np.nan, np.nan)
        yield predictor, kind, outcome, table[JUDGED_COLUMNS].assign(predicted=predicted, low=low, high=high)


def counted(results: Iterable, what: str, total: int) -> list:
    """All of ``results``, with a line of the log for each as it comes: a job of minutes says how far it is."""
    kept = []
    for number, result in enumerate(results, 1):
        logging.info("%s %d of %d", what, number, total)
        kept.append(result)
    return kept


def frozen(table: pd.DataFrame, frozen_path: str | None) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """The forest at ``frozen_path`` on pairs it never saw, as :func:`in_folds`; nothing without pairs."""
    if frozen_path is None or table.empty:
        return
    model = forest.load(frozen_path)
    expected, spread = model.predict(model.rows(table))
    half = model.width * spread
    for outcome, predicted in zip(OUTCOMES, expected.T, strict=True):
        low, high = (predicted - half, predicted + half) if outcome == "gain_iou" else (np.nan, np.nan)
        yield LEARNED, "learned", outcome, table[JUDGED_COLUMNS].assign(predicted=predicted, low=low, high=high)
    for name, size in (("always_adapt", 1.0), ("never_adapt", -1.0)):
        yield name, "baseline", "gain_iou", table[JUDGED_COLUMNS].assign(predicted=size, low=np.nan, high=np.nan)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        predict(
            pairs_path=snakemake.input.pairs,
            scores_path=snakemake.input.scores,
            distances_path=snakemake.input.distances,
            frozen_path=next(iter(snakemake.input.frozen), None),
            asked=snakemake.params.asked,
            options=snakemake.params.options,
            predictors_path=snakemake.output.predictors,
            tree_path=snakemake.output.tree,
            forest_path=snakemake.output.forest,
            figure_paths={name: snakemake.output[name] for name in snakemake.params.protocols},
            data_paths={name: snakemake.output[f"{name}_data"] for name in snakemake.params.protocols},
            threads=snakemake.threads,
        )
