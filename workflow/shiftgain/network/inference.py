"""A network over a split of a domain, a bounded number of pixels at a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.files import store
from shiftgain.network.normalisation import Mixture, State, adapted
from shiftgain.network.tiles import Depth, Tile, Tiled
from shiftgain.network.unet import UNet

# Bounds the memory of a pass whatever the number and size of images; 2^17 is 32 images of 64 x 64.
BATCH_PIXELS = 2**17
# One grey level of 255, so that images of one grey level do not divide by zero.
SMALLEST_INPUT_SD = 1 / 255

# What adapts a network to the tiles of a batch: the states under which it predicts them.
Adapt = Callable[[UNet, Iterable[Tile]], State | Mixture]


def evenly(numbers: np.ndarray, n: int) -> np.ndarray:
    """``n`` of ``numbers``, evenly over all, the first and the last among them."""
    return numbers[np.linspace(0, len(numbers) - 1, n).round().astype(int)]


@dataclass(frozen=True)
class Inputs:
    """The images of a split, or those ``chosen``, in order, as tiles for a network of ``depth``.

    Small images come many to a tile, large ones in several tiles each. May be iterated as often as a method needs, and
    holds one batch of stored images and one tile at a time. Masks are read where ``masked``, never of a target, and of
    them only which pixels count. ``pixels`` pass at once where the memory is there for them, instead of a tile's few.
    """

    split: h5py.Group
    device: torch.device
    depth: Depth
    chosen: np.ndarray | None = None
    masked: bool = False
    pixels: int | None = None

    def __iter__(self) -> Iterator[Tile]:
        first = 0
        for images, masks in self._stored():
            numbers = range(first, first + len(images))
            counted = None if masks is None or not (masks == store.IGNORED).any() else masks != store.IGNORED
            yield from Tiled(images, numbers, self.depth, self.device, counted, self.pixels)
            first = numbers.stop

    def _stored(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        if self.masked:
            yield from store.masked_batches(self.split, self.pixels or BATCH_PIXELS, self.chosen)
            return
        for images in store.image_batches(self.split, self.pixels or BATCH_PIXELS, self.chosen):
            yield images, None

    @property
    def count(self) -> int:
        """Number of the images, of all or of those chosen."""
        return store.count(self.split) if self.chosen is None else len(self.chosen)

    def each(self) -> list[Self]:
        """Every image by itself."""
        chosen = range(store.count(self.split)) if self.chosen is None else self.chosen
        return [replace(self, chosen=np.array([number])) for number in chosen]

    @property
    def size(self) -> int:
        """Pixels of all the images of the split, or of those chosen in their proportion."""
        pixels = sum(len(stack) * stack.shape[1] * stack.shape[2] for stack, _ in store.stacks(self.split))
        return pixels * self.count // store.count(self.split)

    def spread(self, n: int) -> Self:
        """``n`` of the images, evenly over all."""
        images = np.arange(store.count(self.split)) if self.chosen is None else self.chosen
        return replace(self, chosen=evenly(images, n))

    def draw(self, n: int, seed: int) -> Self:
        """``n`` of the images, drawn without repetition from ``seed``; all where there are no more."""
        images = np.arange(store.count(self.split)) if self.chosen is None else self.chosen
        chosen = np.random.default_rng(seed).choice(len(images), min(n, len(images)), replace=False)
        return replace(self, chosen=images[np.sort(chosen)])


@torch.inference_mode()
def predict(
    network: UNet,
    split: h5py.Group,
    threshold: float,
    device: torch.device,
    adapt: Adapt | None = None,
    at_most: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(predicted, true) masks (n, H, W) of a split in order, boolean and as stored; true is None without labels.

    With ``adapt`` the network is adapted to the tiles of each batch, of ``at_most`` images, before it predicts it.
    Where that gives several states, their weighted mean probability is compared with ``threshold``.
    """
    for images, masks in store.batches(split, BATCH_PIXELS, at_most):
        predicted = np.empty(images.shape[:3], bool)
        for tile, found in of_images(network, images, device, adapt):
            predicted[:, *tile.at] = (found > threshold).cpu().numpy()
        yield predicted, masks


@torch.inference_mode()
def of_images(
    network: UNet, images: np.ndarray, device: torch.device, adapt: Adapt | None = None
) -> Iterator[tuple[Tile, Tensor]]:
    """For each tile of images as stored, uint8 (n, H, W) or (n, H, W, 3), the probabilities (n, h, w) in its core.

    ``adapt``: as of :func:`predict`.
    """
    tiled = Tiled(images, range(len(images)), network.depth, device)
    states = adapt(network, tiled) if adapt else {}
    mixture = states if isinstance(states, list) else [(1.0, states)]
    for tile in tiled:
        yield tile, mean_probabilities(network, tile, mixture)


def mean_probabilities(network: UNet, tile: Tile, mixture: Mixture) -> Tensor:
    """sum_k w_k p_k: :func:`probabilities` under each state of ``mixture``, by its weight."""
    parts = []
    for weight, state in mixture:
        with adapted(network, state):
            parts.append(weight * probabilities(network, tile))
    return torch.stack(parts).sum(0)


def probabilities(network: UNet, tile: Tile) -> Tensor:
    """Foreground probability (n, h, w) in the core of a tile."""
    return torch.sigmoid(network(tile.images)[:, 0, *tile.core].float())


def input_moments(tiles: Iterable[Tile]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (channels, 1, 1) of the pixels that count of all images.

    The standard deviation is at least :data:`SMALLEST_INPUT_SD`.
    """
    count, first, second = reduce(torch.add, map(_powers, tiles))
    mean = first / count
    sd = (second / count - mean**2).clamp(min=SMALLEST_INPUT_SD**2).sqrt()
    return mean.float()[:, None, None], sd.float()[:, None, None]


def _powers(tile: Tile) -> Tensor:
    """Sums (3, channels) over the core of the powers 0, 1 and 2."""
    images = tile.images[:, :, *tile.core]
    powers = [(images**power).double() for power in range(3)]
    if tile.counted is not None:
        counted = torch.from_numpy(tile.counted[:, *tile.at]).to(images.device).unsqueeze(1)
        powers = [power * counted for power in powers]
    return torch.stack([power.sum((0, 2, 3)) for power in powers])
