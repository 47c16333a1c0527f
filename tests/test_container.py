"""The container recipe, read and compared with the repository: no registry is asked, and nothing is built."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "envs" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) in order, comments left out and continued lines joined."""
    lines = [line for line in RECIPE.read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined)]


def all_of(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def copied() -> list[tuple[str, str]]:
    """(file or folder of the repository, where it goes)."""
    pairs = []
    for rest in all_of("COPY"):
        *sources, to = [word for word in shlex.split(rest) if not word.startswith("--")]
        pairs += [(source, to if to != "./" else f"./{source}") for source in sources]
    return pairs


def test_it_knows_these_instructions_only():
    assert {word for word, _ in instructions()} == {"FROM", "RUN", "WORKDIR", "USER", "COPY", "ENTRYPOINT", "CMD"}


def test_its_python_is_one_that_the_project_and_the_lock_are_for():
    (base,) = all_of("FROM")
    version = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+)-slim", base).group(1)
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert tuple(map(int, version.split("."))) >= tuple(map(int, least.split(".")))
    assert f"--python-version {version} " in (ROOT / "Makefile").read_text(), "that which the locks are resolved for"
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert version in ci["jobs"]["check"]["strategy"]["matrix"]["python"]


def test_packages_are_installed_from_the_locks_alone():
    runs = all_of("RUN")
    assert [run for run in runs if "pip" in run] == [] and "make .venv/installed LOCKED=1" in runs
    printed = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/installed", "LOCKED=1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r"pip install .*--require-hashes -r locks/run\.lock", printed) and "requirements" not in printed
    before = [rest for word, rest in instructions()[: instructions().index(("RUN", "make .venv/installed LOCKED=1"))]]
    assert any("locks ./locks" in rest for rest in before)


def test_it_does_not_run_as_root():
    words = [word for word, _ in instructions()]
    assert all_of("USER") == ["study"] and "useradd" in all_of("RUN")[0]
    assert words.index("USER") < words.index("COPY") and all("--chown=study" in rest for rest in all_of("COPY"))


def test_its_command_is_one_of_make():
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["make"] and "make" in shlex.split(all_of("RUN")[0])
    (target,) = json.loads(all_of("CMD")[0])
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_commands_that_it_names_are_of_this_repository():
    text = RECIPE.read_text()
    for path in re.findall(r"(?:--file |STUDY=|\W)((?:envs|tests|workflow)/[\w/.]+\w)", text):
        assert (ROOT / path).exists(), path


@pytest.fixture
def inside(tmp_path) -> Path:
    """What the image would hold of the repository."""
    for source, to in copied():
        path = ROOT / source
        assert path.exists(), source
        (tmp_path / to).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, tmp_path / to)
    return tmp_path


def test_what_it_copies_is_tracked_and_enough_to_plan_a_study(inside):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        tracked = listed.stdout.splitlines()
        for source, _ in copied():
            assert any(name == source or name.startswith(f"{source}/") for name in tracked), source
    command = [
        sys.executable,
        "-m",
        "commands.start",
        "--cores",
        "2",
        "--study",
        "workflow/studies/smoke.yaml",
        "--plan",
    ]
    environment = os.environ | {"PYTHONPATH": str(inside / "workflow")}
    run = subprocess.run(command, cwd=inside, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and re.search(r"^\d+ jobs: ", run.stdout, re.MULTILINE), run.stdout + run.stderr
