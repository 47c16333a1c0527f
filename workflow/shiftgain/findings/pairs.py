"""What of a study is worth showing: its pairs and what is known of them, the talk's cases, summaries by method.

Everything is worked out from the tables by the rules written here; nothing is picked by hand. A *shift* below is a
pair that is not a network on its own domain, with labels, averaged over seeds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from shiftgain.study.names import KEY, PAIR, domain_of, target_name

# A change of IoU below this is called none.
SMALL = 0.02
# A statement over fewer pairs than this is not made.
FEWEST = 3


class Case(NamedTuple):
    """One of the talk's cases: of the pairs ``among``, the one at ``quantile`` of ``column``."""

    name: str
    rule: str
    among: Callable[[pd.DataFrame], pd.Series]
    column: str
    quantile: float


CASES = (
    Case(
        "all white",
        "without adaptation at least 95 % of the pixels are called foreground, and at most 90 % are; "
        "of these the median gain",
        lambda pairs: (pairs["foreground_before"] >= 0.95) & (pairs["true_foreground"] <= 0.9),
        "gain_iou",
        0.5,
    ),
    Case(
        "all black",
        "without adaptation at most 2 % of the pixels are called foreground, and at least 5 % are; "
        "of these the median gain",
        lambda pairs: (pairs["foreground_before"] <= 0.02) & (pairs["true_foreground"] >= 0.05),
        "gain_iou",
        0.5,
    ),
    Case(
        "works",
        "adapted IoU at most 0.03 below the source's own, gain above 0.02; of these the largest gain",
        lambda pairs: (pairs["iou_after"] >= pairs["own_iou"] - 0.03) & (pairs["gain_iou"] > SMALL),
        "gain_iou",
        1.0,
    ),
    Case(
        "kinda works",
        "gain above 0.1, adapted IoU still more than 0.1 below the source's own; of these the median gain",
        lambda pairs: (pairs["gain_iou"] > 0.1) & (pairs["iou_after"] < pairs["own_iou"] - 0.1),
        "gain_iou",
        0.5,
    ),
    Case(
        "fails",
        "gain at most 0.02, poor before (more than 0.1 below the source's own); of these the lowest adapted IoU",
        lambda pairs: (pairs["gain_iou"] <= SMALL) & (pairs["iou_before"] < pairs["own_iou"] - 0.1),
        "iou_after",
        0.0,
    ),
    Case(
        "harms",
        "gain below -0.02; of these the largest drop",
        lambda pairs: pairs["gain_iou"] < -SMALL,
        "gain_iou",
        0.0,
    ),
)


def means(spec: dict) -> tuple[float, float] | None:
    """(mask mean, background mean) of a domain's white noises, over its channels; None for a real domain."""
    if "means" not in spec:
        return None
    mask, background = (round(float(np.mean(mean)), 6) for mean in spec["means"])
    return mask, background


def on_grid(spec: dict) -> bool:
    """Whether a domain is known by its means alone: it bears them as its name, untransformed."""
    found = means(spec)
    return found is not None and spec["level"] == 0 and spec["name"] == f"{found[0]:.2f}-{found[1]:.2f}"


def main_method(gains: pd.DataFrame) -> str:
    """The method that the figures show: ``batchnorm``, or the first one of a study without it."""
    methods = sorted(gains["method"].unique())
    return "batchnorm" if "batchnorm" in methods else methods[0]


def at_identity(table: pd.DataFrame) -> pd.DataFrame:
    """Level 0 of any transform is the identity: such rows under that name, and each row once."""
    table = table.assign(transform=table["transform"].where(table["level"] != 0, "identity"))
    keys = [name for name in (*KEY, "method", "layer", "activation", "unit", "state", "distance") if name in table]
    return table.drop_duplicates(keys)


def pair_table(
    segmentation: pd.DataFrame, gains: pd.DataFrame, oracles: pd.DataFrame, specs: dict[str, dict]
) -> pd.DataFrame:
    """A row per pair and seed under the main method, sorted, with what the figures and the answer ask of it.

    ``specs``: full name of a domain -> its parameters. Columns beside the key: ``name`` of the target in full,
    ``iou_before``, ``iou_after``, ``gain_iou``, ``own_iou`` (of the source at home), ``foreground_before`` (share of
    pixels), ``true_foreground``, ``pixel_ceiling`` (best IoU of a classifier of single pixels), ``home`` (the target
    is the source), ``polarity`` (kept, flipped or empty), ``brightness`` (only one common shift of both means lies
    between them), ``towards_mask`` (grey level by which the target's means lie nearer the source's mask side than the
    source's; negative: away from it; before any transform).
    """
    gains = at_identity(gains[gains["method"] == main_method(gains)])
    unadapted = at_identity(segmentation[segmentation["method"] == "source"])
    shares = unadapted[[*KEY, "predicted_foreground", "true_foreground", "pixel_ceiling"]]
    own = oracles.rename(columns={"target": "source", "iou": "own_iou"})[["source", "seed", "own_iou"]]
    table = gains[[*KEY, "iou_before", "iou_after", "gain_iou"]].merge(shares, on=KEY).merge(own, on=["source", "seed"])
    table = table.rename(columns={"predicted_foreground": "foreground_before"}).sort_values(KEY, ignore_index=True)
    named = zip(table["target"], table["transform"], table["level"], strict=True)
    table["name"] = [target_name(*target) for target in named]
    domains = table["source"].map(domain_of)
    table["home"] = table["name"] == domains
    known = {name: means(spec) for name, spec in specs.items()}
    both = [(known[source], known[name]) for source, name in zip(domains, table["name"], strict=True)]
    plain = {name for name, spec in specs.items() if on_grid(spec)}
    table["polarity"] = [_polarity(*pair) for pair in both]
    swapped = {"kept": "flipped", "flipped": "kept", "": ""}
    table["polarity"] = table["polarity"].mask(inverted(table), table["polarity"].map(swapped))
    table["brightness"] = [_is_common_shift(*pair) for pair in both]
    table["brightness"] &= domains.isin(plain) & table["name"].isin(plain)
    table["towards_mask"] = [_towards_mask(*pair) for pair in both]
    return table


def inverted(table: pd.DataFrame) -> pd.Series:
    """Rows whose transform turns dark into bright: the negative outweighs the image."""
    return (table["transform"] == "inversion") & (table["level"] > 0.5)


def over_seeds(pairs: pd.DataFrame) -> pd.DataFrame:
    """The labelled pairs, home included, averaged over seeds."""
    fixed = [*PAIR, "name", "home", "polarity", "brightness"]
    return pairs[pairs["gain_iou"].notna()].groupby(fixed).mean(numeric_only=True).reset_index()


def shifts(pairs: pd.DataFrame) -> pd.DataFrame:
    """The labelled pairs but home, averaged over seeds: what is counted."""
    table = over_seeds(pairs)
    return table[~table["home"]]


def example_cases(pairs: pd.DataFrame) -> dict[str, pd.Series | None]:
    """Name of a case -> the pair (one seed) that shows it; None where the case does not occur.

    Each pair shows one case only, and pairs without a transform go before those with one.
    """
    left = pairs[~pairs["home"] & pairs["gain_iou"].notna()]
    found: dict[str, pd.Series | None] = {}
    for case in CASES:
        among = left[case.among(left)].sort_values([case.column, *KEY])
        plain = among[among["transform"] == "identity"]
        among = plain if len(plain) else among
        found[case.name] = None
        if len(among):
            pair = among.iloc[int(case.quantile * (len(among) - 1))]
            found[case.name] = pair
            left = left.drop(index=pair.name)
    return found


def label(pair: pd.Series) -> str:
    """Source, target and transform of a pair in words."""
    level = "" if pair["transform"] == "identity" else f", {pair['transform']} {pair['level']:g}"
    return f"{pair['source']} → {pair['target']}{level}"


def below_null(correlations: pd.DataFrame, distances: pd.DataFrame) -> pd.DataFrame:
    """``correlations`` and, as ``below_null``, the share of the pairs whose distance does not exceed its null."""
    below = (distances["value"] <= distances["null"]).where(distances["null"].notna() & distances["value"].notna())
    keys = ["distance", "layer", "activation", "unit", "state"]
    shares = distances[keys].assign(below_null=below.astype(float)).groupby(keys, as_index=False).mean()
    return correlations.merge(shares, on=keys, how="left")


def in_order(table: pd.DataFrame, layers: list[str]) -> pd.DataFrame:
    """Rows by layer in the order of the network, and before, then after: not by the alphabet."""
    places = {name: place for place, name in enumerate([*layers, "before", "after"])}
    return table.sort_values(["layer", "state"], key=lambda names: names.map(places), kind="stable")


def few(layers: list[str]) -> list[str]:
    """At most three layers, for figures with a row each: the first, the deepest and the last."""
    return layers if len(layers) <= 3 else [layers[0], "bottleneck", layers[-1]]


def with_gains(distances: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distances of the labelled pairs, with their ``gain_iou`` and the ``group`` that colours them."""
    scored = pairs[pairs["gain_iou"].notna()]
    has_polarity = (scored["polarity"] != "").any()
    scored = scored.assign(group=scored["polarity" if has_polarity else "transform"].replace("", "unknown"))
    return at_identity(distances).merge(scored[[*KEY, "gain_iou", "group"]], on=KEY)


def strongest(correlations: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The correlations with one outcome, the largest absolute Spearman first."""
    rows = correlations[(correlations["outcome"] == outcome) & correlations["spearman"].notna()]
    return rows.sort_values("spearman", key=lambda value: -value.abs(), kind="stable")


def method_scores(gains: pd.DataFrame) -> pd.DataFrame:
    """A row per method over the shifts: their number, mean IoU before, after and gain, shares that gain and lose,
    and the median share of the gap to a target-trained network that is closed."""
    gains = at_identity(gains)
    named = zip(gains["target"], gains["transform"], gains["level"], strict=True)
    home = np.array([target_name(*target) for target in named], object) == gains["source"].map(domain_of)
    pooled = gains[~home & gains["gain_iou"].notna()].groupby([*PAIR, "method"]).mean(numeric_only=True).reset_index()
    pooled = pooled.assign(gained=pooled["gain_iou"] > SMALL, lost=pooled["gain_iou"] < -SMALL, n=1)
    means = dict.fromkeys(["iou_before", "iou_after", "gain_iou", "gained", "lost"], "mean")
    return pooled.groupby("method").agg({"n": "sum"} | means | {"gap_closed": "median"}).reset_index()


def by_method(gains: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Gains of all methods over the shifts, averaged over seeds, with the polarity of the pair.

    A pair under one method compares nothing: it is left out where others have several.
    """
    known = pairs.loc[~pairs["home"], [*KEY, "polarity"]]
    merged = at_identity(gains[gains["gain_iou"].notna()]).merge(known, on=KEY)
    several = merged.groupby(KEY)["method"].transform("nunique") > 1
    merged = merged[several | ~several.any()]
    fixed = [*PAIR, "method", "polarity"]
    return merged.groupby(fixed, sort=False)["gain_iou"].mean().reset_index()


def by_training(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per network of a domain that is trained in several ways: IoU at home, and the gain there and on other
    targets of kept polarity. Stale statistics gain at home, a shift elsewhere."""
    domains = pairs["source"].map(domain_of)
    several = domains[pairs["source"].str.contains("~")].unique()
    table = pairs[domains.isin(several) & pairs["gain_iou"].notna()]
    elsewhere = table[~table["home"] & (table["polarity"] == "kept")]
    columns = {
        "own_iou": table.groupby("source")["own_iou"].mean(),
        "gain_at_home": table[table["home"]].groupby("source")["gain_iou"].mean(),
        "gain_elsewhere": elsewhere.groupby("source")["gain_iou"].mean(),
    }
    return pd.DataFrame(columns).rename_axis("network").reset_index()


def between_directions(table: pd.DataFrame, columns: list[str]) -> tuple[int, dict[str, float]]:
    """How many couples of domains the :func:`shifts` try in both directions, untransformed, and by how much each of
    ``columns`` differs between the two on average."""
    there = table[table["transform"] == "identity"].set_index(["source", "target"])
    couples = [(a, b) for a, b in there.index if a < b and (b, a) in there.index]
    if not couples:
        return 0, {}
    both = [there.loc[pairs, columns].to_numpy() for pairs in (couples, [(b, a) for a, b in couples])]
    return len(couples), dict(zip(columns, np.abs(both[0] - both[1]).mean(axis=0), strict=True))


def _polarity(source: tuple[float, float] | None, target: tuple[float, float] | None) -> str:
    if source is None or target is None:
        return ""
    return "kept" if (source[0] > source[1]) == (target[0] > target[1]) else "flipped"


def _is_common_shift(source: tuple[float, float] | None, target: tuple[float, float] | None) -> bool:
    if source is None or target is None or source == target:
        return False
    return abs((target[0] - source[0]) - (target[1] - source[1])) < 1e-6


def _towards_mask(source: tuple[float, float] | None, target: tuple[float, float] | None) -> float:
    if source is None or target is None:
        return np.nan
    return float(np.sign(source[0] - source[1]) * (sum(target) - sum(source)) / 2)
