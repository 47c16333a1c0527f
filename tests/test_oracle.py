"""The oracle: each trained network on the test split of its own domain."""

import h5py
import pandas as pd

from scripts.oracle import oracle
from shiftgain.files import store
from shiftgain.network import checkpoint
from tests.conftest import MODEL, delete, write_domain


def test_scores_each_network_at_home(tmp_path, domain_path, network):
    for name in ("a", "b"):
        checkpoint.save(tmp_path / f"{name}.h5", network, MODEL, {})
    models = [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]
    oracle(models, [str(domain_path)] * 2, ["x", "y@noise=0.1"], str(tmp_path / "o.csv"), 0, 0.5, "cpu")
    table = pd.read_csv(tmp_path / "o.csv")
    assert list(table["target"]) == ["x", "y@noise=0.1"] and table["iou"].nunique() == 1
    assert set(table["n_images"]) == {8} and set(table["seed"]) == {0}


def test_sees_the_test_split_alone_and_each_network_its_own(tmp_path, domain_path, network):
    """Networks that call everything and nothing foreground, on domains of much and of none of it."""
    bright = tmp_path / "bright.h5"
    with store.create(bright) as file:
        write_domain(file, {"train": 5, "validation": 6, "adapt": 8, "test": 4}, seed=1)
        file["test/masks"][...] = 1
    for name, logit in (("all", 50.0), ("none", -50.0)):
        network.head.weight.zero_()
        network.head.bias.fill_(logit)
        checkpoint.save(tmp_path / f"{name}.h5", network, MODEL, {"image_presentations": int(logit)})

    def run(*names: str) -> pd.DataFrame:
        models, data = [str(tmp_path / f"{name}.h5") for name in names], [str(domain_path), str(bright)]
        oracle(models, data, ["discs", "bright"], str(tmp_path / "o.csv"), 0, 0.5, "cpu")
        return pd.read_csv(tmp_path / "o.csv")

    table = run("none", "all")
    assert list(table["iou"]) == [0, 1] and list(table["n_target_images"]) == [24, 5]
    assert list(table["image_presentations"]) == [-50, 50]
    assert run("all", "none")["iou"][1] == 0
    for path in (domain_path, bright):
        delete(path, "validation", "adapt", "train/masks")
        with h5py.File(path, "a") as file:
            file["train/images"][...] = 0
    assert run("none", "all").equals(table)
