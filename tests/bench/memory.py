"""Rows `memory_*`: peak memory of a process at the talk's size."""

from pathlib import Path

import numpy as np

from scripts.generate import generate
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.statistics import one_pass_pixels
from shiftgain.files import store
from shiftgain.latents import distances
from shiftgain.latents.activations import summarise
from shiftgain.network.inference import Inputs
from tests.bench.measure import CORES, CPU, TALK, by_itself, frozen, one_epoch, row, talk_domain


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
        pixels = one_pass_pixels(network)
        batchnorm.batchnorm(network, Inputs(domain["test"], CPU, network.depth, pixels=pixels))
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
    works = {memory_generate: 2000, memory_train: 32, memory_adapt: 32, memory_distances: 1000}
    for work, few in works.items():
        peaks = [by_itself(work, folder, n_images)[2] for n_images in (few, 2 * few)]
        rows[work.__name__] = row(peaks[1], f"GiB at {2 * few} images", peaks[1] / peaks[0], f"{few} images")
    return rows
