"""Summarise the activations of source and targets, before and after adaptation: networks + images -> latents.

``source/reference`` is all images of the source's split :data:`REFERENCE`; ``source/null/{k}/first`` and ``second`` are
random halves of them. ``targets/{target}/before`` and ``after`` are all images of the target's split adapt.
"""

import numpy as np

from shiftgain.files import job, store
from shiftgain.latents.activations import halves, summarise, summarise_parts
from shiftgain.network import checkpoint, devices, normalisation
from shiftgain.network.adopted import layers_of
from shiftgain.network.inference import Inputs
from shiftgain.study.names import PLAIN, base_of

# A split of which no target has an image: split adapt of the source is that of its own domain as a target, transformed
# or not, and the distance of an image from itself is no distance between draws.
REFERENCE = "validation"
# Pairs of halves that the null averages over. They are cut from the same images: more of them say little new.
NULLS = 4


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
    seed: int,
    device: str,
    home: str = "",
) -> None:
    """Write ``.../{layer}/{activation}/{unit}`` groups of rows and moments; ``after`` is method ``batchnorm``.

    ``seed`` draws the halves. A reference of one image has none. Of a target of ``home``, the domain that the network
    was trained on, images that it has seen are left out. Of ``layers``, those that the network has.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    with (
        store.read(source_path) as source,
        store.read(targets_path) as targets,
        store.read(adapted_path) as adapted,
        store.create(latents_path) as latents,
    ):

        def write(name: str, summaries: dict[str, dict[str, np.ndarray]]) -> None:
            for layer, arrays in summaries.items():
                for key, array in arrays.items():
                    store.put(latents, f"{name}/{layer}/{key}", array)

        latents.create_group("source/null")
        place = ([layer for layer in layers if layer in layers_of(network)], activations, units, rows)
        # Of the source, pixels that its masks leave out are not counted; the masks of a target are never read.
        images = Inputs(source[REFERENCE], torch_device, network.depth, masked=True)
        parts = parts_of_source(images.count, seed)
        for name, summaries in zip(parts, summarise_parts(network, images, list(parts.values()), *place), strict=True):
            write(f"source/{name}", summaries)
        for target, splits in store.targets(targets):
            unseen = store.unseen(splits["adapt"], home)
            images = Inputs(splits["adapt"], torch_device, network.depth, chosen=unseen)
            write(f"targets/{target}/before", summarise(network, images, images.count, *place))
            if PLAIN in adapted[target]:
                state = checkpoint.get_state(adapted[target][PLAIN], network)
                with normalisation.adapted(network, state):
                    write(f"targets/{target}/after", summarise(network, images, images.count, *place))


def parts_of_source(n_images: int, seed: int) -> dict[str, np.ndarray]:
    """Name of a group below ``source`` -> which images of the reference it summarises, bool (n_images,)."""
    parts = {"reference": np.ones(n_images, bool)}
    for number, first in enumerate(halves(n_images, NULLS if n_images > 1 else 0, seed)):
        parts |= {f"null/{number}/first": first, f"null/{number}/second": ~first}
    return parts


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
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
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
            home=base_of(snakemake.wildcards.source),
        )
