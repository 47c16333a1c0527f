"""The parts of `make gpu`: each takes a :class:`Setting` and yields its rows by name as it measures them."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from scripts.generate import generate, write_split
from scripts.latents import REFERENCE, parts_of_source
from scripts.tabulate import GAINS, gains
from scripts.train import train
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.artefacts import Counted
from shiftgain.adaptation.statistics import one_pass_pixels
from shiftgain.files import store
from shiftgain.files.tables import read_csv, write_csv, write_rows
from shiftgain.latents.activations import summarise_parts
from shiftgain.latents.distances import DISTANCES, Latents, null, projections
from shiftgain.network import devices, metrics, normalisation, training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, input_moments, predict
from shiftgain.network.unet import UNet, pad, to_input
from shiftgain.study.entries import domain_spec
from tests import together

ROOT = Path(__file__).parents[1]
CORES = os.cpu_count() or 1
# Of processes, which do not have the path of this one.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
# A part that is stopped from outside has this long beyond its minutes to end by itself.
GRACE = 20.0
SOURCES = ["0.30-0.70", "0.70-0.30", "0.50-0.30"]
GRID = [0.1, 0.3, 0.5, 0.7, 0.9]
TALK_DISTANCES = ["wasserstein_diagonal", "sliced_wasserstein", "bhattacharyya_diagonal", "wasserstein"]
# A training is on its plateau when its last epochs, as many as the study's patience, gained no more than this.
PLATEAU = 0.001
TINY = {
    "generate": {"size": [16, 16], "images": {"train": 32, "validation": 16, "adapt": 16, "test": 16}},
    "model": {"width": 4, "depth": 2}, "train": {"epochs": 2}, "latents": {"rows": 64},
}  # fmt: skip


def merged(config: dict, overlay: dict) -> dict:
    """``config`` with the keys of ``overlay`` in place, block by block, as Snakemake merges them."""
    both = {
        key: merged(config[key], value) if isinstance(value, dict) and isinstance(config.get(key), dict) else value
        for key, value in overlay.items()
    }
    return config | both


@dataclass
class Setting:
    """What a part runs with: sizes, places, and the seconds it has left."""

    results: Path
    work: Path
    deadline: float
    tiny: bool
    commit: str = ""
    cuts: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds until the minutes of the part are gone."""
        return self.deadline - time.time()

    def cut(self, line: str) -> None:
        """Note what the minutes did not suffice for."""
        print(f"  {line}", flush=True)
        self.cuts.append(line)

    @cached_property
    def device(self) -> torch.device:
        """The card, or the CPU where it is tiny."""
        return devices.pick("cpu" if self.tiny else "cuda")

    @cached_property
    def default(self) -> dict:
        """Config of the default study."""
        return merged(yaml.safe_load((ROOT / "config.yaml").read_text()), TINY if self.tiny else {})

    @cached_property
    def talk(self) -> dict:
        """Config of the talk's study."""
        config = merged(self.default, yaml.safe_load((ROOT / "workflow/studies/talk.yaml").read_text()))
        return merged(config, TINY if self.tiny else {})


def at_once(network: UNet) -> int:
    """Pixels that adapt in one pass: as many as a card's memory takes that has no other job; else those of the stage.

    Of the widest layer a forward pass holds some ten arrays of floats at a time.
    """
    device = next(network.parameters()).device
    if device.type != "cuda":
        return one_pass_pixels(network)
    values = torch.cuda.get_device_properties(device).total_memory // (4 * 30)
    return values // next(iter(normalisation.norm_layers(network).values())).num_features


def synchronise(device: torch.device) -> None:
    """Wait until the card has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: torch.device, at_most: float = 4.0) -> float:
    """Median wall time of ``work()`` with all that it told the card, after one run that is not counted."""
    times: list[float] = []
    # On a CPU the code is run, not the machine measured.
    for _ in range(6 if device.type == "cuda" else 2):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - start)
        if sum(times) > at_most and len(times) > 1:
            break
    return statistics.median(times[1:])


def drawn(config: dict, names: list[str], images: dict[str, int], workers: int = CORES) -> h5py.File:
    """Domains in an HDF5 file in memory, a group to each, of ``images`` in each split, as seed 0 draws them."""
    file = h5py.File(f"{names[0]}-{time.monotonic_ns()}", "w", driver="core", backing_store=False)
    for name in names:
        spec = domain_spec(config, name)
        spec |= {"seed": 0, "images": spec["images"] | images}
        group = file.create_group(name)
        store.put_json(group, "domain", spec)
        for split in images:
            write_split(group.create_group(split), name, spec, split, workers)
    return file


def fresh(config: dict, seed: int, device: torch.device) -> UNet:
    """A network of a study with the random weights of a seed."""
    torch.manual_seed(seed)
    return training.fresh({"channels": 1, **config["model"]}, config["train"], device)


def step_of(config: dict, options: dict, images: TrainingImages, device: torch.device) -> Callable[[], int]:
    """A training step of a fresh network as the workflow takes it, to be called; it says how many images it saw."""
    network = fresh(config, 0, device).train()
    learner = training.supervised(network, options, training.precision(options["precision"], device))
    batches = images.endless(np.random.default_rng(0))

    def step() -> int:
        shown, masks = next(batches)
        learner.step(
            pad(to_input(shown, device), 2**network.depth), pad(masks.unsqueeze(1).float(), 2**network.depth), None
        )
        return len(shown)

    for _ in range(3):
        step()
    return step


def iou(network: UNet, domain: h5py.Group, device: torch.device) -> float:
    """IoU of a network on the test images of its own domain."""
    return metrics.scores(predict(network, domain["test"], 0.5, device))["iou"]


def told(error: BaseException) -> str:
    """An error in a line: its class, its words, and where it was raised."""
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(where[-1].filename).name}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"


# --- the GPU tests -------------------------------------------------------------------------------------------------


def part_tests(setting: Setting) -> Iterator[tuple[str, dict]]:
    """The tests that need a GPU, through pytest."""
    paths = ["tests/test_gpu.py"] if setting.tiny else ["tests/test_gpu.py", "tests/test_adapt.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(30, setting.left))
    lines = (done.stdout + done.stderr).strip().splitlines()
    tally = {
        word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", lines[-1] if lines else "")
    }
    yield "pytest", {"status": done.returncode, **tally, "end": lines[-12:] if done.returncode else lines[-1:]}
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}: {lines[-1] if lines else 'no output'}")


# --- images per second against the card's limit --------------------------------------------------------------------


class Traffic(TorchDispatchMode):
    """Counts the bytes that the operations read and write, each tensor once for every operation that takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run the operation; views move nothing."""
        result = function(*args, **(kwargs or {}))
        returned = function._schema.returns
        if not any(value.alias_info is not None and not value.alias_info.is_write for value in returned):
            for value in tree_leaves((args, kwargs, result)):
                if isinstance(value, Tensor):
                    self.bytes += value.numel() * value.element_size()
        return result


def part_throughput(setting: Setting) -> Iterator[tuple[str, dict]]:
    """Train, adapt and evaluate of two networks, beside what the card's arithmetic and its memory allow."""
    device = setting.device
    limits = card_limits(device, setting.tiny)
    yield "limits", limits
    for name, config, batches in (("default", setting.default, (None,)), ("talk", setting.talk, (None, 64))):
        rows, columns = config["generate"]["size"]
        # As many pixels for both, a second's work or less.
        count = 16 if setting.tiny else max(256, 2**23 // (rows * columns))
        file = drawn(config, SOURCES[:1], {"train": count, "adapt": count, "test": count})
        domain = file[SOURCES[0]]
        for batch in batches:
            if setting.left < 8:
                setting.cut(f"throughput of {name}, batch {batch or config['train']['batch']}: no time left")
                continue
            options = config["train"] | ({"batch": batch} if batch else {})
            yield f"{name}_train_{options['batch']}", train_row(config, options, domain, limits, device)
        for word in ("adapt", "evaluate"):
            if setting.left < 5:
                setting.cut(f"throughput of {name}, {word}: no time left")
                continue
            yield f"{name}_{word}", forward_row(word, config, domain, limits, device)
        file.close()


def card_limits(device: torch.device, tiny: bool) -> dict:
    """Matrix products in TFLOP/s by kind of number, and bytes copied per second, read and written counted once each."""
    side = 32 if tiny else 8192
    limits: dict[str, float] = {}
    for kind in ("bfloat16", "float32"):
        left, right = (torch.randn(side, side, device=device).to(getattr(torch, kind)) for _ in range(2))
        took = seconds(lambda: [left @ right for _ in range(3)], device, at_most=2) / 3  # noqa: B023
        limits[f"{kind}_tflops"] = 2 * side**3 / took / 1e12
    source = torch.rand(2**18 if tiny else 2**30, device=device)
    other = torch.empty_like(source)
    took = seconds(lambda: [other.copy_(source) for _ in range(3)], device) / 3
    return limits | {"copy_gbytes": 2 * source.numel() * source.element_size() / took / 1e9}


def train_row(config: dict, options: dict, domain: h5py.Group, limits: dict, device: torch.device) -> dict:
    """Training steps as the workflow takes them, batches cut from images on the device."""
    images = TrainingImages(domain["train"], options["batch"], options["crop"], device=device)
    step, sizes = step_of(config, options, images, device), []
    many = min(50, 4096 // options["batch"]) if device.type == "cuda" else 1
    took = seconds(lambda: sizes.extend(step() for _ in range(many)), device) / many
    kind = "bfloat16" if device.type == "cuda" else "float32"
    return limited(statistics.mean(sizes) / took, options["batch"], step, kind, limits)


def forward_row(word: str, config: dict, domain: h5py.Group, limits: dict, device: torch.device) -> dict:
    """Stage adapt or evaluate on a split, read from a file in memory; counted on one batch."""
    network = fresh(config, 0, device).eval().requires_grad_(False)
    inputs = Counted(domain["adapt"], device, network.depth, pixels=at_once(network))
    shown, passes = next(iter(Inputs(domain["adapt"], device, network.depth))), 1.0
    if word == "adapt":
        batchnorm.batchnorm(network, inputs)
        passes = sum(inputs.passed) / inputs.count
        took = seconds(lambda: batchnorm.batchnorm(network, inputs), device)
    else:
        took = seconds(lambda: metrics.scores(predict(network, domain["test"], 0.5, device)), device)

    def batch() -> object:
        return batchnorm.batchnorm(network, [shown]) if word == "adapt" else network(shown.images)

    row = limited(passes * inputs.count / took, len(shown.images), batch, "float32", limits)
    return row | {"passes": passes, "images_per_second": inputs.count / took}


def limited(per_second: float, images: int, work: Callable[[], object], kind: str, limits: dict) -> dict:
    """A row: the rate, what ``work`` on so many ``images`` counts to, and the share of either limit that it is."""
    with FlopCounterMode(display=False) as counter:
        work()
    with Traffic() as traffic:
        work()
    flops, moved = counter.get_total_flops() / images, traffic.bytes / images
    arithmetic, memory = limits[f"{kind}_tflops"] * 1e12 / flops, limits["copy_gbytes"] * 1e9 / moved
    return {
        "images_per_second": per_second,
        "gflop_per_image": flops / 1e9,
        "mbyte_per_image": moved / 1e6,
        "limit_arithmetic": arithmetic,
        "limit_memory": memory,
        "share_of_arithmetic": per_second / arithmetic,
        "share_of_memory": per_second / memory,
        "numbers": kind,
    }


# --- k networks as one ---------------------------------------------------------------------------------------------


def part_together(setting: Setting) -> Iterator[tuple[str, dict]]:
    """Whole trainings of k networks as one, against the same networks one after another."""
    device, config = setting.device, setting.default
    # The most telling first: minutes may run out. One network is the plain step, recorded.
    options, budget, counts = config["train"], setting.left, [2, 1] if setting.tiny else [8, 32, 1, 16, 4, 2]
    images = config["generate"]["images"]
    file = drawn(config, SOURCES, {split: images[split] for split in ("train", "validation", "test")})
    domains = [file[SOURCES[j % len(SOURCES)]] for j in range(max(counts))]
    seeds = [j // len(SOURCES) for j in range(max(counts))]

    def single(j: int, options: dict) -> tuple[UNet, list[dict[str, float]]]:
        network, resume = fresh(config, seeds[j], device), setting.work / "alone.resume.h5"
        resume.unlink(missing_ok=True)
        return network, training.train(network, domains[j], options, seeds[j], device, resume, f"network {j + 1}")

    # The first use of a card takes seconds, which are of no network.
    single(0, options | {"epochs": 1})
    alone: list[float] = []
    presented = took = 0.0
    for j in range(min(8, max(counts))):
        if j > 1 and setting.left < 0.5 * budget:
            setting.cut(f"single trainings after the first {j}: no time left")
            break
        start = time.perf_counter()
        network, curve = single(j, options)
        synchronise(device)
        took += time.perf_counter() - start
        presented += training.presentations(curve)
        alone.append(iou(network.eval(), domains[j], device))
    spread = [np.std(own, ddof=1) for s in range(len(SOURCES)) if len(own := alone[s :: len(SOURCES)]) > 1]
    each, per_second = took / len(alone), presented / took
    yield (
        "trained_alone",
        {
            "networks": len(alone),
            "seconds_each": each,
            "images_per_second": per_second,
            "iou": alone,
            "sd_between_seeds": float(np.mean(spread)) if spread else None,
        },
    )
    for k in counts:
        if not setting.tiny and setting.left < 5 + k * each / 5:
            setting.cut(f"training {k} networks as one: no time left")
            continue
        networks = [together.standardised(fresh(config, seed, device), domain, device)
                    for seed, domain in zip(seeds[:k], domains, strict=False)]  # fmt: skip
        start = time.perf_counter()
        curves = together.fit(networks, domains[:k], options, seeds[:k], device)
        synchronise(device)
        took = time.perf_counter() - start
        ious = [iou(own, domain, device) for own, domain in zip(networks, domains, strict=False)]
        gaps = np.subtract(ious[: len(alone)], alone[:k])
        rate = sum(map(training.presentations, curves)) / took
        yield (
            f"trained_grouped_{k}",
            {
                "k": k,
                "seconds": took,
                "images_per_second": rate,
                "times_alone": rate / per_second,
                "iou": ious,
                "iou_minus_alone_largest": float(np.abs(gaps).max()),
            },
        )
    file.close()


# --- jobs that share the card --------------------------------------------------------------------------------------


def part_sharing(setting: Setting) -> Iterator[tuple[str, dict]]:
    """Training jobs of the default study as processes, several at a time, with and without NVIDIA's MPS."""
    config, path = setting.default, setting.work / "sharing.h5"
    generate(
        {SOURCES[0]: domain_spec(config, SOURCES[0]) | {"seed": 0}}, ["train", "validation"], str(path), True, CORES
    )
    rates: dict[int, float] = {}
    longest = 0.0
    with ExitStack() as stack:
        ways: dict[bool, dict[str, str]] = {False: {}}
        try:
            ways[True] = stack.enter_context(mps(setting.tiny))
        except (OSError, subprocess.SubprocessError) as error:
            setting.cut(f"no multi-process service: {told(error)}")
        # The most telling first: minutes may run out.
        for k in [2] if setting.tiny else [8, 1, 4, 2]:
            for service, environment in ways.items():
                if setting.left < 1.3 * longest + 2:
                    setting.cut(f"{k} jobs at once{', service' if service else ''}: no time left")
                    continue
                row = jobs(setting, path, k, environment)
                longest = max(longest, row["seconds"])
                if not service and "jobs_per_minute" in row:
                    rates[k] = row["jobs_per_minute"]
                yield f"jobs_{k}{'_mps' if service else ''}", row | {"service": service}
    if rates:
        # The fewest at once that come near the most jobs a minute: more of them only take memory.
        best = min(k for k, rate in rates.items() if rate > 0.95 * max(rates.values()))
        yield "gpu_jobs", {"best": best, "rule": "fewest at once within 5% of the most jobs a minute, without service"}


def jobs(setting: Setting, path: Path, k: int, environment: dict[str, str]) -> dict:
    """A row: k training jobs at once, started as Snakemake starts them."""
    outputs, failed = [], []
    start = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", "import sys; from tests import gpu_parts; gpu_parts.job(*sys.argv[1:])",
             str(path), str(setting.work / f"job{j}"), "tiny" if setting.tiny else ""],
            cwd=ROOT, env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for j in range(k)
    ]  # fmt: skip
    for process in running:
        try:
            out, err = process.communicate(timeout=max(5.0, setting.left + GRACE / 2))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        if process.returncode:
            failed.append((err.strip().splitlines() or ["no output"])[-1])
        else:
            outputs.append(json.loads(out.splitlines()[-1]))
    took = time.perf_counter() - start
    row = {"at_once": k, "seconds": took, "failed": failed}
    if not outputs:
        return row
    return row | {
        "jobs_per_minute": 60 * len(outputs) / took,
        "validation_iou": min(output["iou"] for output in outputs),
        "seconds_of_training": statistics.median(output["seconds"] for output in outputs),
        "images_per_second_of_training": k * statistics.mean(output["images_per_second"] for output in outputs),
    }


def job(path: str, folder: str, tiny: str) -> None:
    """One training as stage train does it; prints its seconds without the start of the process."""
    setting = Setting(Path(folder), Path(folder), 0, bool(tiny))
    setting.work.mkdir(parents=True, exist_ok=True)
    config, start = setting.default, time.perf_counter()
    model = {"channels": 1, **config["model"]}
    train(path, f"{folder}/model.h5", f"{folder}/curve.csv", model, config["train"], 0, setting.device.type)
    took = time.perf_counter() - start
    curve = read_csv(f"{folder}/curve.csv")
    rate, best = curve["presented"].sum() / took, curve["validation_iou"].max()
    print(json.dumps({"seconds": took, "images_per_second": rate, "iou": best}))


@contextmanager
def mps(tiny: bool) -> Iterator[dict[str, str]]:
    """Environment of jobs under NVIDIA's multi-process service, which runs for as long as the block lasts.

    Errors: :class:`OSError` or :class:`subprocess.SubprocessError` where it does not start.
    """
    program = None if tiny else shutil.which("nvidia-cuda-mps-control")
    if not program:
        raise FileNotFoundError("there is no nvidia-cuda-mps-control")
    # A short path: the service puts sockets there.
    with tempfile.TemporaryDirectory(prefix="mps", ignore_cleanup_errors=True) as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/p", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/l"}
        for place in environment.values():
            Path(place).mkdir()
        # Output is not captured: the daemon would hold the pipes open.
        silent = {"env": os.environ | environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([program, "-d"], stdin=subprocess.DEVNULL, timeout=20, check=True, **silent)
        try:
            yield environment
        finally:
            subprocess.run([program], input=b"quit\n", timeout=10, **silent)


# --- the talk ------------------------------------------------------------------------------------------------------


def part_talk(setting: Setting) -> Iterator[tuple[str, dict]]:
    """A network of the talk's size, its map of means and its distances at full width."""
    device, config = setting.device, setting.talk
    source, options, start = SOURCES[0], config["train"], time.perf_counter()
    file = drawn(config, [source], config["generate"]["images"])
    domain = file[source]
    yield "drawn", {"images": store.count(domain["train"]), "seconds": time.perf_counter() - start, "cores": CORES}

    network = fresh(config, 0, device)
    network.input_mean, network.input_sd = input_moments(Inputs(domain["train"], device, network.depth))
    # All on the card, however many.
    images = TrainingImages(domain["train"], options["batch"], options["crop"], window_bytes=2**34, device=device)
    each = epoch_seconds(config, images, device)
    # Half of what is left is for the training; the learning rate falls to zero within the epochs there are.
    epochs = max(1, min(options["epochs"], int(0.55 * setting.left / each)))
    if epochs < options["epochs"]:
        setting.cut(f"{epochs} epochs instead of {options['epochs']}: an epoch takes {each:.1f} s")
    options = options | {"epochs": epochs}
    learner = training.supervised(network, options, training.precision(options["precision"], device))
    fingerprint = {"options": options, "model": config["model"], "domain": store.get_json(domain, "domain")}
    resume = setting.work / "talk.resume.h5"
    start = time.perf_counter()
    curve = training.fit(learner, images, None, domain["validation"], options, fingerprint, 0, device, resume, "talk")
    synchronise(device)
    took = time.perf_counter() - start
    write_rows(curve, setting.results / "gpu_talk_curve.csv")
    scores = [row["validation_iou"] for row in curve]
    late = max(scores) - max(scores[: -options["patience"]], default=0)
    yield (
        "trained",
        {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "epochs": len(curve),
            "seconds": took,
            "images_per_second": training.presentations(curve) / took,
            "validation_iou": scores,
            "test_iou": iou(network.eval().requires_grad_(False), domain, device),
            "gain_of_the_last_epochs": late,
            "plateau": late <= PLATEAU,
        },
    )

    grid, finer = (
        [f"{mask:.2f}-{background:.2f}" for mask, background in permutations(levels, 2)]
        for levels in ((GRID[1:4:2], []) if setting.tiny else (GRID, [step / 10 for step in range(1, 10)]))
    )
    yield from mapped(setting, network, domain, grid, [name for name in finer if name not in grid])
    file.close()


def epoch_seconds(config: dict, images: TrainingImages, device: torch.device) -> float:
    """What an epoch of the talk takes, from some steps of a network that is thrown away."""
    step, many = step_of(config, config["train"], images, device), 30 if device.type == "cuda" else 1
    step_seconds = seconds(lambda: [step() for _ in range(many)], device, at_most=2) / many
    # A tenth above for the validation, and a second and a half to write half a gigabyte of weights.
    return 1.1 * step_seconds * images.per_epoch / images.batch + (1.5 if device.type == "cuda" else 0)


def mapped(
    setting: Setting, network: UNet, domain: h5py.Group, grid: list[str], finer: list[str]
) -> Iterator[tuple[str, dict]]:
    """IoU of every target, kept and adapted: gpu_talk.csv, as gains.csv.

    Of the targets of ``grid`` the distances of the bottleneck too, with their nulls: gpu_distances.csv, as
    distances.csv.
    """
    device, config, start = setting.device, setting.talk, time.perf_counter()
    amounts = {split: config["generate"]["images"][split] for split in ("adapt", "test")}
    place = {"layer": "bottleneck", "activation": "before_relu", "unit": "position"}

    def latents(split: h5py.Group, parts: list[np.ndarray]) -> list[Latents]:
        names, kept = ([name] for name in place.values()), config["latents"]["rows"]
        summaries = summarise_parts(network, Inputs(split, device, network.depth), parts, *names, kept)
        return [Latents(**arrays["/".join(place.values())]) for arrays in summaries]

    parts = parts_of_source(store.count(domain[REFERENCE]), seed=0)
    reference, *halves = latents(domain[REFERENCE], list(parts.values()))
    pairs = list(zip(halves[::2], halves[1::2], strict=True))
    directions = projections(reference.mean.size, config["distances"]["projections"], seed=0)
    nulls = {name: null(name, pairs, directions) for name in TALK_DISTANCES}
    scores: list[dict] = []
    distances: list[dict] = []
    names, each = [*grid, *finer], 0.0
    with ThreadPoolExecutor(CORES) as pool:
        for first in range(0, len(names), CORES):
            part = names[first : first + CORES]
            if setting.left < 1.2 * each * len(part) + 5:
                setting.cut(f"map: {len(names) - first} targets from {part[0]} on: no time left")
                break
            began = time.perf_counter()
            for name, file in zip(part, pool.map(lambda name: drawn(config, [name], amounts, 1), part), strict=True):
                splits = file[name]
                key = {"source": SOURCES[0], "target": name, "transform": "identity", "level": 0.0, "seed": 0}
                shown = Inputs(splits["adapt"], device, network.depth, pixels=at_once(network))
                state = batchnorm.batchnorm(network, shown)
                for when, method, tensors in (("before", "source", {}), ("after", "batchnorm", state)):
                    with normalisation.adapted(network, tensors):
                        masks = predict(network, splits["test"], 0.5, device)
                        scores.append(key | {"method": method} | metrics.scores(masks))
                        if name in grid:
                            own = latents(splits["adapt"], [np.ones(store.count(splits["adapt"]), bool)])[0]
                            distances += [
                                key | place | {"state": when, "distance": distance}
                                | {"value": DISTANCES[distance](reference, own, directions), "null": nulls[distance]}
                                for distance in TALK_DISTANCES
                            ]  # fmt: skip
                if name == SOURCES[0]:
                    # The network is its own oracle at home.
                    scores.append(scores[-2] | {"method": "target"})
                file.close()
            each = (time.perf_counter() - began) / len(part)
            table = gains(pd.DataFrame(scores))
            write_csv(table[GAINS].sort_values(["target"]), setting.results / "gpu_talk.csv", "%.9g")
            write_csv(pd.DataFrame(distances), setting.results / "gpu_distances.csv", "%.9g")
    if scores:
        means = table[["iou_before", "iou_after", "gain_iou"]].mean().to_dict()
        yield "map", {"targets": len(table), "seconds": time.perf_counter() - start} | means
        targets = len(distances) // 2 // len(TALK_DISTANCES)
        yield "distances", {"channels": reference.mean.size, "targets": targets, "nulls": nulls}


PARTS: dict[str, Callable[[Setting], Iterator[tuple[str, dict]]]] = {
    "tests": part_tests,
    "throughput": part_throughput,
    "together": part_together,
    "sharing": part_sharing,
    "talk": part_talk,
}
