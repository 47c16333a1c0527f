"""Judge how well label-free numbers tell what every action reaches: tables -> predictors, figures and a forest.

Every predictor is fitted inside the folds of a protocol and judged on what was held out. The forest that comes with
the repository was fitted on synthetic domains and networks of one width; it is judged, as it is and corrected by the
rehearsal of each source, on pairs of real domains and on networks of another width.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from shiftgain.files import job
from shiftgain.files.tables import read_csv, replacing, write_csv
from shiftgain.findings.pairs import by_action, read_pairs
from shiftgain.prediction import forest, learned, predictors
from shiftgain.prediction.assessment import MEASURES, judge, tellable
from shiftgain.prediction.choice import choices
from shiftgain.prediction.estimator import read_rehearsals
from shiftgain.prediction.learned import LEARNED
from shiftgain.prediction.predictors import PROTOCOLS
from shiftgain.report import panels, predictor_figures
from shiftgain.study.names import DISTANCE, KEPT, KEY, PLAIN

ROW = ["predictor", "kind", "protocol", "outcome"]
# What is shown of each pair, of the action that is preferred.
SHOWN = [*KEY, "action", "iou_kept", "iou_action", "gain_iou", "predicted", "low", "high", "tellable"]
# (predictor, kind, what it says of each row, part in the half-width of the interval of a gain, or NaN)
Run = tuple[str, str, np.ndarray, np.ndarray]


def predict(
    pairs_path: str,
    scores_path: str,
    distances_path: str,
    rehearsal_paths: list[str],
    frozen_path: str | None,
    asked: dict[str, dict[str, list[str]]],
    order: list[str],
    options: dict,
    predictors_path: str,
    tree_path: str,
    forest_path: str,
    figure_paths: dict[str, str],
    data_paths: dict[str, str],
    threads: int,
    code: str,
) -> None:
    """Write ``predictors.csv``, the small tree of the IoU in words, a forest of all pairs, and a figure per protocol.

    To ``data_paths``, by protocol, go the pairs that its figure shows: what happened to each and what was predicted.

    ``asked``: protocol -> the ``source`` and ``target`` names of the pairs that the forest at ``frozen_path`` is
    judged on as it is; all where a key is missing. ``order``: actions, the simpler first. ``options``: ``trees``,
    ``leaf``, ``coverage`` and ``bootstrap``. ``code``: of the scores, as :func:`forest.stamped`. A protocol
    with fewer than two groups to hold out is left out.
    """
    scores = read_csv(scores_path, [*KEY, "method", "own_foreground"])
    measured = read_csv(distances_path, [*KEY, *DISTANCE, "value", "null"])
    rehearsals = read_rehearsals(rehearsal_paths)
    names, distances = predictors.features(scores), predictors.distances_wide(measured)
    table = labelled(read_pairs(pairs_path), scores).merge(distances, "left", KEY)
    kinds = {"score": names, "distance": [name for name in distances if name not in KEY]}
    kinds["action"] = sorted(set(table["method"]))
    judged, shown = [], {}
    # Processes, since most of the work is of Python; what each says does not depend on how many there are.
    with Parallel(threads, return_as="generator") as pool:
        for protocol in [*PROTOCOLS, *asked]:
            if protocol in asked:
                rows = of_pairs_asked(table, asked[protocol])
                # A study without such pairs makes a forest where there is none yet, or none that can be read.
                known = forest.load(frozen_path, code) if frozen_path and len(rows) else None
                runs = list(frozen(rows, known, rehearsals, order, options))
            else:
                rows, runs = in_folds(table, PROTOCOLS[protocol], kinds, names, rehearsals, order, options, pool)
            judgements = pool(delayed(measure)(rows, run, protocol, order, options) for run in runs)
            for numbers in counted(judgements, f"{protocol}: judged", len(runs)):
                judged += numbers
            for run in runs:
                if run[0] == LEARNED:
                    shown[protocol] = gain_table(rows, *run[2:], order)
    assessments = pd.DataFrame(judged, columns=[*ROW, *MEASURES]).sort_values(ROW, kind="stable")
    write_csv(assessments, predictors_path, "%.9g")
    with replacing(tree_path) as partial:
        partial.write_text(predictors.small_tree_text(names, table) if len(table) else "no labels\n")
    fitted = learned.fit_with_interval(names, table, rehearsals, order, options, threads)
    forest.save(forest.stamped(fitted, code), forest_path)
    for protocol, path in figure_paths.items():
        rows = assessments[(assessments["protocol"] == protocol) & (assessments["outcome"] == "gain_iou")]
        panels.save(predictor_figures.predictors(rows, shown.get(protocol)), path)
        write_csv(shown.get(protocol, pd.DataFrame(columns=SHOWN))[SHOWN], data_paths[protocol], "%.6g")


def counted(results: Iterable, what: str, total: int) -> list:
    """All of ``results``, with a line of the log for each as it comes: a job of minutes says how far it is."""
    kept = []
    for number, result in enumerate(results, 1):
        logging.info("%s %d of %d", what, number, total)
        kept.append(result)
    return kept


def of_pairs_asked(table: pd.DataFrame, asked: dict[str, list[str]]) -> pd.DataFrame:
    """The rows of which ``source`` and ``target`` are each among those ``asked``; all where a key is missing."""
    among = [table[role].isin(chosen).to_numpy() for role, chosen in asked.items()]
    return table[np.logical_and.reduce(among)].reset_index(drop=True)


def labelled(pairs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores and IoU of every pair that has labels, under each action that was scored, sorted."""
    table = by_action(pairs).merge(scores, on=[*KEY, "method"]).sort_values([*KEY, "method"], ignore_index=True)
    return table.assign(tellable=tellable(table["own_foreground"], table["true_foreground"]))


def measure(table: pd.DataFrame, run: Run, protocol: str, order: Sequence[str], options: dict) -> list[dict]:
    """The rows of ``predictors.csv`` about a run over ``table``: of the IoU of every action, where it says that, and of
    the gain of the action that it prefers."""
    predictor, kind, predicted, half = run
    # Intervals of every single number would take longer than the rest of the study.
    about = {"iou": table.assign(predicted=predicted)} if kind not in ("baseline", "distance") else {}
    about |= {"gain_iou": gain_table(table, predicted, half, order)}
    rows = []
    for outcome, pairs in about.items():
        times = 0 if outcome == "iou" and kind == "score" else options["bootstrap"]
        key = dict(zip(ROW, (predictor, kind, protocol, outcome), strict=True))
        rows.append(key | judge(pairs[pairs["predicted"].notna()], outcome, times, seed=0))
    return rows


def gain_table(table: pd.DataFrame, predicted: np.ndarray, half: np.ndarray, order: Sequence[str]) -> pd.DataFrame:
    """A row per pair: the gain of the action that ``predicted`` prefers, and what :func:`judge` asks for."""
    table = table.assign(predicted=predicted, half=half)
    chosen = choices(table, KEY, "predicted", order)
    true = choices(table, KEY, "iou", order, actions=chosen["action"])
    wide = table.pivot(index=KEY, columns="method", values="iou").reindex(true.index)
    facts = table[table["method"] == KEPT].set_index(KEY)[["tellable"]].reindex(true.index)
    halves = choices(table.fillna({"half": -1}), KEY, "half", order, actions=chosen["action"]).reindex(true.index)
    plain = wide.get(PLAIN, np.nan)
    told, width = chosen["gain"].reindex(true.index), np.hypot(halves["kept"], halves["best"])
    width = width.where(halves["kept"] >= 0)
    low, high = ((told + side * width).clip(-1, 1) for side in (-1, 1))
    pairs = true.assign(gain_iou=true["gain"], predicted=told, low=low, high=high)
    pairs = pairs.assign(iou_kept=true["kept"], iou_action=true["best"], iou_plain=plain, iou_best=wide.max(axis=1))
    return pairs.assign(tellable=facts["tellable"].astype(bool)).reset_index()


def in_folds(
    table: pd.DataFrame,
    columns: list[str],
    kinds: dict[str, list[str]],
    names: list[str],
    rehearsals: pd.DataFrame,
    order: Sequence[str],
    options: dict,
    pool: Parallel,
) -> tuple[pd.DataFrame, list[Run]]:
    """The rows of ``table`` that were held out in turn, and what every predictor says of them, fitted on others."""
    held = list(predictors.folds(table, columns))
    if len(held) < 2:
        return table[:0], []
    fitted = pool(
        delayed(learned.held_out)(table[seen], table[out], kinds, names, rehearsals, order, options)
        for out, seen in held
    )
    parts = counted(fitted, f"{', '.join(columns)} held out, fold", len(held))
    asked = np.logical_or.reduce([out for out, _ in held])
    runs = []
    for key in parts[0]:
        predicted, half = np.full((2, len(table)), np.nan)
        for (out, _), said in zip(held, parts, strict=True):
            predicted[out], half[out] = said[key]
        runs.append((*key, predicted[asked], half[asked]))
    return table[asked].reset_index(drop=True), runs


def frozen(
    table: pd.DataFrame, known: forest.Forest | None, rehearsals: pd.DataFrame, order: Sequence[str], options: dict
) -> Iterator[Run]:
    """The forest ``known`` from elsewhere on pairs it never saw, alone and rehearsed, and all that needs no fitting."""
    if known is None:
        return
    said = learned.unfitted(table, table, table["method"]) | learned.learned(known, table, rehearsals, order, options)
    for (predictor, kind), (predicted, half) in said.items():
        yield predictor, kind, predicted, half


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        predict(
            pairs_path=snakemake.input.pairs,
            scores_path=snakemake.input.scores,
            distances_path=snakemake.input.distances,
            rehearsal_paths=list(snakemake.input.rehearsals),
            frozen_path=next(iter(snakemake.input.frozen), None),
            asked=snakemake.params.asked,
            order=snakemake.params.order,
            options=snakemake.params.options,
            predictors_path=snakemake.output.predictors,
            tree_path=snakemake.output.tree,
            forest_path=snakemake.output.forest,
            figure_paths={name: snakemake.output[name] for name in snakemake.params.protocols},
            data_paths={name: snakemake.output[f"{name}_data"] for name in snakemake.params.protocols},
            threads=snakemake.threads,
            code=snakemake.params.scores,
        )
