"""What results say of the code that made them: the commit, and by which scores a predictor was fitted."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from shiftgain.files import commit
from shiftgain.prediction import forest
from shiftgain.report import page
from shiftgain.study import lineage
from shiftgain.study.lineage import essence
from tests.test_advise import TREE

ROOT = Path(__file__).parents[1]
MODULE = "workflow/shiftgain/files/commit.py"


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository that holds the module which asks for its commit."""
    copy = tmp_path / MODULE
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / MODULE, copy)
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(commit, "__file__", str(copy))
    return tmp_path


def test_the_commit_is_named_and_whether_files_differ_from_it(repository):
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "all")
    number = git(repository, "rev-parse", "HEAD")
    (repository / "notes").touch()
    assert commit.commit() == number, "what git does not track changes nothing"
    (repository / MODULE).write_text("changed")
    assert commit.commit() == f"{number}-changed"
    assert page.code(number) == f"the workflow at commit {number}"
    assert page.code(f"{number}-changed") == f"the workflow at commit {number}, some of whose files had been changed"


def test_a_copy_without_git_or_in_the_repository_of_others_says_so(repository, monkeypatch):
    (repository / "theirs").touch()
    git(repository, "add", "theirs")
    git(repository, "commit", "--quiet", "-m", "theirs")
    assert commit.commit() == commit.UNKNOWN, "their commit is not ours"
    shutil.rmtree(repository / ".git")
    assert commit.commit() == commit.UNKNOWN
    monkeypatch.setenv("PATH", "")
    assert commit.commit() == commit.UNKNOWN
    assert page.code(commit.UNKNOWN) == "a copy of the workflow without git, whose commit is not known"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A function that edits a module of a copy of the workflow; and what its scores are made by then."""
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(lineage, "WORKFLOW", tmp_path / "workflow")

    def edit(module: str, old: str, new: str) -> str:
        path = tmp_path / "workflow" / "shiftgain" / f"{module}.py"
        text = path.read_text()
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new))
        lineage._bare.cache_clear()
        lineage._imports.cache_clear()
        return essence("score", "prediction")

    return edit


SEEN = "def explained(source: View, images: View, state: View) -> float:\n"


@pytest.mark.parametrize(
    ("module", "old", "new", "changes"),
    [
        ("prediction/scores/reference", "(1 - trust)", "(2 - trust)", True),
        ("prediction/view", "EPSILON = ", "EPSILON = 2 * ", True),
        ("prediction/scores/reference", SEEN, f"# a comment\n\n{SEEN}", False),
        ("prediction/scores/reference", "Grey levels count as far", "They count as far", False),
        ("prediction/advice", "def advise(", "def advise_(", False),
        ("files/errors", "class StudyError", "class StudyError_", False),
    ],
)
def test_the_code_of_the_scores_is_that_of_their_numbers(edited, module, old, new, changes):
    assert (edited(module, old, new) != essence_here()) == changes


def essence_here() -> str:
    """Of the checkout itself."""
    program = "from shiftgain.study.lineage import essence; print(essence('score', 'prediction'))"
    run = subprocess.run(["python3", "-c", program], cwd=ROOT / "workflow", capture_output=True, text=True)
    return run.stdout.strip()


def test_a_predictor_that_fits_the_scores_says_nothing(tmp_path, capsys):
    forest.save(forest.stamped(TREE, "abc"), tmp_path / "mine.npz")
    assert forest.load(tmp_path / "mine.npz", "abc").stamp == ("abc", commit.commit())
    assert capsys.readouterr().err == ""


def test_a_predictor_of_other_scores_is_named_with_its_remedy(tmp_path, capsys):
    path = tmp_path / "mine.npz"
    forest.save(forest.stamped(TREE, "abc"), path)
    found = forest.load(path, "abd")
    assert found.features == TREE.features
    assert capsys.readouterr().err == (
        f"warning: {path}: fitted on scores of other code (commit {commit.commit()}) than that which is here; "
        "what it says may be off until it is fitted again: run the study that it is of once more\n"
    )
    forest.load(forest.SHIPPED, "another")
    assert capsys.readouterr().err.endswith("until it is fitted again: make predictor\n")


def test_a_predictor_from_before_stamps_is_read_and_not_trusted(tmp_path, capsys):
    forest.save(TREE, tmp_path / "old.npz")
    with np.load(tmp_path / "old.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "stamp"}
    np.savez(tmp_path / "old.npz", **arrays)
    assert forest.load(tmp_path / "old.npz", essence("score", "prediction")).width == TREE.width
    assert "(commit unknown)" in capsys.readouterr().err


def test_the_shipped_predictor_says_what_it_was_fitted_on():
    stamp = forest.load(forest.SHIPPED).stamp
    assert commit.UNKNOWN not in stamp and len(stamp.commit) >= 40
    assert stamp.code == essence("score", "prediction"), "make predictor: it knows scores that are no longer these"
