"""Fit a U-Net to one labelled domain: data -> network and training curve.

Selection is by IoU on the validation split of the same domain. A killed job goes on from its last epoch.
"""

from pathlib import Path

import torch

from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.network import checkpoint, devices, training


def train(data_path: str, model_path: str, curve_path: str, model: dict, options: dict, seed: int, device: str) -> None:
    """Train on ``data_path`` and write the best epoch to ``model_path``, one row per epoch to ``curve_path``."""
    torch.manual_seed(seed)
    torch_device = devices.pick(device)
    network = training.fresh(model, options, torch_device)
    resume_path = Path(model_path).with_suffix(".resume.h5")
    title = f"{Path(data_path).parent.name} seed {seed}"
    with store.read(data_path) as domain:
        curve = training.train(network, domain, options, seed, torch_device, resume_path, title)
    about = {"options": options, "seed": seed, "epochs": len(curve), "selection": "source_validation"}
    about |= {"n_target_images": 0, "image_presentations": training.presentations(curve)}
    checkpoint.save(model_path, network, model, about)
    write_rows(curve, curve_path)
    resume_path.unlink(missing_ok=True)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        train(
            data_path=snakemake.input.data,
            model_path=snakemake.output.model,
            curve_path=snakemake.output.curve,
            model=snakemake.params.model,
            options=snakemake.params.options,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        )
