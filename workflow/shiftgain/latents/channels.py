"""What the channels of a layer look like one by one: dead, or far from a Gaussian."""

import numpy as np
from scipy import stats

# A channel whose deviation is below this share of the layer's root mean square does not vary: it is dead.
DEAD_DEVIATION = 0.01
# A living channel whose Kolmogorov distance to the Gaussian of its mean and deviation exceeds this is not one.
# A unit Gaussian through a ReLU has 0.25; 512 draws of a Gaussian stay below 0.06.
NON_GAUSSIAN_DISTANCE = 0.1


def kolmogorov(rows: np.ndarray) -> np.ndarray:
    """max_x |F(x) - Phi((x - mean) / sd)| (C,), F the distribution of each column of ``rows`` (n, C); 1 if constant.

    Kolmogorov 1933; with mean and deviation from the same rows it is the statistic of Lilliefors 1967.
    """
    rows = rows.astype(float)
    sd = rows.std(axis=0)
    standardised = (rows - rows.mean(axis=0)) / np.where(sd > 0, sd, 1)
    gap = stats.ks_1samp(standardised, stats.norm.cdf, method="asymp", axis=0).statistic
    return np.where(sd > 0, gap, 1.0)


def dead(sd: np.ndarray) -> np.ndarray:
    """sd <= DEAD_DEVIATION sqrt(mean sd^2): which channels (C,) do not vary, by their deviations (C,)."""
    return sd <= DEAD_DEVIATION * np.sqrt(np.mean(sd**2))


def shares(rows: np.ndarray) -> dict[str, float]:
    """Of the channels of ``rows`` (n, C): the share that is ``dead``, and that is alive and ``non_gaussian``."""
    still = dead(rows.std(axis=0))
    return {
        "dead": float(still.mean()),
        "non_gaussian": float((~still & (kolmogorov(rows) > NON_GAUSSIAN_DISTANCE)).mean()),
    }
