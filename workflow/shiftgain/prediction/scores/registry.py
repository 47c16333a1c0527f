"""Label-free scores: what can be known of a prediction on a target without its masks.

Four registries, each a function per column of the table ``scores``; the order is that of the columns. A row is about
one state of the network on the target, kept or under one method:

* :data:`DOMAINS` of the source and the images of the target (``source, kept``): the same in all rows of a target;
* :data:`SCORES` of one state (``source, state``);
* :data:`REFERENCES` of one state against a segmentation of the images that no network made (``source, kept, state``);
* :data:`COMPARISONS` of the state with the network that is kept (``source, kept, state``).

``source`` is a :class:`View` of labelled validation images of the source by the unadapted network; the others are
of the target, without labels. Every score is finite for every prediction, empty and full masks included. Most are
differences from what the same number is on the source, so that they mean the same for every source.

A new score is a function in the module of what it is made of, a line here, and a case in the tests.
"""

from collections.abc import Callable

from shiftgain.prediction.scores import confidence, features, grey_levels, masks, reference, stability
from shiftgain.prediction.view import View

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
    "grey_spread": grey_levels.grey_spread,
    # The name that published tables know it by.
    "texture": grey_levels.geary_change,
    "own_reference": reference.own_reference,
    "reference_change": reference.reference_change,
    "reference_change_flipped": reference.reference_change_flipped,
    "polarity_margin": reference.polarity_margin,
    "reference_quality": reference.reference_quality,
}

SCORES: dict[str, Callable[[View, View], float]] = {
    "difference_of_confidences": confidence.difference_of_confidences,
    "entropy": confidence.entropy,
    "inner_uncertainty": confidence.inner_uncertainty,
    "atc": confidence.atc,
    "soft_dice": confidence.soft_dice,
    "expected_iou": confidence.expected_iou,
    "expected_iou_calibrated": confidence.expected_iou_calibrated,
    "expected_iou_classwise": confidence.expected_iou_classwise,
    "mean_probability_change": confidence.mean_probability_change,
    "foreground": masks.foreground,
    "foreground_change": masks.foreground_change,
    "foreground_distance": masks.foreground_distance,
    "share_spread_change": masks.share_spread_change,
    "empty_change": masks.empty_change,
    "cot": confidence.cot,
    "logit_skewness": confidence.logit_skewness,
    "grey_polarity": grey_levels.grey_polarity,
    "seen_polarity": grey_levels.seen_polarity,
    "separation": grey_levels.separation,
    "edge_change": grey_levels.edge_change,
    "seen_edge": grey_levels.seen_edge,
    "latent_contrast": features.latent_contrast,
    "class_distance": features.class_distance,
    "energy": features.energy,
    "perimeter_change": masks.perimeter_change,
    # The name that published tables know it by.
    "roughness_change": masks.join_count_change,
    "component_change": masks.component_change,
    "hole_change": masks.hole_change,
    "length_change": masks.length_change,
    "consistency": stability.consistency,
    "consistency_change": stability.consistency_change,
    "path_agreement": stability.path_agreement,
    "moved": stability.moved,
    "off_refresh": stability.off_refresh,
    "own_part": stability.own_part,
    "turned": stability.turned,
}

REFERENCES: dict[str, Callable[[View, View, View], float]] = {
    "reference_iou": reference.reference_iou,
    "resolved_iou": reference.resolved_iou,
    "trusted_iou": reference.trusted_iou,
    "explained": reference.explained,
}

COMPARISONS: dict[str, Callable[[View, View, View], float]] = {
    "agreement": masks.agreement,
    "complement_agreement": masks.complement_agreement,
    "foreground_moved": masks.foreground_moved,
}


def scores(source: View, states: dict[str, View], kept: str) -> dict[str, dict[str, float]]:
    """Every score of a target: name of a state -> its row.

    ``states``: name, ``kept`` among them, -> :class:`View` of the same images.
    """
    domain = {name: function(source, states[kept]) for name, function in DOMAINS.items()}
    return {state: domain | _of_state(source, states[kept], view) for state, view in states.items()}


def _of_state(source: View, kept: View, state: View) -> dict[str, float]:
    row = {name: function(source, state) for name, function in SCORES.items()}
    row |= {name: function(source, kept, state) for name, function in REFERENCES.items()}
    return row | {name: function(source, kept, state) for name, function in COMPARISONS.items()}
