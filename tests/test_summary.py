"""The answer to say aloud: every sentence follows from tables made up for it."""

import numpy as np
import pandas as pd
import pytest

from shiftgain.report import summary
from shiftgain.study.names import KEY
from tests.test_report import outcomes


def test_each_sentence_follows_the_data_and_is_absent_without_any():
    pairs, _ = outcomes(believed=True)
    assert summary.effect(pd.Series([0.1, 0.1, 0.0])) == "helps" and summary.effect(pd.Series([-0.1] * 3)) == "harms"
    assert summary.effect(pd.Series([0.0, 0.0, -0.1])) == "changes little"
    assert summary.effect(pd.Series([0.1, -0.1])) == "goes either way"
    assert summary.effect(pd.Series([-0.1, 0.0])) == "does not help"
    assert summary.effect(pd.Series([0.1, 0.0])) == "does no harm"
    few = pairs.head(2)
    nothing = pd.DataFrame(columns=["predictor", "outcome", "protocol", "n", "sign_accuracy", "base_rate"])
    assert not summary.condition_rows(few, []) and summary.when([], few) == summary.why([], few) == ""
    assert summary.told(nothing, pd.DataFrame(columns=[*KEY, "decision", "action", "gain"]), few) == ""


@pytest.mark.parametrize(
    ("right", "decisions", "expected"),
    [
        (
            0.97,
            ["batchnorm", "keep"],
            "nearly always told rightly from unlabelled images whether it helps; so ask the predictor",
        ),
        (0.9, ["keep", "batchnorm"], "mostly told rightly from unlabelled images whether it helps; but here never"),
        (
            0.6,
            ["keep", "keep"],
            "no better than a constant guess whether it helps; here the advice of the predictor did as well as never",
        ),
        (
            0.6,
            ["other", "keep"],
            "no better than a constant guess whether it helps; yet following its advice did better",
        ),
    ],
)
def test_what_to_do_is_what_did_best(right, decisions, expected):
    """Of each two pairs one gains 0.3 and one loses 0.5; with method other both reach 0.9."""
    keys = [dict(zip(KEY, ("s", f"t{n}", "identity", 0.0, 0), strict=True)) for n in range(4)]
    outcome = [{"iou_before": 0.4, "iou_after": 0.7, "iou_other": 0.9}, {"iou_before": 0.8, "iou_after": 0.3}] * 2
    pairs = pd.DataFrame([key | scores for key, scores in zip(keys, outcome, strict=True)])
    pairs["gain_iou"], pairs["iou_batchnorm"] = pairs["iou_after"] - pairs["iou_before"], pairs["iou_after"]
    advice = pd.DataFrame(keys).assign(decision=decisions * 2, action="batchnorm", gain=0.1)
    forest = {"predictor": "forest", "outcome": "gain_iou", "protocol": "leave_source_out", "n": 4, "base_rate": 0.6}
    assert expected in summary.told(pd.DataFrame([forest | {"sign_accuracy": right}]), advice, pairs)


def test_advice_that_did_best_is_not_commended_where_nothing_says_that_the_predictor_tells():
    keys = [dict(zip(KEY, ("s", f"t{n}", "identity", 0.0, 0), strict=True)) for n in range(4)]
    pairs = pd.DataFrame(keys).assign(iou_before=0.4, iou_after=0.7, iou_batchnorm=0.7, iou_other=0.9, gain_iou=0.3)
    advice = pd.DataFrame(keys).assign(decision="other", action="other", gain=0.1)
    nothing = pd.DataFrame(columns=["predictor", "outcome", "protocol", "n", "sign_accuracy", "base_rate"])
    expected = "Following the advice did better here than to refresh always or never."
    assert summary.told(nothing, advice, pairs) == expected


def test_advice_that_falls_short_of_refreshing_always_is_not_recommended():
    keys = [dict(zip(KEY, ("s", f"t{n}", "identity", 0.0, 0), strict=True)) for n in range(4)]
    pairs = pd.DataFrame(keys).assign(iou_before=0.4, iou_after=0.7, iou_batchnorm=0.7, gain_iou=0.3)
    advice = pd.DataFrame(keys).assign(decision=["batchnorm", "keep"] * 2, action="batchnorm", gain=0.1)
    nothing = pd.DataFrame(columns=["predictor", "outcome", "protocol", "n", "sign_accuracy", "base_rate"])
    assert (
        summary.told(nothing, advice, pairs)
        == "But here always refreshing did better than the advice of the predictor."
    )


def condition(name: str, kept: float, refreshed: float, remedied: float, remedy: str) -> summary.Condition:
    return summary.Condition(name, 5, kept, refreshed, remedied, remedy, 0.95, "harms")


def test_why_names_what_brings_the_network_back_and_what_nothing_does():
    pairs, _ = outcomes(believed=True)
    rows = [
        condition("share", 0.6, 0.4, 0.94, "balanced"),
        condition("polarity", 0.1, 0.0, 0.93, "turned_image_balanced"),
        condition("brightness or contrast", 0.5, 0.95, 0.95, "balanced"),
        condition("contrast to noise", 0.5, 0.6, 0.62, "balanced"),
    ]
    assert summary.why(rows, pairs) == (
        "What goes wrong is what the statistics are taken of: the network is brought back by weighing foreground and "
        "background as in the source where the share of foreground changed, and by the remedy turned image balanced "
        "where dark and bright swapped; nothing that was tried does it where the contrast to the noise changed."
    )


def test_what_holds_of_the_pairs_that_are_known_is_not_said_of_all():
    pairs, _ = outcomes(believed=True)
    pairs = pairs[(pairs["gain_iou"] > 0) | (pairs["polarity"] == "flipped")].assign(theory_after=np.nan)
    assert summary.why([], pairs) == "Nearly all pairs that lose are pairs in which dark and bright swapped."
    lost = pairs[(pairs["gain_iou"] < -0.02) & ~pairs["home"]]
    real = lost.assign(polarity="", target=[f"real{number}" for number in range(len(lost))])
    assert summary.why([], pd.concat([pairs, real])) == ""
    formula = "Refreshing does no more than shift and stretch grey levels"
    told = pairs.assign(theory_after=pairs["iou_after"])
    assert summary.why([], told).startswith(formula)
    assert not summary.why([], pd.concat([told, real])).startswith(formula)


def test_of_remedies_as_good_the_simplest_is_named():
    rows = [{"iou_before": 0.2, "iou_after": 0.1, "iou_balanced": 0.89, "iou_turned_balanced": 0.9}] * 3
    table, _ = outcomes(believed=True)
    table = table[table["transform"] == "identity"].query("polarity == 'flipped'").head(3).reset_index(drop=True)
    table = table.assign(**pd.DataFrame(rows), gain_iou=-0.1, share_change=0.0, share_spread=0.0, contrast_change=0.0)
    (row,) = summary.condition_rows(table, ["balanced", "turned_balanced", "untried"])
    assert (row.name, row.remedy, row.pairs) == ("polarity", "balanced", 3) and row.remedied == pytest.approx(0.89)
    # Pairs of the same condition on which no remedy was tried count for what a refresh does there, not for the means.
    others = table.assign(iou_before=0.1, gain_iou=0.3, iou_balanced=np.nan, iou_turned_balanced=np.nan)
    untried = [others.assign(target=f"untried{number}") for number in range(3)]
    both = summary.condition_rows(pd.concat([table, *untried]), ["balanced", "turned_balanced"])[0]
    assert both[:6] == row[:6] and both.effect == "helps" and row.effect == "harms"
