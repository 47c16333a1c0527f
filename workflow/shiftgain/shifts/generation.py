"""Transformations of how a synthetic domain is drawn: its parameters in, changed parameters out.

For what cannot be done to a finished image: ``spec`` is that of :mod:`shiftgain.domains.synthetic`, and is not
written to. Random streams do not depend on it, so that a level moves thresholds and scales over the same noise.
"""

from math import exp

from shiftgain.files.errors import StudyError


def foreground(spec: dict, level: float) -> dict:
    """Add ``level`` to the logit of the foreground share.

    Errors: :class:`StudyError` for a domain whose masks are given by a threshold.
    """
    if spec.get("foreground") is None:
        raise StudyError(
            f"domain '{spec['name']}' is given by 'threshold', and transform 'foreground' needs a share to start from; "
            f"give 'foreground' instead"
        )
    odds = spec["foreground"] / (1 - spec["foreground"]) * exp(level)
    return spec | {"foreground": odds / (1 + odds)}


def texture(spec: dict, level: float) -> dict:
    """Multiply the Perlin scale by ``2**level``: masks of larger (above 0) or smaller pieces, of the same share."""
    return spec | {"perlin": spec["perlin"] | {"scale": spec["perlin"]["scale"] * 2**level}}


def noise_correlation(spec: dict, level: float) -> dict:
    """Smooth the noise by a Gaussian of standard deviation ``level`` (px), at the same distribution of a pixel."""
    return spec | {"noise": spec["noise"] | {"correlation": level}}
