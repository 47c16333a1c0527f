"""A finished study as a Workflow Run Crate: the RO-Crate metadata of what ran, on what, and what came out, as JSON-LD.

Profile: https://w3id.org/ro/wfrun/workflow/0.5, which extends Process Run Crate and Workflow RO-Crate 1.0. The graph is
written here, as the crates of other workflow systems are, because the library for RO-Crate would take none of these
sentences off us.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from shiftgain.files.runs import Run

METADATA = "ro-crate-metadata.json"
CRATE, WORKFLOW_CRATE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
CONTEXT = [f"{CRATE}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
MIT = "https://spdx.org/licenses/MIT"
FORMATS = {".csv": "text/csv", ".html": "text/html", ".yaml": "application/yaml", ".jsonl": "application/jsonl"}


class File(NamedTuple):
    """A file of the crate: its ``name`` there, what it is, its size in bytes and its SHA-256."""

    name: str
    description: str
    size: int
    sha256: str


def metadata(
    title: str, workflow: File, config: File, records: list[File], results: list[File], inputs: dict[str, str],
    runs: list[Run], published: str,
) -> dict:  # fmt: skip
    """The content of ``ro-crate-metadata.json``.

    ``records``: files about the runs; ``inputs``: what a user's data or network is called -> its digest;
    ``published``: date of the crate, ISO 8601. What came out is the result of the last of the ``runs``.
    """
    files = [workflow, config, *records, *results]
    software = {
        _home(name, version): (name, version) for run in runs for name, version in run.facts["versions"].items()
    }
    given = {f"#input-{number}": item for number, item in enumerate(inputs.items())}
    actions = [f"#run-{number}" for number in range(len(runs))]
    about: dict[str, Any] = {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"], "name": "shiftgain",
        "programmingLanguage": _id(SNAKEMAKE), "license": _id(MIT), "softwareRequirements": _ids(software),
        "version": runs[-1].facts["commit"],
    }  # fmt: skip
    graph = [
        _entity(METADATA, "CreativeWork", about=_id("./"), conformsTo=_ids([CRATE, WORKFLOW_CRATE])),
        _entity(
            "./", "Dataset", name=title, datePublished=published, conformsTo=_ids(PROFILES), license=_id("#licence"),
            description="A run of shiftgain: whether batch-norm adaptation works, for pairs of domains of images.",
            hasPart=_ids(_path(file) for file in files), mainEntity=_id(_path(workflow)), mentions=_ids(actions),
        ),
        *(_entity(uri, "CreativeWork", name=name, version=number) for uri, (name, number) in PROFILES.items()),
        _entity("#licence", "CreativeWork", name="none was chosen for these results",
                description="The code is under MIT. Put here the licence of the results and images, which are yours."),
        _entity(MIT, "CreativeWork", name="MIT"),
        _entity(SNAKEMAKE, "ComputerLanguage", name="Snakemake", url="https://snakemake.github.io",
                identifier="https://snakemake.github.io", version=runs[-1].facts["versions"]["snakemake"]),
        *(_entity(key, "SoftwareApplication", name=name, softwareVersion=number, url=key)
          for key, (name, number) in software.items()),
        *(_entity(key, "PropertyValue", name=name, value=digest, propertyID="sha256")
          for key, (name, digest) in given.items()),
        *(_action(key, run, workflow, [_path(config), *given], results if run is runs[-1] else [])
          for key, run in zip(actions, runs, strict=True)),
    ]  # fmt: skip
    for file in files:
        known = about if file is workflow else {"@type": "File", "name": file.name}
        graph.append({"@id": _path(file)} | known | _of(file))
    return {"@context": CONTEXT, "@graph": graph}


def _home(name: str, version: str) -> str:
    """Where a version of a package is described, or of Python."""
    if name == "python":
        return f"https://www.python.org/downloads/release/python-{version.replace('.', '')}/"
    return f"https://pypi.org/project/{name}/{quote(version)}/"


def _action(key: str, run: Run, workflow: File, objects: list[str], results: list[File]) -> dict:
    facts, machine = run.facts, run.facts["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    said = f"{facts['command']} at commit {facts['commit']}, on {machine['system']}: {machine['processor']}, "
    said += f"{machine['cores']} cores, {gpus}"
    status = "CompletedActionStatus" if run.succeeded else "FailedActionStatus"
    end = {"endTime": run.end} if run.end else {}
    made = {"result": _ids(map(_path, results))} if results else {}
    return _entity(
        key, "CreateAction", name=f"Run of {run.start}", description=said, instrument=_id(_path(workflow)),
        object=_ids(objects), startTime=run.start, actionStatus=f"http://schema.org/{status}", **end, **made,
    )  # fmt: skip


def _of(file: File) -> dict:
    form = FORMATS.get(Path(file.name).suffix, "text/plain")
    about = {"description": file.description, "contentSize": str(file.size), "encodingFormat": form}
    return about | {"sha256": file.sha256}


def _path(file: File) -> str:
    return quote(file.name)


def _entity(key: str, kind: str, **properties) -> dict:
    return {"@id": key, "@type": kind} | properties


def _id(key: str) -> dict[str, str]:
    return {"@id": key}


def _ids(keys: Iterable[str]) -> list[dict[str, str]]:
    return [_id(key) for key in keys]
