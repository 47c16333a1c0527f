"""``--use-conda`` through Snakemake's own code path, with a stand-in for conda.

The stand-in solves nothing: it accepts an environment whose versions are those installed here, and its ``python`` is
this one, which notes what it was started for. So this shows that every environment file is read, created and activated
for its rules, and that jobs run in it; not that conda-forge has those packages, nor that they solve together.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.test_faults import TINY
from tests.test_surroundings import ROOT, environments
from tests.test_workflow import TABLES, copy

CONDA = """#!{python}
import importlib.metadata, json, os, sys
from pathlib import Path

words = sys.argv[1:]
if words == ["--version"]:
    print("conda 25.1.0")
elif words[0] == "info":
    print(json.dumps({{"conda_prefix": "{folder}", "root_prefix": "{folder}", "platform": "linux-64",
                      "conda_version": "25.1.0"}}))
elif words[0] == "config":
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif words[:2] == ["env", "create"]:
    file, prefix = (words[words.index(option) + 1] for option in ("--file", "--prefix"))
    for line in Path(file).read_text().splitlines():
        name, _, version = line.strip().removeprefix("- ").partition("=")
        if line.startswith("  - ") and name != "python":
            found = importlib.metadata.version({{"pytorch": "torch"}}.get(name, name)).split("+")[0]
            if found != version:
                sys.exit(f"PackagesNotFoundError: {{name}}={{version}}")
    python = Path(prefix, "bin", "python")
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\\necho "$0 $*" >> {folder}/started\\nexec {python} "$@"\\n')
    python.chmod(0o755)
elif words[0] != "clean":
    sys.exit(f"the stand-in does not know: {{words}}")
"""
ACTIVATE = 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'


@pytest.fixture
def stand_in(tmp_path) -> Path:
    folder = tmp_path / "conda"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/conda").write_text(CONDA.format(python=sys.executable, folder=folder))
    (folder / "bin/conda").chmod(0o755)
    (folder / "bin/activate").write_text(ACTIVATE)
    return folder


# Stages of networks and images from elsewhere, which this study has none of.
ELSEWHERE = {"adopt", "segment"}
# With a baseline, so that every other rule has a job.
STUDY = TINY | {"pairs": [TINY["pairs"][0] | {"transforms": {"identity": [0]}, "methods": ["batchnorm", "ynet"]}]}


def run(checkout: Path, stand_in: Path, *options: str) -> subprocess.CompletedProcess:
    (checkout / "overlay.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config.yaml", "overlay.yaml"]
    environment = os.environ | {"PATH": f"{stand_in}/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_every_rule_runs_in_its_environment(stand_in, tmp_path):
    checkout = copy(tmp_path)
    done = run(checkout, stand_in, "--use-conda")
    assert done.returncode == 0, done.stderr + done.stdout
    assert all((checkout / f"results/tiny/tables/{name}.csv").stat().st_size for name in TABLES)
    names = {
        path.stem: yaml.safe_load(path.read_text())["dependencies"]
        for path in (checkout / ".snakemake/conda").glob("*.yaml")
    }
    started = Counter()
    for line in (stand_in / "started").read_text().splitlines():
        python, *arguments = line.split()
        if scripts := [word for word in arguments if word.endswith(".py")]:
            stage = Path(scripts[0]).name.split(".")[-2]
            file = yaml.safe_load((ROOT / "envs" / f"{environments()[stage]}.yaml").read_text())
            assert names[Path(python).parents[1].name] == file["dependencies"], stage
            started[stage] += 1
    assert started.keys() == environments().keys() - ELSEWHERE, json.dumps(started)


def test_versions_that_cannot_be_had_stop_the_run(stand_in, tmp_path):
    checkout = copy(tmp_path)
    path = checkout / "envs/tables.yaml"
    path.write_text(path.read_text().replace("pandas=", "pandas=9"))
    done = run(checkout, stand_in, "--use-conda")
    assert done.returncode == 1 and "PackagesNotFoundError: pandas=9" in done.stderr + done.stdout
    assert not (checkout / "results").exists()


CONDA_OR_MAMBA = next(filter(shutil.which, ("mamba", "conda")), None)


@pytest.mark.slow
@pytest.mark.skipif(CONDA_OR_MAMBA is None, reason="no conda here: its environments are read, and never solved")
@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_environment_can_be_solved(path, tmp_path):
    command = [CONDA_OR_MAMBA, "env", "create", "--dry-run", "--file", str(path), "--prefix", str(tmp_path / "prefix")]
    solved = subprocess.run(command, capture_output=True, text=True)
    if re.search("HTTP|[Cc]onnection|resolve host", solved.stderr):
        pytest.skip(f"no channel can be reached: {solved.stderr.strip().splitlines()[0]}")
    assert solved.returncode == 0, solved.stdout + solved.stderr
