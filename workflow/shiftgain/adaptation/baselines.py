"""Methods that train with source labels and unlabelled target images. One module each; :data:`BASELINES` names them.

A baseline takes the network to keep, its ``model`` (channels, width, depth), the options of config block ``train``,
what a forward pass runs under, and its own options of config block ``baselines``; it returns a :class:`Learner`.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.adaptation.cellseguda import cellseguda
from shiftgain.adaptation.selftraining import selftraining
from shiftgain.adaptation.statistics import INPUT_TENSORS
from shiftgain.adaptation.ynet import ynet
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, input_moments
from shiftgain.network.normalisation import State, norm_layers, put
from shiftgain.network.training import Learner
from shiftgain.network.unet import UNet

BASELINES: dict[str, Callable[..., Learner]] = {
    "ynet": ynet,
    "cellseguda": cellseguda,
    "selftraining": selftraining,
}

# A mean loss of the discriminator below this over an epoch: it is never wrong, and teaches nothing any more.
COLLAPSED_LOSS = 1e-3


def train(
    network: UNet,
    model: dict,
    source: h5py.File,
    target: h5py.File,
    method: dict,
    options: dict,
    seed: int,
    device: torch.device,
    resume_path: Path,
    title: str,
    unseen: np.ndarray | None = None,
    state: State | None = None,
) -> list[dict[str, float]]:
    """Fit ``network`` in place with the labels of ``source`` and the images of split ``adapt`` of ``target``.

    ``unseen``: numbers of these images, of :func:`store.unseen`, that are taken; all without.

    ``method``: ``function`` in :data:`BASELINES`, its ``options``, and ``selection``: the epoch kept is the best on
    split ``validation`` of the source (``source_validation``) or, with labels, of the target (``target_oracle``). In
    an epoch as many target crops pass as source crops. With ``state``, of an adaptation of ``network`` to the target,
    training goes on from what that makes of it: :func:`started`. Returns the curve; errors as :func:`training.fit`, and
    :class:`StudyError` where the rule asks for labels that the target lacks.
    """
    standardisation = {name: tensor for name, tensor in (state or {}).items() if name in INPUT_TENSORS}
    if state is None:
        moments = input_moments(Inputs(source["train"], device, network.depth, masked=True))
        network.input_mean, network.input_sd = moments
    else:
        network.requires_grad_(True)
        put(network, {name: tensor for name, tensor in state.items() if name not in INPUT_TENSORS})
    autocast = training.precision(options["precision"], device)
    learner = BASELINES[method["function"]](network, model, options, autocast, **method["options"])
    if state is not None:
        learner = started(learner, standardisation)
    images = training.labelled_images(source["train"], options, device)
    count = store.count(target["adapt"]) if unseen is None else len(unseen)
    repeats = ceil(images.per_epoch / count)
    unlabelled = TrainingImages(
        target["adapt"], options["batch"], options["crop"], repeats, labelled=False, device=device, chosen=unseen
    )
    judge = source if method["selection"] == "source_validation" else target
    if any(masks is None for _, masks in store.stacks(judge["validation"])):
        raise StudyError(
            f"{judge.filename}: no masks in split validation, which selection {method['selection']} needs; "
            "take source_validation"
        )
    fingerprint = {
        "options": options,
        "seed": seed,
        "method": method,
        "data": [training.identity(source, "train", "validation"), training.identity(target, "adapt", "validation")],
    }
    curve = training.fit(
        learner, images, unlabelled, judge["validation"], options, fingerprint, seed, device, resume_path, title
    )
    put(network, standardisation)
    return curve


def started(learner: Learner, standardisation: State) -> Learner:
    """``learner`` with fixed statistics, which sees target images x as M + S (x - m) / s.

    M and S standardise the input of its network; m and s are of the ``standardisation`` to the target, if it has any: a
    network that is to see negatives of the target goes on seeing the source as it is. Statistics are fixed, since those
    of batches would undo what the adaptation made of them.
    """
    mean, sd = learner.network.input_mean.clone(), learner.network.input_sd.clone()
    of_target = {"input_mean": mean, "input_sd": sd} | standardisation

    def step(images: Tensor, masks: Tensor, unlabelled: Tensor | None) -> dict[str, Tensor]:
        assert unlabelled is not None
        for norm in norm_layers(learner.parts).values():
            norm.eval()
        shown = mean + sd * (unlabelled - of_target["input_mean"]) / of_target["input_sd"]
        return learner.step(images, masks, shown)

    return replace(learner, step=step)


def status(curve: list[dict[str, float]]) -> str:
    """What went wrong in a training that ended, by its curve; empty where nothing did."""
    for row in curve:
        if row.get("discriminator", 1) < COLLAPSED_LOSS:
            return f"discriminator collapsed in epoch {row['epoch']}"
    return ""
