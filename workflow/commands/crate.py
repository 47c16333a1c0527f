"""Write a finished study as a Workflow Run Crate, ``RESULTS/crate``: ``python -m commands.crate [--study OVERLAY]``.

The crate holds the workflow, the config, the tables and the page, what is known of every run, and the SHA-256 of every
other result; images and networks stay where they are.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import yaml
from commands import start, verify

from shiftgain.files import runs, sums
from shiftgain.files.errors import StudyError
from shiftgain.report import crate
from shiftgain.report.crate import File
from shiftgain.study.plan import Study

CHECKOUT = Path(__file__).parents[2]
SUMS = "SHA256SUMS"


def write(study: Study, jobs: list[sums.Job], folder: Path) -> None:
    """Write the crate of a study that has run into ``folder``, which is replaced.

    Errors: :class:`StudyError` where it has not run to its end, or not as it was noted.
    """
    results = Path(study.config["results"])
    known = {os.path.relpath(file, results): said for job in jobs for file, said in sums.recorded(job.log).items()}
    known_runs = runs.read(results)
    if not known_runs or not known_runs[-1].succeeded:
        raise StudyError(f"{results}: nothing says how the study was run to its end; make run notes it")
    with tempfile.TemporaryDirectory(dir=results, prefix="crate-") as place:
        made = Path(place)
        (made / "config.yaml").write_text(yaml.safe_dump(study.config, sort_keys=False))
        (made / SUMS).write_text("".join(f"{said}  {name}\n" for name, said in sorted(known.items())))
        shutil.copy(CHECKOUT / "Snakefile", made)
        shutil.copy(results / runs.NAME, made)
        carried = [name for name in sorted(known) if name.startswith("tables/") or name == "report.html"]
        for name in carried:
            (made / name).parent.mkdir(exist_ok=True)
            shutil.copy(results / name, made / name)
        text = crate.metadata(
            study.config["report"]["title"],
            workflow=_file(made, "Snakefile", "The workflow, whose rules and scripts are at the commit that is named"),
            config=_file(made, "config.yaml", "The config of the study, every key spelled out"),
            records=[
                _file(made, runs.NAME, "Command, commit, versions of all packages, and machine of every run"),
                _file(made, SUMS, "SHA-256 of every result, by its place in the results folder"),
            ],
            results=[_file(made, name, "The page" if name == "report.html" else "A table") for name in carried],
            inputs=inputs(study),
            runs=known_runs,
            published=datetime.now(UTC).date().isoformat(),
        )
        (made / crate.METADATA).write_text(json.dumps(text, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)


def inputs(study: Study) -> dict[str, str]:
    """What a study took of the user's, in words -> its digest: images and masks of domains, weights of networks."""
    entries = study.config["domains"].items()
    found = {f"images and masks of domain {name}": entry["digest"] for name, entry in entries if "digest" in entry}
    return found | {f"weights of network {name}": entry["weights_sha256"] for name, entry in study.adopted.items()}


def _file(folder: Path, name: str, description: str) -> File:
    return File(name, description, (folder / name).stat().st_size, sums.digest(folder / name))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", nargs="*", default=[], help="overlays of config.yaml, one over the other")
    asked = parser.parse_args(arguments)
    configs = ["config.yaml", *asked.study]
    try:
        study = start.read(configs)
        jobs = verify.jobs(["--configfile", *configs])
        if n := len(list(sums.faults(jobs))):
            raise StudyError(f"{n} results are missing or not as they were written; make verify names them")
        if not verify.is_up_to_date(["--configfile", *configs]):
            raise StudyError("the results are not of this code and config; make run first")
        folder = Path(study.config["results"], "crate")
        write(study, jobs, folder)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The crate: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
