"""A network over a split of a domain, a bounded number of pixels at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.files import store
from shiftgain.network.normalisation import State, adapted
from shiftgain.network.unet import UNet, probabilities, to_input

# Bounds the memory of a pass whatever the number and size of images; 2^17 is 32 images of 64 x 64.
BATCH_PIXELS = 2**17


@dataclass(frozen=True)
class Inputs:
    """The images of a split, one ``half`` of it, or those ``chosen``, as batches (n, channels, H, W), in order.

    Masks are never read. May be iterated as often as a method needs, and holds one batch at a time.
    """

    split: h5py.Group
    device: torch.device
    half: int | None = None
    chosen: np.ndarray | None = None

    def __iter__(self) -> Iterator[Tensor]:
        for images in store.image_batches(self.split, BATCH_PIXELS, self.half, self.chosen):
            yield to_input(images, self.device)

    @property
    def count(self) -> int:
        """Number of the images, of all or of those chosen."""
        return store.count(self.split) if self.chosen is None else len(self.chosen)

    def draw(self, n: int, seed: int) -> "Inputs":
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
    adapt: Callable[[UNet, list[Tensor]], State] | None = None,
    at_most: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(predicted, true) masks (n, H, W) of a split in order, boolean and as stored; true is None without labels.

    With ``adapt`` the network is adapted to each batch, of ``at_most`` images, before it predicts that batch.
    """
    for images, masks in store.batches(split, BATCH_PIXELS, at_most):
        batch = to_input(images, device)
        with adapted(network, adapt(network, [batch]) if adapt else {}):
            predicted = probabilities(network, batch) > threshold
        yield predicted.cpu().numpy(), masks
