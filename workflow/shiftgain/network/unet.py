"""The U-Net with batch norm (Ronneberger, Fischer, Brox 2015, MICCAI, doi:10.1007/978-3-319-24574-4_28).

Written here, since latents are read before and after each ReLU of blocks found by name; networks of libraries come in
as adopted ones.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Twice: 3 x 3 convolution (same size), batch norm, ReLU.

    ``relu2`` is a module of its own, so that a hook can read what goes in (``before_relu``) and what comes
    out (``after_relu``).
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        images = self.relu1(self.norm1(self.conv1(images)))
        return self.relu2(self.norm2(self.conv2(images)))


class UNet(nn.Module):
    """Encoder, bottleneck of ``width * 2**depth`` channels, decoder with skips, ``outputs`` (one logit) per pixel.

    Blocks are named as in the tables: ``encoder1`` ... ``encoder{depth}``, ``bottleneck``,
    ``decoder{depth}`` ... ``decoder1``; block k has ``width * 2**(k-1)`` channels. Buffers ``input_mean`` and
    ``input_sd`` (channels, 1, 1) standardise the input; training sets them from the source images.
    """

    input_mean: Tensor
    input_sd: Tensor

    def __init__(self, channels: int, width: int, depth: int, outputs: int = 1):
        super().__init__()
        self.depth = depth
        self.register_buffer("input_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("input_sd", torch.ones(channels, 1, 1))
        widths = [width * 2**level for level in range(depth + 1)]
        for level, (before, after) in enumerate(zip([channels, *widths[:-2]], widths[:-1], strict=True), start=1):
            self.add_module(f"encoder{level}", Block(before, after))
        self.bottleneck = Block(widths[-2], widths[-1])
        for level in range(depth, 0, -1):
            self.add_module(f"up{level}", nn.ConvTranspose2d(widths[level], widths[level - 1], 2, stride=2))
            self.add_module(f"decoder{level}", Block(2 * widths[level - 1], widths[level - 1]))
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 1, H, W) of images (n, channels, H, W); H and W are multiples of ``2**depth``."""
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the head receives: (n, width, H, W)."""
        return self.decode(*self.encode(images))

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`features`, and the logits that the head makes of them."""
        features = self.features(images)
        return features, self.head(features)

    def standardise(self, images: Tensor) -> Tensor:
        """Images (n, channels, H, W) as the first layer sees them."""
        return (images - self.input_mean) / self.input_sd

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the bottleneck says, and the skips, finest first."""
        images, skips = self.standardise(images), []
        for level in range(1, self.depth + 1):
            images = self.get_submodule(f"encoder{level}")(images)
            skips.append(images)
            images = functional.max_pool2d(images, 2)
        return self.bottleneck(images), skips

    def decode(self, images: Tensor, skips: list[Tensor]) -> Tensor:
        """What the head receives, from what :meth:`encode` returned; empties ``skips``.

        Each activation goes once it has been used: kept, they would make two thirds more of a pass's memory.
        """
        for level in range(self.depth, 0, -1):
            images = torch.cat([skips.pop(), self.get_submodule(f"up{level}")(images)], dim=1)
            images = self.get_submodule(f"decoder{level}")(images)
        return images


def to_input(images, device: torch.device) -> Tensor:
    """Images uint8 (n, H, W) or (n, H, W, 3), as stored, to float32 (n, channels, H, W) in [0, 1]."""
    tensor = torch.as_tensor(images, device=device)
    tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
    return tensor.to(torch.float32, memory_format=torch.channels_last).div_(255)


def pad(images: Tensor, cell: int) -> Tensor:
    """Mirror the lower and right edges up to the next multiple of ``cell``."""
    rows, columns = (-side % cell for side in images.shape[-2:])
    if rows == columns == 0:
        return images
    mode = "reflect" if rows < images.shape[-2] and columns < images.shape[-1] else "replicate"
    return functional.pad(images, (0, columns, 0, rows), mode=mode)
