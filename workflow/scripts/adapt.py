"""Adapt a trained network to every target of a shift family: network + unlabelled images -> statistics only."""

from workflow.lib import batchnorm, checkpoint, devices, job, store
from workflow.lib.prediction import Inputs


def adapt(
    model_path: str, targets_path: str, adapted_path: str, methods: dict[str, dict], seed: int, device: str
) -> None:
    """Write ``{target}/{method}`` -> the tensors the method changes, for the network at ``model_path``.

    ``methods``: name -> ``function``, ``options``, and either ``images``, the number of target images drawn by
    ``seed``, or ``at_test``, the number of test images that are adapted to as they come: nothing to keep, but how.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    with store.read(targets_path) as targets, store.create(adapted_path) as adapted:
        for target, splits in store.targets(targets):
            for name, method in methods.items():
                kept = adapted.create_group(f"{target}/{name}")
                if "at_test" in method:
                    store.put_json(kept, "method", method)
                    continue
                images = Inputs(splits["adapt"], torch_device)
                if "images" in method:
                    images = images.draw(method["images"], seed)
                state = batchnorm.METHODS[method["function"]](network, images, **method["options"])
                checkpoint.put_tensors(kept, state)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        adapt(
            model_path=snakemake.input.model,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.output.adapted,
            methods=snakemake.params.methods,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        )
