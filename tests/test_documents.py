"""Documents: rendered pages are up to date, and commands, paths and studies that documents name exist."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from docs import published, render

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *[ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "data/README.md")],
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", render.PAGES)
def test_a_rendered_page_is_up_to_date(page):
    assert (ROOT / page).read_text() == render.render(page), "`make docs` writes it anew"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document):
    text = document.read_text()
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE)) <= targets
    for path in re.findall(r"[\w/.]+\.(?:yaml|py|smk|svg|csv|json|lock|txt|md)\b", text):
        ours = path.startswith(("workflow/", "tests/", "envs/", "docs/", "data/", "locks/", "results/published/"))
        if ours and "NAME" not in path:
            assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / link).exists(), link


def test_the_citation_has_the_version_and_licence_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"] and citation["license"] in (ROOT / "LICENSE").read_text()
    assert all(author["name"] in (ROOT / "LICENSE").read_text() for author in citation["authors"])


def test_every_study_is_in_the_list_with_its_results():
    text = (ROOT / "docs/studies.md").read_text()
    for path in (ROOT / "workflow/studies").glob("*.yaml"):
        folder = yaml.safe_load(path.read_text())["results"]
        assert re.search(rf"^\| `workflow/studies/{path.name}` \| .* \| `{folder}/` \|$", text, re.MULTILINE), path.name


def test_every_published_file_has_the_command_that_made_it():
    files = {path.name for path in published.PUBLISHED.iterdir()} - {"README.md"}
    assert published.made_by().keys() == files
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in published.made_by().values():
        target, study = re.fullmatch(r"`make (\w+)(?: STUDY=(\S+))?`", command).groups()
        assert target in targets and (study is None or (ROOT / study).exists()), command


def test_every_key_of_the_config_is_described_in_the_page():
    for section in render.configuration()["sections"].values():
        for path, meaning, values, _ in section["keys"]:
            assert meaning and values, path


def test_a_word_has_one_sense():
    lines = re.findall(r"^([^#\s].*?):(?: |$)", (ROOT / "workflow/report/glossary.yaml").read_text(), re.MULTILINE)
    words = [word for line in lines for word in re.sub('"', "", line).split(", ")]
    assert len(words) == len(set(words)) == len(", ".join(render.glossary()["words"]).split(", "))


def test_the_page_of_results_marks_what_is_ahead():
    table = published.published("baselines.csv")
    pair = table.query("source == '0.30-0.70' and target == '0.50-0.90'")
    (cells,) = published.baselines(pair, published.METHODS, bold=True)
    assert [cell.startswith("**") for cell in cells] == [False, False, False, True, False, False, False, False]
    tied = pair.assign(iou=[0.5] * len(pair))
    assert not any("**" in cell for cell in published.baselines(tied, published.METHODS, bold=True)[0])
