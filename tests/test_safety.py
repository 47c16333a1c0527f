"""Data and configs of others: nothing in them is executed, and nothing outside the results folder is written."""

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import checkpoint
from tests.test_faults import TINY
from tests.test_workflow import ROOT, copy, snakemake

SOURCES = sorted([*(ROOT / "workflow/shiftgain").rglob("*.py"), *(ROOT / "workflow/scripts").glob("*.py")])
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "subprocess", "code", "runpy"}
# joblib unpickles files too: of it, only what hands a process of this run what this run has made.
PROCESSES = {"joblib": {"Parallel", "delayed"}}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
METHODS = {"system", "popen", "read_pickle", "to_pickle", "unsafe_load", "full_load"}
QUALIFIED = {"torch.save", "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"}
# Read tensors and arrays alone, by this option.
GUARDED = {"np.load": "allow_pickle=False", "torch.load": "weights_only=True"}
# (module, what it may use): the network of a run is handed over as a file of tensors, and git is asked for the commit.
ALLOWED = {("handover", "torch.save"), ("commit", "subprocess")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_source_unpickles_or_starts_a_shell(path):
    tree = ast.parse(path.read_text())
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in GUARDED:
            assert node in called, "by another name it would escape this test"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                own = (node.module or "").startswith("shiftgain.")
                if own or set(names) <= PROCESSES.get(node.module or "", set()):
                    continue
                names.append(node.module or "")
            used = {name.split(".")[0] for name in names} & MODULES
            assert {(path.stem, name) for name in used} <= ALLOWED, ast.unparse(node)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in GUARDED or ast.unparse(node).endswith(f"{GUARDED[name]})"), ast.unparse(node)
            assert name not in BUILT_IN and name.split(".")[-1] not in METHODS, name
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in QUALIFIED or (path.stem, ast.unparse(node)) in ALLOWED, ast.unparse(node)
        if isinstance(node, ast.keyword):
            assert node.arg != "shell" and not (node.arg == "allow_pickle" and ast.unparse(node.value) != "False")


def test_no_rule_starts_a_shell():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert not {"shell:", "run:"} & set(lines) and "shell(" not in path.read_text(), path.name


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["torch", "pickle", "numpy"])
def test_a_malicious_checkpoint_executes_nothing(kind, tmp_path):
    path, trap = tmp_path / "model.h5", Trap(tmp_path / "sprung")
    with path.open("wb") as file:
        if kind == "torch":
            torch.save({"weights": trap}, file)
        elif kind == "pickle":
            pickle.dump(trap, file)
        else:
            np.save(file, np.array([trap], dtype=object), allow_pickle=True)
    for load in (lambda: checkpoint.load(path, torch.device("cpu")), lambda: store.read(path).__enter__()):
        with pytest.raises(StudyError, match=r"model\.h5: damaged or not an HDF5 file"):
            load()
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_inside_hdf5_stays_bytes(tmp_path):
    with store.create(tmp_path / "model.h5") as file:
        store.put_json(file, "model", {"channels": 1, "width": 2, "depth": 1})
        file["weights/head.weight"] = np.void(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises((StudyError, TypeError)):
        checkpoint.load(tmp_path / "model.h5", torch.device("cpu"))
    assert not (tmp_path / "sprung").exists()


NASTY = "a b; touch sprung; $(touch sprung) `touch sprung` {x} 'q' \"r\" & | ü.h5"


def files_of(folder: Path) -> set[str]:
    ignored = {".snakemake", "__pycache__"}
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in paths if not ignored & set(path.parts)}


@pytest.mark.slow
def test_a_path_is_never_read_by_a_shell_and_only_results_are_written(tmp_path, monkeypatch):
    """Started as from a cell of Jupyter, whose backend for figures is not there for jobs."""
    monkeypatch.setenv("MPLBACKEND", "module://of_a_notebook.inline")
    checkout = copy(tmp_path)
    with store.create(checkout / NASTY) as file:
        file["images"] = np.random.default_rng(0).integers(0, 255, (20, 16, 16), np.uint8)
        file["masks"] = (file["images"][...] > 127).astype(np.uint8)
    before = files_of(tmp_path)
    overlay = TINY | {
        "results": "results/odd",
        "domains": {"mine": {"path": NASTY}},
        "pairs": [
            TINY["pairs"][0] | {"sources": ["0.30-0.70", "mine"], "targets": ["mine"], "transforms": {"identity": [0]}}
        ],
        "oracles": [],
        "report": {"title": "<script>alert('$(touch sprung)')</script> {HeLa}"},
    }
    run = snakemake(checkout, overlay=overlay)
    assert run.returncode == 0, run.stderr
    written = files_of(tmp_path) - before - {"checkout/overlay.yaml", "checkout/results"}
    assert written and all(name.startswith("checkout/results/odd") for name in written), written
    # A pair of real domains is what the shipped predictor is judged on.
    assert "synthetic_to_real" in (checkout / "results/odd/tables/predictors.csv").read_text()
    page = (checkout / "results/odd/report.html").read_text()
    assert "<script>alert(" not in page and "&lt;script&gt;alert(" in page and "{HeLa}" in page


def test_a_config_cannot_name_an_object_to_build(tmp_path):
    """YAML tags that make PyYAML call a function are refused."""
    program = f"!!python/object/apply:os.system ['touch {tmp_path}/sprung']"
    (tmp_path / "overlay.yaml").write_text(f"report: {{title: {program}}}\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--configfile", "config.yaml"]
    run = subprocess.run(
        [*command, str(tmp_path / "overlay.yaml")], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert run.returncode != 0 and not (tmp_path / "sprung").exists()
