"""Rows `road_*`: ways to a faster step on a processor that the workflow does not take, beside its own."""

import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from shiftgain.network import training
from shiftgain.network.unet import UNet
from tests.bench.measure import CPU, DEFAULT, batch_of_noise, row, seconds, training_step
from tests.together import Stacked

# Networks that are trained as one, as many as the default study has sources and one more.
TOGETHER = 4
REPEATS = 15

Work = Callable[[], object]


def own() -> UNet:
    """A network of the default study, as its training has it in memory."""
    torch.manual_seed(0)
    return UNet(1, **DEFAULT["model"]).to(memory_format=torch.channels_last)


def inductor(images: torch.Tensor, masks: torch.Tensor) -> Work:
    """The step of a network that TorchInductor has compiled, loss and gradients with it."""
    return training_step(torch.compile(own()), images, masks)


def bfloat16(images: torch.Tensor, masks: torch.Tensor) -> Work:
    """The step under autocast to bfloat16."""
    network = own().train()
    optimiser = training.adam(network, 1e-3)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        training.descend(optimiser, training.segmentation_loss(logits.float(), masks))

    return step


def grouped(images: torch.Tensor, masks: torch.Tensor) -> Work:
    """The step of :data:`TOGETHER` networks side by side, by grouped convolutions."""
    stacked = Stacked([own() for _ in range(TOGETHER)], DEFAULT["train"] | {"precision": "float32"}, CPU)
    wide = images.repeat(1, TOGETHER, 1, 1).to(memory_format=torch.channels_last)
    return lambda: stacked.step(wide, masks.repeat(1, TOGETHER, 1, 1))


def onednn_graph(images: torch.Tensor, masks: torch.Tensor) -> Work:
    """A forward pass of a frozen trace under oneDNN Graph, which PyTorch offers for inference alone."""
    torch.jit.enable_onednn_fusion(True)
    traced = torch.jit.freeze(torch.jit.trace(own().eval(), images))
    return torch.inference_mode()(lambda: traced(images))


def forward(images: torch.Tensor) -> Work:
    """A forward pass as stages take it."""
    network = own().eval()
    return torch.inference_mode()(lambda: network(images))


# Way -> what it costs, how many networks move at once, and whether it trains.
ROADS = {"inductor": (inductor, 1, True), "bfloat16": (bfloat16, 1, True), "grouped": (grouped, TOGETHER, True)}
ROADS |= {"onednn_graph": (onednn_graph, 1, False)}


def bench_roads(folder: Path) -> dict:
    """Each way beside the step, or the forward pass, that the workflow takes, on one core, interleaved."""
    torch.set_num_threads(1)
    images, masks = batch_of_noise()
    plain = {True: training_step(own(), images, masks), False: forward(images)}
    rows = {}
    for name, (make, networks, trains) in ROADS.items():
        try:
            work = make(images, masks)
            first = seconds(work, 1)
            seconds(work, 2)
        except Exception as error:
            reason = " ".join(str(error).split())[:80]
            rows[f"road_{name}"] = row(0, f"failed in torch {torch.__version__}: {type(error).__name__}: {reason}")
            continue
        times = [(seconds(plain[trains], 1), seconds(work, 1)) for _ in range(REPEATS)]
        base, each = (statistics.median(column) for column in zip(*times, strict=True))
        what = "training step" if trains else "forward pass"
        unit = f"ms, {what} of {networks} network{'s' * (networks > 1)}; the first took {first:.1f} s"
        ratio = networks * base / each
        rows[f"road_{name}"] = row(1000 * each, unit, ratio, f"times as fast as the {what} of the workflow")
    return rows
