"""What is foreground: the values of all masks of a domain are looked at once, and what they leave open is asked.

A value is a number, or, where the three samples of a pixel differ, a colour: :data:`COLOUR` plus its 24 bits, written
``#rrggbb``. Masks that hold 0 and one other value are read without a question; any others by the config keys
``foreground`` and ``background`` (values), ``threshold`` (foreground above it) and ``ignore`` (values of pixels that
are not counted).
"""

from collections import Counter
from pathlib import Path

import numpy as np

from shiftgain.files.errors import StudyError
from shiftgain.files.store import IGNORED

COLOUR = 2**32
# More values than this are not labels of classes, but objects counted through, or shades.
MOST_CLASSES = 8
# Above it a table of counts would be larger than the image is worth.
COUNTABLE_VALUES = 2**22

Value = int | float


def values(file: Path, pixels: np.ndarray) -> np.ndarray:
    """Values (rows, columns) of the pixels of a mask, (rows, columns) or (rows, columns, 3).

    Errors: :class:`StudyError` for not-a-number, and for colours of more than 8 bits.
    """
    if pixels.ndim == 3:
        first = pixels[..., 0]
        if (pixels == first[..., np.newaxis]).all():
            pixels = first
        elif pixels.dtype != np.uint8:
            raise StudyError(f"{file}: a mask in colours of type {pixels.dtype}; save it in 8 bits, or grey")
        else:
            red, green, blue = (pixels[..., sample].astype(np.int64) for sample in range(3))
            coded = COLOUR + (red << 16) + (green << 8) + blue
            pixels = np.where((red == green) & (green == blue), red, coded)
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise StudyError(f"{file}: a mask that holds not-a-number; give these pixels a value, and `ignore` it")
        whole = pixels.astype(np.int64)
        return whole if (whole == pixels).all() else pixels
    return pixels


def tally(labels: np.ndarray) -> Counter:
    """Value -> its number of pixels."""
    if labels.dtype.kind in "ui" and labels.min() >= 0 and labels.max() < COUNTABLE_VALUES:
        counts = np.bincount(labels.ravel())
        return Counter({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
    values, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def rule(key: str, spec: dict, counts: Counter) -> dict:
    """Lists ``foreground``, ``background`` and ``ignore`` of values, or ``threshold``: what the masks of a domain mean.

    One of the first two may be left out: it is all the rest. ``counts``: of all its masks; ``key``: of the domain in
    the config. Errors: :class:`StudyError` naming the values, and the key that answers.
    """
    lists = {name: _listed(spec[name]) for name in ("foreground", "background", "ignore") if name in spec}
    ignore = lists.pop("ignore", [])
    held = sorted(set(counts) - set(ignore))
    if "threshold" in spec:
        if lists:
            raise StudyError(f"config key {key}: 'threshold' and '{next(iter(lists))}' are given; remove one")
        if held and held[-1] >= COLOUR:
            raise StudyError(f"config key {key}.threshold: the masks hold colours; give `foreground: ['#rrggbb']`")
        return {"threshold": spec["threshold"], "ignore": ignore}
    for name, wanted in lists.items():
        if len(held) > 1 and not set(wanted) & set(held):
            raise StudyError(f"config key {key}.{name}: {_text(wanted)} is in no mask; they hold {shares(counts)}")
    if len(lists) == 2:
        both = set(lists["foreground"]) & set(lists["background"])
        if left := sorted(both or set(held) - set(lists["foreground"]) - set(lists["background"])):
            which = "in both 'foreground' and" if both else "in neither 'foreground' nor"
            raise StudyError(f"config key {key}: {_text(left)} is {which} 'background'; correct them")
    if lists:
        return lists | {"ignore": ignore}
    if held in ([], [0]):
        return {"foreground": [], "background": [0], "ignore": ignore}
    if len(held) == 2 and held[0] == 0:
        return {"foreground": [held[1]], "background": [0], "ignore": ignore}
    raise StudyError(f"config key {key}: its masks hold {shares(counts)}: say what is an object, {_advice(held)}")


def binary(labels: np.ndarray, rule: dict, file: Path) -> np.ndarray:
    """uint8 (rows, columns): 1 foreground, 0 background, :data:`IGNORED` not counted, by :func:`rule`.

    Errors: :class:`StudyError` for a value that the rule does not know.
    """
    if "threshold" in rule:
        inside = labels > rule["threshold"]
    elif "background" not in rule:
        inside = np.isin(labels, rule["foreground"])
    else:
        inside = ~np.isin(labels, rule["background"])
        known = np.isin(labels, rule["foreground"] + rule["ignore"]) if "foreground" in rule else True
        if not np.all(known | ~inside):
            value = labels[~known & inside][0].item()
            raise StudyError(f"{file}: holds {_name(value)}, which no mask did when they were looked at; run again")
    mask = inside.astype(np.uint8)
    if rule["ignore"]:
        mask[np.isin(labels, rule["ignore"])] = IGNORED
    return mask


def parts(counts: Counter, rule: dict) -> tuple[float, float]:
    """(share of foreground among the pixels counted, share of those not counted) of a mask with these values."""
    labels = np.array(list(counts))
    marks, sizes = binary(labels, rule, Path()), np.array(list(counts.values()))
    counted = sizes[marks != IGNORED].sum()
    return float(sizes[marks == 1].sum() / max(1, counted)), float(1 - counted / sizes.sum())


def meaning(rule: dict) -> str:
    """The rule in words."""
    if "threshold" in rule:
        text = f"foreground is above {rule['threshold']:g}"
    else:
        sides = [f"{side} is {_text(rule[side])}" for side in ("foreground", "background") if side in rule]
        text = ", ".join(sides)
    return text + (f", not counted {_text(rule['ignore'])}" if rule["ignore"] else "")


def shares(counts: Counter) -> str:
    """The values by their shares of the pixels: ``0 (70.0 %), 1 (30.0 %)``."""
    total = max(1, counts.total())
    parts = [f"{_name(value)} ({100 * count / total:.1f} %)" for value, count in counts.most_common(MOST_CLASSES)]
    return ", ".join(parts) + (f" and {len(counts) - MOST_CLASSES} others" if len(counts) > MOST_CLASSES else "")


def _advice(held: list[Value]) -> str:
    extremes = [value for value in held if value < 0 or (value in (255, 65535) and len(held) > 2)]
    if len(held) == 1:
        return f"`foreground: {_text(held)}`, or `background: {_name(held[0])}`"
    if len(held) > MOST_CLASSES and held[-1] < COLOUR:
        middle = (held[0] + held[-1]) / 2
        text = f"{middle:g}" if isinstance(middle, float) and middle % 1 and held[-1] <= 1 else f"{int(middle)}"
        return f"`threshold: {text}` for shades, or `background: {_name(held[0])}` where each object has its own number"
    if extremes and len(held) > len(extremes):
        rest = [value for value in held if value not in extremes]
        inside = rest[-1:] if len(rest) > 1 else extremes
        leave = f", with `ignore: {_text(extremes)}` for what is not to be counted" if len(rest) > 1 else ""
        return f"such as `foreground: {_text(inside)}`{leave}"
    if held[0] != 0:
        return f"such as `background: {_name(held[0])}`"
    return f"such as `foreground: {_text(held[1:2])}`, or `background: 0` for all others"


def _listed(answer: Value | str | list) -> list[Value]:
    """The values of a config key, colours by their number."""
    listed = answer if isinstance(answer, list) else [answer]
    return [_colour(value) if isinstance(value, str) else value for value in listed]


def _colour(text: str) -> int:
    code = int(text.removeprefix("#"), 16)
    red, green, blue = code >> 16, code >> 8 & 255, code & 255
    return red if red == green == blue else COLOUR + code


def _name(value: Value) -> str:
    if COLOUR <= value < COLOUR + 2**24:
        return f"'#{value - COLOUR:06x}'"
    return f"{value:g}" if value % 1 else f"{int(value)}"


def _text(listed: list[Value]) -> str:
    return f"[{', '.join(map(_name, listed))}]"
