"""Records of what jobs wrote: what they hold, and what differs from them is named."""

import shutil
import subprocess
from pathlib import Path

import pytest

from shiftgain.files import job, sums
from shiftgain.files.errors import StudyError
from shiftgain.files.sums import Fault, Job

NAMES = ["a.h5", "with space.csv", "back\\slash", "two\nlines", "c\rr", "b/c/déjà.png"]


@pytest.fixture
def done(tmp_path, monkeypatch) -> Job:
    """A job that wrote a file and a folder, seen from the folder of its study."""
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/table.csv").write_text("a,b\n1,2\n")
    for name in NAMES:
        path = Path("results/masks", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    made = Job("results/logs/stage/x.log", ["results/table.csv", "results/masks"])
    Path(made.log).parent.mkdir(parents=True)
    with job.run(made.log, made.outputs):
        pass
    return made


def test_what_is_as_it_was_written_has_no_fault(done):
    assert list(sums.faults([done])) == []
    assert set(sums.recorded(done.log)) == {"results/table.csv", *(f"results/masks/{name}" for name in NAMES)}


def test_an_extra_file_is_no_fault(done):
    Path("results/masks/more.png").touch()
    Path("results/more.csv").touch()
    assert list(sums.faults([done])) == []


@pytest.mark.parametrize("name", ["table.csv", *(f"masks/{name}" for name in NAMES)])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete"])
def test_each_damage_names_its_file(done, name, damage):
    path = Path("results", name)
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes({"flip": bytes([content[0] ^ 1]) + content[1:], "cut": content[:-1], "empty": b""}[damage])
    what = "missing" if damage == "delete" else "changed since it was written"
    output = "results/table.csv" if name == "table.csv" else "results/masks"
    assert list(sums.faults([done])) == [Fault(f"results/{name}", what, output)]


def test_a_job_that_never_ran_has_its_outputs_missing():
    assert list(sums.faults([Job("none.log", ["none.h5"])])) == [Fault("none.h5", "missing", "none.h5")]


def test_a_file_without_a_record_is_named(done):
    sums.record_of(done.log).unlink()
    faults = list(sums.faults([done]))
    assert faults and {fault.what for fault in faults} == {"nothing recorded what was written"}


@pytest.mark.parametrize("number", range(1 + len(NAMES)))
def test_a_damaged_line_of_a_record_is_named(done, number):
    """Of a folder the other lines would be taken for all of it."""
    record = sums.record_of(done.log)
    lines = record.read_bytes().splitlines(keepends=True)
    lines[number] = b"\xff" + lines[number][1:]
    record.write_bytes(b"".join(lines))
    damaged, *others = sums.faults([done])
    assert damaged == Fault(str(record), "a line of this record is damaged", "results/table.csv")
    alone = [Fault("results/table.csv", "nothing recorded what was written", "results/table.csv")]
    assert others == (alone if number == 0 else [])


def test_a_job_that_failed_leaves_the_record_as_it_was(done):
    before = sums.record_of(done.log).read_bytes()
    Path("results/table.csv").write_text("half")
    with pytest.raises(SystemExit), job.run(done.log, done.outputs):
        raise StudyError("x")
    assert sums.record_of(done.log).read_bytes() == before


def test_a_folder_that_is_moved_keeps_its_record(done):
    Path("results").rename("elsewhere")
    moved = Job("elsewhere/logs/stage/x.log", ["elsewhere/table.csv", "elsewhere/masks"])
    assert list(sums.faults([moved])) == []


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="there is no sha256sum here")
def test_sha256sum_reads_a_record(done):
    record = sums.record_of(done.log)
    command = ["sha256sum", "--quiet", "--strict", "--check", record.name]
    assert subprocess.run(command, cwd=record.parent).returncode == 0
    Path("results/masks/two\nlines").write_text("other")
    assert subprocess.run(command, cwd=record.parent, capture_output=True).returncode == 1


def test_every_script_hands_over_what_it_writes():
    scripts = sorted((Path(__file__).parents[1] / "workflow/scripts").glob("*.py"))
    assert scripts
    for path in scripts:
        assert "\n    with job.run(snakemake.log[0], snakemake.output):\n" in path.read_text(), path.name
