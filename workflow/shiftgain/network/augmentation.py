"""Random variations of training images, of the kinds by which targets differ from a source; masks stay as they are.

Written here: kornia would bring a compiled package into the environment of the networks for a few short functions, and
torchvision draws once for a whole batch, where each crop has to vary by itself.
"""

from math import ceil

import torch
from torch import Tensor
from torch.nn import functional

# Share of the crops to which each kind is done, on its own, so that a network goes on seeing plain ones of every kind.
APPLIED = 0.5
# Ranges, each drawn from evenly: as wide as the transforms of the studies or wider.
GAMMA = (-1.0, 1.0)  # stops of the exponent
BLUR = (0.0, 2.0)  # standard deviation, px
NOISE = (0.0, 0.1)  # standard deviation, grey level
GAIN = (-2.0, 2.0)  # stops about the crop's mean
OFFSET = (-0.25, 0.25)  # grey level
# Deviations of a Gaussian after which the kernel of a blur ends.
KERNEL_REACH = 3
# So narrow a Gaussian is 1 at its middle and 0 a pixel beside it: no blur.
SMALLEST_SD = 0.01


def strong(images: Tensor) -> Tensor:
    """Crops float (n, channels, H, W) in [0, 1], each varied by random amounts of its own, clipped to [0, 1] again.

    In this order, with torch's own random numbers: gamma, blur, white noise, gain and offset, and the negative 1 - x.
    Noise comes before the gain, so that what is hardly seen stays above it.
    """
    images = images ** (2 ** _drawn(images, *GAMMA))
    images = blurred(images, _drawn(images, *BLUR))
    images = images + _drawn(images, *NOISE) * torch.randn_like(images)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + 2 ** _drawn(images, *GAIN) * (images - mean) + _drawn(images, *OFFSET)
    negative = _drawn(images, 1.0, 1.0)
    return (negative + (1 - 2 * negative) * images).clamp(0, 1)


def blurred(images: Tensor, sd: Tensor) -> Tensor:
    """Each image (n, channels, H, W) under a Gaussian of its own ``sd`` (n, 1, 1, 1), px; borders replicated."""
    n, channels, *_ = images.shape
    reach = ceil(KERNEL_REACH * max(BLUR))
    places = torch.arange(-reach, reach + 1, device=images.device)
    kernels = torch.exp(-0.5 * (places / sd.clamp(min=SMALLEST_SD).flatten()[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    planes = padded.reshape(1, n * channels, *padded.shape[-2:])
    for kernel in (kernels[:, None, :, None], kernels[:, None, None, :]):
        planes = functional.conv2d(planes, kernel, groups=n * channels)
    return planes.reshape(images.shape).contiguous(memory_format=torch.channels_last)


def _drawn(images: Tensor, low: float, high: float) -> Tensor:
    """(n, 1, 1, 1): for :data:`APPLIED` of the images a number between ``low`` and ``high``, 0 for the others."""
    amount, chosen = torch.rand(2, len(images), 1, 1, 1, device=images.device)
    return (low + (high - low) * amount) * (chosen < APPLIED)
