"""What `make run` and `make plan` say before anything starts, while it runs, and after it was killed."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake_logger_plugin_progress as progress
import yaml
from commands import start
from snakemake_interface_logger_plugins.common import LogEvent

from shiftgain.files.errors import StudyError
from shiftgain.study import costs
from shiftgain.study.checks import study
from tests.test_workflow import ROOT

SLOPES = {
    "grain_start": 2.0, "growth_generate_slope": 1.0, "growth_epoch_slope": 2.0, "growth_chain_slope": 500.0,
    "growth_tables_512": 60.0, "growth_tables_slope": 6.0, "growth_disk_family": 400.0, "growth_disk_target": 300.0,
    "growth_disk_image": 2.0, "growth_rehearse_slope": 400.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def smoke():
    return start.read([str(ROOT / "config.yaml"), str(ROOT / "workflow/studies/smoke.yaml")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, r"no study .*smok\.yaml: did you mean .*studies/smoke\.yaml\?"),
        ("seeds: [0]\npairs:\n  - {name: a, sources: [x\nresults: r\n", r"smok\.yaml:4: expected ',' or '\]'"),
        ("seeds: [0]\nresults: 'r\n", r"smok\.yaml:3: found unexpected end of stream"),
        ("seeds:\n\t- 0\n", r"smok\.yaml:2: found character '\\t' that cannot start any token"),
        ("- a\n", r"smok\.yaml:1: a study is a mapping"),
    ],
)
def test_a_slip_in_a_study_is_one_line_with_its_place(tmp_path, monkeypatch, capsys, text, expected):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "smok.yaml" if text else Path("workflow/studies/smok.yaml")
    if text:
        path.write_text(text)
    assert start.main(["--cores", "1", "--study", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and re.search(expected, line), line


def test_overlays_are_laid_one_over_the_other(tmp_path, monkeypatch):
    """As Snakemake lays them: what is planned is what is run."""
    monkeypatch.chdir(ROOT)
    paths = [tmp_path / name for name in ("first.yaml", "second.yaml")]
    paths[0].write_text("results: results/first\nreport: {title: first}\n")
    paths[1].write_text("results: results/second\n")
    said: list = []
    monkeypatch.setattr(start, "run", lambda command, again: said.append(command) or 0)
    monkeypatch.setattr(start, "expect", lambda study, cores: said.append(study.config) or {})
    assert start.main(["--cores", "1", "--study", *map(str, paths), "--scheduler", "greedy"]) == 0
    config, command = said
    assert (config["results"], config["report"]["title"]) == ("results/second", "first")
    assert command == ["--cores", "1", "--configfile", "config.yaml", *map(str, paths), "--scheduler", "greedy"]


@pytest.mark.parametrize("word", [".snakemake/scripts/x.py", "commands.start", "commands.advise"])
def test_the_lock_of_a_dead_run_is_told_from_that_of_a_live_one(word, tmp_path):
    assert not start.locked(tmp_path)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    assert not start.locked(tmp_path), "an empty folder locks nothing"
    (tmp_path / ".snakemake/locks/0.output.lock").write_text("results/report.html\n")
    assert start.locked(tmp_path)
    words = [sys.executable, "-c", "print('on', flush=True); input()", word]
    job = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert job.stdout.readline() == b"on\n"  # only then has the system put its own words in place of its parent's
    try:
        with pytest.raises(StudyError, match=rf"another run works in this folder \(process {job.pid}\)"):
            start.locked(tmp_path)
    finally:
        job.kill()
        job.communicate()
    assert start.locked(tmp_path)


def test_a_run_goes_on_after_one_that_was_killed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(start, "locked", lambda folder: True)
    asked = []
    monkeypatch.setattr(start, "snakemake", lambda arguments: asked.append(arguments) or 0)
    assert start.main(["--cores", "2", "--study", "workflow/studies/smoke.yaml", "--scheduler", "greedy"]) == 0
    (unlock, run) = asked
    assert "--unlock" in unlock and "--unlock" not in run and {"--rerun-incomplete", "--logger"} <= set(run)
    assert run[:6] == ["--cores", "2", "--configfile", "config.yaml", "workflow/studies/smoke.yaml", "--scheduler"]
    assert "nothing of it is alive here: going on" in capsys.readouterr().err


def test_costs_follow_from_slopes_and_from_the_last_run(smoke, tmp_path):
    # 32 x 32 pixels, as the slopes; 96 + 16 + 16 + 16 images, 4 epochs of 96, width 4; 2 families of 6 targets.
    found = costs.costs(smoke, SLOPES, tmp_path)
    assert found["generate"].seconds == pytest.approx(2 + 0.001 * 144)
    assert found["generate_targets"].seconds == pytest.approx(2 + 0.001 * 6 * 32)
    assert found["train"].seconds == pytest.approx(2 + 4 * 96 * 0.002 / 4)
    # Kept and under 3 methods; measured: kept and under 4.
    assert found["adapt"].seconds == pytest.approx(2 + 0.5 * 6 / 5 * (32 * 32 * 32) / (48 * 48 * 96) * 4 / 5)
    assert found["predict"].seconds == 62 and "draw" not in found
    # 12 targets of 3 pieces of 32 x 32, kept and under 3 actions; measured: 6 pieces of 48 x 48, kept and under 4.
    assert found["rehearse"].seconds == pytest.approx(2 + 0.4 * 12 * 4 / 5 * (3 * 32 * 32) / (6 * 48 * 48))
    without = {name: value for name, value in SLOPES.items() if name != "growth_rehearse_slope"}
    assert costs.costs(smoke, without, tmp_path).keys() == found.keys() - {"rehearse"}, "what was not measured"
    (tmp_path / "adapt/a").mkdir(parents=True)
    for number, seconds in enumerate((3.0, 5.0)):
        (tmp_path / f"adapt/a/{number}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:03\n")
    (tmp_path / "draw.tsv").write_text("s\th:m:s\n7.5\t0:00:07\n")
    again = costs.costs(smoke, SLOPES, tmp_path)
    assert again["adapt"] == costs.Cost(4.0, "its last run") and again["draw"].seconds == 7.5
    assert costs.costs(smoke, {}, tmp_path).keys() == {"adapt", "draw"}
    # 12 targets of 32 images, drawn once and kept for each of two sources; three domains of 144 images of 32 x 32.
    share = (32 * 32 * 32) / (48 * 48 * 96)
    assert costs.disk(smoke, SLOPES) == pytest.approx(1024 * (12 * 400 * share + 3 * 2 * 144 + 24 * 300 * 4 / 5))


def test_the_plan_says_jobs_minutes_disk_and_memory():
    known = {"train": costs.Cost(120.0, "slopes")}
    lines = list(start.plan({"train": 3, "draw": 1}, known, 5 * 2**20, {"train": 2000, "draw": 1000}, 2))
    assert lines[1].split() == ["train", "3", "120.0", "6.0", "slopes"] and lines[2].endswith("not measured")
    assert lines[3] == "4 jobs: 3 min on 2 cores, and what is not measured (1 rules)."
    assert lines[-2].startswith("Disk: 5 MB") and "2 GB at most, 2 at a time for 4 GB" in lines[-1]
    assert list(start.plan({}, {}, None, {}, 2)) == ["Nothing to be done: the page is up to date."]


def record(event: LogEvent, **more) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, "", None, None)
    vars(made).update({"event": event, **more})
    return made


def test_a_line_of_progress_says_what_runs_how_far_and_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "expected", {"train": 100.0})
    monkeypatch.setattr(progress, "cores", 2)
    clock = iter([0.0, 30.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.LogHandler, "_beat", lambda self: None)
    handler = progress.LogHandler(None, None)
    assert handler.line(0) == ""
    log = tmp_path / "predict.log"
    log.write_text("2026-11-27 09:00:00,000 fold 1 of 24\n2026-11-27 09:00:30,000 source held out, fold 12 of 24\n")
    handler.emit(record(LogEvent.RUN_INFO, stats={"train": 4, "predict": 1, "all": 1, "total": 6}))
    for number, (rule, path) in enumerate((("train", ""), ("predict", str(log)))):
        job = {"jobid": number, "rule_name": rule, "log": [path] if path else [], "resources": {"mem_mb": 1}}
        job["output"] = []
        handler.emit(record(LogEvent.JOB_INFO, **job))
    handler.emit(record(LogEvent.JOB_STARTED, jobs=[0]))
    handler.emit(record(LogEvent.JOB_STARTED, jobs=[1]))
    # 4 trainings of 100 s, of which 40 s are over, on 2 cores.
    assert handler.remaining(40.0) == (180.0, ["predict"])
    assert handler.line(40.0) == (
        "[progress] 5 to go, at least 3 min left (not measured: predict); running: train for 40 s; "
        "predict for 10 s (source held out, fold 12 of 24)"
    )
    handler.emit(record(LogEvent.JOB_FINISHED, job_id=0))
    assert handler.remaining(40.0) == (pytest.approx(3 * 30 / 2), ["predict"]), "as long as those that are done"


def test_the_slopes_that_are_published_are_those_that_are_read(smoke):
    measured = costs.slopes(start.BENCH)
    # Rows that `make bench` has not measured yet for what is published: `make plan` says that they are not.
    assert measured.keys() >= SLOPES.keys() - {"growth_rehearse_slope"}
    assert costs.costs(study(yaml.safe_load((ROOT / "config.yaml").read_text())), measured, Path("nowhere"))
