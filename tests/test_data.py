"""The real domains: their list is that of the studies, and only files with the right checksum get into place."""

import csv
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data import place

ROOT = Path(__file__).parents[1]
CONTENT = {"one.h5": b"first", "two.h5": b"second"}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture(params=["folder", "zip", "tar", "gztar"])
def origin(request, tmp_path) -> Path:
    """The two files in a folder of a folder, or of an archive, beside one that is not asked for."""
    folder = tmp_path / "theirs"
    (folder / "inner").mkdir(parents=True)
    for name, content in (CONTENT | {"other.h5": b"third"}).items():
        (folder / "inner" / name).write_bytes(content)
    if request.param == "folder":
        return folder
    return Path(shutil.make_archive(str(tmp_path / "packed"), request.param, folder))


@pytest.fixture
def ours(tmp_path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


def test_files_get_into_place(origin, ours):
    assert place.place(origin, ours, CHECKSUMS) == ["one.h5", "two.h5"]
    assert {path.name: path.read_bytes() for path in ours.iterdir()} == CONTENT
    place.place(origin, ours, CHECKSUMS)


def test_files_that_are_in_place_stay(tmp_path, ours):
    (ours / "one.h5").write_bytes(CONTENT["one.h5"])
    for origin in (ours, tmp_path):
        place.place(origin, ours, CHECKSUMS)
        assert not (ours / "one.h5").is_symlink() and (ours / "one.h5").read_bytes() == CONTENT["one.h5"]


def test_one_wrong_checksum_puts_nothing_into_place(origin, ours):
    with pytest.raises(place.PlacementError, match=r"two\.h5 has SHA-256") as raised:
        place.place(origin, ours, CHECKSUMS | {"two.h5": 64 * "0"})
    assert "\n" not in str(raised.value) and not list(ours.iterdir())


def test_some_of_the_files_are_enough_and_none_is_an_error(origin, ours):
    assert place.place(origin, ours, CHECKSUMS | {"three.h5": 64 * "0"}) == ["one.h5", "two.h5"]
    with pytest.raises(place.PlacementError, match=r"has none of three\.h5"):
        place.place(origin, ours, {"three.h5": 64 * "0"})


def test_what_is_no_archive_is_named(tmp_path, ours):
    (tmp_path / "notes.txt").write_text("text")
    for name in ("notes.txt", "absent"):
        with pytest.raises(place.PlacementError, match=f"{name}: neither a folder nor a zip or tar archive"):
            place.place(tmp_path / name, ours, CHECKSUMS)


def test_without_an_origin_the_command_says_what_to_give():
    run = subprocess.run([sys.executable, ROOT / "data/place.py"], capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr == f"error: {place.USAGE}\n"


def test_the_list_is_what_the_studies_look_for():
    with (ROOT / "data/files.csv").open() as file:
        entries = {entry["file"]: entry for entry in csv.DictReader(file)}
    domains = [
        yaml.safe_load(path.read_text()).get("domains", {}) for path in (ROOT / "workflow/studies").glob("*.yaml")
    ]
    paths = {domain["path"] for study in domains for domain in study.values() if "path" in domain}
    assert paths == {f"data/{name}" for name in entries}
    assert all(len(entry["sha256"]) == 64 and entry["terms"] for entry in entries.values())
    for name, entry in entries.items():
        if (ROOT / "data" / name).exists():
            assert place.sha256(ROOT / "data" / name) == entry["sha256"]
