"""`make bench`: what the project costs, each figure beside what it is compared with, in one run.

Writes results/bench.json: name -> value, unit, ratio to what, how far it is from the limit of what, and the commit and
the machine that it is of; rows of other benches stay.
`PYTHONPATH=workflow python -m tests.bench NAME ...` runs some of them.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from scripts.adapt import adapt
from scripts.distances import distances as stage_distances
from scripts.evaluate import evaluate
from scripts.generate import generate
from scripts.latents import latents
from scripts.predict import predict as stage_predict
from scripts.rehearse import rehearse
from scripts.score import score
from scripts.tabulate import tabulate
from scripts.train import train
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.artefacts import Counted
from shiftgain.adaptation.statistics import INPUT, gather, one_pass_pixels, settle
from shiftgain.domains import perlin
from shiftgain.files import runs, store
from shiftgain.files.commit import commit
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.latents import distances
from shiftgain.latents.activations import summarise
from shiftgain.network import checkpoint, metrics, training
from shiftgain.network.inference import Inputs, predict
from shiftgain.network.normalisation import norm_layers
from shiftgain.network.tiles import tiles_of
from shiftgain.network.unet import UNet
from shiftgain.study.checks import study
from shiftgain.study.names import full_names
from tests.bench_page import bench_page

ROOT = Path(__file__).parents[1]
CORES = os.cpu_count() or 1
CPU = torch.device("cpu")
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
TALK = yaml.safe_load((ROOT / "workflow/studies/talk.yaml").read_text())


def seconds(work: Callable, repeats: int = 3) -> float:
    """Median wall time of ``work()``."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(
    value: float,
    unit: str,
    ratio: float | None = None,
    to: str | None = None,
    above: float | None = None,
    limit: str | None = None,
) -> dict:
    """One figure; ``ratio`` is how often ``to`` fits into it (or it into ``to``: the text says).

    ``above`` is how often the time of ``limit``, which no program can do without, fits into its time: 1 is perfect.
    """
    return {
        "value": round(value, 4),
        "unit": unit,
        "ratio": None if ratio is None else round(ratio, 3),
        "to": to,
        "above": None if above is None else round(above, 3),
        "limit": limit,
    }


def peak_flops() -> float:
    """Multiplications and additions per second of one core, from a product of matrices."""
    torch.set_num_threads(1)
    matrix = torch.rand(1024, 1024)
    return 2 * 1024**3 / seconds(lambda: matrix @ matrix, 9)


def bandwidth() -> float:
    """Bytes per second that one core copies, read and written counted once each."""
    array = np.ones(2**25, np.float32)
    other = np.empty_like(array)
    return 2 * array.nbytes / seconds(lambda: np.copyto(other, array), 9)


def training_step(network: torch.nn.Module, images: torch.Tensor, masks: torch.Tensor) -> Callable[[], None]:
    """One step of AdamW on a batch (n, 1, H, W), to be called."""
    optimiser = training.adam(network.train(), 1e-3)
    return lambda: training.descend(optimiser, training.segmentation_loss(network(images), masks))


def least_seconds(step: Callable[[], None]) -> float:
    """What the convolutions of a step, forward and backward, take of one core at its peak."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / peak_flops()


def batch_of_noise() -> tuple[torch.Tensor, torch.Tensor]:
    """Images and masks (n, 1, H, W) of a batch of the default study."""
    shape = (DEFAULT["train"]["batch"], 1, *DEFAULT["generate"]["size"])
    return torch.rand(shape).to(memory_format=torch.channels_last), torch.rand(shape).round()


def talk_domain(n_images: int, split: str = "train") -> dict:
    """The spec of a 128 x 128 domain of the talk's study."""
    size = {"size": TALK["generate"]["size"], "images": DEFAULT["generate"]["images"] | {split: n_images}}
    perlin_options = DEFAULT["generate"]["perlin"] | TALK["generate"]["perlin"]
    merged = DEFAULT | {"generate": DEFAULT["generate"] | size | {"perlin": perlin_options}}
    return study(merged).specs(["0.30-0.70"], [split], "seed0")["0.30-0.70"]


def frozen(model: dict) -> UNet:
    """A random network of ``model`` for gray images, as stages load a trained one."""
    return UNet(1, **model).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def one_epoch(folder: str, n_images: int, options: dict, model: dict) -> None:
    """Stage train for one epoch on the domain of ``n_images`` in ``folder``; ``options`` go over the default's."""
    options, model = DEFAULT["train"] | options | {"epochs": 1}, {"channels": 1, **model}
    train(f"{folder}/{n_images}.h5", f"{folder}/model.h5", f"{folder}/model.csv", model, options, 0, "cpu")


def bench_generate(folder: Path) -> dict:
    """10,000 images of 128 x 128 with masks into HDF5, and the field against a loop over noise.pnoise2."""
    import noise

    spec = talk_domain(10_000)
    whole = seconds(lambda: generate({"0.30-0.70": spec}, ["train"], str(folder / "a.h5"), True, CORES))
    options = spec["perlin"]
    origins = np.random.default_rng(0).uniform(0, 200, (200, 2))
    ours = seconds(lambda: perlin.fields(origins, (128, 128), **options)) / len(origins)

    def loop():
        scale, rest = options["scale"], {key: value for key, value in options.items() if key != "scale"}
        x, y = origins[0]
        return [[noise.pnoise2(x + c / scale, y + r / scale, **rest) for c in range(128)] for r in range(128)]

    theirs = seconds(loop)
    difference = np.abs(np.array(loop()) - perlin.fields(origins[:1], (128, 128), **options)[0]).max()
    return {
        "generate_10000_images": row(whole, "s", 2 / whole, "2 s asked for"),
        "perlin_field": row(1000 * ours, "ms per 128 x 128 field, one core", theirs / ours, "loop over noise.pnoise2"),
        "perlin_field_difference": row(float(difference) * 1e6, "1e-6 largest difference to noise.pnoise2"),
    }


class PerItem(torch.utils.data.Dataset):
    """What a plain PyTorch loop does: open the file, read one image and one mask per item."""

    def __init__(self, path: Path):
        self.file = h5py.File(path)["train"]

    def __len__(self) -> int:
        return len(self.file["images"])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = (torch.from_numpy(self.file[name][index]).float().unsqueeze(0) for name in ("images", "masks"))
        return image / 255, mask


PROGRAM = "from tests import bench; import sys; bench.train_{kind}(sys.argv[1], {epochs})"


def train_ours(path: str, epochs: int) -> None:
    """Train as the workflow does; prints images per second of the training epochs and the final IoU."""
    from shiftgain.files import job

    job._keep_freed_memory()
    torch.manual_seed(0)
    network = UNet(1, **DEFAULT["model"]).to(memory_format=torch.channels_last)
    options = DEFAULT["train"] | {"epochs": epochs, "patience": epochs}
    with store.read(path) as domain:
        presented = store.count(domain["train"]) * epochs
        start = time.perf_counter()
        training.train(network, domain, options, 0, CPU, Path(path).with_suffix(f".{os.getpid()}.resume.h5"), "bench")
        elapsed = time.perf_counter() - start
        iou = metrics.scores(predict(network, domain["test"], 0.5, CPU))["iou"]
    print(json.dumps({"images_per_second": presented / elapsed, "iou": iou}))


def train_plain(path: str, epochs: int) -> None:
    """The same in a plain loop: fp32, default memory layout, a DataLoader that reads HDF5 per item."""
    torch.manual_seed(0)
    network = UNet(1, **DEFAULT["model"])
    options = DEFAULT["train"]
    loader = torch.utils.data.DataLoader(PerItem(Path(path)), batch_size=options["batch"], shuffle=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options["learning_rate"], weight_decay=0)
    start, steps = time.perf_counter(), epochs * len(loader)
    best, state, step = -1.0, None, 0
    with store.read(path) as domain:
        for _ in range(epochs):
            network.train()
            for images, masks in loader:
                for group in optimiser.param_groups:
                    group["lr"] = training.learning_rate(step / steps, options["learning_rate"])
                loss = training.segmentation_loss(network(images), masks)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                step += 1
            network.eval()
            iou = metrics.scores(predict(network, domain["validation"], 0.5, CPU))["iou"]
            if iou > best:
                best, state = iou, {name: tensor.clone() for name, tensor in network.state_dict().items()}
        elapsed = time.perf_counter() - start
        network.load_state_dict(state)
        iou = metrics.scores(predict(network, domain["test"], 0.5, CPU))["iou"]
    print(json.dumps({"images_per_second": len(loader.dataset) * epochs / elapsed, "iou": iou}))


def bench_train(folder: Path, epochs: int = 6) -> dict:
    """Training throughput of the machine: as many one-core jobs at once as there are cores, against one plain loop."""
    path = folder / "train.h5"
    specs = study(DEFAULT).specs(["0.30-0.70"], ["train", "validation", "adapt", "test"], "seed0")
    generate(specs, ["train", "validation", "test"], str(path), True, CORES)

    def run(kind: str, count: int, threads: int) -> list[dict]:
        command = [sys.executable, "-c", PROGRAM.format(kind=kind, epochs=epochs), str(path)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        jobs = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        return [json.loads(job.communicate()[0].splitlines()[-1]) for job in jobs]

    plain_one, ours_one = run("plain", 1, 1)[0], run("ours", 1, 1)[0]
    plain_all, ours_all = run("plain", 1, CORES)[0], run("ours", CORES, 1)
    together = sum(job["images_per_second"] for job in ours_all)
    network = UNet(1, **DEFAULT["model"]).to(memory_format=torch.channels_last)
    limit = DEFAULT["train"]["batch"] / least_seconds(training_step(network, *batch_of_noise()))
    return {
        "train_machine": row(
            together,
            f"images/s, {CORES} jobs of one core",
            together / plain_all["images_per_second"],
            f"one plain loop on {CORES} cores",
        ),
        "train_core": row(
            ours_one["images_per_second"],
            "images/s on one core",
            ours_one["images_per_second"] / plain_one["images_per_second"],
            "plain loop on one core",
            limit / ours_one["images_per_second"],
            "its convolutions at peak, all else free",
        ),
        "train_limit": row(
            limit,
            "images/s on one core, were its convolutions at peak and all else free",
            limit / plain_one["images_per_second"],
            "plain loop on one core",
        ),
        "train_iou_difference": row(abs(ours_one["iou"] - plain_one["iou"]), "IoU between the two loops"),
    }


def bench_adapt(folder: Path) -> dict:
    """A pass that takes statistics, plain or weighted, beside a plain forward pass; and in how many they settle."""
    torch.set_num_threads(1)
    path = folder / "adapt.h5"
    specs = study(DEFAULT).specs(["0.30-0.70"], ["adapt"], "seed0")
    specs["0.30-0.70"]["images"]["adapt"] = 512
    generate(specs, ["adapt"], str(path), True, CORES)
    network = frozen(DEFAULT["model"])
    layers = [INPUT, *norm_layers(network)]
    with store.read(path) as domain:
        images = Inputs(domain["adapt"], CPU, network.depth, pixels=one_pass_pixels(network))
        weights = [p.float() for p in gather(network, images, layers).probabilities]

        @torch.inference_mode()
        def forward() -> None:
            for tile in images:
                network(tile.images)

        def plain() -> None:
            batchnorm.batchnorm(network, images)

        def weighted() -> None:
            gather(network, images, layers, weights=weights)

        forward(), plain(), weighted()
        times = [(seconds(forward, 1), seconds(plain, 1), seconds(weighted, 1)) for _ in range(9)]
        in_parts = Counted(domain["adapt"], CPU, network.depth)
        settle(network, in_parts, layers)
    rows = {}
    for name, column in (("adapt", 1), ("adapt_weighted", 2)):
        ratio = statistics.median(line[column] / line[0] for line in times)
        value = 512 / statistics.median(line[column] for line in times)
        rows[name] = row(value, "images/s on one core", ratio, "time of one plain forward pass")
    passes = sum(in_parts.passed) / 512
    rows["adapt_passes"] = row(passes, "passes until settled", passes / len(layers), "layers of the network")
    return rows


def bench_grain(folder: Path) -> dict:
    """What starting a process costs beside the work on one target: why a job takes a family of them."""
    torch.set_num_threads(1)
    start = seconds(
        lambda: subprocess.run([sys.executable, "-c", "import scripts.adapt"], cwd=ROOT / "workflow", check=True)
    )
    specs = study(DEFAULT).specs(["0.30-0.70"], ["adapt", "test"], "seed0")
    generate(specs, ["adapt", "test"], str(folder / "a.h5"), True, 1)
    network = frozen(DEFAULT["model"])
    with store.read(folder / "a.h5") as domain:
        adapt = seconds(lambda: batchnorm.batchnorm(network, Inputs(domain["adapt"], CPU, network.depth)), 9)
        score = seconds(lambda: metrics.scores(predict(network, domain["test"], 0.5, CPU)), 9)
    rows = {
        "grain_start": row(start, "s to start a process that imports torch", start / adapt, "adapting to one target")
    }
    for targets in (1, 20, 60, 200):
        share = 2 * start / (2 * start + targets * (adapt + 2 * score))
        rows[f"grain_{targets}"] = row(share, f"share of start-up in adapt and evaluate, {targets} targets a job")
    return rows


def run_study(results: str, cores: int) -> tuple[float, float]:
    """Wall time of the default study from nothing, and the sum of what its jobs took once they were started."""
    shutil.rmtree(ROOT / results, ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--scheduler", "greedy", "--quiet", "all"]
    start = time.perf_counter()
    subprocess.run([*command, "--config", f"results={results}"], cwd=ROOT, check=True, capture_output=True)
    wall = time.perf_counter() - start
    logs = [path.read_text() for path in (ROOT / results / "logs").rglob("*.log")]
    shutil.rmtree(ROOT / results)
    return wall, sum(float(re.findall(r"finished in ([\d.]+) s", log)[-1]) for log in logs)


def bench_study(folder: Path) -> dict:
    """The default study on all cores, against its jobs one after the other on one, divided by the cores."""
    wall, _ = run_study("results/bench", CORES)
    _, in_a_row = run_study("results/bench", 1)
    return {
        "study": row(
            wall, f"s, default study on {CORES} cores", wall * CORES / in_a_row, "its computations in a row / cores"
        ),
        "study_in_a_row": row(in_a_row, "s, the same computations in a row on one core"),
    }


MEMORY = """
import json, resource, sys
from tests import bench
getattr(bench, "memory_" + sys.argv[1])(sys.argv[2], int(sys.argv[3]))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
"""


def memory_generate(folder: str, n_images: int) -> None:
    """Draw a domain of ``n_images``."""
    generate({"0.30-0.70": talk_domain(n_images)}, ["train"], f"{folder}/generate.h5", True, 2)


def memory_train(folder: str, n_images: int) -> None:
    """One epoch at the talk's size; of the images, at most ``sampling.WINDOW_BYTES`` are ever held."""
    one_epoch(folder, n_images, TALK["train"], TALK["model"])


def memory_adapt(folder: str, n_images: int) -> None:
    """Adapt, then summarise the latents of three layers."""
    network = frozen(TALK["model"])
    with store.read(f"{folder}/{n_images}.h5") as domain:
        batchnorm.batchnorm(network, Inputs(domain["test"], CPU, network.depth))
        layers = ["encoder1", "bottleneck", "decoder1"]
        images = Inputs(domain["test"], CPU, network.depth)
        summarise(network, images, n_images, layers, ["before_relu"], ["position"], 2000)


def memory_distances(folder: str, n_images: int) -> None:
    """All distances between latents of 1024 channels, over ``n_images`` rows."""
    rng = np.random.default_rng(0)
    pair = [rng.standard_normal((n_images, 1024), dtype=np.float32) for _ in range(2)]
    first, second = (distances.Latents(rows, rows.mean(0), np.cov(rows.T)) for rows in pair)
    directions = distances.projections(1024, 128, seed=0)
    for distance in distances.DISTANCES.values():
        distance(first, second, directions)


def bench_memory(folder: Path) -> dict:
    """Peak memory of a process at the talk's size, and how it grows when the images double."""
    rows = {}
    for n_images in (32, 64):
        specs = {"0.30-0.70": talk_domain(n_images)}
        specs["0.30-0.70"]["images"] |= dict.fromkeys(("validation", "test"), n_images)
        generate(specs, ["train", "validation", "test"], str(folder / f"{n_images}.h5"), True, CORES)
    for stage, few in {"generate": 2000, "train": 32, "adapt": 32, "distances": 1000}.items():
        peaks = []
        for n_images in (few, 2 * few):
            command = [sys.executable, "-c", MEMORY, stage, str(folder), str(n_images)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            peaks.append(json.loads(done.stdout.splitlines()[-1]))
        rows[f"memory_{stage}"] = row(peaks[1], f"GiB at {2 * few} images", peaks[1] / peaks[0], f"{few} images")
    return rows


GROWTH = """
import json, resource, sys, time
from tests import bench
from shiftgain.files import job
job._keep_freed_memory()
wall, cpu = time.perf_counter(), time.process_time()
getattr(bench, "growth_" + sys.argv[1])(sys.argv[2], int(sys.argv[3]))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""
FAMILY_TABLES = ("evaluated", "distances", "channels", "scores")
TARGETS = [16, 64, 256]
SMALL = {"size": [32, 32], "perlin": {"scale": 16}}


def small_specs(names: list[str], images: dict[str, int]) -> dict[str, dict]:
    """Specs of 32 x 32 domains."""
    perlin_options = DEFAULT["generate"]["perlin"] | SMALL["perlin"]
    generated = DEFAULT["generate"] | SMALL | {"perlin": perlin_options, "images": images}
    return study(DEFAULT | {"generate": generated}).specs(names, list(images), "seed0")


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
        batchnorm.batchnorm(network, Inputs(domain["train"], CPU, network.depth))


def stages(folder: str, family: str) -> dict[str, Callable[[], None]]:
    """Stages adapt to score for one source and the targets of ``family``, to be called one after the other."""
    model, source, targets = (f"{folder}/{name}.h5" for name in ("network", "source", family))
    adapted, masks, kept = (f"{folder}/{name}.h5" for name in ("adapted", "masks", "latents"))
    tables = {name: f"{folder}/{name}.csv" for name in FAMILY_TABLES}
    threshold = DEFAULT["evaluate"]["threshold"]
    methods = {"batchnorm": {"function": "batchnorm", "options": {}}}
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
    """Stages adapt to score for one source and a family of ``n_targets``."""
    for stage in stages(folder, f"targets{n_targets}").values():
        stage()


def growth_rehearse(folder: str, n_targets: int) -> None:
    """Stage rehearse of the default study for one source, with so many targets."""
    methods = study(DEFAULT).actions_of("0.30-0.70")
    options = DEFAULT["rehearse"] | {"targets": n_targets}
    files = (f"{folder}/{name}" for name in ("network.h5", "source.h5", "rehearsed.csv"))
    threshold = DEFAULT["evaluate"]["threshold"]
    rehearse(*files, "0.30-0.70", 0, methods, options, **DEFAULT["score"], threshold=threshold, device="cpu")


SECTION_SIDE = 8192
SECTION_STAGES = ("generate", "adapt", "evaluate", "latents", "score")


def section_spec() -> dict:
    """The spec of a domain of two sections to adapt to and one to score."""
    spec = small_specs(["0.70-0.30"], {"adapt": 2, "test": 1})["0.70-0.30"]
    return spec | {"size": [SECTION_SIDE, SECTION_SIDE]}


def growth_section(folder: str, number: int) -> None:
    """One of :data:`SECTION_STAGES`, on sections of 8192 x 8192 as the target of a source of small images."""
    stage = SECTION_STAGES[number]
    if stage == "generate":
        generate({"0.70-0.30": section_spec()}, ["adapt", "test"], f"{folder}/sections.h5", False, 1)
    else:
        stages(folder, "sections")[stage]()


def growth_tables(folder: str, n_pairs: int) -> None:
    """Stages tabulate and predict for ``n_pairs``: rows of the largest family, under other names and disturbed."""
    rng = np.random.default_rng(0)
    paths = {name: f"{folder}/study.{name}.csv" for name in FAMILY_TABLES}
    for name, path in paths.items():
        family = read_csv(f"{folder}/{name}.csv")
        copies = [family.assign(source=f"s{k % 4}", transform=f"t{k // 4}") for k in range(n_pairs // TARGETS[-1])]
        table = pd.concat(copies, ignore_index=True)
        measured = table.select_dtypes(float).columns.drop("level", errors="ignore")
        table[measured] *= rng.normal(1, 0.01, table[measured].shape)
        write_csv(table, path)
    write_csv(pd.DataFrame({"target": ["none"], "seed": [0], "iou": [0.0]}), f"{folder}/oracle.csv")
    tables = ("segmentation", "gains", "pairs", "networks", *FAMILY_TABLES[1:])
    written = {name: f"{folder}/tables.{name}.csv" for name in tables}
    evaluated, *others = ([path] for path in paths.values())
    rows = read_csv(evaluated[0])
    specs = {name: {"level": 0.0} for name in (*full_names(rows), *rows["source"])}
    tabulate(evaluated, [f"{folder}/oracle.csv"], *others, specs, *written.values())
    read = [written[name] for name in ("segmentation", "scores", "distances")]
    outputs = (f"{folder}/{name}" for name in ("predictors.csv", "tree.txt", "forest.npz"))
    stage_predict(
        *read,
        [],
        None,
        {},
        ["batchnorm"],
        DEFAULT["predict"],
        *outputs,
        figure_paths={},
        data_paths={},
        threads=1,
        code="",
    )


def slope(xs: list[int], ys: list[float]) -> tuple[float, float]:
    """Growth of y per x between the last two points, and how often that of the first two fits into it: 1 is linear."""
    rates = [(after - before) / (x - w) for (w, x), (before, after) in zip(pairwise(xs), pairwise(ys), strict=True)]
    return rates[-1], rates[-1] / rates[0]


def bench_growth(folder: Path) -> dict:
    """Time and peak memory against the number of images (32 x 32) and of targets (of the default study), on one core.

    The slopes are of CPU time, which other work on the machine does not touch.
    """
    numbers = [10**3, 10**4, 10**5]
    for n_images in numbers:
        specs = small_specs(["0.30-0.70"], {"train": n_images, "validation": 16})
        generate(specs, ["train", "validation"], str(folder / f"{n_images}.h5"), True, CORES)
    grid = [f"0.{mask:02}-0.{background:02}" for mask in range(1, 99, 6) for background in range(3, 99, 6)]
    whole = study(DEFAULT)
    splits = ["validation", "adapt"]
    generate(whole.specs(["0.30-0.70"], splits, "seed0"), splits, str(folder / "source.h5"), True, CORES)
    checkpoint.save(folder / "network.h5", UNet(1, **DEFAULT["model"]), {"channels": 1, **DEFAULT["model"]}, {})
    for count in TARGETS:
        specs = whole.specs(grid[:count], ["adapt", "test"], "seed0")
        generate(specs, ["adapt", "test"], str(folder / f"targets{count}.h5"), False, CORES)
    stages = {"generate": (numbers, "image"), "epoch": (numbers, "image"), "statistics": (numbers, "image")}
    stages |= {"chain": (TARGETS, "target"), "tables": ([512, 1024, 2048], "pair")}
    stages |= {"rehearse": ([10, 20, 40], "rehearsed target")}
    rows = {}
    for stage, (sizes, what) in stages.items():
        measured = []
        for size in sizes:
            command = [sys.executable, "-c", GROWTH, stage, str(folder), str(size)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
            measured.append(json.loads(done.stdout.splitlines()[-1]))
            wall, cpu, memory = measured[-1]
            rows[f"growth_{stage}_{size}"] = row(cpu, f"s of CPU ({wall:.1f} s wall, {memory:.2f} GiB peak)")
        rate, bend = slope(sizes, [cpu for _, cpu, _ in measured])
        rows[f"growth_{stage}_slope"] = row(1000 * rate, f"ms of CPU per {what}", bend, "the slope of the lower half")
    data = (folder / "100000.h5").stat().st_size / 100_000
    rows["growth_disk_image"] = row(data / 1024, "KiB per image and mask of 32 x 32", data / 2048, "their pixels")
    kept = sum((folder / f"{name}.h5").stat().st_size for name in ("adapted", "masks", "latents")) / TARGETS[-1]
    images = (folder / f"targets{TARGETS[-1]}.h5").stat().st_size / TARGETS[-1]
    rows["growth_disk_target"] = row(kept / 1024, "KiB per target and source: statistics, masks, latents")
    rows["growth_disk_family"] = row(images / 1024, "KiB per target: its images and masks")
    return rows


# Drawing a family, and stages adapt, evaluate, latents, distances and score of it.
FAMILY_JOBS = 6


def graph_checkout(folder: Path, families: int) -> list[str]:
    """A checkout whose study has so many families of one target; returns the options of Snakemake that name it."""
    ignored = shutil.ignore_patterns("results", ".venv", ".snakemake", ".git", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=ignored)
    means = [f"{mask / 100:.2f}-{other / 100:.2f}" for mask in range(100) for other in range(100) if mask != other]
    block = {"name": "means", "sources": ["0.30-0.70"], "targets": means[:families], "transforms": {"noise": [0.1]}}
    overlay = {"pairs": [block | {"methods": ["batchnorm"]}], "adapt": {"domains_per_job": 1}}
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    return ["--cores", "1", "--scheduler", "greedy", "--configfile", "config.yaml", "overlay.yaml"]


def bench_graph(folder: Path) -> dict:
    """Snakemake alone: a dry run of everything, and a run with nothing to do, at about 100, 1,000 and 10,000 jobs.

    Of a run with nothing to do the better of two counts: the machine's pace changes within a minute.
    """

    def least(run: Callable) -> tuple[str, float, float, float]:
        return min((run() for _ in range(2)), key=lambda measured: measured[2])

    rows, sizes, found = {}, [], {"graph": [], "noop": []}
    for about in (100, 1000, 10_000):
        checkout = folder / str(about)
        options = graph_checkout(checkout, about // FAMILY_JOBS)

        def snakemake(*more: str, checkout=checkout, options=options) -> tuple[str, float, float, float]:
            command = [sys.executable, "-m", "snakemake", *options, *more]
            start = time.perf_counter()
            with (checkout / "output").open("w") as output:
                job = subprocess.Popen(command, cwd=checkout, stdout=output, stderr=output)
                _, status, usage = os.wait4(job.pid, 0)
            text = (checkout / "output").read_text()
            assert status == 0, text
            return text, time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20

        planned = snakemake("--dry-run")
        jobs = int(re.search(r"^total\s+(\d+)", planned[0], re.MULTILINE).group(1))
        for line in planned[0].splitlines():
            if line.strip().startswith("output: "):
                for name in line.split("output: ")[1].split(", "):
                    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                    (checkout / name).touch()
        idle = least(snakemake)
        assert "Nothing to be done" in idle[0], idle[0][-500:]
        if about == 1000:
            # The files above have no records of who made them; a run leaves some, and the next one reads them.
            snakemake("--forceall", "--touch")
            _, wall, cpu, _ = least(snakemake)
            unit = f"s of CPU, {jobs} jobs with the records of a run ({wall:.1f} s)"
            rows["noop_recorded"] = row(cpu, unit, cpu / idle[2], "without records")
        sizes.append(jobs)
        for name, (_, wall, cpu, memory) in {"graph": planned, "noop": idle}.items():
            found[name].append(cpu)
            limit = (cpu / 10, "10 s asked for at 10,000 jobs") if name == "noop" and about == 10_000 else (None, None)
            rows[f"{name}_{about}"] = row(cpu, f"s of CPU, {jobs} jobs ({wall:.1f} s, {memory:.2f} GiB)", *limit)
    for name, times in found.items():
        rate, bend = slope(sizes, times)
        rows[f"{name}_slope"] = row(1000 * rate, "ms of CPU per job", bend, "the slope of the lower half")
    return rows


def bench_sections(folder: Path) -> dict:
    """Peak memory of the stages that see images, on sections of 8192 x 8192: the largest of 2 GiB is asked for."""
    splits = {"validation": 24, "adapt": 24}
    generate(small_specs(["0.30-0.70"], splits), list(splits), str(folder / "source.h5"), True, 1)
    model = DEFAULT["model"]
    checkpoint.save(folder / "network.h5", frozen(model), {"channels": 1, **model}, {})
    rows = {}
    for number, stage in enumerate(SECTION_STAGES):
        command = [sys.executable, "-c", GROWTH, "section", str(folder), str(number)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        wall, _, peak = json.loads(done.stdout.splitlines()[-1])
        rows[f"section_{stage}"] = row(peak, f"GiB of 8192 x 8192, in {wall:.0f} s", peak / 2, "2 GiB asked for")
    return rows


def bench_peers_generate(folder: Path) -> dict:
    """A Perlin field against two vectorised generators of PyPI, at equal size and octaves."""
    from perlin_numpy import generate_fractal_noise_2d
    from vnoise import Noise

    options = talk_domain(1)["perlin"]
    scale, rest = options["scale"], {key: value for key, value in options.items() if key != "scale"}
    origins = np.random.default_rng(0).uniform(0, 200, (200, 2))
    ours = seconds(lambda: perlin.fields(origins, (128, 128), **options)) / len(origins)
    x, y = (origins[0, axis] + np.arange(128) / scale for axis in (0, 1))
    noise = Noise()
    periods = (128 // scale,) * 2
    peers = {
        "vnoise": seconds(lambda: noise.noise2(x, y, grid_mode=True, **rest)),
        "perlin_numpy": seconds(
            lambda: generate_fractal_noise_2d((128, 128), periods, rest["octaves"], rest["persistence"], 2)
        ),
    }
    unit, least, limit = "ms per 128 x 128 field", 128 * 128 * 4 / bandwidth(), "writing it to memory"
    return {"peer_field": row(1000 * ours, unit, above=ours / least, limit=limit)} | {
        f"peer_field_{name}": row(1000 * theirs, unit, theirs / ours, "ours", theirs / least, limit)
        for name, theirs in peers.items()
    }


def bench_peers_train(folder: Path) -> dict:
    """A training step on 16 images of 64 x 64 on one core, against the U-Net of PyPI's `unet` at equal widths."""
    from unet import UNet2D

    from shiftgain.files import job

    job._keep_freed_memory()
    torch.set_num_threads(1)
    model = DEFAULT["model"]
    shape = {"num_encoding_blocks": model["depth"] + 1, "out_channels_first_layer": model["width"]}
    theirs = UNet2D(1, 1, normalization="batch", padding=1, **shape)
    ours = UNet(1, **model).to(memory_format=torch.channels_last)
    images, masks = batch_of_noise()
    steps = [training_step(ours, images, masks), training_step(theirs, images.contiguous(), masks)]
    times = [[seconds(work, 1) for work in steps] for _ in range(12)][2:]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    sizes = [sum(tensor.numel() for tensor in network.parameters()) for network in (ours, theirs)]
    least = [least_seconds(step) for step in steps]
    limit = "its convolutions at peak"
    return {
        "peer_step": row(1000 * own, f"ms per step, {sizes[0]} parameters", above=own / least[0], limit=limit),
        "peer_step_unet": row(
            1000 * other, f"ms per step, {sizes[1]} parameters", other / own, "ours", other / least[1], limit
        ),
    }


def bench_peers_adapt(folder: Path) -> dict:
    """BN adaptation against ``torch.optim.swa_utils.update_bn``, and both against a forward pass without gradients."""
    torch.set_num_threads(1)
    images = [torch.rand(32, 1, 64, 64).to(memory_format=torch.channels_last) for _ in range(8)]
    ours, theirs = (UNet(1, **DEFAULT["model"]).to(memory_format=torch.channels_last).eval() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())

    def forward() -> None:
        with torch.inference_mode():
            for batch in images:
                ours(batch)

    def update() -> None:
        with torch.no_grad():
            torch.optim.swa_utils.update_bn(images, theirs)

    tiles = tiles_of(images, ours.depth)
    works = [lambda: batchnorm.batchnorm(ours, tiles), update, forward]
    times = [[seconds(work, 1) for work in works] for _ in range(12)][2:]
    own, other, least = (statistics.median(column) for column in zip(*times, strict=True))
    refreshed, updated = batchnorm.batchnorm(ours, tiles), theirs.state_dict()
    difference = max(float((tensor - updated[name]).abs().max()) for name, tensor in refreshed.items())
    return {
        "peer_adapt": row(256 / own, "images/s", above=own / least, limit="one forward pass"),
        "peer_adapt_update_bn": row(256 / other, "images/s", other / own, "ours", other / least, "one forward pass"),
        "peer_adapt_difference": row(1e6 * difference, "1e-6 largest difference of a statistic to update_bn"),
    }


Moments = tuple[np.ndarray, np.ndarray]


def plain_wasserstein_diagonal(first: Moments, second: Moments) -> float:
    """Of two pairs (mean, covariance), by the gaps of means and of standard deviations."""
    spread = np.sqrt(np.diag(first[1])) - np.sqrt(np.diag(second[1]))
    return float(np.sqrt(np.sum((first[0] - second[0]) ** 2) + np.sum(spread**2)))


def plain_bhattacharyya(first: Moments, second: Moments) -> float:
    """By determinants, as in the textbook, with the ridge of ours."""
    ridge = distances.RIDGE * np.trace(first[1] + second[1]) / 2 / len(first[0]) * np.eye(len(first[0]))
    shift, middle = first[0] - second[0], (first[1] + second[1]) / 2 + ridge
    own = np.linalg.slogdet(first[1] + ridge)[1] + np.linalg.slogdet(second[1] + ridge)[1]
    return float(shift @ np.linalg.inv(middle) @ shift / 8 + (np.linalg.slogdet(middle)[1] - own / 2) / 2)


def plain_bhattacharyya_diagonal(first: Moments, second: Moments) -> float:
    """The same, channel by channel."""
    variances = [np.diag(covariance) for _, covariance in (first, second)]
    variances = [variance + distances.RIDGE * np.mean(variances) for variance in variances]
    middle = sum(variances) / 2
    ratio = np.log(middle) - np.log(variances).sum(0) / 2
    return float(np.sum((first[0] - second[0]) ** 2 / middle) / 8 + np.sum(ratio) / 2)


def bench_peers_distances(folder: Path) -> dict:
    """Each distance against POT, or plain numpy where POT has none, at equal result; nothing is worked out before.

    The limit is what the formula cannot do without.
    """
    import ot

    rng = np.random.default_rng(0)
    rows = {}
    for channels, n in ((64, 512), (256, 2000)):
        samples = [rng.standard_normal((n, channels)) @ rng.standard_normal((channels, channels)) for _ in range(2)]
        moments = [(sample.mean(0), np.cov(sample.T)) for sample in samples]
        directions = distances.projections(channels, 128, seed=0)

        def ours(name: str, samples=samples, moments=moments, directions=directions) -> float:
            pair = [distances.Latents(rows, *moment) for rows, moment in zip(samples, moments, strict=True)]
            return distances.DISTANCES[name](*pair, directions)

        def bures(moments=moments) -> float:
            (mean, covariance), (other_mean, other_covariance) = moments
            return ot.gaussian.bures_wasserstein_distance(mean, other_mean, covariance, other_covariance)

        def spectra(moments=moments) -> None:
            np.linalg.eigh(moments[0][1]), np.linalg.eigvalsh(moments[1][1])

        def sliced(samples=samples, directions=directions) -> float:
            return ot.sliced.sliced_wasserstein_distance(*samples, projections=directions)

        def sort(samples=samples, directions=directions) -> None:
            for sample in samples:
                np.sort(sample @ directions, axis=0)

        def factorise(moments=moments) -> None:
            for covariance in (moments[0][1], moments[1][1], moments[0][1] + moments[1][1]):
                np.linalg.cholesky(covariance)

        def read(moments=moments) -> None:
            for mean, covariance in moments:
                mean.sum(), np.diag(covariance).sum()

        reading = (read, "summing means and variances")
        peers = {
            "wasserstein": ("POT", bures, spectra, "one eigh and one eigvalsh"),
            "wasserstein_diagonal": ("numpy", partial(plain_wasserstein_diagonal, *moments), *reading),
            "sliced_wasserstein": ("POT", sliced, sort, "projecting and sorting"),
            "bhattacharyya": ("numpy", partial(plain_bhattacharyya, *moments), factorise, "three Cholesky factors"),
            "bhattacharyya_diagonal": ("numpy", partial(plain_bhattacharyya_diagonal, *moments), *reading),
        }
        for name, (peer, theirs, work, limit) in peers.items():
            times = [[seconds(part, 1) for part in (partial(ours, name), theirs, work)] for _ in range(11)][1:]
            own, other, least = (statistics.median(column) for column in zip(*times, strict=True))
            size, error = f"{channels} channels, {n} rows", abs(ours(name) / float(theirs()) - 1)
            whose = (
                f"{peer}, differs by {error:.0e}" if peer == "POT" else f"{peer}: POT has none, differs by {error:.0e}"
            )
            rows |= {
                f"peer_{name}_{channels}": row(1000 * own, f"ms, {size}", above=own / least, limit=limit),
                f"peer_{name}_{channels}_{peer.lower()}": row(
                    1000 * other, f"ms, {whose}", other / own, "ours", other / least, limit
                ),
            }
    return rows


def bench_peers(folder: Path) -> dict:
    """Every peer that is installed: `pip install --no-deps -r requirements-bench.txt`."""
    rows = {}
    for bench in (bench_peers_generate, bench_peers_train, bench_peers_adapt, bench_peers_distances):
        try:
            rows |= bench(folder)
        except ModuleNotFoundError as error:
            print(f"{bench.__name__}: {error.name} is not installed (requirements-bench.txt): left out")
    return rows


BENCHES = {
    "peers": bench_peers,
    "growth": bench_growth,
    "sections": bench_sections,
    "graph": bench_graph,
    "generate": bench_generate,
    "train": bench_train,
    "adapt": bench_adapt,
    "grain": bench_grain,
    "memory": bench_memory,
    "study": bench_study,
    "page": bench_page,
}


def main(names: list[str]) -> None:
    """Run the benches named, all by default, print a table and merge it into results/bench.json."""
    path = ROOT / "results" / "bench.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    machine = runs.machine()
    measured = {"commit": commit(), "machine": f"{machine['processor']}, {machine['cores']} cores"}
    for name in names or BENCHES:
        with tempfile.TemporaryDirectory() as folder:
            rows = BENCHES[name](Path(folder))
        for key, figures in rows.items():
            ratio = "" if figures["ratio"] is None else f"{figures['ratio']:10.3f} x {figures['to']}"
            above = "" if figures["above"] is None else f"{figures['above']:10.3f} x {figures['limit']}"
            print(f"{key:28} {figures['value']:12.4f} {figures['unit']:42} {ratio:42} {above}", flush=True)
        found |= {key: figures | measured for key, figures in rows.items()}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
