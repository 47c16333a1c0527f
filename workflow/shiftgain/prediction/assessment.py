"""How good a prediction of an outcome is, with intervals over domains."""

import numpy as np
import pandas as pd

from shiftgain.findings.correlations import resamples, spearman
from shiftgain.findings.pairs import SMALLEST_GAIN, near_half

# measure -> what its interval is called
INTERVALS = {"spearman": "ci", "r2": "r2", "sign_accuracy": "sign_accuracy", "regret": "regret"}
# Given for the tellable pairs alone as well, as NAME_tellable.
OF_TELLABLE = ["spearman", "r2", "sign_accuracy", "regret"]
MEASURES = [
    *["spearman", "r2", "mae", "sign_accuracy", "base_rate", "regret", "regret_always_adapt", "aurc"],
    *["coverage", "mean_width", "n"],
    *[f"{prefix}_{edge}" for prefix in INTERVALS.values() for edge in ("low", "high")],
    *[f"{name}_tellable" for name in [*OF_TELLABLE, "n"]],
]
# Shares of the pairs, the surest first, over whose mean loss the risk-coverage curve is averaged.
COVERAGES = np.arange(1, 21) / 20


def tellable(source_share: pd.Series, target_share: pd.Series) -> pd.Series:
    """Whether (source_share - 1/2) (target_share - 1/2) > 0, with neither share near one half (:func:`near_half`).

    Where the shares lie on opposite sides of one half, inverting the target's masks gives a domain with equal images
    and a share closer to the source's: a method that sees only images must prefer that wrong reading.
    """
    sides = [np.sign(share - 0.5).mask(near_half(share), 0) for share in (source_share, target_share)]
    return sides[0] * sides[1] > 0


def judge(table: pd.DataFrame, outcome: str, n_bootstrap: int, seed: int) -> dict[str, float]:
    """Every measure of :func:`measures`, and ``NAME_low`` and ``NAME_high`` of :data:`INTERVALS`.

    ``table`` has a row per pair, or of outcome ``iou`` per pair and action: ``source``, ``target``, the outcome,
    ``predicted``, ``tellable`` (:data:`OF_TELLABLE` are also given for these pairs alone) and, where there is an
    interval, ``low`` and ``high``; of outcome ``gain_iou``, the gain of the action that the predictor prefers, also
    ``iou_kept``, ``iou_action``, ``iou_plain`` and ``iou_best``: of the network as it is, under that action, under a
    plain refresh, and the best of all. Intervals are the 2.5th and 97.5th percentile over ``n_bootstrap`` resamples of
    the domains; NaN over one source and one target. Spearman's is ``ci_low``, ``ci_high``.
    """
    once = np.ones((len(table), 1))
    row = {name: float(value.item()) for name, value in measures(table, outcome, once).items()}
    source, target = table["source"].to_numpy(), table["target"].to_numpy()
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in INTERVALS}
    if n_bootstrap and (len(np.unique(source)) > 1 or len(np.unique(target)) > 1):
        for weights in resamples(source, target, n_bootstrap, seed):
            sample = measures(table, outcome, weights)
            for name in drawn:
                drawn[name].append(sample[name])
    for name, prefix in INTERVALS.items():
        values = np.concatenate(drawn[name]) if drawn[name] else np.array([np.nan])
        known = values[np.isfinite(values)]
        edges = np.percentile(known, [2.5, 97.5]) if len(known) else [np.nan, np.nan]
        row |= {f"{prefix}_low": float(edges[0]), f"{prefix}_high": float(edges[1])}
    plain = table[table["tellable"]]
    if len(plain):
        again = measures(plain, outcome, np.ones((len(plain), 1)))
        row |= {f"{name}_tellable": float(again[name].item()) for name in OF_TELLABLE}
    return row | {"n": len(table), "n_tellable": len(plain)}


def measures(table: pd.DataFrame, outcome: str, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Measures (b,) of a prediction when each pair stands ``weights`` (n, b) times.

    ``spearman``, ``r2`` (about the mean of these pairs), ``mae``; of the gain also ``sign_accuracy``: share of right
    signs where the gain exceeds :data:`SMALLEST_GAIN` in size, ``base_rate``: the share there of the commoner sign,
    ``regret``: mean IoU lost against the best action when the preferred one is taken where its predicted gain is above
    :data:`SMALLEST_GAIN`, else the network is kept, and ``regret_always_adapt``, of a plain refresh throughout;
    ``aurc``: mean over :data:`COVERAGES` of the regret of so many pairs, those of the largest predicted gains in size
    first (area under the risk-coverage curve; Geifman and El-Yaniv 2017, arXiv:1705.08500); ``coverage``: share of true
    outcomes in the interval, and ``mean_width`` of the interval, where there is one. NaN where undefined.
    """
    true, predicted = table[outcome].to_numpy(), table["predicted"].to_numpy()
    total, every = weights.sum(axis=0), np.ones(len(table))

    def mean(values: np.ndarray, chosen: np.ndarray = every) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (values * chosen) @ weights / (chosen @ weights)

    with np.errstate(invalid="ignore", divide="ignore"):
        centre = true @ weights / total
        spread = (true**2) @ weights / total - centre**2
        r2 = np.where(spread > 1e-12, 1 - mean((true - predicted) ** 2) / spread, np.nan)
    numbers = {"spearman": spearman(true, predicted, weights), "r2": r2, "mae": mean(np.abs(true - predicted))}
    empty = np.full(len(total), np.nan)
    named = ["sign_accuracy", "base_rate", "regret", "regret_always_adapt", "aurc", "coverage", "mean_width"]
    numbers |= dict.fromkeys(named, empty)
    if outcome == "gain_iou":
        has_sign = (np.abs(true) > SMALLEST_GAIN).astype(float)
        positive = mean((true > 0).astype(float), has_sign)
        numbers["sign_accuracy"] = mean((np.sign(predicted) == np.sign(true)).astype(float), has_sign)
        numbers["base_rate"] = np.maximum(positive, 1 - positive)
        kept, action, plain, best = (
            table[f"iou_{name}"].to_numpy(float) for name in ("kept", "action", "plain", "best")
        )
        lost = best - np.where(predicted > SMALLEST_GAIN, action, kept)
        numbers["regret"] = mean(lost)
        numbers["regret_always_adapt"] = mean(np.nan_to_num(best - plain), np.isfinite(plain).astype(float))
        numbers["aurc"] = _aurc(lost, np.abs(predicted), weights)
    if "low" in table and table["low"].notna().any():
        there = table["low"].notna().to_numpy(float)
        numbers["coverage"] = mean(table[outcome].between(table["low"], table["high"]).to_numpy(float), there)
        numbers["mean_width"] = mean((table["high"] - table["low"]).fillna(0).to_numpy(float), there)
    return numbers


def _aurc(lost: np.ndarray, sureness: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over :data:`COVERAGES` of the mean loss of that share of the pairs, the surest first, parts of a pair
    too."""
    order = np.argsort(-sureness, kind="stable")
    mass, losses = np.cumsum(weights[order], axis=0), np.cumsum(weights[order] * lost[order, None], axis=0)
    risks = [
        np.interp(COVERAGES * total[-1], np.r_[0, total], np.r_[0, loss]) / (COVERAGES * total[-1])
        for total, loss in zip(mass.T, losses.T, strict=True)
    ]
    return np.mean(risks, axis=1)
