"""What hypotheses measure: each public function here gives one number per seed, from the tables of a study.

``workflow/hypotheses.yaml`` names them. Below, IoU is that of adaptation by ``batchnorm`` where no method is said, and
*own domain* means that the target is the domain of the source, transformed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from shiftgain.findings.pairs import near_half
from shiftgain.study.names import DISTANCE, KEY

AFFINE = ["brightness", "contrast"]
# These redraw an image at equal mean and variance; blur and sharpening change the variance too.
STRUCTURE = ["texture", "noise_correlation"]
SHARPNESS = ["blur", "sharpen"]
# A share of clipped pixels above this makes a change of grey levels no longer affine.
LARGEST_UNCLIPPED_SHARE = 0.001
# Below this room between the IoU before and that of a target-trained network, the share of it closed means nothing.
SMALLEST_GAP = 0.01
# An IoU at most this far below a target-trained network's is called equal to it.
SHORTFALL = 0.02
# Contrasts to noise within this of each other, in stops, count as equal: means have two decimals.
SAME_CONTRAST = 0.01
# A mix of statistics has an optimum to speak of where at least so many were tried.
FEWEST_MIXES = 8
# A prediction is better than chance from this much IoU on, and has ended well at most this far below target-trained.
BETTER_THAN_CHANCE = 0.01
ENDED_WELL = 0.05
# Every refresh of the statistics that is tried, the plain one first.
REMEDIES = [
    "batchnorm", "balanced", "turned", "turned_balanced", "image", "image_balanced", "turned_image_balanced",
    "shrunk_balanced",
]  # fmt: skip
# IoU within this of each other count as equal: the spread between seeds.
SAME_IOU = 0.01
# Scores that may tell polarity, chosen before any result:
POLARITY_SCORES = [
    # third moment of the grey levels: its sign is that of which class is the smaller, bright or dark
    "grey_skewness",
    # third moment of the logits, after adaptation has matched their mean and deviation
    "logit_skewness_after",
    # shift of each predicted class, which remains when the statistics of all pixels agree
    "class_distance_after",
    # overlap of the predictions before and after: low where adaptation turns a prediction into its complement
    "agreement_before_after",
]


@dataclass(frozen=True)
class Tables:
    """The tables of a study, ``pairs`` the labelled ones; ``irregular``: variant -> options of training it changes."""

    pairs: pd.DataFrame
    distances: pd.DataFrame
    channels: pd.DataFrame
    scores: pd.DataFrame
    irregular: dict[str, list[str]]

    @property
    def offered(self) -> set[str]:
        """What a hypothesis may need: columns of the pairs and the scores, and distances."""
        return {*self.pairs, *self.scores, *self.distances["distance"]}


# Choosing pairs


def _per_seed(table: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.Series:
    return pd.Series({seed: number(rows) for seed, rows in table.groupby("seed")}, dtype=float)


def _plain(tables: Tables) -> pd.DataFrame:
    """Pairs of networks as the study trains them, no variants."""
    return tables.pairs[tables.pairs["variant"] == ""]


def _shifted(tables: Tables, transforms: list[str]) -> pd.DataFrame:
    """Pairs of the own domain under one of ``transforms``."""
    table = _plain(tables)
    return table[table["shifted"] & table["transform"].isin(transforms)]


def _abroad(tables: Tables) -> pd.DataFrame:
    """All pairs but those of the own domain, untransformed."""
    table = _plain(tables)
    return table[~table["home"]]


def _flips(tables: Tables) -> pd.DataFrame:
    table = _plain(tables)
    return table[table["polarity"] == "flipped"]


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
    return _per_seed(table, lambda rows: _shortfall(rows, [method]).max())


def _share_equal(table: pd.DataFrame, methods: list[str]) -> pd.Series:
    """Share of pairs at most :data:`SHORTFALL` below the target-trained network with the best of ``methods``."""
    return _per_seed(table.assign(short=_shortfall(table, methods)).dropna(subset="short"),
                     lambda rows: (rows["short"] <= SHORTFALL).mean())  # fmt: skip


def _gain(table: pd.DataFrame, method: str = "batchnorm") -> pd.Series:
    return table[f"iou_{method}"] - table["iou_before"]


def _gain_ratio(table: pd.DataFrame, method: str) -> pd.Series:
    """mean gain(method) / mean gain(batchnorm), over the pairs that have both."""
    known = table.dropna(subset=f"iou_{method}")
    return _per_seed(known, lambda rows: _gain(rows, method).mean() / _gain(rows).mean())


def _spearman(first: pd.Series, second: pd.Series) -> float:
    return first.corr(second, method="spearman")


# H1, H2: affine changes and flips of polarity


def affine_error(tables: Tables) -> pd.Series:
    """max |IoU - own IoU| under unclipped brightness and contrast. Own IoU: the source's, at home."""
    table = _shifted(tables, AFFINE)
    table = table[table["clipped_share"] < LARGEST_UNCLIPPED_SHARE]
    return _per_seed(table, lambda rows: (rows["iou_batchnorm"] - rows["own_iou"]).abs().max())


def clipping_harm(tables: Tables) -> pd.Series:
    """Spearman(IoU - own IoU, share of clipped pixels) under clipped brightness and contrast."""
    table = _shifted(tables, AFFINE)
    table = table[table["clipped_share"] >= LARGEST_UNCLIPPED_SHARE]
    return _per_seed(table, lambda rows: _spearman(rows["iou_batchnorm"] - rows["own_iou"], rows["clipped_share"]))


def best_flip(tables: Tables) -> pd.Series:
    """max (IoU - true foreground share) over flips of polarity: the share is the IoU of calling all foreground."""
    return _per_seed(_flips(tables), lambda rows: (rows["iou_batchnorm"] - rows["true_foreground"]).max())


def flip_told(tables: Tables) -> pd.Series:
    """max max(AUC, 1 - AUC) over distances, layers and states; AUC = P(distance of a flipped > of a kept pair).

    Over pairs of known polarity. The best distance is chosen on the pairs that it is judged by: one chosen beforehand
    tells no more.
    """
    table = _abroad(tables)
    table = table[table["polarity"] != ""].merge(tables.distances, on=KEY)

    def best(rows: pd.DataFrame) -> float:
        areas = rows.groupby(DISTANCE)[["value", "polarity"]].apply(_area)
        return np.maximum(areas, 1 - areas).max()

    return _per_seed(table, best)


def _area(rows: pd.DataFrame) -> float:
    """P(value of a flipped pair > of a kept one) + P(equal) / 2: the area under the ROC curve; NaN without either.

    Mann and Whitney 1947, from ranks.
    """
    flipped = rows["polarity"] == "flipped"
    n, others = flipped.sum(), (~flipped).sum()
    if not n or not others:
        return np.nan
    return (rows["value"].rank()[flipped].sum() - n * (n + 1) / 2) / (n * others)


# H3, H4: shifts of the foreground share


def foreground_gain(tables: Tables) -> pd.Series:
    """Mean gain where the foreground share shifts."""
    return _per_seed(_shifted(tables, ["foreground"]), lambda rows: _gain(rows).mean())


def foreground_harm(tables: Tables) -> pd.Series:
    """Spearman(gain, |level|) where the foreground share shifts by ``level``, in logits."""
    table = _shifted(tables, ["foreground"])
    return _per_seed(table, lambda rows: _spearman(_gain(rows), rows["level"].abs()))


def best_mix(tables: Tables) -> pd.Series:
    """Mean over brightness shifts of Spearman(weight of the source in the best mix, |level|), ``level`` that of share.

    Mixes of source and target statistics: ``batchnorm`` has no weight of the source, ``prior_<n>`` the weight of n
    images, no adaptation all of it. On its own domain, the source's statistics would be best at every share. 0 where
    one mix is best for every share; empty where fewer than :data:`FEWEST_MIXES` were tried.
    """
    table = _plain(tables)
    table = table[_brightened(table) & table["transform"].isin(["identity", "foreground"])]
    mixes = ["iou_batchnorm", *(f"iou_prior_{n}" for n in _numbers(table, "iou_prior_")), "iou_before"]
    if len(mixes) < FEWEST_MIXES:
        return pd.Series(dtype=float)
    table = table.dropna(subset=mixes)
    table = table.assign(best=table[mixes].to_numpy().argmax(axis=1))

    def over_couples(rows: pd.DataFrame) -> float:
        couples = [couple for _, couple in rows.groupby(["source", "target"]) if couple["level"].abs().nunique() > 2]
        return float(np.mean([_order(couple["best"], couple["level"].abs()) for couple in couples] or [np.nan]))

    return _per_seed(table, over_couples)


def _order(numbers: pd.Series, levels: pd.Series) -> float:
    return _spearman(numbers, levels) if numbers.nunique() > 1 else 0.0


def decoder_harm(tables: Tables) -> pd.Series:
    """min(kept, 1 - left) of adapting the encoder only.

    kept = gain(encoder_only) / gain(batchnorm) under brightness and contrast; left = gain(encoder_only) /
    gain(batchnorm) under shifts of the foreground share, where both gains are losses.
    """
    kept = _gain_ratio(_shifted(tables, AFFINE), "encoder_only")
    left = _gain_ratio(_shifted(tables, ["foreground"]), "encoder_only")
    return pd.concat([kept, 1 - left], axis=1, join="inner").min(axis=1)


# H5: noise


def noise_ratio(tables: Tables) -> pd.Series:
    """min r(level) / r(0) over levels of noise at which the IoU drops; r = IoU / IoU of the network trained there."""
    table = _plain(tables)
    table = table[table["home"] | (table["shifted"] & (table["transform"] == "noise"))]
    table = table.assign(ratio=table["iou_batchnorm"] / table["iou_target_trained"]).dropna(subset="ratio")

    def lowest(rows: pd.DataFrame) -> float:
        level = rows.groupby("level")[["ratio", "iou_batchnorm"]].mean()
        if 0 not in level.index:
            return np.nan
        drops = level["iou_batchnorm"] < level.loc[0, "iou_batchnorm"]
        return (level["ratio"] / level.loc[0, "ratio"])[drops].min()

    return _per_seed(table, lowest)


# H6: two directions of a pair of domains


def affine_asymmetry(tables: Tables) -> pd.Series:
    """mean |closed(A->B) - closed(B->A)| / mean |gain(A->B) - gain(B->A)| of pairs whose means differ by one shift.

    See :func:`_between_directions`.
    """
    table = _plain(tables)
    both = _between_directions(table[table["brightness"]])
    return _per_seed(both, lambda rows: rows["closed"].mean() / rows["gain"].mean())


def flip_asymmetry(tables: Tables) -> pd.Series:
    """mean |closed(A->B) - closed(B->A)| of pairs that flip the polarity; see :func:`_between_directions`."""
    return _per_seed(_between_directions(_flips(tables)), lambda rows: rows["closed"].mean())


def _between_directions(table: pd.DataFrame) -> pd.DataFrame:
    """|closed(A->B) - closed(B->A)| and |gain(A->B) - gain(B->A)| of couples studied both ways.

    closed = gain / (IoU of the target-trained network - IoU before).
    """
    gap = table["iou_target_trained"] - table["iou_before"]
    table = table.assign(gain=_gain(table), closed=_gain(table) / gap)
    table = table[(table["transform"] == "identity") & (gap > SMALLEST_GAP) & (table["source"] != table["target"])]
    turned = table.rename(columns={"source": "target", "target": "source"})
    both = table.merge(turned, on=["source", "target", "seed"], suffixes=("", "_back"))
    apart = {name: (both[name] - both[f"{name}_back"]).abs() for name in ("closed", "gain")}
    return both.assign(**apart)


# H7: means and variances


def mean_share(tables: Tables) -> pd.Series:
    """gain(mean_only) / gain(batchnorm) under brightness: what the means alone bring."""
    return _gain_ratio(_shifted(tables, ["brightness"]), "mean_only")


def variance_needed(tables: Tables) -> pd.Series:
    """mean (IoU - IoU(mean_only)) under contrast and noise."""
    table = _shifted(tables, ["contrast", "noise"])
    return _per_seed(table, lambda rows: (rows["iou_batchnorm"] - rows["iou_mean_only"]).mean())


# H8: how the network was trained


def early_gain(tables: Tables) -> pd.Series:
    """Mean gain at home of networks trained for fewer epochs."""
    return _home_gain(tables, {name for name, options in tables.irregular.items() if options == ["epochs"]})


def irregular_gain(tables: Tables) -> pd.Series:
    """Mean gain at home of networks trained with another learning rate or momentum of the statistics."""
    return _home_gain(tables, {name for name, options in tables.irregular.items() if options != ["epochs"]})


def converged_gain(tables: Tables) -> pd.Series:
    """|mean gain| at home of networks trained well, in a study of irregular ones."""
    return _home_gain(tables, {""}).abs() if tables.irregular else pd.Series(dtype=float)


def _home_gain(tables: Tables, variants: set[str]) -> pd.Series:
    home = tables.pairs[tables.pairs["home"] & tables.pairs["variant"].isin(variants)]
    return _per_seed(home, lambda rows: _gain(rows).mean())


# H9, H10: structure and distances


def structure_gain(tables: Tables) -> pd.Series:
    """max over transforms of mean |gain|, where structure changes at equal mean and variance."""
    return _largest_gain(_shifted(tables, STRUCTURE))


def sharpness_gain(tables: Tables) -> pd.Series:
    """max over transforms of mean |gain|, under blur and sharpening."""
    return _largest_gain(_shifted(tables, SHARPNESS))


def _largest_gain(table: pd.DataFrame) -> pd.Series:
    size = table.assign(size=_gain(table).abs())
    return _per_seed(size, lambda rows: rows.groupby("transform")["size"].mean().max())


def structure_distance(tables: Tables) -> pd.Series:
    """median (distance / null) before adaptation, where structure changes at equal mean and variance."""
    table = tables.distances.merge(_shifted(tables, STRUCTURE)[KEY], on=KEY)
    table = table[(table["state"] == "before") & (table["null"] > 0)]
    return _per_seed(table, lambda rows: (rows["value"] / rows["null"]).median())


def residual_tells_more(tables: Tables) -> pd.Series:
    """s(after) - s(before): how well distances of each state order the IoU of unseen transforms.

    s is the mean over transforms, each held out in turn, of sign x Spearman(distance, IoU) on the one held out. The
    distance, its layer and its sign have the largest |Spearman| on all other transforms.
    """
    table = tables.distances.merge(_abroad(tables)[[*KEY, "iou_batchnorm"]], on=KEY)

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
                correlations.append(np.sign(seen[best]) * _spearman(values.loc[out, best], iou[out]))
        return float(pd.Series(correlations, dtype=float).mean())

    return _per_seed(table, lambda rows: order(rows[rows["state"] == "after"]) - order(rows[rows["state"] == "before"]))


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
    table = _abroad(tables).merge(tables.scores[[*KEY, *POLARITY_SCORES]], on=KEY)
    table = table[table["polarity"] != ""]
    table = table[near_half(table["true_foreground"]) == at_half]

    def over_sources(rows: pd.DataFrame) -> float:
        sources = rows["source"]
        return float(
            pd.Series([_accuracy(rows[sources != one], rows[sources == one]) for one in sources.unique()]).mean()
        )

    return _per_seed(table, over_sources)


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


# H12: few images


def images_needed(tables: Tables) -> pd.Series:
    """:func:`_plateau` over the number of target images."""
    return _plateau(_plain(tables), "iou_images_")


def batch_needed(tables: Tables) -> pd.Series:
    """:func:`_plateau` over the size of test batches that are normalised by themselves."""
    return _plateau(_plain(tables), "iou_test_batch_")


def _numbers(table: pd.DataFrame, prefix: str) -> list[int]:
    """The numbers n of the columns ``PREFIX<n>``, ascending."""
    return sorted(int(name.removeprefix(prefix)) for name in map(str, table) if name.startswith(prefix))


def _plateau(table: pd.DataFrame, prefix: str) -> pd.Series:
    """Smallest n such that for it and every larger one mean |IoU(n) - IoU| <= 0.01; IoU(n) in ``PREFIX<n>``.

    Twice the largest n where the largest is not within 0.01; empty where no n was tried.
    """
    counts = _numbers(table, prefix)
    if not counts:
        return pd.Series(dtype=float)
    names = [f"{prefix}{count}" for count in counts]

    def smallest(rows: pd.DataFrame) -> float:
        apart = rows[names].sub(rows["iou_batchnorm"], axis=0).abs().mean().to_numpy() > SAME_IOU
        beyond = [*counts, 2 * counts[-1]]
        return beyond[int(apart.nonzero()[0].max()) + 1 if apart.any() else 0]

    return _per_seed(table.dropna(subset=names), smallest)


# H13: the distribution of latents


def gaussian_share(tables: Tables) -> pd.Series:
    """mean (1 - dead - non_gaussian) over layers: share of channels before the ReLU that live and are near Gaussian."""
    table = tables.channels.query("activation == 'before_relu' and unit == 'position' and ~source.str.contains('~')")
    return _per_seed(table, lambda rows: (1 - rows["dead"] - rows["non_gaussian"]).mean())


def moment_error(tables: Tables) -> pd.Series:
    """median |1 - sliced_gaussian / sliced_wasserstein| before the ReLU: distance of moments over that of samples."""
    table = tables.distances.query("activation == 'before_relu' and unit == 'position' and ~source.str.contains('~')")
    both = table.pivot_table(index=[*KEY, "layer", "state"], columns="distance", values="value")
    ratio = (both["sliced_gaussian"] / both["sliced_wasserstein"]).rename("ratio").reset_index()
    return _per_seed(ratio, lambda rows: (1 - rows["ratio"]).abs().median())


# H14: standardising the input


def input_share(tables: Tables) -> pd.Series:
    """gain(standardise) / gain(batchnorm) under brightness and contrast: the input matched, batch norm left alone."""
    return _gain_ratio(_shifted(tables, AFFINE), "standardise")


def input_falls_short(tables: Tables) -> pd.Series:
    """mean |IoU(standardise) - IoU(batchnorm)| under noise and foreground shifts, minus its mean under affine changes.

    Affine changes are brightness and contrast.
    """

    def error(table: pd.DataFrame) -> pd.Series:
        known = table.dropna(subset="iou_standardise")
        return _per_seed(known, lambda rows: (rows["iou_standardise"] - rows["iou_batchnorm"]).abs().mean())

    return (error(_shifted(tables, ["noise", "foreground"])) - error(_shifted(tables, AFFINE))).dropna()


# H15 to H20: other refreshes of the statistics, for each condition that plain adaptation needs


def balanced_shortfall(tables: Tables) -> pd.Series:
    """max (IoU of the target-trained network - IoU(balanced)) over other foreground shares.

    Of the own domain, and of targets whose two means differ from the source's by one common shift.
    """
    table = _plain(tables)
    own = table["shifted"] | _brightened(table)
    return _largest_shortfall(table[own & (table["transform"] == "foreground")], "balanced")


def turned_shortfall(tables: Tables) -> pd.Series:
    """max (IoU of the target-trained network - IoU(turned)) over flips of polarity at the source's contrast to noise.

    Of these, those that no transform makes but a negative: their foreground share is that of their domain.
    """
    table = _equal_contrast(_flips(tables))
    return _largest_shortfall(table[table["transform"].isin(["identity", "inversion"])], "turned")


def compounds_repaired(tables: Tables) -> pd.Series:
    """Share of the compounds at most 0.02 below the target-trained network with the better of two refreshes.

    Those are ``balanced`` and ``turned_balanced``: the polarity is taken as known.
    """
    table = _equal_contrast(_plain(tables))
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
    table = _plain(tables)
    table = table[table["polarity"] == "kept"]
    exposed, spread = (table["transform"] == "exposure") & (table["level"] > 0), table["share_spread"] > 0
    return table[exposed & ~spread], table[spread & ~exposed], table[exposed & spread]


def _over(table: pd.DataFrame, method: str, others: list[str]) -> pd.Series:
    """mean (IoU(method) - best IoU of ``others``) over the pairs that know all of them."""
    names = [f"iou_{other}" for other in others]
    table = table.dropna(subset=[f"iou_{method}", *names])
    return _per_seed(table, lambda rows: (rows[f"iou_{method}"] - rows[names].max(axis=1)).mean())


def repaired(tables: Tables) -> pd.Series:
    """Share of pairs at the source's contrast to noise and structure at most 0.02 below the target-trained network.

    With the best of :data:`REMEDIES`, chosen with labels.
    """
    return _share_equal(_equal_contrast(_abroad(tables)), REMEDIES)


def left_by_contrast(tables: Tables) -> pd.Series:
    """Spearman(what the best of :data:`REMEDIES` falls short of the target-trained network by, |contrast change|).

    Over other means and noise, at the foreground share of the domain.
    """
    table = _abroad(tables)
    table = table[table["transform"].isin(["identity", "noise"]) & table["contrast_change"].notna()]
    table = table.assign(short=_shortfall(table, REMEDIES)).dropna(subset="short")
    return _per_seed(table, lambda rows: _spearman(rows["short"], rows["contrast_change"].abs()))


def left_by_texture(tables: Tables) -> pd.Series:
    """mean (IoU of the target-trained network - best IoU of :data:`REMEDIES`) of the own domain in another texture."""
    return _per_seed(_shifted(tables, ["texture"]), lambda rows: _shortfall(rows, REMEDIES).mean())


def fixed_point_told(tables: Tables) -> pd.Series:
    """(share told of balanced refreshes that end well + share told of those that do not) / 2, of equal contrast.

    One is told to end well where the IoU of the plain refresh from which it starts exceeds, by 0.01 at least, that of q
    of the pixels called foreground by chance: q s / (q + s - q s), s the share. It ends well 0.05 or less below the
    target-trained network.
    """
    table = _equal_contrast(_plain(tables)).dropna(subset=["iou_balanced", "iou_target_trained"])
    q, s = table["foreground_after"], table["true_foreground"]
    chance = q * s / (q + s - q * s)
    told = table["iou_after"] > chance + BETTER_THAN_CHANCE
    well = table["iou_target_trained"] - table["iou_balanced"] <= ENDED_WELL
    table = table.assign(right=told == well, well=well)

    def balanced(rows: pd.DataFrame) -> float:
        return rows.groupby("well")["right"].mean().mean() if rows["well"].nunique() == 2 else np.nan

    return _per_seed(table, balanced)


# H21: theory


def theory_correlation(tables: Tables) -> pd.Series:
    """Pearson(IoU, theory_after) over all pairs that theory knows."""
    return _per_seed(_in_theory(tables), lambda rows: rows["iou_batchnorm"].corr(rows["theory_after"]))


def theory_error(tables: Tables) -> pd.Series:
    """sqrt(mean (IoU - theory_after)^2) over all pairs that theory knows."""
    return _per_seed(
        _in_theory(tables), lambda rows: float(np.sqrt(((rows["iou_batchnorm"] - rows["theory_after"]) ** 2).mean()))
    )


def _in_theory(tables: Tables) -> pd.DataFrame:
    return _plain(tables).dropna(subset=["iou_batchnorm", "theory_after"])
