"""The talk's cases: pairs that show how adaptation works, fails and harms, chosen by rules and not by hand."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from shiftgain.findings.conditions import conditions
from shiftgain.findings.pairs import POOR_MARGIN, RESTORED_MARGIN, SMALLEST_GAIN
from shiftgain.study.names import KEY

# A gain above this is a large one, in the talk's case `kinda works`.
LARGE_GAIN = 0.1


class Case(NamedTuple):
    """One of the talk's cases: of the pairs ``among``, the one at ``quantile`` of ``column``."""

    name: str
    rule: str
    among: Callable[[pd.DataFrame], pd.Series]
    column: str
    quantile: float


CASES = (
    Case(
        "all white",
        "without adaptation at least 95 % of the pixels are called foreground, and at most 90 % are; "
        "of these the median gain",
        lambda pairs: (pairs["foreground_before"] >= 0.95) & (pairs["true_foreground"] <= 0.9),
        "gain_iou",
        0.5,
    ),
    Case(
        "all black",
        "without adaptation at most 2 % of the pixels are called foreground, and at least 5 % are; "
        "of these the median gain",
        lambda pairs: (pairs["foreground_before"] <= 0.02) & (pairs["true_foreground"] >= 0.05),
        "gain_iou",
        0.5,
    ),
    Case(
        "works",
        f"adapted IoU at most {RESTORED_MARGIN} below the source's own, gain above {SMALLEST_GAIN}; "
        "of these the largest gain",
        lambda pairs: (pairs["iou_after"] >= pairs["own_iou"] - RESTORED_MARGIN) & (pairs["gain_iou"] > SMALLEST_GAIN),
        "gain_iou",
        1.0,
    ),
    Case(
        "kinda works",
        f"gain above {LARGE_GAIN}, adapted IoU still more than {POOR_MARGIN} below the source's own; "
        "of these the median gain",
        lambda pairs: (pairs["gain_iou"] > LARGE_GAIN) & (pairs["iou_after"] < pairs["own_iou"] - POOR_MARGIN),
        "gain_iou",
        0.5,
    ),
    Case(
        "fails",
        f"gain at most {SMALLEST_GAIN}, poor before (more than {POOR_MARGIN} below the source's own); "
        "of these the lowest adapted IoU",
        lambda pairs: (pairs["gain_iou"] <= SMALLEST_GAIN) & (pairs["iou_before"] < pairs["own_iou"] - POOR_MARGIN),
        "iou_after",
        0.0,
    ),
    Case(
        "harms",
        f"gain below {-SMALLEST_GAIN}; of these the largest drop",
        lambda pairs: pairs["gain_iou"] < -SMALLEST_GAIN,
        "gain_iou",
        0.0,
    ),
)


def example_cases(pairs: pd.DataFrame) -> dict[str, pd.Series | None]:
    """Name of a case -> the pair (one seed) that shows it; None where the case does not occur.

    Each pair shows one case only, and pairs without a transform go before those with one.
    """
    left = pairs[~pairs["home"] & pairs["gain_iou"].notna()]
    cases: dict[str, pd.Series | None] = {}
    for case in CASES:
        among = left[case.among(left)].sort_values([case.column, *KEY])
        plain = among[among["transform"] == "identity"]
        among = plain if len(plain) else among
        cases[case.name] = None
        if len(among):
            pair = among.iloc[int(case.quantile * (len(among) - 1))]
            cases[case.name] = pair
            left = left.drop(index=pair.name)
    return cases


def decomposed_cases(pairs: pd.DataFrame) -> dict[str, pd.Series]:
    """Name of a case -> the pair (one seed) in which the means of the network are looked into, where it occurs.

    ``works`` and ``fails`` of :func:`example_cases`, and of the pairs that break the foreground share alone that which
    loses most, if none of them is it.
    """
    examples = example_cases(pairs)
    cases = {name: pair for name in ("works", "fails") if (pair := examples[name]) is not None}
    shares = pairs[(conditions(pairs) == "share") & pairs["gain_iou"].notna()].sort_values(["gain_iou", *KEY])
    if len(shares) and not any(pair.name == shares.index[0] for pair in cases.values()):
        cases["another share"] = shares.iloc[0]
    return cases
