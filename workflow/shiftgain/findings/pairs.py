"""The pair table, a row per source, target, transform, level and seed, and what is derived from it.

What is derived: example cases, and summaries by method, by training and by direction. All of it follows from the
tables by the rules written here; nothing is picked by hand.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from shiftgain.files.tables import read_csv
from shiftgain.findings.theory import alike, classes, contrast_change, predicted_iou, share_change, share_spread
from shiftgain.shifts.generation import drawn_compound
from shiftgain.study.names import KEPT, KEY, PAIR, PLAIN, DomainName, domain_of, full_names, variant_of

# Every column of tables/pairs.csv, in its order, and what it holds. The adapted IoU of each method follows, in columns
# iou_METHOD, methods by the alphabet. IoU are empty where the target has no masks.
COLUMNS = {
    "source": "the network: the domain that it is trained on, with ~VARIANT where its training is varied",
    "target": "the domain of the images, before any transform",
    "transform": "what was done to them; identity where nothing was",
    "level": "of the transform, in its unit; 0 for identity",
    "seed": "of the network, and of the images unless the study fixes their draw",
    "name": "the target in full: DOMAIN@TRANSFORM=LEVEL",
    "variant": "VARIANT of the source; empty where there is none",
    "home": "whether the target is the domain that the network was trained on, untransformed",
    "shifted": "whether the target is that domain under a transform",
    "polarity": "whether (mask mean - background mean) has the sign that it has on the source: kept or flipped; a "
    "negative flips it; empty where either domain is real, or has equal means",
    "brightness": "whether both means differ from the source's by one common amount, all else equal",
    "towards_mask": "grey level by which the mean of the target's two means lies nearer the source's mask side than "
    "that of the source's, before any transform; negative: away from it; empty where either domain is real",
    "share_spread": "logits by which images of the target differ in their foreground share; empty for a real domain",
    "share_change": "logits by which the foreground share of the target, as it is drawn, exceeds the source's; empty "
    "where either domain is real, or its masks are given by a threshold",
    "contrast_change": "stops by which the target's contrast to noise, |mask mean - background mean| / noise, exceeds "
    "the source's; empty where either domain is not two classes of white noise",
    "theory_before": "IoU that theory gives a classifier of single pixels without adaptation, at a quarter of the "
    "noise, for what the context of a network takes from it; empty as contrast_change, and where images differ",
    "theory_after": "the same with the input's mean and deviation adapted: what batchnorm should reach",
    "true_foreground": "share of the test pixels that are foreground",
    "foreground_before": "share of them that the network calls foreground without adaptation",
    "foreground_after": "share of them that it calls foreground with the main method",
    "clipped_share": "share of them that are black or white",
    "pixel_ceiling": "best IoU of a classifier of single pixels; empty for colour",
    "own_iou": "of the network on the test images of its own domain",
    "iou_target_trained": "of a network trained on the target with labels; empty where there is none",
    "iou_before": "without adaptation",
    "method": "the main method of the study: batchnorm, or the first by the alphabet of a study without it",
    "iou_after": "with the main method; empty where the pair was not tried with it",
    "gain_iou": "iou_after - iou_before",
}
# What the closed form of findings/theory.py says of a pair.
THEORY = ["contrast_change", "theory_before", "theory_after"]
# A change of IoU of at most this size is called none.
SMALLEST_GAIN = 0.02
# An IoU more than this below that of the source at home is called poor, as in the talk's cases.
POOR_MARGIN = 0.1
# A share of foreground less than this from one half counts as one half: a flip of polarity there leaves no trace in the
# grey levels. Test splits of domains drawn at one half have shares within 0.01 of it.
NEAR_HALF = 0.05
# A statement over fewer pairs than this is not made.
FEWEST_PAIRS = 3
# Foreground shares of two domains within this of each other, in logits, count as equal: 0.35 and 0.36.
SAME_SHARE = 0.05
# So do contrasts to noise within this, in stops: means have two decimals.
SAME_CONTRAST = 0.01
# Transforms of which the model of adaptation/remedies.py speaks: any other is taken to change structure.
MODELLED = [
    *["identity", "brightness", "contrast", "inversion", "noise", "foreground", "compound", "exposure"],
    "share_spread",
]
# What of the source a refresh needs the target to have kept -> the rule by which a pair of synthetic domains breaks it.
CONDITIONS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "share": lambda pairs: pairs["share_change"].abs() > SAME_SHARE,
    "polarity": lambda pairs: pairs["polarity"] == "flipped",
    "exposure between images": lambda pairs: (pairs["transform"] == "exposure") & (pairs["level"] > 0),
    "share between images": lambda pairs: pairs["share_spread"] > 0,
    "contrast to noise": lambda pairs: pairs["contrast_change"].abs() > SAME_CONTRAST,
    "texture, or another transform": lambda pairs: ~pairs["transform"].isin(MODELLED),
}
# Pairs that break none of them: home, and targets made by a positive affine change of the grey levels; and real pairs.
UNBROKEN = ("home", "brightness or contrast")
REAL = ["real, home", "real, own images transformed", "real, another domain"]
# Columns of the table of remedies beside the methods.
UNADAPTED, BEST_PER_PAIR, TARGET_TRAINED, PIXEL_CEILING = "kept", "best per pair", "target-trained", "pixel ceiling"
# The distance that the talk plotted against the gain, as a predictor of it.
TALK = "bhattacharyya_bottleneck_before_relu_position_before"


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
        lambda pairs: (pairs["iou_after"] >= pairs["own_iou"] - 0.03) & (pairs["gain_iou"] > SMALLEST_GAIN),
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
        lambda pairs: (pairs["gain_iou"] <= SMALLEST_GAIN) & (pairs["iou_before"] < pairs["own_iou"] - 0.1),
        "iou_after",
        0.0,
    ),
    Case(
        "harms",
        "gain below -0.02; of these the largest drop",
        lambda pairs: pairs["gain_iou"] < -SMALLEST_GAIN,
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
    return spec["level"] == 0 and means(spec) is not None and DomainName(spec["name"]).means == means(spec)


def near_half(share: pd.Series) -> pd.Series:
    """|share - 1/2| < :data:`NEAR_HALF`."""
    return (share - 0.5).abs() < NEAR_HALF


def main_method(gains: pd.DataFrame) -> str:
    """The method that the figures show: ``batchnorm``, or the first one of a study without it."""
    methods = sorted(gains["method"].unique())
    # Without any, no network of the study can be adapted.
    return "batchnorm" if "batchnorm" in methods or not methods else methods[0]


def pair_table(
    segmentation: pd.DataFrame, gains: pd.DataFrame, networks: pd.DataFrame, specs: dict[str, dict]
) -> pd.DataFrame:
    """The table with :data:`COLUMNS`, sorted by its key.

    ``segmentation``, ``gains`` and ``networks``: the tables of those names, each key once; ``specs``: full name of
    every domain -> its parameters.
    """
    scored = {"iou": "iou_before", "predicted_foreground": "foreground_before"}
    table = segmentation[segmentation["method"] == "source"].rename(columns=scored)
    facts = ["true_foreground", "foreground_before", "clipped_share", "pixel_ceiling", "iou_before"]
    table = with_relations(table[[*KEY, *facts]], specs)
    for role, column in (("source", "own_iou"), ("name", "iou_target_trained")):
        scores = networks.rename(columns={"network": role, "iou": column})
        table = table.merge(scores[[role, "seed", column]], on=[role, "seed"], how="left")
    table["method"] = main_method(gains)
    main = gains.loc[gains["method"] == main_method(gains), [*KEY, "iou_after", "gain_iou"]]
    by_method = gains.pivot(index=KEY, columns="method", values="iou_after").add_prefix("iou_").sort_index(axis=1)
    shares = segmentation.loc[segmentation["method"] == main_method(gains), [*KEY, "predicted_foreground"]]
    table = table.merge(shares.rename(columns={"predicted_foreground": "foreground_after"}), on=KEY, how="left")
    table = table.merge(main, on=KEY, how="left")[list(COLUMNS)]
    return table.merge(by_method.reset_index(), on=KEY, how="left").sort_values(KEY, ignore_index=True)


def with_relations(table: pd.DataFrame, specs: dict[str, dict]) -> pd.DataFrame:
    """``table``, which has the columns :data:`KEY`, and what the names and ``specs`` say of its pairs.

    Those are ``name``, ``variant``, ``home``, ``shifted``, ``polarity``, ``brightness``, ``towards_mask``,
    ``share_spread``, ``share_change``, ``contrast_change``, ``theory_before`` and ``theory_after``, as :data:`COLUMNS`
    describes them.
    """
    names, domains = pd.Series(full_names(table), table.index, dtype=object), table["source"].map(domain_of)
    bases = domains.map(lambda domain: DomainName.parse(domain).base)
    home = names == domains
    known = {name: means(spec) for name, spec in specs.items()}
    both = [(known[domain], known[name]) for domain, name in zip(domains, names, strict=True)]
    polarity = pd.Series([_polarity(*pair) for pair in both], table.index, dtype=object)
    swapped = {"kept": "flipped", "flipped": "kept", "": ""}
    grid = {name for name, spec in specs.items() if on_grid(spec)}
    couples = set(zip(domains, names, strict=True))
    theory = {(domain, name): _theory(specs[domain], specs[name]) for domain, name in couples}
    of_theory = pd.DataFrame([theory[pair] for pair in zip(domains, names, strict=True)], table.index, THEORY)
    common = pd.Series([_is_common_shift(*pair) for pair in both], table.index, dtype=bool)
    return table.assign(
        name=names,
        variant=table["source"].map(variant_of),
        home=home,
        shifted=(table["target"] == bases) & ~home,
        polarity=polarity.mask(_is_negative(table), polarity.map(swapped)),
        brightness=common & domains.isin(grid) & names.isin(grid),
        towards_mask=[_towards_mask(*pair) for pair in both],
        share_spread=names.map({name: share_spread(spec) for name, spec in specs.items()}),
        share_change=[share_change(specs[domain], specs[name]) for domain, name in zip(domains, names, strict=True)],
        **of_theory,
    )


def read_pairs(path: str) -> pd.DataFrame:
    """The pair table as :func:`pair_table` made it.

    Errors: :class:`StudyError` naming the file when it is missing, damaged or of another form.
    """
    table = read_csv(path, COLUMNS)
    words = ["variant", "polarity"]
    return table.assign(**{word: table[word].astype(object).where(table[word].notna(), "") for word in words})


def _is_negative(table: pd.DataFrame) -> pd.Series:
    """Rows whose transform turns dark into bright: the negative outweighs the image, or the compound is of a flip."""
    compounds = table["level"].where(table["transform"] == "compound", 0)
    flips = compounds.map(lambda number: drawn_compound(number).flipped).astype(bool)
    return flips | ((table["transform"] == "inversion") & (table["level"] > 0.5))


def over_seeds(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs scored with the main method, home included, averaged over seeds."""
    fixed = [*PAIR, "name", "variant", "home", "shifted", "polarity", "brightness", "method"]
    return pairs[pairs["gain_iou"].notna()].groupby(fixed).mean(numeric_only=True).reset_index()


def by_pair(scores: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and seed of the table of scores, which has one per action: ``NAME_before`` and ``NAME_after``.

    Before is of the network as it is, after of a plain refresh; what is the same in both, of the domain, is ``NAME``.
    """
    kept, plain = (scores[scores["method"] == method].set_index(KEY).drop(columns="method") for method in (KEPT, PLAIN))
    plain = plain.reindex(kept.index)
    same = [name for name in kept if kept[name].equals(plain[name])]
    parts = [part.drop(columns=same).add_suffix(f"_{state}") for part, state in ((kept, "before"), (plain, "after"))]
    return pd.concat([kept[same], *parts], axis=1).reset_index()


def abroad(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs of :func:`over_seeds` but home: what is counted."""
    table = over_seeds(pairs)
    return table[~table["home"]]


def example_cases(pairs: pd.DataFrame) -> dict[str, pd.Series | None]:
    """Name of a case -> the pair (one seed) that shows it; None where the case does not occur.

    Each pair shows one case only, and pairs without a transform go before those with one.
    """
    left = pairs[~pairs["home"] & pairs["gain_iou"].notna()]
    cases: dict[str, pd.Series | None] = {}
    for case in CASES:
        among = left[case.among(left)].sort_values([case.column, *KEY])
        plain = among[among["transform"] == "identity"]
        among = plain if len(plain) else among
        cases[case.name] = None
        if len(among):
            pair = among.iloc[int(case.quantile * (len(among) - 1))]
            cases[case.name] = pair
            left = left.drop(index=pair.name)
    return cases


def conditions(pairs: pd.DataFrame) -> pd.Series:
    """The condition of :data:`CONDITIONS` that each pair breaks, or all that it breaks, joined by ``+``.

    A pair that breaks none is of :data:`UNBROKEN`, one with a real domain, of which it is not known, of :data:`REAL`.
    """
    broken = np.stack([rule(pairs) for rule in CONDITIONS.values()], axis=1).astype(bool)
    names = pd.Series([" + ".join(np.array(list(CONDITIONS))[row]) for row in broken], pairs.index, dtype=object)
    home, shifted, real = (column.astype(bool) for column in (pairs["home"], pairs["shifted"], _has_real(pairs)))
    names = names.mask(names == "", np.where(home, *UNBROKEN))
    return names.mask(real, np.select([home, shifted], REAL[:2], REAL[2]))


def of_jobs(pairs: pd.DataFrame, jobs: Iterable[str], targets_of: dict[str, list[str]]) -> pd.DataFrame:
    """The rows of ``pairs`` that one of ``jobs``, ``source/seed0/family``, is about: their images are at hand."""
    parts = [job.split("/") for job in jobs]
    known = {(source, seed, target) for source, seed, family in parts for target in targets_of[family]}
    rows = zip(pairs["source"], "seed" + pairs["seed"].astype(str), pairs["name"], strict=True)
    return pairs[[row in known for row in rows]]


def decomposed_cases(pairs: pd.DataFrame) -> dict[str, pd.Series]:
    """Name of a case -> the pair (one seed) in which the means of the network are looked into, where it occurs.

    ``works`` and ``fails`` of :func:`example_cases`, and of the pairs that break the foreground share alone that which
    loses most, if none of them is it.
    """
    examples = example_cases(pairs)
    cases = {name: pair for name in ("works", "fails") if (pair := examples[name]) is not None}
    shares = pairs[(conditions(pairs) == "share") & pairs["gain_iou"].notna()].sort_values(["gain_iou", *KEY])
    if len(shares) and not any(pair.name == shares.index[0] for pair in cases.values()):
        cases["another share"] = shares.iloc[0]
    return cases


def by_condition(names: Iterable[str]) -> list[str]:
    """Different ``names`` of :func:`conditions`: unbroken first, then by how many are broken, real pairs last."""
    order = [*UNBROKEN, *CONDITIONS, *REAL]

    def place(name: str) -> tuple:
        parts = name.split(" + ")
        return name in REAL, len(parts), [order.index(part) for part in parts]

    return sorted(set(names), key=place)


def remedy_scores(pairs: pd.DataFrame, remedies: list[str]) -> pd.DataFrame:
    """Mean IoU by what a pair breaks and what is done about it: a row per ``condition`` and ``method``.

    Columns ``iou``, the mean over the pairs that have it, ``n``, how many these are, and ``pairs``, of the condition.
    Methods are :data:`UNADAPTED`, batchnorm and ``remedies``; :data:`BEST_PER_PAIR`, of these the best for each pair by
    its labels; :data:`TARGET_TRAINED` and :data:`PIXEL_CEILING`. ``pairs``: of :func:`over_seeds`; those that tried no
    remedy are left out.
    """
    tried = [name for name in remedies if f"iou_{name}" in pairs]
    pairs = pairs[pairs[[f"iou_{name}" for name in tried]].notna().any(axis=1)]
    columns = {UNADAPTED: pairs["iou_before"]}
    columns |= {name: pairs[f"iou_{name}"] for name in ("batchnorm", *tried) if f"iou_{name}" in pairs}
    columns |= {BEST_PER_PAIR: pd.DataFrame(columns).max(axis=1)}
    columns |= {TARGET_TRAINED: pairs["iou_target_trained"], PIXEL_CEILING: pairs["pixel_ceiling"]}
    table, condition = pd.DataFrame(columns), conditions(pairs)
    rows = [
        {"condition": name, "method": method, "iou": part[method].mean(), "n": part[method].count(), "pairs": len(part)}
        for name in by_condition(condition)
        for part in [table[condition == name]]
        for method in table
    ]
    return pd.DataFrame(rows, columns=["condition", "method", "iou", "n", "pairs"])


def label(pair: pd.Series) -> str:
    """Source, target and transform of a pair in words."""
    level = "" if pair["transform"] == "identity" else f", {pair['transform']} {pair['level']:g}"
    return f"{pair['source']} → {pair['target']}{level}"


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
    return distances.merge(scored[[*KEY, "gain_iou", "group"]], on=KEY)


def strongest(correlations: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The correlations with one outcome, the largest absolute Spearman first."""
    rows = correlations[(correlations["outcome"] == outcome) & correlations["spearman"].notna()]
    return rows.sort_values("spearman", key=lambda value: -value.abs(), kind="stable")


def method_scores(gains: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per method over all pairs but home, averaged over seeds.

    Its number of pairs, mean IoU before, after and gain, shares that gain and lose, and the median share of the gap to
    a target-trained network that is closed. ``gains``: the table of that name.
    """
    away = gains[gains["gain_iou"].notna()].merge(pairs.loc[~pairs["home"], KEY], on=KEY)
    pooled = away.groupby([*PAIR, "method"]).mean(numeric_only=True).reset_index()
    pooled = pooled.assign(gained=pooled["gain_iou"] > SMALLEST_GAIN, lost=pooled["gain_iou"] < -SMALLEST_GAIN, n=1)
    means = dict.fromkeys(["iou_before", "iou_after", "gain_iou", "gained", "lost"], "mean")
    return pooled.groupby("method").agg({"n": "sum"} | means | {"gap_closed": "median"}).reset_index()


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


def _polarity(source: tuple[float, float] | None, target: tuple[float, float] | None) -> str:
    if source is None or target is None or source[0] == source[1] or target[0] == target[1]:
        return ""
    return "kept" if (source[0] > source[1]) == (target[0] > target[1]) else "flipped"


def _has_real(pairs: pd.DataFrame) -> pd.Series:
    """Pairs of which either domain is real."""
    return pairs["towards_mask"].isna()


def _is_common_shift(source: tuple[float, float] | None, target: tuple[float, float] | None) -> bool:
    if source is None or target is None or source == target:
        return False
    return abs((target[0] - source[0]) - (target[1] - source[1])) < 1e-6


def _theory(source: dict, target: dict) -> tuple[float, float, float]:
    """The columns :data:`THEORY` of a pair of specs."""
    one, other = classes(source), classes(target)
    if one is None or other is None:
        return np.nan, np.nan, np.nan
    contrast = contrast_change(one, other)
    if not (alike(source) and alike(target)):
        return contrast, np.nan, np.nan
    return contrast, *predicted_iou(one.in_context(), other.in_context())


def _towards_mask(source: tuple[float, float] | None, target: tuple[float, float] | None) -> float:
    if source is None or target is None:
        return np.nan
    # Adding 0 makes -0 positive.
    return float(np.sign(source[0] - source[1]) * (sum(target) - sum(source)) / 2) + 0.0
