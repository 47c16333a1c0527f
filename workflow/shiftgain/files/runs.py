"""What is known of every run of a study, written as it starts and as it ends: ``runs.jsonl`` of the results folder."""

import json
import os
import platform
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from shiftgain.files.commit import commit

NAME = "runs.jsonl"


class Run(NamedTuple):
    """A run: when it began, by what, and its end and whether it was a success, where that is known."""

    start: str
    facts: dict
    end: str | None = None
    succeeded: bool = False


def started(results: str | Path, command: Sequence[str]) -> None:
    """Note that ``command`` starts to write into ``results``: the time, commit, versions and kind of machine."""
    facts = {"command": shlex.join(command), "commit": commit(), "versions": versions(), "machine": machine()}
    _append(results, {"start": _now()} | facts)


def ended(results: str | Path, succeeded: bool) -> None:
    """Note that the run which started last has ended."""
    _append(results, {"end": _now(), "succeeded": succeeded})


def read(results: str | Path) -> list[Run]:
    """The runs that were noted, in their order; one that was killed has no end."""
    path = Path(results, NAME)
    found: list[Run] = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:  # cut short
            continue
        if "start" in entry:
            found.append(Run(entry.pop("start"), entry))
        elif found:
            found[-1] = found[-1]._replace(**entry)
    return found


def versions() -> dict[str, str]:
    """Package -> version, of all that is installed beside Python and this, in the order of the alphabet."""
    found = {entry.name: entry.version for entry in distributions() if entry.name}
    return {"python": platform.python_version()} | dict(sorted(found.items(), key=lambda item: item[0].lower()))


def machine() -> dict:
    """Of what kind this machine is, not which: system, processor, number of cores, and the names of its GPUs."""
    cpus = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", cpus.read_text()) if cpus.is_file() else []
    gpus = [path.read_text() for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return {
        "system": f"{platform.uname().system} {platform.machine()}",
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "gpus": [match[1] for text in gpus if (match := re.search(r"Model:\s*(.+)", text))],
    }


def _append(results: str | Path, entry: dict) -> None:
    path = Path(results, NAME)
    # Where nothing can be written, the first job says so, and how to mend it.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
