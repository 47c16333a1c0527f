"""Cards of advice in plain words, for a reader who knows the images and not the scores."""

import re
from collections.abc import Collection

import numpy as np
import pandas as pd

from shiftgain.files.tables import read_csv
from shiftgain.prediction.choice import KEEP, UNKNOWN, done
from shiftgain.study.names import KEY, PAIR, PLAIN

CARDS = 12
# What a card says, in the order in which it is read.
FIELDS = ("todo", "expected", "caution", "because", "images")
# At least this IoU -> what it means for the objects.
GRADES = {
    0.85: "nearly right",
    0.7: "mostly right",
    0.5: "right in outline, with much missing or too much",
    0.25: "right in part only",
    0.0: "of no use",
}
# Part of the name of a remedy -> what it does.
DOES = {
    "turned": "turning the images to their negatives",
    "told": "turning the images to their negatives where these look more like the source",
    "image": "taking each image by itself",
    "shrunk": "taking each image partly by itself",
    "balanced": "weighing foreground and background as in the source",
}
# Score -> what it looks at.
LOOKED_AT = {
    "agreement": "how much of the prediction stays as the unadapted network has it",
    "atc": "the share of pixels on which the network is as sure as it is where it is right at home",
    "class_distance": "how far what it calls object and background lies from these in the source, in its own features",
    "complement_agreement": "whether object and background change places",
    "component_change": "the size of the objects, compared with the source's",
    "consistency": "how much of the prediction noise leaves in place",
    "consistency_change": "how much of the prediction noise leaves in place, compared with the source",
    "cot": "how far its probabilities are from the source's masks",
    "difference_of_confidences": "how much less sure it is than at home",
    "edge_change": "whether the outlines of the objects follow edges of the images",
    "empty_change": "how many images look empty",
    "energy": "how unlike the source its features are",
    "entropy": "how unsure it is",
    "expected_iou": "the overlap that its own probabilities promise",
    "expected_iou_calibrated": "the overlap that its probabilities promise, as far as they are right on the source",
    "expected_iou_classwise": "the overlap that its probabilities promise, as far as they are right on the source",
    "explained": "how well the prediction parts bright from dark",
    "foreground": "how much it calls object",
    "foreground_change": "how much it calls object, compared with the source's masks",
    "foreground_distance": "how far the share of objects is from the source's",
    "foreground_moved": "how much more it calls object than the unadapted network",
    "grey_moments": "how far brightness and contrast are from the source's",
    "grey_polarity": "whether objects are bright or dark as in the source",
    "grey_scale": "the contrast of the images, compared with the source's",
    "grey_shape": "how unlike the source's the grey levels are, brightness and contrast aside",
    "grey_shape_inverted": "how unlike the source's the negative's grey levels are",
    "grey_shift": "the brightness of the images, compared with the source's",
    "grey_skewness": "which side the rarer grey levels lie on",
    "grey_spread": "how much exposure differs between the images",
    "hole_change": "the size of the gaps between objects, compared with the source's",
    "inner_uncertainty": "doubt inside of objects and far from them",
    "latent_contrast": "how clearly its features part objects from background",
    "length_change": "how far structures reach, compared with the source's",
    "logit_skewness": "which side its rarer verdicts lie on",
    "mean_probability_change": "the share of objects at which its statistics came to rest",
    "moved": "how far the statistics had to move",
    "off_refresh": "how far the statistics are from a plain refresh",
    "own_foreground": "the share of objects in the source",
    "own_iou": "what the network reaches at home",
    "own_part": "how much each image counts by itself",
    "own_reference": "how far grey levels alone tell objects on the source",
    "own_separation": "how far apart objects and background are in grey on the source",
    "path_agreement": "whether half of the change of statistics says the same",
    "perimeter_change": "how frayed the objects are, compared with the source's",
    "polarity_margin": "whether the images look like the source's or like their negatives",
    "reference_change": "the share of the bright or dark parts of the images, compared with the source's objects",
    "reference_change_flipped": "that share, were object and background exchanged",
    "reference_iou": "overlap with the bright or dark parts of the images",
    "reference_quality": "how clearly bright and dark part",
    "resolved_iou": "overlap with the bright or dark parts of the images, whichever fit the source",
    "roughness_change": "how speckled the prediction is, compared with the source's masks",
    "seen_edge": "whether the objects' edges turn bright or dark inwards as they do at home",
    "seen_polarity": "whether objects stand out for the network as they do at home",
    "separation": "how clearly the objects stand out in grey",
    "share_spread_change": "how much the share of objects differs between images",
    "soft_dice": "the overlap that its own probabilities promise",
    "texture": "how fine the grain of the images is, compared with the source's",
    "trusted_iou": "overlap with what grey levels and its own probabilities say, each as far as right on the source",
    "turned": "that the network is shown negatives",
}


def read(path: str) -> pd.DataFrame:
    """The table of advice; what it does not say is empty text."""
    advice = read_csv(path)
    return advice.astype({"drivers": object, "warning": object}).fillna({"drivers": "", "warning": ""})


def of_pairs(advice: pd.DataFrame) -> pd.DataFrame:
    """Of every pair the row of its first seed, of which pictures are kept too."""
    return advice.sort_values(KEY, kind="stable").drop_duplicates(PAIR)


def cards(advice: pd.DataFrame, unlabelled: Collection[str], segmented: Collection[str] = ()) -> list[dict]:
    """At most :data:`CARDS` pairs of ``advice``, each its row with what :func:`card` says of it.

    First ``segmented`` and ``unlabelled`` targets, then the pairs with the most and the least to be gained.
    """
    table = of_pairs(advice)
    urgent = table["target"].isin([*segmented, *unlabelled])
    rest = table[~urgent].sort_values(["gain", *PAIR], kind="stable")
    room = max(0, CARDS - urgent.sum())
    first = table[urgent].sort_values("target", key=lambda names: ~names.isin(segmented), kind="stable")
    rows = pd.concat([first, rest.tail(room - room // 2)[::-1], rest.head(room // 2)])
    rows = rows.drop_duplicates(PAIR).head(CARDS)
    return [row | card(row, row["target"] in unlabelled) for row in rows.to_dict("records")]


def card(row: dict, unlabelled: bool) -> dict[str, str]:
    """What a row of advice says in plain words.

    ``todo``: the action; ``expected``: IoU in words and numbers; ``caution``: what a warning means, empty without one;
    ``because``: what drove it; ``images``: how many the advice is about, empty where it does not say.
    """
    return {
        "todo": _todo(row),
        "expected": _expected(row),
        "caution": _caution(row["warning"]),
        "because": _because(row["drivers"]),
        "images": _images(row, unlabelled),
    }


def does(method: str) -> str:
    """What a remedy does: ``taking each image by itself and ...``; empty where its name does not say."""
    parts = method.split("_")
    if not set(parts) <= DOES.keys():
        return ""
    *first, last = (DOES[part] for part in parts)
    return " and ".join(part for part in (", ".join(first), last) if part)


def refreshing(method: str) -> str:
    """What a method does to the network, in plain words, and its name where these are not enough."""
    if method == PLAIN:
        return "refresh its statistics"
    how = does(method)
    return f"refresh its statistics, {how} ({named(method)})" if how else named(method)


def named(method: str) -> str:
    """A method by its name."""
    return "a plain refresh" if method == PLAIN else f"method {method.replace('_', ' ')}"


def _todo(row: dict) -> str:
    if row["decision"] == KEEP:
        return "Keep the network as it is."
    if row["decision"] != UNKNOWN:
        return f"Adapt it: {refreshing(row['decision'])}."
    n = row.get("images_to_label", np.nan)
    tell = "" if pd.isna(n) else f" {n:.0f} labelled images of the target would tell."
    guess = "keep it" if done(pd.DataFrame([row])).item() == KEEP else "adapt it"
    return (
        f"It cannot be told whether to keep the network or to adapt it: {refreshing(row['action'])}. "
        f"The better guess is to {guess}.{tell}"
    )


def _expected(row: dict) -> str:
    before, after = row["expected_before"], row["expected_after"]
    return (
        f"Expected IoU {before:.2f} as it is, {grade(before)}; {after:.2f} with {named(row['action'])}, "
        f"{grade(after)}. The difference is {row['gain']:+.2f}, and hardly outside "
        f"{row['gain_low']:+.2f} to {row['gain_high']:+.2f}."
    )


def grade(iou: float) -> str:
    """What an IoU means for the objects."""
    return next(words for least, words in GRADES.items() if iou >= least)


def _because(drivers: str) -> str:
    """What moved the expected gain most: from text such as ``agreement = 0.90 (+0.50); ...``."""
    found = re.findall(r"(\w+) = (\S+) \(([+-])[^)]*\)", drivers)
    named = [f"{LOOKED_AT.get(name, name)} ({'for' if sign == '+' else 'against'} it)" for name, _, sign in found]
    return f"What counted for and against adapting: {'; '.join(dict.fromkeys(named))}." if named else ""


def _caution(warning: str) -> str:
    return (
        f"Unlike anything it was fitted on or rehearsed with: {warning.partition(' lie ')[0]}. The numbers above may "
        "be far off then, and the interval may not hold; look at the masks, or label some images, before relying on it."
        if warning
        else ""
    )


def _images(row: dict, unlabelled: bool) -> str:
    """How many images of the target were adapted to and segmented; empty where the advice does not say."""
    adapted, segmented = (row.get(name, np.nan) for name in ("n_target_images", "n_images"))
    if pd.isna(adapted) or pd.isna(segmented):
        return ""
    verb = "predicted for" if unlabelled else "scored on"
    return f"adapted to {_count(adapted)}, {verb} {_count(segmented)}" + " without masks" * unlabelled


def _count(images: float) -> str:
    return f"{images:.0f} image" + ("" if images == 1 else "s")
