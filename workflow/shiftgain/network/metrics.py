"""Overlap of predicted and true masks: counts first, divided once.

Written here because two empty masks agree, IoU 1, which libraries of metrics leave open or count as 0.
"""

from collections.abc import Iterable

import numpy as np

from shiftgain.files.store import IGNORED


def counts(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pixels of intersection, prediction and truth: int (n, 3) of two boolean masks (n, H, W)."""
    return np.stack([area.sum(axis=(1, 2)) for area in (predicted & true, predicted, true)], axis=1)


def iou(count: np.ndarray) -> np.ndarray:
    """Intersection over union of counts (..., 3); 1 where both masks are empty."""
    intersection, predicted, true = np.moveaxis(np.asarray(count, float), -1, 0)
    union = predicted + true - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def dice(count: np.ndarray) -> np.ndarray:
    """Dice coefficient of counts (..., 3); 1 where both masks are empty."""
    intersection, predicted, true = np.moveaxis(np.asarray(count, float), -1, 0)
    total = predicted + true
    return np.where(total > 0, 2 * intersection / np.maximum(total, 1), 1.0)


def scores(masks: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> dict[str, float]:
    """Scores of a split, from its (predicted, true) masks in batches: columns of ``segmentation.csv``.

    Pixels whose truth is :data:`store.IGNORED` are left out. Where the truth is None, only ``n_images`` and
    ``predicted_foreground`` are numbers. ``empty_foreground``: the part that is predicted to be foreground of images
    that have none, NaN where all have some.
    """
    batch_counts, sizes, labelled = [], list[np.ndarray](), True
    for predicted, true in masks:
        labelled &= true is not None
        counted = np.ones_like(predicted) if true is None else true != IGNORED
        batch_counts.append(counts(predicted & counted, predicted if true is None else true == 1))
        sizes.append(np.count_nonzero(counted, axis=(1, 2)))
    count, size = np.concatenate(batch_counts), np.concatenate(sizes)
    # An image of which no pixel counts says nothing.
    some = count[size > 0]
    pooled, pixels, empty = count.sum(axis=0), size.sum(), (count[:, 2] == 0) & (size > 0)
    missing = float("nan")
    return {
        "n_images": len(count),
        "iou": float(iou(pooled)) if labelled else missing,
        "dice": float(dice(pooled)) if labelled else missing,
        "iou_mean": float(iou(some).mean()) if labelled and len(some) else missing,
        "dice_mean": float(dice(some).mean()) if labelled and len(some) else missing,
        "predicted_foreground": float(pooled[1] / max(1, pixels)),
        "true_foreground": float(pooled[2] / max(1, pixels)) if labelled else missing,
        "empty_foreground": float(count[empty, 1].sum() / size[empty].sum()) if labelled and empty.any() else missing,
    }
