"""What goes wrong on a real machine: kills, damaged files, full and read-only disks, too little memory."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from scripts.adapt import adapt
from scripts.advise import advise
from scripts.compare import compare
from scripts.correlate import correlate
from scripts.distances import distances
from scripts.evaluate import evaluate
from scripts.generate import generate
from scripts.hypotheses import hypotheses
from scripts.latents import latents
from scripts.oracle import oracle
from scripts.predict import predict
from scripts.rehearse import rehearse
from scripts.score import score
from scripts.tabulate import tabulate
from scripts.train import train
from shiftgain.files import job, store, sums
from shiftgain.files.errors import StudyError
from shiftgain.files.sums import Job
from shiftgain.files.tables import read_csv, replacing
from shiftgain.findings.pairs import COLUMNS
from shiftgain.prediction import forest
from shiftgain.report.pictures import training_curves
from tests.conftest import METHODS, MODEL, discs, write_domain
from tests.test_surroundings import SCRIPTS
from tests.test_workflow import ROOT, copy, differing

OPTIONS = {
    "epochs": 2,
    "patience": 2,
    "batch": 8,
    "crop": None,
    "crops_per_image": 1,
    "images_per_epoch": None,
    "augmentation": "none",
    "learning_rate": 0.003,
    "weight_decay": 0,
    "batchnorm_momentum": 0.1,
    "precision": "auto",
}
SPEC = {
    "name": "0.30-0.70",
    "transform": "identity",
    "level": 0.0,
    "channels": 1,
    "means": [0.3, 0.7],
    "seed": 0,
    "size": [16, 16],
    "images": {"adapt": 4, "test": 4},
    "perlin": {"octaves": 1, "persistence": 0.5, "lacunarity": 2.0, "scale": 8},
    "noise": {"mask_sd": 0.1, "background_sd": 0.1},
    "foreground": 0.4,
}

# A remedy is compared with images of the source.
WITH_A_REMEDY = METHODS | {"balanced": {"function": "remedy", "options": {"weights": "balanced"}}}


# stage -> the files it reads, and how it is run on the files of a folder


STAGES: dict[str, tuple[list[str], Callable[[Path], None]]] = {
    "generate": ([], lambda d: generate({"a": SPEC}, ["adapt", "test"], str(d / "out.h5"), False, 1)),
    "train": (
        ["source.h5"],
        lambda d: train(str(d / "source.h5"), str(d / "out.h5"), str(d / "out.csv"), MODEL, OPTIONS, 0, "cpu"),
    ),
    "oracle": (
        ["model.h5", "source.h5"],
        lambda d: oracle([str(d / "model.h5")], [str(d / "source.h5")], ["a"], str(d / "out.csv"), 0, 0.5, "cpu"),
    ),
    "adapt": (
        ["model.h5", "source.h5", "targets.h5"],
        lambda d: adapt(
            *(str(d / name) for name in ("model.h5", "source.h5", "targets.h5", "out.h5")), WITH_A_REMEDY, 0, "cpu"
        ),
    ),
    "evaluate": (
        ["model.h5", "targets.h5", "adapted.h5"],
        lambda d: evaluate(
            *(str(d / name) for name in ("model.h5", "targets.h5", "adapted.h5", "out.csv", "out.h5")),
            "a", 0, 0.5, 2, "cpu",
        ),
    ),
    "latents": (
        ["model.h5", "source.h5", "targets.h5", "adapted.h5"],
        lambda d: latents(
            *(str(d / name) for name in ("model.h5", "source.h5", "targets.h5", "adapted.h5", "out.h5")),
            ["bottleneck"], ["before_relu"], ["position"], 32, 0, "cpu",
        ),
    ),
    "distances": (
        ["latents.h5", "targets.h5"],
        lambda d: distances(
            *(str(d / name) for name in ("latents.h5", "targets.h5", "out.csv", "out.channels.csv")),
            ["wasserstein_diagonal"], 8, "a", 0,
        ),
    ),
    "score": (
        ["model.h5", "source.h5", "targets.h5", "adapted.h5"],
        lambda d: score(
            *(str(d / name) for name in ("model.h5", "source.h5", "targets.h5", "adapted.h5")),
            {}, str(d / "out.csv"), "a", 0, ["batchnorm"], 4, 32, 0.5, "cpu",
        ),
    ),
    "rehearse": (
        ["model.h5", "source.h5"],
        lambda d: rehearse(
            *(str(d / name) for name in ("model.h5", "source.h5", "out.csv")), "a", 0, METHODS,
            {"targets": 2, "pieces": 2, "side": 16}, 4, 32, 0.5, "cpu",
        ),
    ),
}  # fmt: skip
READ = [(stage, name) for stage, (names, _) in STAGES.items() for name in names]
# Of this file the stage reads attributes only.
UNTOUCHED = ("distances", "targets.h5")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A folder with an undamaged file of every kind."""
    folder = tmp_path_factory.mktemp("sound")
    with store.create(folder / "source.h5") as file:
        write_domain(file, {"train": 12, "validation": 4, "adapt": 4, "test": 4})
    with store.create(folder / "targets.h5") as file:
        write_domain(file.create_group("discs"), {"adapt": 4, "test": 4}, seed=1)
    for stage, kept in {"train": "model", "adapt": "adapted", "latents": "latents"}.items():
        STAGES[stage][1](folder)
        (folder / "out.h5").rename(folder / f"{kept}.h5")
    (folder / "out.csv").unlink()
    return folder


@pytest.fixture
def folder(sound, tmp_path) -> Path:
    """A copy of ``sound`` to damage."""
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def hollow(path: Path) -> None:
    """An HDF5 file with nothing in it."""
    with h5py.File(path, "w"):
        pass


def chunks(path: Path) -> list[tuple[str, int, int]]:
    """(name, offset, size) of every chunk of every dataset."""
    found: list[tuple[str, int, int]] = []

    def look(name: str, node) -> None:
        if isinstance(node, h5py.Dataset) and node.chunks:
            for number in range(node.id.get_num_chunks()):
                chunk = node.id.get_chunk_info(number)
                found.append((name, chunk.byte_offset, chunk.size))

    with h5py.File(path) as file:
        file.visititems(look)
    return found


def flip(path: Path) -> None:
    """One bit of every chunk, so that whichever is read first is damaged."""
    content = bytearray(path.read_bytes())
    for _, offset, size in chunks(path):
        content[offset + size // 2] ^= 16
    path.write_bytes(content)


def reshape(path: Path) -> None:
    """Every dataset with a further axis in front."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        for name in names:
            array = file[name][...]
            del file[name]
            file[name] = array[np.newaxis]


@pytest.mark.parametrize("damage", [truncate, empty, hollow, flip, reshape])
@pytest.mark.parametrize(("stage", "name"), READ, ids=[f"{stage}-{name}" for stage, name in READ])
def test_a_damaged_file_is_named_and_nothing_is_left(stage, name, damage, folder, capsys):
    if (stage, name) == UNTOUCHED and damage in (flip, reshape):
        pytest.skip("of this file the stage reads attributes only")
    damage(folder / name)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(SystemExit) as stopped, job.run(str(folder.parent / "job.log")):
        STAGES[stage][1](folder)
    line = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and line.startswith(f"error: {folder / name}: ") and "\n" not in line, line
    assert "delete it and" in line and "again" in line, line
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(("stage", "name"), READ, ids=[f"{stage}-{name}" for stage, name in READ])
def test_any_flipped_bit_is_found_or_harmless(stage, name, folder):
    """A bit anywhere in the file, chunks and headers alike: the same result, or the one line."""
    run, path = STAGES[stage][1], folder / name
    content = path.read_bytes()
    run(folder)
    results = [out for out in ("out.h5", "out.csv") if (folder / out).exists()]
    expected = [(folder / out).read_bytes() for out in results]
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 8):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            run(folder)
        except StudyError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert [(folder / out).read_bytes() for out in results] == expected, place


SHIPPED = forest.load(forest.SHIPPED)
# stage -> the tables it reads, and how it is run on the files of a folder
TABLE_STAGES: dict[str, tuple[list[str], Callable[..., None]]] = {
    "tabulate": (
        ["evaluated", "oracle", "distances", "channels", "scores"],
        lambda d, *paths: tabulate(*([path] for path in paths), {}, *(str(d / f"out{k}.csv") for k in range(8))),
    ),
    "correlate": (
        ["gains", "distances"],
        lambda d, *paths: correlate(*paths, str(d / "out.csv"), ["gain_iou"], 10),
    ),
    "hypotheses": (
        ["pairs", "distances", "channels", "scores"],
        lambda d, *paths: hypotheses(*paths, {}, {}, str(d / "out.csv")),
    ),
    "predict": (
        ["pairs", "scores", "distances", "rehearsed"],
        lambda d, *paths: predict(
            *paths[:3], [paths[3]], None, {}, [], {},
            *(str(d / name) for name in ("out.csv", "out.txt", "out.npz")), {}, {}, 1, "",
        ),
    ),
    "advise": (
        ["scores", "segmentation", "rehearsed"],
        lambda d, *paths: advise(
            *paths[:2], [paths[2]], str(forest.SHIPPED), str(d / "out.csv"), [], {}, SHIPPED.stamp.code
        ),
    ),
    "compare": (
        ["segmentation", "gains", "benchmark"],
        lambda d, *paths: compare(
            *paths[:2], [], {("train", "source", "a", "a", 0): paths[2]}, {}, {},
            *(str(d / name) for name in ("out.csv", "out.costs.csv", "out.svg")),
        ),
    ),
    "draw": (["curve"], lambda d, *paths: training_curves({"a/seed0": paths[0]})),
}  # fmt: skip
TABLES_READ = [(stage, name) for stage, (names, _) in TABLE_STAGES.items() for name in names]


@pytest.fixture
def tables(tmp_path) -> Path:
    """A folder with a table of every name, which all have every column that a stage asks for."""
    (tmp_path / "tables").mkdir()
    texts = ["source", "target", "transform", "method", "layer", "activation", "unit", "state", "distance"]
    numbers = ["level", "seed", "iou", "dice", "iou_before", "iou_after", "gain_iou", "gap_closed", "clipped_share"]
    numbers += [
        "true_foreground",
        "own_foreground",
        "pixel_ceiling",
        "dead",
        "non_gaussian",
        "value",
        "null",
        "epoch",
        "s",
        "kinds",
        "gain_sd",
        "n_target_images",
        "n_images",
        "max_rss",
    ]
    numbers += ["predicted_foreground", *(name for name in COLUMNS if name not in texts + numbers)]
    header, row = texts + numbers, ["a"] * len(texts) + ["0"] * len(numbers)
    for name in {name for _, name in TABLES_READ}:
        separator = "\t" if name == "benchmark" else ","
        lines = [header, row, row]
        (tmp_path / "tables" / f"{name}.csv").write_text("".join(separator.join(line) + "\n" for line in lines))
    return tmp_path / "tables"


def overwrite(path: Path) -> None:
    """What a crash of the machine leaves: the length of the file, without its content."""
    path.write_bytes(bytes(path.stat().st_size))


def lengthen(path: Path) -> None:
    """Two lines without the end of the first."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1] + lines[2]]) + "\n")


def behead(path: Path) -> None:
    """The first line is gone."""
    path.write_text(path.read_text().split("\n", 1)[1])


def encode(path: Path) -> None:
    """Bytes that are no text."""
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


@pytest.mark.parametrize("damage", [truncate, empty, overwrite, lengthen, behead, encode])
@pytest.mark.parametrize(("stage", "name"), TABLES_READ, ids=[f"{stage}-{name}" for stage, name in TABLES_READ])
def test_a_damaged_table_is_named_and_nothing_is_left(stage, name, damage, tables, capsys):
    damage(tables / f"{name}.csv")
    before = sorted(path.name for path in tables.iterdir())
    names, run = TABLE_STAGES[stage]
    with pytest.raises(SystemExit) as stopped, job.run(str(tables.parent / "job.log")):
        run(tables, *(str(tables / f"{each}.csv") for each in names))
    line = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and line.startswith(f"error: {tables / name}.csv: damaged ("), line
    assert "; delete it and run again" in line and "\n" not in line, line
    assert sorted(path.name for path in tables.iterdir()) == before


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"none\.csv: no such file; run the step that makes it again"):
        read_csv(tmp_path / "none.csv")


def mounted(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return os.geteuid() == 0 and shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def disk(sound, tmp_path) -> Iterator[Path]:
    """A disk of its own, of 256 KiB, with links to undamaged inputs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=256k"):
        pytest.skip("mounting a small disk needs root")
    try:
        for path in sound.iterdir():
            (folder / path.name).symlink_to(path)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_named_and_nothing_is_left(stage, disk, tmp_path, capsys):
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    before = sorted(path.name for path in disk.iterdir())
    with pytest.raises(SystemExit) as stopped, job.run(str(tmp_path / "job.log")):
        STAGES[stage][1](disk)
    line = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and line.startswith(f"error: {disk}/out."), line
    assert "no space left on the disk; free some and run again" in line
    assert sorted(path.name for path in disk.iterdir()) == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_read_only_disk_is_named(stage, disk, tmp_path, capsys):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(SystemExit) as stopped, job.run(str(tmp_path / "job.log")):
        STAGES[stage][1](disk)
    line = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and line.startswith(f"error: {disk}/out."), line
    assert "the file system is read-only; make it writable, or change config key results" in line


def test_a_worker_out_of_memory_says_so(sound, tmp_path):
    program = (
        "import resource, sys; from pathlib import Path; from tests import test_faults as t;"
        "from shiftgain.files import job;"
        "t.MODEL |= {'width': 256};"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**26,) * 2)\n"
        "with job.run(sys.argv[2]): t.STAGES['train'][1](Path(sys.argv[1]))"
    )
    shutil.copytree(sound, tmp_path / "run")
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run"), str(tmp_path / "job.log")],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert run.stderr.strip().startswith("error: out of memory; give the job more, or lower train.batch (log: ")
    assert not (tmp_path / "run/out.h5").exists()


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("can't allocate memory")]
)
def test_every_kind_of_exhausted_memory_is_one_line(error, tmp_path, capsys):
    with pytest.raises(SystemExit), job.run(str(tmp_path / "job.log")):
        raise error
    assert capsys.readouterr().err.startswith("error: out of memory; give the job more")


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="of another kind"), job.run(str(tmp_path / "job.log")):
        raise RuntimeError("of another kind")
    assert "Traceback" in (tmp_path / "job.log").read_text()


def test_what_a_killed_process_left_is_removed_and_neighbours_are_not(tmp_path):
    for name in (".123.a.h5", ".123.b.a.h5", ".x.a.h5", "b.a.h5"):
        (tmp_path / name).touch()
    with replacing(tmp_path / "a.h5") as partial:
        partial.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".123.b.a.h5", ".x.a.h5", "a.h5", "b.a.h5"]
    with pytest.raises(ValueError), replacing(tmp_path / "a.h5") as partial:
        partial.write_text("half")
        raise ValueError
    assert (tmp_path / "a.h5").read_text() == "whole"


# The smallest study: one network, two families of targets. A kill falls into it KILLS times, 30 in `make kills`.
KILLS = int(os.environ.get("KILLS", "4"))
# So many runs of a study may fail because too many of its jobs were killed, before it is given up.
ENDURED = 8
TINY = {
    "results": "results/tiny",
    "device": "cpu",
    "generate": {"size": [16, 16], "images": {"train": 16, "validation": 4, "adapt": 4, "test": 4}},
    "pairs": [
        {
            "name": "means",
            "sources": ["0.30-0.70"],
            "targets": ["0.10-0.90", "0.70-0.30"],
            "transforms": {"identity": [0], "brightness": [0.1]},
            "methods": ["batchnorm"],
        }
    ],
    "model": {"width": 4, "depth": 1},
    "train": {"epochs": 4, "batch": 8},
    "latents": {"rows": 32, "layers": ["bottleneck"]},
    "rehearse": {"targets": 6, "pieces": 2},
    "correlate": {"bootstrap": 10},
    "predict": {"trees": 10, "bootstrap": 10},
}

STAGES_OF_TINY = ["generate", "generate_targets", "train", "oracle", "adapt", "evaluate", "latents", "distances"]
STAGES_OF_TINY += ["score", "rehearse", "tabulate", "correlate", "decompose", "hypotheses", "predict", "advise"]
STAGES_OF_TINY += ["atlas", "draw", "report"]


def start(checkout: Path, results: str, *arguments: str, study: dict = TINY, **environment: str) -> subprocess.Popen:
    """Snakemake on a study, the tiny one by default, with its jobs in a process group of their own."""
    overlay = checkout / f"{Path(results).name}.yaml"
    overlay.write_text(yaml.safe_dump(study | {"results": results}))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config.yaml", overlay.name]
    return subprocess.Popen(
        [*command, *arguments], cwd=checkout, stdin=subprocess.DEVNULL, start_new_session=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, float]:
    """A checkout with the tables of the tiny study in results/undisturbed, and the seconds that a job took."""
    checkout = copy(tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    run = start(checkout, "results/undisturbed")
    output = run.communicate()[0]
    assert run.returncode == 0, output
    # Two run at once.
    return checkout, 2 * (time.monotonic() - began) / output.count("localrule ")


def assert_undisturbed(checkout: Path, results: str, undisturbed: str = "results/undisturbed") -> None:
    """Tables of ``results`` are byte for byte those of the undisturbed run, and nothing is half-written."""
    assert not differing(checkout / results, checkout / undisturbed)
    hidden = {path.name for path in (checkout / results).rglob(".*")}
    assert hidden <= {".snakemake_timestamp"}, "half-written files"


@pytest.mark.slow
def test_a_second_run_in_the_folder_stops_and_the_first_goes_on(undisturbed):
    """The first sleeps meanwhile, so that it cannot end before the second has looked."""
    checkout, _ = undisturbed
    table = "tables/segmentation.csv"
    first = start(checkout, "results/twice", "--", f"results/twice/{table}")
    while not list((checkout / "results/twice/logs").rglob("*.log")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        others = {option: start(checkout, "results/twice", *option) for option in ((), ("--rerun-incomplete",))}
        said = {option: run.communicate()[0] for option, run in others.items()}
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert all(run.returncode == 1 for run in others.values()), said
    # Without the option Snakemake may first name the files that are being written.
    assert "IncompleteFilesException" in said[()] or "LockException" in said[()], said[()]
    assert "no other Snakemake process is trying to create the same files" in said["--rerun-incomplete",]
    output = first.communicate()[0]
    assert first.returncode == 0, output
    assert len({(checkout / results / table).read_bytes() for results in ("results/twice", "results/undisturbed")}) == 1


@pytest.mark.slow
def test_killed_again_and_again_the_tables_are_the_same(undisturbed):
    """SIGKILL of the whole process group at seeded moments after a job has started, and a rerun after each."""
    (checkout, job_seconds), rng = undisturbed, np.random.default_rng(0)
    kills, stages, folder = 0, set(), checkout / "results/tiny/logs"
    while kills < KILLS:
        logs = set(folder.rglob("*.log"))
        # The run before is dead, so its lock is void.
        run = start(checkout, "results/tiny", "--nolock", "--rerun-incomplete")
        while run.poll() is None and set(folder.rglob("*.log")) <= logs:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, job_seconds))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
            stages |= {path.relative_to(folder).parts[0] for path in set(folder.rglob("*.log")) - logs}
        output = run.communicate()[0]
        assert run.returncode in (0, -signal.SIGKILL), output
        if run.returncode == 0:
            shutil.rmtree(checkout / "results/tiny")
    last = start(checkout, "results/tiny", "--nolock", "--rerun-incomplete")
    output = last.communicate()[0]
    assert last.returncode == 0, output
    assert len(stages) >= min(5, KILLS // 2), stages
    assert_undisturbed(checkout, "results/tiny")


def killed_one_by_one(checkout: Path, study: dict, undisturbed: str) -> set[str]:
    """The stages of which a job was killed, Snakemake going on, until a study was done; its tables are undisturbed.

    ``undisturbed``: the results folder of the study in ``checkout`` when nobody killed anything.
    """
    results, folder = f"{undisturbed}_bad", checkout / f"{Path(undisturbed).name}_killed"
    shutil.rmtree(checkout / results, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "seconds.json").write_text(json.dumps(seconds_of(checkout / undisturbed / "benchmarks")))
    environment = {"BAD_JOBS": str(folder), "PYTHONPATH": str(ROOT / "tests/bad_jobs")}
    options = ["--keep-going", "--retries", "2", "--rerun-incomplete"]
    for _ in range(ENDURED):
        run = start(checkout, results, *options, study=study, **environment)
        output = run.communicate()[0]
        if run.returncode == 0:
            break
    assert run.returncode == 0, output
    assert_undisturbed(checkout, results, undisturbed)
    records = (checkout / results / "logs").rglob("*.sha256")
    jobs = [Job(str(record.with_suffix(".log")), list(sums.recorded(record.with_suffix(".log")))) for record in records]
    assert jobs and list(sums.faults(jobs)) == []
    return {path.name.split(".")[0] for path in folder.glob("*.killed")}


def seconds_of(benchmarks: Path) -> dict[str, float]:
    """Stage -> how long its longest job took; targets are drawn by the script of stage generate."""
    found: dict[str, float] = {}
    for path in benchmarks.rglob("*.tsv"):
        stage = path.relative_to(benchmarks).parts[0].removesuffix(".tsv").removesuffix("_targets")
        found[stage] = max(found.get(stage, 0), float(path.read_text().split("\n")[1].split("\t")[0]))
    return found


@pytest.mark.slow
def test_with_single_jobs_killed_in_every_stage_the_tables_are_the_same(undisturbed):
    checkout, _ = undisturbed
    killed = killed_one_by_one(checkout, TINY, "results/undisturbed")
    assert killed == set(STAGES_OF_TINY) - {"generate_targets"}


@pytest.mark.slow
@pytest.mark.skipif(KILLS < 30, reason="make kills: every stage there is, some minutes")
def test_with_single_jobs_killed_in_every_stage_there_is_the_tables_are_the_same(undisturbed, tmp_path):
    """The tiny study with a network from elsewhere, masks of a folder of images, and a method that trains with them."""
    checkout, _ = undisturbed
    study = whole(tmp_path)
    run = start(checkout, "results/whole", study=study)
    output = run.communicate()[0]
    assert run.returncode == 0, output
    assert killed_one_by_one(checkout, study, "results/whole") == {path.stem for path in SCRIPTS}


def whole(folder: Path) -> dict:
    """A study that takes every stage there is, of images and a network that are written into ``folder``."""
    # Here, since that module imports this one, by way of test_safety.
    from tests.test_adopt import describe

    describe(folder)
    for name, seed in (("few", 0), ("mine", 1)):
        images, masks = discs(4, 24, seed)
        for part, arrays in (("images", images), ("masks", masks)):
            (folder / name / part).mkdir(parents=True)
            for number, array in enumerate(arrays):
                Image.fromarray(array).save(folder / name / part / f"{number}.png")
    domains = {
        "few": {"path": str(folder / "few"), "network": str(folder / "network.yaml")},
        "mine": {"path": str(folder / "mine"), "split": {"adapt": "all", "test": "all"}},
    }
    pair = {"name": "own", "sources": ["few"], "targets": ["mine"], "transforms": {"identity": [0]}}
    trained = TINY["pairs"][0] | {"name": "trained", "targets": ["0.70-0.30"], "transforms": {"identity": [0]}}
    pairs = [*TINY["pairs"], pair | {"methods": ["batchnorm"]}, trained | {"methods": ["batchnorm", "ynet"]}]
    return TINY | {"domains": domains, "pairs": pairs, "segment": {"targets": ["mine"], "methods": ["advised"]}}


def verify(folder: Path, checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    """What `make verify` runs, in ``folder``, on the study of ``checkout`` that the arguments of Snakemake name."""
    return subprocess.run(
        [sys.executable, "-m", "commands.verify", *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(checkout / "workflow")},
    )  # fmt: skip


OF_STUDY = ["--repair", "make run STUDY=undisturbed.yaml AGAIN=", "--configfile", "config.yaml", "undisturbed.yaml"]
CHANGED = "changed since it was written"


@pytest.fixture(scope="module")
def told(undisturbed) -> tuple[dict[str, str], list[str]]:
    """A file of every stage, in which a byte was flipped, and what is said of the study; all is well afterwards."""
    checkout, _ = undisturbed
    logs, flipped = checkout / "results/undisturbed/logs", {}
    for stage in sorted(path.stem for path in logs.iterdir() if path.suffix != ".sha256"):
        log = next(iter(logs.glob(f"{stage}/**/*.log")), logs / f"{stage}.log")
        flipped[stage] = os.path.relpath(list(sums.recorded(log))[-1], checkout)
    content = {name: (checkout / name).read_bytes() for name in flipped.values()}
    for name, whole in content.items():
        place = len(whole) // 2
        (checkout / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    run = verify(checkout, checkout, *OF_STUDY)
    for name, whole in content.items():
        (checkout / name).write_bytes(whole)
    assert run.returncode == 1 and run.stderr == f"Files that are not as they were written: {len(flipped)}.\n", (
        run.stderr
    )
    return flipped, run.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES_OF_TINY)
def test_a_flipped_byte_is_named_with_its_repair(stage, told):
    flipped, lines = told
    assert flipped.keys() == set(STAGES_OF_TINY)
    name = flipped[stage]
    assert f"{name}: {CHANGED}; make it again: make run STUDY=undisturbed.yaml AGAIN={name}" in lines


@pytest.mark.slow
def test_the_repair_that_is_named_repairs(undisturbed):
    """Of what later stages have read: Snakemake alone would not make such a file again that is gone."""
    checkout, _ = undisturbed
    results = checkout / "results/undisturbed"
    truncate(results / "tables/pairs.csv")
    lost = min((results / "scores").rglob("*.csv"))
    lost.unlink()
    (results / "tables/more.csv").touch()
    told = verify(checkout, checkout, *OF_STUDY)
    lines = sorted(told.stdout.splitlines())
    assert [line.split("; ")[0] for line in lines] == [
        f"{lost.relative_to(checkout)}: missing", f"results/undisturbed/tables/pairs.csv: {CHANGED}",
    ]  # fmt: skip
    for line in lines:
        _, again = line.split("; make it again: make run STUDY=undisturbed.yaml AGAIN=")
        run = start(checkout, "results/undisturbed", "--forcerun", again)
        output = run.communicate()[0]
        assert run.returncode == 0, output
    (results / "tables/more.csv").unlink()
    whole = verify(checkout, checkout, *OF_STUDY)
    assert whole.returncode == 0 and whole.stdout == "All that 19 jobs wrote is as they wrote it.\n", whole.stdout
    assert "Nothing to be done" in start(checkout, "results/undisturbed").communicate()[0]


@pytest.mark.slow
def test_a_study_that_was_not_run_or_has_a_fault_is_not_intact(undisturbed):
    checkout, _ = undisturbed
    nothing = verify(checkout, checkout, *OF_STUDY, "--config", "results=nowhere")
    assert nothing.returncode == 1 and "nowhere/report.html: missing; make it again: make run" in nothing.stdout
    wrong = verify(checkout, checkout, *OF_STUDY, "--config", "seedz=1")
    assert wrong.returncode == 1 and "unknown key 'seedz'" in wrong.stderr and "Traceback" not in wrong.stderr
