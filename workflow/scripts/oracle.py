"""Score every trained network on the test split of its own domain: what training with labels reaches there."""

import pandas as pd

from workflow.lib import checkpoint, devices, files, job, metrics, store
from workflow.lib.prediction import predict


def oracle(
    model_paths: list[str],
    data_paths: list[str],
    domains: list[str],
    scores_path: str,
    seed: int,
    threshold: float,
    device: str,
) -> None:
    """Write one row per trained domain; ``target`` is its full name, transformation included."""
    torch_device = devices.pick(device)
    rows = []
    for domain, model_path, data_path in zip(domains, model_paths, data_paths, strict=True):
        network = checkpoint.load(model_path, torch_device)
        with store.read(data_path) as data:
            rows.append(
                {"target": domain, "seed": seed}
                | metrics.scores(predict(network, data["test"], threshold, torch_device))
            )
    with files.replacing(scores_path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        oracle(
            model_paths=list(snakemake.input.models),
            data_paths=list(snakemake.input.data),
            domains=snakemake.params.domains,
            scores_path=snakemake.output.scores,
            seed=int(snakemake.wildcards.seed),
            threshold=snakemake.params.threshold,
            device=snakemake.params.device,
        )
