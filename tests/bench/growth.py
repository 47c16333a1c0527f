"""Rows `growth_*`: time and memory against the number of images, targets and pairs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.adapt import adapt
from scripts.distances import distances as stage_distances
from scripts.evaluate import evaluate
from scripts.generate import generate
from scripts.latents import latents
from scripts.predict import predict as stage_predict
from scripts.rehearse import rehearse
from scripts.score import score
from scripts.tabulate import tabulate
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.statistics import one_pass_pixels
from shiftgain.files import store
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.network import checkpoint
from shiftgain.network.inference import Inputs
from shiftgain.network.unet import UNet
from shiftgain.study.checks import study
from shiftgain.study.names import full_names
from tests.bench.measure import CORES, CPU, DEFAULT, by_itself, frozen, one_epoch, row, slope, small_specs

FAMILY_TABLES = ("evaluated", "distances", "channels", "scores")
IMAGES = [10**3, 10**4, 10**5]
TARGETS = [8, 32, 128]
REHEARSED = [10, 20, 40]
PAIRS = [256, 512, 1024]


def growth_generate(folder: str, n_images: int) -> None:
    """Draw a domain of ``n_images``."""
    generate(small_specs(["0.30-0.70"], {"train": n_images}), ["train"], f"{folder}/generated.h5", True, 1)


def growth_epoch(folder: str, n_images: int) -> None:
    """One epoch of training on ``n_images``, of which it holds ``sampling.WINDOW_BYTES`` at most."""
    one_epoch(folder, n_images, {}, DEFAULT["model"])


def growth_statistics(folder: str, n_images: int) -> None:
    """BN adaptation to ``n_images``."""
    network = frozen(DEFAULT["model"])
    with store.read(f"{folder}/{n_images}.h5") as domain:
        batchnorm.batchnorm(network, Inputs(domain["train"], CPU, network.depth, pixels=one_pass_pixels(network)))


def growth_settling(folder: str, n_images: int) -> None:
    """BN adaptation to more images than pass at once: the pass is repeated until their statistics settle."""
    growth_statistics(folder, n_images)


def stages(folder: str, family: str, methods: dict[str, dict]) -> dict[str, Callable[[], None]]:
    """Stages adapt to score for one source and the targets of ``family``, to be called one after the other."""
    model, source, targets = (f"{folder}/{name}.h5" for name in ("network", "source", family))
    adapted, masks, kept = (f"{folder}/{name}.h5" for name in ("adapted", "masks", "latents"))
    tables = {name: f"{folder}/{name}.csv" for name in FAMILY_TABLES}
    threshold = DEFAULT["evaluate"]["threshold"]
    written = (tables["distances"], tables["channels"], *DEFAULT["distances"].values())
    options = DEFAULT["score"] | {"threshold": threshold, "device": "cpu"}
    return {
        "adapt": lambda: adapt(model, source, targets, adapted, methods, 0, "cpu"),
        "evaluate": lambda: evaluate(
            model, targets, adapted, tables["evaluated"], masks, "a", 0, **DEFAULT["evaluate"], device="cpu"
        ),
        "latents": lambda: latents(model, source, targets, adapted, kept, **DEFAULT["latents"], seed=0, device="cpu"),
        "distances": lambda: stage_distances(kept, targets, *written, "a", 0),
        "score": lambda: score(model, source, targets, adapted, {}, tables["scores"], "a", 0, list(methods), **options),
    }


def growth_chain(folder: str, n_targets: int) -> None:
    """Stages adapt to score for one source and a family of ``n_targets``, by every action of the default study."""
    for stage in stages(folder, f"targets{n_targets}", study(DEFAULT).actions_of("0.30-0.70")).values():
        stage()


def growth_rehearse(folder: str, n_targets: int) -> None:
    """Stage rehearse of the default study for one source, with so many targets."""
    methods = study(DEFAULT).actions_of("0.30-0.70")
    options = DEFAULT["rehearse"] | {"targets": n_targets}
    files = (f"{folder}/{name}" for name in ("network.h5", "source.h5", "rehearsed.csv"))
    threshold = DEFAULT["evaluate"]["threshold"]
    rehearse(*files, "0.30-0.70", 0, methods, options, **DEFAULT["score"], threshold=threshold, device="cpu")


def growth_tables(folder: str, n_pairs: int) -> None:
    """Stages tabulate and predict for ``n_pairs``: rows of the largest family, under other names and disturbed.

    Rehearsals of four sources are those of :func:`growth_rehearse`, disturbed as well.
    """
    rng = np.random.default_rng(0)

    def disturbed(table: pd.DataFrame) -> pd.DataFrame:
        measured = table.select_dtypes(float).columns.drop("level", errors="ignore")
        return table.assign(**table[measured] * rng.normal(1, 0.01, table[measured].shape))

    paths = {name: f"{folder}/study.{name}.csv" for name in FAMILY_TABLES}
    for name, path in paths.items():
        family = read_csv(f"{folder}/{name}.csv")
        copies = [family.assign(source=f"s{k % 4}", transform=f"t{k // 4}") for k in range(n_pairs // TARGETS[-1])]
        write_csv(disturbed(pd.concat(copies, ignore_index=True)), path)
    rehearsed = read_csv(f"{folder}/rehearsed.csv")
    rehearsals = [f"{folder}/rehearsed{k}.csv" for k in range(4)]
    for k, path in enumerate(rehearsals):
        write_csv(disturbed(rehearsed.assign(source=f"s{k}")), path)
    write_csv(pd.DataFrame({"target": ["none"], "seed": [0], "iou": [0.0]}), f"{folder}/oracle.csv")
    tables = ("segmentation", "gains", "pairs", "networks", *FAMILY_TABLES[1:], "domains")
    written = {name: f"{folder}/tables.{name}.csv" for name in tables}
    evaluated, *others = ([path] for path in paths.values())
    rows = read_csv(evaluated[0])
    specs = {name: {"level": 0.0} for name in (*full_names(rows), *rows["source"])}
    tabulate(evaluated, [f"{folder}/oracle.csv"], *others, specs, *written.values())
    read = [written[name] for name in ("pairs", "scores", "distances")]
    outputs = (f"{folder}/{name}" for name in ("predictors.csv", "tree.txt", "forest.npz"))
    stage_predict(
        *read,
        rehearsals,
        None,
        {},
        study(DEFAULT).order,
        DEFAULT["predict"],
        *outputs,
        figure_paths={},
        data_paths={},
        threads=1,
        code="",
    )


def bench_growth(folder: Path) -> dict:
    """Time and peak memory against the number of images (32 x 32) and of targets (of the default study), on one core.

    The slopes are of CPU time, which other work on the machine does not touch.
    """
    at_once = one_pass_pixels(frozen(DEFAULT["model"])) // (32 * 32)
    few, many = ([at_once * part // 4 for part in parts] for parts in ((1, 2, 4), (5, 7, 9)))
    for n_images in {*IMAGES, *few, *many}:
        specs = small_specs(["0.30-0.70"], {"train": n_images, "validation": 16})
        generate(specs, ["train", "validation"], str(folder / f"{n_images}.h5"), True, CORES)
    grid = [f"0.{mask:02}-0.{background:02}" for mask in range(1, 99, 6) for background in range(3, 99, 6)]
    whole = study(DEFAULT)
    splits = ["train", "validation", "adapt"]
    generate(whole.specs(["0.30-0.70"], splits, "seed0"), splits, str(folder / "source.h5"), True, CORES)
    checkpoint.save(folder / "network.h5", UNet(1, **DEFAULT["model"]), {"channels": 1, **DEFAULT["model"]}, {})
    for count in TARGETS:
        specs = whole.specs(grid[:count], ["adapt", "test"], "seed0")
        generate(specs, ["adapt", "test"], str(folder / f"targets{count}.h5"), False, CORES)
    works = {
        growth_generate: (IMAGES, "image"),
        growth_epoch: (IMAGES, "image"),
        growth_statistics: (few, "image"),
        growth_settling: (many, "image"),
        growth_chain: (TARGETS, "target"),
        growth_rehearse: (REHEARSED, "rehearsed target"),
        growth_tables: (PAIRS, "pair"),
    }
    rows = {}
    for work, (sizes, what) in works.items():
        measured = []
        for size in sizes:
            measured.append(by_itself(work, folder, size, threads=1))
            wall, cpu, memory = measured[-1]
            rows[f"{work.__name__}_{size}"] = row(cpu, f"s of CPU ({wall:.1f} s wall, {memory:.2f} GiB peak)")
        rate, bend = slope(sizes, [cpu for _, cpu, _ in measured])
        rows[f"{work.__name__}_slope"] = row(1000 * rate, f"ms of CPU per {what}", bend, "the slope of the lower half")
    data = (folder / f"{IMAGES[-1]}.h5").stat().st_size / IMAGES[-1]
    rows["growth_disk_image"] = row(data / 1024, "KiB per image and mask of 32 x 32", data / 2048, "their pixels")
    kept = sum((folder / f"{name}.h5").stat().st_size for name in ("adapted", "masks", "latents")) / TARGETS[-1]
    images = (folder / f"targets{TARGETS[-1]}.h5").stat().st_size / TARGETS[-1]
    rows["growth_disk_target"] = row(kept / 1024, "KiB per target and source: statistics, masks, latents")
    rows["growth_disk_family"] = row(images / 1024, "KiB per target: its images and masks")
    return rows
