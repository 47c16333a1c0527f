"""Rows `adapt*`: a pass that takes statistics, beside a plain forward pass."""

import statistics
from pathlib import Path

import torch

from scripts.generate import generate
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.artefacts import Counted
from shiftgain.adaptation.statistics import INPUT, gather, one_pass_pixels, settle
from shiftgain.files import store
from shiftgain.network.inference import Inputs
from shiftgain.network.normalisation import norm_layers
from shiftgain.study.checks import study
from tests.bench.measure import CORES, CPU, DEFAULT, frozen, row, seconds


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
