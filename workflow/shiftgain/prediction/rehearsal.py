"""Rehearsal: labelled targets that are made from labelled images of the source itself.

A target is a few pieces of images that the network was not trained on, under one or two known changes. Every action is
tried on every target, which gives scores beside true IoU, of this network and this texture.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from shiftgain.shifts import transforms

# Transform -> the levels that are drawn from, uniformly: from hardly to be seen to more than most networks bear.
LEVELS: dict[str, tuple[float, float]] = {
    "brightness": (-0.35, 0.35),
    "contrast": (-2, 1),
    "gamma": (-1.2, 1.2),
    "inversion": (1, 1),
    "illumination": (-2.5, 2.5),
    "exposure": (0.2, 0.8),
    "noise": (0.02, 0.2),
    "blur": (0.5, 3),
    "sharpen": (0.5, 3),
    "quantisation": (3, 6),
    "jpeg": (70, 95),
    "zoom": (-1, 1),
    "rotation": (10, 90),
    "shear": (-0.7, 0.7),
    "stretch": (-1.5, 1.5),
    "elastic": (1, 5),
}
COLOURS: dict[str, tuple[float, float]] = {"hue": (-120, 120), "saturation": (-2, 1)}
# Kinds that change predictions most, with one of which a pair of kinds begins; moved places change little.
STRONG_KINDS = ("brightness", "contrast", "gamma", "illumination", "exposure", "noise", "blur")
# A change that is no transform: pieces with another foreground share, by where they are cut. Its level is a quantile of
# the shares of all cuts: the ends, and what is near them and in the middle.
SHARE = "share"
SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
# Cuts for each piece that is to have a certain share: the more, the further apart are the ends.
CUTS_PER_PIECE = 12
# Pixels of a target over all its pieces, at most, but never fewer pieces than these.
TARGET_PIXELS = 2**17
FEWEST_PIECES = 3
# Side of a piece that is to have another share, over that of the image: only a smaller piece can lie elsewhere.
SHARE_SIDE = 2 / 3


class Change(NamedTuple):
    """One of :data:`LEVELS`, or :data:`SHARE`, and its level."""

    kind: str
    level: float


class Rehearsed(NamedTuple):
    """A labelled target: ``images`` uint8 (n, H, W) or (n, H, W, 3), ``masks`` uint8 0/1 (n, H, W)."""

    changes: tuple[Change, ...]
    images: np.ndarray
    masks: np.ndarray

    @property
    def kinds(self) -> str:
        """Names of the changes, joined by ``+``; ``identity`` without any."""
        return "+".join(change.kind for change in self.changes) or "identity"


def recipes(n: int, coloured: bool, rng: np.random.Generator) -> list[tuple[Change, ...]]:
    """``n`` recipes: no change, every kind by itself, other shares, and then pairs of two kinds.

    A pair begins with a kind of :data:`STRONG_KINDS`. Every third is of a negative, and every fourth of another share.
    """
    levels = LEVELS | (COLOURS if coloured else {})
    singles = [(_drawn(kind, levels, rng),) for kind in levels]
    shares = [(Change(SHARE, quantile),) for quantile in (SHARES[0], SHARES[-1])]
    made: list[tuple[Change, ...]] = [(), *singles, *shares]
    while len(made) < n:
        first = rng.choice(STRONG_KINDS)
        second = rng.choice([kind for kind in levels if kind != first])
        number = len(made)
        if number % 3 == 0:
            second = "inversion"
        pair = (_drawn(str(first), levels, rng), _drawn(str(second), levels, rng))
        if number % 4 == 1:
            pair = (Change(SHARE, float(rng.choice(SHARES))), pair[0])
        made.append(pair)
    return made[:n]


def _drawn(kind: str, levels: dict[str, tuple[float, float]], rng: np.random.Generator) -> Change:
    low, high = levels[kind]
    return Change(kind, round(float(rng.uniform(low, high)), 3))


def rehearse(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    targets: int,
    pieces: int,
    side: int,
    multiple: int,
    seed: int,
) -> Iterator[Rehearsed]:
    """``targets`` labelled targets of at most ``pieces`` pieces each, no side longer than ``side``, of labelled images.

    ``images``: uint8 (H, W) or (H, W, 3); ``masks``: uint8, 0 and 1. Sides are multiples of ``multiple``, as a network
    asks. The same from the same ``seed``.
    """
    rng = np.random.default_rng(seed)
    coloured = images[0].ndim == 3
    shortest = min(min(image.shape[:2]) for image in images)
    for changes in recipes(targets, coloured, rng):
        sought = [change.level for change in changes if change.kind == SHARE]
        room = min(side, shortest) if not sought or shortest > side / SHARE_SIDE else shortest * SHARE_SIDE
        length = max(multiple, int(room) // multiple * multiple)
        number = min(pieces, max(FEWEST_PIECES, TARGET_PIXELS // length**2))
        cut = [_cut(images, masks, length, rng) for _ in range(number * (CUTS_PER_PIECE if sought else 1))]
        if sought:
            cut.sort(key=lambda piece: float((piece[1] == 1).mean()))
            start = round(sought[0] * (len(cut) - number))
            cut = cut[start : start + number]
        stacked = np.stack([piece for piece, _ in cut])
        truth = np.stack([mask for _, mask in cut])
        yield Rehearsed(changes, *_changed(stacked, truth, changes, rng))


def _changed(
    images: np.ndarray, masks: np.ndarray, changes: tuple[Change, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks under one change after the other; other shares are in how they were cut."""
    for kind, level in changes:
        if kind != SHARE:
            images, moved = transforms.apply(kind, images, masks, level, rng)
            masks = masks if moved is None else moved
    return images, masks


def _cut(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square piece of one of the images, at a random place, as it lies or mirrored."""
    number = int(rng.integers(len(images)))
    top, left = (int(rng.integers(side - length + 1)) for side in images[number].shape[:2])
    window = np.s_[top : top + length, left : left + length]
    step = np.s_[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]
    return images[number][window][step], masks[number][window][step]
