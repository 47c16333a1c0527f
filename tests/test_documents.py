"""Documents: rendered pages are up to date, and commands, paths and studies that documents name exist."""

import re
import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from docs import published, render, scale
from shiftgain.findings import pairs
from shiftgain.latents import channels
from shiftgain.prediction import advice
from shiftgain.report import of_latents

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


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


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
        target, study = re.fullmatch(r"`make (\w+)(?: STUDY=(\S+|\".+\"))?`", command).groups()
        overlays = (study or "").strip('"').split()
        assert target in targets and all((ROOT / overlay).exists() for overlay in overlays), command


def test_every_key_of_the_config_is_described_in_the_page():
    for section in render.configuration()["sections"].values():
        for path, meaning, values, _ in section["keys"]:
            assert meaning and values, path


def test_a_word_has_one_sense():
    lines = re.findall(r"^([^#\s].*?):(?: |$)", (ROOT / "workflow/report/glossary.yaml").read_text(), re.MULTILINE)
    words = [word for line in lines for word in re.sub('"', "", line).split(", ")]
    assert len(words) == len(set(words)) == len(", ".join(render.glossary()["words"]).split(", "))


def gains_of(*rows: tuple) -> pd.DataFrame:
    """Rows of a table of gains: the key of each pair, IoU target-trained and before, and after by method, and gains."""
    columns = ["source", "target", "transform", "level", "seed", "iou_target_trained", "iou_before"]
    table = pd.DataFrame([
        dict(zip(columns, row, strict=True))
        | {"method": method, "iou_after": iou}
        for *row, by_method in rows for method, iou in by_method.items()
    ])  # fmt: skip
    return table.assign(gain_iou=table["iou_after"] - table["iou_before"])


def test_remedies_are_compared_on_the_pairs_that_tried_one():
    share, flip = ("0.30-0.70", "0.30-0.70", "foreground", 1.0), ("0.30-0.70", "0.70-0.30", "identity", 0.0)
    nan, tried = float("nan"), {"batchnorm": 0.5, "balanced": 0.9, "turned": 0.1, "prior_4": 1.0}
    table = gains_of(
        (*share, 0, 0.98, 0.4, tried), (*share, 1, 0.96, 0.6, tried | {"balanced": 0.7}),
        (*share[:3], 2.0, 0, nan, 0.95, tried | {"balanced": 0.6}),
        (*flip, 0, nan, 0.1, {"batchnorm": 0.0, "balanced": 0.0, "turned": 0.7, "image": 0.8}),
        (*share[:3], -1.0, 0, nan, 0.4, {"batchnorm": 0.5, "prior_4": 1.0}),
    )  # fmt: skip
    rows = published.remedy_rows(table, published.groups_of("workflow/studies/remedies.yaml"))
    assert rows.best == "balanced", "image was not tried on all pairs, prior_4 is no remedy"
    assert rows.cells == [
        ["share", "2", "0.725", "0.500", "0.700", "0.875", "0.970 (1)"],
        ["polarity", "1", "0.100", "0.000", "0.000", "0.800", ""],
    ]
    pairs = pd.DataFrame(
        {
            "source": ["nuclei_a", "vessel_b", "vessel_b", "nuclei_a~augmented"],
            "target": ["nuclei_c", "vessel_b", "vessel_a", "nuclei_a"],
        }
    )
    assert list(published.groups_of(None)(pairs)) == ["nuclei", "home", "vessel", "nuclei, augmented"]


def test_what_a_remedy_costs_at_home():
    here, there = ("a", "a", "identity", 0.0, 0, float("nan")), ("a", "b", "identity", 0.0, 0, float("nan"))
    moved = ("a", "a@noise=0.1", "noise", 0.1, 0, float("nan"))
    gains = gains_of(
        (*here, 0.5, {"image": 0.4, "balanced": 0.495, "told_turned": 0.1}),
        (*there, 0.5, {"image": 0.9}),
        (*moved, 0.5, {"image": 0.9}),
    )
    assert published.home_rows(gains) == [["domain", "`image`", "`balanced`"], ["`a`", "**-0.100**", "-0.005"]]


def test_what_is_predicted_in_images_without_objects():
    """Means over seeds; targets all of whose images have objects are left out, and the network as it is comes first."""
    rows = [("b", "image", 0, 0.2), ("b", "source", 0, 0.1), ("b", "image", 1, 0.2), ("b", "source", 1, 0.3),
            ("a", "source", 0, 0.0), ("a", "image", 0, 0.025), ("c", "source", 0, float("nan"))]  # fmt: skip
    found = published.empty_rows(pd.DataFrame(rows, columns=["source", "method", "seed", "empty_foreground"]))
    assert found == [["domain", "kept", "`image`"], ["`b`", "20.0%", "20.0%"], ["`a`", "0.0%", "2.5%"]]


def test_the_page_of_results_has_a_section_on_remedies_once_they_are_published(tmp_path, monkeypatch):
    assert ("## What mends" in render.render("docs/results.md")) == (published.PUBLISHED / "remedies.csv").exists()
    folder = shutil.copytree(published.PUBLISHED, tmp_path / "published")
    nuclei = ("nuclei_a", "nuclei_b", "identity", 0.0, 0, 0.8, 0.2, {"batchnorm": 0.1, "turned": 0.7})
    gains_of(nuclei).to_csv(folder / "remedies_real.csv", index=False)
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "| `remedies_real.csv` | `make natural` | rows | abc, 2027-01-01 |\n")
    monkeypatch.setattr(published, "PUBLISHED", folder)
    text = render.render("docs/results.md")
    assert re.search("best remedy throughout, of \\d+: `turned`", text)
    assert "*`remedies_real.csv`, by `make natural`.*" in text
    assert "\n| nuclei | 1 | 0.200 | 0.100 | 0.700 | 0.700 | 0.800 |\n" in text


def test_the_advice_on_real_pairs_is_judged_by_what_following_it_gives():
    """Of three pairs: acted on rightly, kept where acting would have harmed, not told where it would have helped."""
    first, second, third = (("a", target, "identity", 0.0, 0) for target in ("b", "c", "d"))
    tried = {"batchnorm": 0.5, "turned": 0.9, "alpha_bn": 1.0}
    gains = gains_of(
        (*first, 0.95, 0.2, tried), (*second, 0.95, 0.8, tried | {"turned": 0.6}), (*third, 0.95, 0.4, tried)
    )
    says = [
        "action",
        "decision",
        "gain",
        "gain_low",
        "gain_high",
        "expected_source",
        "expected_batchnorm",
        "expected_turned",
    ]
    advice = pd.DataFrame([
        dict(zip(["source", "target", "transform", "level", "seed", *says], (*pair, *told), strict=True))
        for pair, told in [
            (first, ("turned", "turned", 0.5, 0.3, 0.6, 0.2, 0.4, 0.7)),
            (second, ("turned", "keep", 0.005, -0.1, 0.1, 0.8, 0.7, 0.805)),
            (third, ("batchnorm", "unknown", 0.3, -0.2, 0.8, 0.3, 0.6, 0.5)),
        ]
    ])  # fmt: skip
    table = published.followed(gains, advice)
    assert list(table["true_gain"]) == pytest.approx([0.7, -0.2, 0.1]), "of the action that is named"
    assert list(table["advised"]) == [0.9, 0.8, 0.5], "of what cannot be told, what is expected to be best"
    assert list(table["best"]) == [0.9, 0.8, 0.9], "alpha_bn was not among what was scored"
    assert published.followed_row(table.assign(throughout=[0.1, 0.2, 0.3])) == [
        *["3", "1 / 1 / 1", "2 of 3", "33.3%", "0.50"],
        *["0.467", "0.500", "0.200", "0.733", "0.867"],
    ]


@pytest.mark.parametrize(("day", "tables"), [("2026-11-26", 5), ("2026-11-27", 0)])
def test_tables_of_an_earlier_protocol_are_said_to_be(day, tables, tmp_path, monkeypatch):
    """One of two days is enough: of a table that was made in parts, the oldest part counts."""
    folder = shutil.copytree(published.PUBLISHED, tmp_path / "published")
    readme = folder / "README.md"
    readme.write_text(re.sub(r"2026-\d\d-\d\d", f"{day} and 2026-12-01", readme.read_text()))
    monkeypatch.setattr(published, "PUBLISHED", folder)
    assert render.render("docs/results.md").count("what is of before 2026-11-27 is of the draws") == tables


def test_what_a_large_grid_costs_follows_from_the_slopes_by_hand():
    rows = ("graph_slope", "noop_slope", "growth_chain_slope", "grain_start", "growth_tables_slope")
    costs = dict.fromkeys(rows, 2.0) | {"growth_disk_family": 400.0, "growth_disk_target": 500.0}
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    # Channels 8 and 64, 512 rows: 2 (4 (512 * 8 + 8 * 8) + 64 + 4 (512 * 64 + 64 * 64) + 512) bytes.
    assert scale.latents_kib(default) == pytest.approx(329_344 / 1024)
    plain, wide = (
        list(scale.large_grid(costs, default, config).values()) for config in (default, default | scale.SETTINGS)
    )
    # 99 * 3 and 50 * 3 families of 26 jobs; 148,500 targets, of 5 sources 742,500.
    assert plain[:4] == ["297", "7,722", "15 s", "15 s"] and wide[:4] == ["150", "3,900", "8 s", "8 s"]
    assert plain[4:7] == ["0 h", "4.3 h", "0.4 h"]
    # 56 of 96 images; 128 rows of 64 channels are 99,328 bytes of latents.
    assert plain[7:] == ["57 GiB", "354 GiB"]
    assert wide[7:] == ["33 GiB", f"{742_500 * (500 - (329_344 - 99_328) / 1024) / 2**20:.0f} GiB"]


def test_a_verdict_of_an_earlier_question_is_told():
    asked = yaml.safe_load((ROOT / "workflow/hypotheses.yaml").read_text())["H1a"]
    row = {
        "hypothesis": "H1a",
        "claim": "of then",
        "experiment": "e",
        "measure": asked["measure"],
        "bound": "at most 0.01",
    }
    row |= {"verdict": "supported", "value": 0.0, "low": 0.0, "high": 0.0, "study": "methods"}
    others = [row, *(row | {name: "another"} for name in ("measure", "bound")), row | {"hypothesis": "H0"}]
    said = [(cells[1], cells[5]) for cells in published.verdicts(pd.DataFrame(others))]
    assert said == [(asked["claim"], "supported"), *[("of then", f"supported{published.EARLIER}")] * 3]


def test_hypotheses_without_a_published_verdict_are_said_to_have_none():
    table = published.published("hypotheses.csv")
    known = yaml.safe_load((ROOT / "workflow/hypotheses.yaml").read_text())
    rows = {cells[0]: cells[3:] for cells in published.unjudged(table[table["hypothesis"] != "H4"])}
    assert rows.keys() == known.keys() - {*table["hypothesis"]} | {"H4"}
    assert rows["H4"] == ["", table.set_index("hypothesis").loc["H4", "bound"], "not yet judged", "methods"]
    assert not published.unjudged(pd.DataFrame({"hypothesis": [*known]}))
    text = render.render("docs/results.md")
    assert all(f"\n| {name} |" in text for name in known)
    assert ("not yet judged |" in text) == ("*Not yet judged*:" in text) == bool(published.unjudged(table))


def test_the_page_of_results_marks_what_is_ahead():
    table = published.published("baselines.csv")
    pair = table.query("source == '0.30-0.70' and target == '0.50-0.90'")
    (cells,) = published.baselines(pair, published.METHODS, bold=True)
    assert [cell.startswith("**") for cell in cells] == [False, False, False, True, False, False, False, False]
    tied = pair.assign(iou=[0.5] * len(pair))
    assert not any("**" in cell for cell in published.baselines(tied, published.METHODS, bold=True)[0])


# A caption, the page or the glossary, the words there, and the constant that they say.
THRESHOLDS = [
    ("page.html.j2", "gain and lose more than {:g}, ", pairs.SMALLEST_GAIN),
    ("page.html.j2", "lies more than {:g} below", pairs.POOR_MARGIN),
    ("maps.rst", "more than {:g} below", pairs.POOR_MARGIN),
    ("predictors.rst", "promises more than {:g} and", pairs.SMALLEST_GAIN),
    ("correlations.rst", "more than 1/{:g} of the pairs", 1 / of_latents.HOLLOW_SHARE),
    ("distances.rst", "a factor of {:g}.", of_latents.LOGARITHMIC_SPAN),
    ("channels.rst", "less than 1/{:g} of the layer's", 1 / channels.DEAD_DEVIATION),
    ("channels.rst", "exceeds {:g}.", channels.NON_GAUSSIAN_DISTANCE),
    ("glossary.yaml", "that gap is at most {:g}.", pairs.SMALLEST_GAP),
    ("glossary.yaml", "gain exceeds {:g} in size", pairs.SMALLEST_GAIN),
    ("glossary.yaml", "at least {:g} away", pairs.NEAR_HALF),
    ("glossary.yaml", "at least 1/{:g} of the scores", 1 / advice.WARNED_SHARE),
]


@pytest.mark.parametrize(("file", "words", "constant"), THRESHOLDS)
def test_a_threshold_is_said_as_it_is(file, words, constant):
    text = " ".join((ROOT / "workflow/report" / file).read_text().split())
    assert words.format(constant) in text
