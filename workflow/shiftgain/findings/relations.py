"""How a target relates to the domain of its source: by their names, and by the specs of synthetic ones."""

import numpy as np
import pandas as pd

from shiftgain.findings.theory import alike, classes, contrast_change, predicted_iou, share_change, share_spread
from shiftgain.shifts.generation import drawn_compound
from shiftgain.study.names import DomainName, domain_of, full_names, variant_of

# What the closed form of findings/theory.py says of a pair.
THEORY = ["contrast_change", "theory_before", "theory_after"]


def means(spec: dict) -> tuple[float, float] | None:
    """(mask mean, background mean) of a domain's white noises, over its channels; None for a real domain."""
    if "means" not in spec:
        return None
    mask, background = (round(float(np.mean(mean)), 6) for mean in spec["means"])
    return mask, background


def on_grid(spec: dict) -> bool:
    """Whether a domain is known by its means alone: it bears them as its name, untransformed."""
    return spec["level"] == 0 and means(spec) is not None and DomainName(spec["name"]).means == means(spec)


def with_relations(table: pd.DataFrame, specs: dict[str, dict]) -> pd.DataFrame:
    """``table``, which has the columns :data:`KEY`, with further columns of what names and ``specs`` say of its pairs.

    They are ``name``, ``variant``, ``home``, ``shifted``, ``polarity``, ``brightness``, ``towards_mask``,
    ``share_spread``, ``share_change``, ``contrast_change``, ``theory_before`` and ``theory_after``, and
    :data:`pairs.COLUMNS` describes them.
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


def _is_negative(table: pd.DataFrame) -> pd.Series:
    """Rows whose transform turns dark into bright: the negative outweighs the image, or the compound is of a flip."""
    compounds = table["level"].where(table["transform"] == "compound", 0)
    flips = compounds.map(lambda number: drawn_compound(number).flipped).astype(bool)
    return flips | ((table["transform"] == "inversion") & (table["level"] > 0.5))


def _polarity(source: tuple[float, float] | None, target: tuple[float, float] | None) -> str:
    if source is None or target is None or source[0] == source[1] or target[0] == target[1]:
        return ""
    return "kept" if (source[0] > source[1]) == (target[0] > target[1]) else "flipped"


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
