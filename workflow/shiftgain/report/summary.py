"""The answer in three sentences to say aloud: when it works, why, and what can be told and done.

No sentence has a number, and none is said that the tables do not carry: the numbers stand in :mod:`answers`. How much
agreement a word stands for is written here.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from shiftgain.findings.conditions import by_condition, conditions
from shiftgain.findings.pairs import FEWEST_PAIRS, POOR_MARGIN, SMALLEST_GAIN, abroad
from shiftgain.report.answers import followed
from shiftgain.report.cards import does
from shiftgain.study.names import KEY

# "Helps" or "harms" is said of pairs of which at least this share agrees, "changes little" where at most the rest
# changes at all; of other pairs "does not help" or "does no harm" where hardly any do.
MOSTLY_SHARE, HARDLY_ANY_SHARE = 2 / 3, 0.05
# Of remedies that differ by no more, the simplest is named: seeds differ by as much.
AS_GOOD = 0.02
# RMSE up to which the closed form is said to give the IoU that is measured.
CLOSE_RMSE = 0.05
# Share of right signs from which on a predictor is right "nearly always", and "mostly".
NEARLY_ALWAYS_SHARE, OFTEN_SHARE = 0.95, 0.85
NO_BETTER = "no better than a constant guess"
# A difference of mean IoU between two rules that is worth a sentence.
WORTH = 0.005
VERBS = ("helps", "does no harm", "harms", "does not help", "goes either way", "changes little")
# What is said of pairs that break one condition.
SPOKEN_WORDS = {
    "brightness or contrast": "only brightness or contrast changed",
    "share": "the share of foreground changed",
    "polarity": "dark and bright swapped",
    "exposure between images": "the images differ in exposure among themselves",
    "share between images": "the images differ in their share of foreground among themselves",
    "images without objects": "some of the images show no objects",
    "contrast to noise": "the contrast to the noise changed",
    "texture, or another transform": "texture or shape changed",
    "real, own images transformed": "real images of its own were transformed",
    "real, another domain": "real images came from elsewhere",
}
# Predictors by which users are advised: the first that a study judges.
ADVISERS = ("rehearsed", "forest")
# How the sentence on a predictor begins, by protocol: what is newest to it first.
ASKED = {
    "synthetic_to_real": "Asked about real images, of which it knew none",
    "another_width": "Asked about networks of other widths than it knew",
    "everything_new": "Asked about sources, targets and transformations that it did not know",
    "leave_source_out": "Asked about source domains that it did not know",
    "leave_transform_out": "Asked about transformations that it did not know",
    "leave_means_out": "Asked about target domains that it did not know",
    "replication": "Asked again about pairs that it knew, with networks and images of other seeds",
}


class Condition(NamedTuple):
    """Pairs that break equal conditions: mean IoU of ``kept``, ``refreshed``, of the best single ``remedy`` by
    name, and of the source at ``home``; NaN or empty where there is none. ``effect``: what a refresh does there."""

    name: str
    pairs: int
    kept: float
    refreshed: float
    remedied: float
    remedy: str
    home: float
    effect: str


def condition_rows(pairs: pd.DataFrame, remedies: list[str]) -> list[Condition]:
    """A row per condition that at least :data:`FEWEST_PAIRS` pairs of a study break, from the table of pairs.

    The effect is over all pairs of the row, the means are over its pairs on which a remedy was tried, where these are
    enough. The best remedy is the simplest, by the parts of its name, of the remedies within :data:`AS_GOOD` of the
    highest mean IoU; only remedies that all pairs of the row tried count.
    """
    table = abroad(pairs)
    condition = conditions(table)
    rows = []
    for name in by_condition(condition):
        part = table[condition == name]
        if len(part) < FEWEST_PAIRS:
            continue
        verb = effect(part["gain_iou"])
        treated = part[part.filter([f"iou_{remedy}" for remedy in remedies]).notna().any(axis=1)]
        part = treated if len(treated) >= FEWEST_PAIRS else part
        means = {remedy: part[f"iou_{remedy}"] for remedy in remedies if f"iou_{remedy}" in part}
        tried = {remedy: values.mean() for remedy, values in means.items() if values.notna().all()}
        good = [remedy for remedy in tried if tried[remedy] >= max(tried.values()) - AS_GOOD]
        best = min(good, key=lambda remedy: (remedy.count("_"), -tried[remedy]), default="")
        rows.append(
            Condition(
                name,
                len(part),
                part["iou_before"].mean(),
                part["iou_after"].mean(),
                tried.get(best, np.nan),
                best,
                part["own_iou"].mean(),
                verb,
            )
        )
    return rows


def effect(gain: pd.Series) -> str:
    """One of :data:`VERBS`, by the shares of pairs that gain and that lose more than :data:`SMALLEST_GAIN`."""
    up, down = (gain > SMALLEST_GAIN).mean(), (gain < -SMALLEST_GAIN).mean()
    if up >= MOSTLY_SHARE or down >= MOSTLY_SHARE:
        return "helps" if up > down else "harms"
    if up + down <= 1 - MOSTLY_SHARE:
        return "changes little"
    return (
        "does not help" if up <= HARDLY_ANY_SHARE else "does no harm" if down <= HARDLY_ANY_SHARE else "goes either way"
    )


def when(rows: list[Condition], pairs: pd.DataFrame) -> str:
    """When a plain refresh helps, by condition; by count where no condition is known of; empty over too few pairs."""
    spoken = [row for row in rows if row.name in SPOKEN_WORDS]
    parts = []
    for verb in VERBS:
        named = [SPOKEN_WORDS[row.name] for row in spoken if row.effect == verb]
        if named:
            parts.append(f"{verb} {_where(named)}")
    if parts:
        return f"Refreshing the statistics {'; it '.join(parts)}."
    gain = abroad(pairs)["gain_iou"]
    if len(gain) < FEWEST_PAIRS:
        return ""
    return f"Over the pairs of this study, refreshing the statistics {effect(gain)}."


def why(rows: list[Condition], pairs: pd.DataFrame) -> str:
    """What goes wrong, by what mends it; else by the closed form; else by the polarity of what is lost; else empty."""
    mended: dict[str, list[str]] = {}
    left = []
    for row in (row for row in rows if row.name in SPOKEN_WORDS):
        poor = max(row.kept, row.refreshed) < row.home - POOR_MARGIN
        if poor and row.remedied >= row.home - POOR_MARGIN:
            mended.setdefault(_remedy(row.remedy), []).append(SPOKEN_WORDS[row.name])
        elif poor and row.remedy:
            left.append(SPOKEN_WORDS[row.name])
    if mended:
        said = ", and ".join(f"by {remedy} {_where(names)}" for remedy, names in mended.items())
        rest = f"; nothing that was tried does it {_where(left)}" if left else ""
        return f"What goes wrong is what the statistics are taken of: the network is brought back {said}{rest}."
    table = abroad(pairs)
    known = table.dropna(subset=["theory_after"])
    off = np.sqrt(((known["iou_after"] - known["theory_after"]) ** 2).mean())
    if len(known) >= max(FEWEST_PAIRS, NEARLY_ALWAYS_SHARE * len(table)) and off <= CLOSE_RMSE:
        return (
            "Refreshing does no more than shift and stretch grey levels: a formula that knows only means, noise and "
            "foreground share of both domains gives the result."
        )
    lost = table[table["gain_iou"] < -SMALLEST_GAIN]
    if len(lost) >= FEWEST_PAIRS and (lost["polarity"] == "flipped").mean() >= NEARLY_ALWAYS_SHARE:
        return "Nearly all pairs that lose are pairs in which dark and bright swapped."
    return ""


def told(predictors: pd.DataFrame, advice: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Whether images without labels tell it, and what to do; either part is left out where the tables are silent."""
    tells = _tellable(predictors)
    said = "; ".join(part for part in (tells, _advisable(advice, pairs, tells)) if part)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _tellable(predictors: pd.DataFrame) -> str:
    gain = predictors[predictors["outcome"] == "gain_iou"]
    adviser = next((name for name in ADVISERS if (gain["predictor"] == name).any()), None)
    gain = gain[gain["predictor"] == adviser]
    for protocol, where in ASKED.items():
        row = gain[(gain["protocol"] == protocol) & (gain["n"] >= FEWEST_PAIRS)]
        if not len(row) or row["sign_accuracy"].isna().any():
            continue
        right, guess = row.iloc[0][["sign_accuracy", "base_rate"]]
        if right <= guess + SMALLEST_GAIN:
            return f"{where}, the predictor told from unlabelled images {NO_BETTER} whether it helps"
        often = (
            "nearly always"
            if right >= NEARLY_ALWAYS_SHARE
            else "mostly"
            if right >= OFTEN_SHARE
            else "more often than a guess"
        )
        return f"{where}, the predictor {often} told rightly from unlabelled images whether it helps"
    return ""


def _advisable(advice: pd.DataFrame, pairs: pd.DataFrame, tells: str) -> str:
    """Which of three rules did best where there are labels: to follow the advice, to refresh always, or never.

    ``tells``: what is said before of what the predictor did not know; unless it does better there than a guess, its
    advice is not commended.
    """
    if advice.empty:
        return ""
    table = advice[[*KEY, "decision", "action", "gain"]].merge(pairs, on=KEY)
    table = table[table["gain_iou"].notna()]
    if len(table) < FEWEST_PAIRS:
        return ""
    reached = followed(table)[0].mean()
    always, never = table["iou_after"].mean(), table["iou_before"].mean()
    rule = "always" if always > never else "never"
    if reached > max(always, never) + WORTH:
        if not tells:
            return "following the advice did better here than to refresh always or never"
        if NO_BETTER in tells:
            return "yet following its advice did better here than to refresh always or never"
        return "so ask the predictor about each target, and do what it says"
    if reached < max(always, never) - WORTH:
        return f"but here {rule} refreshing did better than the advice of the predictor"
    return f"here the advice of the predictor did as well as {rule} refreshing"


def _remedy(name: str) -> str:
    """A remedy in words, and by its name where these are too long to be said aloud."""
    parts = name.split("_")
    return (does(name) if len(parts) <= 2 else "") or f"the remedy {' '.join(parts)}"


def _where(parts: list[str]) -> str:
    """``where A, where B and where C``."""
    named = [f"where {part}" for part in parts]
    return " and ".join(part for part in (", ".join(named[:-1]), named[-1]) if part)
