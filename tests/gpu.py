"""`make gpu`: what only a GPU can show, in one run of bounded minutes, each figure with the card's name.

Writes gpu.json: card, versions, commit and, of every part, its status, its minutes and its rows, after every row; and
beside it the tables that the parts make. `python -m tests.gpu PART ...` runs some parts. A part runs in a process of
its own, so that one that fails or hangs leaves the others alone; one that is done is not run again by the same code
on the same card, unless with --again. `--tiny` runs the same code on a CPU with sizes that show nothing.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
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
from scripts.tabulate import GAINS, gains
from scripts.train import train
from shiftgain.adaptation import batchnorm
from shiftgain.files import store
from shiftgain.files.tables import read_csv, replacing, write_csv, write_rows
from shiftgain.latents.activations import summarise
from shiftgain.latents.distances import DISTANCES, Latents, projections
from shiftgain.network import devices, metrics, normalisation, together, training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, predict
from shiftgain.network.unet import UNet, pad, to_input
from shiftgain.study.plan import domain_spec

ROOT = Path(__file__).parents[1]
CORES = os.cpu_count() or 1
# What a part may take of all minutes; what one leaves, the later ones have.
SHARES = {"tests": 0.09, "throughput": 0.12, "together": 0.22, "sharing": 0.18, "talk": 0.39}
# A part that is stopped from outside has this long beyond its minutes to end by itself.
GRACE = 20.0
SOURCES = ["0.30-0.70", "0.70-0.30", "0.50-0.30"]
GRID = [0.1, 0.3, 0.5, 0.7, 0.9]
TALK_DISTANCES = ["wasserstein_diagonal", "sliced_wasserstein", "bhattacharyya_diagonal", "wasserstein"]
# A training is on its plateau when its last epochs, as many as the study's patience, gained no more than this.
PLATEAU = 0.001


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
        config = yaml.safe_load((ROOT / "config.yaml").read_text())
        few = {"size": [16, 16], "images": {"train": 32, "validation": 16, "adapt": 16, "test": 16}}
        small = {"generate": few, "model": {"width": 4, "depth": 2}, "train": {"epochs": 2}}
        return merged(config, small) if self.tiny else config

    @cached_property
    def talk(self) -> dict:
        """Config of the talk's study."""
        config = merged(self.default, yaml.safe_load((ROOT / "workflow/studies/talk.yaml").read_text()))
        few = {"size": [32, 32], "images": {"train": 32, "validation": 16, "adapt": 16, "test": 16}}
        small = {"generate": few, "model": {"width": 4, "depth": 2}, "train": {"epochs": 2}, "latents": {"rows": 64}}
        return merged(config, small) if self.tiny else config


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
    """Domains in an HDF5 file in memory, a group to each, of ``images`` in each split."""
    file = h5py.File(f"{names[0]}-{time.monotonic_ns()}", "w", driver="core", backing_store=False)
    for name in names:
        spec = domain_spec(config, name)
        spec["images"] = spec["images"] | images
        group = file.create_group(name)
        store.put_json(group, "domain", spec)
        for split in images:
            write_split(group.create_group(split), spec, split, workers)
    return file


def fresh(config: dict, seed: int, device: torch.device) -> UNet:
    """A network of a study with the random weights of a seed."""
    torch.manual_seed(seed)
    return training.fresh({"channels": 1, **config["model"]}, config["train"], device)


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
    found: dict[str, float] = {}
    kinds = {
        "bfloat16": (torch.bfloat16, "highest"),
        "tf32": (torch.float32, "high"),
        "float32": (torch.float32, "highest"),
    }
    for name, (dtype, precision) in kinds.items():
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        torch.set_float32_matmul_precision(precision)
        took = seconds(lambda: [left @ right for _ in range(3)], device, at_most=2) / 3  # noqa: B023
        found[f"{name}_tflops"] = 2 * side**3 / took / 1e12
    torch.set_float32_matmul_precision("highest")
    source = torch.rand(2**18 if tiny else 2**30, device=device)
    other = torch.empty_like(source)
    took = seconds(lambda: [other.copy_(source) for _ in range(3)], device) / 3
    return found | {"copy_gbytes": 2 * source.numel() * source.element_size() / took / 1e9}


def train_row(config: dict, options: dict, domain: h5py.Group, limits: dict, device: torch.device) -> dict:
    """Training steps as the workflow takes them, batches cut from images on the device."""
    network = fresh(config, 0, device).train()
    learner = training.supervised(network, options, training.precision(options["precision"], device))
    pool = TrainingImages(domain["train"], options["batch"], options["crop"], device=device)
    batches = pool.endless(np.random.default_rng(0))
    sizes = []

    def step() -> None:
        images, masks = next(batches)
        sizes.append(len(images))
        learner.step(pad(to_input(images, device), network.depth), pad(masks.unsqueeze(1).float(), network.depth), None)

    many = min(50, 4096 // options["batch"]) if device.type == "cuda" else 1
    for _ in range(3):
        step()
    took = seconds(lambda: [step() for _ in range(many)], device) / many
    kind = "bfloat16" if device.type == "cuda" else "float32"
    return limited(statistics.mean(sizes) / took, sizes[-1], step, kind, limits)


def forward_row(word: str, config: dict, domain: h5py.Group, limits: dict, device: torch.device) -> dict:
    """Stage adapt or evaluate on a split, read from a file in memory; counted on one batch."""
    network = fresh(config, 0, device).eval().requires_grad_(False)
    inputs = Inputs(domain["adapt"], device)
    shown = next(iter(inputs))
    if word == "adapt":
        took = seconds(lambda: batchnorm.batchnorm(network, inputs), device)
    else:
        took = seconds(lambda: metrics.scores(predict(network, domain["test"], 0.5, device)), device)

    def batch() -> object:
        return batchnorm.batchnorm(network, [shown]) if word == "adapt" else network(shown)

    kind = "tf32" if device.type == "cuda" else "float32"
    return limited(inputs.count / took, len(shown), batch, kind, limits)


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


class Branches:
    """k networks in one CUDA graph, a branch to each: the single steps as they are, side by side on the card."""

    def __init__(self, networks: list[UNet], options: dict, device: torch.device):
        self.networks = [deepcopy(network) for network in networks]
        self.optimisers = [together.adam(network.parameters(), options, device) for network in self.networks]
        self.autocast = training.precision(options["precision"], device)
        self.streams = [torch.cuda.Stream() for _ in networks] if device.type == "cuda" else []
        self.step = together.Recorded(self._step) if self.streams else self._step

    def _step(self, images: Tensor, masks: Tensor) -> Tensor:
        k = len(self.networks)
        pairs = list(zip(images.chunk(k, 1), masks.chunk(k, 1), strict=True))
        if not self.streams:
            return torch.stack([self._one(j, *pair) for j, pair in enumerate(pairs)])
        losses, before = [], torch.cuda.current_stream()
        for j, (stream, pair) in enumerate(zip(self.streams, pairs, strict=True)):
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                losses.append(self._one(j, *pair))
        for stream in self.streams:
            before.wait_stream(stream)
        return torch.stack(losses)

    def _one(self, j: int, images: Tensor, masks: Tensor) -> Tensor:
        with self.autocast:
            logits = self.networks[j](images)
        loss = training.segmentation_loss(logits.float(), masks)
        training.descend(self.optimisers[j], loss)
        return loss.detach()

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        for optimiser in self.optimisers:
            together.set_rate(optimiser, rate)

    def train(self, mode: bool) -> None:
        """Batch norm by the batch, or by what it keeps."""
        for network in self.networks:
            network.train(mode)

    def logits(self, images: Tensor) -> Tensor:
        """What the networks say."""
        parts = images.chunk(len(self.networks), 1)
        return torch.cat([network(part) for network, part in zip(self.networks, parts, strict=True)], 1)

    def state(self, j: int) -> dict[str, Tensor]:
        """The state dict of network ``j``."""
        return self.networks[j].state_dict()


class Mapped:
    """k networks by torch.func: their tensors stacked along a new axis, the step of one mapped over it."""

    def __init__(self, networks: list[UNet], options: dict, device: torch.device):
        self.base = deepcopy(networks[0])
        self.parameters, self.buffers = torch.func.stack_module_state(networks)  # type: ignore[arg-type]
        self.optimiser = together.adam(self.parameters.values(), options, device)
        self.autocast = training.precision(options["precision"], device)
        self.step = together.Recorded(self._step) if device.type == "cuda" else self._step

    def _step(self, images: Tensor, masks: Tensor) -> Tensor:
        def one(parameters: dict, buffers: dict, shown: Tensor, true: Tensor) -> Tensor:
            with self.autocast:
                logits = torch.func.functional_call(self.base, (parameters, buffers), (shown,))
            return training.segmentation_loss(logits.float(), true)

        pairs = [tensor.unflatten(1, (-1, 1)).transpose(0, 1) for tensor in (images, masks)]
        losses = torch.func.vmap(one)(self.parameters, self.buffers, *pairs)
        training.descend(self.optimiser, losses.sum())
        return losses.detach()

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        together.set_rate(self.optimiser, rate)

    def train(self, mode: bool) -> None:
        """Batch norm by the batch, or by what it keeps."""
        self.base.train(mode)

    def logits(self, images: Tensor) -> Tensor:
        """What the networks say."""

        def one(parameters: dict, buffers: dict, shown: Tensor) -> Tensor:
            return torch.func.functional_call(self.base, (parameters, buffers), (shown,))

        shown = images.unflatten(1, (-1, 1)).transpose(0, 1)
        return torch.func.vmap(one)(self.parameters, self.buffers, shown)[:, :, 0].transpose(0, 1)

    def state(self, j: int) -> dict[str, Tensor]:
        """The state dict of network ``j``."""
        return {name: tensor[j] for name, tensor in (self.parameters | self.buffers).items()}


def products(networks: list[UNet], options: dict, device: torch.device) -> together.Stacked:
    """:class:`together.Stacked` by matrix products."""
    return together.Stacked(networks, options, device, products=True)


WAYS: dict[str, Callable] = {
    "grouped": together.Stacked, "products": products, "branches": Branches, "vmap": Mapped
}  # fmt: skip


def part_together(setting: Setting) -> Iterator[tuple[str, dict]]:
    """Steps of k networks by every way, then whole trainings by the best one, against the same networks alone."""
    device, config = setting.device, setting.default
    options = config["train"]
    # The most telling first: minutes may run out. One network is the plain step, recorded.
    budget, counts = setting.left, [2, 1] if setting.tiny else [8, 32, 1, 16, 4, 2]
    largest = max(counts)
    images = {split: config["generate"]["images"][split] for split in ("train", "validation", "test")}
    file = drawn(config, SOURCES, images)
    domains = [file[SOURCES[j % len(SOURCES)]] for j in range(largest)]
    seeds = [j // len(SOURCES) for j in range(largest)]

    networks = [
        together.standardised(fresh(config, seed, device), domain, device)
        for seed, domain in zip(seeds, domains, strict=True)
    ]
    alone = step_rate(Alone(deepcopy(networks[:1]), options, device), 1, config, device)
    yield "step_alone", {"k": 1, "images_per_second": alone}
    rates: dict[str, dict[int, float]] = {}
    for k in counts:
        for way, build in WAYS.items():
            # A way far behind is not asked again, nor vmap at all sizes.
            best = max((max(own.values()) for own in rates.values()), default=0)
            behind = way in rates and max(rates[way].values()) < best / 4
            if behind or (way == "vmap" and k not in counts[:2]):
                continue
            if setting.left < 0.6 * budget:
                setting.cut(f"steps of {k} networks by {way}: no time left")
                continue
            try:
                rate = step_rate(build(networks[:k], options, device), k, config, device)
            except Exception as error:
                yield f"step_{way}_{k}", {"k": k, "way": way, "error": told(error)}
                continue
            rates.setdefault(way, {})[k] = rate
            yield f"step_{way}_{k}", {"k": k, "way": way, "images_per_second": rate, "times_alone": rate / alone}

    singles: list[float] = []
    presented = took = 0.0
    for j in range(min(8, largest)):
        if j > 1 and setting.left < 0.35 * budget:
            setting.cut(f"single trainings after the first {j}: no time left")
            break
        own, resume = fresh(config, seeds[j], device), setting.work / "alone.resume.h5"
        resume.unlink(missing_ok=True)
        synchronise(device)
        start = time.perf_counter()
        curve = training.train(own, domains[j], options, seeds[j], device, resume, f"network {j + 1}")
        synchronise(device)
        took += time.perf_counter() - start
        presented += training.presentations(curve)
        singles.append(iou(own.eval(), domains[j], device))
    per_second = presented / took
    spread = [np.std(own, ddof=1) for s in range(len(SOURCES)) if len(own := singles[s :: len(SOURCES)]) > 1]
    yield (
        "trained_alone",
        {
            "networks": len(singles),
            "seconds_each": took / len(singles),
            "images_per_second": per_second,
            "iou": singles,
            "sd_between_seeds": float(np.mean(spread)) if spread else None,
        },
    )

    order = sorted(rates, key=lambda way: max(rates[way].values()), reverse=True)
    trainings = [(order[0], k) for k in counts[:2]] + [(way, counts[0]) for way in order[1:]]
    for way, k in trainings + [(order[0], k) for k in counts[2:]]:
        expected = 1.3 * k * presented / len(singles) / rates[way].get(k, per_second)
        if setting.left < 5 * (not setting.tiny) + expected:
            setting.cut(f"training {k} networks by {way}: no time left")
            continue
        try:
            yield (
                f"trained_{way}_{k}",
                trained(way, deepcopy(networks[:k]), domains[:k], seeds[:k], options, device, singles, per_second),
            )
        except Exception as error:
            yield f"trained_{way}_{k}", {"k": k, "way": way, "error": told(error)}
    file.close()


class Alone:
    """One network as stage train moves it: what the others are compared with."""

    def __init__(self, networks: list[UNet], options: dict, device: torch.device):
        learner = training.supervised(networks[0], options, training.precision(options["precision"], device))
        self.step = lambda images, masks: learner.step(images, masks, None)["loss"]
        self.train = networks[0].train


def step_rate(several, k: int, config: dict, device: torch.device) -> float:
    """Images per second that pass through steps of k networks, on a batch that lies on the device."""
    shape = (config["train"]["batch"], k, *config["generate"]["size"])
    images, masks = (torch.rand(shape, device=device).to(memory_format=torch.channels_last) for _ in range(2))
    masks = masks.round()
    several.train(True)
    for _ in range(together.UNRECORDED + 2):
        several.step(images, masks)
    many = 10 if device.type == "cuda" else 1
    took = seconds(lambda: [several.step(images, masks) for _ in range(many)], device, at_most=1) / many
    return shape[0] * k / took


def trained(
    way: str,
    networks: list[UNet],
    domains: list,
    seeds: list[int],
    options: dict,
    device: torch.device,
    singles: list[float],
    per_second: float,
) -> dict:
    """A row: networks trained whole by a way, and how far their IoU is from that of the same networks alone."""
    k = len(networks)
    synchronise(device)
    start = time.perf_counter()
    several = WAYS[way](networks, options, device)
    curves = together.fit(several, networks, domains, options, seeds, device)
    synchronise(device)
    took = time.perf_counter() - start
    ious = [iou(own, domain, device) for own, domain in zip(networks, domains, strict=True)]
    gaps = np.subtract(ious[: len(singles)], singles[:k])
    rate = sum(map(training.presentations, curves)) / took
    return {
        "k": k,
        "way": way,
        "seconds": took,
        "images_per_second": rate,
        "times_alone": rate / per_second,
        "iou": ious,
        "iou_minus_alone_mean": float(gaps.mean()),
        "iou_minus_alone_largest": float(np.abs(gaps).max()),
    }


def iou(network: UNet, domain: h5py.Group, device: torch.device) -> float:
    """IoU of a network on the test images of its own domain."""
    return metrics.scores(predict(network, domain["test"], 0.5, device))["iou"]


# --- jobs that share the card --------------------------------------------------------------------------------------


def part_sharing(setting: Setting) -> Iterator[tuple[str, dict]]:
    """Training jobs of the default study as processes, several at a time, with and without NVIDIA's MPS."""
    config = setting.default
    path = setting.work / "sharing.h5"
    splits = ["train", "validation"]
    generate({SOURCES[0]: domain_spec(config, SOURCES[0])}, splits, str(path), True, CORES)
    counts = [2] if setting.tiny else [1, 2, 4, 8]
    rates: dict[int, float] = {}
    longest = 0.0
    for service in (False, True):
        with mps(setting) if service else plain() as (environment, refusal):
            if refusal:
                yield "mps", {"started": False, "why": refusal}
                setting.cut(f"no multi-process service: {refusal}")
                continue
            for k in counts:
                if setting.left < 1.3 * longest + 2:
                    setting.cut(f"{k} jobs at once{', service' if service else ''}: no time left")
                    continue
                row = jobs(setting, path, k, environment)
                longest = max(longest, row["seconds"] / (2 if k == 1 else 1))
                yield f"jobs_{k}{'_mps' if service else ''}", row | {"service": service}
                if not service and "jobs_per_minute" in row:
                    rates[k] = row["jobs_per_minute"]
            if service:
                yield "mps", {"started": True, "servers": mps_command(environment, "get_server_list")}
    if rates:
        # The fewest at once that come near the most jobs a minute: more of them only take memory.
        best = min(k for k, rate in rates.items() if rate > 0.95 * max(rates.values()))
        yield "gpu_jobs", {"best": best, "rule": "fewest at once within 5% of the most jobs a minute, without service"}


def jobs(setting: Setting, path: Path, k: int, environment: dict[str, str]) -> dict:
    """A row: k training jobs at once, started as Snakemake starts them; a single one twice, one after the other."""
    program = [sys.executable, "-m", "tests.gpu", *(["--tiny"] if setting.tiny else []), "--job", str(path)]
    outputs, failed = [], []
    start = time.perf_counter()
    for _ in range(2 if k == 1 else 1):
        running = [
            subprocess.Popen(
                [*program, str(setting.work / f"job{j}")],
                cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
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
        "seconds_of_training": statistics.median(output["seconds"] for output in outputs),
        "images_per_second_of_training": k * statistics.mean(output["images_per_second"] for output in outputs),
    }


def job(path: str, folder: str, tiny: bool) -> None:
    """One training as stage train does it; prints its seconds without the start of the process."""
    setting = Setting(Path(folder), Path(folder), 0, tiny)
    setting.work.mkdir(parents=True, exist_ok=True)
    config = setting.default
    start = time.perf_counter()
    model = {"channels": 1, **config["model"]}
    train(path, f"{folder}/model.h5", f"{folder}/curve.csv", model, config["train"], 0, setting.device.type)
    took = time.perf_counter() - start
    curve = read_csv(f"{folder}/curve.csv")
    print(json.dumps({"seconds": took, "images_per_second": curve["presented"].sum() / took}))


@contextmanager
def plain() -> Iterator[tuple[dict[str, str], str]]:
    """No service."""
    yield {}, ""


@contextmanager
def mps(setting: Setting) -> Iterator[tuple[dict[str, str], str]]:
    """(environment of the jobs, why not) of NVIDIA's multi-process service for as long as the block lasts."""
    if setting.tiny:
        yield {}, "none without a card"
        return
    program = shutil.which(
        "nvidia-cuda-mps-control", path=os.environ.get("PATH", "") + ":/usr/local/nvidia/bin:/usr/bin"
    )
    if not program:
        yield {}, "nvidia-cuda-mps-control is not installed"
        return
    # A short path: the service puts sockets there.
    with tempfile.TemporaryDirectory(prefix="mps", ignore_cleanup_errors=True) as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/p", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/l"}
        for place in environment.values():
            Path(place).mkdir()
        environment["MPS_CONTROL"] = program
        try:
            # Not captured: the daemon would hold the pipes open.
            started = subprocess.run(
                [program, "-d"], env=os.environ | environment, timeout=20,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ).returncode  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            started = told(error)
        log = Path(folder, "l", "control.log")
        reason = f"it ended with {started}; {log.read_text()[-300:] if log.exists() else 'no log'}" if started else ""
        try:
            yield environment, reason
        finally:
            if not reason:
                mps_command(environment, "quit")


def mps_command(environment: dict[str, str], command: str) -> str:
    """What the service answers."""
    try:
        done = subprocess.run(
            [environment["MPS_CONTROL"]], input=f"{command}\n", env=os.environ | environment,
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
        return (done.stdout + done.stderr).strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return told(error)


# --- the talk ------------------------------------------------------------------------------------------------------


def part_talk(setting: Setting) -> Iterator[tuple[str, dict]]:
    """A network of the talk's size, its map of means and its distances at full width."""
    device, config = setting.device, setting.talk
    source, options = SOURCES[0], config["train"]
    start = time.perf_counter()
    file = drawn(config, [source], config["generate"]["images"])
    domain = file[source]
    yield "drawn", {"images": store.count(domain["train"]), "seconds": time.perf_counter() - start, "cores": CORES}

    network = fresh(config, 0, device)
    network.input_mean, network.input_sd = batchnorm.input_moments(Inputs(domain["train"], device))
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
    curve = training.fit(
        learner, images, None, domain["validation"], options, fingerprint, 0, device, resume, "talk"
    )  # fmt: skip
    synchronise(device)
    took = time.perf_counter() - start
    write_rows(curve, setting.results / "gpu_talk_curve.csv")
    scores = [row["validation_iou"] for row in curve]
    late = max(scores) - max(scores[: -options["patience"]], default=0)
    own = iou(network.eval().requires_grad_(False), domain, device)
    yield (
        "trained",
        {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "epochs": len(curve),
            "epochs_of_the_study": config["train"]["epochs"],
            "seconds": took,
            "images_per_second": training.presentations(curve) / took,
            "validation_iou": scores,
            "test_iou": own,
            "gain_of_the_last_epochs": late,
            "plateau": late <= PLATEAU,
        },
    )

    pairs = [
        (f"{mask:.2f}-{background:.2f}") for mask, background in permutations(GRID[1:4:2] if setting.tiny else GRID, 2)
    ]
    rows: list[dict] = []
    start = time.perf_counter()
    yield from mapped(setting, network, pairs, rows)
    near = pairs[:1] if setting.tiny else [source, "0.50-0.70", "0.30-0.90", "0.10-0.50", "0.70-0.30", "0.90-0.10"]
    yield from measured(setting, network, domain, [*near, *(name for name in pairs if name not in near)])
    fine = [round(0.1 * step, 1) for step in range(1, 10)]
    between = [name for pair in permutations(fine, 2) if (name := f"{pair[0]:.2f}-{pair[1]:.2f}") not in pairs]
    yield from mapped(setting, network, [] if setting.tiny else between, rows)
    file.close()


def epoch_seconds(config: dict, images: TrainingImages, device: torch.device) -> float:
    """What an epoch of the talk takes, from some steps of a network that is thrown away."""
    network = fresh(config, 1, device).train()
    options = config["train"]
    learner = training.supervised(network, options, training.precision(options["precision"], device))
    batches = images.endless(np.random.default_rng(0))

    def step() -> None:
        shown, true = next(batches)
        learner.step(pad(to_input(shown, device), network.depth), pad(true.unsqueeze(1).float(), network.depth), None)

    for _ in range(3):
        step()
    many = 30 if device.type == "cuda" else 1
    step_seconds = seconds(lambda: [step() for _ in range(many)], device, at_most=2) / many
    # A tenth above for the validation, and a second and a half to write half a gigabyte of weights.
    return 1.1 * step_seconds * images.per_epoch / images.batch + (1.5 if device.type == "cuda" else 0)


def mapped(setting: Setting, network: UNet, names: list[str], rows: list[dict]) -> Iterator[tuple[str, dict]]:
    """IoU of every target, kept and adapted: into ``rows`` and gpu_talk.csv, in the columns of gains.csv."""
    device, config = setting.device, setting.talk
    amounts = {split: config["generate"]["images"][split] for split in ("adapt", "test")}
    start, each = time.perf_counter(), 0.0
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
                state = batchnorm.batchnorm(network, Inputs(splits["adapt"], device))
                for method, tensors in (("source", {}), ("batchnorm", state)):
                    with normalisation.adapted(network, tensors):
                        scores = metrics.scores(predict(network, splits["test"], 0.5, device))
                    rows.append(key | {"method": method} | scores)
                if name == SOURCES[0]:
                    # The network is its own oracle at home.
                    rows.append(rows[-2] | {"method": "target"})
                file.close()
            each = (time.perf_counter() - began) / len(part)
            table = gains(pd.DataFrame(rows))
            write_csv(table[GAINS].sort_values(["target"]), setting.results / "gpu_talk.csv", "%.9g")
    if names and each:
        summary = table[["iou_before", "iou_after", "gain_iou"]].mean().to_dict()
        took = time.perf_counter() - start
        yield f"map_{len(table)}", {"targets": len(table), "seconds": took, "seconds_a_target": each} | summary


def measured(setting: Setting, network: UNet, domain: h5py.Group, names: list[str]) -> Iterator[tuple[str, dict]]:
    """Distances of the bottleneck, before and after, with their nulls: gpu_distances.csv, as distances.csv."""
    device, config = setting.device, setting.talk
    kept = config["latents"]["rows"]
    place = ("bottleneck", "before_relu", "position")

    def latents(split: h5py.Group, half: int) -> Latents:
        found = summarise(
            network, Inputs(split, device, half), store.count(split) // 2, *([name] for name in place), kept
        )
        return Latents(**found["/".join(place)])

    start = time.perf_counter()
    reference, null = latents(domain["adapt"], 0), latents(domain["adapt"], 1)
    directions = projections(reference.mean.size, config["distances"]["projections"], seed=0)
    nulls = {name: DISTANCES[name](reference, null, directions) for name in TALK_DISTANCES}
    rows: list[dict] = []
    each = time.perf_counter() - start
    amount = {"adapt": config["generate"]["images"]["adapt"]}
    for name in names:
        # A sixth of the part's minutes at most, so that the finer map has some.
        if rows and (setting.left < 2 * each + 5 or time.perf_counter() - start > 40):
            setting.cut(
                f"distances: {len(names) - len(rows) // 2 // len(TALK_DISTANCES)} targets from {name} on left out"
            )
            break
        began = time.perf_counter()
        with drawn(config, [name], amount) as file:
            splits = file[name]
            state = batchnorm.batchnorm(network, Inputs(splits["adapt"], device))
            for when, tensors in (("before", {}), ("after", state)):
                with normalisation.adapted(network, tensors):
                    own = latents(splits["adapt"], 1)
                rows += [
                    {"source": SOURCES[0], "target": name, "transform": "identity", "level": 0.0, "seed": 0}
                    | dict(zip(("layer", "activation", "unit"), place, strict=True))
                    | {"state": when, "distance": distance}
                    | {"value": DISTANCES[distance](reference, own, directions), "null": nulls[distance]}
                    for distance in TALK_DISTANCES
                ]
        each = time.perf_counter() - began
        write_rows(rows, setting.results / "gpu_distances.csv", "%.9g")
    yield (
        "distances",
        {
            "channels": reference.mean.size,
            "targets": len(rows) // 2 // len(TALK_DISTANCES),
            "seconds": time.perf_counter() - start,
            "nulls": nulls,
        },
    )


# --- the run -------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Setting], Iterator[tuple[str, dict]]]] = {
    "tests": part_tests,
    "throughput": part_throughput,
    "together": part_together,
    "sharing": part_sharing,
    "talk": part_talk,
}


def told(error: BaseException) -> str:
    """An error in a line: its class, its words, and where it was raised."""
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(where[-1].filename).name}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"


def part(name: str, setting: Setting, keep: Callable[[dict], None]) -> None:
    """Run a part; ``keep`` gets what is known of it after every row, and its status at the end."""
    start = time.time()
    entry: dict = {"status": "stopped", "rows": {}, "cuts": setting.cuts}

    def told_so_far(**more: object) -> None:
        entry.update(more)
        keep(entry | {"minutes": round((time.time() - start) / 60, 3)})

    told_so_far()
    try:
        for key, row in PARTS[name](setting):
            print(f"  {key}: {json.dumps(rounded(row))}", flush=True)
            entry["rows"][key] = rounded(row)
            told_so_far()
        told_so_far(status="cut short" if setting.cuts else "done")
    except Exception as error:
        traceback.print_exc()
        told_so_far(status="failed", error=told(error))


def rounded(value):
    """Floats to six digits, all else as it is."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_json(path: Path, value: dict) -> None:
    """Write ``value`` complete or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n")


def isolated(name: str, setting: Setting, keep: Callable[[dict], None]) -> None:
    """:func:`part` in a process of its own, which is killed when it outlasts its minutes by :data:`GRACE`."""
    path = setting.work / f"{name}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.gpu", name, "--child", str(path), "--results", str(setting.results)]
    command += ["--minutes", str(setting.left / 60), *(["--tiny"] if setting.tiny else [])]
    start, ended = time.time(), "killed: it outlasted its minutes"
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        while process.poll() is None and time.time() < setting.deadline + GRACE:
            time.sleep(0.2)
            if path.exists():
                keep(json.loads(path.read_text()))
        if process.poll() is not None:
            ended = f"its process ended with {process.returncode}"
    finally:
        # Its jobs too, which are in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    entry = json.loads(path.read_text()) if path.exists() else {"rows": {}, "cuts": [], "status": "stopped"}
    if entry["status"] == "stopped":
        entry |= {"status": "failed", "error": ended, "minutes": round((time.time() - start) / 60, 3)}
    keep(entry)


def card(tiny: bool) -> dict:
    """What the machine is; asked in another process, so that this one takes nothing of the card."""
    machine = {
        "cores": CORES,
        "processor": processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if tiny:
        return {"card": "none (tiny)"} | machine
    program = (
        "import torch, json; p = torch.cuda.get_device_properties(0); print(json.dumps({'card': p.name,"
        "'gib': round(p.total_memory / 2**30, 1), 'multiprocessors': p.multi_processor_count,"
        "'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"error: torch sees no GPU ({done.stderr.strip().splitlines()[-1]}); --tiny runs the code on a CPU")
    return json.loads(done.stdout.splitlines()[-1]) | machine


def processor() -> str:
    """The processor's name."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else platform.machine()


def commit() -> str:
    """The commit that is run, with a mark where files differ from it; unknown without git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def code() -> str:
    """A digest of all that a part runs."""
    found = sha256()
    for path in sorted([*ROOT.glob("workflow/**/*.py"), *ROOT.glob("workflow/studies/talk.yaml"), Path(__file__),
                        ROOT / "tests/test_gpu.py", ROOT / "config.yaml"]):  # fmt: skip
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def main(arguments: list[str]) -> None:
    """Run the parts named, all by default, each within its share of the minutes."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=12, help="for all parts together (12)")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of gpu.json and its tables")
    parser.add_argument("--commit", default="", help="the commit that is run, where git cannot say it")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--tiny", action="store_true", help="the same code on a CPU, in seconds, with tiny sizes")
    parser.add_argument("--here", action="store_true", help="every part in this process")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--job", nargs=2, metavar=("DATA", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if asked.tiny:
        # Threads would wait for each other longer than they work.
        torch.set_num_threads(1)
    if asked.job:
        return job(*asked.job, asked.tiny)
    begun = time.time()
    end = begun + 60 * asked.minutes
    results, work = asked.results.resolve(), (ROOT / "results" / f"gpu{'_tiny' if asked.tiny else ''}").resolve()
    for folder in (results, work):
        folder.mkdir(parents=True, exist_ok=True)
    if asked.child:
        setting = Setting(results, work, end, asked.tiny)
        return part(asked.parts[0], setting, lambda entry: write_json(asked.child, entry))

    path = results / "gpu.json"
    about = card(asked.tiny) | {"commit": asked.commit or commit(), "code": code()}
    before = json.loads(path.read_text()) if path.exists() else {}
    same = {key: before.get(key) for key in ("card", "code")} == {key: about[key] for key in ("card", "code")}
    found = about | {"parts": before["parts"] if same else {}}
    print(f"{about['card']}, torch {about['torch']}, commit {about['commit']}: {asked.minutes:g} minutes", flush=True)
    chosen = [name for name in PARTS if name in asked.parts or not asked.parts]
    for number, name in enumerate(chosen):
        if found["parts"].get(name, {}).get("status") == "done" and not asked.again:
            print(f"{name}: done before", flush=True)
            continue
        left = end - time.time()
        # Of what is left, its share among the parts still to come: what earlier ones did not use is passed on.
        mine = left * SHARES[name] / sum(SHARES[each] for each in chosen[number:])
        if left < 15 and not asked.tiny:
            found["parts"].setdefault(name, {"status": "skipped", "minutes": 0, "rows": {}, "cuts": []})
            print(f"{name}: skipped, its minutes are gone", flush=True)
            write_json(path, found)
            continue
        print(f"{name}: at most {mine / 60:.1f} minutes", flush=True)

        def keep(entry: dict, name: str = name) -> None:
            found["parts"][name] = entry
            write_json(path, found | {"minutes": round((time.time() - begun) / 60, 3)})

        (part if asked.here else isolated)(name, Setting(results, work, time.time() + mine, asked.tiny), keep)
        entry = found["parts"][name]
        print(f"{name}: {entry['status']} in {entry['minutes']:.2f} minutes {entry.get('error', '')}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
