"""Transformations of how a synthetic domain is drawn: its parameters in, changed parameters out.

For what cannot be done to a finished image: ``spec`` is that of :mod:`shiftgain.domains.synthetic`, and is not
written to. Random streams do not depend on it, so that a level moves thresholds and scales over the same noise.
"""

from math import exp
from random import Random
from typing import NamedTuple

import numpy as np

from shiftgain.files.errors import StudyError


class Compound(NamedTuple):
    """x -> 1/2 + gain (x - 1/2) + ``offset`` of the grey levels, and ``share`` logits added to the foreground share.

    gain = 2**``stops``, and negative where ``flipped``, which turns the polarity.
    """

    stops: float
    offset: float
    flipped: bool
    share: float

    @property
    def gain(self) -> float:
        """Factor of the grey levels about mid-grey."""
        return (-1 if self.flipped else 1) * 2**self.stops


# Gains of at most 1 and these offsets leave means from 0.3 to 0.7 inside [0.1, 0.9].
STOPS, OFFSETS, SHARES = (-1.5, 0.0), (-0.2, 0.2), (-2.0, 2.0)


def drawn_compound(level: float) -> Compound:
    """The random compound of number ``level``: a fixed one for every number, uniform over the numbers.

    ``stops`` in :data:`STOPS`, ``offset`` in :data:`OFFSETS`, ``share`` in :data:`SHARES`, each to two decimals, and
    ``flipped`` for half of the numbers; number 0 is the identity.

    Errors: :class:`StudyError` for a level that is no whole number.
    """
    if level != int(level):
        raise StudyError(f"transform 'compound': level {level:g} is the number of a draw; give a whole number")
    if level == 0:
        return Compound(0.0, 0.0, False, 0.0)
    # The standard library promises the same numbers from a seed in every release.
    stream = Random(int(level))
    stops, offset, share = (round(stream.uniform(*ends), 2) for ends in (STOPS, OFFSETS, SHARES))
    return Compound(stops, offset, stream.random() < 0.5, share)


def compound(spec: dict, level: float) -> dict:
    """Change means, noise and foreground share at once, as :func:`drawn_compound` says of number ``level``.

    Errors: :class:`StudyError` for masks given by a threshold, means that would leave [0, 1], and a level that is no
    whole number.
    """
    change = drawn_compound(level)
    means = [np.round(0.5 + change.gain * (np.asarray(mean) - 0.5) + change.offset, 6) for mean in spec["means"]]
    if min(mean.min() for mean in means) < 0 or max(mean.max() for mean in means) > 1:
        raise StudyError(
            f"domain '{spec['name']}': its means would leave [0, 1] under transform 'compound' at level {level:g}; "
            f"take means from 0.2 to 0.8"
        )
    noise = spec["noise"] | {role: abs(change.gain) * spec["noise"][role] for role in ("mask_sd", "background_sd")}
    _share(spec, "compound")
    return foreground(spec, change.share) | {"means": [mean.tolist() for mean in means], "noise": noise}


def foreground(spec: dict, level: float) -> dict:
    """Add ``level`` to the logit of the foreground share.

    Errors: :class:`StudyError` for a domain whose masks are given by a threshold.
    """
    share = _share(spec, "foreground")
    odds = share / (1 - share) * exp(level)
    return spec | {"foreground": odds / (1 + odds)}


def share_spread(spec: dict, level: float) -> dict:
    """Give each image its own foreground share: logit(share) = logit(foreground) + ``level`` n, n standard normal.

    Errors: :class:`StudyError` for a domain whose masks are given by a threshold.
    """
    _share(spec, "share_spread")
    return spec | {"foreground_spread": level}


def texture(spec: dict, level: float) -> dict:
    """Multiply the Perlin scale by ``2**level``: masks of larger (above 0) or smaller pieces, of the same share."""
    return spec | {"perlin": spec["perlin"] | {"scale": spec["perlin"]["scale"] * 2**level}}


def noise_correlation(spec: dict, level: float) -> dict:
    """Smooth the noise by a Gaussian of standard deviation ``level`` (px), at the same distribution of a pixel."""
    return spec | {"noise": spec["noise"] | {"correlation": level}}


def _share(spec: dict, transform: str) -> float:
    if spec.get("foreground") is None:
        raise StudyError(
            f"domain '{spec['name']}' is given by 'threshold', and transform '{transform}' needs a share to start "
            f"from; give 'foreground' instead"
        )
    return spec["foreground"]
