"""Commands: a study of its own for a folder of images, and folders to try it on."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from commands import advise, folders, start
from PIL import Image

from shiftgain.domains import real
from shiftgain.files.errors import StudyError
from shiftgain.study.checks import study as checked
from shiftgain.study.faults.schema import schema_faults

ROOT = Path(__file__).parents[1]
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("folders")
    folders.write(folder)
    return folder


def merged(overlay: dict) -> dict:
    from snakemake.utils import update_config

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, overlay)
    return config


def test_the_folders_are_a_labelled_series_and_a_stack_without_masks(drawn):
    images, masks = folders.drawn("home")
    spec = {"name": "home", "path": str(drawn / "home"), "split": {"test": "all"}, "channels": 1}
    found = list(real.blocks("home", spec, "test"))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in found]), images)
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), masks)
    with tifffile.TiffFile(drawn / "away/stack.tif") as file:
        assert file.series[0].axes == "ZYX" and file.series[0].shape == (12, 96, 96)
    away = {"name": "away", "path": str(drawn / "away"), "split": {"test": "all"}, "channels": 1}
    assert not real.describe(away)["has_masks"]
    assert images[masks == 1].mean() - images[masks == 0].mean() > 80, "objects are bright"


def test_the_study_is_an_overlay_that_asks_for_masks_and_nothing_of_others(drawn, tmp_path):
    study = advise.overlay(str(drawn / "away"), str(drawn / "home"), None, str(tmp_path / "mine"))
    assert not list(schema_faults(merged(study)))
    found = checked(merged(study))
    assert list(found.segmented) == ["away/home/advised", "away/home/source"]
    assert set(study["pairs"][0]["methods"]) <= {"batchnorm", *SHIPPED["methods"]}
    every = list(range(12))
    spec = found.specs(["away"], [])["away"]
    assert real.parts("away", spec, {"dtype": "uint8", "images": 12, "has_masks": True}) == {
        "adapt": every,
        "test": every,
    }


def test_the_readme_shows_the_same_study_in_eight_lines(drawn):
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(results: .*?)```", text, re.DOTALL)
    assert len(block.splitlines()) <= 8
    shown = yaml.safe_load(block)
    written = advise.overlay(str(drawn / "away"), str(drawn / "home"), None, "results/mine")
    # What hangs on where things lie, and names.
    del written["report"]
    for study in (shown, written):
        del study["results"], study["pairs"][0]["name"]
        for domain in study["domains"].values():
            del domain["path"]
    assert shown == written
    assert not list(schema_faults(merged(yaml.safe_load(block))))


def test_a_network_comes_with_a_few_images(drawn, tmp_path):
    (tmp_path / "network.yaml").write_text("architecture: {}")
    study = advise.overlay(
        str(drawn / "away"), str(drawn / "home"), str(tmp_path / "network.yaml"), str(tmp_path / "r")
    )
    assert study["domains"]["home"] == {"path": str(drawn / "home"), "network": str(tmp_path / "network.yaml")}


def test_a_network_alone_gets_masks_to_choose_from(drawn, tmp_path):
    (tmp_path / "network.yaml").write_text("architecture: {}")
    study = advise.overlay(str(drawn / "away"), None, str(tmp_path / "network.yaml"), str(tmp_path / "r"))
    assert study["domains"]["network"] == {"network": str(tmp_path / "network.yaml")}
    assert study["pairs"][0]["methods"] == ["batchnorm"]
    assert study["segment"]["methods"] == ["advised", "batchnorm"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/My cells (2)", "My_cells_2"),
        ("/data/2024.tif", "domain_2024"),
        ("/data/é", "domain"),
        ("/a/b.ome.tif", "b"),
    ],
)
def test_a_folder_gives_its_name_to_the_domain(path, name):
    assert advise.name_of(path) == name


def test_folders_of_one_name_are_told_apart(tmp_path):
    for part in ("a/images", "b/images"):
        (tmp_path / part).mkdir(parents=True)
    study = advise.overlay(str(tmp_path / "a/images"), str(tmp_path / "b/images"), None, str(tmp_path / "r"))
    assert list(study["domains"]) == ["images_source", "images_target"]


def test_results_go_nowhere_near_those_of_another_study(drawn, tmp_path):
    study = advise.overlay(str(drawn / "away"), str(drawn / "home"), None, str(tmp_path / "mine"))
    assert yaml.safe_load(advise.place(study).read_text()) == study
    advise.place(study)
    other = advise.overlay(str(drawn / "home"), str(drawn / "home"), None, str(tmp_path / "mine"))
    (tmp_path / "mine/models").mkdir()
    with pytest.raises(StudyError, match=r"RESULTS: .*mine holds the study of other folders; choose another place"):
        advise.place(other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/report.html").touch()
    with pytest.raises(StudyError, match=r"RESULTS: .*full holds other files; choose a new or empty folder"):
        advise.place(study | {"results": str(tmp_path / "full")})
    with pytest.raises(StudyError, match=r"RESULTS: .*report.html is a file; choose a new or empty folder"):
        advise.place(study | {"results": str(tmp_path / "full/report.html")})


def test_what_was_asked_of_the_images_is_answered_in_the_study_that_was_written(drawn, tmp_path, monkeypatch, capsys):
    """The line says where; the answer stays, and a study that was refused gives its place to another."""
    for folder in ("numbered/images", "numbered/masks"):
        (tmp_path / folder).mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(*folders.drawn("home"), strict=True)):
        Image.fromarray(image).save(tmp_path / f"numbered/images/{number}.png")
        Image.fromarray(mask * (2 + number % 3)).save(tmp_path / f"numbered/masks/{number}.png")
    monkeypatch.chdir(tmp_path)
    asked = ["--target", str(drawn / "away"), "--source", "numbered", "--results", "mine", "--cores", "1"]
    assert advise.main(asked) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "config key domains.numbered: its masks hold 0 (" in line
    assert line.endswith(f"; write it into {tmp_path}/mine/study.yaml, and repeat the command")
    monkeypatch.chdir(tmp_path)
    path = Path("mine/study.yaml")
    study = yaml.safe_load(path.read_text())
    study["domains"]["numbered"]["background"] = 0
    path.write_text(yaml.safe_dump(study))
    ran = []
    monkeypatch.setattr(start, "run", lambda command, again: ran.append(command) or 1)
    assert advise.main(asked) == 1 and ran and not capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert yaml.safe_load(path.read_text()) == study
    other = advise.overlay(str(drawn / "away"), str(drawn / "home"), None, "mine")
    assert yaml.safe_load(advise.place(other).read_text()) == other


@pytest.mark.parametrize(
    ("target", "source", "results", "message"),
    [
        ("none", "home", "r", r"TARGET: no such file or folder '.*none'; correct it"),
        ("away", "none", "r", r"SOURCE: no such file or folder '.*none'; correct it"),
        ("away", None, "r", r"SOURCE: give a folder of images with masks"),
        ("away", "home", "my results", r"RESULTS: '.*my results' has characters other than"),
        ("", "home", "r", r"^TARGET: give the folder or file of the images to segment$"),
        ("away", "home", "", r"^RESULTS: give a new folder for everything that is made$"),
    ],
)
def test_what_cannot_be_is_one_line(drawn, tmp_path, target, source, results, message):
    """Empty is what `make advise` hands on of a variable that was not given."""
    target, source, results = (
        name and str(folder / name) for folder, name in ((drawn, target), (drawn, source), (tmp_path, results))
    )
    with pytest.raises(StudyError, match=message):
        advise.overlay(target, source, None, results)


@pytest.mark.parametrize("role", ["TARGET", "SOURCE"])
def test_results_do_not_lie_among_the_images(drawn, role):
    """Masks that are written there would be read as truth, or as images."""
    folders = {"TARGET": str(drawn / "away"), "SOURCE": str(drawn / "home")}
    with pytest.raises(StudyError, match=rf"^RESULTS: .*/results lies in {role}, with whose images .*; move it$"):
        advise.overlay(folders["TARGET"], folders["SOURCE"], None, str(Path(folders[role], "results")))


def test_the_end_names_what_came_out(drawn, tmp_path):
    study = advise.overlay(str(drawn / "away"), str(drawn / "home"), None, str(tmp_path / "mine"))
    folder = tmp_path / "mine/segmented/away/home/advised"
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"images": 12, "method": "turned", "why": "the advice is turned"}))
    (tmp_path / "mine/report.html").touch()
    assert advise.outcome(study) == [
        "12 images of away: turned (the advice is turned)",
        f"masks:   {folder}/masks",
        f"network: {folder}/network",
        f"page:    {tmp_path}/mine/report.html",
    ]


def test_the_same_command_goes_on_after_one_that_was_killed(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/.snakemake/locks").mkdir(parents=True)
    (tmp_path / "mine/.snakemake/locks/0.output.lock").write_text("report.html\n")
    study = advise.overlay(str(drawn / "away"), str(drawn / "home"), None, "mine")
    (tmp_path / "mine/study.yaml").write_text(yaml.safe_dump(study))
    folder = tmp_path / "mine/segmented/away/home/advised"
    asked = []

    def run(arguments: list[str]) -> int:
        asked.append((Path.cwd(), arguments))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").write_text(json.dumps({"images": 12, "method": "batchnorm", "why": "asked for"}))
        return 0

    monkeypatch.setattr(start, "snakemake", run)
    command = ["--target", str(drawn / "away"), "--source", str(drawn / "home"), "--results", "mine", "--cores", "2"]
    assert advise.main(command) == 0
    (_, unlock), (where, again) = asked
    assert where == tmp_path / "mine" and "--unlock" in unlock and "--unlock" not in again
    assert {"--rerun-incomplete", str(ROOT / "Snakefile"), str(tmp_path / "mine/study.yaml")} <= set(again)
    assert again[-2:] == ["--logger", "progress"] and start.progress.cores == 2
    printed = capsys.readouterr()
    assert "nothing of it is alive here: going on" in printed.err and f"masks:   {folder}/masks" in printed.out
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "alive", lambda folder: iter([7]))
    assert advise.main(command) == 1 and len(asked) == 2
    assert capsys.readouterr().err.startswith("error: another run works in this folder (process 7)")
