"""Transformations that make a shift, each with a level; level 0 is the identity bit for bit.

Four kinds, told apart by :attr:`Transform.changes`: of grey levels (:mod:`shiftgain.shifts.intensity`), of places
(:mod:`shiftgain.shifts.geometry`), which move the masks along, of what masks mark (:mod:`shiftgain.shifts.objects`),
and of how a synthetic domain is drawn (:mod:`shiftgain.shifts.generation`), for what no finished image can be given any
more.

A new transform is one function and its line in :data:`TRANSFORMS`, one line in the config, and one test case.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from shiftgain.files.errors import StudyError, hint
from shiftgain.shifts import generation, geometry, intensity, objects


class Transform(NamedTuple):
    """``low`` and ``high`` bound the level, ``unit`` is the text for axes and messages.

    ``function(images, masks, level, rng)`` gives (images, masks): images uint8 (b, H, W) or (b, H, W, 3), masks
    uint8 0/1 (b, H, W) or None. None is written to, and what does not change may be handed back as it is. Where
    ``changes`` is "colours" the images are RGB; where it is "objects" there are masks; where it is "drawing" it is
    ``function(spec, level)`` instead, which gives the changed parameters of a synthetic domain (see
    :mod:`shiftgain.domains.synthetic`).
    """

    function: Callable[..., Any]
    unit: str
    low: float
    high: float
    changes: str = "images"


def identity(images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator) -> tuple:
    """Images as they are; ``level`` is 0."""
    return images, masks


# At 8 stops of contrast every 8-bit pixel is black or white, and at -8 all are mid-grey.
TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(identity, "none", 0, 0),
    "brightness": Transform(intensity.brightness, "grey level", -1, 1),
    "contrast": Transform(intensity.contrast, "stops (log2 of the factor)", -8, 8),
    "gamma": Transform(intensity.gamma, "stops (log2 of the exponent)", -8, 8),
    "inversion": Transform(intensity.inversion, "share of the negative", 0, 1),
    "illumination": Transform(intensity.illumination, "stops from the left edge to the right", -8, 8),
    "exposure": Transform(intensity.exposure, "stops (sd of log2 of an image's gain)", 0, 4),
    "hue": Transform(intensity.hue, "degrees", -180, 180, "colours"),
    "saturation": Transform(intensity.saturation, "stops (log2 of the factor)", -8, 8, "colours"),
    "noise": Transform(intensity.noise, "sd in grey level", 0, 1),
    "blur": Transform(intensity.blur, "px (sd of the Gaussian)", 0, 32),
    "sharpen": Transform(intensity.sharpen, "share of the detail that is added", 0, 16),
    "quantisation": Transform(intensity.quantisation, "bits lost of 8", 0, 7),
    "jpeg": Transform(intensity.jpeg, "points of JPEG quality below 100", 0, 99),
    "crop": Transform(geometry.crop, "share of each side cut off", 0, 0.9),
    "zoom": Transform(geometry.zoom, "stops (log2 of the magnification)", -3, 3),
    "rotation": Transform(geometry.rotation, "degrees, counter-clockwise", -180, 180),
    "shear": Transform(geometry.shear, "columns per row", -2, 2),
    "stretch": Transform(geometry.stretch, "stops (log2 of the change of width / height)", -3, 3),
    "elastic": Transform(geometry.elastic, "px (rms displacement along an axis)", 0, 8),
    "emptied": Transform(objects.emptied, "share of images whose objects are painted out", 0, 1, "objects"),
    "foreground": Transform(generation.foreground, "logits of the foreground share", -6, 6, "drawing"),
    "share_spread": Transform(generation.share_spread, "logits (sd of an image's foreground share)", 0, 4, "drawing"),
    "texture": Transform(generation.texture, "octaves (log2 of the factor on the Perlin scale)", -3, 3, "drawing"),
    "noise_correlation": Transform(generation.noise_correlation, "px (sd of the Gaussian)", 0, 8, "drawing"),
    "compound": Transform(generation.compound, "number of a random draw", 0, 9999, "drawing"),
}


def check(name: str, level: float) -> None:
    """Whether ``name`` is a transform and ``level`` is one that it takes.

    Errors: :class:`StudyError` with the nearest name, or with the range.
    """
    if name not in TRANSFORMS:
        raise StudyError(f"transform '{name}' is not known{hint(name, TRANSFORMS)}")
    transform = TRANSFORMS[name]
    if not transform.low <= level <= transform.high:
        raise StudyError(
            f"transform '{name}': level {level:g} is outside [{transform.low:g}, {transform.high:g}] "
            f"({transform.unit}); choose one inside"
        )


def check_domain(spec: dict, coloured: bool, labelled: bool) -> None:
    """Whether the domain of ``spec`` can go through its transform.

    ``coloured``: its images are not all grey; ``labelled``: they have masks.

    Errors: :class:`StudyError` naming the domain and the remedy.
    """
    name, transform = spec["name"], spec["transform"]
    changes = TRANSFORMS[transform].changes
    if spec["level"] == 0 or changes == "images":
        return
    if changes == "colours" and not coloured:
        raise StudyError(
            f"domain '{name}' is gray, and transform '{transform}' needs colours; set generate.channels: 3 and take "
            f"an RGB domain of yours, or one such as domains.stain: {{means: [[0.6, 0.2, 0.5], [0.9, 0.8, 0.9]]}}"
        )
    if changes == "objects" and not labelled:
        raise StudyError(
            f"domain '{name}' has no masks, and transform '{transform}' changes what they mark; take a labelled target"
        )
    if changes == "drawing" and "path" in spec:
        raise StudyError(
            f"domain '{name}' is real, and transform '{transform}' changes how a synthetic domain is drawn; "
            f"take synthetic targets"
        )
    drawn(spec)


def drawn(spec: dict) -> dict:
    """The parameters by which a domain is drawn: ``spec``, changed where its transform changes the drawing.

    Errors: :class:`StudyError` where the domain does not have the parameter that would change.
    """
    transform = TRANSFORMS[spec["transform"]]
    if spec["level"] == 0 or transform.changes != "drawing":
        return spec
    return transform.function(spec, spec["level"])


def apply(
    name: str, images: np.ndarray, masks: np.ndarray | None, level: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """(images, masks) under transform ``name`` at ``level``; at level 0 the very arrays, nothing drawn.

    Images are uint8 (b, H, W) or (b, H, W, 3), masks uint8 0/1 (b, H, W) or None. ``rng`` feeds the random
    transforms: a series cut into other blocks gets the same result from the same generator. What changes the drawing
    has done its work before (:func:`drawn`) and leaves the images alone.

    Errors: :class:`StudyError` as :func:`check`.
    """
    check(name, level)
    if level == 0 or TRANSFORMS[name].changes == "drawing":
        return images, masks
    return TRANSFORMS[name].function(images, masks, level, rng)
