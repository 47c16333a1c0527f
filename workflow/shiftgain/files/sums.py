"""The SHA-256 of every file that a job wrote, kept beside its log: a file that changes later differs from it.

A record is what ``sha256sum`` prints, with names as seen from its own folder: ``sha256sum --check`` reads it, and a
results folder that is moved keeps it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from shiftgain.files.tables import replacing

# As sha256sum writes names that hold one of these; its line then begins with a backslash.
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")


class Job(NamedTuple):
    """A job of a study: its ``log``, and its ``outputs``, files and folders."""

    log: str
    outputs: list[str]


class Fault(NamedTuple):
    """A file that is not as it was written, ``what`` is wrong with it, and the ``output`` that it is or lies in."""

    file: str
    what: str
    output: str


def digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def record_of(log: str | Path) -> Path:
    """Where the record of the job with this log is."""
    return Path(log).with_suffix(".sha256")


def record(log: str | Path, outputs: Iterable[str]) -> None:
    """Write the record of a job that has just written ``outputs``; of a folder all files that are in it."""
    path = record_of(log)
    files = (file for output in outputs for file in _files(Path(output)))
    lines = (_line(digest(file), os.path.relpath(file, path.parent)) for file in files)
    content = os.fsencode("".join(lines))
    with replacing(path) as partial:
        partial.write_bytes(content)


def recorded(log: str | Path) -> dict[str, str]:
    """File -> digest, as the job with this log recorded them; nothing without a record.

    A line of a record that is damaged is left out.
    """
    path, found = record_of(log), {}
    for match in filter(None, map(LINE.fullmatch, _lines(path))):
        escaped, known, name = match.groups()
        if escaped:
            name = re.sub(r"\\[\\nr]", lambda two: {code: sign for sign, code in ESCAPES.items()}[two[0]], name)
        found[os.path.normpath(path.parent / name)] = known
    return found


def faults(jobs: Iterable[Job]) -> Iterator[Fault]:
    """What of the outputs of ``jobs`` is missing, or differs from what was recorded when it was written."""
    for job in jobs:
        known, record = recorded(job.log), record_of(job.log)
        if not all(map(LINE.fullmatch, _lines(record))):
            # Of a folder, the file that it told of would not be missed.
            yield Fault(str(record), "a line of this record is damaged", job.outputs[0])
        for output in job.outputs:
            place = os.path.normpath(output)
            inside = [file for file in known if file == place or file.startswith(place + os.sep)]
            if not inside:
                there = Path(output).exists()
                yield Fault(output, "nothing recorded what was written" if there else "missing", output)
            for file in inside:
                if not Path(file).is_file():
                    yield Fault(file, "missing", output)
                elif digest(file) != known[file]:
                    yield Fault(file, "changed since it was written", output)


def _lines(record: Path) -> list[str]:
    text = os.fsdecode(record.read_bytes()) if record.is_file() else ""
    return text.removesuffix("\n").split("\n") if text else []


def _files(output: Path) -> list[Path]:
    return sorted(file for file in output.rglob("*") if file.is_file()) if output.is_dir() else [output]


def _line(known: str, name: str) -> str:
    escaped = "".join(ESCAPES.get(sign, sign) for sign in name)
    return f"{'' if escaped == name else chr(92)}{known}  {escaped}\n"
