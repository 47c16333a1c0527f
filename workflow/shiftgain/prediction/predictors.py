"""Predictors of the outcomes of adaptation from label-free numbers, and the folds in which they are judged.

A predictor is a function ``(train, test, outcome) -> predicted`` (n,) of two tables with a row per pair: the outcomes
and the candidates that :func:`candidates` names. It sees the outcomes of ``train`` only.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import OrthogonalMatchingPursuit
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor, export_text

from shiftgain.prediction.forest import ESTIMATES, GAIN, OUTCOMES, Forest
from shiftgain.study.names import DISTANCE, KEY

# protocol -> the column whose values are held out in turn
PROTOCOLS = {
    "leave_source_out": "source",
    "leave_transform_out": "transform",
    "leave_means_out": "target",
    "leave_seed_out": "seed",
}
LEARNED = "forest"
# Each fold fits every predictor anew: more would make a study of many domains wait for hours.
MOST_FOLDS = 24
# For the width of an interval, in each fold and for the shipped forest: every inner fold fits one more forest.
INNER_FOLDS = 4
# As many scores as a reader can follow in a predictor that is to be read.
TRANSPARENT_SCORES = 5


def candidates(scores: pd.DataFrame, distances: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """A row per pair with every label-free number, and their names by kind: ``score`` and ``distance``.

    A distance is named ``DISTANCE_LAYER_ACTIVATION_UNIT_STATE``, over its null with ``_to_null``. A number measured
    before and after adaptation also comes as the difference, ``NAME_change``.
    """
    wide = distances.assign(name=distances[DISTANCE].agg("_".join, axis=1))
    values = wide.pivot_table(index=KEY, columns="name", values="value")
    nulls = wide.pivot_table(index=KEY, columns="name", values="null")
    relative = (values / nulls.where(nulls > 0)).add_suffix("_to_null")
    with_changes = [_with_changes(table) for table in (scores.set_index(KEY), pd.concat([values, relative], axis=1))]
    kinds = {kind: list(table) for kind, table in zip(("score", "distance"), with_changes, strict=True)}
    return with_changes[0].join(with_changes[1], how="left").copy().reset_index(), kinds


def _with_changes(table: pd.DataFrame) -> pd.DataFrame:
    changes = {}
    for name in table:
        parts = re.fullmatch("(.*)_before(|_to_null)", str(name))
        if parts and (after := f"{parts[1]}_after{parts[2]}") in table:
            changes[f"{parts[1]}{parts[2]}_change"] = table[after] - table[name]
    changes = {name: values for name, values in changes.items() if name not in table}
    return pd.concat([table, pd.DataFrame(changes, index=table.index)], axis=1)


def features(scores: pd.DataFrame) -> list[str]:
    """The columns that the learned predictor may use: every score, whatever layers and seeds a study has."""
    return [name for name in scores if name not in KEY and not name.startswith("seed_")]


def folds(groups: np.ndarray, most: int = MOST_FOLDS) -> Iterator[np.ndarray]:
    """Boolean masks (n,) of the rows held out in turn: whole groups, several together where there are many.

    Group k in the order of the alphabet is held out in fold k modulo ``most``. scikit-learn's GroupKFold sorts groups
    by size with numpy's unstable sort, whose order among equals differs between processors.
    """
    _, member = np.unique(groups.astype(str), return_inverse=True)
    fold = member % most
    for _, rows in LeaveOneGroupOut().split(fold, groups=fold):
        yield np.isin(np.arange(len(fold)), rows)


def constant(train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """The mean outcome of the training pairs."""
    return np.full(len(test), train[outcome].mean())


def always_adapt(train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """mean |outcome| of the training pairs: the policy "always adapt" as a prediction.

    Being positive it decides for adapting; being of the size of a gain it can be compared by regret and MAE.
    """
    return np.full(len(test), train[outcome].abs().mean())


def never_adapt(train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """:func:`always_adapt`, negative."""
    return -always_adapt(train, test, outcome)


def headroom_with_labels(train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """Monotone in the unadapted IoU, which takes labels of the target: the room that is left for a gain."""
    return single("iou_before", train, test, outcome)


BASELINES: dict[str, Callable[[pd.DataFrame, pd.DataFrame, str], np.ndarray]] = {
    "constant": constant,
    "always_adapt": always_adapt,
    "never_adapt": never_adapt,
    "headroom_with_labels": headroom_with_labels,
}


def single(name: str, train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """Isotonic fit of the outcome to one number, rising or falling as the sign of their Spearman correlation says.

    The mean outcome where the number is missing.
    """
    numbers, outcomes = train[name].to_numpy(float), train[outcome].to_numpy()
    known, at = np.isfinite(numbers), test[name].to_numpy(float)
    there = np.isfinite(at)
    predicted = np.full(len(test), outcomes.mean())
    if len(np.unique(numbers[known])) > 1 and there.any():
        model = IsotonicRegression(increasing="auto", out_of_bounds="clip")
        with warnings.catch_warnings():
            # That the correlation may as well be zero, or is not defined: the fit is then nearly flat.
            warnings.simplefilter("ignore")
            predicted[there] = model.fit(numbers[known], outcomes[known]).predict(at[there])
    return predicted


def small_tree(names: list[str], train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """A tree of at most five questions, chosen from all scores."""
    return _small_tree(names, train, outcome).predict(test[names])


def small_tree_text(names: list[str], train: pd.DataFrame, outcome: str) -> str:
    """The questions of :func:`small_tree` and what it answers."""
    return export_text(_small_tree(names, train, outcome), feature_names=names, decimals=3)


def _small_tree(names: list[str], train: pd.DataFrame, outcome: str) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(max_leaf_nodes=TRANSPARENT_SCORES + 1, random_state=0).fit(
        train[names], train[outcome]
    )


def linear(names: list[str], train: pd.DataFrame, test: pd.DataFrame, outcome: str) -> np.ndarray:
    """Linear in five scores, chosen one after the other by orthogonal matching pursuit (Mallat and Zhang 1993)."""
    varying = [name for name in names if train[name].std() > 0]
    if not varying:
        return constant(train, test, outcome)
    scaler = StandardScaler().fit(train[varying])
    model = OrthogonalMatchingPursuit(n_nonzero_coefs=min(TRANSPARENT_SCORES, len(varying)))
    return model.fit(scaler.transform(train[varying]), train[outcome]).predict(scaler.transform(test[varying]))


TRANSPARENT: dict[str, Callable[[list[str], pd.DataFrame, pd.DataFrame, str], np.ndarray]] = {
    "small_tree": small_tree,
    "linear": linear,
}


def fit(names: list[str], train: pd.DataFrame, trees: int, leaf: int, seed: int, threads: int = 1) -> Forest:
    """Extremely randomised trees (Geurts et al. 2006) on scores ``names``, as plain arrays.

    Trees are fitted to outcome minus estimate: two scores estimate IoU already (:data:`forest.ESTIMATES`), and of a
    network unlike all in ``train`` they still say something. All outcomes are fitted together, a third of the scores
    tried at each split, at least ``leaf`` pairs in a leaf.
    """
    model = ExtraTreesRegressor(
        trees, min_samples_leaf=leaf, max_features=1 / 3, random_state=seed, n_jobs=threads, criterion="squared_error"
    )
    rows = train[names].to_numpy(np.float32)
    outcomes = train[OUTCOMES].to_numpy()
    if set(ESTIMATES) <= set(names):
        before, after = train[ESTIMATES].to_numpy(float).T
        outcomes = outcomes - np.stack([before, after, after - before], axis=1)
    model.fit(rows, outcomes)
    return Forest.of([estimator.tree_ for estimator in model.estimators_], names, rows)


def interval_width(names: list[str], train: pd.DataFrame, groups: np.ndarray, options: dict, threads: int = 1) -> float:
    """The ceil((n + 1) coverage)-th smallest of |gain - expected| / spread, over n pairs whose group was held out.

    Half-width of an interval of the gain, in units of the spread of a forest: conformal with normalised residuals (Lei
    et al. 2018, JASA 113, section 5.2). Whole groups are held out so that it speaks of domains not seen; libraries of
    conformal prediction leave that grouping to their user, and the quantile is three lines. ``options``: ``trees``,
    ``leaf``, ``coverage``. NaN with fewer than two groups.
    """
    if len(np.unique(groups.astype(str))) < 2:
        return float("nan")
    residuals = []
    for held in folds(groups, INNER_FOLDS):
        forest = fit(names, train[~held], options["trees"], options["leaf"], seed=0, threads=threads)
        expected, spread = forest.predict(forest.rows(train[held]))
        residuals.append(np.abs(expected[:, GAIN] - train["gain_iou"].to_numpy()[held]) / spread)
    pooled = np.concatenate(residuals)
    level = np.ceil((len(pooled) + 1) * options["coverage"]) / len(pooled)
    return float(np.quantile(pooled, min(1.0, level), method="higher"))


def held_out(
    train: pd.DataFrame, test: pd.DataFrame, column: str, kinds: dict[str, list[str]], names: list[str], options: dict
) -> tuple[dict[tuple[str, str, str], np.ndarray], np.ndarray]:
    """What every predictor, fitted on ``train``, says of ``test``: (predictor, kind, outcome) -> values (n,).

    And the half-width (n,) of the forest's interval of the gain, from groups of ``column`` held out of ``train``.
    """
    predictions = {}
    for outcome in OUTCOMES:
        for name, function in BASELINES.items():
            predictions[name, "baseline", outcome] = function(train, test, outcome)
        for kind, columns in kinds.items():
            for name in columns:
                predictions[name, kind, outcome] = single(name, train, test, outcome)
        for name, model in TRANSPARENT.items():
            predictions[name, "transparent", outcome] = model(names, train, test, outcome)
    forest = fit(names, train, options["trees"], options["leaf"], seed=0)
    expected, spread = forest.predict(forest.rows(test))
    predictions |= {(LEARNED, "learned", outcome): values for outcome, values in zip(OUTCOMES, expected.T, strict=True)}
    return predictions, interval_width(names, train, train[column].to_numpy(), options) * spread


def fit_with_interval(names: list[str], table: pd.DataFrame, options: dict, threads: int = 1) -> Forest:
    """A forest of all pairs of ``table``, its interval from pairs of sources held out: what a user is advised by.

    Without pairs, one tree that knows nothing.
    """
    if table.empty:
        nothing = pd.DataFrame([dict.fromkeys([*names, *OUTCOMES], 0.0)])
        return fit(names, nothing, trees=1, leaf=1, seed=0)
    width = interval_width(names, table, table["source"].to_numpy(), options, threads)
    return replace(fit(names, table, options["trees"], options["leaf"], seed=0, threads=threads), width=width)
