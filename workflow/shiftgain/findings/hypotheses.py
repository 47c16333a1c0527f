"""Hypotheses on when and why BN adaptation works, each with a verdict that is computed from the tables.

A hypothesis is measured once per seed by one number. It is *supported* when the 95 % interval of that number over seeds
lies on its side of the bound, *refuted* when all of it lies on the other, else, or with fewer than three seeds,
*undecided*; a study without the experiment says *not tested*. A hypothesis that makes several statements has a letter
and a row for each. To add one, write its measure and name it in :data:`HYPOTHESES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from shiftgain.findings.pairs import near_half
from shiftgain.study.names import DISTANCE, KEY, variant_of

FEWEST_SEEDS = 3
AFFINE = ["brightness", "contrast"]
# These redraw an image at equal mean and variance; blur and sharpening change the variance too.
STRUCTURE = ["texture", "noise_correlation"]
SHARPNESS = ["blur", "sharpen"]
# A share of clipped pixels above this makes a change of grey levels no longer affine.
CLIPPED = 0.001
# What may tell polarity, chosen before any result. Third moments, whose sign turns with it: of the grey levels, and of
# the logits once adaptation has matched mean and deviation. What is left once the marginal statistics are matched: the
# shift of each pseudo-class, and what source and adapted network disagree on.
POLARITY_SCORES = ["grey_skewness", "logit_skewness_after", "class_distance_after", "agreement_before_after"]


@dataclass(frozen=True)
class Tables:
    """Tables of stage tabulate, of ``pairs`` the labelled ones, and variant -> options of irregular training."""

    pairs: pd.DataFrame
    distances: pd.DataFrame
    channels: pd.DataFrame
    scores: pd.DataFrame
    irregular: dict[str, list[str]]


class Hypothesis(NamedTuple):
    """``measure(tables)`` gives a number per seed; supported where it is at least (or at most) ``bound``.

    ``ours``: the number in the bound, set with the measure; elsewhere it came with the question.
    """

    claim: str
    experiment: str
    figure: str
    measure: Callable[[Tables], pd.Series]
    side: str
    bound: float
    ours: bool = False


def judge(tables: Tables, names: list[str]) -> pd.DataFrame:
    """The rows of ``hypotheses.csv``, one for each of ``names``: what was measured, its bound, and what follows."""
    rows = []
    for name in names:
        hypothesis = HYPOTHESES[name]
        values = _by_seed(hypothesis, tables)
        low, high = interval(values.to_numpy())
        rows.append(
            {
                "hypothesis": name, "claim": hypothesis.claim, "verdict": verdict(values, hypothesis),
                "experiment": hypothesis.experiment, "figure": hypothesis.figure,
                "value": values.mean(), "low": low, "high": high,
                "bound": f"{hypothesis.side} {hypothesis.bound:g}" + " (ours)" * hypothesis.ours,
                "seeds": len(values),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def verdict(values: pd.Series, hypothesis: Hypothesis) -> str:
    """``supported``, ``refuted``, ``undecided`` or ``not tested``, from one number per seed."""
    if not len(values):
        return "not tested"
    if len(values) < FEWEST_SEEDS:
        return "undecided"
    sign = 1 if hypothesis.side == "at least" else -1
    low, high = sorted(sign * bound for bound in interval(values.to_numpy()))
    return (
        "supported" if low >= sign * hypothesis.bound else "refuted" if high < sign * hypothesis.bound else "undecided"
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean over seeds, by Student's t; NaN with fewer than two."""
    if len(values) < 2:
        return np.nan, np.nan
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - reach, values.mean() + reach


def _by_seed(hypothesis: Hypothesis, tables: Tables) -> pd.Series:
    try:
        return hypothesis.measure(tables).dropna()
    except KeyError:  # a method that this study does not have
        return pd.Series(dtype=float)


def _per_seed(table: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.Series:
    return pd.Series({seed: number(rows) for seed, rows in table.groupby("seed")}, dtype=float)


def _plain(tables: Tables) -> pd.DataFrame:
    """Pairs of networks as the study trains them, no variants."""
    return tables.pairs[tables.pairs["variant"] == ""]


def _shifted(tables: Tables, transforms: list[str]) -> pd.DataFrame:
    table = _plain(tables)
    return table[table["shifted"] & table["transform"].isin(transforms)]


def _abroad(tables: Tables) -> pd.DataFrame:
    """Pairs but home."""
    table = _plain(tables)
    return table[~table["home"]]


def _gain(table: pd.DataFrame, method: str = "batchnorm") -> pd.Series:
    return table[f"iou_{method}"] - table["iou_before"]


def _gain_ratio(table: pd.DataFrame, method: str) -> pd.Series:
    """Mean gain of ``method`` over the mean gain of full adaptation."""
    return _per_seed(table.dropna(subset=f"iou_{method}"), lambda rows: _gain(rows, method).mean() / _gain(rows).mean())


def _flips(tables: Tables) -> pd.DataFrame:
    table = _plain(tables)
    return table[table["polarity"] == "flipped"]


def affine_error(tables: Tables) -> pd.Series:
    """Largest distance of the adapted IoU from the source's own, under unclipped changes of brightness and contrast."""
    table = _shifted(tables, AFFINE)
    table = table[table["clipped_share"] < CLIPPED]
    return _per_seed(table, lambda rows: (rows["iou_batchnorm"] - rows["own_iou"]).abs().max())


def clipping_harm(tables: Tables) -> pd.Series:
    """Spearman correlation of the adapted IoU, less the source's own, with the share of clipped pixels."""
    table = _shifted(tables, AFFINE)
    table = table[table["clipped_share"] >= CLIPPED]
    return _per_seed(
        table, lambda rows: (rows["iou_batchnorm"] - rows["own_iou"]).corr(rows["clipped_share"], method="spearman")
    )


def best_flip(tables: Tables) -> pd.Series:
    """Largest adapted IoU of a polarity flip less the IoU of calling every pixel foreground."""
    return _per_seed(_flips(tables), lambda rows: (rows["iou_batchnorm"] - rows["true_foreground"]).max())


def strongest_distance(tables: Tables) -> pd.Series:
    """Largest absolute Spearman of the adapted IoU with a distance, over pairs that keep and that flip the polarity."""
    table = _abroad(tables)
    table = table[table["polarity"] != ""].merge(tables.distances, on=KEY)
    return _per_seed(
        table,
        lambda rows: rows.groupby(DISTANCE).apply(
            lambda part: abs(part["value"].corr(part["iou_batchnorm"], method="spearman"))
        ).max(),
    )  # fmt: skip


def foreground_gain(tables: Tables) -> pd.Series:
    """Mean gain where the foreground share shifts."""
    return _per_seed(_shifted(tables, ["foreground"]), lambda rows: _gain(rows).mean())


def foreground_harm(tables: Tables) -> pd.Series:
    """Spearman correlation of the gain with the size of the shift of the foreground share."""
    table = _shifted(tables, ["foreground"])
    return _per_seed(table, lambda rows: _gain(rows).corr(rows["level"].abs(), method="spearman"))


def best_mix(tables: Tables) -> pd.Series:
    """Spearman correlation of the size of that shift with the weight of the source in the best mix of statistics.

    0 where one mix is best for every shift.
    """
    table = _shifted(tables, ["foreground"])
    mixes = ["iou_batchnorm", *(f"iou_prior_{weight}" for weight in _numbers(table, "prior_")), "iou_before"]
    if len(mixes) < 3:
        return pd.Series(dtype=float)
    table = table.assign(best=table[mixes].to_numpy().argmax(axis=1))
    return _per_seed(
        table,
        lambda rows: rows["best"].corr(rows["level"].abs(), method="spearman") if rows["best"].nunique() > 1 else 0.0,
    )


def decoder_harm(tables: Tables) -> pd.Series:
    """The lesser of two shares: of the affine gain that adapting the encoder keeps, of the harm that it removes."""
    kept = _gain_ratio(_shifted(tables, AFFINE), "encoder_only")
    harm = _gain_ratio(_shifted(tables, ["foreground"]), "encoder_only")
    return pd.concat([kept, 1 - harm], axis=1, join="inner").min(axis=1)


def noise_ratio(tables: Tables) -> pd.Series:
    """Adapted IoU over that of a network trained on the noisy target, over the same without noise: the lowest of the
    levels that lower the adapted IoU."""
    table = _plain(tables)
    table = table[table["home"] | (table["shifted"] & (table["transform"] == "noise"))]
    table = table.assign(ratio=table["iou_batchnorm"] / table["iou_target_trained"]).dropna(subset="ratio")

    def lowest(rows: pd.DataFrame) -> float:
        level = rows.groupby("level")[["ratio", "iou_batchnorm"]].mean()
        if 0 not in level.index:
            return np.nan
        return (level["ratio"] / level.loc[0, "ratio"])[level["iou_batchnorm"] < level.loc[0, "iou_batchnorm"]].min()

    return _per_seed(table, lowest)


def affine_asymmetry(tables: Tables) -> pd.Series:
    """:func:`_asymmetry` of pairs whose two means differ by one common shift."""
    table = _plain(tables)
    return _asymmetry(table[table["brightness"]])


def flip_asymmetry(tables: Tables) -> pd.Series:
    """:func:`_asymmetry` of pairs that flip the polarity."""
    return _asymmetry(_flips(tables))


def _asymmetry(table: pd.DataFrame) -> pd.Series:
    """Mean difference of the gap closed between two directions over that of the gain."""
    gap = table["iou_target_trained"] - table["iou_before"]
    table = table.assign(gain=_gain(table), closed=_gain(table) / gap)
    table = table[(table["transform"] == "identity") & (gap > 0.01)]
    turned = table.rename(columns={"source": "target", "target": "source"})
    both = table.merge(turned, on=["source", "target", "seed"], suffixes=("", "_back"))
    both = both[both["source"] != both["target"]]
    apart = {name: (both[name] - both[f"{name}_back"]).abs() for name in ("closed", "gain")}
    return _per_seed(both.assign(**apart), lambda rows: rows["closed"].mean() / rows["gain"].mean())


def mean_share(tables: Tables) -> pd.Series:
    """Share of the gain under brightness that the means alone bring."""
    return _gain_ratio(_shifted(tables, ["brightness"]), "mean_only")


def variance_needed(tables: Tables) -> pd.Series:
    """Mean IoU that full adaptation has over the means alone, under contrast and noise."""
    return _per_seed(
        _shifted(tables, ["contrast", "noise"]), lambda rows: (rows["iou_batchnorm"] - rows["iou_mean_only"]).mean()
    )


def early_gain(tables: Tables) -> pd.Series:
    """Mean gain on their own domain of networks trained for fewer epochs."""
    return _home_gain(tables, {name for name, options in tables.irregular.items() if options == ["epochs"]})


def irregular_gain(tables: Tables) -> pd.Series:
    """Mean gain on their own domain of networks trained with another learning rate or momentum of the statistics."""
    return _home_gain(tables, {name for name, options in tables.irregular.items() if options != ["epochs"]})


def converged_gain(tables: Tables) -> pd.Series:
    """Mean gain on their own domain, in size, of networks trained well, in a study of irregular ones."""
    return _home_gain(tables, {""}).abs() if tables.irregular else pd.Series(dtype=float)


def _home_gain(tables: Tables, variants: set[str]) -> pd.Series:
    home = tables.pairs[tables.pairs["home"]]
    return _per_seed(home[home["variant"].isin(variants)], lambda rows: _gain(rows).mean())


def structure_gain(tables: Tables) -> pd.Series:
    """Largest mean gain, in size, of a change of structure at equal mean and variance."""
    return _largest_gain(_shifted(tables, STRUCTURE))


def sharpness_gain(tables: Tables) -> pd.Series:
    """Largest mean gain, in size, of blur and sharpening."""
    return _largest_gain(_shifted(tables, SHARPNESS))


def _largest_gain(table: pd.DataFrame) -> pd.Series:
    return _per_seed(table.assign(gain=_gain(table)), lambda rows: rows.groupby("transform")["gain"].mean().abs().max())


def structure_distance(tables: Tables) -> pd.Series:
    """Median distance over its null, before adaptation, where structure changes."""
    table = tables.distances.merge(_shifted(tables, STRUCTURE)[KEY], on=KEY)
    table = table[(table["state"] == "before") & (table["null"] > 0)]
    return _per_seed(table, lambda rows: (rows["value"] / rows["null"]).median())


def residual_tells_more(tables: Tables) -> pd.Series:
    """How much better distances after adaptation order the adapted IoU of unseen families than those before.

    Each transform is held out in turn. The distance and layer with the largest absolute Spearman on the others is
    taken with its sign there; what counts is the mean of its Spearman on those held out.
    """
    table = tables.distances.merge(_abroad(tables)[[*KEY, "iou_batchnorm"]], on=KEY)

    def told(rows: pd.DataFrame) -> float:
        values = rows.pivot_table(index=KEY, columns=DISTANCE[:-1], values="value")
        iou = rows.groupby(KEY)["iou_batchnorm"].first()
        families = values.index.get_level_values("transform")
        found = []
        for family in families.unique():
            out = families == family
            seen = values[~out].corrwith(iou[~out], method="spearman").dropna()
            if len(seen):
                best = seen.abs().idxmax()
                found.append(np.sign(seen[best]) * values.loc[out, best].corr(iou[out], method="spearman"))
        return float(pd.Series(found, dtype=float).mean())

    return _per_seed(table, lambda rows: told(rows[rows["state"] == "after"]) - told(rows[rows["state"] == "before"]))


def polarity_told(tables: Tables) -> pd.Series:
    """:func:`_polarity_told` where the foreground share of the target is no half."""
    return _polarity_told(tables, at_half=False)


def polarity_told_at_half(tables: Tables) -> pd.Series:
    """:func:`_polarity_told` where the foreground share of the target is near one half."""
    return _polarity_told(tables, at_half=True)


def _polarity_told(tables: Tables, at_half: bool) -> pd.Series:
    """Share of flipped and of kept pairs of an unseen source that one score tells right, the mean of both shares.

    Of :data:`POLARITY_SCORES` the one that tells best on the other sources is taken, with the threshold fitted there.
    """
    table = _abroad(tables).merge(tables.scores[[*KEY, *POLARITY_SCORES]], on=KEY)
    table = table[(table["polarity"] != "") & (near_half(table["true_foreground"]) == at_half)]

    def told(rows: pd.DataFrame) -> float:
        sources = rows["source"]
        return float(pd.Series([_told(rows[sources != one], rows[sources == one]) for one in sources.unique()]).mean())

    return _per_seed(table, told)


def _told(seen: pd.DataFrame, unseen: pd.DataFrame) -> float:
    if min(part["polarity"].nunique() for part in (seen, unseen)) < 2:
        return np.nan
    flipped = seen["polarity"] == "flipped"
    cuts = {name: _cut(seen.loc[flipped, name], seen.loc[~flipped, name]) for name in POLARITY_SCORES}
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


def images_needed(tables: Tables) -> pd.Series:
    """Fewest target images from which on the mean IoU stays within 0.01 of that with all of them."""
    return _plateau(_plain(tables), "images_")


def batch_needed(tables: Tables) -> pd.Series:
    """Smallest test batch, normalised by itself, from which on the mean IoU stays within 0.01 of full adaptation."""
    return _plateau(_plain(tables), "test_batch_")


def _numbers(table: pd.DataFrame, prefix: str) -> list[int]:
    """The numbers of the methods that are named by ``prefix`` and a number, ascending."""
    columns = [name for name in map(str, table) if name.startswith(f"iou_{prefix}")]
    return sorted(int(name.removeprefix(f"iou_{prefix}")) for name in columns)


def _plateau(table: pd.DataFrame, prefix: str) -> pd.Series:
    """Smallest number of those methods from which on the mean IoU stays; twice the largest where it never does."""
    counts = _numbers(table, prefix)
    if not counts:
        return pd.Series(dtype=float)
    names = [f"iou_{prefix}{count}" for count in counts]

    def smallest(rows: pd.DataFrame) -> float:
        apart = (rows[names].mean() - rows["iou_batchnorm"].mean()).abs().to_numpy() > 0.01
        beyond = [*counts, 2 * counts[-1]]
        return beyond[int(apart.nonzero()[0].max()) + 1 if apart.any() else 0]

    return _per_seed(table.dropna(subset=names), smallest)


def gaussian_share(tables: Tables) -> pd.Series:
    """Share of channels before the ReLU, over all layers, that are alive and near Gaussian, without weight decay."""
    table = _before_relu(tables.channels)
    return _per_seed(table, lambda rows: (1 - rows["dead"] - rows["non_gaussian"]).mean())


def _before_relu(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of plain networks about single positions before the ReLU."""
    table = table[table["source"].map(variant_of) == ""]
    return table[(table["activation"] == "before_relu") & (table["unit"] == "position")]


def moment_error(tables: Tables) -> pd.Series:
    """Median share by which the sliced distance of the moments misses that of the samples, before the ReLU."""
    table = _before_relu(tables.distances)
    both = table.pivot_table(index=[*KEY, "layer", "state"], columns="distance", values="value")
    ratio = (both["sliced_gaussian"] / both["sliced_wasserstein"]).rename("ratio").reset_index()
    return _per_seed(ratio, lambda rows: (1 - rows["ratio"]).abs().median())


def input_share(tables: Tables) -> pd.Series:
    """Share of the affine gain that standardising the input brings, batch norm left alone."""
    return _gain_ratio(_shifted(tables, AFFINE), "standardise")


def input_falls_short(tables: Tables) -> pd.Series:
    """Mean difference in size of the two IoU under shifts of noise and foreground share, less the same under affine
    ones."""
    apart = [
        _per_seed(
            table.dropna(subset="iou_standardise"),
            lambda rows: (rows["iou_standardise"] - rows["iou_batchnorm"]).abs().mean(),
        )
        for table in (_shifted(tables, ["noise", "foreground"]), _shifted(tables, AFFINE))
    ]
    return (apart[0] - apart[1]).dropna()


HYPOTHESES: dict[str, Hypothesis] = {
    "H1a": Hypothesis(
        "a positive affine change of the grey levels is undone",
        "own domain under brightness and contrast, unclipped: the largest distance from the source's IoU", "transforms",
        affine_error, "at most", 0.01,
    ),
    "H1b": Hypothesis(
        "what clipping takes is lost, the more the more is clipped",
        "own domain under brightness and contrast, clipped: rank correlation of the IoU with the clipped share",
        "transforms", clipping_harm, "at most", 0,
    ),
    "H2a": Hypothesis(
        "a polarity flip cannot be repaired",
        "means of opposite polarity: the best adapted IoU above that of calling all foreground", "maps", best_flip,
        "at most", 0,
    ),
    "H2b": Hypothesis(
        "and no marginal distance tells it: the adapted IoU is not monotone in any",
        "all means: the strongest rank correlation of any distance and layer",
        "distances", strongest_distance, "at most", 0.9, ours=True,
    ),
    "H3a": Hypothesis(
        "a shift of the foreground share makes adaptation harmful", "own domain, other foreground shares: mean gain",
        "transforms", foreground_gain, "at most", 0,
    ),
    "H3b": Hypothesis(
        "the more the larger", "the same: rank correlation of the gain with the size of the shift in logits",
        "transforms", foreground_harm, "at most", -0.5, ours=True,
    ),
    "H3c": Hypothesis(
        "the best mix of statistics moves towards the source",
        "the same: rank correlation of that size with the weight of the source in the best of the mixes tried; 0 where "
        "one mix is best for every shift",
        "methods", best_mix, "at least", 0.5, ours=True,
    ),
    "H4": Hypothesis(
        "that harm sits in the decoder",
        "adapting the encoder only: the lesser of the share of the affine gain kept and of the harm removed", "methods",
        decoder_harm, "at least", 0.5, ours=True,
    ),
    "H5": Hypothesis(
        "noise lowers the ceiling; it is no failure of adaptation",
        "own domain: adapted IoU over the target-trained network's, at the worst noise, over the same without noise",
        "transforms", noise_ratio, "at least", 0.95, ours=True,
    ),
    "H6a": Hypothesis(
        "asymmetry under brightness is a matter of ceiling and headroom",
        "both directions of common shifts of the means: difference of the gap closed over that of the gain", "maps",
        affine_asymmetry, "at most", 0.5, ours=True,
    ),
    "H6b": Hypothesis(
        "it remains where the polarity flips", "both directions of flips: the same", "maps", flip_asymmetry,
        "at least", 0.5, ours=True,
    ),
    "H7a": Hypothesis(
        "under brightness the means do the work", "refreshing the means only: share of the gain", "methods",
        mean_share, "at least", 0.9,
    ),
    "H7b": Hypothesis(
        "contrast and noise need the variances", "the same: IoU that it leaves behind", "methods", variance_needed,
        "at least", 0,
    ),
    "H8a": Hypothesis(
        "under-trained networks gain on their own domain", "networks of few epochs", "training", early_gain,
        "at least", 0,
    ),
    "H8b": Hypothesis(
        "irregularly trained networks gain on their own domain",
        "networks trained fast or slowly, or whose statistics are", "training", irregular_gain,
        "at least", 0,
    ),
    "H8c": Hypothesis(
        "converged networks do not", "networks trained well: size of the gain at home", "training", converged_gain,
        "at most", 0.02, ours=True,
    ),
    "H9a": Hypothesis(
        "a change of structure is not repaired",
        "own domain, other texture or correlated noise, mean and variance equal: the larger size of the two mean gains",
        "transforms", structure_gain, "at most", 0.02, ours=True,
    ),
    "H9b": Hypothesis(
        "though the latents see it", "the same: median distance over its null", "distances", structure_distance,
        "at least", 1, ours=True,
    ),
    "H9c": Hypothesis(
        "nor is blur or sharpening, which change the variance too", "the larger size of the two mean gains",
        "transforms", sharpness_gain, "at most", 0.02, ours=True,
    ),
    "H10": Hypothesis(
        "the distance left after adaptation tells more than the one before",
        "every transform held out in turn: rank correlation with the adapted IoU, after less before", "correlations",
        residual_tells_more, "at least", 0,
    ),
    "H11a": Hypothesis(
        "a third moment, a class-conditional distance or a disagreement detects polarity",
        "every source held out in turn: balanced accuracy of a threshold on one of four scores named beforehand",
        "predictors", polarity_told, "at least", 0.85,
    ),
    "H11b": Hypothesis(
        "but not near a foreground share of one half", "the same at a share of one half", "predictors",
        polarity_told_at_half, "at most", 0.85,
    ),
    "H12a": Hypothesis(
        "few target images suffice",
        "1, 2, 4, ... images, the first ones: the spread over other draws is not measured", "methods", images_needed,
        "at most", 16,
    ),
    "H12b": Hypothesis(
        "so do small test batches", "test images normalised by themselves, 1, 4, 16, ... at a time", "methods",
        batch_needed, "at most", 16,
    ),
    "H13a": Hypothesis(
        "before the ReLU and without weight decay latents are near Gaussian",
        "channels of every layer", "channels", gaussian_share, "at least", 0.9, ours=True,
    ),
    "H13b": Hypothesis(
        "there moments say what the whole distribution says",
        "every layer: sliced Wasserstein of the moments against that of the samples", "channels", moment_error,
        "at most", 0.1,
    ),
    "H14a": Hypothesis(
        "matching mean and deviation of the input brings most of the gain on affine shifts",
        "standardising the input only: share of the gain", "methods", input_share, "at least", 0.8,
    ),
    "H14b": Hypothesis(
        "but not on shifts of deep features",
        "the same under noise and other foreground shares: distance from full adaptation, less that on affine shifts",
        "methods", input_falls_short, "at least", 0,
    ),
}  # fmt: skip
