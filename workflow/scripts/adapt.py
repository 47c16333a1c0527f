"""Adapt a trained network to every target of a shift family: network + unlabelled images -> statistics only."""

from workflow.lib import batchnorm, checkpoint, devices, job, store
from workflow.lib.prediction import inputs


def adapt(model_path: str, targets_path: str, adapted_path: str, methods: list[str], device: str) -> None:
    """Write ``{target}/{method}`` -> the tensors the method changes, for the network at ``model_path``."""
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    with store.read(targets_path) as targets, store.create(adapted_path) as adapted:
        for target, splits in targets.items():
            for method in methods:
                state = batchnorm.METHODS[method](network, inputs(splits["adapt"], torch_device))
                checkpoint.put_tensors(adapted.create_group(f"{target}/{method}"), state)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        adapt(
            model_path=snakemake.input.model,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.output.adapted,
            methods=snakemake.params.methods,
            device=snakemake.params.device,
        )
