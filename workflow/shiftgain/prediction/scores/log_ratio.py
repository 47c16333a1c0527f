"""How a statistic of the target compares with that of the source, bounded."""

import numpy as np

from shiftgain.prediction.view import EPSILON

# Beyond this a log-ratio says no more than "very".
LARGEST_LOG_RATIO = 6.0


def log_ratio(value: float, of_source: float) -> float:
    """log(value / of_source), both at least 0 and kept from it, at most :data:`LARGEST_LOG_RATIO` in size."""
    ratio = np.log(value + EPSILON) - np.log(of_source + EPSILON)
    return float(np.clip(ratio, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
