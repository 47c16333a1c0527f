"""How well a distance orders an outcome of adaptation, with intervals over domains."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from shiftgain.study.names import DISTANCE, KEY

# Weights (rows x resamples) held at once: 32 MB.
BLOCK = 2**22
# The distance that the talk plotted against the gain, as a predictor of it.
TALK = "bhattacharyya_bottleneck_before_relu_position_before"


def roc_area(values: pd.Series, positive: pd.Series) -> float:
    """P(a positive value > another) + P(equal) / 2: the area under the ROC curve; NaN without either kind.

    Mann and Whitney 1947, Annals of Mathematical Statistics 18: U / (n m), U from the sum of ranks. Not scipy's, whose
    import takes longer than what needs this.
    """
    n, others = positive.sum(), (~positive).sum()
    if not n or not others:
        return np.nan
    return float((values.rank()[positive].sum() - n * (n + 1) / 2) / (n * others))


def correlate(
    distances: pd.DataFrame, gains: pd.DataFrame, outcomes: list[str], n_bootstrap: int, seed: int
) -> pd.DataFrame:
    """Correlation of each distance with each outcome: the sorted rows of ``correlations.csv``.

    ``distances`` and ``gains`` are the tables of those names in any order, ``gains`` of one method. ``n``
    counts the pairs used: those with a finite distance and outcome. ``ci_low`` and ``ci_high`` are the 2.5th
    and 97.5th percentile of Spearman in ``n_bootstrap`` :func:`resamples`, without those in which nothing
    varies. ``below_null`` is the share of all pairs, scored or not, whose distance does not exceed its null. NaN: a
    correlation with what does not vary, an interval over one source and one target, a share where there is no null.

    Errors: pandas' MergeError where ``gains`` has two rows for a pair.
    """
    table = distances[[*KEY, *DISTANCE, "value", "null"]].merge(
        gains[[*KEY, *outcomes]], on=KEY, how="left", validate="many_to_one"
    )
    rows = []
    for key, group in table.sort_values([*DISTANCE, *KEY]).groupby(DISTANCE):
        measured = group[group["value"].notna() & group["null"].notna()]
        below_null = (measured["value"] <= measured["null"]).mean() if len(measured) else np.nan
        for outcome in sorted(outcomes):
            used = group[np.isfinite(group[["value", outcome]]).all(axis=1)]
            described = _describe(used, outcome, n_bootstrap, seed) | {"below_null": below_null}
            rows.append(dict(zip(DISTANCE, key, strict=True)) | {"outcome": outcome} | described)
    columns = [*DISTANCE, "outcome", "spearman", "pearson", "ci_low", "ci_high", "n", "below_null"]
    return pd.DataFrame(rows, columns=columns)


def strongest(correlations: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The correlations with one outcome, the largest absolute Spearman first."""
    rows = correlations[(correlations["outcome"] == outcome) & correlations["spearman"].notna()]
    return rows.sort_values("spearman", key=lambda value: -value.abs(), kind="stable")


def with_gains(distances: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distances of the labelled pairs, with their ``gain_iou`` and the ``group`` that colours them."""
    scored = pairs[pairs["gain_iou"].notna()]
    has_polarity = (scored["polarity"] != "").any()
    scored = scored.assign(group=scored["polarity" if has_polarity else "transform"].replace("", "unknown"))
    return distances.merge(scored[[*KEY, "gain_iou", "group"]], on=KEY)


def resamples(source: np.ndarray, target: np.ndarray, n_bootstrap: int, seed: int) -> Iterator[np.ndarray]:
    """How often each pair stands in each resample of the domains: ``n_bootstrap`` columns (n,), in blocks.

    ``source`` and ``target`` (n,) name the domains of each pair. Sources and targets are drawn independently
    with replacement, each domain with all its rows; the weight of a pair is how often its source was drawn
    times how often its target was. Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2).
    """
    rng = np.random.default_rng(seed)
    counts = []
    for names in (source, target):
        domains, member = np.unique(names, return_inverse=True)
        drawn = rng.multinomial(len(domains), np.full(len(domains), 1 / len(domains)), size=n_bootstrap)
        counts.append((drawn.T.astype(float), member))
    (sources, of_source), (targets, of_target) = counts
    for block in np.array_split(np.arange(n_bootstrap), -(-len(source) * n_bootstrap // BLOCK)):
        yield sources[:, block][of_source] * targets[:, block][of_target]


def ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks (n, b), less one half, of ``values`` (n,) when each stands ``weights`` (n, b) times."""
    distinct, member = np.unique(values, return_inverse=True)
    order = np.argsort(member, kind="stable")
    ties = np.add.reduceat(weights[order], np.searchsorted(member[order], np.arange(len(distinct))), axis=0)
    return (np.cumsum(ties, axis=0) - ties / 2)[member]


def pearson(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted correlation (b,) down the columns of (n, b) arrays; NaN where either does not vary."""
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore"):
        first = first - (weights * first).sum(axis=0) / total
        second = second - (weights * second).sum(axis=0) / total
        moments = [(weights * a * b).sum(axis=0) for a, b in ((first, second), (first, first), (second, second))]
        return moments[0] / np.sqrt(moments[1] * moments[2])


def spearman(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation (b,) of (n,) and (n,) when each pair stands ``weights`` (n, b) times."""
    return pearson(ranks(first, weights), ranks(second, weights), weights)


def _describe(pairs: pd.DataFrame, outcome: str, n_bootstrap: int, seed: int) -> dict[str, float]:
    described = dict.fromkeys(["spearman", "pearson", "ci_low", "ci_high"], np.nan) | {"n": len(pairs)}
    source, target, first, second = (pairs[name].to_numpy() for name in ("source", "target", "value", outcome))
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return described
    once = np.ones((len(pairs), 1))
    described["spearman"] = spearman(first, second, once).item()
    described["pearson"] = pearson(first[:, None], second[:, None], once).item()
    if len(np.unique(source)) > 1 or len(np.unique(target)) > 1:
        blocks = resamples(source, target, n_bootstrap, seed)
        estimates = np.concatenate([spearman(first, second, weights) for weights in blocks])
        described["ci_low"], described["ci_high"] = np.nanpercentile(estimates, [2.5, 97.5])
    return described
