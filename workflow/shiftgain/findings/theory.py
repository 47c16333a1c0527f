"""What a classifier of single pixels can reach, and what BN adaptation does to one: the yardstick for the networks.

A pixel is foreground with probability ``share`` and then has one distribution of grey levels, else another. The best
set of grey levels to call foreground is a threshold on their likelihood ratio (Neyman and Pearson 1933), at the
ratio that gives the best IoU. Adaptation of the input statistics moves that set along with the target's mean and
deviation: exact for a positive affine change of the grey levels, and for nothing else.
"""

from functools import lru_cache
from statistics import NormalDist

import numpy as np

EDGES = (np.arange(255) + 0.5) / 255


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


def predicted_iou(
    source: tuple[float, float], target: tuple[float, float], sds: tuple[float, float], share: float
) -> tuple[float, float]:
    """IoU on the target of the source's best pixel classifier: as it is, and with its input statistics adapted.

    ``source``, ``target``: (mask mean, background mean); ``sds``: their deviations in both; ``share`` of foreground.
    """
    parts = np.array([[share], [1 - share]])
    of_source, of_target = (parts * np.stack(list(map(grey_distribution, means, sds))) for means in (source, target))
    chosen = best_levels(*of_source)
    (source_mean, source_sd), (mean, sd) = _moments(of_source.sum(0)), _moments(of_target.sum(0))
    levels = np.arange(256)
    moved = np.rint((levels - mean) / max(sd, 1e-9) * source_sd + source_mean).clip(0, 255).astype(int)
    return iou(chosen, *of_target), iou(chosen[moved], *of_target)


def predicted_map(
    source: tuple[float, float], sds: tuple[float, float], share: float, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`predicted_iou` before and after for all ``means`` (k,): two maps (background mean, mask mean)."""
    both = [[predicted_iou(source, (mask, background), sds, share) for mask in means] for background in means]
    before, after = np.moveaxis(np.array(both), -1, 0)
    return before, after


def _moments(distribution: np.ndarray) -> tuple[float, float]:
    levels = np.arange(256)
    mean = float(levels @ distribution)
    return mean, float(np.sqrt((levels - mean) ** 2 @ distribution))
