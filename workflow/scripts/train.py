"""Fit a U-Net to one labelled domain: data -> network and training curve.

Selection is by IoU on the validation split of the same domain. A killed job goes on from its last epoch.
"""

from pathlib import Path

import pandas as pd
import torch

from workflow.lib import checkpoint, devices, files, job, store, training
from workflow.lib.unet import UNet


def train(data_path: str, model_path: str, curve_path: str, model: dict, options: dict, seed: int, device: str) -> None:
    """Train on ``data_path`` and write the best epoch to ``model_path``, one row per epoch to ``curve_path``."""
    torch.manual_seed(seed)
    network = UNet(**model)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = options["batchnorm_momentum"]
    torch_device = devices.pick(device)
    network = network.to(torch_device, memory_format=torch.channels_last)
    resume_path = Path(model_path).with_suffix(".resume.h5")
    title = f"{Path(data_path).stem} seed {seed}"
    with store.read(data_path) as domain:
        curve = training.train(network, domain, options, seed, torch_device, resume_path, title)
    checkpoint.save(model_path, network, model, {"options": options, "seed": seed, "epochs": len(curve)})
    with files.replacing(curve_path) as partial:
        pd.DataFrame(curve).to_csv(partial, index=False)
    resume_path.unlink(missing_ok=True)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        train(
            data_path=snakemake.input.data,
            model_path=snakemake.output.model,
            curve_path=snakemake.output.curve,
            model=snakemake.params.model,
            options=snakemake.params.options,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        )
