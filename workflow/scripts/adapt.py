"""Adapt a trained network to every target of a shift family: network + unlabelled images -> statistics only.

Remedies compare the target with images of the source, whose masks are not read either.
"""

import logging
from contextlib import nullcontext
from dataclasses import asdict

from shiftgain.adaptation import artefacts
from shiftgain.files import job, store
from shiftgain.network import checkpoint, devices
from shiftgain.network.normalisation import norm_layers
from shiftgain.study.names import base_of


def adapt(
    model_path: str,
    source_path: str | None,
    targets_path: str,
    adapted_path: str,
    methods: dict[str, dict],
    seed: int,
    device: str,
    home: str = "",
) -> None:
    """Write ``{target}/{method}`` -> the tensors the method changes, for the network at ``model_path``.

    ``methods``: name -> ``function``, ``options``, and either ``images``, the number of target images drawn by
    ``seed``, or ``at_test``, the number of test images that are adapted to as they come: nothing to keep, but how.
    What remains to be done for each image is kept as the attribute ``own``, a :class:`remedies.Own`. Of a target of
    ``home``, the domain that the network was trained on, images that it has seen are left out. A network without batch
    norm is kept: nothing is written of any method. Methods that compare with the source need ``source_path``.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    if not norm_layers(network):
        logging.warning("the network has no batch-norm layer: it is kept, and no method is tried")
        methods = {}
    with (
        store.read(source_path) if source_path else nullcontext() as source,
        store.read(targets_path) as targets,
        store.create(adapted_path) as adapted,
    ):
        adapt_to = artefacts.adapter(network, source, seed, torch_device, home)
        for target, splits in store.targets(targets):
            group = adapted.create_group(target)
            made = adapt_to(splits["adapt"], {name: one for name, one in methods.items() if "at_test" not in one})
            for name, method in methods.items():
                artefact = group.create_group(name)
                if name not in made:
                    store.put_json(artefact, "method", method)
                    continue
                checkpoint.put_tensors(artefact, made[name].state)
                if (own := made[name].own) is not None:
                    store.put_json(artefact, "own", asdict(own))
                store.put_json(artefact, "n_target_images", made[name].n_target_images)
                store.put_json(artefact, "image_presentations", made[name].image_presentations)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        adapt(
            model_path=snakemake.input.model,
            source_path=next(iter(snakemake.input.source), None),
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.output.adapted,
            methods=snakemake.params.methods,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
            home=base_of(snakemake.wildcards.source),
        )
