"""Score every trained network on the test split of its own domain: what training with labels reaches there."""

from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.network import checkpoint, devices, metrics
from shiftgain.network.inference import predict


def oracle(
    model_paths: list[str],
    data_paths: list[str],
    networks: list[str],
    scores_path: str,
    seed: int,
    threshold: float,
    device: str,
) -> None:
    """Write one row per network; ``target`` is its full name, transformation and variant included."""
    torch_device = devices.pick(device)
    rows = []
    for name, model_path, data_path in zip(networks, model_paths, data_paths, strict=True):
        network = checkpoint.load(model_path, torch_device)
        about = checkpoint.about(model_path)
        with store.read(data_path) as data:
            scores = metrics.scores(predict(network, data["test"], threshold, torch_device))
            origin = {"selection": "target_validation", "n_target_images": store.count(data["train"])}
        if "adopted" in about:  # No image of the study chose its epoch, or trained it.
            origin = {"selection": "", "n_target_images": 0}
        presented = {"image_presentations": about.get("image_presentations", "")}
        rows.append({"target": name, "seed": seed} | scores | origin | presented)
    write_rows(rows, scores_path)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        oracle(
            model_paths=list(snakemake.input.models),
            data_paths=list(snakemake.input.data),
            networks=snakemake.params.networks,
            scores_path=snakemake.output.scores,
            seed=int(snakemake.wildcards.seed),
            threshold=snakemake.params.threshold,
            device=snakemake.params.device,
        )
