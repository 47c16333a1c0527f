"""Pairs summarised: by method, by training, and between the two directions of a couple of domains."""

import numpy as np
import pandas as pd

from shiftgain.findings.pairs import SMALLEST_GAIN, sorted_by
from shiftgain.study.names import KEY, PAIR, domain_of


def method_scores(gains: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per method over all pairs but home, averaged over seeds.

    Its number of pairs, mean IoU before, after and gain, shares that gain and lose, and the median share of the gap to
    a target-trained network that is closed. ``gains``: the table of that name.
    """
    away = gains[gains["gain_iou"].notna()].merge(pairs.loc[~pairs["home"], KEY], on=KEY)
    pooled = away.groupby([*PAIR, "method"]).mean(numeric_only=True).reset_index()
    pooled = pooled.assign(gained=pooled["gain_iou"] > SMALLEST_GAIN, lost=pooled["gain_iou"] < -SMALLEST_GAIN, n=1)
    means = dict.fromkeys(["iou_before", "iou_after", "gain_iou", "gained", "lost"], "mean")
    table = pooled.groupby("method").agg({"n": "sum"} | means | {"gap_closed": "median"})
    return sorted_by(table.reset_index(), ["method"])


def by_method(gains: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Gains of all methods over all pairs but home, averaged over seeds, with the polarity of the pair.

    A pair under one method compares nothing: it is left out where others have several. ``gains``: the table of that
    name.
    """
    known = pairs.loc[~pairs["home"], [*KEY, "polarity"]]
    merged = gains[gains["gain_iou"].notna()].merge(known, on=KEY)
    several = merged.groupby(KEY)["method"].transform("nunique") > 1
    merged = merged[several | ~several.any()]
    fixed = [*PAIR, "method", "polarity"]
    return merged.groupby(fixed, sort=False)["gain_iou"].mean().reset_index()


def by_training(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per network of a domain that is trained in several ways: IoU at home, and the gain there and on other
    targets of kept polarity. Stale statistics gain at home, a shift elsewhere."""
    domains = pairs["source"].map(domain_of)
    several = domains[pairs["variant"] != ""].unique()
    table = pairs[domains.isin(several) & pairs["gain_iou"].notna()]
    elsewhere = table[~table["home"] & (table["polarity"] == "kept")]
    columns = {
        "own_iou": table.groupby("source")["own_iou"].mean(),
        "gain_at_home": table[table["home"]].groupby("source")["gain_iou"].mean(),
        "gain_elsewhere": elsewhere.groupby("source")["gain_iou"].mean(),
    }
    return pd.DataFrame(columns).rename_axis("network").reset_index()


def between_directions(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """|value(A -> B) - value(B -> A)| of each of ``columns``.

    A row per couple of domains that ``table`` tries in both directions, untransformed.
    """
    there = table[table["transform"] == "identity"].set_index(["source", "target"])[columns]
    couples = [(a, b) for a, b in there.index if a < b and (b, a) in there.index]
    back = [(b, a) for a, b in couples]
    return pd.DataFrame(np.abs(there.loc[couples].to_numpy() - there.loc[back].to_numpy()), columns=columns)
