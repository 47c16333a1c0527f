"""Scores of features: what the head of the network receives at a sample of positions, as rows (r, C)."""

import numpy as np

from shiftgain.prediction.scores.log_ratio import log_ratio
from shiftgain.prediction.view import EPSILON, View


def latent_contrast(source: View, state: View) -> float:
    """Log-ratio to the source of s (1 - s) |m1 - m0|^2 / total variance of the source's features.

    Dispersion of features between predicted classes of shares s and 1 - s and means m1 and m0 (Xie et al. 2023,
    arXiv:2303.15488).
    """
    return log_ratio(_dispersion(state, source), _dispersion(source, source))


def class_distance(source: View, state: View) -> float:
    """Mean over both predicted classes of the RMS over features of (class mean - that of the source) / sd.

    sd are standard deviations of the source's features; classes are predicted ones on both sides (Kang et al. 2019,
    arXiv:1901.00976).
    """
    shifts = [
        (first - second) / source.row_scale for first, second in zip(source.class_means, state.class_means, strict=True)
    ]
    return float(np.mean([np.sqrt(np.mean(shift**2)) for shift in shifts]))


def energy(source: View, state: View) -> float:
    """sqrt(2 E d(s, t) - E d(t, t') - E d(s, s')) over rows s of the source and t of the target.

    Energy distance as a root (Szekely and Rizzo 2013, J. Stat. Plan. Inference 143), in standard deviations of the
    source's features.
    """
    of_target, of_source, between = (
        _distances(first, second, source).mean()
        for first, second in ((state, state), (source, source), (source, state))
    )
    return float(np.sqrt(max(0.0, 2 * between - of_target - of_source)))


def _dispersion(view: View, source: View) -> float:
    background, foreground = view.class_means
    share = float(view.row_foreground.mean())
    between = share * (1 - share) * np.sum((foreground - background) ** 2)
    return float(between / (source.rows.var(axis=0).sum() + EPSILON))


def _distances(first: View, second: View, source: View) -> np.ndarray:
    """Euclidean distances (r, r') between the rows of two views, in standard deviations of the source's rows."""
    a, b = (view.rows / source.row_scale for view in (first, second))
    return np.sqrt(((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T).clip(0))
