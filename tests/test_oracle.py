"""The oracle: each trained network on the test split of its own domain."""

import pandas as pd

from tests.conftest import MODEL
from workflow.lib import checkpoint
from workflow.scripts.oracle import oracle


def test_scores_each_network_at_home(tmp_path, domain_path, network):
    for name in ("a", "b"):
        checkpoint.save(tmp_path / f"{name}.h5", network, MODEL, {})
    models = [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]
    oracle(models, [str(domain_path)] * 2, ["x", "y@noise=0.1"], str(tmp_path / "o.csv"), 0, 0.5, "cpu")
    table = pd.read_csv(tmp_path / "o.csv")
    assert list(table["target"]) == ["x", "y@noise=0.1"] and table["iou"].nunique() == 1
    assert set(table["n_images"]) == {8} and set(table["seed"]) == {0}
