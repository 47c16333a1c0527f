"""Adapt a trained network to every target of a shift family: network + unlabelled images -> statistics only."""

from collections.abc import Iterator

from shiftgain.adaptation import batchnorm
from shiftgain.files import job, store
from shiftgain.network import checkpoint, devices
from shiftgain.network.inference import Inputs
from shiftgain.network.tiles import Tile
from shiftgain.study.names import base_of


def adapt(
    model_path: str,
    targets_path: str,
    adapted_path: str,
    methods: dict[str, dict],
    seed: int,
    device: str,
    trained_on: str = "",
) -> None:
    """Write ``{target}/{method}`` -> the tensors the method changes, for the network at ``model_path``.

    ``methods``: name -> ``function``, ``options``, and either ``images``, the number of target images drawn by
    ``seed``, or ``at_test``, the number of test images that are adapted to as they come: nothing to keep, but how.
    Of the images of domain ``trained_on``, those that its networks have seen are left out.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    with store.read(targets_path) as targets, store.create(adapted_path) as adapted:
        for target, splits in store.targets(targets):
            group = adapted.create_group(target)
            for name, method in methods.items():
                artefact = group.create_group(name)
                if "at_test" in method:
                    store.put_json(artefact, "method", method)
                    continue
                unseen = store.unseen(splits["adapt"], trained_on)
                images = Inputs(splits["adapt"], torch_device, network.depth, chosen=unseen)
                if "images" in method:
                    images = images.draw(method["images"], seed)
                counted = Counted(images)
                state = batchnorm.METHODS[method["function"]](network, counted, **method["options"])
                checkpoint.put_tensors(artefact, state)
                store.put_json(artefact, "n_target_images", images.count)
                store.put_json(artefact, "image_presentations", counted.presented)


class Counted:
    """Tiles of images, and how many images a method took from them, pass after pass."""

    def __init__(self, tiles: Inputs):
        self.tiles, self.presented = tiles, 0

    def __iter__(self) -> Iterator[Tile]:
        for tile in self.tiles:
            self.presented += tile.begun
            yield tile


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        adapt(
            model_path=snakemake.input.model,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.output.adapted,
            methods=snakemake.params.methods,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
            trained_on=base_of(snakemake.wildcards.source),
        )
