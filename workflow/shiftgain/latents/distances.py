"""How far the latents of one domain lie from those of another.

Every distance is a function ``(reference, latents, directions) -> float`` of two :class:`Latents` of a layer
and, for the sliced one, the unit vectors of :func:`projections`: symmetric, finite, zero or greater, zero
between equal latents. To add one, write it and name it in :data:`DISTANCES`.

What the full-covariance distances read when nothing changed grows with channels / positions (at 1024 channels
and 2,000 positions it exceeds a shift by one standard deviation in a tenth of the channels): compare with
the null.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Self

import numpy as np

# Bhattacharyya adds this share of the mean variance of the two sides to every variance. It is far above the
# rounding of a covariance summed in float32 (1e-5 at 1024 channels) and costs live channels a thousandth;
# a channel that is dead on one side adds about 1.4 instead of infinity.
RIDGE = 1e-3
# Latents that vary on neither side have no scale of their own: the rounding of float32 near 1 stands in.
SMALLEST_VARIANCE = float(np.finfo(np.float32).eps) ** 2


@dataclass(frozen=True, eq=False)
class Latents:
    """Activations of a domain in one layer, in float64 whatever they are given in.

    ``rows`` (n, C) are a sample of positions; ``mean`` (C,) and ``covariance`` (C, C) are over all of them.
    What a distance needs of one side alone is worked out once and kept: do not change the arrays.

    Errors: ValueError where shapes disagree.
    """

    rows: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def __post_init__(self) -> None:
        channels = np.size(self.mean)
        shapes = {"rows": (len(self.rows), channels), "mean": (channels,), "covariance": (channels, channels)}
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name), float)
            if array.shape != shape:
                raise ValueError(f"latents of {channels} channels have {name} of shape {array.shape}")
            object.__setattr__(self, name, array)

    def finite(self) -> Self:
        """Itself; asked once, where latents are read, since it looks at every row and a distance may need none.

        Errors: ValueError where a value is not finite.
        """
        for name in ("rows", "mean", "covariance"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"latents have {name} that are not finite")
        return self

    @cached_property
    def variance(self) -> np.ndarray:
        """Variance of each channel (C,)."""
        return np.diag(self.covariance).clip(0)

    @cached_property
    def root(self) -> np.ndarray:
        """R (C, rank) with R R^T = covariance: a square root of it without its null space.

        Rounding in the null space would enter :func:`wasserstein` by its square root, 1e-8 a channel.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        above_rounding = values > values.size * np.finfo(float).eps * values.max()
        return vectors[:, above_rounding] * np.sqrt(values[above_rounding])

    def along(self, directions: np.ndarray) -> np.ndarray:
        """The rows along each of ``directions`` (C, p), each column sorted by itself: (n, p)."""
        if id(directions) not in self._along:
            # Held together, so that no other array can take the place, and the id, of these directions.
            self._along[id(directions)] = directions, np.sort(self.rows @ directions, axis=0)
        return self._along[id(directions)][1]

    @cached_property
    def _along(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}


def projections(channels: int, n_projections: int, seed: int) -> np.ndarray:
    """Unit vectors (channels, n_projections), uniform on the sphere."""
    directions = np.random.default_rng(seed).standard_normal((channels, n_projections))
    return directions / np.linalg.norm(directions, axis=0)


def wasserstein(reference: Latents, latents: Latents, directions: np.ndarray) -> float:
    """sqrt(|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2): Wasserstein-2 between Gaussians.

    m and S are means and covariances; in units of the activations. POT's is NaN for a covariance that lacks full rank,
    as those of fewer rows than channels and of dead channels do. Equal latents give 1e-5 of their standard deviation
    at worst, the root of rounding. Peyre and Cuturi 2019, Computational Optimal Transport, Remark 2.31: the Bures
    distance between the covariances.
    """
    product = reference.root.T @ latents.covariance @ reference.root
    overlap = np.sqrt(np.linalg.eigvalsh(product).clip(0)).sum()
    shift = np.sum((reference.mean - latents.mean) ** 2)
    squared = shift + reference.variance.sum() + latents.variance.sum() - 2 * overlap
    return float(np.sqrt(max(0.0, squared)))


def wasserstein_diagonal(reference: Latents, latents: Latents, directions: np.ndarray) -> float:
    """Wasserstein-2 between Gaussians of uncorrelated channels, in units of the activations.

    Peyre and Cuturi 2019, Remark 2.31: for diagonal covariances Bures is Hellinger.
    """
    spread = np.sqrt(reference.variance) - np.sqrt(latents.variance)
    return float(np.sqrt(np.sum((reference.mean - latents.mean) ** 2) + np.sum(spread**2)))


def sliced_wasserstein(reference: Latents, latents: Latents, directions: np.ndarray) -> float:
    """Root mean square, over ``directions`` (C, p), of Wasserstein-2 between the projected rows.

    In units of the activations; about :func:`wasserstein` over the square root of C. The numbers of rows may
    differ. Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures; along a line, quantile
    by quantile: Peyre and Cuturi 2019, Remark 2.30. POT's takes seven times as long and imports torch, which the jobs
    of this stage do without.
    """
    first, second = reference.along(directions), latents.along(directions)
    # Both quantile functions are steps. Counted in whole parts of 1 / lcm(n, m), their levels are exact.
    common = gcd(len(first), len(second))
    first_steps = np.arange(1, len(first) + 1) * (len(second) // common)
    second_steps = np.arange(1, len(second) + 1) * (len(first) // common)
    levels = np.union1d(first_steps, second_steps)
    shares = np.diff(levels, prepend=0) / levels[-1]
    gaps = first[np.searchsorted(first_steps, levels)] - second[np.searchsorted(second_steps, levels)]
    return float(np.sqrt(np.mean(shares @ gaps**2)))


def sliced_gaussian(reference: Latents, latents: Latents, directions: np.ndarray) -> float:
    """:func:`sliced_wasserstein` of Gaussians with the mean and deviation of the projected rows; never above it.

    How far it lies below is what moments miss (Gelbrich 1990, Math. Nachr. 147).
    """
    first, second = (side.along(directions) for side in (reference, latents))
    shift, spread = first.mean(0) - second.mean(0), first.std(0) - second.std(0)
    return float(np.sqrt(np.mean(shift**2 + spread**2)))


def bhattacharyya(reference: Latents, latents: Latents, directions: np.ndarray) -> float:
    """Bhattacharyya distance between Gaussians of these moments, plus :data:`RIDGE`; no unit.

    Fukunaga 1990, Introduction to Statistical Pattern Recognition, equation 3.152.

    Errors: numpy's LinAlgError where a covariance has an eigenvalue further below zero than the ridge.
    """
    ridge = _ridge(reference, latents)
    diagonal = ridge * np.eye(reference.mean.size)
    middle = (reference.covariance + latents.covariance) / 2 + diagonal
    shift = reference.mean - latents.mean
    log_determinants = [_log_determinant(side.covariance + diagonal) for side in (reference, latents)]
    ratio = _log_determinant(middle) - sum(log_determinants) / 2
    return float(max(0.0, shift @ np.linalg.solve(middle, shift) / 8 + ratio / 2))


def bhattacharyya_diagonal(reference: Latents, latents: Latents, directions: np.ndarray) -> float:
    """:func:`bhattacharyya` between Gaussians of uncorrelated channels: the sum over channels."""
    first, second = (side.variance + _ridge(reference, latents) for side in (reference, latents))
    middle = (first + second) / 2
    shift = (reference.mean - latents.mean) ** 2 / middle / 8
    return float(max(0.0, np.sum(shift + np.log(middle**2 / (first * second)) / 4)))


DISTANCES: dict[str, Callable[[Latents, Latents, np.ndarray], float]] = {
    "wasserstein": wasserstein,
    "wasserstein_diagonal": wasserstein_diagonal,
    "sliced_wasserstein": sliced_wasserstein,
    "sliced_gaussian": sliced_gaussian,
    "bhattacharyya": bhattacharyya,
    "bhattacharyya_diagonal": bhattacharyya_diagonal,
}


def null(name: str, pairs: list[tuple[Latents, Latents]], directions: np.ndarray) -> float:
    """Mean of distance ``name`` over pairs of halves of one domain: what it reads when nothing has changed.

    NaN where there are none.
    """
    return float(np.mean([DISTANCES[name](*pair, directions) for pair in pairs])) if pairs else np.nan


def _ridge(reference: Latents, latents: Latents) -> float:
    return RIDGE * max(SMALLEST_VARIANCE, float(reference.variance.mean() + latents.variance.mean()) / 2)


def _log_determinant(covariance: np.ndarray) -> float:
    return 2 * float(np.log(np.diag(np.linalg.cholesky(covariance))).sum())
