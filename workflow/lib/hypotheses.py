"""Hypotheses on when and why BN adaptation works, each with a verdict that is computed from the tables.

A hypothesis is measured once per seed by one number. It is *supported* when the 95 % interval of that number over seeds
lies on its side of the bound, *refuted* when all of it lies on the other, else, or with fewer than three seeds,
*undecided*; a study without the experiment says *not tested*. To add one, write its measure and name it in
:data:`HYPOTHESES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from workflow.lib.names import KEY, domain_of
from workflow.lib.showcase import inverted

FEWEST_SEEDS = 3
FEWEST_PAIRS = 12
AFFINE = ["brightness", "contrast"]
STRUCTURE = ["texture", "blur", "sharpen", "noise_correlation"]
# A share of clipped pixels above this makes a change of grey levels no longer affine.
CLIPPED = 0.001


@dataclass(frozen=True)
class Tables:
    """``pairs`` of :func:`wide`, ``distances.csv``, ``channels.csv``, and the variants whose training is irregular."""

    pairs: pd.DataFrame
    distances: pd.DataFrame
    channels: pd.DataFrame
    irregular: list[str]


class Hypothesis(NamedTuple):
    """``measure(tables)`` gives a number per seed; supported where it is at least (or at most) ``bound``."""

    claim: str
    experiment: str
    figure: str
    measure: Callable[[Tables], pd.Series]
    side: str
    bound: float


def wide(segmentation: pd.DataFrame, gains: pd.DataFrame, oracles: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and seed: ``before``, ``oracle``, ``own`` IoU, facts of the target, and the IoU of every method.

    ``home``: the target is the source's own domain, transformed or not; ``variant``: that of the source's network.
    """
    facts = segmentation[segmentation["method"] == "source"].rename(columns={"iou": "before"})
    columns = [*KEY, "before", "true_foreground", "clipped_share", "pixel_ceiling"]
    methods = gains.pivot(index=KEY, columns="method", values="iou_after")
    oracle = gains.groupby(KEY)["iou_target_trained"].first().rename("oracle")
    own = oracles.rename(columns={"target": "source", "iou": "own"})[["source", "seed", "own"]]
    table = facts[columns].merge(methods, on=KEY).merge(oracle, on=KEY).merge(own, on=["source", "seed"])
    table["home"] = table["target"] == table["source"].map(domain_of)
    table["variant"] = table["source"].str.partition("~")[2]
    return table[table["before"].notna()]


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
                "bound": f"{hypothesis.side} {hypothesis.bound:g}",
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


def _at_home(tables: Tables, transforms: list[str]) -> pd.DataFrame:
    table = _plain(tables)
    return table[table["home"] & table["transform"].isin(transforms) & (table["level"] != 0)]


def _gain_ratio(table: pd.DataFrame, method: str) -> pd.Series:
    """Mean gain of ``method`` over the mean gain of full adaptation."""
    return _per_seed(
        table, lambda rows: (rows[method] - rows["before"]).mean() / (rows["batchnorm"] - rows["before"]).mean()
    )


def _flipped(table: pd.DataFrame) -> pd.Series:
    """Pairs, both known by their means, of opposite polarity."""
    polarity = [
        domains.map(domain_of).str.extract(r"^(?P<mask>\d\.\d\d)-(?P<background>\d\.\d\d)$").astype(float)
        for domains in (table["source"], table["target"])
    ]
    first, second = (np.sign(means["mask"] - means["background"]) for means in polarity)
    return (first * second < 0) ^ (inverted(table) & first.notna() & second.notna())


def affine_error(tables: Tables) -> pd.Series:
    """Mean distance of the adapted IoU from the source's own, under unclipped changes of brightness and contrast."""
    table = _at_home(tables, AFFINE)
    return _per_seed(
        table[table["clipped_share"] < CLIPPED], lambda rows: (rows["batchnorm"] - rows["own"]).abs().mean()
    )


def flips_below_floor(tables: Tables) -> pd.Series:
    """Share of polarity flips that end below the IoU of calling every pixel foreground."""
    table = _plain(tables)
    table = table[_flipped(table)]
    return _per_seed(table, lambda rows: (rows["batchnorm"] < rows["true_foreground"]).mean())


def foreground_harm(tables: Tables) -> pd.Series:
    """Spearman correlation of the gain with the size of the shift of the foreground share."""
    table = _at_home(tables, ["foreground"])
    return _per_seed(
        table, lambda rows: (rows["batchnorm"] - rows["before"]).corr(rows["level"].abs(), method="spearman")
    )


def decoder_harm(tables: Tables) -> pd.Series:
    """The lesser of two shares: of the affine gain that adapting the encoder keeps, of the harm that it removes."""
    kept = _gain_ratio(_at_home(tables, AFFINE), "encoder_only")
    harm = _gain_ratio(_at_home(tables, ["foreground"]), "encoder_only")
    return pd.concat([kept, 1 - harm], axis=1, join="inner").min(axis=1)


def noise_ratio(tables: Tables) -> pd.Series:
    """Adapted IoU over that of a network trained on the noisy target, at the worst level of noise."""
    table = _at_home(tables, ["noise"])
    table = table.assign(ratio=table["batchnorm"] / table["oracle"]).dropna(subset="ratio")
    return _per_seed(table, lambda rows: rows.groupby("level")["ratio"].mean().min())


def asymmetry(tables: Tables) -> pd.Series:
    """Mean difference of the gap closed between two directions over that of the gain, polarity kept."""
    table = _plain(tables)
    table = table[(table["transform"] == "identity") & ~_flipped(table) & (table["oracle"] - table["before"] > 0.01)]
    table = table.assign(gain=table["batchnorm"] - table["before"])
    table["closed"] = table["gain"] / (table["oracle"] - table["before"])
    turned = table.rename(columns={"source": "target", "target": "source"})
    both = table.merge(turned, on=["source", "target", "seed"], suffixes=("", "_back"))
    both = both[both["source"] != both["target"]]
    apart = {name: (both[name] - both[f"{name}_back"]).abs() for name in ("closed", "gain")}
    return _per_seed(both.assign(**apart), lambda rows: rows["closed"].mean() / rows["gain"].mean())


def mean_share(tables: Tables) -> pd.Series:
    """Share of the gain under brightness that the means alone bring."""
    return _gain_ratio(_at_home(tables, ["brightness"]), "mean_only")


def irregular_gain(tables: Tables) -> pd.Series:
    """Mean gain on its own domain of a network trained irregularly, over that of one trained well."""
    home = tables.pairs[tables.pairs["home"] & (tables.pairs["transform"] == "identity")]
    home = home.assign(gain=home["batchnorm"] - home["before"])
    well = home[home["variant"] == ""].groupby("seed")["gain"].mean()
    return home[home["variant"].isin(tables.irregular)].groupby("seed")["gain"].mean() - well


def structure_gain(tables: Tables) -> pd.Series:
    """Mean gain where structure changes: texture, blur, sharpness, correlation of the noise."""
    return _per_seed(_at_home(tables, STRUCTURE), lambda rows: (rows["batchnorm"] - rows["before"]).mean())


def residual_tells_more(tables: Tables) -> pd.Series:
    """Best absolute Spearman with the adapted IoU of a distance after adaptation, less the best of one before.

    Not measured over fewer than :data:`FEWEST_PAIRS`.
    """
    table = tables.distances.merge(_plain(tables)[[*KEY, "batchnorm"]], on=KEY)
    table = table[~((table["transform"] == "identity") & (table["target"] == table["source"]))]

    def lead(rows: pd.DataFrame) -> float:
        if len(rows[KEY].drop_duplicates()) < FEWEST_PAIRS:
            return np.nan
        groups = rows.groupby(["state", "distance", "layer", "activation", "unit"])
        best = groups.apply(lambda part: part["value"].corr(part["batchnorm"], method="spearman")).abs()
        best = best.groupby(level="state").max()
        return best["after"] - best["before"]

    return _per_seed(table, lead)


def images_needed(tables: Tables) -> pd.Series:
    """Fewest target images with which the mean IoU comes within 0.01 of that with all of them."""
    table = _plain(tables)
    counts = sorted(int(name.partition("_")[2]) for name in table if str(name).startswith("images_"))
    if not counts:
        return pd.Series(dtype=float)

    def fewest(rows: pd.DataFrame) -> float:
        wanted = rows["batchnorm"].mean() - 0.01
        return next((n for n in counts if rows[f"images_{n}"].mean() >= wanted), 2 * counts[-1])

    return _per_seed(table, fewest)


def gaussian_share(tables: Tables) -> pd.Series:
    """Share of channels before the ReLU, over all layers, that are alive and near Gaussian, without weight decay."""
    table = tables.channels.query("activation == 'before_relu' and unit == 'position' and ~source.str.contains('~')")
    return _per_seed(table, lambda rows: (1 - rows["dead"] - rows["non_gaussian"]).mean())


def input_share(tables: Tables) -> pd.Series:
    """Share of the affine gain that standardising the input brings, batch norm left alone."""
    return _gain_ratio(_at_home(tables, AFFINE), "standardise")


HYPOTHESES: dict[str, Hypothesis] = {
    "H1": Hypothesis(
        "a positive affine change of the grey levels is undone", "own domain under brightness and contrast, unclipped",
        "transforms", affine_error, "at most", 0.01,
    ),
    "H2": Hypothesis(
        "a polarity flip cannot be repaired", "all means, of opposite polarity", "maps", flips_below_floor,
        "at least", 0.95,
    ),
    "H3": Hypothesis(
        "a shift of the foreground share makes adaptation harmful, the more the larger",
        "own domain with other foreground shares", "transforms", foreground_harm, "at most", -0.5,
    ),
    "H4": Hypothesis(
        "that harm sits in the decoder", "adapting the encoder only, on affine and on foreground shifts", "methods",
        decoder_harm, "at least", 0.5,
    ),
    "H5": Hypothesis(
        "noise lowers the ceiling; it is no failure of adaptation", "own domain under noise, target-trained networks",
        "transforms", noise_ratio, "at least", 0.95,
    ),
    "H6": Hypothesis(
        "asymmetry is a matter of ceiling and headroom", "means in both directions, target-trained networks", "maps",
        asymmetry, "at most", 0.5,
    ),
    "H7": Hypothesis(
        "under brightness the means do the work", "refreshing the means only", "methods", mean_share, "at least", 0.9
    ),
    "H8": Hypothesis(
        "irregularly trained networks gain on their own domain", "few epochs, high rate, slow statistics", "training",
        irregular_gain, "at least", 0.02,
    ),
    "H9": Hypothesis(
        "a change of structure is not repaired", "own domain with other texture, blurred, sharpened", "transforms",
        structure_gain, "at most", 0.02,
    ),
    "H10": Hypothesis(
        "the distance left after adaptation tells more than the one before", "all pairs, all layers", "correlations",
        residual_tells_more, "at least", 0.05,
    ),
    "H12": Hypothesis(
        "few target images suffice", "1, 2, 4, ... images", "methods", images_needed, "at most", 16
    ),
    "H13": Hypothesis(
        "before the ReLU and without weight decay latents are near Gaussian", "channels of every layer", "channels",
        gaussian_share, "at least", 0.9,
    ),
    "H14": Hypothesis(
        "matching mean and deviation of the input brings most of it", "standardising the input only", "methods",
        input_share, "at least", 0.8,
    ),
}  # fmt: skip
