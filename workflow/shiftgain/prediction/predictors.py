"""Predictors of what an action reaches from label-free numbers, and the folds in which they are judged.

A table has a row per pair and ``method``, the network as it is among them: its scores, and what it reaches, ``iou``. A
predictor is a function ``(train, test) -> predicted`` (n,), which sees the outcomes of ``train`` only. What it says is
either an IoU, or a gain, with 0 for the network as it is; of each pair it chooses the action of which it says most.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import OrthogonalMatchingPursuit
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor, export_text

from shiftgain.findings.pairs import SMALLEST_GAIN
from shiftgain.study.names import DISTANCE, IDENTITY, KEPT, KEY, PLAIN, domain_of, full_names

# protocol -> the columns whose values are new in what is asked, in turn
PROTOCOLS = {
    "leave_source_out": ["source"],
    "leave_means_out": ["target"],
    "leave_transform_out": ["transform"],
    "everything_new": ["source", "target", "transform"],
    "replication": ["seed"],
}
# Each fold fits every predictor anew: more would make a study of many domains wait for hours.
MOST_FOLDS = 24
# Parts of each column where several are new at once: the folds are their combinations, 27 of three columns.
COMBINED_PARTS = 3
# As many scores as a reader can follow in a predictor that is to be read.
TRANSPARENT_SCORES = 5
# Scores that are an IoU, or a bound of one, as they are: judged without a fit.
IOU_SCORES = [
    *["expected_iou", "expected_iou_calibrated", "expected_iou_classwise", "consistency", "path_agreement"],
    *["resolved_iou", "trusted_iou"],
]
# Of the source's own, what a kept network must be expected to reach by the rule of three conditions.
HEADROOM = 0.9
# Logits by which the share of a refreshed network must differ from the source's to count as another share.
SHARE_MARGIN = 0.5


def distances_wide(distances: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and a column per distance, ``DISTANCE_LAYER_ACTIVATION_UNIT_STATE``; over its null ``_to_null``.

    One measured before and after adaptation also comes as the difference, ``NAME_change``.
    """
    wide = distances.assign(name=distances[DISTANCE].agg("_".join, axis=1))
    values = wide.pivot_table(index=KEY, columns="name", values="value")
    nulls = wide.pivot_table(index=KEY, columns="name", values="null")
    relative = (values / nulls.where(nulls > 0)).add_suffix("_to_null")
    return _with_changes(pd.concat([values, relative], axis=1)).reset_index()


def _with_changes(table: pd.DataFrame) -> pd.DataFrame:
    changes = {}
    for name in table:
        parts = re.fullmatch("(.*)_before(|_to_null)", str(name))
        if parts and (after := f"{parts[1]}_after{parts[2]}") in table:
            changes[f"{parts[1]}{parts[2]}_change"] = table[after] - table[name]
    return pd.concat([table, pd.DataFrame(changes, index=table.index)], axis=1)


def features(scores: pd.DataFrame) -> list[str]:
    """The columns that the learned predictor may use: every score, however many seeds a study has."""
    return [name for name in scores if name not in (*KEY, "method", "seed_agreement")]


def folds(table: pd.DataFrame, columns: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows held out, rows that share with them no value of any of ``columns``): boolean (n,) each.

    Value k in the order of the alphabet is held out in part k modulo the number of parts; of sources, the domain with
    all its variants. ``identity`` is no transform that could be new. A domain held out as a target is new as a source
    too, and where both are among the columns, one held out as a source is new as a target. GroupKFold of scikit-learn
    holds out the groups of one column; here several are new at once.
    """
    domains = table["source"].map(domain_of)
    parts = {name: _parts(domains if name == "source" else table[name], len(columns)) for name in columns}
    combinations = pd.DataFrame(parts).drop_duplicates().sort_values(columns).itertuples(index=False)
    for combination in combinations:
        same = {name: parts[name] == part for name, part in zip(columns, combination, strict=True)}
        out = np.logical_and.reduce(list(same.values()))
        known = [~(same[name] & (table[name] != IDENTITY).to_numpy()) for name in columns]
        if "target" in columns:
            held = {*full_names(table[out]), *table.loc[out, "target"]}
            if "source" in columns:
                held |= {*domains[out]}
                known.append(~table["target"].isin(held))
            known.append(~domains.isin(held))
        seen = np.logical_and.reduce(known) & ~out
        if seen.any():
            yield out, seen


def _parts(values: pd.Series, columns: int) -> np.ndarray:
    _, member = np.unique(values.astype(str), return_inverse=True)
    most = MOST_FOLDS if columns == 1 else COMBINED_PARTS
    return np.where(values == IDENTITY, -1, member % most)


def gains(table: pd.DataFrame) -> pd.Series:
    """IoU of each row minus that of the network that is kept, of the same pair."""
    kept = table.loc[table["method"] == KEPT].set_index(KEY)["iou"]
    return table["iou"] - kept.reindex(pd.MultiIndex.from_frame(table[KEY])).to_numpy()


def constant(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """The mean gain of each action over the training pairs, as a gain."""
    return test["method"].map(gains(train).groupby(train["method"]).mean()).fillna(0).to_numpy()


def always(method: str, train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """mean |gain| of ``method``, and its negative for all others, as a gain: that action, whatever the target.

    Of a pair that was not tried with it, the network is kept.
    """
    # In this order: of a method that no training pair was tried with the mean is NaN, which max() passes over.
    size = max(2 * SMALLEST_GAIN, gains(train)[train["method"] == method].abs().mean())
    sizes = np.where(test["method"] == method, size, -size)
    return np.where(test["method"] == KEPT, 0, sizes)


def never(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """The network is kept, as a gain below 0 of everything else."""
    return np.where(test["method"] == KEPT, 0, -max(gains(train).abs().mean(), 2 * SMALLEST_GAIN))


def rules(methods: Iterable[str]) -> dict[str, Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]]:
    """The constant rules: each of ``methods`` throughout, none, and what was best on average."""
    named: dict[str, Callable] = {"constant": constant, "never_adapt": never, "always_adapt": _always(PLAIN)}
    return named | {f"always_{method}": _always(method) for method in sorted({*methods} - {KEPT, PLAIN})}


def _always(method: str) -> Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]:
    return lambda train, test: always(method, train, test)


def single(name: str, train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Isotonic fit of the IoU to one number, rising or falling as the sign of their Spearman correlation says.

    The mean IoU where the number is missing.
    """
    return _isotonic(train[name], train["iou"], test[name])


def single_gain(name: str, train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """:func:`single` of the gain of a plain refresh, to a number of the pair; NaN for the other actions."""
    plain = train["method"] == PLAIN
    predicted = _isotonic(train.loc[plain, name], gains(train)[plain], test[name])
    return np.select([test["method"] == KEPT, test["method"] == PLAIN], [0, predicted], np.nan)


def _isotonic(numbers: pd.Series, outcomes: pd.Series, asked: pd.Series) -> np.ndarray:
    known, there = np.isfinite(numbers), np.isfinite(asked).to_numpy()
    predicted = np.full(len(asked), outcomes.mean())
    if numbers[known].nunique() > 1 and there.any():
        model = IsotonicRegression(increasing="auto", out_of_bounds="clip")
        with warnings.catch_warnings():
            # That the correlation may as well be zero, or is not defined: the fit is then nearly flat.
            warnings.simplefilter("ignore")
            predicted[there] = model.fit(numbers[known], outcomes[known]).predict(asked[there])
    return predicted


def three_conditions(names: list[str], train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Keep where there is no headroom; else turn where the polarity flips, and balance where the share is another.

    As a gain, nothing fitted. Headroom: the kept network is expected to reach less than :data:`HEADROOM` of its IoU at
    home (:func:`confidence.expected_iou_classwise`). Polarity: the margin of :func:`reference.polarity_margin`. Share:
    that of the plain refresh, turned or not, differs from the source's by more than :data:`SHARE_MARGIN` logits.
    """
    wide = test.pivot(index=KEY, columns="method", values=["expected_iou_classwise", "foreground_change"])
    facts = test[test["method"] == KEPT].set_index(KEY)[["own_iou", "polarity_margin"]].reindex(wide.index)
    turned = facts["polarity_margin"] < 0
    plain = wide["foreground_change"].reindex(columns=[PLAIN, "turned"]).to_numpy(float)
    share = np.where(turned, plain[:, 1], plain[:, 0])
    balanced = np.abs(np.nan_to_num(share)) > SHARE_MARGIN
    wanted = np.select([turned & balanced, turned, balanced], ["turned_balanced", "turned", "balanced"], PLAIN)
    keep = wide["expected_iou_classwise"][KEPT].to_numpy() >= HEADROOM * facts["own_iou"].to_numpy()
    choice = pd.Series(np.where(keep, KEPT, wanted), wide.index)
    chosen = choice.reindex(pd.MultiIndex.from_frame(test[KEY])).to_numpy()
    size = np.where(test["method"] == chosen, 2 * SMALLEST_GAIN, -2 * SMALLEST_GAIN)
    return np.where(test["method"] == KEPT, 0, size)


def small_tree(names: list[str], train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """A tree of at most five questions, chosen from all scores."""
    return _small_tree(names, train).predict(test[names])


def small_tree_text(names: list[str], train: pd.DataFrame) -> str:
    """The questions of :func:`small_tree` and what it answers."""
    return export_text(_small_tree(names, train), feature_names=names, decimals=3)


def _small_tree(names: list[str], train: pd.DataFrame) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(max_leaf_nodes=TRANSPARENT_SCORES + 1, random_state=0).fit(train[names], train["iou"])


def linear(names: list[str], train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Linear in five scores, chosen one after the other by orthogonal matching pursuit (Mallat and Zhang 1993)."""
    varying = [name for name in names if train[name].std() > 0]
    if not varying:
        return np.full(len(test), train["iou"].mean())
    scaler = StandardScaler().fit(train[varying])
    model = OrthogonalMatchingPursuit(n_nonzero_coefs=min(TRANSPARENT_SCORES, len(varying)))
    return model.fit(scaler.transform(train[varying]), train["iou"]).predict(scaler.transform(test[varying]))


TRANSPARENT: dict[str, Callable[[list[str], pd.DataFrame, pd.DataFrame], np.ndarray]] = {
    "small_tree": small_tree,
    "linear": linear,
    "three_conditions": three_conditions,
}
