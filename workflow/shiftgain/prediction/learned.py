"""What every predictor says of pairs that it was not fitted on.

Two predictors are learned: ``forest``, the prior alone, and ``rehearsed``, the prior corrected by the rehearsal of the
network in question. The correction is fitted without the rehearsed targets under the transform of the pair in question,
so that the transform is new to it; negatives stay, since all rehearsals show them (:data:`estimator.CONDITION_KINDS`).
The width of the interval is of the whole rehearsal, each kind told without its own rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from shiftgain.prediction import predictors
from shiftgain.prediction.estimator import (
    CONDITION_KINDS,
    OUTCOME,
    beside_reference,
    by_forests,
    correct,
    errors,
    expected,
    fit,
    in_iou,
    logits,
    quantile,
    spread,
    width,
)
from shiftgain.prediction.forest import Forest
from shiftgain.study.names import IDENTITY, KEY, domain_of

FOREST, LEARNED = "forest", "rehearsed"
# Parts of the sources that are held out in turn for the width of an interval: each fits one more forest.
INNER_FOLDS = 4
# (predictor, kind) -> what it says of each row, and its part in the half-width of the interval of a gain
Said = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def held_out(
    train: pd.DataFrame,
    test: pd.DataFrame,
    kinds: dict[str, list[str]],
    names: list[str],
    rehearsals: pd.DataFrame,
    order: Sequence[str],
    options: dict,
) -> Said:
    """What every predictor, fitted on ``train``, says of ``test``.

    ``kinds``: names of single numbers by kind, ``score`` and ``distance``, and of every ``action``; ``names``: those
    that are learned from.
    """
    none = np.full(len(test), np.nan)
    said = unfitted(train, test, kinds["action"])
    said |= {(name, "score"): (predictors.single(name, train, test), none) for name in kinds["score"]}
    said |= {(name, "distance"): (predictors.single_gain(name, train, test), none) for name in kinds["distance"]}
    fitted = {name: function(names, train, test) for name, function in predictors.TRANSPARENT.items()}
    said |= {(name, "transparent"): (values, none) for name, values in fitted.items()}
    known = rehearsals[rehearsals["source"].isin(train["source"])] if len(rehearsals) else rehearsals
    known = known[_without(known["kinds"], {*test["transform"]} - {IDENTITY})]
    prior = fit_with_interval(names, train, known, order, options)
    return said | learned(prior, test, rehearsals, order, options)


def unfitted(train: pd.DataFrame, test: pd.DataFrame, methods: Iterable[str]) -> Said:
    """The constant rules of ``methods``, whose size alone is of ``train``, and single numbers taken for the IoU."""
    none = np.full(len(test), np.nan)
    said: Said = {(name, "baseline"): (rule(train, test), none) for name, rule in predictors.rules(methods).items()}
    known = [name for name in predictors.IOU_SCORES if name in test]
    return said | {(f"{name}_unfitted", "unfitted"): (test[name].to_numpy(float), none) for name in known}


def learned(prior: Forest, test: pd.DataFrame, rehearsals: pd.DataFrame, order: Sequence[str], options: dict) -> Said:
    """The forest, and the forest corrected by the rehearsal of each network: expected IoU and half-widths."""
    alone, own_half = expected(prior, None, test), prior.width * spread(prior, None, test)
    told, half = alone.copy(), own_half.copy()
    for (source, seed), rows in test.reset_index(drop=True).groupby(["source", "seed"]):
        own = rehearsals[(rehearsals["source"] == source) & (rehearsals["seed"] == seed)]
        if own.empty:
            continue
        size = width(prior, own, order, options)
        for transform, part in rows.groupby("transform"):
            correction = correct(prior, own[_without(own["kinds"], {transform} - {IDENTITY})], options)
            told[part.index] = expected(prior, correction, part)
            half[part.index] = size * spread(prior, correction, part)
    return {(FOREST, "learned"): (alone, own_half), (LEARNED, "learned"): (told, half)}


def _without(kinds: pd.Series, transforms: set[str]) -> np.ndarray:
    """Rows of a rehearsal that share none of ``transforms``, :data:`CONDITION_KINDS` aside."""
    return np.array([not {*names.split("+")} & (transforms - CONDITION_KINDS) for names in kinds], bool)


def fit_with_interval(
    names: list[str],
    table: pd.DataFrame,
    rehearsals: pd.DataFrame,
    order: Sequence[str],
    options: dict,
    threads: int = 1,
) -> Forest:
    """A forest of all rows of ``table`` and ``rehearsals``, its interval of the gain from pairs of sources held out.

    :func:`quantile` of the errors of whole sources held out, so that it speaks of sources not seen: libraries of
    conformal prediction leave that grouping to their user, and the quantile is two lines. Their squares are its usual
    error. NaN with fewer than two sources.
    """
    rows = pd.concat([part[["source", OUTCOME, *names]] for part in (table, rehearsals) if len(part)] or [table])
    prior = fit(names, rows, logits(rows[OUTCOME]), options, threads)
    domains = table["source"].map(domain_of)
    if domains.nunique() < 2:
        return prior
    told = np.full((2, len(table)), np.nan)
    part = np.unique(domains, return_inverse=True)[1] % INNER_FOLDS
    for number in np.unique(part):
        out = part == number
        others = rows[~rows["source"].map(domain_of).isin(domains[out])]
        model = fit(names, others, logits(others[OUTCOME]), options, threads)
        told[:, out] = by_forests(model, None, table[out])
    values, apart = told
    predicted = beside_reference(values, prior, table)
    wrong = errors(table.assign(predicted=predicted, spread=in_iou(apart, values)), KEY, order)
    squared = float(((logits(table[OUTCOME]) - values) ** 2).mean())
    return replace(prior, width=quantile(wrong, options["coverage"]), error=squared)
