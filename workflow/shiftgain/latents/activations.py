"""Activations inside the network, summarised while they pass: sampled rows and exact moments.

One row is one spatial position of one image (unit ``position``) or the mean over the positions of one image (unit
``image``). Nothing grows with the number of images but the rows kept.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from shiftgain.network.unet import UNet, pad


def halves(n_images: int, draws: int, seed: int) -> np.ndarray:
    """Which images are in the first of two random halves, bool (draws, n_images); the others are in the second.

    Of an odd number of images the second half has one more.
    """
    first = np.tile(np.arange(n_images) < n_images // 2, (draws, 1))
    return np.random.default_rng(seed).permuted(first, axis=1)


class Summary:
    """Rows (sampled) and moments (exact) of one layer, filled batch by batch by :meth:`add`."""

    def __init__(self, rows_per_image: int, stream: int):
        self.rows_per_image = rows_per_image
        self.stream = stream
        self.rows: list[np.ndarray] = []
        self.images = 0
        self.n = 0
        self.shift: Tensor | None = None
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, activation: Tensor) -> None:
        """Take in one batch (n, channels, H, W)."""
        positions = activation.permute(0, 2, 3, 1).flatten(1, 2).float()
        images, area, channels = positions.shape
        for k in range(images):
            places = np.random.default_rng((self.stream, self.images + k)).choice(
                area, min(area, self.rows_per_image), replace=False
            )
            self.rows.append(positions[k, torch.from_numpy(np.sort(places)).to(positions.device)].cpu().numpy())
        self.images += images
        flat = positions.reshape(-1, channels)
        if self.shift is None or self.first is None or self.second is None:
            # Sums about a value near the mean: no cancellation in the variance of a channel far from zero.
            self.shift = flat.mean(0)
            self.first = torch.zeros(channels, dtype=torch.float64, device=flat.device)
            self.second = torch.zeros(channels, channels, dtype=torch.float64, device=flat.device)
        flat = flat - self.shift
        self.n += len(flat)
        self.first += flat.sum(0, dtype=torch.float64)
        self.second += (flat.T @ flat).double()

    def arrays(self) -> dict[str, np.ndarray]:
        """``rows`` float32 (r, C), ``mean`` float64 (C,), ``covariance`` float32 (C, C), unbiased."""
        if self.shift is None or self.first is None or self.second is None:
            raise ValueError("a summary of no images")
        mean = self.first / self.n
        covariance = (self.second - self.n * torch.outer(mean, mean)) / max(1, self.n - 1)
        return {
            "rows": np.concatenate(self.rows),
            "mean": (mean + self.shift).cpu().numpy(),
            "covariance": covariance.float().cpu().numpy(),
        }


def summarise(
    network: UNet,
    batches: Iterable[Tensor],
    n_images: int,
    layers: list[str],
    activations: list[str],
    units: list[str],
    rows: int,
) -> dict[str, dict[str, np.ndarray]]:
    """:func:`summarise_parts` of one part, all of the images."""
    return summarise_parts(network, batches, [np.ones(n_images, bool)], layers, activations, units, rows)[0]


def summarise_parts(
    network: UNet,
    batches: Iterable[Tensor],
    parts: list[np.ndarray],
    layers: list[str],
    activations: list[str],
    units: list[str],
    rows: int,
) -> list[dict[str, dict[str, np.ndarray]]]:
    """``layer/activation/unit`` -> :meth:`Summary.arrays` of each of ``parts``, in one forward pass over ``batches``.

    A part says of each image whether it is taken, bool (n,), and takes one at least. Of each part ``rows`` are kept in
    all, the same number and positions from each image whatever the domain (fewer where the layer has fewer positions,
    and of unit ``image`` one from each). ``before_relu`` is what the second ReLU of the block receives: the output of
    batch norm. Memory: moments (C, C) and rows of each part.
    """
    summaries = {
        f"{layer}/{activation}/{unit}": [Summary(-(-rows // int(part.sum())), stream) for part in parts]
        for stream, layer in enumerate(layers)
        for activation in activations
        for unit in units
    }
    first = 0

    def take(name: str, activation: Tensor) -> None:
        if name.endswith("/image"):
            activation = activation.float().mean((2, 3), keepdim=True)
        for part, summary in zip(parts, summaries[name], strict=True):
            inside = part[first : first + len(activation)]
            if inside.all():
                summary.add(activation)
            elif inside.any():
                summary.add(activation[torch.from_numpy(inside).to(activation.device)])

    with torch.inference_mode(), _hooked(network, summaries, take):
        for images in batches:
            network.features(pad(images, network.depth))
            first += len(images)
    return [{name: of_parts[k].arrays() for name, of_parts in summaries.items()} for k in range(len(parts))]


@contextmanager
def _hooked(network: UNet, names: Iterable[str], take: Callable[[str, Tensor], None]) -> Iterator[None]:
    hooks = []
    for name in names:
        layer, activation, _ = name.split("/")
        relu = network.get_submodule(f"{layer}.relu2")
        if activation == "before_relu":
            hooks.append(relu.register_forward_pre_hook(lambda _, taken, name=name: take(name, taken[0])))
        else:
            hooks.append(relu.register_forward_hook(lambda _, __, given, name=name: take(name, given)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
