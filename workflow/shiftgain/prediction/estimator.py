"""Expected IoU of a prediction, from its scores: a forest fitted on synthetic domains, corrected by a rehearsal.

expected = (1 - k) expit(prior(x) + correction(x)) + k r, expit(z) = 1 / (1 + exp(-z)). Forests say logits of the IoU,
in which 0.95 is about as far from 0.9 as two thirds from one half. The prior is the shipped forest. The correction is a
second forest, fitted to what the prior gets wrong on the rehearsal of the user's own source; without a rehearsal there
is none. r is the IoU with a segmentation by grey levels, k its part, :data:`REFERENCE_PART`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.ensemble import ExtraTreesRegressor

from shiftgain.files.tables import read_csv
from shiftgain.prediction.choice import choices
from shiftgain.prediction.forest import Forest

OUTCOME = "iou"
# An IoU is taken to be no nearer to 0 or 1, where logits have no end.
NEAREST = 0.02
# Added to how far trees disagree, in IoU: where all agree an interval keeps some width.
SPREAD_FLOOR = 0.02
# Kinds of change that every rehearsal has: they break a condition of refreshing, whatever else a target changes.
CONDITION_KINDS = {"inversion", "share"}
# Of each combination of kinds one more forest is fitted, some forty for a network: smaller ones than that of advice.
CALIBRATING_TREES = 8
# A forest that is asked about what nothing resembles says the mean of all that it was fitted on; this score, which
# nothing is fitted to, does not. Its part was chosen on the pairs of grid.yaml with source, target and transform new.
REFERENCE, REFERENCE_PART = "resolved_iou", 0.4
# Columns that name a rehearsed target.
REHEARSED = ["source", "seed", "target", "kinds"]


def read_rehearsals(paths: list[str]) -> pd.DataFrame:
    """The rehearsals of some networks, as stage rehearse wrote them; none without ``paths``."""
    columns = [*REHEARSED, "method", OUTCOME, "gain_sd"]
    tables = [read_csv(path, columns) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


@dataclass(frozen=True, eq=False)
class Estimator:
    """``prior`` and ``correction`` forests; ``width``: half-width of the interval of a gain, in spreads."""

    prior: Forest
    correction: Forest | None
    width: float

    def expected(self, table: pd.DataFrame) -> np.ndarray:
        """Expected IoU (n,) of the rows of a table of scores."""
        return expected(self.prior, self.correction, table)

    def spread(self, table: pd.DataFrame) -> np.ndarray:
        """:func:`spread` (n,) of the rows of a table of scores."""
        return spread(self.prior, self.correction, table)

    def drivers(self, table: pd.DataFrame) -> pd.DataFrame:
        """d (expit(z) - expit(z - sum d)) / sum d (n, scores): how much each score moved the expectation.

        d: :meth:`Forest.drivers` of prior plus correction, in logits, of which z is :func:`by_forests`; of
        :data:`REFERENCE` also its own part. With what is expected without any score they sum to the expectation.
        """
        moved = pd.DataFrame(self.prior.drivers(self.prior.rows(table)), columns=self.prior.features)
        if self.correction is not None:
            own = self.correction.drivers(self.correction.rows(table))
            moved = moved.add(pd.DataFrame(own, columns=self.correction.features), fill_value=0)
        values, total = by_forests(self.prior, self.correction, table)[0], moved.sum(axis=1).to_numpy()
        with np.errstate(invalid="ignore"):
            moved = moved.mul(np.nan_to_num((expit(values) - expit(values - total)) / total), axis=0)
        if REFERENCE in moved:
            moved *= 1 - REFERENCE_PART
            moved[REFERENCE] += REFERENCE_PART * table[REFERENCE].to_numpy()
        return moved

    def outside(self, table: pd.DataFrame) -> pd.DataFrame:
        """Whether each score leaves the range of all that was fitted on, prior and rehearsal: (n, scores)."""
        beyond = self.prior.outside(self.prior.rows(table))
        if self.correction is not None:
            beyond &= self.correction.outside(self.correction.rows(table))
        return pd.DataFrame(beyond, columns=self.prior.features)


def expected(prior: Forest, correction: Forest | None, table: pd.DataFrame) -> np.ndarray:
    """(1 - k) expit(prior + correction) + k r of the rows of ``table`` (n,)."""
    return beside_reference(by_forests(prior, correction, table)[0], prior, table)


def by_forests(prior: Forest, correction: Forest | None, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """By the forests alone: prior + correction, the logit of the IoU (n,), and how far their trees disagree (n,).

    That is hypot of the deviations between the trees of the one and of the other.
    """
    said = [forest.each(forest.rows(table)) for forest in (prior, correction) if forest is not None]
    return sum(each.mean(axis=0) for each in said), np.hypot.reduce([each.std(axis=0) for each in said])


def beside_reference(values: np.ndarray, prior: Forest, table: pd.DataFrame) -> np.ndarray:
    """expit of ``values`` (n,) that forests say, and beside it :data:`REFERENCE` where ``prior`` knows that score."""
    if REFERENCE not in prior.features:
        return expit(values)
    return (1 - REFERENCE_PART) * expit(values) + REFERENCE_PART * table[REFERENCE].to_numpy()


def spread(prior: Forest, correction: Forest | None, table: pd.DataFrame) -> np.ndarray:
    """:func:`in_iou` of how far the trees of prior and correction disagree (n,)."""
    values, apart = by_forests(prior, correction, table)
    return in_iou(apart, values)


def in_iou(apart: np.ndarray, values: np.ndarray) -> np.ndarray:
    """s d + f: deviations d ``apart`` of logits, about ``values``, in IoU; s :func:`slope`, f :data:`SPREAD_FLOOR`."""
    return slope(values) * apart + SPREAD_FLOOR


def slope(values: np.ndarray) -> np.ndarray:
    """p (1 - p), p = expit of ``values`` (n,): by how much the IoU moves with its logit."""
    return expit(values) * expit(-values)


def logits(iou: pd.Series) -> pd.Series:
    """log(q / (1 - q)), q the ``iou`` (n,) but no nearer to 0 or 1 than :data:`NEAREST`."""
    return logit(iou.clip(NEAREST, 1 - NEAREST))


def fit(names: list[str], rows: pd.DataFrame, outcomes: pd.Series, options: dict, threads: int = 1) -> Forest:
    """Extremely randomised trees (Geurts et al. 2006) from scores ``names`` of ``rows`` to ``outcomes``, logits.

    A third of the scores is tried at each split, at least ``leaf`` rows are in a leaf. ``options``: ``trees`` and
    ``leaf``. Without rows, one tree that says 0.
    """
    if rows.empty:
        rows, outcomes = pd.DataFrame([dict.fromkeys(names, 0.0)]), pd.Series([0.0])
    model = ExtraTreesRegressor(
        options["trees"], min_samples_leaf=options["leaf"], max_features=1 / 3, random_state=0, n_jobs=threads
    )
    scores = rows[names].to_numpy(np.float32)
    model.fit(scores, outcomes.to_numpy())
    return Forest.of([estimator.tree_ for estimator in model.estimators_], names, scores)


def correct(prior: Forest, rehearsal: pd.DataFrame, options: dict) -> Forest:
    """The forest of what is :func:`believed` of logit IoU minus what ``prior`` says, over the rows of a rehearsal."""
    wrong = logits(rehearsal[OUTCOME]) - prior.predict(prior.rows(rehearsal))
    return fit(prior.features, rehearsal, believed(wrong, prior.error), options)


def believed(wrong: pd.Series, usual: float) -> pd.Series:
    """w e / (e + u), e the mean of w^2: of what a prior gets ``wrong`` on a rehearsal (n,), the part that is corrected.

    u: ``usual``, the prior's mean squared error on sources held out. Domains differ in more than a rehearsal changes:
    a prior which is as wrong there as elsewhere is corrected by half; by all, where nothing is known of elsewhere.
    """
    own = float((wrong**2).mean())
    return wrong * (own / (own + usual) if own and np.isfinite(usual) else 1)


def estimator(prior: Forest, rehearsal: pd.DataFrame, order: Sequence[str], options: dict) -> Estimator:
    """The :class:`Estimator` of one network, by its ``rehearsal``; where that has no rows, the prior with its width.

    ``order``: actions, the simpler first. ``options``: ``trees``, ``leaf`` and ``coverage``.
    """
    if rehearsal.empty:
        return Estimator(prior, None, prior.width)
    return Estimator(prior, correct(prior, rehearsal, options), width(prior, rehearsal, order, options))


def width(prior: Forest, rehearsal: pd.DataFrame, order: Sequence[str], options: dict) -> float:
    """(q + w) / 2: q the :func:`quantile` of :func:`errors` on :func:`held_out_kinds`, w the prior's, where it has one.

    The rehearsal shows how hard the network is to tell, on its own texture; the prior how much harder new domains are.
    """
    own = quantile(errors(held_out_kinds(prior, rehearsal, options), REHEARSED, order), options["coverage"])
    return (own + prior.width) / 2 if np.isfinite(prior.width) else own


def held_out_kinds(prior: Forest, rehearsal: pd.DataFrame, options: dict) -> pd.DataFrame:
    """``rehearsal`` with ``predicted``, the expected IoU, and ``spread``.

    Each row by a correction that was fitted on rows which share no kind of change with it (:func:`kinds_held_out`).
    """
    rows = prior.rows(rehearsal)
    alone = prior.each(rows)
    values, apart = alone.mean(axis=0), alone.std(axis=0)
    wrong = logits(rehearsal[OUTCOME]) - values
    options = options | {"trees": min(options["trees"], CALIBRATING_TREES)}
    for out, rest in kinds_held_out(rehearsal["kinds"]):
        if rest.any():
            each = fit(prior.features, rehearsal[rest], believed(wrong[rest], prior.error), options).each(rows[out])
            values[out], apart[out] = values[out] + each.mean(axis=0), np.hypot(apart[out], each.std(axis=0))
    return rehearsal.assign(predicted=beside_reference(values, prior, rehearsal), spread=in_iou(apart, values))


def kinds_held_out(kinds: pd.Series) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows of one combination of ``kinds``, rows that share none of these): boolean (n,) each.

    :data:`CONDITION_KINDS` are not held out: a new kind of change may come with another polarity or share, which every
    rehearsal shows. A combination of these alone is told without its own rows.
    """
    parts = {name: set(name.split("+")) for name in sorted(kinds.unique())}
    alike: dict[object, list[str]] = {}
    for name, own in parts.items():
        alike.setdefault(frozenset(own - CONDITION_KINDS) or name, []).append(name)
    for names in alike.values():
        new = parts[names[0]] - CONDITION_KINDS
        apart = {other for other in parts if other not in names and not parts[other] & new}
        yield kinds.isin(names).to_numpy(), kinds.isin(apart).to_numpy()


def promised(table: pd.DataFrame, by: list[str], order: Sequence[str]) -> pd.DataFrame:
    """:func:`choices` by ``predicted``, and ``spread`` = hypot of the spreads of the action and of the kept network.

    ``table``: a row per target and action, with ``predicted`` and ``spread``.
    """
    chosen = choices(table, by, "predicted", order)
    spreads = choices(table, by, "spread", order, actions=chosen["action"])
    return chosen.assign(spread=np.hypot(spreads["kept"], spreads["best"]))


def errors(table: pd.DataFrame, by: list[str], order: Sequence[str]) -> np.ndarray:
    """|true - predicted| / spread (m,) of the gain of the action that is chosen, for each target named by ``by``.

    ``table``: as for :func:`promised`, with the true :data:`OUTCOME`.
    """
    chosen = promised(table, by, order)
    true = choices(table, by, OUTCOME, order, actions=chosen["action"])
    return (np.abs(chosen["gain"] - true["gain"]) / chosen["spread"]).to_numpy()


def quantile(wrong: np.ndarray, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of n errors: split-conformal, in spreads (Lei et al. 2018, JASA 113, 5.2).

    The largest where there are too few for that, and NaN without any.
    """
    if not len(wrong):
        return float("nan")
    rank = min(len(wrong), int(np.ceil((len(wrong) + 1) * coverage)))
    return float(np.sort(wrong)[rank - 1])
