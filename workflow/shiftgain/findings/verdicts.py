"""Hypotheses on when and why BN adaptation works, each with a verdict that is computed from the tables.

A hypothesis is an entry of ``workflow/hypotheses.yaml``. Its measure gives one number per seed. It is *supported* when
the 95 % interval of that number over seeds lies on its side of the bound, *refuted* when all of it lies on the other,
else, or with fewer than three seeds, *undecided*. A study without the experiment says *not tested*.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from shiftgain.findings.measures import evidence, outcomes, remedies
from shiftgain.findings.measures.selection import Tables

# Two seeds have an interval too, thirteen times as wide as their difference: it decides nothing.
FEWEST_SEEDS = 3
MODULES = (outcomes, evidence, remedies)


@dataclass(frozen=True)
class Hypothesis:
    """An entry of ``workflow/hypotheses.yaml``, which describes the fields."""

    claim: str
    experiment: str
    figure: str
    measure: str
    side: str
    bound: float
    bound_is_ours: bool
    needs: list[str]

    @property
    def limit(self) -> str:
        """Side and bound, and whose they are."""
        return f"{self.side} {self.bound:g}" + " (ours)" * self.bound_is_ours


COLUMNS = [
    *["hypothesis", "claim", "verdict", "experiment", "figure", "measure"],
    *["value", "low", "high", "bound", "seeds"],
]


def judge(tables: Tables, hypotheses: dict[str, Hypothesis]) -> pd.DataFrame:
    """The rows of ``hypotheses.csv``, one for each hypothesis: what was measured, its bound, and what follows."""
    rows = []
    for name, hypothesis in hypotheses.items():
        values = by_seed(hypothesis, tables)
        low, high = interval(values.to_numpy())
        rows.append(
            {
                "hypothesis": name, "claim": hypothesis.claim, "verdict": verdict(values, hypothesis),
                "experiment": hypothesis.experiment, "figure": hypothesis.figure, "measure": hypothesis.measure,
                "value": values.mean(), "low": low, "high": high,
                "bound": hypothesis.limit, "seeds": len(values),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def by_seed(hypothesis: Hypothesis, tables: Tables) -> pd.Series:
    """The measure for each seed, without seeds where it is undefined; empty where the tables lack what it needs."""
    if not set(hypothesis.needs) <= tables.offered:
        return pd.Series(dtype=float)
    measure = next(getattr(module, hypothesis.measure) for module in MODULES if hasattr(module, hypothesis.measure))
    return measure(tables).dropna()


def verdict(values: pd.Series, hypothesis: Hypothesis) -> str:
    """``supported``, ``refuted``, ``undecided`` or ``not tested``, from one number per seed."""
    if not len(values):
        return "not tested"
    if len(values) < FEWEST_SEEDS:
        return "undecided"
    sign = 1 if hypothesis.side == "at least" else -1
    low, high = sorted(sign * edge for edge in interval(values.to_numpy()))
    bound = sign * hypothesis.bound
    return "supported" if low >= bound else "refuted" if high < bound else "undecided"


def interval(values: np.ndarray) -> tuple[float, float]:
    """mean +- t(0.975, n - 1) sd / sqrt(n): Student's 95 % interval over n seeds; NaN with fewer than two.

    scipy.stats.t.interval is NaN for seeds that agree exactly, as counts of images do.
    """
    if len(values) < 2:
        return np.nan, np.nan
    reach = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return values.mean() - reach, values.mean() + reach
