"""Self-training with a mean teacher: the target's confident pseudo-labels, under perturbation.

The teacher is the moving average of the student's weights (Tarvainen and Valpola 2017, NeurIPS, arXiv:1703.01780); only
pixels of which it is sure count, as in probabilistic domain adaptation for microscopy (Archit and Pape 2023,
arXiv:2303.11790). It labels plain target images; the student must say the same of perturbed ones. The student is kept.
"""

from contextlib import AbstractContextManager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftgain.network.training import Learner, adam, descend, segmentation_loss
from shiftgain.network.unet import UNet


def selftraining(
    network: UNet,
    model: dict,
    options: dict,
    autocast: AbstractContextManager,
    weight: float,
    confidence: float,
    decay: float,
    perturbation: float,
) -> Learner:
    """Segmentation loss of the source + ``weight`` x :func:`pseudo_label_loss` of the target.

    The teacher normalises by the batch, and keeps ``decay`` of its weights in each step.
    """
    teacher = deepcopy(network).requires_grad_(False)
    parts = nn.ModuleDict({"network": network, "teacher": teacher})
    optimiser = adam(network, options["learning_rate"], options["weight_decay"])

    def step(images: Tensor, masks: Tensor, unlabelled: Tensor | None) -> dict[str, Tensor]:
        assert unlabelled is not None
        with autocast:
            with torch.no_grad():
                taught = torch.sigmoid(teacher(unlabelled).float())
            logits, others = network(images), network(perturb(unlabelled, perturbation))
        segmented = segmentation_loss(logits.float(), masks)
        pseudo = pseudo_label_loss(others.float(), taught, confidence)
        loss = segmented + weight * pseudo
        descend(optimiser, loss)
        follow(teacher, network, decay)
        return {"loss": loss.detach(), "segmentation": segmented.detach(), "pseudo_label": pseudo.detach()}

    return Learner(network, parts, [optimiser], step)


def pseudo_label_loss(logits: Tensor, taught: Tensor, confidence: float) -> Tensor:
    """Mean over all pixels of the cross-entropy with ``taught`` > 1/2, 0 where neither class exceeds ``confidence``."""
    sure = torch.maximum(taught, 1 - taught) > confidence
    each = functional.binary_cross_entropy_with_logits(logits, (taught > 0.5).float(), reduction="none")
    return (each * sure).mean()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Each parameter of ``teacher``: ``decay`` of itself and the rest of the student's."""
    for of_teacher, of_student in zip(teacher.parameters(), student.parameters(), strict=True):
        of_teacher.lerp_(of_student, 1 - decay)


def perturb(images: Tensor, strength: float) -> Tensor:
    """Each image (n, channels, H, W) with contrast times 1 +- ``strength`` at most, and noise of that deviation."""
    factor = 1 + strength * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
    return 0.5 + factor * (images - 0.5) + strength * torch.randn_like(images)
