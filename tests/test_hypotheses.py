"""Hypotheses: measures by hand, and verdicts that follow from their intervals."""

import inspect
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from scripts.hypotheses import hypotheses
from shiftgain.findings.measures import outcomes
from shiftgain.findings.measures.evidence import POLARITY_SCORES
from shiftgain.findings.measures.remedies import REMEDIES
from shiftgain.findings.measures.selection import Tables
from shiftgain.findings.pairs import COLUMNS
from shiftgain.findings.relations import with_relations
from shiftgain.findings.verdicts import FEWEST_SEEDS, MODULES, Hypothesis, interval, judge, verdict
from shiftgain.study.entries import domain_spec
from shiftgain.study.lineage import catalogue
from shiftgain.study.names import KEY, domain_of, full_names

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
CONFIG["domains"]["spread"] = {"means": [0.3, 0.7], "foreground_spread": 1}
HYPOTHESES = {name: Hypothesis(**entry) for name, entry in catalogue("hypotheses").items()}
SEEDS = (0, 1, 2)
EMPTY = pd.DataFrame(columns=["source", "seed", "activation", "unit", "dead", "non_gaussian"])
PLACE = {"layer": "encoder1", "activation": "before_relu", "unit": "position"}
NO_DISTANCES = pd.DataFrame(columns=[*KEY, *PLACE, "state", "distance", "value", "null"])
NO_SCORES = pd.DataFrame(columns=[*KEY, *POLARITY_SCORES])


def pair(seed, transform="identity", level=0.0, source="0.30-0.70", target="0.30-0.70", **more):
    """A row of the pair table: its relations follow from the means that the names bear, its IoU are plain ones."""
    row = {
        "source": source, "target": target, "transform": transform, "level": level, "seed": seed, "iou_before": 0.5,
        "iou_batchnorm": 0.9, "own_iou": 0.9, "iou_target_trained": 0.92, "true_foreground": 0.35, "clipped_share": 0.0,
    }  # fmt: skip
    return row | more


def tables(rows, distances=NO_DISTANCES, channels=EMPTY, scores=NO_SCORES):
    irregular = {"early": ["epochs"], "slow": ["batchnorm_momentum"], "both": ["epochs", "learning_rate"]}
    pairs = pd.DataFrame(rows)
    names = {*full_names(pairs), *(domain_of(source) for source in pairs["source"])}
    specs = {name: domain_spec(CONFIG, name) for name in names}
    pairs = with_relations(pairs, specs)
    if "theory" in pairs:
        pairs["theory_after"] = pairs.pop("theory")
    return Tables(pairs, distances, channels, scores, irregular)


def each_seed(*pairs):
    return [pair(seed, **one) for seed in SEEDS for one in pairs]


def brightness(level=0.1, **more):
    return {"transform": "brightness", "level": level} | more


def foreground(level, **more):
    return {"transform": "foreground", "level": level} | more


def exposure(level=0.5, **more):
    return {"transform": "exposure", "level": level} | more


def spread(level=1, **more):
    return {"transform": "share_spread", "level": level} | more


def compound(number, **more):
    return {"transform": "compound", "level": number} | more


def flip(source="0.30-0.70", target="0.70-0.30", **more):
    return {"source": source, "target": target} | more


def inverted(**more):
    return {"transform": "inversion", "level": 1} | more


def mixed(level, best, target="0.50-0.90"):
    """A brightness shift at another share, at which mix number ``best`` of eight is best."""
    mixes = ["iou_batchnorm", *(f"iou_prior_{2**k}" for k in range(6)), "iou_before"]
    ious = {name: 0.9 - abs(number - best) / 10 for number, name in enumerate(mixes)}
    return (foreground(level) if level else {}) | {"target": target} | ious


def remedied(iou, **more):
    """A pair that the last refresh brings to ``iou``, and the others less far."""
    return more | {f"iou_{name}": iou / (1 + (name != REMEDIES[-1])) for name in REMEDIES}


def started(before, after, **more):
    return {"foreground_after": 0.4, "iou_after": before, "iou_balanced": after} | more


def predicted(theory, iou, **more):
    """``theory`` stands in for what the closed form gives: see :func:`tables`."""
    return {"theory": theory, "iou_batchnorm": iou} | more


# hypothesis, pairs of every seed, what must be measured
MEASURES = [
    ("H1a", [brightness(iou_batchnorm=0.88), brightness(0.2)], 0.02),
    ("H1a", [{"transform": "contrast", "level": 1, "clipped_share": 0.3}], None),
    ("H1b", [brightness(k, clipped_share=k, iou_batchnorm=0.9 - k) for k in (0.1, 0.2, 0.3)], -1),
    (
        "H1b",
        [
            *(brightness(k, clipped_share=k, iou_batchnorm=0.9 - k) for k in (0.1, 0.2, 0.3)),
            brightness(0.05, clipped_share=0.0005, iou_batchnorm=0.1),
        ],
        -1,
    ),
    (
        "H1b",
        [
            brightness(k, clipped_share=k, iou_batchnorm=iou, own_iou=own)
            for k, iou, own in ((0.1, 0.5, 0.9), (0.2, 0.8, 0.9), (0.3, 0.6, 0.65))
        ],
        1,
    ),
    ("H2a", [{"target": "0.90-0.10", "iou_batchnorm": 0.1}, {"target": "0.70-0.30", "iou_batchnorm": 0.5}], 0.15),
    ("H2a", [{"target": "0.10-0.90", "iou_batchnorm": 0.1}], None),
    ("H2a", [{"transform": "inversion", "level": 1, "iou_batchnorm": 0.1}], -0.25),
    ("H2a", [{"target": "0.70-0.30", "transform": "inversion", "level": 0.75}], None),
    ("H3a", [foreground(k, iou_batchnorm=0.5 - k / 10) for k in (1, 3)], -0.2),
    ("H3a", [foreground(0, iou_batchnorm=0.9), foreground(1, iou_batchnorm=0.4)], -0.1),
    ("H3b", [foreground(k, iou_batchnorm=0.5 - abs(k) / 10) for k in (-2, -1, 1, 3)], -1),
    ("H3c", [mixed(0, 0), mixed(1, 2), mixed(-2, 5), mixed(2, 6)], np.sqrt(0.9)),
    ("H3c", [mixed(0, 4), mixed(-1, 3), mixed(2, 1), mixed(1, 2)], -np.sqrt(0.9)),
    ("H3c", [mixed(level, 3) for level in (0, 1, -2)], 0),
    ("H3c", [mixed(0, 0), mixed(1, 2), mixed(-2, 5), *(mixed(k, 7, target="0.30-0.70") for k in (-2, -1, 1))], 1),
    ("H3c", [mixed(0, 0), mixed(1, 2), mixed(-2, 5), mixed(0, 0, "0.40-0.80"), mixed(1, 2, "0.40-0.80")], 1),
    ("H3c", [mixed(0, 0) | {"iou_prior_8": np.nan}, mixed(1, 2), mixed(-2, 5)], None),
    ("H3c", [{name: mix for name, mix in mixed(k, 1).items() if name != "iou_prior_8"} for k in (0, 1, 2)], None),
    ("H4", [brightness(iou_encoder_only=0.8), foreground(1, iou_batchnorm=0.3, iou_encoder_only=0.45)], 0.75),
    (
        "H5",
        [
            {"transform": "noise", "level": k, "iou_batchnorm": iou, "iou_target_trained": 0.8}
            for k, iou in ((0, 0.72), (0.1, 0.72), (0.2, 0.54))
        ],
        0.75,
    ),
    (
        "H5",
        [
            {"transform": "noise", "level": k, "iou_batchnorm": iou, "iou_target_trained": oracle}
            for k, iou, oracle in ((0, 0.72, 0.8), (0.1, 0.8, 1.0), (0.2, 0.684, 0.8))
        ]
        + [
            {"target": "0.10-0.90", "transform": "noise", "level": 0.2, "iou_batchnorm": 0.1, "iou_target_trained": 0.8}
        ],
        0.95,
    ),
    ("H5", [{"transform": "noise", "level": 0.2, "iou_batchnorm": 0.6}], None),
    (
        "H6a",
        [
            {
                "source": "0.30-0.70",
                "target": "0.10-0.50",
                "iou_before": 0.5,
                "iou_batchnorm": 0.7,
                "iou_target_trained": 0.9,
            },
            {
                "source": "0.10-0.50",
                "target": "0.30-0.70",
                "iou_before": 0.8,
                "iou_batchnorm": 0.84,
                "iou_target_trained": 0.9,
            },
            {"source": "0.10-0.50", "target": "0.20-0.50", "iou_before": 0.1},
            {"source": "0.20-0.50", "target": "0.10-0.50", "iou_before": 0.2},
        ],
        (0.5 - 0.4) / (0.2 - 0.04),
    ),
    (
        "H6b",
        [
            {
                "source": "0.30-0.70",
                "target": "0.70-0.30",
                "iou_before": 0.1,
                "iou_batchnorm": 0.2,
                "iou_target_trained": 0.9,
            },
            {
                "source": "0.70-0.30",
                "target": "0.30-0.70",
                "iou_before": 0.1,
                "iou_batchnorm": 0.6,
                "iou_target_trained": 0.9,
            },
        ],
        (0.6 - 0.1) / 0.8 - (0.2 - 0.1) / 0.8,
    ),
    (
        "H6b",
        [
            flip(iou_before=0.1, iou_batchnorm=0.103),
            flip("0.70-0.30", "0.30-0.70", iou_before=0.1, iou_batchnorm=0.101),
        ],
        0.002 / 0.82,
    ),
    ("H7a", [brightness(iou_mean_only=0.86)], 0.9),
    (
        "H7a",
        [
            brightness(iou_mean_only=0.86),
            brightness(target="0.10-0.90", iou_mean_only=0.5),
            brightness(source="0.30-0.70~slow", iou_mean_only=0.5),
            {"transform": "contrast", "level": 1, "iou_mean_only": 0.5},
        ],
        0.9,
    ),
    ("H7a", [brightness(iou_mean_only=0.86), brightness(0.2, iou_batchnorm=0.6, iou_mean_only=0.51)], 0.37 / 0.5),
    (
        "H7b",
        [
            {"transform": "noise", "level": 0.1, "iou_mean_only": 0.6},
            {"transform": "contrast", "level": 1, "iou_mean_only": 0.8},
            brightness(iou_mean_only=0.1),
        ],
        0.2,
    ),
    ("H7b", [{"transform": "noise", "level": 0.1, "iou_mean_only": 0.6}], 0.3),
    ("H8a", [{"iou_batchnorm": 0.5}, {"source": "0.30-0.70~early", "iou_batchnorm": 0.6}], 0.1),
    ("H8a", [{"source": "0.30-0.70~early", "iou_batchnorm": 0.6}, {"source": "0.30-0.70~both"}], 0.1),
    ("H8a", [{"source": "0.30-0.70~early", "iou_batchnorm": 0.6}, brightness(source="0.30-0.70~early")], 0.1),
    ("H8b", [{"source": "0.30-0.70~both", "iou_batchnorm": 0.7}, {"source": "0.30-0.70~early"}], 0.2),
    ("H8b", [{"source": "0.30-0.70~early"}, {"source": "0.30-0.70~slow", "iou_batchnorm": 0.6}], 0.1),
    ("H8c", [{"iou_batchnorm": 0.49}, {"source": "0.30-0.70~early"}], 0.01),
    (
        "H9a",
        [
            {"transform": "texture", "level": 1, "iou_batchnorm": 0.47},
            {"transform": "texture", "level": 2, "iou_batchnorm": 0.53},
            {"transform": "noise_correlation", "level": 1, "iou_batchnorm": 0.51},
        ],
        0.03,
    ),
    ("H9c", [{"transform": "blur", "level": 1, "iou_batchnorm": 0.51}], 0.01),
    (
        "H12a",
        [
            {"iou_images_1": 0.9, "iou_images_2": 0.7, "iou_images_4": 0.895},
            {"iou_images_1": np.nan, "iou_batchnorm": 0.1},
        ],
        4,
    ),
    ("H12a", [{"iou_images_1": 0.95, "iou_images_2": 0.9}, {"iou_images_1": 0.85, "iou_images_2": 0.9}], 2),
    ("H12a", [{"iou_images_1": 0.7, "iou_images_2": 0.8}], 4),
    ("H12a", [{"iou_images_1": 0.895, "iou_images_few": 0.1}], 1),
    ("H12b", [{"iou_test_batch_1": 0.895, "iou_test_batch_4": 0.9}], 1),
    ("H14a", [{"transform": "contrast", "level": 1, "iou_standardise": 0.7}, brightness(iou_standardise=np.nan)], 0.5),
    (
        "H14b",
        [
            brightness(iou_standardise=0.88),
            foreground(1, iou_standardise=0.8),
            {"transform": "noise", "level": 0.1, "iou_standardise": 1.0},
        ],
        0.08,
    ),
    ("H14b", [brightness(iou_standardise=0.88), foreground(1, iou_standardise=0.8)], 0.08),
    ("H15", [foreground(-2, iou_balanced=0.91), foreground(2, iou_balanced=0.95)], 0.01),
    ("H15", [foreground(-2, iou_balanced=0.8), foreground(2, iou_balanced=0.95)], 0.12),
    (
        "H15",
        [
            {"target": "0.50-0.90"},
            foreground(-2, target="0.50-0.90", iou_balanced=0.86),
            foreground(-2, target="0.50-0.80", iou_balanced=0.1),
            foreground(-2, target="0.70-0.30", iou_balanced=0.1),
            foreground(-2, source="0.30-0.70~slow", iou_balanced=0.1),
            brightness(iou_balanced=0.1),
        ],
        0.06,
    ),
    ("H15", [foreground(-2, iou_balanced=0.9, iou_target_trained=np.nan)], None),
    ("H15", [foreground(-2, target="0.50-0.90", iou_balanced=0.9)], None),
    ("H16", [flip(iou_turned=0.91), {"iou_turned": 0.0}], 0.01),
    ("H16", [flip(iou_turned=0.91), flip(target="0.90-0.50", iou_turned=0.8), inverted(iou_turned=0.9)], 0.12),
    (
        "H16",
        [flip(iou_turned=0.91), flip(target="0.60-0.40", iou_turned=0.1), flip(**foreground(1), iou_turned=0.1)],
        0.01,
    ),
    ("H16", [{"target": "0.50-0.90", "iou_turned": 0.1}], None),
    ("H17", [compound(k, iou_balanced=0.91, iou_turned_balanced=0.1) for k in (1, 2)], 1),
    (
        "H17",
        [
            compound(1, iou_balanced=0.1, iou_turned_balanced=0.95),
            compound(2, iou_balanced=0.905, iou_turned_balanced=0.1),
            compound(3, iou_balanced=0.89, iou_turned_balanced=0.89),
            compound(4, iou_balanced=0.1, iou_turned_balanced=np.nan),
            compound(5, target="0.40-0.60", iou_balanced=0.1, iou_turned_balanced=0.1),
            foreground(1, iou_balanced=0.1, iou_turned_balanced=0.1),
        ],
        0.5,
    ),
    ("H17", [compound(1, iou_balanced=0.9, iou_turned_balanced=0.9, iou_target_trained=np.nan)], None),
    ("H18a", [exposure(iou_image=0.95), exposure(1, iou_image=0.91), spread(iou_image=0.1)], 0.03),
    ("H18a", [exposure(iou_image=0.8), exposure(target="spread", iou_image=1.0)], -0.1),
    ("H18a", [exposure(target="0.70-0.30", iou_image=0.95), spread(iou_image=0.95), {"iou_image": 0.95}], None),
    ("H18b", [spread(iou_image=0.8), spread(2, iou_image=0.7), {"target": "spread", "iou_image": 0.9}], 0.1),
    ("H18b", [spread(iou_image=0.89), exposure(target="spread", iou_image=0.1), exposure(iou_image=0.1)], 0.01),
    ("H18b", [spread(iou_image=np.nan), {"iou_image": 0.1}], None),
    ("H18c", [spread(iou_image_balanced=0.89), exposure(iou_image_balanced=0.1)], 0.01),
    ("H18c", [spread(iou_image_balanced=0.8)], 0.1),
    ("H18c", [exposure(iou_image_balanced=0.9)], None),
    ("H18d", [exposure(target="spread", iou_balanced=0.8, iou_image=0.6, iou_image_balanced=0.95)], 0.05),
    ("H18d", [exposure(target="spread", iou_balanced=0.96, iou_image=0.97, iou_image_balanced=0.95)], -0.02),
    ("H18d", [exposure(iou_balanced=0.8, iou_image=0.6, iou_image_balanced=0.95)], None),
    ("H19a", [remedied(0.91, **foreground(1)), remedied(0.95, **exposure()), remedied(0.905, **flip())], 1),
    (
        "H19a",
        [
            remedied(0.905, **foreground(1)),
            remedied(0.89, **spread()),
            remedied(0.1),
            remedied(0.1, transform="texture", level=1),
            remedied(0.1, transform="noise", level=0.1),
        ],
        0.5,
    ),
    ("H19a", [remedied(0.1), remedied(0.9, transform="noise", level=0.1)], None),
    (
        "H19b",
        [
            remedied(0.9, target="0.50-0.90"),
            remedied(0.85, transform="noise", level=0.1),
            remedied(0.8, target="0.40-0.60"),
            remedied(0.7, transform="noise", level=0.2),
            remedied(0.1, **foreground(1)),
            remedied(0.1, transform="texture", level=1),
            remedied(0.1),
        ],
        1,
    ),
    ("H19b", [remedied(0.9 + k, transform="noise", level=k) for k in (0.01, 0.1, 0.2)], -1),
    ("H19b", [remedied(0.9, **exposure()), remedied(0.9, **foreground(1))], None),
    ("H19c", [remedied(0.8, transform="texture", level=k) for k in (-1, 1)] + [remedied(0.1)], 0.12),
    ("H19c", [remedied(0.91, transform="texture", level=1), remedied(0.1, **foreground(1))], 0.01),
    ("H19c", [remedied(0.1, transform="noise_correlation", level=1)], None),
    # Chance at 0.4 called and 0.35 true: 0.14 / 0.61 = 0.2295.
    ("H20", [started(0.3, 0.9), started(0.25, 0.875), started(0.235, 0.1), started(0.1, 0.0)], 1),
    ("H20", [started(0.3, 0.1), started(0.3, 0.9), started(0.2, 0.1), started(0.2, 0.1)], (1 + 2 / 3) / 2),
    ("H20", [started(0.2, 0.9), started(0.3, 0.9), started(0.3, 0.1), started(0.3, 0.1, target="0.40-0.60")], 0.25),
    ("H20", [started(0.3, 0.9), started(0.3, 0.95)], None),
    ("H21a", [predicted(k, 0.5 + k / 2) for k in (0.1, 0.5, 0.8)] + [{"transform": "gamma", "level": 1}], 1),
    ("H21a", [predicted(k, 1 - k) for k in (0.1, 0.5, 0.8)] + [predicted(0.5, np.nan)], -1),
    ("H21a", [{"transform": "gamma", "level": 1}], None),
    ("H21b", [predicted(0.5, 0.53), predicted(0.9, 0.86), {"transform": "gamma", "level": 1}], np.sqrt(0.00125)),
    ("H21b", [predicted(0.5, 0.8), predicted(0.9, 0.9), predicted(0.9, 0.1, source="0.30-0.70~slow")], np.sqrt(0.045)),
    ("H21b", [{"transform": "gamma", "level": 1}], None),
]
# Of other tables, tested below.
ELSEWHERE = {"H2b", "H9b", "H10", "H11a", "H11b", "H13a", "H13b"}


@pytest.mark.parametrize(("name", "pairs", "expected"), MEASURES)
def test_measures_by_hand(name, pairs, expected):
    row = judge(tables(each_seed(*pairs)), {name: HYPOTHESES[name]}).iloc[0]
    if expected is None:
        assert row["verdict"] == "not tested" and row["seeds"] == 0
    else:
        assert row["value"] == pytest.approx(expected) and row["seeds"] == 3
        assert row["verdict"] in ("supported", "refuted")


def test_refreshes_and_theory_may_be_right_wrong_or_not_tested():
    """H15 to H21, whose bounds were written before any run: each measure can decide either way."""
    verdicts: dict[str, set[str]] = {}
    for name, pairs, _ in MEASURES:
        if int(re.sub(r"\D", "", name)) >= 15:
            verdicts.setdefault(name, set()).add(
                judge(tables(each_seed(*pairs)), {name: HYPOTHESES[name]})["verdict"][0]
            )
    assert len(verdicts) == 13
    assert all(kinds == {"supported", "refuted", "not tested"} for kinds in verdicts.values()), verdicts


def test_every_hypothesis_has_a_case():
    tested = {name for name, _, expected in MEASURES if expected is not None}
    assert tested | ELSEWHERE == HYPOTHESES.keys()


def test_every_hypothesis_names_a_measure_and_every_measure_is_used():
    functions = {name for module in MODULES for name, function in inspect.getmembers(module, inspect.isfunction)
                 if function.__module__ == module.__name__ and not name.startswith("_")}  # fmt: skip
    assert {hypothesis.measure for hypothesis in HYPOTHESES.values()} == functions
    assert {hypothesis.side for hypothesis in HYPOTHESES.values()} == {"at least", "at most"}


@pytest.mark.parametrize(("name", "pairs"), [(name, pairs) for name, pairs, number in MEASURES if number is not None])
def test_what_a_hypothesis_needs_is_what_its_measure_reads(name, pairs):
    """Without it, the verdict is *not tested*; were it not named there, the measure would stop the stage."""
    assert HYPOTHESES[name].needs
    for need in HYPOTHESES[name].needs:
        complete = tables(each_seed(*pairs))
        poor = replace(complete, pairs=complete.pairs.drop(columns=need))
        assert judge(poor, {name: HYPOTHESES[name]}).iloc[0]["verdict"] == "not tested"
        with pytest.raises(KeyError, match=need):
            judge(poor, {name: replace(HYPOTHESES[name], needs=[])})


def test_a_score_that_tells_polarity_is_needed():
    rows, scores = polarities(0.35, True)
    for need in HYPOTHESES["H11a"].needs:
        poor = tables(rows, scores=scores.drop(columns=need))
        assert judge(poor, {"H11a": HYPOTHESES["H11a"]}).iloc[0]["verdict"] == "not tested"
    assert HYPOTHESES["H11a"].needs == HYPOTHESES["H11b"].needs == POLARITY_SCORES
    assert HYPOTHESES["H13b"].needs == ["sliced_gaussian", "sliced_wasserstein"]


def test_a_measure_that_reads_a_column_of_another_name_stops_the_stage(monkeypatch):
    monkeypatch.setattr(outcomes, "affine_error", lambda tables: tables.pairs["batch_norm"])
    with pytest.raises(KeyError, match="batch_norm"):
        judge(tables(each_seed({})), {"H1a": HYPOTHESES["H1a"]})


def measured(name, *arguments, **more):
    return judge(tables(*arguments, **more), {name: HYPOTHESES[name]}).iloc[0]["value"]


def distances(rows, **values):
    """Rows of ``distances.csv``: ``values`` maps "DISTANCE_STATE" to one number for each pair of a seed."""
    found = []
    for column, numbers in values.items():
        distance, _, state = column.rpartition("_")
        for place, row in enumerate(rows):
            number = numbers[place % len(numbers)]
            found.append({key: row[key] for key in KEY} | PLACE | {"distance": distance, "state": state, "null": 0.5})
            found[-1]["value"] = number
    return pd.DataFrame(found)


def test_a_flip_is_told_by_the_best_distance():
    targets = ["0.10-0.90", "0.20-0.80", "0.90-0.10", "0.80-0.20"]  # kept, kept, flipped, flipped
    rows = each_seed(*({"target": target} for target in targets))
    # Of 2 x 2 couples before, three have the flipped pair above and one a tie; after, the flipped pairs lie below.
    before, after = [1, 2, 3, 2], [4, 2, 3, 1]
    assert measured("H2b", rows, distances(rows, wasserstein_before=before)) == pytest.approx(3.5 / 4)
    assert measured("H2b", rows, distances(rows, sliced_after=after)) == pytest.approx(1 - 1 / 4)
    both = distances(rows, wasserstein_before=before, sliced_after=after)
    assert measured("H2b", rows, both) == pytest.approx(3.5 / 4)
    # The source at home tells nothing: it keeps the polarity and would lie nearest.
    home = each_seed({})
    at_home = distances(home, wasserstein_before=[0], sliced_after=[0])
    assert measured("H2b", rows + home, pd.concat([both, at_home])) == pytest.approx(3.5 / 4)
    # Nor does a pair of unknown polarity.
    equal = each_seed({"target": "0.50-0.50"})
    unknown = distances(equal, wasserstein_before=[0], sliced_after=[0])
    assert measured("H2b", rows + equal, pd.concat([both, unknown])) == pytest.approx(3.5 / 4)
    kept = [row for row in rows if row["target"] in targets[:2]]
    assert judge(tables(kept, both), {"H2b": HYPOTHESES["H2b"]}).iloc[0]["verdict"] == "not tested"


def test_the_distance_of_a_changed_structure():
    rows = each_seed({"transform": "texture", "level": 1}, {"transform": "noise", "level": 1})
    found = distances(rows, wasserstein_before=[1, 9], sliced_before=[2, 9], sliced_after=[9, 9])
    assert measured("H9b", rows, found) == pytest.approx(3)


def test_residual_distances_are_chosen_on_other_families():
    ious = [0.1, 0.2, 0.3]
    rows = each_seed(
        *({"transform": name, "level": k, "iou_batchnorm": iou} for name in ("blur", "noise", "gamma")
          for k, iou in enumerate(ious, 1))
    )  # fmt: skip
    # Before, the first two families say the nearer the better, and the third the other way by half. After, all agree.
    found = distances(rows, wasserstein_before=[3, 2, 1, 3, 2, 1, 2, 3, 2.5], wasserstein_after=[3, 2, 1])
    assert measured("H10", rows, found) == pytest.approx(1 - (1 + 1 - 0.5) / 3)
    # Before, the one distance that the other family knows best is wrong here, though another tells both by half.
    two = [row for row in rows if row["transform"] != "gamma"]
    turned = distances(two, wasserstein_after=[1, 2, 3, 3, 2, 1], sliced_after=[1, 3, 2], sliced_before=[1, 2, 3])
    assert measured("H10", two, turned) == pytest.approx(-1 - 1)
    home = each_seed({"iou_batchnorm": 0.9})
    at_home = distances(home, wasserstein_before=[9.0], wasserstein_after=[0.0])
    value = measured("H10", rows + home, pd.concat([found, at_home]))
    assert value == pytest.approx(1 - (1 + 1 - 0.5) / 3)
    one = [row for row in rows if row["transform"] == "blur"]
    assert judge(tables(one, found), {"H10": HYPOTHESES["H10"]}).iloc[0]["verdict"] == "not tested"


def polarities(share, told):
    """Three sources, each with two kept and two flipped targets, and scores that tell a flip where ``told``."""
    rows = each_seed(
        *({"source": source, "target": target, "true_foreground": share}
          for source in ("0.30-0.70", "0.20-0.60", "0.70-0.30")
          for target in ("0.10-0.90", "0.20-0.90", "0.90-0.10", "0.90-0.20"))
    )  # fmt: skip
    bright = [row["source"] == "0.70-0.30" for row in rows]
    flipped = [(row["target"] > "0.50") != above for row, above in zip(rows, bright, strict=True)]
    scores = pd.DataFrame([{key: row[key] for key in KEY} for row in rows]).assign(
        **dict.fromkeys(POLARITY_SCORES, 0.0)
    )
    scores["grey_skewness"] = [-0.1 if told and flip else 0.1 for flip in flipped]
    return rows, scores


@pytest.mark.parametrize(("told", "expected"), [(True, 1), (False, 0.5)])
def test_polarity_is_told_on_unseen_sources(told, expected):
    rows, scores = polarities(0.35, told)
    assert measured("H11a", rows, scores=scores) == expected
    assert np.isnan(measured("H11b", rows, scores=scores))
    rows, scores = polarities(0.52, told)
    assert measured("H11b", rows, scores=scores) == expected


def test_the_score_and_its_threshold_are_chosen_on_other_sources():
    """One score tells two sources and is wrong on the third; another tells the third, and the two by three quarters.

    For the third the others choose the first score, and all is wrong; for each of the two they choose the second.
    """
    rows, scores = polarities(0.35, told=True)
    flipped = scores["grey_skewness"] < 0
    third = scores["source"] == "0.70-0.30"
    first_flip = flipped & ~scores.assign(flip=flipped).duplicated(["source", "seed", "flip"])
    scores["grey_skewness"] = np.where(flipped ^ third, -0.1, 0.1)
    scores["class_distance_after"] = np.where(first_flip | (flipped & third), -0.1, 0.1)
    assert measured("H11a", rows, scores=scores) == pytest.approx((0 + 0.75 + 0.75) / 3)


def test_moments_against_samples_of_plain_networks():
    rows = each_seed({}, {"source": "0.30-0.70~decay"})
    found = distances(rows, sliced_wasserstein_before=[1.0, 9.0], sliced_gaussian_before=[0.8, 9.0])
    assert measured("H13b", rows, found) == pytest.approx(0.2)


def test_gaussian_channels_of_plain_networks():
    rows = [
        {"source": source, "seed": seed, "activation": activation, "unit": unit, "dead": 0.1, "non_gaussian": share}
        for seed in SEEDS
        for source, activation, unit, share in (
            ("0.30-0.70", "before_relu", "position", 0.04),
            ("0.30-0.70", "before_relu", "image", 0.5),
            ("0.30-0.70", "after_relu", "position", 0.9),
            ("0.30-0.70~decay", "before_relu", "position", 0.9),
        )
    ]  # fmt: skip
    assert measured("H13a", each_seed({}), channels=pd.DataFrame(rows)) == pytest.approx(0.86)


@pytest.mark.parametrize(
    ("values", "side", "expected"),
    [
        ([0.99, 0.98, 0.985], "at least", "supported"),
        ([0.5, 0.6, 0.4], "at least", "refuted"),
        ([0.5, 1.3, 1.0], "at least", "undecided"),
        ([0.5, 0.6, 0.4], "at most", "supported"),
        ([0.99, 0.98], "at least", "undecided"),
        ([0.96, 0.96, 0.96], "at least", "supported"),
        ([0.96, 0.96, 0.96], "at most", "refuted"),
        ([], "at least", "not tested"),
    ],
)
def test_verdicts(values, side, expected):
    assert verdict(pd.Series(values, dtype=float), replace(HYPOTHESES["H1a"], side=side, bound=0.95)) == expected


def test_interval_is_students():
    low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert high - 2 == pytest.approx(2 - low) == pytest.approx(4.302653 / np.sqrt(3))


def test_stage_judges_labelled_pairs(tmp_path):
    rows = each_seed(brightness(), brightness(0.2, iou_before=np.nan, iou_batchnorm=0.1))
    pairs = tables(rows).pairs.reindex(columns=[*COLUMNS, "iou_batchnorm"])
    paths = [str(tmp_path / f"{name}.csv") for name in ("pairs", "distances", "channels", "scores")]
    for path, table in zip(paths, (pairs, NO_DISTANCES, EMPTY, NO_SCORES.assign(method=[])), strict=True):
        table.to_csv(path, index=False)
    judged = {name: catalogue("hypotheses")[name] for name in ("H2a", "H1a")}
    hypotheses(*paths, {}, judged, str(tmp_path / "h.csv"))
    written = pd.read_csv(tmp_path / "h.csv")
    assert list(written["hypothesis"]) == ["H2a", "H1a"]
    assert list(written["verdict"]) == ["not tested", "supported"], "without labels there is nothing to judge"


def deciding() -> list[str]:
    """The studies that `make hypotheses` runs."""
    return re.search(r"^QUESTIONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def test_every_hypothesis_is_decided_by_one_study():
    overlays = {name: yaml.safe_load((ROOT / f"workflow/studies/{name}.yaml").read_text()) for name in deciding()}
    judged = [name for overlay in overlays.values() for name in overlay["hypotheses"]["judge"]]
    assert sorted(judged) == sorted(HYPOTHESES)
    for study, overlay in overlays.items():
        assert len(overlay["seeds"]) >= FEWEST_SEEDS, study


def test_the_verdicts_are_collected_with_their_study(tmp_path):
    for number, study in enumerate(deciding()):
        folder = tmp_path / "results" / study / "tables"
        folder.mkdir(parents=True)
        rows = [{"hypothesis": f"H{number}", "claim": "flips, all of them, fail", "verdict": "not tested"}]
        pd.DataFrame(rows).to_csv(folder / "hypotheses.csv", index=False)
    (tmp_path / "results" / "published").mkdir()
    subprocess.run(["make", "-f", ROOT / "Makefile", "verdicts"], cwd=tmp_path, check=True, capture_output=True)
    found = pd.read_csv(tmp_path / "results" / "published" / "hypotheses.csv")
    assert list(found["study"]) == deciding() and list(found) == ["study", "hypothesis", "claim", "verdict"]
    assert set(found["claim"]) == {"flips, all of them, fail"}
