"""What `make bench` writes beside each figure; what it measures has no test."""

import json
import os
import platform
import re
from pathlib import Path

from tests.bench import __main__ as bench
from tests.bench.measure import row

COMMIT = re.compile(r"[0-9a-f]{40}(-changed)?|unknown")


def test_each_row_says_its_commit_and_machine_and_rows_of_other_benches_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "BENCHES", {"one": lambda folder: {"first": row(1.0, "s")}})
    path = tmp_path / "results/bench.json"
    path.parent.mkdir()
    other = {"first": row(9.0, "s"), "second": row(2.0, "s") | {"commit": "abc", "machine": "another"}}
    path.write_text(json.dumps(other))
    bench.main([])
    rows = json.loads(path.read_text())
    assert rows["second"] == other["second"] and rows["first"]["value"] == 1.0
    assert COMMIT.fullmatch(rows["first"]["commit"])
    cpus = Path("/proc/cpuinfo")
    processor, cores = rows["first"]["machine"].rsplit(", ", 1)
    assert processor in cpus.read_text() if cpus.exists() else processor == platform.processor()
    assert cores == f"{os.cpu_count()} cores"


def test_published_rows_that_say_one_of_both_say_both():
    rows = json.loads((bench.ROOT / "results/published/bench.json").read_text())
    for name, kept in rows.items():
        if {"commit", "machine"} & kept.keys():
            assert COMMIT.fullmatch(kept["commit"]) and re.fullmatch(r".*, \d+ cores", kept["machine"]), name
