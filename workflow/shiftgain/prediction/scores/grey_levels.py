"""Scores of grey levels: of the images alone, or of the classes that a prediction makes of them."""

import numpy as np

from shiftgain.prediction.scores.log_ratio import log_ratio
from shiftgain.prediction.view import EPSILON, View


def grey_polarity(source: View, state: View) -> float:
    """(m1 - m0) / sd times its sign on the source: mean grey level inside less outside the predicted mask.

    Positive where the prediction lies on the side of grey level on which the source's masks lie.
    """
    return float(state.grey_contrast * np.sign(source.grey_contrast))


def seen_polarity(source: View, state: View) -> float:
    """:func:`grey_polarity` as the network sees it: negated where it sees negatives.

    Positive where what it calls objects stands out as the objects of the source do.
    """
    return (-1 if state.turned else 1) * grey_polarity(source, state)


def separation(source: View, state: View) -> float:
    """log(d' / d' of the source): :attr:`View.d_prime` of the predicted classes, over that of the source's masks."""
    return log_ratio(state.d_prime, source.d_prime)


def edge_change(source: View, state: View) -> float:
    """Log-ratio of the size of :attr:`View.edge_contrast` of the prediction to that of the source's masks.

    Low where boundaries are drawn through what is even in the image.
    """
    return log_ratio(abs(state.edge_contrast), abs(source.edge_contrast))


def seen_edge(source: View, state: View) -> float:
    """:attr:`View.edge_contrast` times its sign on the source, negated where the network sees negatives."""
    return float((-1 if state.turned else 1) * state.edge_contrast * np.sign(source.edge_contrast))


def own_separation(source: View, state: View) -> float:
    """log(1 + d') of the source's masks, in grey level."""
    return float(np.log1p(source.d_prime))


def grey_shift(source: View, state: View) -> float:
    """Mean grey level of the target minus that of the source, in standard deviations of the source's grey levels."""
    shift = state.grey.mean(dtype=float) - source.grey.mean(dtype=float)
    return float(shift / (source.grey.std(dtype=float) + EPSILON))


def grey_scale(source: View, state: View) -> float:
    """Log-ratio of the standard deviation of grey levels to the source's."""
    return log_ratio(float(state.grey.std(dtype=float)), float(source.grey.std(dtype=float)))


def grey_moments(source: View, state: View) -> float:
    """Gaussian Wasserstein-2 of the grey levels, in standard deviations of the source's: distance of the inputs."""
    return float(np.hypot(grey_shift(source, state), np.expm1(grey_scale(source, state))))


def grey_shape(source: View, state: View) -> float:
    """Wasserstein-1 between the standardised grey levels: what no shift and scale of them undoes."""
    return float(np.abs(state.grey_quantiles - source.grey_quantiles).mean())


def grey_shape_inverted(source: View, state: View) -> float:
    """:func:`grey_shape` of the target's images turned about their mean: small where the polarity flipped."""
    return float(np.abs(-state.grey_quantiles[::-1] - source.grey_quantiles).mean())


def grey_skewness(source: View, state: View) -> float:
    """Skewness of the target's grey levels times the sign of the source's.

    Negative where the polarity flipped; near 0 at a foreground share of one half.
    """
    return state.grey_skewness * float(np.sign(source.grey_skewness))


def grey_spread(source: View, state: View) -> float:
    """Log-ratio of :attr:`View.grey_spread` to the source's: exposures that differ between images."""
    return log_ratio(state.grey_spread, source.grey_spread)


def geary_change(source: View, state: View) -> float:
    """Log-ratio of :attr:`View.gearys_c` of the target's images to that of the source's."""
    return log_ratio(state.gearys_c, source.gearys_c)
