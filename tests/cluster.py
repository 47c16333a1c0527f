"""A real Slurm of one node, Debian's daemons in a private folder: for its tests, and for rows `slurm_*` of the bench.

Needs root and the packages slurmctld, slurmd, slurm-client and munge (`make slurm` installs them).
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROFILE = "workflow/profiles/slurm"
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
LIMIT = 1200  # seconds that a run may take on a busy machine

# No cgroups: LinuxProc finds the processes of a job. GRES are two files that are no GPUs: torch then takes the CPU.
# Timeouts are long, because a busy machine answers late: a job is then not taken for lost, nor a command given up.
CONFIGURATION = """
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
KillWait=2
MessageTimeout=100
TCPTimeout=100
BatchStartTimeout=300
SlurmdTimeout=0
MinJobAge=36000
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=32000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def missing() -> str:
    """Why there can be no such node here; empty where there can."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "snakemake-executor-plugin-slurm is not installed"
    if absent := [name for name in DAEMONS if not shutil.which(name)]:
        return f"Slurm is not installed ({', '.join(absent)}): `make slurm` installs it where apt can"
    if Path("/etc/slurm/slurm.conf").exists() or "SLURM_CONF" in os.environ:
        return "this machine has a Slurm of its own, which is left alone"
    if Path("/dev/nvidia0").exists():
        return "this machine has a GPU, and the node has GPUs that are none"
    return "" if os.geteuid() == 0 else "the daemons of Slurm want to be started by root"


def unsafe(folder: Path) -> str:
    """Why munge refuses to keep a socket in ``folder``; empty where it does not."""
    for parent in folder.parents:
        if parent.stat().st_mode & 0o022 and not parent.stat().st_mode & 0o1000:
            return f"munge refuses to keep a socket below {parent}, which others may write to"
    return ""


@contextlib.contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands speak to a cluster of this machine alone, kept in ``folder``."""
    for name in ("munge", "state", "spool", "bin"):
        (folder / name).mkdir(mode=0o700)
    (folder / "munge/key").write_bytes(os.urandom(1024))
    (folder / "munge/key").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2)))
    (folder / "plugstack.conf").touch()
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null,/dev/zero\n")
    # The plugin drops every SLURM_ variable before the inner srun; at a site the configuration lies in /etc/slurm.
    wrapper = folder / "bin/srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    wrapper.chmod(0o755)
    environment = os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    munge = [f"--{key}={folder}/munge/{key.split('-')[0]}" for key in ("key-file", "pid-file", "log-file", "seed-file")]
    pids = [folder / name for name in ("slurmd.pid", "slurmctld.pid", "munge/pid")]
    try:
        for command in (
            ["munged", "--force", f"--socket={folder}/munge.sock", *munge],
            ["slurmctld", "-c"],
            ["slurmd", "-c", "-N", host],
        ):
            subprocess.run(command, env=environment, check=True, capture_output=True)
        deadline = time.monotonic() + LIMIT
        while command_output(environment, "sinfo", "-h", "-o", "%T").split() != ["idle"]:
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.1)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True)
        for number in [int(path.read_text()) for path in pids if path.exists()]:
            os.kill(number, signal.SIGTERM)
            # They write their state into the folder as they end.
            last = time.monotonic() + 60
            while _runs(number) and time.monotonic() < last:
                time.sleep(0.1)


def _runs(number: int) -> bool:
    """Whether a process is there, and more than an entry that nobody has collected."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command_output(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def submit(checkout: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen:
    """Snakemake with the Slurm profile on the smallest study; only its waiting is shortened."""
    hurry = ["--slurm-init-seconds-before-status-checks=1", "--seconds-between-status-checks=1", "--latency-wait=5"]
    # Without accounting, sacct knows nothing.
    command = [sys.executable, "-m", "snakemake", "--profile", PROFILE, "--slurm-status-command=squeue", *hurry]
    return subprocess.Popen(
        [*command, *arguments], cwd=checkout, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def said(run: subprocess.Popen) -> str:
    """What a run has printed when it has ended; one that does not end is killed."""
    try:
        return run.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        run.kill()
        raise AssertionError(f"still running after {LIMIT} s:\n{run.communicate()[0]}") from None
