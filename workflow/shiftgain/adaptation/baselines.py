"""Methods that train with source labels and unlabelled target images. One module each; :data:`BASELINES` names them.

A baseline takes the network to keep, its ``model`` (channels, width, depth), the options of config block ``train``,
what a forward pass runs under, and its own options of config block ``baselines``; it returns a :class:`Learner`.
"""

from collections.abc import Callable
from math import ceil
from pathlib import Path

import h5py
import numpy as np
import torch

from shiftgain.adaptation.cellseguda import cellseguda
from shiftgain.adaptation.selftraining import selftraining
from shiftgain.adaptation.ynet import ynet
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, input_moments
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
) -> list[dict[str, float]]:
    """Fit ``network`` in place with the labels of ``source`` and the images of split ``adapt`` of ``target``.

    ``unseen``: numbers of these images, of :func:`store.unseen`, that are taken; all without.

    ``method``: ``function`` in :data:`BASELINES`, its ``options``, and ``selection``: the epoch kept is the best on
    split ``validation`` of the source (``source_validation``) or, with labels, of the target (``target_oracle``). In
    an epoch as many target crops pass as source crops. Returns the curve; errors as :func:`training.fit`, and
    :class:`StudyError` where the rule asks for labels that the target lacks.
    """
    network.input_mean, network.input_sd = input_moments(Inputs(source["train"], device, network.depth, masked=True))
    autocast = training.precision(options["precision"], device)
    learner = BASELINES[method["function"]](network, model, options, autocast, **method["options"])
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
    return training.fit(
        learner, images, unlabelled, judge["validation"], options, fingerprint, seed, device, resume_path, title
    )


def status(curve: list[dict[str, float]]) -> str:
    """What went wrong in a training that ended, by its curve; empty where nothing did."""
    for row in curve:
        if row.get("discriminator", 1) < COLLAPSED_LOSS:
            return f"discriminator collapsed in epoch {row['epoch']}"
    return ""
