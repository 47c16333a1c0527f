"""The crate of a study: what it holds and refers to, and that the validator of its profile finds no fault in it."""

import importlib.util
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from commands import crate as command

from shiftgain.files import runs, sums
from shiftgain.files.errors import StudyError
from shiftgain.files.sums import Job
from shiftgain.report import crate
from shiftgain.study.checks import study

ROOT = Path(__file__).parents[1]
CONTEXT = Path(__file__).with_name("ro_crate_context.json")


@pytest.fixture
def finished(tmp_path, monkeypatch) -> tuple[Path, list[Job]]:
    """A results folder with what a run leaves there, in small, and its jobs."""
    results = tmp_path / "results"
    (results / "tables").mkdir(parents=True)
    (results / "tables/pairs.csv").write_text("a\n1\n")
    (results / "report.html").write_text("<html></html>")
    (results / "models").mkdir()
    (results / "models/0.30-0.70.h5").write_bytes(b"weights")
    jobs = []
    for name, output in (("tabulate", "tables/pairs.csv"), ("report", "report.html"), ("train", "models/0.30-0.70.h5")):
        jobs.append(Job(str(results / f"logs/{name}.log"), [str(results / output)]))
        sums.record(*jobs[-1])
    runs.started(results, ["snakemake", "--cores", "2"])
    runs.ended(results, False)
    runs.started(results, ["make", "my run"])
    runs.ended(results, True)
    return results, jobs


@pytest.fixture
def written(finished) -> Path:
    results, jobs = finished
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    command.write(study(shipped | {"results": str(results)}), jobs, results / "crate")
    return results / "crate"


def entities(folder: Path) -> dict[str, dict]:
    return {entity["@id"]: entity for entity in json.loads((folder / crate.METADATA).read_text())["@graph"]}


def references(value) -> set[str]:
    """Every @id that a property names."""
    if isinstance(value, dict):
        return {value["@id"]}
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_file_of_the_crate_is_described_with_its_digest_and_no_other(written):
    described = {key: entity for key, entity in entities(written).items() if "sha256" in entity}
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()} - {crate.METADATA}
    assert described.keys() == files == references(entities(written)["./"]["hasPart"])
    assert files == {"Snakefile", "config.yaml", "SHA256SUMS", "runs.jsonl", "report.html", "tables/pairs.csv"}
    for name, entity in described.items():
        assert entity["sha256"] == sums.digest(written / name)
        assert entity["contentSize"] == str((written / name).stat().st_size)


def test_whatever_is_referred_to_is_described(written):
    found = entities(written)
    for key, entity in found.items():
        wanted = set().union(*(references(value) for name, value in entity.items() if not name.startswith("@")))
        assert wanted - {crate.CRATE} <= found.keys(), key


def test_the_runs_say_by_what_when_on_what_and_with_which_versions(written):
    found = entities(written)
    first, last = (found[key["@id"]] for key in found["./"]["mentions"])
    assert first["actionStatus"].endswith("/FailedActionStatus") and "result" not in first
    assert last["actionStatus"].endswith("/CompletedActionStatus")
    assert references(last["result"]) == {"report.html", "tables/pairs.csv"}
    assert first["startTime"] <= first["endTime"] <= last["startTime"] <= last["endTime"]
    assert last["description"].startswith("make 'my run' at commit ") and " cores, " in last["description"]
    assert found["Snakefile"]["version"] == runs.read(written)[-1].facts["commit"]
    used = [found[key] for key in references(found["Snakefile"]["softwareRequirements"])]
    software = {entity["name"]: entity["softwareVersion"] for entity in used}
    assert software["python"] == platform.python_version() and len(software) == len(used)
    assert all(software[name] == version(name) for name in ("torch", "snakemake", "numpy"))


def test_all_results_are_in_the_sums_and_the_config_is_whole(written):
    lines = (written / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["models/0.30-0.70.h5", "report.html", "tables/pairs.csv"]
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert yaml.safe_load((written / "config.yaml").read_text()).keys() >= shipped.keys()


def test_a_users_images_and_networks_are_inputs_by_their_digests(finished):
    results, jobs = finished
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    known = study(shipped | {"results": str(results)})
    known.config["domains"]["mine"] = {"path": "mine", "digest": "ab" * 32, "network": {"weights_sha256": "cd" * 32}}
    known.__dict__["adopted"] = {"mine": {"weights_sha256": "cd" * 32}}
    command.write(known, jobs, results / "crate")
    found = entities(results / "crate")
    *_, last = (found[key["@id"]] for key in found["./"]["mentions"])
    given = {found[key]["value"] for key in references(last["object"]) if found[key]["@type"] == "PropertyValue"}
    assert given == {"ab" * 32, "cd" * 32} and "config.yaml" in references(last["object"])


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_study_of_which_nothing_says_that_it_was_run_to_its_end_has_no_crate(finished, left):
    results, jobs = finished
    path = results / runs.NAME
    path.write_text("\n".join(path.read_text().splitlines()[:left]))
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    with pytest.raises(StudyError, match=r"results: nothing says how the study was run to its end; make run notes it"):
        command.write(study(shipped | {"results": str(results)}), jobs, results / "crate")
    assert not (results / "crate").exists()


def test_a_run_that_was_killed_has_no_end_and_a_cut_line_is_passed_over(tmp_path):
    runs.started(tmp_path, ["a"])
    with (tmp_path / runs.NAME).open("a") as file:
        file.write('{"start": "20\n')
    runs.started(tmp_path, ["b"])
    runs.ended(tmp_path, True)
    first, second = runs.read(tmp_path)
    assert (first.end, first.succeeded, second.succeeded) == (None, False, True)
    assert first.facts["machine"]["cores"] >= 1 and first.facts["versions"]["torch"]


def faults_of(folder: Path, cache: Path) -> list[str]:
    """What the validator says against a crate, of what the profile requires, without the network.

    Its cache is given the one page that it would fetch: the terms of RO-Crate 1.1 that crates of ours use.
    """
    from requests_cache import CachedResponse, CachedSession
    from requests_cache.models import CachedRequest

    url = f"{crate.CRATE}/context"
    request = CachedRequest(method="GET", url=url, headers={"Accept": "application/ld+json, application/json"})
    page = CachedResponse(
        status_code=200, url=url, request=request, headers={"Content-Type": "application/ld+json"},
        content=CONTEXT.read_bytes(),
    )  # fmt: skip
    session = CachedSession(str(cache), backend="sqlite", expire_after=-1)
    session.cache.save_response(page)
    validator = Path(sys.executable).with_name("rocrate-validator")
    command = [str(validator), "-y", "validate", "--offline", "--cache-path", str(cache), "--no-paging"]
    command += ["--profile-identifier", "workflow-run-crate", "--requirement-severity", "required"]
    run = subprocess.run([*command, "--output-format", "json", str(folder)], capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return [issue["message"] for issue in json.loads(run.stdout)["issues"]]


@pytest.mark.skipif(
    importlib.util.find_spec("rocrate_validator") is None,
    reason="the validator of RO-Crate is not here: pip install -r requirements-crate.txt",
)
def test_the_validator_of_the_profile_finds_no_fault(written, tmp_path):
    assert faults_of(written, tmp_path / "cache") == []
    text = json.loads((written / crate.METADATA).read_text())
    text["@graph"] = [entity for entity in text["@graph"] if entity["@type"] != "CreateAction"]
    (written / crate.METADATA).write_text(json.dumps(text))
    (fault,) = faults_of(written, tmp_path / "cache")
    assert "At least one CreateAction" in fault
