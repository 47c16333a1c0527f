"""Whether to adapt, for every pair of a source model and a target, labelled or not."""

import numpy as np
import pandas as pd

from shiftgain.prediction.forest import Forest
from shiftgain.study.names import KEY

COLUMNS = [
    *KEY,
    *["expected_before", "expected_after", "gain", "gain_low", "gain_high", "decision", "drivers", "warning"],
]
# Scores that are named for each pair: those that moved the predicted gain most.
DRIVERS = 3
# A pair is warned of when at least this share of the scores lies outside all that the forest was fitted on: with over
# a hundred scores, one alone says little.
WARNED_SHARE = 0.02


def advise(scores: pd.DataFrame, forest: Forest) -> pd.DataFrame:
    """The sorted rows of ``advice.csv``, from the table of scores: a row per pair and seed that method ``batchnorm``
    was scored on.

    ``decision`` is ``adapt`` where the expected gain is above 0, else ``keep``; ``drivers`` are the scores that moved
    the expectation most, with what they are and by how much they moved it; ``warning`` names the scores outside the
    range of the forest's training pairs, where there are many.

    Errors: :class:`StudyError` as :meth:`Forest.rows`.
    """
    if not any(name.endswith("_after") and not name.startswith("seed_") for name in scores):
        return pd.DataFrame(columns=COLUMNS)
    rows = forest.rows(scores)
    known = np.isfinite(rows).all(axis=1)
    scores, rows = scores[known], rows[known]
    expected, spread = forest.predict(rows)
    before, after, gain = expected.T.clip([[0], [0], [-1]], 1)
    half = forest.width * spread
    table = scores[KEY].assign(
        expected_before=before,
        expected_after=after,
        gain=gain,
        gain_low=(gain - half).clip(-1, 1),
        gain_high=(gain + half).clip(-1, 1),
        decision=np.where(gain > 0, "adapt", "keep"),
        drivers=[_drivers(forest.features, *pair) for pair in zip(rows, forest.drivers(rows), strict=True)],
        warning=[_warning(forest, *pair) for pair in zip(rows, forest.outside(rows), strict=True)],
    )
    return table[COLUMNS].sort_values(KEY, ignore_index=True)


def _drivers(names: list[str], values: np.ndarray, moved: np.ndarray) -> str:
    most = np.argsort(-np.abs(moved), kind="stable")[:DRIVERS]
    return "; ".join(f"{names[place]} = {values[place]:.2f} ({moved[place]:+.2f})" for place in most)


def _warning(forest: Forest, values: np.ndarray, outside: np.ndarray) -> str:
    if outside.mean() < WARNED_SHARE:
        return ""
    beyond = np.maximum(forest.low - values, values - forest.high) / (forest.high - forest.low + 1e-6)
    most = np.argsort(-np.where(outside, beyond, -np.inf), kind="stable")[: min(DRIVERS, outside.sum())]
    named = ", ".join(f"{forest.features[place]} = {values[place]:.2f}" for place in most)
    return f"{outside.sum()} of {len(values)} scores lie outside all that the predictor was fitted on: {named}"
