"""Activations inside the network, summarised while they pass: sampled rows and exact moments.

One row is one spatial position of one image (unit ``position``) or the mean over the positions of one image (unit
``image``). Nothing grows with the number of images but the rows kept.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shiftgain.network.unet import UNet, pad


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
    """``layer/activation/unit`` -> :meth:`Summary.arrays`, in one forward pass over ``batches``.

    ``rows`` are kept in all, the same number and positions from each image whatever the domain (fewer where the
    layer has fewer positions, and of unit ``image`` one from each). ``before_relu`` is what the second ReLU of the
    block receives: the output of batch norm.
    """
    per_image = -(-rows // n_images)
    summaries = {
        f"{layer}/{activation}/{unit}": Summary(per_image, stream)
        for stream, layer in enumerate(layers)
        for activation in activations
        for unit in units
    }
    with torch.inference_mode(), _hooked(network, summaries):
        for images in batches:
            network.features(pad(images, network.depth))
    return {name: summary.arrays() for name, summary in summaries.items()}


def _add_means(summary: Summary, activation: Tensor) -> None:
    summary.add(activation.float().mean((2, 3), keepdim=True))


@contextmanager
def _hooked(network: UNet, summaries: dict[str, Summary]) -> Iterator[None]:
    hooks = []
    for name, summary in summaries.items():
        layer, activation, unit = name.split("/")
        relu = network.get_submodule(f"{layer}.relu2")
        add = summary.add if unit == "position" else partial(_add_means, summary)
        if activation == "before_relu":
            hooks.append(relu.register_forward_pre_hook(lambda _, taken, add=add: add(taken[0])))
        else:
            hooks.append(relu.register_forward_hook(lambda _, __, given, add=add: add(given)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
