"""Which action a number chooses: the network as it is, or the best of what can be done with its statistics."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from shiftgain.findings.pairs import SMALLEST_GAIN
from shiftgain.study.names import KEPT

# Decisions that are no action.
KEEP, UNKNOWN = "keep", "unknown"
# What is done where it cannot be told: what is expected to be best.
EXPECTED = "expected"
# IoU that an action must promise beyond a simpler one to be taken in its place.
COMPLEXITY_PRICE = 0.01


def done(advice: pd.DataFrame) -> pd.Series:
    """Its ``decision``, and where that is unknown its ``action`` if ``gain`` > SMALLEST_GAIN, else ``keep``.

    ``advice``: rows of the table of that name. What cannot be told is done as it is expected to be best: on pairs of
    grid.yaml with source, target and transform new, that loses less than keeping the network does.
    """
    best = advice["action"].where(advice["gain"] > SMALLEST_GAIN, KEEP)
    return advice["decision"].mask(advice["decision"] == UNKNOWN, best)


def choices(
    table: pd.DataFrame, by: list[str], value: str, order: Sequence[str], actions: pd.Series | None = None
) -> pd.DataFrame:
    """For each target, named by the columns ``by``: ``kept``, ``action``, ``best`` and ``gain`` = best - kept.

    ``table``: a row per target and ``method``, the network as it is among them, whose ``value`` is ``kept``. Of the
    other methods ``action`` is the first in ``order`` whose ``value``, ``best``, is at least the highest minus
    :data:`COMPLEXITY_PRICE`; or that which ``actions`` names. Targets without other methods, or without a value of the
    kept network, are left out, and so are those that ``actions`` does not name.
    """
    wide = table.pivot(index=by, columns="method", values=value)
    names = [name for name in order if name in wide and name != KEPT]
    names += sorted(set(wide.columns) - {KEPT, *names})
    others = wide[names].to_numpy(float)
    known = np.isfinite(others).any(axis=1) & wide[KEPT].notna().to_numpy()
    if actions is not None:
        known &= actions.reindex(wide.index).notna().to_numpy()
    wide, others = wide[known], others[known]
    if actions is None:
        enough = others >= np.nanmax(others, axis=1, keepdims=True) - COMPLEXITY_PRICE if len(others) else others > 0
        place = enough.argmax(axis=1) if len(others) else np.zeros(0, int)
    else:
        place = np.array([names.index(name) for name in actions.reindex(wide.index)], int)
    best = others[np.arange(len(others)), place]
    kept = wide[KEPT].to_numpy(float)
    chosen = np.array(names, dtype=object)[place] if names else np.zeros(0, object)
    return pd.DataFrame({"kept": kept, "action": chosen, "best": best, "gain": best - kept}, index=wide.index)
