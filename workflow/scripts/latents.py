"""Summarise the activations of source and targets, before and after adaptation: networks + images -> latents.

``source/reference`` and ``source/null`` are the two halves of the source's own images; ``targets/{target}/before`` and
``after`` are the second half of the target's: every distance compares one half with another of the same size.
"""

import numpy as np

from shiftgain.files import job, store
from shiftgain.latents.activations import summarise
from shiftgain.network import checkpoint, devices, normalisation
from shiftgain.network.inference import Inputs
from shiftgain.study.names import base_of

METHOD = "batchnorm"


def latents(
    model_path: str,
    source_path: str,
    targets_path: str,
    adapted_path: str,
    latents_path: str,
    layers: list[str],
    activations: list[str],
    units: list[str],
    rows: int,
    device: str,
    trained_on: str = "",
) -> None:
    """Write ``.../{layer}/{activation}/{unit}`` groups of rows and moments; ``after`` is method ``batchnorm``.

    Of the images of domain ``trained_on``, those that its networks have seen are left out.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    with (
        store.read(source_path) as source,
        store.read(targets_path) as targets,
        store.read(adapted_path) as adapted,
        store.create(latents_path) as latents,
    ):

        def write(name: str, split, half: int, masked: bool = False) -> None:
            unseen = store.unseen(split, trained_on)
            numbers = np.arange(store.count(split)) if unseen is None else unseen
            # Contiguous halves: neighbours in a series are alike. A single image is both.
            first, second = numbers[: max(1, len(numbers) // 2)], numbers[len(numbers) // 2 :]
            images = Inputs(split, torch_device, network.depth, chosen=second if half else first, masked=masked)
            summaries = summarise(network, images, max(1, len(numbers) // 2), layers, activations, units, rows)
            for layer, arrays in summaries.items():
                for key, array in arrays.items():
                    store.put(latents, f"{name}/{layer}/{key}", array)

        # Of the source, pixels that its masks leave out are not counted; the masks of a target are never read.
        write("source/reference", source["adapt"], 0, masked=True)
        write("source/null", source["adapt"], 1, masked=True)
        for target, splits in store.targets(targets):
            write(f"targets/{target}/before", splits["adapt"], 1)
            if METHOD in adapted[target]:
                state = checkpoint.get_state(adapted[target][METHOD], network)
                with normalisation.adapted(network, state):
                    write(f"targets/{target}/after", splits["adapt"], 1)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        latents(
            model_path=snakemake.input.model,
            source_path=snakemake.input.source,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.input.adapted,
            latents_path=snakemake.output.latents,
            layers=snakemake.params.layers,
            activations=snakemake.params.activations,
            units=snakemake.params.units,
            rows=snakemake.params.rows,
            device=snakemake.params.device,
            trained_on=base_of(snakemake.wildcards.source),
        )
