"""Y-Net: one encoder that must segment the source and reconstruct both domains (Roels et al. 2019, ISBI).

"Domain adaptive segmentation in volume electron microscopy imaging", doi:10.1109/ISBI.2019.8759383. From the
bottleneck a second decoder, without skips, gives the image back; so the encoder has to keep what describes the target.
The second decoder is dropped after training. Source and target pass in batches of their own, hence the running
statistics of encoder and bottleneck, kept as they are, mix both domains: half an adaptation by themselves.
"""

from contextlib import AbstractContextManager
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from shiftgain.network.training import Learner, adam, descend, segmentation_loss
from shiftgain.network.unet import Block, UNet


class Reconstruction(nn.Module):
    """Decoder without skips: what the bottleneck says, (n, width * 2**depth, h, w), to an image of the input's size."""

    def __init__(self, channels: int, width: int, depth: int):
        super().__init__()
        widths = [width * 2**level for level in range(depth, -1, -1)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 2, stride=2), Block(after, after)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 1))

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(code)


def ynet(network: UNet, model: dict, options: dict, autocast: AbstractContextManager, reconstruction: float) -> Learner:
    """Segmentation loss of the source + ``reconstruction`` x (MSE of the source + MSE of the target).

    The authors' weight is 0.001 (2019). Errors are of images standardised as the network sees them.
    """
    decoder = Reconstruction(**model).to(network.head.weight.device)
    parts = nn.ModuleDict({"network": network, "decoder": decoder})
    optimiser = adam(parts, options["learning_rate"], options["weight_decay"])

    def step(images: Tensor, masks: Tensor, unlabelled: Tensor | None) -> dict[str, Tensor]:
        assert unlabelled is not None
        with autocast:
            code, skips = network.encode(images)
            logits, source = network.head(network.decode(code, skips)), decoder(code)
            target = decoder(network.encode(unlabelled)[0])
        segmented = segmentation_loss(logits.float(), masks)
        rebuilt = reconstruction_loss(network, source, images) + reconstruction_loss(network, target, unlabelled)
        loss = segmented + reconstruction * rebuilt
        descend(optimiser, loss)
        return {"loss": loss.detach(), "segmentation": segmented.detach(), "reconstruction": rebuilt.detach()}

    return Learner(network, parts, [optimiser], step)


def reconstruction_loss(network: UNet, rebuilt: Tensor, images: Tensor) -> Tensor:
    """Mean squared error between ``rebuilt`` and standardised ``images``, both (n, channels, H, W)."""
    return functional.mse_loss(rebuilt.float(), network.standardise(images))
