"""The workflow as a user runs it: one run of the smoke study, and what a change to it reruns."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from shiftgain.report.contents import figures
from shiftgain.study.lineage import code
from tests.test_tables import faults, undescribed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SMOKE = "workflow/studies/smoke.yaml"
NETWORK_STAGES = {"train", "oracle", "adapt", "evaluate", "latents", "score", "rehearse", "decompose"}
TABLE_STAGES = {"tabulate", "correlate", "decompose", "draw", "hypotheses", "predict", "advise", "atlas", "report"}
TABLES = ("segmentation", "gains", "pairs", "distances", "scores", "correlations")
TIMES = {"costs.csv"}


def differing(first: Path, second: Path) -> list[str]:
    """Names of the tables, in two results folders, that are not byte for byte alike; tables of times are left out."""
    folders = [folder / "tables" for folder in (first, second)]
    names = {path.name for folder in folders for path in folder.glob("*.csv")} - TIMES
    assert names >= {f"{name}.csv" for name in TABLES}
    held = {
        name: [(folder / name).read_bytes() if (folder / name).exists() else None for folder in folders]
        for name in names
    }
    return sorted(name for name, (one, other) in held.items() if one != other)


def snakemake(checkout: Path, *arguments: str, overlay: dict | None = None) -> subprocess.CompletedProcess:
    """Snakemake on the smoke study in ``checkout``, with one more overlay on top."""
    configs = ["config.yaml", SMOKE]
    if overlay is not None:
        (checkout / "overlay.yaml").write_text(yaml.safe_dump(overlay))
        configs.append("overlay.yaml")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", *configs, *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def planned(checkout: Path, overlay: dict | None = None) -> dict[str, int]:
    """Rule -> number of jobs that a run would start now."""
    dry = snakemake(checkout, "--dry-run", overlay=overlay)
    assert dry.returncode == 0, dry.stderr + dry.stdout
    text = dry.stdout + dry.stderr
    if "Nothing to be done" in text:
        return {}
    table = text.split("Job stats:")[1].split("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def copy(folder: Path) -> Path:
    checkout = folder / "checkout"
    ignore = shutil.ignore_patterns("results", ".venv", ".snakemake", ".git", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, checkout, ignore=ignore)
    return checkout


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A copy of the checkout in which the smoke study has run."""
    checkout = copy(tmp_path_factory.mktemp("smoke"))
    run = snakemake(checkout)
    assert run.returncode == 0, run.stdout + run.stderr
    return checkout


@pytest.fixture
def edited(finished):
    """A function that appends a comment to a file of the finished checkout; undone afterwards."""
    before: dict[Path, str] = {}

    def edit(name: str) -> None:
        path = finished / name
        before[path] = path.read_text()
        path.write_text(before[path] + "\n# edited\n")

    yield edit
    for path, text in before.items():
        path.write_text(text)


def pairs(**changes) -> list[dict]:
    """The one block of the smoke study, with ``changes``."""
    return [yaml.safe_load((ROOT / SMOKE).read_text())["pairs"][0] | changes]


def test_tables_follow_the_contract(finished):
    tables = {name: pd.read_csv(finished / f"results/smoke/tables/{name}.csv") for name in TABLES}
    pairs, methods, states = 2 * 2 * 6, 3, 2
    assert len(tables["gains"]) == pairs * methods
    # Each source is an oracle at home, and 0.10-0.90 has one of its own: three of the six means at identity.
    oracles = tables["segmentation"].query("method == 'target'")
    assert set(oracles["target"]) == {"0.10-0.90"} and len(oracles) == 2
    assert len(tables["segmentation"]) == pairs * (1 + methods) + len(oracles)
    assert len(tables["distances"]) == pairs * states * 5 * 2
    assert (tables["distances"][["value", "null"]] >= 0).all(axis=None)
    assert len(tables["pairs"]) == pairs and not tables["pairs"]["home"].any()
    assert set(tables["correlations"]["outcome"]) == {"iou_before", "iou_after", "gain_iou"}


def test_tables_of_a_run_follow_their_schema(finished):
    paths = sorted((finished / "results/smoke/tables").glob("*.csv"))
    assert {path.stem for path in paths} >= {
        *TABLES,
        "pairs",
        "networks",
        "channels",
        "hypotheses",
        "predictors",
        "advice",
    }
    assert [fault for path in paths for fault in faults(path.stem, path)] == []
    assert {path.stem: undescribed(path.stem, path) for path in paths if undescribed(path.stem, path)} == {}


def test_the_report_of_snakemake_has_the_answer_and_every_figure_and_table_with_label_and_caption(finished):
    made = snakemake(finished, "--report", "snakemake.html")
    assert made.returncode == 0, made.stderr
    text = (finished / "snakemake.html").read_text()
    (found,) = re.findall(r"var results = (\{.*\});", text)
    results = {path.removeprefix("results/smoke/"): entry for path, entry in json.loads(found).items()}
    tables = {"pairs": "Every pair", "hypotheses": "The hypotheses", "advice": "The advice on every pair"}
    labels = {f"tables/{name}.csv": label for name, label in tables.items()}
    labels |= {f"figures/{name}.svg": figure["heading"] for name, figure in figures("draw").items()}
    labels |= {"answer.html": "The answer in three sentences"}
    assert labels.items() <= {path: entry["labels"]["what"] for path, entry in results.items()}.items()
    captions = {path: Path(path).stem for path in labels} | {"tables/hypotheses.csv": "verdicts"}
    for path, caption in captions.items():
        written = (finished / f"workflow/report/{caption}.rst").read_text()
        shown = unescape(re.sub("<.*?>", "", results[path]["caption"]))
        assert re.findall(r"\w+", written)[:12] == re.findall(r"\w+", shown)[:12], path
    _, content = results["answer.html"]["data_uri"].split(";base64,")
    assert base64.b64decode(content) == (finished / "results/smoke/answer.html").read_bytes()


def test_second_run_does_nothing(finished):
    assert planned(finished) == {}


def test_a_moved_checkout_does_nothing(finished):
    moved = finished.with_name("elsewhere")
    finished.rename(moved)
    try:
        assert planned(moved) == {}
    finally:
        moved.rename(finished)


def test_a_new_target_redoes_no_training_and_no_other_family(finished):
    grid = {"targets": {"grid": [0.1, 0.5, 0.9]}}
    wider = pairs(transforms={"identity": [0], "brightness": [0.1, 0.2]}, **grid)
    jobs = planned(finished, {"pairs": wider})
    assert jobs == {
        "generate_targets": 1, "adapt": 2, "evaluate": 2, "latents": 2, "distances": 2, "score": 2,
        "tabulate": 1, "correlate": 1, "decompose": 1, "hypotheses": 1, "predict": 1, "advise": 1, "atlas": 1,
        "draw": 1, "report": 1, "all": 1,
    }  # fmt: skip


def test_a_new_family_leaves_the_others_alone(finished):
    jobs = planned(finished, {"pairs": pairs(transforms={"identity": [0], "brightness": [0.1], "noise": [0.1]})})
    assert jobs["adapt"] == jobs["evaluate"] == jobs["latents"] == jobs["distances"] == 2
    assert jobs["generate_targets"] == 1 and "train" not in jobs


def test_a_new_seed_trains_that_seed_only(finished):
    jobs = planned(finished, {"seeds": [0, 1]})
    assert jobs["train"] == 3 and jobs["adapt"] == 4 and jobs["oracle"] == 1
    assert jobs["generate"] == 3 and jobs["generate_targets"] == 2, "images of its own, and none of seed 0 again"


def test_a_new_seed_draws_nothing_where_the_seed_of_the_images_is_given(finished):
    jobs = planned(finished, {"seeds": [0, 1], "generate": {"seed": 0}})
    assert jobs["train"] == 3 and jobs["adapt"] == 4 and jobs["oracle"] == 1
    assert not {"generate", "generate_targets"} & jobs.keys()


def test_the_seed_of_the_images_reruns_what_is_drawn_anew(finished):
    assert planned(finished, {"generate": {"seed": 0}}).keys() == {"report", "all"}, "seed 0 has drawn these already"
    jobs = planned(finished, {"generate": {"seed": 1}})
    assert jobs["generate"] == jobs["train"] == 3 and jobs["generate_targets"] == 2
    assert jobs.keys() == {"generate", "generate_targets"} | NETWORK_STAGES | {"distances"} | TABLE_STAGES | {"all"}


def test_all_is_drawn_anew_where_masks_come_to_be_shared(finished):
    jobs = planned(finished, {"generate": {"masks": "shared"}})
    assert jobs["generate"] == jobs["train"] == 3 and jobs["generate_targets"] == 2


def test_a_training_option_reruns_training_and_what_follows(finished):
    jobs = planned(finished, {"train": {"weight_decay": 0.01}})
    assert jobs["train"] == 3
    assert jobs.keys() == NETWORK_STAGES | {"distances"} | TABLE_STAGES | {"all"}


def test_an_option_of_a_late_stage_reruns_late_stages(finished):
    assert planned(finished, {"correlate": {"bootstrap": 60}}).keys() == {"correlate", "draw", "report", "all"}
    assert planned(finished, {"report": {"title": "Another"}}).keys() == {"report", "all"}
    assert planned(finished, {"distances": {"projections": 64}}).keys() == {
        "distances", *TABLE_STAGES, "all",
    }  # fmt: skip


# module -> the stages that import it and are run again; everything downstream of them follows.
LINEAGE = {
    "domains/perlin": {"generate"},
    "network/batches": {"train"},
    "network/training": {"train"},
    "adaptation/batchnorm": {"adapt", "evaluate", "score", "rehearse"},
    "network/normalisation": NETWORK_STAGES,
    "network/metrics": {"train", "oracle", "evaluate", "score", "rehearse"},
    "prediction/shapes": {"score", "rehearse"},
    "prediction/scores/masks": {"score", "rehearse"},
    "prediction/rehearsal": {"rehearse"},
    "prediction/estimator": {"predict", "advise"},
    "latents/activations": {"latents", "decompose"},
    "latents/decomposition": {"decompose"},
    "latents/distances": {"distances"},
    "prediction/predictors": {"predict"},
    "prediction/forest": {"predict", "advise"},
    "prediction/advice": {"advise"},
    "findings/measures/outcomes": {"hypotheses"},
    "report/of_latents": {"draw"},
    "report/of_images": {"draw"},
    "report/of_remedies": {"draw"},
    "report/panels": {"draw", "predict"},
    "report/page": {"report"},
    "report/summary": {"report"},
    "report/atlas": {"atlas"},
    "network/unet": NETWORK_STAGES,
}
FOLLOWS = {
    "generate": NETWORK_STAGES | {"distances"} | TABLE_STAGES,
    "train": NETWORK_STAGES - {"train"} | {"distances"} | TABLE_STAGES,
    "oracle": TABLE_STAGES,
    "adapt": {"evaluate", "latents", "distances", "score"} | TABLE_STAGES,
    "evaluate": TABLE_STAGES,
    "latents": {"distances"} | TABLE_STAGES,
    "distances": TABLE_STAGES,
    "score": TABLE_STAGES,
    "rehearse": {"predict", "advise", "atlas", "report"},
    "correlate": {"draw", "report"},
    "decompose": {"draw", "report"},
    "draw": {"report"},
    "hypotheses": {"report"},
    "predict": {"report"},
    "advise": {"atlas", "report"},
    "atlas": {"report"},
    "report": set(),
}


@pytest.mark.parametrize("module", LINEAGE)
def test_an_edited_module_reruns_the_stages_that_import_it(module, finished, edited):
    edited(f"workflow/shiftgain/{module}.py")
    stages = LINEAGE[module]
    expected = stages.union(*(FOLLOWS[stage] for stage in stages)) | {"all"}
    if "generate" in stages:
        expected.add("generate_targets")
    assert planned(finished).keys() == expected


def test_an_edited_hypothesis_is_judged_again(finished, edited):
    edited("workflow/hypotheses.yaml")
    assert planned(finished) == {}, "a comment"
    path = finished / "workflow/hypotheses.yaml"
    path.write_text(path.read_text().replace("bound: 0.01", "bound: 0.02", 1))
    assert planned(finished).keys() == {"hypotheses", "report", "all"}


def test_an_edited_document_reruns_nothing(finished, edited):
    edited("README.md")
    edited("Makefile")
    assert planned(finished) == {}


def test_every_rule_declares_its_code():
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = path.read_text()
        scripts = re.findall(r'"\.\./scripts/(\w+)\.py"', text)
        assert scripts and all(f'*code("{stage}")' in text for stage in scripts), path.name
        assert set(scripts) == {path.stem}, "one word per stage"
        assert (ROOT / "tests" / f"test_{path.stem}.py").exists(), f"stage {path.stem} has no test"
        assert all((ROOT / "workflow" / module.split()[0]).exists() for module in code(path.stem))


def test_rule_files_do_not_lean_on_each_other():
    """A name that a rule file sets is used there and nowhere else, and no parameter holds a path under results."""
    texts = {path.stem: path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk"))}
    for stem, text in texts.items():
        for name in re.findall(r"^([A-Z_]+) = ", text, re.MULTILINE):
            users = [other for other in texts if re.search(rf"\b{name}\b", texts[other])]
            assert users == [stem], f"{name} of {stem}.smk is used in {users}"
        parameters = text.partition("    params:\n")[2].partition("    script:\n")[0]
        assert "<results>" not in parameters and "config['results']" not in text, stem


def test_tables_are_the_same_bytes_again_on_one_core(finished, tmp_path):
    checkout = copy(tmp_path)
    tables = [path.name for path in (finished / "results/smoke/tables").glob("*.csv")]
    run = snakemake(checkout, "--cores", "1", *(f"results/smoke/tables/{name}" for name in tables))
    assert run.returncode == 0, run.stdout + run.stderr
    assert not differing(checkout / "results/smoke", finished / "results/smoke")


def test_a_fault_in_the_config_stops_before_any_job(tmp_path):
    checkout = copy(tmp_path)
    run = snakemake(checkout, overlay={"train": {"epochz": 3}})
    assert run.returncode == 1
    assert "config key train: unknown key 'epochz'; did you mean 'epochs'?" in run.stderr
    assert "Traceback" not in run.stderr and not (checkout / "results").exists()


def test_a_missing_gpu_is_one_line(finished):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    run = snakemake(finished, "--", "results/smoke/models/0.30-0.70/seed7.h5", overlay={"device": "cuda", "seeds": [7]})
    assert run.returncode == 1
    assert "error: config key device: 'cuda' is asked for, but torch sees no GPU; use auto or cpu" in run.stderr
    assert (finished / "results/smoke/tables/gains.csv").exists()


def test_damaged_data_are_named_and_nothing_is_lost(finished, tmp_path):
    """With the file back, the job that stopped makes the bytes that it made before, and nothing else has to run."""
    damaged = "results/smoke/targets/means-identity/seed0.h5"
    wanted = "results/smoke/adapted/0.30-0.70/seed0/means-identity.h5"
    kept = {name: Path(shutil.copy2(finished / name, tmp_path / name.replace("/", "-"))) for name in (damaged, wanted)}
    try:
        (finished / damaged).write_bytes(kept[damaged].read_bytes()[: kept[damaged].stat().st_size // 2])
        run = snakemake(finished, "--rerun-triggers", "mtime", "--forcerun", "adapt", "--", wanted)
        assert run.returncode == 1
        assert re.search(rf"error: {re.escape(damaged)}: damaged.*delete it and run again", run.stderr)
    finally:
        shutil.copy2(kept[damaged], finished / damaged)
        restored = snakemake(finished, "--", wanted)
        assert restored.returncode == 0, restored.stderr
        again = (finished / wanted).read_bytes()
        shutil.copy2(kept[wanted], finished / wanted)
    assert again == kept[wanted].read_bytes()
    assert planned(finished) == {}


COUNTED = """
import sys
from snakemake import cli
from snakemake.scheduling.job_scheduler import JobScheduler
JobScheduler._schedule_reevalutation = lambda *_: print("TIMER")
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(("asked", "timers"), [([], False), (["--max-jobs-per-timespan", "90/1s"], True)])
def test_the_scheduler_sets_off_no_timers_unless_starts_are_limited(tmp_path, asked, timers):
    checkout = copy(tmp_path)
    command = [sys.executable, "-c", COUNTED, "--cores", "1", "--configfile", "config.yaml", SMOKE]
    command += ["--until", "generate", *asked]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ("TIMER" in run.stdout) == timers


def test_a_run_says_at_its_start_what_was_read(tmp_path):
    checkout = copy(tmp_path)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = np.arange(3 * 32 * 32, dtype=np.uint8).reshape(3, 32, 32)
    pair = {"name": "own", "sources": ["0.30-0.70"], "targets": ["mine"], "transforms": {"identity": [0]}}
    overlay = {"domains": {"mine": {"path": str(tmp_path / "mine.h5")}}, "pairs": [pair | {"methods": ["batchnorm"]}]}
    run = snakemake(checkout, "--until", "generate_targets", overlay=overlay)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "mine: 3 images of 32 x 32" in run.stderr
