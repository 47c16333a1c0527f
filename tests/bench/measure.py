"""What the benches share: times, a row of the table, what a machine can do at best, and what is measured on it."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from scripts.train import train
from shiftgain.network import training
from shiftgain.network.unet import UNet
from shiftgain.study.checks import study

ROOT = Path(__file__).parents[2]
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


def slope(xs: list[int], ys: list[float]) -> tuple[float, float]:
    """Growth of y per x between the last two points, and how often that of the first two fits into it: 1 is linear."""
    rates = [(after - before) / (x - w) for (w, x), (before, after) in zip(pairwise(xs), pairwise(ys), strict=True)]
    return rates[-1], rates[-1] / rates[0]


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


def small_specs(names: list[str], images: dict[str, int]) -> dict[str, dict]:
    """Specs of 32 x 32 domains."""
    perlin_options = DEFAULT["generate"]["perlin"] | SMALL["perlin"]
    generated = DEFAULT["generate"] | SMALL | {"perlin": perlin_options, "images": images}
    return study(DEFAULT | {"generate": generated}).specs(names, list(images), "seed0")


SMALL = {"size": [32, 32], "perlin": {"scale": 16}}
BY_ITSELF = """
import json, sys, time
from importlib import import_module
from pathlib import Path
from shiftgain.files import job
job._keep_freed_memory()
work = getattr(import_module(sys.argv[1]), sys.argv[2])
wall, cpu = time.perf_counter(), time.process_time()
work(sys.argv[3], int(sys.argv[4]))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
# Not ru_maxrss, which begins at that of the process which started this one.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([wall, cpu, int(status["VmHWM"].split()[0]) / 2**20]))
"""


def by_itself(
    work: Callable[[str, int], None], folder: Path, size: int, threads: int = CORES
) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak memory in GiB of ``work(folder, size)`` in a process of its own, as a job is."""
    command = [sys.executable, "-c", BY_ITSELF, work.__module__, work.__name__, str(folder), str(size)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    wall, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, peak
