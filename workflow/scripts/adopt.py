"""Take a network that was trained elsewhere: its description and weights -> a model as stage train leaves it.

Runs the code of its architecture, which the config names. What the study must know of it is found by looking at what
passes through it (:func:`shiftgain.network.examination.examine`).
"""

import logging
from pathlib import Path

import torch

from shiftgain.files import job, store
from shiftgain.network import adopted, checkpoint
from shiftgain.network.examination import examine
from shiftgain.network.inference import Inputs, input_moments


def adopt(data_path: str | None, model_path: str, model: dict, channels: int) -> None:
    """Write the network that ``model`` describes to ``model_path``, its input matched to any images at ``data_path``.

    ``model``: as :func:`shiftgain.study.descriptions.described`. No mask is read.
    """
    model = model | {"channels": channels}
    network = adopted.build(model, channels)
    adopted.load_weights(network.module, Path(model["weights"]))
    traits = examine(network, model.get("cell"), model.get("halo"))
    for layer, place in traits["layers"].items():
        logging.info("layer %s: %s", layer, place["norm"])
    logging.info("cell of %d px, sees %d px beyond it", traits["cell"], traits["halo"])
    if traits["sees_whole_image"]:
        logging.info("sees the whole of an image: of large ones, each tile is taken for one")
    if not traits["norms"]:
        logging.warning("the network has no batch-norm layer: nothing can be adapted, and it is kept")
    model = model | {"traits": traits}
    whole = adopted.Adopted(network.module, channels, model)
    if data_path is not None:
        with store.read(data_path) as data:
            whole.match_input(*input_moments(Inputs(data["train"], torch.device("cpu"), whole.depth)))
    about = {"n_target_images": 0, "image_presentations": 0, "adopted": model["weights_sha256"]}
    checkpoint.save(model_path, whole, model, about)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        adopt(
            data_path=next(iter(snakemake.input.data), None),
            model_path=snakemake.output.model,
            model=snakemake.params.model,
            channels=snakemake.params.channels,
        )
