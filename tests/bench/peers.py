"""Rows `peer_*`: against programs that do the same. `pip install --no-deps -r requirements-bench.txt`."""

import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch

from shiftgain.adaptation import batchnorm
from shiftgain.domains import perlin
from shiftgain.latents import distances
from shiftgain.network.tiles import tiles_of
from shiftgain.network.unet import UNet
from tests.bench.measure import (
    DEFAULT,
    bandwidth,
    batch_of_noise,
    least_seconds,
    row,
    seconds,
    talk_domain,
    training_step,
)


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
    # One batch: of several, update_bn takes the average of their statistics, and ours those of all.
    images = [torch.rand(256, 1, 64, 64).to(memory_format=torch.channels_last)]
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
