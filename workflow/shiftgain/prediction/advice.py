"""What to do about every pair of a source network and a target, labelled or not."""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import pandas as pd
from scipy.stats import t as student

from shiftgain.findings.pairs import SMALLEST_GAIN
from shiftgain.prediction.choice import KEEP, UNKNOWN
from shiftgain.prediction.estimator import Estimator, estimator, promised
from shiftgain.prediction.forest import Forest
from shiftgain.study.names import KEPT, KEY

COLUMNS = [
    *[*KEY, "expected_before", "expected_after", "gain", "gain_low", "gain_high", "action", "decision"],
    *["images_to_label", "drivers", "warning"],
]
# IoU: an interval that holds both a loss and a gain of this size does not tell what to do.
DECISIVE_CHANGE = 0.1
# Scores that are named for each pair: those that moved the predicted gain most.
N_DRIVERS = 3
# A pair is warned of when at least this share of the scores lies outside all that was fitted on: with fifty scores, one
# alone says little.
WARNED_SHARE = 0.04


def advise(
    scores: pd.DataFrame, prior: Forest, rehearsals: pd.DataFrame, order: Sequence[str], options: dict
) -> pd.DataFrame:
    """The sorted rows of ``advice.csv``: one per pair and seed that any action was scored on.

    ``scores``: the table of that name; ``rehearsals``: of the networks in it, those that were rehearsed; ``order``:
    actions, the simpler first. ``action``: the best action other than keeping the network; ``gain``: its expected IoU
    minus that of the kept network; ``decision``: :func:`decision`. ``drivers``: the scores that moved the gain most;
    ``warning``: scores outside the range of all that was fitted on, where they are many; ``expected_NAME``: the
    expected IoU under each action.

    Errors: :class:`StudyError` as :meth:`Forest.rows`.
    """
    networks = scores.groupby(["source", "seed"], sort=False)
    parts = [_of_network(rows, prior, _own(rehearsals, *network), order, options) for network, rows in networks]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    rest = [f"expected_{name}" for name in [KEPT, *order] if f"expected_{name}" in table]
    return table[[*COLUMNS, *rest]].sort_values(KEY, ignore_index=True)


def _own(rehearsals: pd.DataFrame, source: str, seed: int) -> pd.DataFrame:
    return rehearsals[(rehearsals["source"] == source) & (rehearsals["seed"] == seed)]


def _of_network(
    scores: pd.DataFrame, prior: Forest, rehearsal: pd.DataFrame, order: Sequence[str], options: dict
) -> pd.DataFrame:
    scores = scores.reset_index(drop=True)
    model = estimator(prior, rehearsal, order, options)
    table = scores[[*KEY, "method"]].assign(predicted=model.expected(scores), spread=model.spread(scores))
    chosen = promised(table, KEY, order)
    half = model.width * chosen["spread"]
    low, high = ((chosen["gain"] + side * half).clip(-1, 1) for side in (-1, 1))
    advised = pd.DataFrame(
        {
            "expected_before": chosen["kept"],
            "expected_after": chosen["best"],
            "gain": chosen["gain"],
            "gain_low": low,
            "gain_high": high,
            "action": chosen["action"],
            "decision": decision(chosen["action"], chosen["gain"], low, high),
        }
    )
    spreads = _spreads(rehearsal)
    told = advised["decision"] != UNKNOWN
    needed = [images_to_label(spreads.get(action, np.nan), options["coverage"]) for action in advised["action"]]
    advised["images_to_label"] = pd.Series(needed, advised.index, dtype="Int64").mask(told)
    advised["drivers"], advised["warning"] = _reasons(model, scores, chosen)
    wide = table.pivot(index=KEY, columns="method", values="predicted").add_prefix("expected_")
    return advised.join(wide).reset_index()


def decision(action: pd.Series, gain: pd.Series, low: pd.Series, high: pd.Series) -> np.ndarray:
    """``unknown`` where low < -DECISIVE_CHANGE and high > DECISIVE_CHANGE; else the action where gain > SMALLEST_GAIN.

    Elsewhere ``keep``, which is preferred to what promises hardly more.
    """
    astride = (low < -DECISIVE_CHANGE) & (high > DECISIVE_CHANGE)
    return np.select([astride, gain > SMALLEST_GAIN], [UNKNOWN, action], KEEP)


def images_to_label(spread: float, coverage: float) -> int | None:
    """The smallest n >= 2 with t_(n-1) s / sqrt(n) <= DECISIVE_CHANGE: so many labelled images tell such a mean gain.

    s, ``spread``, is the deviation between images of the gain, and t Student's quantile of the interval: what is found
    on n images is that near to the mean over all. None where the spread is not known.
    """
    if not np.isfinite(spread):
        return None
    quantile = (1 + coverage) / 2
    return next(n for n in count(2) if student.ppf(quantile, n - 1) * spread / n**0.5 <= DECISIVE_CHANGE)


def _spreads(rehearsal: pd.DataFrame) -> dict[str, float]:
    """Root mean square over the rehearsed targets of the deviation of an action's gain between images."""
    if rehearsal.empty:
        return {}
    squares = rehearsal["gain_sd"] ** 2
    return np.sqrt(squares.groupby(rehearsal["method"]).mean()).to_dict()


def _reasons(model: Estimator, scores: pd.DataFrame, chosen: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Drivers and warning of each pair of ``chosen``."""
    moved, outside = model.drivers(scores), model.outside(scores)
    place = pd.Series(scores.index, pd.MultiIndex.from_frame(scores[[*KEY, "method"]]))
    rows = [(place[(*key, action)], place[(*key, KEPT)]) for key, action in chosen["action"].items()]
    drivers = [_drivers(scores.loc[after], moved.loc[after] - moved.loc[before]) for after, before in rows]
    return drivers, [_warning(scores.loc[after], outside.loc[after]) for after, _ in rows]


def _drivers(scores: pd.Series, moved: pd.Series) -> str:
    most = moved.abs().sort_values(ascending=False, kind="stable").index[:N_DRIVERS]
    return "; ".join(f"{name} = {scores[name]:.2f} ({moved[name]:+.2f})" for name in most)


def _warning(scores: pd.Series, outside: pd.Series) -> str:
    if outside.mean() < WARNED_SHARE:
        return ""
    named = ", ".join(f"{name} = {scores[name]:.2f}" for name in list(_beyond(outside))[:N_DRIVERS])
    return f"{outside.sum()} of {len(outside)} scores lie outside all that the predictor was fitted on: {named}"


def _beyond(outside: pd.Series) -> Iterator[str]:
    return (str(name) for name in outside.index[outside])
