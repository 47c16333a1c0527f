"""The study from elsewhere: another working directory, a Snakemake module, a copy without git."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_faults import TINY, verify
from tests.test_workflow import ROOT, SMOKE, copy

BRIEF = yaml.safe_load((ROOT / SMOKE).read_text()) | {"results": "out", "seeds": [0, 1]}
USED = """
import yaml
{modules}
rule all:
    default_target: True
    input: {pages}
"""
MODULE = """
module {name}:
    snakefile: "{checkout}/Snakefile"
    config: yaml.safe_load(open("{name}.yaml"))
    {prefix}
use rule * from {name} as {name}_*
"""


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake prints, run in ``folder`` without what the tests' own environment adds to Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def jobs(printed: str) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    table = printed.split("Job stats:")[1].split("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def write_user(folder: Path, checkout: Path, modules: dict[str, str], configs: dict[str, dict], more: str = "") -> None:
    """A Snakefile in ``folder`` that uses the study once per module; ``modules``: name -> prefix, or nothing."""
    parts, pages = [], []
    for name, prefix in modules.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(configs[name]))
        line = f'prefix: "{prefix}"' if prefix else ""
        parts.append(MODULE.format(name=name, checkout=checkout, prefix=line))
        pages.append(str(Path(prefix, configs[name]["results"], "report.html")))
    (folder / "Snakefile").write_text(USED.format(modules="".join(parts), pages=pages) + more)


def test_it_plans_the_same_from_any_directory(tmp_path):
    overlay = str(ROOT / SMOKE)
    there = jobs(snakemake(tmp_path, "--dry-run", "-s", str(ROOT / "Snakefile"), "--configfile", overlay))
    here = jobs(snakemake(ROOT, "--dry-run", "--forceall", "--configfile", "config.yaml", overlay))
    assert there == here and there["train"] > 0


def test_a_config_of_the_working_directory_is_laid_over_the_defaults(tmp_path):
    (tmp_path / "config.yaml").write_text((ROOT / SMOKE).read_text())
    there = jobs(snakemake(tmp_path, "--dry-run", "-s", str(ROOT / "Snakefile")))
    assert there == jobs(snakemake(tmp_path, "--dry-run", "-s", str(ROOT / "Snakefile"), "--config", "results=other"))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("modules", [{"one": ""}, {"one": "a"}, {"one": "a", "two": "b"}])
def test_it_can_be_used_as_a_module(modules, tmp_path):
    configs = {"one": BRIEF, "two": BRIEF | {"seeds": [3]}}
    write_user(tmp_path, ROOT, modules, configs)
    planned = jobs(snakemake(tmp_path, "--dry-run"))
    assert {rule.split("_")[0] for rule in planned} == {*modules, "all"}
    assert planned["one_train"] == 2 * planned.get("two_train", planned["one_train"] // 2)


def test_a_rule_of_the_module_can_be_overridden(tmp_path):
    more = "use rule train from one as one_train with:\n    threads: 2\n    priority: 77\n"
    write_user(tmp_path, ROOT, {"one": "a"}, {"one": BRIEF}, more)
    assert "priority: 77" in snakemake(tmp_path, "--dry-run")


@pytest.mark.slow
def test_a_copy_without_git_runs_to_the_page_as_a_module_with_a_prefix(tmp_path):
    checkout = copy(tmp_path)
    assert not (checkout / ".git").exists()
    user = tmp_path / "user"
    user.mkdir()
    write_user(user, checkout, {"one": "a"}, {"one": TINY | {"results": "out", "seeds": [0, 1]}})
    snakemake(user)
    assert (user / "a/out/report.html").stat().st_size > 10_000
    assert "seed_agreement" in next((user / "a/out/scores").rglob("*.csv")).read_text().splitlines()[0]
    assert sorted(path.name for path in user.iterdir()) == [".snakemake", "Snakefile", "a", "one.yaml"]
    snakefile = str(user / "Snakefile")
    asked = ["--snakefile", snakefile, "--directory", str(user)]
    assert verify(tmp_path, checkout, *asked).returncode == 0
    damaged = user / "a/out/tables/gains.csv"
    damaged.write_bytes(damaged.read_bytes()[:-2])
    told = verify(tmp_path, checkout, *asked)
    assert told.returncode == 1 and told.stdout == (
        "a/out/tables/gains.csv: changed since it was written; make it again: snakemake --cores 1 --snakefile "
        f"{snakefile} --directory {user} --forcerun a/out/tables/gains.csv\n"
    )
