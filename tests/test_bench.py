"""What `make bench` writes beside each figure, and that what it measures runs, at sizes of seconds."""

import json
import os
import platform
import re
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import growth, learning, measure, memory, sections
from tests.bench.measure import row

IMAGES_OF = ("train", "validation", "adapt", "test")
COMMIT = re.compile(r"[0-9a-f]{40}(-changed)?|unknown")


def test_each_row_says_its_commit_and_machine_and_rows_of_other_benches_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "BENCHES", {"one": lambda folder: {"first": row(1.0, "s")}})
    path = tmp_path / "results/bench.json"
    path.parent.mkdir()
    other = {"first": row(9.0, "s"), "second": row(2.0, "s") | {"commit": "abc", "machine": "another"}}
    path.write_text(json.dumps(other))
    assert bench.main([]) == 0
    rows = json.loads(path.read_text())
    assert rows["second"] == other["second"] and rows["first"]["value"] == 1.0
    assert COMMIT.fullmatch(rows["first"]["commit"])
    cpus = Path("/proc/cpuinfo")
    processor, cores = rows["first"]["machine"].rsplit(", ", 1)
    assert processor in cpus.read_text() if cpus.exists() else processor == platform.processor()
    assert cores == f"{os.cpu_count()} cores"


def test_a_bench_that_fails_says_so_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(
        bench, "BENCHES", {"broken": lambda folder: 1 / 0, "one": lambda folder: {"first": row(1.0, "s")}}
    )
    assert bench.main([]) == 1
    assert json.loads((tmp_path / "results/bench.json").read_text()).keys() == {"first"}
    assert "broken: not measured" in capsys.readouterr().out


def test_published_rows_are_of_one_commit_and_one_machine():
    rows = json.loads((bench.ROOT / "results/published/bench.json").read_text())
    ((commit, machine),) = {(kept["commit"], kept["machine"]) for kept in rows.values()}
    assert COMMIT.fullmatch(commit) and not commit.endswith("-changed") and re.fullmatch(r".*, \d+ cores", machine)


@pytest.fixture
def in_this_process(monkeypatch):
    """What is measured runs in the process of the test, which sees what the test has put smaller."""

    def run(work, folder, size, threads=1):
        work(str(folder), size)
        return 1.0, float(size), 1.0

    for part in (growth, memory, sections):
        monkeypatch.setattr(part, "by_itself", run)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.filterwarnings("ignore:overflow")  # The network is a random one.
def test_what_grows_is_measured(tmp_path, monkeypatch):
    few = {"predict": {"trees": 2, "bootstrap": 2}, "generate": {"images": dict.fromkeys(IMAGES_OF, 4)}}
    for block, options in few.items():
        monkeypatch.setitem(measure.DEFAULT, block, measure.DEFAULT[block] | options)
    sizes = {"IMAGES": [16, 32, 64], "TARGETS": [1, 2, 4], "REHEARSED": [1, 2, 3], "PAIRS": [4, 8, 12]}
    for name, values in sizes.items():
        monkeypatch.setattr(growth, name, values)
    monkeypatch.setattr(growth, "one_pass_pixels", lambda network: 16 * 32 * 32)
    rows = growth.bench_growth(tmp_path)
    works = [name.removesuffix("_slope") for name in rows if name.endswith("_slope")]
    assert set(works) == {name for name in vars(growth) if name.startswith("growth_")}
    assert {name for name, kept in rows.items() if kept["ratio"] != 1} == {
        *(f"{work}_{size}" for work in works for size in _sizes(rows, work)),
        *("growth_disk_image", "growth_disk_target", "growth_disk_family"),
    }


def _sizes(rows: dict, work: str) -> list[str]:
    return [name.removeprefix(f"{work}_") for name in rows if re.fullmatch(rf"{work}_\d+", name)]


@pytest.mark.usefixtures("in_this_process")
def test_sections_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "SECTION_SIDE", 128)
    assert sections.bench_sections(tmp_path).keys() == {f"section_{stage}" for stage in sections.SECTION_STAGES}


def test_both_trainings_read_one_file(tmp_path, capsys):
    path = tmp_path / "train.h5"
    splits = {"train": 32, "validation": 8, "test": 8}
    learning.generate(measure.small_specs(["0.30-0.70"], splits), list(splits), str(path), True, 1)
    for train in (learning.train_plain, learning.train_ours):
        train(str(path), 1)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [found.keys() for found in said] == [{"images_per_second", "iou"}] * 2
