"""The comparison with the baselines: means over seeds, costs and the pictures, from hand-made tables."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from scripts.compare import COSTS, compare
from scripts.tabulate import gains
from shiftgain.files import store
from shiftgain.report.page import compared
from tests.conftest import write_domain

TEXTS = Path(__file__).parents[1] / "workflow" / "report"
IOU = {
    "source": (0.2, 0.4),
    "batchnorm": (0.5, 0.7),
    "prior_2": (0.4, 0.5),
    "prior_16": (0.3, 0.4),
    "ynet": (0.6, np.nan),
    "target": (0.8, 0.8),
}
RULE = {"target": "target_validation", "ynet": "target_oracle"}


def row(method: str, seed: int, iou: float, target: str = "bright") -> dict:
    status = "diverged: the loss is not finite in epoch 2" if np.isnan(iou) else ""
    key = {"source": "dark", "target": target, "transform": "identity", "level": 0.0, "method": method, "seed": seed}
    origin = {"selection": RULE.get(method, "source_validation"), "n_target_images": 8, "status": status}
    return key | {"iou": iou, "dice": iou} | origin | {"image_presentations": 100 + seed}


@pytest.fixture
def compared_paths(tmp_path):
    """A study of one pair with a baseline, which diverged in one of two seeds, and a pair without."""
    segmentation = pd.DataFrame(
        [row(method, seed, iou) for method, each in IOU.items() for seed, iou in enumerate(each)]
        + [row("source", 0, 0.9, "dark")]
    )
    segmentation.to_csv(tmp_path / "segmentation.csv", index=False)
    gains(segmentation).to_csv(tmp_path / "gains.csv", index=False)
    with store.create(tmp_path / "targets.h5") as targets, store.create(tmp_path / "masks.h5") as masks:
        write_domain(targets.create_group("bright"), {"adapt": 2, "test": 2}, spec={"name": "bright"})
        for method in ("batchnorm", "prior_16", "prior_2", "source", "ynet"):
            store.put(masks, f"bright/{method}", np.zeros((2, 16, 16), np.uint8))
    benchmarks = {
        ("train", "source", "dark", "dark", 0): "10\t00:00:10\t200",
        ("train", "source", "bright", "bright", 0): "12\t00:00:12\t-",
        ("baseline", "ynet", "dark", "bright", 0): "30\t00:00:30\t300",
        ("baseline", "ynet", "dark", "bright", 1): "7\t00:00:07\t100\n50\t00:00:50\t300",
    }
    paths = {}
    for number, (key, measured) in enumerate(benchmarks.items()):
        paths[key] = str(tmp_path / f"{number}.tsv")
        Path(paths[key]).write_text(f"s\th:m:s\tmax_rss\n{measured}\n")
    outputs = [str(tmp_path / name) for name in ("baselines.csv", "costs.csv", "baselines.svg")]
    compare(
        str(tmp_path / "segmentation.csv"), str(tmp_path / "gains.csv"),
        [("ynet", "dark", "bright", seed) for seed in (0, 1)], paths,
        {"dark/seed0/means-identity": str(tmp_path / "masks.h5")},
        {"means-identity": str(tmp_path / "targets.h5")}, *outputs,
    )  # fmt: skip
    return outputs


def test_means_and_spread_over_seeds(compared_paths):
    table = pd.read_csv(compared_paths[0]).set_index("method")
    assert set(table["target"]) == {"bright"}
    assert list(table.index) == ["batchnorm", "prior_2", "prior_16", "source", "target", "ynet"], "by number"
    adapted = table.loc["batchnorm"]
    assert adapted["iou"] == pytest.approx(0.6) and adapted["iou_sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert adapted["gain_iou"] == pytest.approx(0.3) and adapted["gain_sd"] == pytest.approx(0, abs=1e-9)
    assert adapted["gap_closed"] == pytest.approx((0.3 / 0.6 + 0.3 / 0.4) / 2)
    assert adapted["image_presentations"] == 100.5 and adapted["seeds"] == 2
    assert np.isnan(table.loc["source", "gain_iou"]) and np.isnan(table.loc["target", "gap_closed"])


def test_a_divergence_is_named_and_leaves_the_other_seeds(compared_paths):
    row = pd.read_csv(compared_paths[0]).set_index("method").loc["ynet"]
    assert row["seeds"] == 1 and row["iou"] == pytest.approx(0.6) and np.isnan(row["iou_sd"])
    assert row["status"] == "diverged: the loss is not finite in epoch 2" and row["selection"] == "target_oracle"


def test_costs_are_one_row_per_job(compared_paths):
    costs = pd.read_csv(compared_paths[1])
    assert list(costs) == COSTS
    assert list(costs["training_seconds"]) == [30, 50, 12, 10]
    assert costs["peak_mb"].isna().tolist() == [False, False, True, False]


def test_the_figure_shows_every_method_on_one_image(compared_paths):
    text = " ".join(ElementTree.parse(compared_paths[2]).getroot().itertext())
    for words in ("dark → bright", "image", "true mask", "source", "batchnorm", "ynet"):
        assert words in text
    assert re.findall(r"prior[\s_]+(\d+)", text) == ["2", "16"], "in the order of their numbers"


def test_the_page_prints_rule_seeds_and_seconds_and_keeps_the_talk_apart(compared_paths):
    shown = compared(*compared_paths[:2], str(TEXTS / "talk.csv"))
    (rows,) = shown["directions"].values()
    assert list(shown["directions"]) == ["dark → bright"]
    order = [rows.index(f">{name}<") for name in ("source", "batchnorm", "prior_2", "prior_16", "ynet", "target")]
    assert order == sorted(order), "by number, between the network as it is and the oracle"
    for words in (
        "target_oracle",
        "source_validation",
        "target_validation",
        "diverged: the loss is not finite in epoch 2",
        "training seconds",
    ):
        assert words in rows
    # The source's ten seconds, for adaptation too; of the baseline the mean; of the oracle its own.
    assert [rows.count(f"<td>{seconds}</td>") for seconds in ("10.000", "40.000", "12.000")] == [4, 1, 1]
    assert rows.index("<td>source</td>") < rows.index("<td>ynet</td>") < rows.index("<td>target</td>")
    assert "0.736" in shown["talk"] and "0.736" not in rows
