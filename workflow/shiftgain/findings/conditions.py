"""Which conditions of a plain refresh a pair breaks, and what remedies make of it."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from shiftgain.study.names import PLAIN

# Foreground shares of two domains within this of each other, in logits, count as equal: 0.35 and 0.36.
SAME_SHARE = 0.05
# So do contrasts to noise within this, in stops: means have two decimals.
SAME_CONTRAST = 0.01
# Transforms of which the model of adaptation/remedies.py speaks: any other is taken to change structure.
MODELLED_TRANSFORMS = [
    *["identity", "brightness", "contrast", "inversion", "noise", "foreground", "compound", "exposure"],
    *["share_spread", "emptied"],
]
# What of the source a refresh needs the target to have kept -> the rule by which a pair of synthetic domains breaks it.
CONDITIONS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "share": lambda pairs: pairs["share_change"].abs() > SAME_SHARE,
    "polarity": lambda pairs: pairs["polarity"] == "flipped",
    "exposure between images": lambda pairs: (pairs["transform"] == "exposure") & (pairs["level"] > 0),
    "share between images": lambda pairs: pairs["share_spread"] > 0,
    "images without objects": lambda pairs: (pairs["transform"] == "emptied") & (pairs["level"] > 0),
    "contrast to noise": lambda pairs: pairs["contrast_change"].abs() > SAME_CONTRAST,
    "texture, or another transform": lambda pairs: ~pairs["transform"].isin(MODELLED_TRANSFORMS),
}
# Names of pairs that break no condition: home, and targets made by a positive affine change of the grey levels; and of
# real pairs, of which no condition is known.
UNBROKEN_NAMES = ("home", "brightness or contrast")
REAL_NAMES = ["real, home", "real, own images transformed", "real, another domain"]
# Columns of the table of remedies beside the methods.
UNADAPTED, BEST_PER_PAIR, TARGET_TRAINED, PIXEL_CEILING = "kept", "best per pair", "target-trained", "pixel ceiling"


def conditions(pairs: pd.DataFrame) -> pd.Series:
    """The condition of :data:`CONDITIONS` that each pair breaks, or all that it breaks, joined by ``+``.

    A pair that breaks none is of :data:`UNBROKEN_NAMES`, one with a real domain, of which it is not known, of
    :data:`REAL_NAMES`.
    """
    broken = np.stack([rule(pairs) for rule in CONDITIONS.values()], axis=1).astype(bool)
    names = pd.Series([" + ".join(np.array(list(CONDITIONS))[row]) for row in broken], pairs.index, dtype=object)
    home, shifted, real = (column.astype(bool) for column in (pairs["home"], pairs["shifted"], _has_real(pairs)))
    names = names.mask(names == "", np.where(home, *UNBROKEN_NAMES))
    return names.mask(real, np.select([home, shifted], REAL_NAMES[:2], REAL_NAMES[2]))


def by_condition(names: Iterable[str]) -> list[str]:
    """Different ``names`` of :func:`conditions`: unbroken first, then by how many are broken, real pairs last."""
    order = [*UNBROKEN_NAMES, *CONDITIONS, *REAL_NAMES]

    def place(name: str) -> tuple:
        parts = name.split(" + ")
        return name in REAL_NAMES, len(parts), [order.index(part) for part in parts]

    return sorted(set(names), key=place)


def remedy_scores(pairs: pd.DataFrame, remedies: list[str]) -> pd.DataFrame:
    """Mean IoU by what a pair breaks and what is done about it: a row per ``condition`` and ``method``.

    Columns ``iou``, the mean over the pairs that have it, ``n``, how many these are, and ``pairs``, of the condition.
    Methods are :data:`UNADAPTED`, batchnorm and ``remedies``; :data:`BEST_PER_PAIR`, of these the best for each pair by
    its labels; :data:`TARGET_TRAINED` and :data:`PIXEL_CEILING`. ``pairs``: of :func:`pairs.over_seeds`; a pair that
    tried no remedy is left out.
    """
    tried = [name for name in remedies if f"iou_{name}" in pairs]
    pairs = pairs[pairs[[f"iou_{name}" for name in tried]].notna().any(axis=1)]
    columns = {UNADAPTED: pairs["iou_before"]}
    columns |= {name: pairs[f"iou_{name}"] for name in (PLAIN, *tried) if f"iou_{name}" in pairs}
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


def _has_real(pairs: pd.DataFrame) -> pd.Series:
    """Pairs of which either domain is real."""
    return pairs["towards_mask"].isna()
