"""What adaptation does: hypotheses H1 to H9, H12 and H14, a number per seed from the tables of a study.

IoU is that of method ``batchnorm`` where no method is said; *own domain* means that the target is the domain of the
source, transformed.
"""

import numpy as np
import pandas as pd

from shiftgain.findings.measures.selection import (
    STRUCTURE,
    Tables,
    flips,
    numbers_after,
    per_seed,
    plain,
    shifted,
    spearman,
)
from shiftgain.findings.pairs import SMALLEST_GAP

AFFINE_TRANSFORMS = ["brightness", "contrast"]
# These change the variance too.
SHARPNESS = ["blur", "sharpen"]
# A share of clipped pixels above this makes a change of grey levels no longer affine.
LARGEST_UNCLIPPED_SHARE = 0.001
# IoU within this of each other count as equal: the spread between seeds.
SAME_IOU = 0.01


def _gain(table: pd.DataFrame, method: str = "batchnorm") -> pd.Series:
    return table[f"iou_{method}"] - table["iou_before"]


def _gain_ratio(table: pd.DataFrame, method: str) -> pd.Series:
    """mean gain(method) / mean gain(batchnorm), over the pairs that have both."""
    known = table.dropna(subset=f"iou_{method}")
    return per_seed(known, lambda rows: _gain(rows, method).mean() / _gain(rows).mean())


# H1, H2: affine changes and flips of polarity


def affine_error(tables: Tables) -> pd.Series:
    """max |IoU - own IoU| under unclipped brightness and contrast. Own IoU: the source's, at home."""
    table = shifted(tables, AFFINE_TRANSFORMS)
    table = table[table["clipped_share"] < LARGEST_UNCLIPPED_SHARE]
    return per_seed(table, lambda rows: (rows["iou_batchnorm"] - rows["own_iou"]).abs().max())


def clipping_harm(tables: Tables) -> pd.Series:
    """Spearman(IoU - own IoU, share of clipped pixels) under clipped brightness and contrast."""
    table = shifted(tables, AFFINE_TRANSFORMS)
    table = table[table["clipped_share"] >= LARGEST_UNCLIPPED_SHARE]
    return per_seed(table, lambda rows: spearman(rows["iou_batchnorm"] - rows["own_iou"], rows["clipped_share"]))


def best_flip(tables: Tables) -> pd.Series:
    """max (IoU - true foreground share) over flips of polarity: the share is the IoU of calling all foreground."""
    return per_seed(flips(tables), lambda rows: (rows["iou_batchnorm"] - rows["true_foreground"]).max())


# H3, H4: shifts of the foreground share


def foreground_gain(tables: Tables) -> pd.Series:
    """Mean gain where the foreground share shifts."""
    return per_seed(shifted(tables, ["foreground"]), lambda rows: _gain(rows).mean())


def foreground_harm(tables: Tables) -> pd.Series:
    """Spearman(gain, |level|) where the foreground share shifts by ``level``, in logits."""
    table = shifted(tables, ["foreground"])
    return per_seed(table, lambda rows: spearman(_gain(rows), rows["level"].abs()))


def decoder_harm(tables: Tables) -> pd.Series:
    """min(kept, 1 - left) of adapting the encoder only.

    kept = gain(encoder_only) / gain(batchnorm) under brightness and contrast; left = gain(encoder_only) /
    gain(batchnorm) under shifts of the foreground share, where both gains are losses.
    """
    kept = _gain_ratio(shifted(tables, AFFINE_TRANSFORMS), "encoder_only")
    left = _gain_ratio(shifted(tables, ["foreground"]), "encoder_only")
    return pd.concat([kept, 1 - left], axis=1, join="inner").min(axis=1)


# H5: noise


def noise_ratio(tables: Tables) -> pd.Series:
    """min r(level) / r(0) over levels of noise at which the IoU drops; r = IoU / IoU of the network trained there."""
    table = plain(tables)
    table = table[table["home"] | (table["shifted"] & (table["transform"] == "noise"))]
    table = table.assign(ratio=table["iou_batchnorm"] / table["iou_target_trained"]).dropna(subset="ratio")

    def lowest(rows: pd.DataFrame) -> float:
        level = rows.groupby("level")[["ratio", "iou_batchnorm"]].mean()
        if 0 not in level.index:
            return np.nan
        drops = level["iou_batchnorm"] < level.loc[0, "iou_batchnorm"]
        return (level["ratio"] / level.loc[0, "ratio"])[drops].min()

    return per_seed(table, lowest)


# H6: two directions of a pair of domains


def affine_asymmetry(tables: Tables) -> pd.Series:
    """mean |closed(A->B) - closed(B->A)| / mean |gain(A->B) - gain(B->A)| of pairs whose means differ by one shift.

    See :func:`_between_directions`.
    """
    table = plain(tables)
    both = _between_directions(table[table["brightness"]])
    return per_seed(both, lambda rows: rows["closed"].mean() / rows["gain"].mean())


def flip_asymmetry(tables: Tables) -> pd.Series:
    """mean |closed(A->B) - closed(B->A)| of pairs that flip the polarity; see :func:`_between_directions`."""
    return per_seed(_between_directions(flips(tables)), lambda rows: rows["closed"].mean())


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
    return _gain_ratio(shifted(tables, ["brightness"]), "mean_only")


def variance_needed(tables: Tables) -> pd.Series:
    """mean (IoU - IoU(mean_only)) under contrast and noise."""
    table = shifted(tables, ["contrast", "noise"])
    return per_seed(table, lambda rows: (rows["iou_batchnorm"] - rows["iou_mean_only"]).mean())


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
    return per_seed(home, lambda rows: _gain(rows).mean())


# H9: structure


def structure_gain(tables: Tables) -> pd.Series:
    """max over transforms of mean |gain|, where structure changes at equal mean and variance."""
    return _largest_gain(shifted(tables, STRUCTURE))


def sharpness_gain(tables: Tables) -> pd.Series:
    """max over transforms of mean |gain|, under blur and sharpening."""
    return _largest_gain(shifted(tables, SHARPNESS))


def _largest_gain(table: pd.DataFrame) -> pd.Series:
    size = table.assign(size=_gain(table).abs())
    return per_seed(size, lambda rows: rows.groupby("transform")["size"].mean().max())


# H12: few images


def images_needed(tables: Tables) -> pd.Series:
    """:func:`_plateau` over the number of target images."""
    return _plateau(plain(tables), "iou_images_")


def batch_needed(tables: Tables) -> pd.Series:
    """:func:`_plateau` over the size of test batches that are normalised by themselves."""
    return _plateau(plain(tables), "iou_test_batch_")


def _plateau(table: pd.DataFrame, prefix: str) -> pd.Series:
    """Smallest n such that for it and every larger one mean |IoU(n) - IoU| <= 0.01; IoU(n) in ``PREFIX<n>``.

    Twice the largest n where the largest is not within 0.01; empty where no n was tried.
    """
    counts = numbers_after(table, prefix)
    if not counts:
        return pd.Series(dtype=float)
    names = [f"{prefix}{count}" for count in counts]

    def smallest(rows: pd.DataFrame) -> float:
        apart = rows[names].sub(rows["iou_batchnorm"], axis=0).abs().mean().to_numpy() > SAME_IOU
        beyond = [*counts, 2 * counts[-1]]
        return beyond[int(apart.nonzero()[0].max()) + 1 if apart.any() else 0]

    return per_seed(table.dropna(subset=names), smallest)


# H14: standardising the input


def input_share(tables: Tables) -> pd.Series:
    """gain(standardise) / gain(batchnorm) under brightness and contrast: the input matched, batch norm left alone."""
    return _gain_ratio(shifted(tables, AFFINE_TRANSFORMS), "standardise")


def input_falls_short(tables: Tables) -> pd.Series:
    """mean |IoU(standardise) - IoU(batchnorm)| under noise and foreground shifts, minus its mean under affine changes.

    Affine changes are brightness and contrast.
    """

    def error(table: pd.DataFrame) -> pd.Series:
        known = table.dropna(subset="iou_standardise")
        return per_seed(known, lambda rows: (rows["iou_standardise"] - rows["iou_batchnorm"]).abs().mean())

    return (error(shifted(tables, ["noise", "foreground"])) - error(shifted(tables, AFFINE_TRANSFORMS))).dropna()
