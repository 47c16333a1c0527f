"""A network over a split of a domain, a bounded number of pixels at a time."""

from collections.abc import Iterator

import h5py
import numpy as np
import torch
from torch import Tensor

from workflow.lib import store
from workflow.lib.unet import UNet, probabilities, to_input

# Bounds the memory of a pass whatever the number and size of images; 2^17 is 32 images of 64 x 64.
BATCH_PIXELS = 2**17


def inputs(split: h5py.Group, device: torch.device, half: int | None = None) -> Iterator[Tensor]:
    """The images of a split, or of one half of it, as network inputs, in order. Masks are never read."""
    for images in store.image_batches(split, BATCH_PIXELS, half):
        yield to_input(images, device)


@torch.inference_mode()
def predict(
    network: UNet, split: h5py.Group, threshold: float, device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(predicted, true) boolean masks (n, H, W) of a split in order; true is None without labels."""
    for images, masks in store.batches(split, BATCH_PIXELS):
        predicted = probabilities(network, to_input(images, device)) > threshold
        yield predicted.cpu().numpy(), None if masks is None else masks.astype(bool)
