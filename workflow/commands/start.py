"""What `make run` and `make plan` start: Snakemake, after what can be said before it, and with a line of progress.

`make advise` starts it in the same way. A mistyped study or a slip in its YAML is one line. The lock of a run that was
killed is taken away where nothing of that run is alive on this machine, and named where something is.
"""

import argparse
import difflib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import snakemake_logger_plugin_progress as progress
import yaml

from shiftgain.files.errors import StudyError
from shiftgain.study import costs
from shiftgain.study.checks import study
from shiftgain.study.given import duplicate_keys
from shiftgain.study.plan import Study

WORKFLOW = Path(__file__).parents[1]
STUDIES = WORKFLOW / "studies"
BENCH = WORKFLOW.parent / "results" / "published" / "bench.json"
# Words of the commands that run Snakemake in their own process, which does not bear its name.
COMMANDS = {"commands.start", "commands.advise"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--study", nargs="*", default=[], help="overlays of config.yaml, one over the other")
    parser.add_argument("--plan", action="store_true", help="say what a run would take, and run nothing")
    parser.add_argument("--cores", type=int, required=True)
    asked, rest = parser.parse_known_args(arguments)
    configs = ["config.yaml", *asked.study]
    try:
        whole = read(configs)
        known = expect(whole, asked.cores)
        again = not asked.plan and locked(Path.cwd())
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = ["--cores", str(asked.cores), *(["--configfile", *configs] if asked.study else []), *rest]
    if asked.plan:
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            failed = snakemake([*command, "--dry-run", "--logger", "progress"])
        disk = costs.disk(whole, costs.slopes(BENCH))
        lines = plan(progress.planned, known, disk, progress.memory, asked.cores)
        print(*([printed.getvalue()] if failed else lines), sep="\n")
        return failed
    failed = run(command, again)
    page = Path(whole.config["results"], "report.html")
    if not failed and not progress.planned and page.is_file():
        print(f"Nothing was to be done. The page: {page.resolve().as_uri()}", file=sys.stderr)
    return failed


def expect(whole: Study, cores: int) -> dict[str, costs.Cost]:
    """Rule -> what one of its jobs is expected to cost, of which the lines of progress are told too."""
    known = costs.costs(whole, costs.slopes(BENCH), Path(whole.config["results"], "benchmarks"))
    progress.expected = {rule: cost.seconds for rule, cost in known.items() if cost.seconds is not None}
    progress.cores = cores
    return known


def run(command: list[str], again: bool) -> int:
    """Run Snakemake with lines of progress; ``again``: after a run that is dead and left its lock. Its exit status."""
    if again:
        print("The run before was stopped, and left its lock; nothing of it is alive here: going on.", file=sys.stderr)
        snakemake([*command, "--unlock", "--quiet", "all"])
    return snakemake([*command, "--rerun-incomplete", "--logger", "progress"])


def read(paths: list[str]) -> Study:
    """The study of the configs at ``paths``, each laid over those before it.

    Errors: :class:`StudyError`, in one line with file and line for a slip in the YAML; with the nearest name for a file
    that is not there.
    """
    from snakemake.utils import update_config

    config: dict = {}
    for path in paths:
        update_config(config, mapping(path))
    duplicate_keys(paths)
    return study(config)


def mapping(path: str) -> dict:
    """The mapping in a YAML file. Errors: as :func:`read`."""
    if not Path(path).is_file():
        names = [os.path.relpath(other) for other in sorted(STUDIES.glob("*.yaml"))]
        near = difflib.get_close_matches(path, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise StudyError(f"no study {path}: {hint}")
    try:
        found = yaml.safe_load(Path(path).read_text())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}" if mark else ""
        raise StudyError(f"{path}{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise StudyError(f"{path}:1: a study is a mapping of keys such as results and pairs")
    return found


def locked(folder: Path) -> bool:
    """Whether ``folder`` bears the lock of a run that is dead.

    Errors: :class:`StudyError` naming the process where one is alive, or that nobody can tell.
    """
    locks = folder / ".snakemake" / "locks"
    if not (locks.is_dir() and any(locks.iterdir())):
        return False
    if not Path("/proc/self/cwd").exists():
        raise StudyError(
            "a run has locked this folder, and it cannot be told here whether it is alive: "
            "if it is not, `.venv/bin/snakemake --unlock`, then the same command"
        )
    for process in alive(folder):
        raise StudyError(f"another run works in this folder (process {process}): wait for it, or stop it")
    return True


def alive(folder: Path) -> Iterator[int]:
    """Processes of Snakemake, and of its jobs, that work in ``folder``, this one left out."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            ours = "snakemake" in words or COMMANDS & set(words.split("\0"))
            if ours and (entry / "cwd").resolve() == folder.resolve():
                yield int(entry.name)
        except OSError:  # it has ended, or is another user's
            continue


def snakemake(arguments: list[str]) -> int:
    """Run Snakemake in this process; its exit status."""
    from snakemake.cli import main as run

    try:
        run(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def plan(
    jobs: dict[str, int], known: dict[str, costs.Cost], disk: float | None, memory: dict[str, int], cores: int
) -> Iterator[str]:
    """Lines that say how many jobs a run has, and what they take: core minutes by rule, minutes, disk and memory."""
    if not jobs:
        yield "Nothing to be done: the page is up to date."
        return
    yield f"{'rule':20}{'jobs':>6}{'s each':>9}{'core min':>10}  from"
    total, unknown = 0.0, []
    for rule, n in jobs.items():
        cost = known.get(rule, costs.Cost(None, ""))
        if cost.seconds is None:
            unknown.append(rule)
            yield f"{rule:20}{n:6}{'?':>9}{'?':>10}  not measured"
            continue
        total += n * cost.seconds
        yield f"{rule:20}{n:6}{cost.seconds:9.1f}{n * cost.seconds / 60:10.1f}  {cost.origin}"
    rest = f", and what is not measured ({len(unknown)} rules)" if unknown else ""
    yield f"{sum(jobs.values())} jobs: {progress.spoken(total / cores)} on {cores} cores{rest}."
    yield "Times are of the machine that they were measured on (docs/scale.md); real images count as synthetic ones."
    if disk is not None:
        yield f"Disk: {disk / 2**20:,.0f} MB for all images, masks and latents of the study."
    most = max((memory.get(rule, 0) for rule in jobs), default=0)
    yield f"Memory: a job asks for {most / 1000:g} GB at most, {cores} at a time for {cores * most / 1000:g} GB."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
