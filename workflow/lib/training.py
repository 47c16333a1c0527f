"""Supervised training of a U-Net on one labelled domain: the loop, its loss, its schedule, and how it resumes."""

import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from workflow.lib import checkpoint, metrics, store
from workflow.lib.errors import StudyError
from workflow.lib.prediction import Inputs, predict
from workflow.lib.sampling import TrainingImages
from workflow.lib.unet import UNet, input_moments, to_input

WARM_UP = 0.1


@dataclass
class Progress:
    """What a resumed run needs beside network and optimiser: the best weights so far and one row per epoch."""

    best: dict[str, Tensor]
    best_iou: float
    curve: list[dict[str, float]]


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross-entropy plus soft Dice loss over the batch (Isensee et al. 2021, Nature Methods 18).

    ``logits`` (n, 1, H, W); ``masks`` float (n, 1, H, W) in {0, 1}.
    """
    probabilities = torch.sigmoid(logits)
    overlap = 2 * (probabilities * masks).sum() + 1
    soft_dice = overlap / (probabilities.sum() + masks.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logits, masks) + 1 - soft_dice


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first tenth of training, then a cosine to zero; ``progress`` in [0, 1]."""
    if progress < WARM_UP:
        return peak * (progress + 0.01) / (WARM_UP + 0.01)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def train(
    network: UNet,
    domain: h5py.File,
    options: dict,
    seed: int,
    device: torch.device,
    resume_path: Path,
    title: str,
) -> list[dict[str, float]]:
    """Fit ``network`` in place to splits ``train`` and ``validation`` of ``domain``; returns the curve.

    The weights kept are those of the epoch with the best IoU on the *source* validation split. Every epoch is saved
    to ``resume_path``; a run that finds one there with the same options goes on from it and ends with the same
    weights, since everything random is drawn from (seed, epoch). Errors: :class:`StudyError` on a loss that is
    not finite.
    """
    network.input_mean, network.input_sd = input_moments(Inputs(domain["train"], device))
    images = TrainingImages(
        domain["train"], options["batch"], options["crop"], options.get("crops_per_image", 1), device=device
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
    )
    fingerprint = {"options": options, "seed": seed, "domain": store.get_json(domain, "domain")}
    state = _resume(resume_path, fingerprint, network, optimiser)
    bfloat16 = _use_bfloat16(options["precision"], device)

    for epoch in range(len(state.curve), options["epochs"]):
        if _stale(state.curve) >= options["patience"]:
            break
        started, total, presented = time.monotonic(), torch.zeros((), device=device), 0
        network.train()
        with tqdm(
            total=images.per_epoch,
            desc=f"{title} epoch {epoch + 1}",
            unit="img",
            leave=False,
            disable=not sys.stderr.isatty(),
        ) as bar:
            for batch, masks in images.epoch(np.random.default_rng((seed, epoch))):
                rate = learning_rate(
                    (epoch + presented / images.per_epoch) / options["epochs"], options["learning_rate"]
                )
                for group in optimiser.param_groups:
                    group["lr"] = rate
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    logits = network(to_input(batch, device))
                true = masks.unsqueeze(1).float()
                loss = segmentation_loss(logits.float(), true)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                total += loss.detach() * len(batch)
                presented += len(batch)
                bar.update(len(batch))
        seconds = time.monotonic() - started
        network.eval()
        scores = metrics.scores(predict(network, domain["validation"], 0.5, device))
        row = {
            "epoch": epoch + 1,
            "loss": float(total) / presented,
            "validation_iou": scores["iou"],
            "learning_rate": rate,
        }
        if not math.isfinite(row["loss"]):
            raise StudyError(f"{title}: the loss is not finite in epoch {epoch + 1}; lower train.learning_rate")
        state.curve.append(row)
        if row["validation_iou"] > state.best_iou:
            state.best_iou = row["validation_iou"]
            state.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        logging.info(
            "epoch %d: loss %.4f, validation IoU %.4f, %.0f images/s",
            epoch + 1, row["loss"], row["validation_iou"], presented / seconds,
        )  # fmt: skip
        _save(resume_path, fingerprint, network, optimiser, state)
    network.load_state_dict(state.best)
    return state.curve


def _stale(curve: list[dict[str, float]]) -> int:
    """Epochs since the best one."""
    scores = [row["validation_iou"] for row in curve]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def _use_bfloat16(precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def _save(path: Path, fingerprint: dict, network: UNet, optimiser, state: Progress) -> None:
    with store.create(path) as file:
        store.put_json(file, "fingerprint", fingerprint)
        store.put_json(file, "curve", state.curve)
        checkpoint.put_tensors(file.create_group("weights"), network.state_dict())
        checkpoint.put_tensors(file.create_group("best"), state.best)
        for index, tensors in optimiser.state_dict()["state"].items():
            checkpoint.put_tensors(file.create_group(f"optimiser/{index}"), tensors)


def _resume(path: Path, fingerprint: dict, network: UNet, optimiser) -> Progress:
    """State of the epoch saved at ``path``, put into network and optimiser; a fresh one where there is none."""
    if not path.exists():
        return Progress({}, -1.0, [])
    try:
        with store.read(path) as file:
            if store.get_json(file, "fingerprint") != fingerprint:
                logging.info("%s is of another configuration: starting afresh", path)
                return Progress({}, -1.0, [])
            curve = store.get_json(file, "curve")
            network.load_state_dict(checkpoint.get_tensors(file["weights"]))
            saved = optimiser.state_dict()
            saved["state"] = {int(k): checkpoint.get_tensors(group) for k, group in store.members(file["optimiser"])}
            optimiser.load_state_dict(saved)
            best = checkpoint.get_tensors(file["best"])
    except StudyError as error:
        logging.info("%s: starting afresh", error)
        return Progress({}, -1.0, [])
    logging.info("resuming after epoch %d", len(curve))
    return Progress(best, max(row["validation_iou"] for row in curve), curve)
