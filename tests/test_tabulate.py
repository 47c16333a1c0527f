"""The tables of the results contract, from hand-made rows."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from scripts.tabulate import GAINS, SEGMENTATION, gains, tabulate, with_oracles
from shiftgain.findings.conditions import (
    BEST_PER_PAIR,
    CONDITIONS,
    TARGET_TRAINED,
    UNADAPTED,
    by_condition,
    conditions,
    remedy_scores,
)
from shiftgain.findings.pairs import COLUMNS, near_half, read_pairs
from shiftgain.findings.relations import with_relations
from shiftgain.findings.theory import Classes, predicted_iou
from shiftgain.study.entries import domain_spec
from shiftgain.study.names import KEY, domain_of, full_names

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())
SPECS = {
    "a": {"name": "a", "transform": "identity", "level": 0.0, "means": [0.3, 0.7]},
    "b": {"name": "b", "transform": "identity", "level": 0.0, "means": [0.6, 0.5]},
    "b@noise=0.1": {"name": "b", "transform": "noise", "level": 0.1, "means": [0.6, 0.5]},
    "c": {"name": "c", "transform": "identity", "level": 0.0, "path": "c.h5"},
}
SCORES = {
    "n_images": 4,
    "dice": 0.5,
    "iou_mean": 0.5,
    "dice_mean": 0.5,
    "predicted_foreground": 0.3,
    "true_foreground": 0.3,
}


def row(target, transform, level, method, iou, source="a"):
    key = {
        "source": source,
        "target": target,
        "transform": transform,
        "level": level,
        "method": method,
        "seed": 0,
    }
    return key | {"iou": iou} | SCORES | {"clipped_share": 0.01, "pixel_ceiling": 0.9}


@pytest.fixture
def tables(tmp_path):
    evaluated = [
        row("b", "identity", 0.0, "source", 0.2),
        row("b", "identity", 0.0, "batchnorm", 0.6),
        row("b", "noise", 0.1, "source", 0.7),
        row("b", "noise", 0.1, "batchnorm", 0.5),
        row("c", "identity", 0.0, "source", np.nan),
        row("c", "identity", 0.0, "batchnorm", np.nan),
        row("c", "identity", 0.0, "tent", np.nan),
        row("a", "identity", 0.0, "source", 0.8),
        row("a", "identity", 0.0, "prior_2", 0.8),
        row("a", "identity", 0.0, "prior_16", 0.8),
    ]
    oracles = [
        {"target": "a", "seed": 0, "iou": 0.9} | SCORES,
        {"target": "b", "seed": 0, "iou": 0.8} | SCORES,
        {"target": "b@noise=0.1", "seed": 0, "iou": 0.705} | SCORES,
    ]
    distance = {
        "source": "a",
        "target": "b",
        "transform": "noise",
        "level": 0.1,
        "seed": 0,
        "layer": "bottleneck",
    }
    distance |= {
        "activation": "before_relu",
        "unit": "position",
        "state": "before",
        "distance": "wasserstein",
        "value": 1.0,
        "null": 0.1,
    }
    paths = {
        name: str(tmp_path / f"{name}.csv")
        for name in ("first", "again", "oracle", "far", "shares", "scored", "s", "g", "p", "n", "d", "c", "l", "r")
    }
    pd.DataFrame(evaluated[::-1]).to_csv(paths["first"], index=False)
    pd.DataFrame(evaluated[:2]).to_csv(paths["again"], index=False)
    pd.DataFrame(oracles).to_csv(paths["oracle"], index=False)
    pd.DataFrame([distance]).to_csv(paths["far"], index=False)
    place = {"source": "a", "seed": 0, "layer": "bottleneck", "activation": "before_relu", "unit": "position"}
    pd.DataFrame([place | {"dead": 0.1, "non_gaussian": 0.2}] * 2).to_csv(paths["shares"], index=False)
    scored = [
        {"source": "a", "target": name, "transform": "identity", "level": 0.0, "seed": 0, "method": "source"}
        for name in "cb"
    ]
    pd.DataFrame(scored).assign(own_iou=0.9).to_csv(paths["scored"], index=False)
    tabulate(
        [paths["first"], paths["again"]],
        [paths["oracle"]],
        [paths["far"]],
        [paths["shares"]] * 2,
        [paths["scored"]] * 2,
        SPECS,
        *(paths[name] for name in "sgpndclr"),
    )
    return {name: read_pairs(path) if name == "p" else pd.read_csv(path) for name, path in paths.items()}


def test_columns_are_those_of_the_contract(tables):
    assert len(tables["c"]) == 1
    assert list(tables["s"]) == SEGMENTATION and list(tables["g"]) == GAINS
    assert list(tables["p"]) == [*COLUMNS, "iou_batchnorm", "iou_prior_2", "iou_prior_16", "iou_tent"]
    assert list(tables["d"]) == [
        "source", "target", "transform", "level", "seed", "layer", "activation", "unit", "state", "distance",
        "value", "null",
    ]  # fmt: skip


def test_rows_are_sorted_and_single(tables):
    segmentation = tables["s"]
    keys = ["source", "target", "transform", "level", "seed", "method"]
    assert not segmentation.duplicated(keys).any()
    assert segmentation[KEY].equals(segmentation[KEY].sort_values(KEY, ignore_index=True))
    for table in (segmentation, tables["g"]):
        methods = list(table.loc[table["target"] == "a", "method"])
        assert methods.index("prior_16") == methods.index("prior_2") + 1, "by number"
    labelled = segmentation[segmentation["target"] == "b"]
    assert list(labelled["method"]) == ["batchnorm", "source", "target"] * 2
    assert list(tables["n"]["network"]) == ["a", "b", "b@noise=0.1"]
    assert tables["p"][KEY].equals(tables["p"][KEY].sort_values(KEY, ignore_index=True))
    assert not tables["p"].duplicated(KEY).any()


def test_scores_without_labels_are_joined_and_sorted(tables):
    assert list(tables["l"]["target"]) == ["b", "c"]


def test_gains_and_gaps(tables):
    gains = tables["g"].query("method == 'batchnorm'").set_index(["target", "transform"])
    assert gains.loc[("b", "identity"), "gain_iou"].item() == pytest.approx(0.4)
    assert gains.loc[("b", "identity"), "gap_closed"].item() == pytest.approx(0.4 / 0.6)
    assert gains.loc[("b", "noise"), "iou_target_trained"].item() == 0.705
    assert np.isnan(gains.loc[("b", "noise"), "gap_closed"].item()), "a gap below 0.01 is none"
    assert np.isnan(gains.loc[("c", "identity"), "gain_iou"].item())


def test_each_seed_has_the_oracle_of_its_seed():
    rows = [
        row("b", "identity", 0.0, method, iou) | {"seed": seed}
        for seed, before in ((0, 0.2), (1, 0.3))
        for method, iou in (("source", before), ("batchnorm", 0.6))
    ]
    networks = [{"network": "b", "seed": seed, "iou": iou} | SCORES for seed, iou in ((1, 0.9), (0, 0.8))]
    table = gains(with_oracles(pd.DataFrame(rows), pd.DataFrame(networks))).set_index("seed")
    assert table["iou_before"].to_dict() == {0: 0.2, 1: 0.3}
    assert table["iou_target_trained"].to_dict() == {0: 0.8, 1: 0.9}
    assert table["gap_closed"].to_dict() == pytest.approx({0: 0.4 / 0.6, 1: 0.3 / 0.6})


def test_a_pair_has_all_that_is_known_of_it_in_one_row(tables):
    pairs = tables["p"].set_index("name")
    assert list(pairs.index) == ["a", "b", "b@noise=0.1", "c"]
    noisy = pairs.loc["b@noise=0.1"]
    expected = {"iou_before": 0.7, "iou_after": 0.5, "gain_iou": -0.2, "iou_batchnorm": 0.5, "own_iou": 0.9,
                "iou_target_trained": 0.705, "true_foreground": 0.3, "foreground_before": 0.3, "foreground_after": 0.3,
                "clipped_share": 0.01, "pixel_ceiling": 0.9}  # fmt: skip
    assert noisy[list(expected)].astype(float).to_dict() == pytest.approx(expected)
    assert noisy["method"] == "batchnorm" and noisy["polarity"] == "flipped" and pairs.loc["c", "polarity"] == ""
    assert pairs.loc["a", "iou_before"] == 0.8 and np.isnan(pairs.loc["a", "gain_iou"]), (
        "a pair without the main method"
    )
    assert pairs["home"].to_dict() == {"a": True, "b": False, "b@noise=0.1": False, "c": False}


# source, target, transform, level; of the config: sparse has the means of 0.30-0.70, equal has equal ones.
RELATIONS = [
    (("0.30-0.70", "0.30-0.70", "identity", 0.0), ("home", "kept", False)),
    (("0.30-0.70~wide", "0.30-0.70", "identity", 0.0), ("home", "kept", False)),
    (("0.30-0.70~wide", "0.30-0.70", "noise", 0.1), ("shifted", "kept", False)),
    (("0.30-0.70@noise=0.1", "0.30-0.70", "noise", 0.1), ("home", "kept", False)),
    (("0.30-0.70@noise=0.1", "0.30-0.70", "identity", 0.0), ("shifted", "kept", False)),
    (("0.30-0.70", "0.30-0.70", "inversion", 0.75), ("shifted", "flipped", False)),
    (("0.30-0.70", "0.30-0.70", "inversion", 0.25), ("shifted", "kept", False)),
    (("0.30-0.70", "0.50-0.90", "identity", 0.0), ("", "kept", True)),
    (("0.30-0.70", "0.50-0.90", "noise", 0.1), ("", "kept", False)),
    (("0.30-0.70", "0.40-0.60", "identity", 0.0), ("", "kept", False)),
    (("0.30-0.70", "0.70-0.30", "inversion", 1.0), ("", "kept", False)),
    (("0.30-0.70", "0.30-0.70", "compound", 1.0), ("shifted", "flipped", False)),
    (("0.30-0.70", "0.70-0.30", "compound", 1.0), ("", "kept", False)),
    (("0.30-0.70", "0.70-0.30", "compound", 3.0), ("", "flipped", False)),
    (("0.70-0.30", "sparse", "identity", 0.0), ("", "flipped", False)),
    (("sparse", "0.50-0.90", "identity", 0.0), ("", "kept", False)),
    (("0.70-0.30", "equal", "identity", 0.0), ("", "", False)),
    (("0.70-0.30", "mine", "identity", 0.0), ("", "", False)),
]


@pytest.mark.parametrize(("pair", "expected"), RELATIONS)
def test_relations_follow_from_names_and_parameters(pair, expected):
    named = {"sparse": {"means": [0.3, 0.7], "foreground": 0.1}, "equal": {"means": [0.5, 0.5]}}
    config = CONFIG | {"domains": named | {"mine": {"path": "mine.h5"}}}
    table = pd.DataFrame([dict(zip(KEY, (*pair, 0), strict=True))])
    specs = {name: domain_spec(config, name) for name in (*full_names(table), domain_of(pair[0]))}
    row = with_relations(table, specs).iloc[0]
    place = "home" if row["home"] else "shifted" if row["shifted"] else ""
    assert (place, row["polarity"], row["brightness"]) == expected and not (row["home"] and row["shifted"])


def test_towards_the_mask_is_by_the_mean_of_both_means():
    pairs = [("0.30-0.70", "0.10-0.50"), ("0.10-0.50", "0.30-0.70"), ("0.30-0.70", "0.90-0.30")]
    specs = {name: domain_spec(CONFIG, name) for pair in pairs for name in pair}
    rows = [dict(zip(KEY, (*pair, "identity", 0.0, 0), strict=True)) for pair in pairs]
    # The mask of all three sources is their dark side; the targets are darker by 0.2, and brighter by 0.2 and 0.1.
    assert list(with_relations(pd.DataFrame(rows), specs)["towards_mask"]) == pytest.approx([0.2, -0.2, -0.1])


def test_theory_is_of_source_and_target_as_they_are_drawn():
    pairs = [
        ("0.30-0.70", "0.50-0.90", "identity", 0.0),
        ("0.30-0.70", "0.30-0.70", "noise", 0.138564),  # noise of 0.08 becomes one of 0.16
        ("0.30-0.70", "0.70-0.30", "compound", 3.0),
        ("0.30-0.70~wide", "0.30-0.70", "foreground", -2.0),
        ("0.30-0.70", "0.30-0.70", "gamma", 1.0),
        ("0.30-0.70", "0.30-0.70", "exposure", 0.5),
        ("0.30-0.70", "0.30-0.70", "share_spread", 2.0),
    ]
    table = pd.DataFrame([dict(zip(KEY, (*pair, 0), strict=True)) for pair in pairs])
    specs = {name: domain_spec(CONFIG, name) for name in [*full_names(table), "0.30-0.70"]}
    found = with_relations(table, specs)
    assert list(found["contrast_change"][:4]) == pytest.approx([0, -1, 0, 0], abs=1e-5)
    home, target = (Classes(means, (0.02, 0.02), 0.35) for means in ((0.3, 0.7), (0.5, 0.9)))
    assert tuple(found.loc[0, ["theory_before", "theory_after"]]) == predicted_iou(home, target)
    assert found.loc[2, "theory_after"] < 0.1 < 0.9 < found.loc[0, "theory_after"]
    sparse = predicted_iou(home, home._replace(share=1 / (1 + math.exp(2) * 0.65 / 0.35)))
    assert tuple(found.loc[3, ["theory_before", "theory_after"]]) == pytest.approx(sparse)
    assert list(found["contrast_change"].isna()) == [False] * 4 + [True, False, False]
    assert list(found["theory_after"].isna()) == list(found["theory_before"].isna()) == [False] * 4 + [True] * 3
    assert list(found["share_spread"]) == [0, 0, 0, 0, 0, 0, 2]


# source, target, transform, level -> the condition that the pair breaks.
BROKEN = [
    (("0.30-0.70", "0.30-0.70", "identity", 0.0), "home"),
    (("0.30-0.70", "0.50-0.90", "identity", 0.0), "brightness or contrast"),
    (("0.30-0.70", "0.30-0.70", "contrast", -1.0), "brightness or contrast"),
    (("0.30-0.70", "0.50-0.90", "foreground", -1.0), "share"),
    (("sparse", "0.30-0.70", "identity", 0.0), "share"),
    (("sparse", "0.30-0.70", "foreground", -1.58), "brightness or contrast"),  # logit 0.35 - logit 0.1 = 1.578
    (("0.30-0.70", "0.30-0.70", "compound", 3.0), "share"),
    (("0.30-0.70", "0.70-0.30", "identity", 0.0), "polarity"),
    (("0.30-0.70", "0.70-0.30", "foreground", 1.0), "share + polarity"),
    (("0.30-0.70", "0.70-0.30", "compound", 3.0), "share + polarity"),
    (("0.30-0.70", "0.30-0.70", "exposure", 0.5), "exposure between images"),
    (("0.30-0.70", "0.30-0.70", "emptied", 0.5), "images without objects"),
    (("0.30-0.70", "0.30-0.70", "share_spread", 0.5), "share between images"),
    (("0.30-0.70", "spread", "exposure", 0.5), "exposure between images + share between images"),
    (("0.30-0.70", "0.30-0.70", "noise", 0.1), "contrast to noise"),
    (("0.30-0.70", "0.60-0.50", "identity", 0.0), "polarity + contrast to noise"),
    (("0.30-0.70", "0.30-0.70", "texture", -1.0), "texture, or another transform"),
    (("mine", "mine", "identity", 0.0), "real, home"),
    (("mine", "mine", "noise", 0.1), "real, own images transformed"),
    (("mine", "0.30-0.70", "foreground", 1.0), "real, another domain"),
]


def pairs_of(keys) -> pd.DataFrame:
    """Pairs of seed 0 with their relations, over the domains of :data:`BROKEN`."""
    sparse, spread = {"means": [0.3, 0.7], "foreground": 0.1}, {"means": [0.3, 0.7], "foreground_spread": 1}
    config = CONFIG | {"domains": {"sparse": sparse, "spread": spread, "mine": {"path": "mine.h5"}}}
    table = pd.DataFrame([dict(zip(KEY, (*key, 0), strict=True)) for key in keys])
    return with_relations(table, {name: domain_spec(config, name) for name in {*full_names(table), *table["source"]}})


def test_every_pair_breaks_what_its_domains_say():
    keys, expected = zip(*BROKEN, strict=True)
    found = conditions(pairs_of(keys))
    assert list(found) == list(expected)
    assert {part for name in expected for part in name.split(" + ")} >= set(CONDITIONS)


def test_conditions_are_ordered_by_how_many_are_broken():
    names = ["share + polarity", "real, home", "texture, or another transform", "home", "share", "share"]
    assert by_condition(names) == ["home", "share", "texture, or another transform", "share + polarity", "real, home"]


def test_remedies_are_scored_on_the_pairs_of_each_condition_that_tried_them():
    share = ("0.30-0.70", "0.30-0.70", "foreground")
    pairs = pairs_of([(*share, -1.0), (*share, 1.0), (*share, 2.0), ("0.30-0.70", "0.70-0.30", "identity", 0.0)])
    nan = np.nan
    pairs = pairs.assign(
        iou_before=[0.2, 0.7, 0.0, 0.1], iou_batchnorm=[0.4, 0.5, 0.0, 0.0], iou_balanced=[0.9, 0.6, nan, nan],
        iou_turned=[nan, 0.1, nan, 0.8], iou_target_trained=[0.95, nan, nan, nan], pixel_ceiling=0.85,
    )  # fmt: skip
    table = remedy_scores(pairs, ["balanced", "turned", "image"])
    rows = table.set_index(["condition", "method"])
    assert list(table["condition"].unique()) == ["share", "polarity"]
    expected = {UNADAPTED: (0.45, 2), "batchnorm": (0.45, 2), "balanced": (0.75, 2), "turned": (0.1, 1)}
    expected |= {BEST_PER_PAIR: (0.8, 2), TARGET_TRAINED: (0.95, 1), "pixel ceiling": (0.85, 2)}
    found = rows.loc["share"]
    assert found["iou"].to_dict() == pytest.approx({name: iou for name, (iou, _) in expected.items()})
    assert found["n"].to_dict() == {name: n for name, (_, n) in expected.items()}
    assert set(rows.loc["share", "pairs"]) == {2}, "the pair that tried no remedy is none of them"
    assert rows.loc[("polarity", BEST_PER_PAIR), "iou"] == 0.8 and rows.loc[("polarity", "balanced"), "n"] == 0
    assert remedy_scores(pairs, ["image"]).empty


def test_near_half_is_one_definition():
    assert list(near_half(pd.Series([0.44, 0.46, 0.5, 0.54, 0.56]))) == [False, True, True, True, False]


def test_names_that_look_like_numbers_stay_text(tmp_path):
    row = dict.fromkeys(COLUMNS, 0.5) | {"source": "1e3", "target": "1e3", "name": "1e3", "polarity": "", "variant": ""}
    pd.DataFrame([row]).to_csv(tmp_path / "pairs.csv", index=False)
    pairs = read_pairs(str(tmp_path / "pairs.csv"))
    assert list(pairs[["source", "target", "name", "polarity", "variant"]].iloc[0]) == ["1e3"] * 3 + ["", ""]
