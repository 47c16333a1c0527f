"""Training of a U-Net on one labelled domain: the loop, its loss, its schedule, and how it resumes.

The loop takes a :class:`Learner`, so that methods which see unlabelled target images too share all but their step.
"""

import logging
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from tqdm import tqdm

from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import augmentation, checkpoint, metrics
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, input_moments, predict
from shiftgain.network.normalisation import norm_layers
from shiftgain.network.unet import UNet, pad, to_input

# Share of the training in which the rate rises: Adam knows its moments from few batches at first.
WARM_UP = 0.1
# The rate starts where it would be after this share of the training, since a rate of 0 moves nothing.
HEAD_START = 0.01
# Probability above which a pixel is foreground when epochs are compared: the middle, to which the loss trains. The
# config's evaluate.threshold is of the scores alone, and changes no network.
SELECTION_THRESHOLD = 0.5
CURVE = ["epoch", "loss", "validation_iou", "learning_rate", "presented"]


class Diverged(StudyError):
    """A loss that is not finite: ``what`` names it, ``curve`` holds the epochs before."""

    def __init__(self, title: str, what: str, curve: list[dict[str, float]]):
        super().__init__(f"{title}: {what}; lower train.learning_rate")
        self.what, self.curve = what, curve


@dataclass
class Learner:
    """A method as the loop sees it: ``parts`` train, of which ``network`` is kept.

    ``step(images, masks, unlabelled)`` moves the weights once and returns its losses by name, detached, ``loss`` the
    one that ``network`` descends. Images are (n, channels, H, W) in [0, 1], masks as :func:`segmentation_loss` takes
    them; ``unlabelled`` are images of the target, None where the loop has none.
    """

    network: UNet
    parts: nn.Module
    optimisers: list[Optimizer]
    step: Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]


@dataclass
class Progress:
    """What a resumed run needs beside network and optimiser: the best weights so far and one row per epoch."""

    best: dict[str, Tensor]
    best_iou: float
    curve: list[dict[str, float]]


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross-entropy plus soft Dice loss over the batch (Isensee et al. 2021, Nature Methods 18).

    ``logits`` (n, 1, H, W); ``masks`` float (n, 1, H, W) in {0, 1}, or (n, 2, H, W), the second 1 where a pixel counts.
    """
    probabilities = torch.sigmoid(logits)
    if masks.shape[1] == 2:
        masks, counted = masks.split(1, dim=1)
        probabilities, masks = probabilities * counted, masks * counted
        each = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        cross_entropy = (each * counted).sum() / counted.sum().clamp(min=1)
    else:
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    overlap = 2 * (probabilities * masks).sum() + 1
    soft_dice = overlap / (probabilities.sum() + masks.sum() + 1)
    return cross_entropy + 1 - soft_dice


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first tenth of training, then a cosine to zero; ``progress`` in [0, 1].

    A function of progress and not torch's OneCycleLR, whose state a training that goes on would have to restore.
    """
    if progress < WARM_UP:
        return peak * (progress + HEAD_START) / (WARM_UP + HEAD_START)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def fresh(model: dict, options: dict, device: torch.device) -> UNet:
    """A U-Net of ``model`` with random weights, ready to train."""
    network = UNet(**model)
    for norm in norm_layers(network).values():
        norm.momentum = options["batchnorm_momentum"]
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def presentations(curve: list[dict[str, float]]) -> int:
    """Images that passed through a training step, of the source and of the target."""
    return int(sum(row["presented"] for row in curve))


def adam(module: nn.Module, learning_rate: float, weight_decay: float = 0) -> Optimizer:
    """AdamW whose rate follows the schedule up to ``learning_rate`` and down again."""
    group = {"params": module.parameters(), "peak": learning_rate}
    return torch.optim.AdamW([group], lr=learning_rate, weight_decay=weight_decay)


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step of ``optimiser`` down ``loss``."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def supervised(network: UNet, options: dict, autocast: AbstractContextManager) -> Learner:
    """Training with source labels alone. ``options``: config block ``train``."""
    optimiser = adam(network, options["learning_rate"], options["weight_decay"])

    def step(images: Tensor, masks: Tensor, unlabelled: Tensor | None) -> dict[str, Tensor]:
        with autocast:
            logits = network(images)
        loss = segmentation_loss(logits.float(), masks)
        descend(optimiser, loss)
        return {"loss": loss.detach()}

    return Learner(network, network, [optimiser], step)


def train(
    network: UNet,
    domain: h5py.File,
    options: dict,
    seed: int,
    device: torch.device,
    resume_path: Path,
    title: str,
) -> list[dict[str, float]]:
    """Fit ``network`` in place to splits ``train`` and ``validation`` of ``domain``: :func:`fit` with labels alone."""
    network.input_mean, network.input_sd = input_moments(Inputs(domain["train"], device, network.depth, masked=True))
    learner = supervised(network, options, precision(options["precision"], device))
    fingerprint = {"options": options, "seed": seed, "data": identity(domain, "train", "validation")}
    images = labelled_images(domain["train"], options, device)
    return fit(learner, images, None, domain["validation"], options, fingerprint, seed, device, resume_path, title)


def identity(domain: h5py.File, *splits: str) -> dict:
    """Split -> what tells its images and masks from others: their digest, or else the parameters of the domain."""
    parts = {name: domain[name] for name in splits if name in domain}
    return {
        name: store.get_json(*((part, "digest") if "digest" in part.attrs else (domain, "domain")))
        for name, part in parts.items()
    }


def labelled_images(split: h5py.Group, options: dict, device: torch.device) -> TrainingImages:
    """The training images of a source, as config block ``train`` asks."""
    amount = {name: options[name] for name in ("crops_per_image", "images_per_epoch")}
    return TrainingImages(split, options["batch"], options["crop"], **amount, device=device)


def fit(
    learner: Learner,
    images: TrainingImages,
    unlabelled: TrainingImages | None,
    validation: h5py.Group,
    options: dict,
    fingerprint: dict,
    seed: int,
    device: torch.device,
    resume_path: Path,
    title: str,
) -> list[dict[str, float]]:
    """Run the epochs of ``learner`` over ``images``, each batch beside one of ``unlabelled``; returns the curve.

    The weights kept in ``learner.network`` are those of the epoch with the best IoU on ``validation``. Every epoch is
    saved to ``resume_path``; a run that finds one there with the same ``fingerprint`` goes on from it and ends with
    the same weights, since everything random is drawn from (seed, epoch), torch's own numbers included.
    Errors: :class:`Diverged` on a loss that is not finite.
    """
    network = learner.network
    fingerprint |= {"model": {name: list(tensor.shape) for name, tensor in learner.parts.state_dict().items()}}
    state = _resume(resume_path, fingerprint, learner)

    for epoch in range(len(state.curve), options["epochs"]):
        if stale(state.curve) >= options["patience"]:
            break
        started = time.monotonic()
        means, presented = _epoch(learner, images, unlabelled, options, seed, epoch, device, title)
        seconds = time.monotonic() - started
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise Diverged(title, f"the {_words(name)} is not finite in epoch {epoch + 1}", state.curve)
        network.eval()
        iou = metrics.scores(predict(network, validation, SELECTION_THRESHOLD, device))["iou"]
        rate = learner.optimisers[0].param_groups[0]["lr"]
        state.curve.append(
            {"epoch": epoch + 1, **means, "validation_iou": iou, "learning_rate": rate, "presented": presented}
        )
        if iou > state.best_iou:
            state.best_iou = iou
            state.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        logging.info(
            "epoch %d: %s, validation IoU %.4f, %.0f images/s",
            epoch + 1, ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()), iou, presented / seconds,
        )  # fmt: skip
        _save(resume_path, fingerprint, learner, state)
    network.load_state_dict(state.best)
    return state.curve


def _epoch(
    learner: Learner,
    images: TrainingImages,
    unlabelled: TrainingImages | None,
    options: dict,
    seed: int,
    epoch: int,
    device: torch.device,
    title: str,
) -> tuple[dict[str, float], int]:
    """One pass over ``images``: mean losses by name, and how many images went through a step."""
    cell = 2**learner.network.depth
    others = unlabelled.endless(np.random.default_rng((seed, epoch, 1))) if unlabelled else None
    # No training has that many epochs, so that no two pairs (seed, epoch) give one number.
    torch.manual_seed(100_003 * seed + epoch)
    learner.parts.train()
    totals: dict[str, Tensor] = {}
    seen = presented = 0
    with tqdm(
        total=images.per_epoch,
        desc=f"{title} epoch {epoch + 1}",
        unit="img",
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        for batch, masks in images.epoch(np.random.default_rng((seed, epoch))):
            _set_rates(learner.optimisers, (epoch + seen / images.per_epoch) / options["epochs"])
            shown = to_input(batch, device)
            if options["augmentation"] == "strong":
                shown = augmentation.strong(shown)
            inputs = pad(shown, cell)
            true = pad(_truth(masks, images.ignores), cell)
            other = pad(to_input(next(others)[0], device), cell) if others else None
            for name, loss in learner.step(inputs, true, other).items():
                totals[name] = loss * len(batch) + totals.get(name, 0)
            seen += len(batch)
            presented += len(batch) + (0 if other is None else len(other))
            bar.update(len(batch))
    return {name: float(total) / seen for name, total in totals.items()}, presented


def _truth(masks: Tensor, ignores: bool) -> Tensor:
    """Masks uint8 (n, H, W) as :func:`segmentation_loss` takes them."""
    if ignores:
        return torch.stack([masks == 1, masks != store.IGNORED], dim=1).float()
    return masks.unsqueeze(1).float()


def precision(name: str, device: torch.device) -> AbstractContextManager:
    """What a forward pass runs under, for config key ``train.precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_use_bfloat16(name, device))


def _set_rates(optimisers: list[Optimizer], progress: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(progress, group["peak"])


def _words(name: str) -> str:
    return name if name == "loss" else f"{name} loss"


def stale(curve: list[dict[str, float]]) -> int:
    """Epochs since the best one."""
    scores = [row["validation_iou"] for row in curve]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def _use_bfloat16(precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def _save(path: Path, fingerprint: dict, learner: Learner, state: Progress) -> None:
    with store.create(path) as file:
        store.put_json(file, "fingerprint", fingerprint)
        store.put_json(file, "curve", state.curve)
        checkpoint.put_tensors(file.create_group("weights"), learner.parts.state_dict())
        checkpoint.put_tensors(file.create_group("best"), state.best)
        for number, optimiser in enumerate(learner.optimisers):
            for index, tensors in optimiser.state_dict()["state"].items():
                checkpoint.put_tensors(file.create_group(f"optimisers/{number}/{index}"), tensors)


def _resume(path: Path, fingerprint: dict, learner: Learner) -> Progress:
    """State of the epoch saved at ``path``, put into what trains; a fresh one where there is none."""
    if not path.exists():
        return Progress({}, -1.0, [])
    try:
        with store.read(path) as file:
            saved = store.get_json(file, "fingerprint")
            if others := [name for name, value in fingerprint.items() if saved.get(name) != value]:
                logging.info("%s is of other %s: starting afresh", path, " and ".join(others))
                return Progress({}, -1.0, [])
            curve = store.get_json(file, "curve")
            groups = [file[f"optimisers/{number}"] for number in range(len(learner.optimisers))]
            learner.parts.load_state_dict(checkpoint.get_tensors(file["weights"]))
            for optimiser, group in zip(learner.optimisers, groups, strict=True):
                state = {int(index): checkpoint.get_tensors(tensors) for index, tensors in store.members(group)}
                optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
            best = checkpoint.get_tensors(file["best"])
    except StudyError as error:
        logging.info("%s: starting afresh", error)
        return Progress({}, -1.0, [])
    logging.info("resuming after epoch %d", len(curve))
    return Progress(best, max(row["validation_iou"] for row in curve), curve)
