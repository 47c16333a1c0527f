"""Hypotheses: measures by hand, and verdicts that follow from their intervals."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from workflow.lib.hypotheses import FEWEST_SEEDS, HYPOTHESES, Hypothesis, Tables, interval, judge, verdict, wide
from workflow.scripts.hypotheses import hypotheses

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
EMPTY = pd.DataFrame(columns=["source", "seed", "activation", "unit", "dead", "non_gaussian"])
NO_DISTANCES = pd.DataFrame(
    columns=[
        "source",
        "target",
        "transform",
        "level",
        "seed",
        "layer",
        "activation",
        "unit",
        "state",
        "distance",
        "value",
    ]
)


def pair(seed, transform="identity", level=0.0, source="0.30-0.70", target="0.30-0.70", **more):
    row = {
        "source": source, "target": target, "transform": transform, "level": level, "seed": seed, "before": 0.5,
        "batchnorm": 0.9, "own": 0.9, "oracle": 0.92, "true_foreground": 0.35, "clipped_share": 0.0,
        "home": source.partition("~")[0] == target, "variant": source.partition("~")[2],
    }  # fmt: skip
    return row | more


def tables(rows, distances=NO_DISTANCES, channels=EMPTY, irregular=()):
    return Tables(pd.DataFrame(rows), distances, channels, list(irregular))


def each_seed(*pairs):
    return [pair(seed, **one) for seed in SEEDS for one in pairs]


# hypothesis, pairs of every seed, what must be measured
MEASURES = [
    ("H1", [{"transform": "brightness", "level": 0.1, "batchnorm": 0.88}], 0.02),
    ("H1", [{"transform": "contrast", "level": 1, "clipped_share": 0.3}], None),
    ("H2", [{"target": "0.90-0.10", "batchnorm": 0.1}, {"target": "0.70-0.30", "batchnorm": 0.5}], 0.5),
    ("H2", [{"target": "0.10-0.90", "batchnorm": 0.1}], None),
    ("H2", [{"transform": "inversion", "level": 1, "batchnorm": 0.1}], 1),
    ("H2", [{"target": "0.70-0.30", "transform": "inversion", "level": 0.75}], None),
    ("H3", [{"transform": "foreground", "level": k, "batchnorm": 0.5 - abs(k) / 10} for k in (-2, -1, 1, 3)], -1),
    (
        "H4",
        [
            {"transform": "brightness", "level": 0.1, "encoder_only": 0.8},
            {"transform": "foreground", "level": 1, "batchnorm": 0.3, "encoder_only": 0.45},
        ],
        0.75,
    ),
    (
        "H5",
        [{"transform": "noise", "level": k, "batchnorm": iou, "oracle": 0.8} for k, iou in ((0.1, 0.8), (0.2, 0.6))],
        0.75,
    ),
    (
        "H6",
        [
            {"source": "0.30-0.70", "target": "0.10-0.50", "before": 0.5, "batchnorm": 0.7, "oracle": 0.9},
            {"source": "0.10-0.50", "target": "0.30-0.70", "before": 0.8, "batchnorm": 0.84, "oracle": 0.9},
        ],
        (0.5 - 0.4) / (0.2 - 0.04),
    ),
    ("H7", [{"transform": "brightness", "level": 0.1, "mean_only": 0.86}], 0.9),
    ("H8", [{"batchnorm": 0.5}, {"source": "0.30-0.70~early", "batchnorm": 0.6}], 0.1),
    ("H9", [{"transform": "blur", "level": 1, "batchnorm": 0.51}], 0.01),
    ("H12", [{"images_1": 0.7, "images_2": 0.895, "images_4": 0.9}], 2),
    ("H14", [{"transform": "contrast", "level": 1, "standardise": 0.7}], 0.5),
]


@pytest.mark.parametrize(("name", "pairs", "expected"), MEASURES)
def test_measures_by_hand(name, pairs, expected):
    row = judge(tables(each_seed(*pairs), irregular=["early"]), [name]).set_index("hypothesis").loc[name]
    if expected is None:
        assert row["verdict"] == "not tested" and row["seeds"] == 0
    else:
        assert row["value"] == pytest.approx(expected) and row["seeds"] == 3
        assert row["verdict"] in ("supported", "refuted")


def test_every_hypothesis_has_a_case():
    tested = {name for name, _, expected in MEASURES if expected is not None}
    assert tested | {"H10", "H13"} == HYPOTHESES.keys()


def test_residual_distances():
    rows = [pair(seed, target=f"0.{k:02}-0.90", batchnorm=k / 20) for seed in SEEDS for k in range(12)]
    place = {"layer": "encoder1", "activation": "before_relu", "unit": "position", "distance": "wasserstein"}
    before = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]  # swaps of neighbours: 1 - 6 * 12 / (12 * 143)
    values = {"before": before, "after": range(12, 0, -1)}
    distances = [
        {key: row[key] for key in ("source", "target", "transform", "level", "seed")} | place
        | {"state": state, "value": values[state][number % 12]}
        for number, row in enumerate(rows)
        for state in values
    ]  # fmt: skip
    found = judge(tables(rows, distances=pd.DataFrame(distances)), ["H10"]).set_index("hypothesis").loc["H10"]
    assert found["value"] == pytest.approx(6 / 143) and found["verdict"] == "refuted"
    few = [row for row in distances if row["target"] < "0.05"]
    found = judge(tables(rows, distances=pd.DataFrame(few)), ["H10"]).set_index("hypothesis").loc["H10"]
    assert found["verdict"] == "not tested"


def test_gaussian_channels_of_plain_networks():
    rows = [
        {"source": source, "seed": seed, "activation": activation, "unit": "position", "dead": 0, "non_gaussian": share}
        for seed in SEEDS
        for source, activation, share in (
            ("0.30-0.70", "before_relu", 0.04),
            ("0.30-0.70", "after_relu", 1.0),
            ("0.30-0.70~decay", "before_relu", 1.0),
        )
    ]  # fmt: skip
    found = judge(tables(each_seed({}), channels=pd.DataFrame(rows)), ["H13"]).set_index("hypothesis").loc["H13"]
    assert found["value"] == pytest.approx(0.96)


@pytest.mark.parametrize(
    ("values", "side", "expected"),
    [
        ([0.99, 0.98, 0.985], "at least", "supported"),
        ([0.5, 0.6, 0.4], "at least", "refuted"),
        ([0.5, 1.3, 1.0], "at least", "undecided"),
        ([0.5, 0.6, 0.4], "at most", "supported"),
        ([0.99, 0.98], "at least", "undecided"),
        ([], "at least", "not tested"),
    ],
)
def test_verdicts(values, side, expected):
    assert verdict(pd.Series(values, dtype=float), Hypothesis("", "", "", len, side, 0.95)) == expected


def test_interval_is_students():
    low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert high - 2 == pytest.approx(2 - low) == pytest.approx(4.302653 / np.sqrt(3))


def test_stage_joins_the_tables(tmp_path):
    key = {"source": "a", "target": "a", "transform": "identity", "level": 0.0, "seed": 0}
    facts = {"true_foreground": 0.3, "clipped_share": 0.0, "pixel_ceiling": 0.9}
    scores = [key | {"method": method, "iou": iou} | facts for method, iou in (("source", 0.5), ("batchnorm", 0.7))]
    gains = [key | {"method": "batchnorm", "iou_after": 0.7, "iou_target_trained": np.nan}]
    oracles = pd.DataFrame([{"target": "a", "seed": 0, "iou": 0.8}])
    row = wide(pd.DataFrame(scores), pd.DataFrame(gains), oracles).iloc[0]
    assert (row["before"], row["batchnorm"], row["own"], row["home"]) == (0.5, 0.7, 0.8, True)
    paths = [str(tmp_path / f"{name}.csv") for name in "sgdco"]
    for path, table in zip(paths, (scores, gains, NO_DISTANCES, EMPTY, oracles), strict=True):
        pd.DataFrame(table).to_csv(path, index=False)
    hypotheses(*paths[:4], [paths[4]], [], ["H2", "H1"], str(tmp_path / "h.csv"))
    assert list(pd.read_csv(tmp_path / "h.csv")["hypothesis"]) == ["H2", "H1"]


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
