"""The learned predictor as plain arrays: loaded without executing anything, evaluated by numpy alone.

A forest of regression trees that say the logit of the IoU of a prediction from its scores. Beside them lie the
half-width of the interval of a gain and the range of every score it was fitted on.

Written here because a shipped file must stay readable: formats of skops and treelite are bound to a version of their
library, and ONNX does not give what each tree says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from shiftgain.files import job
from shiftgain.files.commit import UNKNOWN, commit
from shiftgain.files.errors import StudyError
from shiftgain.files.tables import replacing

# A score is outside when it leaves its range by more than this share of the width: the ends of a sample are not the
# ends of what it was drawn from.
RANGE_MARGIN = 0.1

SHIPPED = Path(__file__).parents[2] / "predictor" / "forest.npz"


class Stamp(NamedTuple):
    """What made a forest: the digest of the ``code`` of the scores that it was fitted on, and the ``commit``."""

    code: str
    commit: str


NO_STAMP = Stamp(UNKNOWN, UNKNOWN)


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid end to end.

    ``features``: names of the scores, in the order of the columns. Node arrays (n,): ``feature`` (negative at a
    leaf), ``threshold``, ``right`` (node number); where the score does not exceed the threshold, the next node
    follows. ``logit`` (n,) holds the mean outcome of the training rows. ``roots`` (t,) are the first nodes. ``low`` and
    ``high`` (f,) bound the scores of the training rows. ``width``: half-width of the interval of a gain, in spreads.
    ``error``: mean squared error of what the trees say on sources held out. NaN where either is not known.
    ``stamp``: by what code it was fitted, see :func:`stamped`.
    """

    features: list[str]
    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    logit: np.ndarray
    roots: np.ndarray
    low: np.ndarray
    high: np.ndarray
    width: float = float("nan")
    error: float = float("nan")
    stamp: Stamp = NO_STAMP

    @classmethod
    def of(cls, trees: Iterable, features: list[str], rows: np.ndarray) -> "Forest":
        """The forest of ``trees``, each a ``tree_`` of scikit-learn, which were fitted on ``rows`` float32 (n, f).

        Evaluated by float32 scores, the arrays send every row to the leaf to which scikit-learn sends it.
        """
        parts, roots, start = [], [], 0
        for tree in trees:
            inner = tree.children_left >= 0
            # Depth first: a left child follows its parent, and need not be kept.
            assert (tree.children_left[inner] == np.flatnonzero(inner) + 1).all()
            parts.append(
                {
                    "feature": np.where(inner, tree.feature, -1).astype(np.int16),
                    "threshold": _rounded_down(tree.threshold),
                    "right": np.where(inner, tree.children_right + start, 0).astype(np.int32),
                    "logit": tree.value[:, 0, 0].astype(np.float32),
                }
            )
            roots.append(start)
            start += tree.node_count
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        bounds = {"low": rows.min(axis=0), "high": rows.max(axis=0)}
        return cls(features=features, roots=np.array(roots, np.int32), **bounds, **arrays)  # type: ignore[arg-type]

    def rows(self, table: pd.DataFrame) -> np.ndarray:
        """The scores float32 (n, f) of a table of scores.

        Errors: :class:`StudyError` naming a score that is missing.
        """
        missing = [name for name in self.features if name not in table]
        if missing:
            raise StudyError(
                f"the predictor asks for score '{missing[0]}', which the table of scores lacks; "
                "fit it again with make predictor"
            )
        return table[self.features].to_numpy(np.float32)

    def each(self, rows: np.ndarray) -> np.ndarray:
        """What each tree says (trees, n)."""
        node = np.broadcast_to(self.roots[:, np.newaxis], (len(self.roots), len(rows)))
        while (inner := self.feature[node] >= 0).any():
            node = np.where(inner, self._next(node, rows), node)
        return self.logit[node].astype(float)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Mean of what the trees say (n,)."""
        return self.each(rows).mean(axis=0)

    def drivers(self, rows: np.ndarray) -> np.ndarray:
        """How much each score moved the prediction (n, f); with the mean of the trees' roots they sum to it.

        Along the path of a row the mean outcome changes from node to node; each change is put down to the score that
        was asked (Saabas 2014, Interpreting random forests), and averaged over trees. Unlike TreeSHAP it depends on
        the order of the questions; shap would bring a compiler (numba) into the environment of the tables.
        """
        moves, value = np.zeros(rows.shape), self.logit.astype(float)
        everyone = np.arange(len(rows))
        for root in self.roots:
            node = np.full(len(rows), root)
            while (inner := self.feature[node] >= 0).any():
                after = np.where(inner, self._next(node, rows), node)
                moved = value[after] - value[node]
                np.add.at(moves, (everyone[inner], self.feature[node[inner]]), moved[inner])
                node = after
        return moves / len(self.roots)

    def outside(self, rows: np.ndarray) -> np.ndarray:
        """Whether each score leaves the range of the training rows by more than :data:`RANGE_MARGIN` of it (n, f)."""
        room = RANGE_MARGIN * (self.high - self.low)
        return (rows < self.low - room) | (rows > self.high + room)

    def _next(self, node: np.ndarray, rows: np.ndarray) -> np.ndarray:
        values = rows[np.arange(len(rows)), self.feature[node].clip(0)]
        return np.where(values <= self.threshold[node], node + 1, self.right[node])


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that does not exceed each: float32 scores then fall on the same side."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


ARRAYS = ("feature", "threshold", "right", "logit", "roots", "low", "high")
NUMBERS = ("width", "error")


def stamped(forest: Forest, code: str) -> Forest:
    """A forest that was fitted just now, on scores of this ``code`` (:func:`shiftgain.study.lineage.essence`)."""
    return replace(forest, stamp=Stamp(code, commit()))


def save(forest: Forest, path: str | Path) -> None:
    """Write a forest as compressed arrays."""
    arrays = {name: getattr(forest, name) for name in ARRAYS}
    arrays |= {"features": np.array(forest.features), "stamp": np.array(forest.stamp)}
    arrays |= {name: np.float64(getattr(forest, name)) for name in NUMBERS}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load(path: str | Path, code: str | None = None) -> Forest:
    """The forest that :func:`save` wrote.

    Where ``code``, that of the scores it will be asked with, is not that of its stamp, a line says so: its numbers may
    then be off, and nothing else would show it.

    Errors: :class:`StudyError` naming the file when it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
            arrays |= {name: float(file[name]) for name in NUMBERS if name in file}
            names = [str(name) for name in file["features"]]
            stamp = Stamp(*map(str, file["stamp"])) if "stamp" in file else NO_STAMP
            found = Forest(features=names, stamp=stamp, **arrays)
    except (OSError, EOFError, BadZipFile, KeyError, ValueError) as error:
        raise StudyError(f"{path}: no predictor or damaged ({error}); make it again with make predictor") from error
    if code is not None and code != stamp.code:
        remedy = "make predictor" if Path(path).resolve() == SHIPPED else "run the study that it is of once more"
        job.warn(
            f"{path}: fitted on scores of other code (commit {stamp.commit}) than that which is here; "
            f"what it says may be off until it is fitted again: {remedy}"
        )
    return found
