"""The tables of the results contract, from hand-made rows."""

import numpy as np
import pandas as pd
import pytest

from scripts.tabulate import GAINS, SEGMENTATION, gains, tabulate, with_oracles

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
    ]
    oracles = [
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
        for name in ("first", "again", "oracle", "far", "shares", "scored", "s", "g", "d", "c", "l")
    }
    pd.DataFrame(evaluated[::-1]).to_csv(paths["first"], index=False)
    pd.DataFrame(evaluated[:2]).to_csv(paths["again"], index=False)
    pd.DataFrame(oracles).to_csv(paths["oracle"], index=False)
    pd.DataFrame([distance]).to_csv(paths["far"], index=False)
    place = {"source": "a", "seed": 0, "layer": "bottleneck", "activation": "before_relu", "unit": "position"}
    pd.DataFrame([place | {"dead": 0.1, "non_gaussian": 0.2}] * 2).to_csv(paths["shares"], index=False)
    scored = [{"source": "a", "target": name, "transform": "identity", "level": 0.0, "seed": 0} for name in "cb"]
    pd.DataFrame(scored).assign(own_iou=0.9).to_csv(paths["scored"], index=False)
    tabulate(
        [paths["first"], paths["again"]],
        [paths["oracle"]],
        [paths["far"]],
        [paths["shares"]] * 2,
        [paths["scored"]] * 2,
        *(paths[name] for name in "sgdcl"),
    )
    return [pd.read_csv(paths[name]) for name in "sgdcl"]


def test_columns_are_those_of_the_contract(tables):
    segmentation, gains, distances, channels, _ = tables
    assert len(channels) == 1
    assert list(segmentation) == SEGMENTATION and list(gains) == GAINS
    assert list(distances) == [
        "source", "target", "transform", "level", "seed", "layer", "activation", "unit", "state", "distance",
        "value", "null",
    ]  # fmt: skip


def test_rows_are_sorted_and_single(tables):
    segmentation = tables[0]
    keys = ["source", "target", "transform", "level", "seed", "method"]
    assert not segmentation.duplicated(keys).any()
    assert segmentation[keys].equals(segmentation[keys].sort_values(keys, ignore_index=True))
    assert list(segmentation["method"]) == ["batchnorm", "source", "target"] * 2 + ["batchnorm", "source"]


def test_scores_without_labels_are_joined_and_sorted(tables):
    assert list(tables[4]["target"]) == ["b", "c"]


def test_gains_and_gaps(tables):
    gains = tables[1].set_index(["target", "transform"])
    assert set(gains["method"]) == {"batchnorm"}
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
    oracles = [{"target": "b", "seed": seed, "iou": iou} | SCORES for seed, iou in ((1, 0.9), (0, 0.8))]
    table = gains(with_oracles(pd.DataFrame(rows), pd.DataFrame(oracles))).set_index("seed")
    assert table["iou_before"].to_dict() == {0: 0.2, 1: 0.3}
    assert table["iou_target_trained"].to_dict() == {0: 0.8, 1: 0.9}
    assert table["gap_closed"].to_dict() == pytest.approx({0: 0.4 / 0.6, 1: 0.3 / 0.6})
