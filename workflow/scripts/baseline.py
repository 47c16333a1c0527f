"""Train with source labels and unlabelled target images: two domains -> network and training curve.

A training that diverges is recorded, not raised: the other cells of the study go on, and its own has empty scores.
"""

import logging
from pathlib import Path

import pandas as pd
import torch

from shiftgain.adaptation import artefacts, baselines
from shiftgain.files import job, store
from shiftgain.files.tables import write_csv
from shiftgain.network import checkpoint, devices, training
from shiftgain.network.unet import UNet
from shiftgain.study.names import base_of


def baseline(
    source_path: str,
    target_path: str,
    model_path: str,
    curve_path: str,
    model: dict,
    method: dict,
    options: dict,
    seed: int,
    device: str,
    home: str = "",
    start_path: str | None = None,
) -> None:
    """Write the epoch that ``method`` selects to ``model_path``, a plain U-Net, and the curve to ``curve_path``.

    Of a target of ``home``, the domain of the source's labels, images that these are of are left out. A ``method`` with
    an entry ``start``, a method of adaptation, goes on from the network at ``start_path``, adapted by it; others start
    from random weights.
    """
    torch.manual_seed(seed)
    torch_device = devices.pick(device)
    network, state, earlier = training.fresh(model, options, torch_device), None, 0
    resume_path = Path(model_path).with_suffix(".resume.h5")
    title = f"{method['function']} {Path(source_path).parent.name} to {Path(target_path).parent.name} seed {seed}"
    with store.read(source_path) as source, store.read(target_path) as target:
        unseen = store.unseen(target["adapt"], home)
        n_target_images = store.count(target["adapt"]) if unseen is None else len(unseen)
        if start_path:
            network = checkpoint.load(start_path, torch_device)
            start = artefacts.adapter(network, source, seed, torch_device, home)(
                target["adapt"], {"start": method["start"]}
            )["start"]
            state = start.state
            earlier = checkpoint.about(start_path)["image_presentations"] + start.image_presentations
        try:
            curve = baselines.train(
                network, model, source, target, method, options, seed, torch_device, resume_path, title, unseen, state
            )
            status = baselines.status(curve)
        except training.Diverged as error:
            logging.error("%s", error)
            curve, status = error.curve, f"diverged: {error.what}"
            network = UNet(**model)
    about = {"options": options, "method": method, "seed": seed, "selection": method["selection"], "status": status}
    about |= {"n_target_images": n_target_images, "image_presentations": earlier + training.presentations(curve)}
    checkpoint.save(model_path, network, model, about)
    write_csv(pd.DataFrame(curve, columns=list(curve[0]) if curve else training.CURVE), curve_path)
    resume_path.unlink(missing_ok=True)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        baseline(
            source_path=snakemake.input.source,
            target_path=snakemake.input.target,
            model_path=snakemake.output.model,
            curve_path=snakemake.output.curve,
            model=snakemake.params.model,
            method=snakemake.params.method,
            options=snakemake.params.options,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
            home=base_of(snakemake.wildcards.source),
            start_path=snakemake.input.start or None,
        )
