"""What distances, scores and latents tell of it: hypotheses H2b, H9b, H10, H11 and H13, a number per seed."""

import numpy as np
import pandas as pd

from shiftgain.findings.correlations import roc_area
from shiftgain.findings.measures.selection import STRUCTURE, Tables, abroad, per_seed, shifted, spearman
from shiftgain.findings.pairs import near_half
from shiftgain.study.names import DISTANCE, KEY, variant_of

# Scores that may tell polarity, chosen before any result:
POLARITY_SCORES = [
    # third moment of the grey levels: its sign is that of which class is the smaller, bright or dark
    "grey_skewness",
    # third moment of the logits, after adaptation has matched their mean and deviation
    "logit_skewness_after",
    # shift of each predicted class, which remains when the statistics of all pixels agree
    "class_distance_after",
    # overlap of the predictions before and after: low where adaptation turns a prediction into its complement
    "agreement_after",
]


# H2: whether a flip is told by distances


def flip_told(tables: Tables) -> pd.Series:
    """max max(AUC, 1 - AUC) over distances, layers and states; AUC = P(distance of a flipped > of a kept pair).

    Over pairs of known polarity. The best distance is chosen on the pairs that it is judged by: one chosen beforehand
    tells no more.
    """
    table = abroad(tables)
    table = table[table["polarity"] != ""].merge(tables.distances, on=KEY)

    def best(rows: pd.DataFrame) -> float:
        by_place = rows.groupby(DISTANCE)[["value", "polarity"]]
        areas = by_place.apply(lambda part: roc_area(part["value"], part["polarity"] == "flipped"))
        return np.maximum(areas, 1 - areas).max()

    return per_seed(table, best)


# H9, H10: structure and distances


def structure_distance(tables: Tables) -> pd.Series:
    """median (distance / null) before adaptation, where structure changes at equal mean and variance."""
    table = tables.distances.merge(shifted(tables, STRUCTURE)[KEY], on=KEY)
    table = table[(table["state"] == "before") & (table["null"] > 0)]
    return per_seed(table, lambda rows: (rows["value"] / rows["null"]).median())


def residual_tells_more(tables: Tables) -> pd.Series:
    """s(after) - s(before): how well distances of each state order the IoU of unseen transforms.

    s is the mean over transforms, each held out in turn, of sign x Spearman(distance, IoU) on the one held out. The
    distance, its layer and its sign have the largest |Spearman| on all other transforms.
    """
    table = tables.distances.merge(abroad(tables)[[*KEY, "iou_batchnorm"]], on=KEY)

    def order(rows: pd.DataFrame) -> float:
        values = rows.pivot_table(index=KEY, columns=DISTANCE[:-1], values="value")
        iou = rows.groupby(KEY)["iou_batchnorm"].first()
        transforms = values.index.get_level_values("transform")
        correlations = []
        for transform in transforms.unique():
            out = transforms == transform
            seen = values[~out].corrwith(iou[~out], method="spearman").dropna()
            if len(seen):
                best = seen.abs().idxmax()
                correlations.append(np.sign(seen[best]) * spearman(values.loc[out, best], iou[out]))
        return float(pd.Series(correlations, dtype=float).mean())

    return per_seed(table, lambda rows: order(rows[rows["state"] == "after"]) - order(rows[rows["state"] == "before"]))


# H11: polarity without labels


def polarity_told(tables: Tables) -> pd.Series:
    """:func:`_polarity_told` where the foreground share of the target is not near one half."""
    return _polarity_told(tables, at_half=False)


def polarity_told_at_half(tables: Tables) -> pd.Series:
    """:func:`_polarity_told` where the foreground share of the target is near one half."""
    return _polarity_told(tables, at_half=True)


def _polarity_told(tables: Tables, at_half: bool) -> pd.Series:
    """Mean over sources, each held out in turn, of (right share of flipped + right share of kept pairs) / 2.

    The polarity of a pair is read from one of :data:`POLARITY_SCORES` by a threshold. Score, threshold and direction
    are chosen on all other sources, for the largest such mean.
    """
    table = abroad(tables).merge(tables.scores[[*KEY, *POLARITY_SCORES]], on=KEY)
    table = table[table["polarity"] != ""]
    table = table[near_half(table["true_foreground"]) == at_half]

    def over_sources(rows: pd.DataFrame) -> float:
        sources = rows["source"]
        return float(
            pd.Series([_accuracy(rows[sources != one], rows[sources == one]) for one in sources.unique()]).mean()
        )

    return per_seed(table, over_sources)


def _accuracy(seen: pd.DataFrame, unseen: pd.DataFrame) -> float:
    """Balanced accuracy on ``unseen`` pairs of the score and threshold that are best on ``seen`` ones."""
    if min(part["polarity"].nunique() for part in (seen, unseen)) < 2:
        return np.nan
    samples = [seen[seen["polarity"] == polarity] for polarity in ("flipped", "kept")]
    cuts = {name: _cut(*(sample[name] for sample in samples)) for name in POLARITY_SCORES}
    name = max(cuts, key=lambda name: cuts[name][0])
    _, threshold, flipped_above = cuts[name]
    right = ((unseen[name] > threshold) == flipped_above) == (unseen["polarity"] == "flipped")
    return right.groupby(unseen["polarity"]).mean().mean()


def _cut(flipped: pd.Series, kept: pd.Series) -> tuple[float, float, bool]:
    """Best balanced accuracy of a threshold between two samples, the threshold, and whether the first lies above."""
    levels = np.unique(np.concatenate([flipped, kept]))
    cuts = (levels[1:] + levels[:-1]) / 2 if len(levels) > 1 else levels
    below = [np.searchsorted(np.sort(part), cuts) / len(part) for part in (flipped, kept)]
    apart = below[1] - below[0]
    best = int(np.abs(apart).argmax())
    return (1 + abs(apart[best])) / 2, cuts[best], bool(apart[best] > 0)


# H13: the distribution of latents


def _before_relu(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about positions before the ReLU of networks as the study trains them, no variants."""
    rows = table.query("activation == 'before_relu' and unit == 'position'")
    return rows[rows["source"].map(variant_of) == ""]


def gaussian_share(tables: Tables) -> pd.Series:
    """mean (1 - dead - non_gaussian) over layers: share of channels before the ReLU that live and are near Gaussian."""
    table = _before_relu(tables.channels)
    return per_seed(table, lambda rows: (1 - rows["dead"] - rows["non_gaussian"]).mean())


def moment_error(tables: Tables) -> pd.Series:
    """median |1 - sliced_gaussian / sliced_wasserstein| before the ReLU: distance of moments over that of samples."""
    table = _before_relu(tables.distances)
    both = table.pivot_table(index=[*KEY, "layer", "state"], columns="distance", values="value")
    ratio = (both["sliced_gaussian"] / both["sliced_wasserstein"]).rename("ratio").reset_index()
    return per_seed(ratio, lambda rows: (1 - rows["ratio"]).abs().median())
