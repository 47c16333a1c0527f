"""The Slurm profile on a real Slurm, :mod:`tests.cluster`, which is gone after the tests."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import LIMIT, PROFILE, command_output, missing, one_node, said, submit, unsafe
from tests.test_faults import TINY, assert_undisturbed
from tests.test_workflow import ROOT, TABLES, copy, differing

pytestmark = pytest.mark.slow

disturbed = pytest.mark.skipif("DISTURB" not in os.environ, reason="make slurm: some minutes more")
MODEL = "results/tiny/models/0.30-0.70/seed0.h5"
LAST_TABLE = "results/tiny/tables/correlations.csv"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands speak to a cluster of this machine alone."""
    folder = tmp_path_factory.mktemp("slurm")
    if why := missing() or unsafe(folder):
        pytest.skip(why)
    with one_node(folder) as environment:
        yield environment


STUDY = ["--configfile", "config.yaml", "tiny.yaml"]


def checkout_in(folder: Path) -> Path:
    """A copy of the checkout that holds the smallest study."""
    checkout = copy(folder)
    (checkout / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"device": "auto"}))
    return checkout


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory) -> Path:
    """A copy of the checkout in which Slurm has run the smallest study."""
    checkout = checkout_in(tmp_path_factory.mktemp("on_slurm"))
    run = submit(checkout, cluster, *STUDY)
    output = said(run)
    assert run.returncode == 0, output
    return checkout


def test_tables_are_those_of_a_local_run(finished, tmp_path):
    local = checkout_in(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *STUDY], cwd=local, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert not differing(finished / "results/tiny", local / "results/tiny")


def test_short_jobs_are_grouped_and_long_ones_ask_for_a_gpu(finished, cluster):
    lines = command_output(cluster, "squeue", "-h", "-t", "all", "-o", "%i|%P|%l|%k|%T").splitlines()
    jobs = [line.split("|") for line in lines]
    comments = [comment for *_, comment, _ in jobs]
    assert {state for *_, state in jobs} == {"COMPLETED"}
    assert sum("train" in comment for comment in comments) == 1
    assert [c for c in comments if "adapt" in c] == ["rule_cells_adapt_distances_evaluate_latents_score"]
    assert sum("correlate" in comment for comment in comments) == 1 and len(jobs) <= 10
    train, limit = next((job, limit) for job, partition, limit, comment, _ in jobs if "train" in comment)
    assert limit == "12:00:00"
    assert "gres:gpu:1" in command_output(cluster, "scontrol", "show", "job", train)


def processes_of(job: str) -> list[int]:
    """The processes that carry the number of a Slurm job, but Slurm's own: it waits for those when it ends the job.

    `scontrol listpids`, asked just after a start, was seen to name others too, this test's own among them.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            carried = (process / "environ").read_bytes().split(b"\0")
            own = (process / "comm").read_text().strip() in ("slurmstepd", "srun")
            if f"SLURM_JOB_ID={job}".encode() in carried and not own:
                found.append(int(process.name))
    return found


def signalled(job: str, number: signal.Signals) -> None:
    """Send a signal to every process of a Slurm job."""
    for pid in processes_of(job):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def frozen_job(run: subprocess.Popen, environment: dict[str, str], logs: Path | None = None) -> str:
    """The number of the one Slurm job of ``run``, every process of which is stopped: once it has a log in ``logs``."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and run.poll() is None:
        running = command_output(environment, "squeue", "-h", "-t", "running", "-o", "%i").split()
        pids = processes_of(running[0]) if running else []
        if len(pids) > 3 and (logs is None or any(logs.rglob("*.log"))):
            signalled(running[0], signal.SIGSTOP)
            return running[0]
        time.sleep(0.05)
    run.kill()
    raise AssertionError(f"no job was running:\n{run.communicate()[0]}")


def test_failed_and_cancelled_jobs_are_reported_and_repaired(finished, cluster):
    """One job, run again after each mishap."""
    before = (finished / MODEL).read_bytes()
    (finished / MODEL).unlink()
    (finished / "overlay.yaml").write_text(yaml.safe_dump({"device": "cuda"}))
    run = submit(finished, cluster, *STUDY, "overlay.yaml", "--retries=0", "--", MODEL)
    output = said(run)
    assert run.returncode == 1 and "SLURM status is: 'FAILED'" in output and not (finished / MODEL).exists()
    assert "results/tiny/logs/train/0.30-0.70/seed0.log" in output
    log = (finished / "results/tiny/logs/train/0.30-0.70/seed0.log").read_text()
    assert "config key device: 'cuda' is asked for, but torch sees no GPU" in log
    kept = [path.read_text() for path in (finished / "results/logs/slurm").rglob("*.log")]
    assert any("torch sees no GPU" in text for text in kept)

    run = submit(finished, cluster, *STUDY, "--retries=0", "--", MODEL)
    subprocess.run(["scancel", frozen_job(run, cluster)], env=cluster, check=True)
    output = said(run)
    assert run.returncode == 1 and "SLURM status is: 'CANCELLED'" in output and "seed0.log" in output
    assert not (finished / MODEL).exists()

    run = submit(finished, cluster, *STUDY, "--", MODEL)
    output = said(run)
    assert run.returncode == 0, output
    assert (finished / MODEL).read_bytes() == before


@disturbed
def test_a_job_out_of_time_is_started_again_by_itself_with_twice_the_time(finished, cluster):
    """Slurm looks at the times of its jobs now and then only."""
    before = (finished / MODEL).read_bytes()
    (finished / MODEL).unlink()
    run = submit(finished, cluster, *STUDY, "--", MODEL)
    job = frozen_job(run, cluster)
    subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now"], env=cluster, check=True)
    output = said(run)
    assert run.returncode == 0 and "SLURM status is: 'TIMEOUT'" in output, output
    assert "1-00:00:00" in command_output(cluster, "squeue", "-h", "-t", "all", "-o", "%l").split()
    assert (finished / MODEL).read_bytes() == before


@pytest.fixture(scope="module")
def kept(finished) -> Path:
    """The checkout of ``finished``, with what its study gave in results/kept too."""
    shutil.copytree(finished / "results/tiny", finished / "results/kept")
    return finished


def until(true: Callable[[], bool], run: subprocess.Popen | None = None) -> None:
    """Wait until something is so; ``run`` has to be alive meanwhile."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, "it was waited for in vain"
        assert run is None or run.poll() is None, run.communicate()[0]
        time.sleep(0.1)


def queue(environment: dict[str, str], columns: str) -> list[str]:
    """A line for each job that waits or runs."""
    command = ["squeue", "-h", "-t", "pending,running,completing", "-o", columns]
    return subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.splitlines()


@disturbed
def test_a_head_that_is_killed_leaves_its_job_and_the_tables_are_the_same(kept, cluster):
    """As docs/scale.md says it: the same command stops at the lock, and goes on when the queue is empty."""
    for folder in ("scores", "tables", "logs/score"):
        shutil.rmtree(kept / "results/tiny" / folder)
    run = submit(kept, cluster, *STUDY, "--", LAST_TABLE)
    job = frozen_job(run, cluster, kept / "results/tiny/logs/score")
    run.kill()
    run.communicate()
    stopped = submit(kept, cluster, *STUDY, "--rerun-incomplete", "--", LAST_TABLE)
    output = said(stopped)
    assert stopped.returncode == 1 and "LockException" in output, output
    assert queue(cluster, "%i") == [job], "the job outlives its head, and nothing was submitted beside it"
    signalled(job, signal.SIGCONT)
    until(lambda: not queue(cluster, "%i"))
    unlocked = submit(kept, cluster, *STUDY, "--unlock")
    assert "Unlocked" in said(unlocked) and unlocked.returncode == 0
    run = submit(kept, cluster, *STUDY, "--rerun-incomplete", "--", LAST_TABLE)
    output = said(run)
    assert run.returncode == 0, output
    assert_undisturbed(kept, "results/tiny", "results/kept")


@disturbed
def test_jobs_wait_for_a_drained_node_and_run_when_it_is_back(kept, cluster):
    node = f"nodename={socket.gethostname().split('.')[0]}"
    for name in TABLES:
        (kept / f"results/tiny/tables/{name}.csv").unlink(missing_ok=True)
    subprocess.run(["scontrol", "update", node, "state=drain", "reason=test"], env=cluster, check=True)
    try:
        run = submit(kept, cluster, *STUDY, "--forcerun", "tabulate", "--", LAST_TABLE)
        until(lambda: any("DRAINED" in line or "Unavailable" in line for line in queue(cluster, "%R")), run)
        waiting = queue(cluster, "%T")
    finally:
        subprocess.run(["scontrol", "update", node, "state=resume"], env=cluster, check=True)
    output = said(run)
    assert waiting == ["PENDING"] and run.returncode == 0, output
    assert_undisturbed(kept, "results/tiny", "results/kept")


def test_the_profile_names_rules_that_exist():
    profile = yaml.safe_load((ROOT / PROFILE / "config.yaml").read_text())
    rules = {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} | {"generate_targets"}
    assert profile["set-resources"].keys() | profile["groups"].keys() <= rules
    may = {path.stem for path in (ROOT / "workflow/rules").glob("*.smk") if "gpu=" in path.read_text()}
    placed = {"slurm_partition": "gpu"}, {"gpu": 0}
    assert all(profile["set-resources"][name] in placed for name in may), "a GPU is asked for where there is one"
    assert set(profile["groups"].values()) >= profile["group-components"].keys()
