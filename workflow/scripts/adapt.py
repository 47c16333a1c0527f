"""Adapt a trained network to every target of a shift family: network + unlabelled images -> statistics only.

Remedies compare the target with images of the source, whose masks are not read either.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache

from shiftgain.adaptation import batchnorm, remedies, statistics
from shiftgain.files import job, store
from shiftgain.network import checkpoint, devices
from shiftgain.network.inference import Inputs
from shiftgain.network.tiles import Tile

# Images of the source that a target is compared with, of those that its statistics were taken of in training.
REFERENCE_IMAGES = 32


def adapt(
    model_path: str,
    source_path: str,
    targets_path: str,
    adapted_path: str,
    methods: dict[str, dict],
    seed: int,
    device: str,
) -> None:
    """Write ``{target}/{method}`` -> the tensors the method changes, for the network at ``model_path``.

    ``methods``: name -> ``function``, ``options``, and either ``images``, the number of target images drawn by
    ``seed``, or ``at_test``, the number of test images that are adapted to as they come: nothing to keep, but how.
    What remains to be done for each image is kept as the attribute ``own``, a :class:`remedies.Own`.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    pixels = statistics.one_pass_pixels(network)
    with store.read(source_path) as source, store.read(targets_path) as targets, store.create(adapted_path) as adapted:

        @cache
        def reference(scope: str) -> remedies.Reference:
            trained_on = Inputs(source["train"], torch_device, network.depth, pixels=pixels)
            return remedies.reference(network, trained_on.draw(REFERENCE_IMAGES, seed), scope)

        for target, splits in store.targets(targets):
            group = adapted.create_group(target)
            for name, method in methods.items():
                artefact = group.create_group(name)
                if "at_test" in method:
                    store.put_json(artefact, "method", method)
                    continue
                images = Counted(splits["adapt"], torch_device, network.depth, pixels=pixels)
                if "images" in method:
                    images = images.draw(method["images"], seed)
                function, options = batchnorm.METHODS[method["function"]], method["options"]
                own = None
                if method["function"] in batchnorm.COMPARING:
                    state, own = function(network, images, reference(options.get("scope", "domain")), **options)
                else:
                    state = function(network, images, **options)
                checkpoint.put_tensors(artefact, state)
                if own is not None:
                    store.put_json(artefact, "own", asdict(own))
                store.put_json(artefact, "n_target_images", images.count)
                store.put_json(artefact, "image_presentations", sum(images.passed))


@dataclass(frozen=True)
class Counted(Inputs):
    """Images, and how many of them a method took, pass after pass."""

    passed: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[Tile]:
        for tile in super().__iter__():
            self.passed.append(tile.begun)
            yield tile


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        adapt(
            model_path=snakemake.input.model,
            source_path=snakemake.input.source,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.output.adapted,
            methods=snakemake.params.methods,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        )
