"""Rows `grain_*`, `study*`, `graph_*` and `noop_*`: what Snakemake and the starts of processes cost."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from scripts.generate import generate
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.statistics import one_pass_pixels
from shiftgain.files import store
from shiftgain.network import metrics
from shiftgain.network.inference import Inputs, predict
from shiftgain.study.checks import study
from tests.bench.measure import CORES, CPU, DEFAULT, ROOT, frozen, row, seconds, slope


def bench_grain(folder: Path) -> dict:
    """What starting a process costs beside the work on one target: why a job takes a family of them."""
    torch.set_num_threads(1)
    start = seconds(
        lambda: subprocess.run([sys.executable, "-c", "import scripts.adapt"], cwd=ROOT / "workflow", check=True)
    )
    specs = study(DEFAULT).specs(["0.30-0.70"], ["adapt", "test"], "seed0")
    generate(specs, ["adapt", "test"], str(folder / "a.h5"), True, 1)
    network = frozen(DEFAULT["model"])
    with store.read(folder / "a.h5") as domain:
        images = Inputs(domain["adapt"], CPU, network.depth, pixels=one_pass_pixels(network))
        adapt = seconds(lambda: batchnorm.batchnorm(network, images), 9)
        score = seconds(lambda: metrics.scores(predict(network, domain["test"], 0.5, CPU)), 9)
    rows = {
        "grain_start": row(start, "s to start a process that imports torch", start / adapt, "adapting to one target")
    }
    for targets in (1, 20, 60, 200):
        share = 2 * start / (2 * start + targets * (adapt + 2 * score))
        rows[f"grain_{targets}"] = row(share, f"share of start-up in adapt and evaluate, {targets} targets a job")
    return rows


def run_study(results: str, cores: int) -> tuple[float, float]:
    """Wall time of the default study from nothing, and the sum of what its jobs took once they were started."""
    shutil.rmtree(ROOT / results, ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--scheduler", "greedy", "--quiet", "all"]
    # A run that was killed leaves a lock, and this folder is no one else's.
    options = ["--nolock", "--rerun-incomplete", "--config", f"results={results}"]
    start = time.perf_counter()
    run = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    wall = time.perf_counter() - start
    logs = [path.read_text() for path in (ROOT / results / "logs").rglob("*.log")]
    shutil.rmtree(ROOT / results)
    return wall, sum(float(re.findall(r"finished in ([\d.]+) s", log)[-1]) for log in logs)


def bench_study(folder: Path) -> dict:
    """The default study on all cores, against its jobs one after the other on one, divided by the cores."""
    wall, _ = run_study("results/bench", CORES)
    _, in_a_row = run_study("results/bench", 1)
    return {
        "study": row(
            wall, f"s, default study on {CORES} cores", wall * CORES / in_a_row, "its computations in a row / cores"
        ),
        "study_in_a_row": row(in_a_row, "s, the same computations in a row on one core"),
    }


# Drawing a family, and stages adapt, evaluate, latents, distances and score of it.
FAMILY_JOBS = 6


def graph_checkout(folder: Path, families: int, more: dict | None = None) -> list[str]:
    """A checkout whose study has so many families of one target; returns the options of Snakemake that name it.

    ``more``: what its overlay says beside the families.
    """
    ignored = shutil.ignore_patterns("results", ".venv", ".snakemake", ".git", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=ignored)
    means = [f"{mask / 100:.2f}-{other / 100:.2f}" for mask in range(100) for other in range(100) if mask != other]
    block = {"name": "means", "sources": ["0.30-0.70"], "targets": means[:families], "transforms": {"noise": [0.1]}}
    overlay = {"pairs": [block | {"methods": ["batchnorm"]}], "adapt": {"domains_per_job": 1}} | (more or {})
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    return ["--cores", "1", "--scheduler", "greedy", "--configfile", "config.yaml", "overlay.yaml"]


def bench_graph(folder: Path) -> dict:
    """Snakemake alone: a dry run of everything, and a run with nothing to do, at about 100, 1,000 and 10,000 jobs.

    Of a run with nothing to do the better of two counts: the machine's pace changes within a minute.
    """

    def least(run: Callable) -> tuple[str, float, float]:
        return min((run() for _ in range(2)), key=lambda measured: measured[2])

    rows, sizes, found = {}, [], {"graph": [], "noop": []}
    for about in (100, 1000, 10_000):
        checkout = folder / str(about)
        options = graph_checkout(checkout, about // FAMILY_JOBS)

        def snakemake(*more: str, checkout=checkout, options=options) -> tuple[str, float, float]:
            command = [sys.executable, "-m", "snakemake", *options, *more]
            start = time.perf_counter()
            with (checkout / "output").open("w") as output:
                job = subprocess.Popen(command, cwd=checkout, stdout=output, stderr=output)
                _, status, usage = os.wait4(job.pid, 0)
            text = (checkout / "output").read_text()
            assert status == 0, text
            return text, time.perf_counter() - start, usage.ru_utime + usage.ru_stime

        planned = snakemake("--dry-run")
        jobs = int(re.search(r"^total\s+(\d+)", planned[0], re.MULTILINE).group(1))
        for line in planned[0].splitlines():
            if line.strip().startswith("output: "):
                for name in line.split("output: ")[1].split(", "):
                    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                    (checkout / name).touch()
        idle = least(snakemake)
        assert "Nothing to be done" in idle[0], idle[0][-500:]
        if about == 1000:
            # The files above have no records of who made them; a run leaves some, and the next one reads them.
            snakemake("--forceall", "--touch")
            _, wall, cpu = least(snakemake)
            unit = f"s of CPU, {jobs} jobs with the records of a run ({wall:.1f} s)"
            rows["noop_recorded"] = row(cpu, unit, cpu / idle[2], "without records")
        sizes.append(jobs)
        for name, (_, wall, cpu) in {"graph": planned, "noop": idle}.items():
            found[name].append(cpu)
            limit = (cpu / 10, "10 s asked for at 10,000 jobs") if name == "noop" and about == 10_000 else (None, None)
            rows[f"{name}_{about}"] = row(cpu, f"s of CPU, {jobs} jobs ({wall:.1f} s)", *limit)
    for name, times in found.items():
        rate, bend = slope(sizes, times)
        rows[f"{name}_slope"] = row(1000 * rate, "ms of CPU per job", bend, "the slope of the lower half")
    return rows
