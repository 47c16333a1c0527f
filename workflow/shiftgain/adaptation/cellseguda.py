"""CellSegUDA: a discriminator on predicted masks, and the image rebuilt from the mask (Haq and Huang 2020, MIDL).

"Adversarial domain adaptation for cell segmentation", PMLR 121:277-287. Three networks: S segments; D tells masks of
the source from masks of the target; R, a U-Net from mask to image, gives the target's image back. D and R are dropped
after training. Labels of D as the authors have them: source 0, target 1; S wants its target masks called source.
"""

from contextlib import AbstractContextManager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftgain.adaptation.ynet import reconstruction_loss
from shiftgain.network.training import Learner, adam, descend, segmentation_loss
from shiftgain.network.unet import UNet

SOURCE, TARGET = 0.0, 1.0


class Discriminator(nn.Module):
    """Five 4 x 4 convolutions of stride 2: masks (n, 1, H, W) in [0, 1] to patch logits; H and W of 32 at least."""

    def __init__(self, width: int):
        super().__init__()
        widths = [1, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))

    def forward(self, masks: Tensor) -> Tensor:
        return self.layers(masks)


def cellseguda(
    network: UNet,
    model: dict,
    options: dict,
    autocast: AbstractContextManager,
    adversarial: float,
    reconstruction: float,
    learning_rate: float,
) -> Learner:
    """Segmentation loss of the source + ``adversarial`` x BCE(D(S(target)), source) + ``reconstruction`` x MSE(R).

    The authors' weights are 0.001 and 0.01. Each step moves D on detached masks of both domains, then S and R.
    ``learning_rate`` is the peak of D and R (the authors': 0.001), S has that of the source-trained network.
    """
    device = network.head.weight.device
    discriminator = Discriminator(model["width"]).to(device)
    rebuilder = UNet(1, model["width"], model["depth"], outputs=model["channels"]).to(device)
    parts = nn.ModuleDict({"network": network, "discriminator": discriminator, "rebuilder": rebuilder})
    segmenting = adam(network, options["learning_rate"], options["weight_decay"])
    discriminating, rebuilding = adam(discriminator, learning_rate), adam(rebuilder, learning_rate)

    def step(images: Tensor, masks: Tensor, unlabelled: Tensor | None) -> dict[str, Tensor]:
        assert unlabelled is not None
        with autocast:
            logits, others = network(images).float(), network(unlabelled).float()
            of_source, of_target = torch.sigmoid(logits), torch.sigmoid(others)
            discriminator_loss = label_loss(discriminator(of_source.detach()), SOURCE)
            discriminator_loss = discriminator_loss + label_loss(discriminator(of_target.detach()), TARGET)
        descend(discriminating, discriminator_loss)
        with autocast:
            fooled = label_loss(discriminator(of_target), SOURCE)
            rebuilt = reconstruction_loss(network, rebuilder(of_target), unlabelled)
        segmented = segmentation_loss(logits, masks)
        loss = segmented + adversarial * fooled + reconstruction * rebuilt
        rebuilding.zero_grad(set_to_none=True)
        descend(segmenting, loss)
        rebuilding.step()
        return {
            "loss": loss.detach(),
            "segmentation": segmented.detach(),
            "adversarial": fooled.detach(),
            "reconstruction": rebuilt.detach(),
            "discriminator": discriminator_loss.detach() / 2,
        }

    return Learner(network, parts, [segmenting, discriminating, rebuilding], step)


def label_loss(logits: Tensor, label: float) -> Tensor:
    """Mean binary cross-entropy of patch logits with one label for all of them."""
    return functional.binary_cross_entropy_with_logits(
        logits.float(), torch.full_like(logits, label, dtype=torch.float)
    )
