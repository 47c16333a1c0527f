"""Why the mean of a channel moves from source to target: by the foreground share, and by how the classes look.

With the foreground share pi and the means m_1, m_0 of a channel over foreground and background, its mean is
M = pi m_1 + (1 - pi) m_0. Refreshing takes all of M from the target; only what the classes' looks did to it is to be
undone. This needs masks, of the target too: it explains, and nothing is adapted by it.
"""

from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.files import store
from shiftgain.latents.activations import hooked
from shiftgain.latents.channels import dead
from shiftgain.network.inference import BATCH_PIXELS
from shiftgain.network.tiles import Tiled, core_at, pixels_at, place_at
from shiftgain.network.unet import UNet

# Of a split the first images up to so many pixels: means of millions of positions are exact enough.
MOST_PIXELS = 2**22


class ClassMeans(NamedTuple):
    """Of one layer: ``share`` of the foreground, means (C,) over each class, ``deviation`` (C,) over all positions."""

    share: float
    foreground: np.ndarray
    background: np.ndarray
    deviation: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """M = pi m_1 + (1 - pi) m_0."""
        return self.share * self.foreground + (1 - self.share) * self.background


def class_means(network: UNet, split: h5py.Group, layers: list[str], device: torch.device) -> dict[str, ClassMeans]:
    """Layer -> :class:`ClassMeans` of its activations before the ReLU, over the labelled images of a split.

    A position counts to each class by the pixels of it that lie below; ignored ones count to neither.
    """
    sums: dict[str, Tensor] = {}

    def take(name: str, activation: Tensor) -> None:
        size = activation.shape[-2:]
        counts = np.stack([pixels_at(tile, size, pixels) for pixels in classes])[:, :, *place_at(tile, size)]
        weights = torch.from_numpy(counts.astype(float)).to(device).flatten(1)
        rows = activation[:, :, *core_at(tile, size)].permute(0, 2, 3, 1).flatten(0, 2).double()
        sums[name] = sums.get(name, 0) + weights @ torch.cat([torch.ones_like(rows[:, :1]), rows, rows**2], 1)

    names, n_pixels = [f"{layer}/before_relu" for layer in layers], 0
    with torch.inference_mode(), hooked(network, names, take):
        for images, masks in store.batches(split, BATCH_PIXELS):
            classes = [np.asarray(masks) == label for label in (1, 0)]
            for tile in Tiled(images, range(len(images)), network.depth, device):
                network(tile.images)
            n_pixels += classes[0].size
            if n_pixels >= MOST_PIXELS:
                break
    return {layer: _of_sums(sums[name].cpu().numpy()) for layer, name in zip(layers, names, strict=True)}


def decomposition(source: ClassMeans, target: ClassMeans) -> dict[str, np.ndarray]:
    """M_t - M_s = (pi_t - pi_s) (m_1s - m_0s) + [pi_t (m_1t - m_1s) + (1 - pi_t) (m_0t - m_0s)].

    ``channel``, and its ``difference``, ``prior_part`` and ``appearance_part``, in deviations of the channel on the
    source; channels that are :func:`channels.dead` there are left out. The parts are NaN where a class of the target is
    not on the source: what it looked like there is not known.
    """
    prior = (target.share - source.share) * (source.foreground - source.background)
    appearance = target.share * (target.foreground - source.foreground)
    appearance += (1 - target.share) * (target.background - source.background)
    if (source.share == 0 and target.share > 0) or (source.share == 1 and target.share < 1):
        prior, appearance = (np.full_like(source.deviation, np.nan) for _ in range(2))
    (alive,) = np.nonzero(~dead(source.deviation))
    parts = {"difference": target.mean - source.mean, "prior_part": prior, "appearance_part": appearance}
    return {"channel": alive} | {name: (part / source.deviation)[alive] for name, part in parts.items()}


def _of_sums(sums: np.ndarray) -> ClassMeans:
    """``sums`` (2, 1 + 2 C): of the weights, activations and squares over foreground and background."""
    n_channels = sums.shape[1] // 2
    counts, first, second = sums[:, 0], sums[:, 1 : 1 + n_channels], sums[:, 1 + n_channels :]
    # Of a class without pixels, any mean has the weight 0.
    foreground, background = first / counts[:, None].clip(1)
    mean = first.sum(0) / counts.sum()
    deviation = np.sqrt((second.sum(0) / counts.sum() - mean**2).clip(0))
    return ClassMeans(float(counts[0] / counts.sum()), foreground, background, deviation)
