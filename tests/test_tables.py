"""Tables follow their contract, workflow/schemas/tables.schema.yaml; those of a run are checked in test_workflow.py."""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/tables.schema.yaml").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PUBLISHED = sorted((ROOT / "results/published").glob("*.csv"))
# Tables of `make gpu` are called by it; its curve of a training is no table of a study.
OF_GPU = {"gpu_talk": "gains", "gpu_distances": "distances"}
# Tables of gains that are called by what they show.
OF_REMEDIES = {"remedies": "gains", "remedies_real": "gains"}


def faults(name: str, path: Path) -> Iterator[str]:
    """One line for each cell or column of the table ``name`` at ``path`` that breaks its contract."""
    table = pd.read_csv(path)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    for error in VALIDATOR.iter_errors({name: rows}):
        yield f"{path.name}, {'.'.join(map(str, error.path))}: {error.message}"


def undescribed(name: str, path: Path) -> list[str]:
    """Columns of the table ``name`` at ``path`` of which the contract does not say what they hold."""
    row = SCHEMA["properties"][name]["items"]
    if "additionalProperties" in row:
        return []
    patterns = row.get("patternProperties", {})
    columns = set(pd.read_csv(path, nrows=0)) - row["properties"].keys()
    return sorted(column for column in columns if not any(re.search(pattern, column) for pattern in patterns))


def test_the_contract_is_a_schema_with_words():
    Draft202012Validator.check_schema(SCHEMA)
    for name, table in SCHEMA["properties"].items():
        assert table["description"], name
        assert set(table["items"]["required"]) <= set(table["items"]["properties"]), name


@pytest.mark.parametrize(
    "path", [path for path in PUBLISHED if path.stem != "gpu_talk_curve"], ids=lambda path: path.stem
)
def test_published_tables_follow_the_contract(path):
    name = (OF_GPU | OF_REMEDIES).get(path.stem, path.stem.partition("_")[0])
    assert not list(faults(name, path)) and not undescribed(name, path)


def test_a_column_that_the_contract_does_not_describe_is_named(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("source,iou_turned,aside\na,0.5,1\n")
    assert undescribed("pairs", path) == ["aside"]


@pytest.mark.parametrize(
    ("column", "value"), [("iou_after", 1.1), ("method", "source"), ("seed", -1), ("seed", 0.5), ("target", None)]
)
def test_a_cell_that_breaks_the_contract_is_named(tmp_path, column, value):
    table = pd.read_csv(ROOT / "results/published/gains_real.csv").astype(object)
    table.loc[2, column] = value
    table.to_csv(tmp_path / "gains.csv", index=False)
    (fault, *_) = faults("gains", tmp_path / "gains.csv")
    assert f"gains.2.{column}" in fault


def test_a_renamed_column_breaks_the_contract(tmp_path):
    table = pd.read_csv(ROOT / "results/published/gains_real.csv").rename(columns={"gain_iou": "improvement"})
    table.to_csv(tmp_path / "gains.csv", index=False)
    assert "'gain_iou' is a required property" in next(faults("gains", tmp_path / "gains.csv"))
