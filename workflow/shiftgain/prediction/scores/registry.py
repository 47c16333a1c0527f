"""Label-free scores: what can be known of a prediction on a target without its masks.

Four registries, each a function per column of the table ``scores``; the order is that of the columns:

* :data:`SCORES`, of one state of the network on the target (``source, state``): columns ``NAME_before``, ``_after``
  adaptation, and ``_inverted``, adapted to the images turned about their mean grey level. The last is a probe of
  polarity: where the target flips it, the turned images are like the source's. ``NAME_change`` is after less before;
* :data:`REFERENCES`, of one state against a segmentation of the images that no network made (``source, images,
  state``): columns as those of :data:`SCORES`. ``images`` is a view whose grey levels are looked at;
* :data:`COMPARISONS` of two states (``source, first, second``): columns ``NAME_before_after`` and so on;
* :data:`DOMAINS` of the source and the images of the target (``source, state``): column ``NAME``.

``source`` is a :class:`View` of labelled validation images of the source by the unadapted network; the others are
of the target, without labels. Every score is finite for every prediction, empty and full masks included. Most are
differences from what the same number is on the source, so that they mean the same for every source.

A new score is a function in the module of what it is made of, a line here, and a case in the tests.
"""

from collections.abc import Callable

from shiftgain.prediction.scores import confidence, features, grey_levels, masks, reference
from shiftgain.prediction.view import View

SCORES: dict[str, Callable[[View, View], float]] = {
    "confidence": confidence.confidence,
    "entropy": confidence.entropy,
    "difference_of_confidences": confidence.difference_of_confidences,
    "atc": confidence.atc,
    "soft_dice": confidence.soft_dice,
    "expected_iou": confidence.expected_iou,
    "expected_iou_calibrated": confidence.expected_iou_calibrated,
    "foreground": masks.foreground,
    "foreground_change": masks.foreground_change,
    "foreground_distance": masks.foreground_distance,
    "cot": confidence.cot,
    "logit_skewness": confidence.logit_skewness,
    "grey_polarity": grey_levels.grey_polarity,
    "separation": grey_levels.separation,
    "latent_contrast": features.latent_contrast,
    "class_distance": features.class_distance,
    "mmd": features.mmd,
    "energy": features.energy,
    "perimeter_change": masks.perimeter_change,
    # The name that published tables and the shipped forest know it by.
    "roughness_change": masks.join_count_change,
    "component_change": masks.component_change,
    "hole_change": masks.hole_change,
    "length_change": masks.length_change,
}

COMPARISONS: dict[str, Callable[[View, View, View], float]] = {
    "agreement": masks.agreement,
    "complement_agreement": masks.complement_agreement,
    "foreground_moved": masks.foreground_moved,
}

REFERENCES: dict[str, Callable[[View, View, View], float]] = {
    "reference_iou": reference.reference_iou,
    "reference_iou_flipped": reference.reference_iou_flipped,
    "resolved_iou": reference.resolved_iou,
    "explained": reference.explained,
}

DOMAINS: dict[str, Callable[[View, View], float]] = {
    "own_iou": masks.own_iou,
    "own_foreground": masks.own_foreground,
    "own_separation": grey_levels.own_separation,
    "grey_shift": grey_levels.grey_shift,
    "grey_scale": grey_levels.grey_scale,
    "grey_moments": grey_levels.grey_moments,
    "grey_shape": grey_levels.grey_shape,
    "grey_shape_inverted": grey_levels.grey_shape_inverted,
    "grey_skewness": grey_levels.grey_skewness,
    # The name that published tables and the shipped forest know it by.
    "texture": grey_levels.geary_change,
    "own_reference": reference.own_reference,
    "reference_change": reference.reference_change,
    "reference_change_flipped": reference.reference_change_flipped,
    "polarity_margin": reference.polarity_margin,
    "reference_quality": reference.reference_quality,
}


def scores(source: View, states: dict[str, View]) -> dict[str, float]:
    """Every score of a target. ``states``: name, ``before`` among them, -> :class:`View` of the same images."""
    before = states["before"]
    row = {name: function(source, before) for name, function in DOMAINS.items()}
    for state, view in states.items():
        row |= {f"{name}_{state}": function(source, view) for name, function in SCORES.items()}
        row |= {f"{name}_{state}": function(source, before, view) for name, function in REFERENCES.items()}
    if "after" in states:
        names = [*SCORES, *REFERENCES]
        row |= {f"{name}_change": row[f"{name}_after"] - row[f"{name}_before"] for name in names}
    names = list(states)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            views = states[first], states[second]
            row |= {f"{name}_{first}_{second}": function(source, *views) for name, function in COMPARISONS.items()}
    return row
