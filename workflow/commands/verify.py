"""Whether every result of a study is as it was written: ``python -m commands.verify [SNAKEMAKE ARGUMENTS]``.

The arguments are those that run the study, so that it is found from any directory, and through a workflow that uses it
as a module. A file that is missing or has changed is named, with the command that makes it again.
"""

import argparse
import contextlib
import io
import os
import shlex
import sys

import snakemake_logger_plugin_progress as progress
from commands import start

from shiftgain.files.sums import Fault, Job, faults


def jobs(arguments: list[str]) -> list[Job]:
    """Every job of the study that Snakemake runs with these arguments.

    Errors: SystemExit with what Snakemake says where it cannot tell.
    """
    return _planned([*arguments, "--forceall"])


def is_up_to_date(arguments: list[str]) -> bool:
    """Whether a run with these arguments would do nothing. Errors: as :func:`jobs`."""
    return not _planned(arguments)


def _planned(arguments: list[str]) -> list[Job]:
    printed = io.StringIO()
    progress.named.clear()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        failed = start.snakemake([*arguments, "--dry-run", "--nolock", "--logger", "progress"])
    if failed:
        raise SystemExit(printed.getvalue().strip())
    return [Job(log, outputs) for log, outputs in progress.named if log]


def line(fault: Fault, repair: str) -> str:
    """A fault in words; ``repair``: the command that ends with what is made again."""
    return f"{fault.file}: {fault.what}; make it again: {repair}{shlex.quote(fault.output)}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--repair", help="what makes a file again whose name is put behind it")
    parser.add_argument("--directory", "-d", help="as for Snakemake")
    asked, rest = parser.parse_known_args(arguments)
    rest += ["--directory", asked.directory] if asked.directory else []
    repair = asked.repair or shlex.join(["snakemake", "--cores", "1", *rest, "--forcerun", ""])[:-2]
    study = jobs(rest)
    os.chdir(asked.directory or ".")
    found = []
    for fault in faults(study):
        print(line(fault, repair), flush=True)
        found.append(fault)
    if found:
        print(f"Files that are not as they were written: {len(found)}.", file=sys.stderr)
        return 1
    print(f"All that {len(study)} jobs wrote is as they wrote it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
