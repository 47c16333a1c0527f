"""What other refreshes of the statistics do: hypotheses H3c and H15 to H21, a number per seed.

*Own domain* means that the target is the domain of the source, transformed.
"""

import numpy as np
import pandas as pd

from shiftgain.findings.conditions import SAME_CONTRAST
from shiftgain.findings.measures.selection import (
    Tables,
    abroad,
    flips,
    numbers_after,
    per_seed,
    plain,
    shifted,
    spearman,
)

# An IoU at most this far below a target-trained network's is called equal to it.
SHORTFALL = 0.02
# A mix of statistics has an optimum to speak of where at least so many were tried.
FEWEST_MIXES = 8
# A prediction is better than chance from this much IoU on, and has ended well at most this far below target-trained.
CHANCE_MARGIN = 0.01
SUCCESS_MARGIN = 0.05
# Every refresh of the statistics that is tried, the plain one first.
REMEDIES = [
    "batchnorm", "balanced", "turned", "turned_balanced", "image", "image_balanced", "turned_image_balanced",
    "shrunk_balanced",
]  # fmt: skip


def _brightened(table: pd.DataFrame) -> pd.Series:
    """Rows whose target, before its transform, has both means one common amount off the source's."""
    couples = set(table.loc[table["brightness"], ["source", "target"]].itertuples(index=False, name=None))
    rows = table[["source", "target"]].itertuples(index=False, name=None)
    return pd.Series([row in couples for row in rows], table.index, dtype=bool)


def _equal_contrast(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose target has the source's contrast to noise."""
    return table[table["contrast_change"].abs() < SAME_CONTRAST]


def _shortfall(table: pd.DataFrame, methods: list[str]) -> pd.Series:
    """IoU of the target-trained network - best IoU of ``methods``, over the rows that know both."""
    best = table[[f"iou_{method}" for method in methods]].max(axis=1)
    return (table["iou_target_trained"] - best).dropna()


def _largest_shortfall(table: pd.DataFrame, method: str) -> pd.Series:
    return per_seed(table, lambda rows: _shortfall(rows, [method]).max())


def _share_equal(table: pd.DataFrame, methods: list[str]) -> pd.Series:
    """Share of pairs at most :data:`SHORTFALL` below the target-trained network with the best of ``methods``."""
    return per_seed(table.assign(short=_shortfall(table, methods)).dropna(subset="short"),
                     lambda rows: (rows["short"] <= SHORTFALL).mean())  # fmt: skip


# H3: mixes of statistics


def best_mix(tables: Tables) -> pd.Series:
    """Mean over brightness shifts of Spearman(weight of the source in the best mix, |level|), ``level`` that of share.

    Mixes of source and target statistics: ``batchnorm`` has no weight of the source, ``prior_<n>`` the weight of n
    images, no adaptation all of it. On its own domain, the source's statistics would be best at every share. 0 where
    one mix is best for every share; empty where fewer than :data:`FEWEST_MIXES` were tried.
    """
    table = plain(tables)
    table = table[_brightened(table) & table["transform"].isin(["identity", "foreground"])]
    mixes = ["iou_batchnorm", *(f"iou_prior_{n}" for n in numbers_after(table, "iou_prior_")), "iou_before"]
    if len(mixes) < FEWEST_MIXES:
        return pd.Series(dtype=float)
    table = table.dropna(subset=mixes)
    table = table.assign(best=table[mixes].to_numpy().argmax(axis=1))

    def over_couples(rows: pd.DataFrame) -> float:
        couples = [couple for _, couple in rows.groupby(["source", "target"]) if couple["level"].abs().nunique() > 2]
        return float(np.mean([_order(couple["best"], couple["level"].abs()) for couple in couples] or [np.nan]))

    return per_seed(table, over_couples)


def _order(numbers: pd.Series, levels: pd.Series) -> float:
    return spearman(numbers, levels) if numbers.nunique() > 1 else 0.0


# H15 to H20: other refreshes of the statistics, for each condition that plain adaptation needs


def balanced_shortfall(tables: Tables) -> pd.Series:
    """max (IoU of the target-trained network - IoU(balanced)) over other foreground shares.

    Of the own domain, and of targets whose two means differ from the source's by one common shift.
    """
    table = plain(tables)
    own = table["shifted"] | _brightened(table)
    return _largest_shortfall(table[own & (table["transform"] == "foreground")], "balanced")


def turned_shortfall(tables: Tables) -> pd.Series:
    """max (IoU of the target-trained network - IoU(turned)) over flips of polarity at the source's contrast to noise.

    Only flips of untransformed targets and of negatives: their foreground share is that of their domain.
    """
    table = _equal_contrast(flips(tables))
    return _largest_shortfall(table[table["transform"].isin(["identity", "inversion"])], "turned")


def compounds_repaired(tables: Tables) -> pd.Series:
    """Share of the compounds at most 0.02 below the target-trained network with the better of two refreshes.

    The two are ``balanced`` and ``turned_balanced``: the polarity is taken as known.
    """
    table = _equal_contrast(plain(tables))
    return _share_equal(table[table["transform"] == "compound"], ["balanced", "turned_balanced"])


def image_gain(tables: Tables) -> pd.Series:
    """mean (IoU(image) - IoU) where images differ in exposure and not in share."""
    exposed, _, _ = _unlike(tables)
    return _over(exposed, "image", ["batchnorm"])


def image_harm(tables: Tables) -> pd.Series:
    """mean (IoU - IoU(image)) where images differ in share and not in exposure."""
    _, spread, _ = _unlike(tables)
    return -_over(spread, "image", ["batchnorm"])


def image_balanced_harm(tables: Tables) -> pd.Series:
    """mean (IoU - IoU(image_balanced)) where images differ in share and not in exposure."""
    _, spread, _ = _unlike(tables)
    return -_over(spread, "image_balanced", ["batchnorm"])


def crossing_gain(tables: Tables) -> pd.Series:
    """mean (IoU(image_balanced) - best IoU of batchnorm, image and balanced) where images differ in both."""
    _, _, both = _unlike(tables)
    return _over(both, "image_balanced", ["batchnorm", "image", "balanced"])


def _unlike(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Pairs of kept polarity whose images differ in exposure alone, in share alone, and in both."""
    table = plain(tables)
    table = table[table["polarity"] == "kept"]
    exposed, spread = (table["transform"] == "exposure") & (table["level"] > 0), table["share_spread"] > 0
    return table[exposed & ~spread], table[spread & ~exposed], table[exposed & spread]


def _over(table: pd.DataFrame, method: str, others: list[str]) -> pd.Series:
    """mean (IoU(method) - best IoU of ``others``) over the pairs that know all of them."""
    names = [f"iou_{other}" for other in others]
    table = table.dropna(subset=[f"iou_{method}", *names])
    return per_seed(table, lambda rows: (rows[f"iou_{method}"] - rows[names].max(axis=1)).mean())


def repaired(tables: Tables) -> pd.Series:
    """Share of pairs at the source's contrast to noise and structure at most 0.02 below the target-trained network.

    With the best of :data:`REMEDIES`, chosen with labels.
    """
    return _share_equal(_equal_contrast(abroad(tables)), REMEDIES)


def left_by_contrast(tables: Tables) -> pd.Series:
    """Spearman(what the best of :data:`REMEDIES` falls short of the target-trained network by, |contrast change|).

    Over other means and noise, at the foreground share of the domain.
    """
    table = abroad(tables)
    table = table[table["transform"].isin(["identity", "noise"]) & table["contrast_change"].notna()]
    table = table.assign(short=_shortfall(table, REMEDIES)).dropna(subset="short")
    return per_seed(table, lambda rows: spearman(rows["short"], rows["contrast_change"].abs()))


def left_by_texture(tables: Tables) -> pd.Series:
    """mean (IoU of the target-trained network - best IoU of :data:`REMEDIES`) of the own domain in another texture."""
    return per_seed(shifted(tables, ["texture"]), lambda rows: _shortfall(rows, REMEDIES).mean())


def fixed_point_told(tables: Tables) -> pd.Series:
    """(share told of balanced refreshes that end well + share told of those that do not) / 2, of equal contrast.

    One is told to end well where the IoU of the plain refresh from which it starts exceeds, by 0.01 at least, that of q
    of the pixels called foreground by chance: q s / (q + s - q s), s the share. It ends well 0.05 or less below the
    target-trained network.
    """
    table = _equal_contrast(plain(tables)).dropna(subset=["iou_balanced", "iou_target_trained"])
    q, s = table["foreground_after"], table["true_foreground"]
    chance = q * s / (q + s - q * s)
    told = table["iou_after"] > chance + CHANCE_MARGIN
    well = table["iou_target_trained"] - table["iou_balanced"] <= SUCCESS_MARGIN
    table = table.assign(right=told == well, well=well)

    def balanced(rows: pd.DataFrame) -> float:
        return rows.groupby("well")["right"].mean().mean() if rows["well"].nunique() == 2 else np.nan

    return per_seed(table, balanced)


# H21: theory


def theory_correlation(tables: Tables) -> pd.Series:
    """Pearson(IoU, theory_after) over all pairs that theory knows."""
    return per_seed(_in_theory(tables), lambda rows: rows["iou_batchnorm"].corr(rows["theory_after"]))


def theory_error(tables: Tables) -> pd.Series:
    """sqrt(mean (IoU - theory_after)^2) over all pairs that theory knows."""
    return per_seed(
        _in_theory(tables), lambda rows: float(np.sqrt(((rows["iou_batchnorm"] - rows["theory_after"]) ** 2).mean()))
    )


def _in_theory(tables: Tables) -> pd.DataFrame:
    return plain(tables).dropna(subset=["iou_batchnorm", "theory_after"])
