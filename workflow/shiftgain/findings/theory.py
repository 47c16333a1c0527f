"""What a classifier of single pixels can reach, and what BN adaptation does to one: the yardstick for the networks.

A pixel is foreground with probability ``share`` and then has one distribution of grey levels, else another. The best
set of grey levels to call foreground is a threshold on their likelihood ratio (Neyman and Pearson 1933), at the
ratio that gives the best IoU. Adaptation of the input statistics moves that set along with the target's mean and
deviation: exact for a positive affine change of the grey levels, and for nothing else.
"""

from functools import lru_cache
from math import log2
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from shiftgain.shifts import generation

# A U-Net sees a pixel with its neighbours, which takes noise down as averaging 16 of them would.
CONTEXT = 4
EDGES = (np.arange(255) + 0.5) / 255


class Classes(NamedTuple):
    """Two classes of pixels: ``means`` and noise ``sds`` (mask, background) in grey level, and the mask's ``share``."""

    means: tuple[float, float]
    sds: tuple[float, float]
    share: float

    def mapped(self, gain: float, offset: float) -> "Classes":
        """Under x -> 1/2 + gain (x - 1/2) + offset."""
        (mask, background), sds = self.means, self.sds
        means = 0.5 + gain * (mask - 0.5) + offset, 0.5 + gain * (background - 0.5) + offset
        return self._replace(means=means, sds=(abs(gain) * sds[0], abs(gain) * sds[1]))

    def with_noise(self, sd: float) -> "Classes":
        """With white noise of deviation ``sd`` added."""
        return self._replace(sds=(float(np.hypot(self.sds[0], sd)), float(np.hypot(self.sds[1], sd))))

    def in_context(self) -> "Classes":
        """As a network sees them that takes their noise down by :data:`CONTEXT`."""
        return self._replace(sds=(self.sds[0] / CONTEXT, self.sds[1] / CONTEXT))

    @property
    def contrast_to_noise(self) -> float:
        """|mask mean - background mean| / root mean square of the two deviations."""
        noise = np.hypot(*self.sds) / np.sqrt(2)
        return float(abs(self.means[0] - self.means[1]) / noise) if noise else np.inf


def classes(spec: dict) -> Classes | None:
    """The pixels of a domain under its transform; None where they are not two classes of white noise.

    ``spec``: parameters of a domain, see :mod:`shiftgain.domains.synthetic`. Of images of unlike exposure or share, one
    at the middle of them. None for real domains, for colours, masks by a threshold, and transforms that are not affine
    maps of the grey levels, noise, or of the share. Clipping is left to :func:`grey_distribution`.
    """
    if spec.get("foreground") is None or "means" not in spec or spec["channels"] != 1:
        return None
    level, transform = spec["level"], spec["transform"]
    if transform in ("foreground", "compound") and level:
        spec = {"foreground": generation.foreground, "compound": generation.compound}[transform](spec, level)
    mask, background = (float(np.mean(mean)) for mean in spec["means"])
    still = Classes((mask, background), (spec["noise"]["mask_sd"], spec["noise"]["background_sd"]), spec["foreground"])
    match transform:
        case "identity" | "foreground" | "compound" | "exposure" | "share_spread":
            return still
        case "brightness":
            return still.mapped(1, level)
        case "contrast":
            return still.mapped(2**level, 0)
        case "inversion":
            return still.mapped(1 - 2 * level, 0)
        case "noise":
            return still.with_noise(level)
    return None


def share_spread(spec: dict) -> float:
    """Deviation between images of the logit of their foreground share, beyond chance; NaN for a real domain."""
    if "means" not in spec:
        return np.nan
    return spec["level"] if spec["transform"] == "share_spread" else spec.get("foreground_spread", 0.0)


def alike(spec: dict) -> bool:
    """Whether the images of a synthetic domain have one exposure and one foreground share."""
    return share_spread(spec) == 0 and spec["transform"] != "exposure"


def contrast_change(source: Classes, target: Classes) -> float:
    """log2 (contrast to noise of the target / that of the source), in stops; NaN where it is 0 or without bound."""
    both = [part.contrast_to_noise for part in (source, target)]
    return log2(both[1] / both[0]) if all(0 < number < np.inf for number in both) else np.nan


@lru_cache(maxsize=256)
def grey_distribution(mean: float, sd: float) -> np.ndarray:
    """Probability of each of the 256 grey levels: Gaussian noise (grey level in [0, 1]), clipped and rounded."""
    # Not scipy's, which takes longer to import than this takes in all.
    below = np.array(list(map(NormalDist(mean, sd).cdf, EDGES))) if sd > 0 else (mean < EDGES).astype(float)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def best_levels(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The grey levels, boolean (256,), that give the best IoU when called foreground.

    ``foreground`` and ``background`` (256,): how many pixels, or what share of all pixels, each level has.
    """
    total = foreground + background
    order = np.argsort(-np.divide(foreground, total, out=np.zeros(256), where=total > 0), kind="stable")
    scores = np.cumsum(foreground[order]) / (foreground.sum() + np.cumsum(background[order]))
    chosen = np.zeros(256, bool)
    chosen[order[: int(scores.argmax()) + 1]] = True
    return chosen


def iou(chosen: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> float:
    """IoU when the levels ``chosen``, boolean (256,), are called foreground; 1 where nothing is, or is called, it."""
    union = foreground.sum() + background[chosen].sum()
    return float(foreground[chosen].sum() / union) if union > 0 else 1.0


def pixel_ceiling(foreground: np.ndarray, background: np.ndarray) -> float:
    """Best IoU of any classifier of single pixels by their grey level; a network that sees context may pass it."""
    if not foreground.any():
        return 1.0
    return iou(best_levels(foreground, background), foreground, background)


def predicted_iou(source: Classes, target: Classes) -> tuple[float, float]:
    """IoU on the target of the source's best pixel classifier: as it is, and with its input statistics adapted."""
    of_source, of_target = (
        np.array([[part.share], [1 - part.share]]) * np.stack(list(map(grey_distribution, part.means, part.sds)))
        for part in (source, target)
    )
    chosen = best_levels(*of_source)
    (source_mean, source_sd), (mean, sd) = _moments(of_source.sum(0)), _moments(of_target.sum(0))
    levels = np.arange(256)
    moved = np.rint((levels - mean) / max(sd, 1e-9) * source_sd + source_mean).clip(0, 255).astype(int)
    return iou(chosen, *of_target), iou(chosen[moved], *of_target)


def predicted_map(source: Classes, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`predicted_iou` before and after for all ``means`` (k,): two maps (background mean, mask mean)."""
    both = [
        [predicted_iou(source, source._replace(means=(mask, background))) for mask in means] for background in means
    ]
    before, after = np.moveaxis(np.array(both), -1, 0)
    return before, after


def _moments(distribution: np.ndarray) -> tuple[float, float]:
    levels = np.arange(256)
    mean = float(levels @ distribution)
    return mean, float(np.sqrt((levels - mean) ** 2 @ distribution))
