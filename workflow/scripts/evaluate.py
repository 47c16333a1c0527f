"""Score a network, unadapted and adapted, on the test split of every target of a shift family.

Networks + statistics + labelled test images -> one row per target and method, and the first predicted masks.
"""

from collections.abc import Iterator
from functools import partial

import h5py
import numpy as np
import pandas as pd

from workflow.lib import batchnorm, checkpoint, devices, files, job, metrics, store
from workflow.lib.prediction import predict
from workflow.lib.unet import UNet


def evaluate(
    model_path: str,
    targets_path: str,
    adapted_path: str,
    scores_path: str,
    masks_path: str,
    source: str,
    seed: int,
    threshold: float,
    examples: int,
    device: str,
) -> None:
    """Write scores to ``scores_path`` and the first ``examples`` masks of ``{target}/{method}`` to ``masks_path``."""
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    rows = []
    with (
        store.read(targets_path) as targets,
        store.read(adapted_path) as adapted,
        store.create(masks_path) as masks,
    ):
        for target, splits in store.targets(targets):
            spec = store.get_json(splits, "domain")
            for method, group in [("source", None), *store.members(adapted[target])]:
                state, how = ({}, {}) if group is None else artefact(group, network)
                with batchnorm.adapted(network, state):
                    kept: list[np.ndarray] = []
                    predictions = predict(network, splits["test"], threshold, torch_device, **how)
                    scores = metrics.scores(keep(predictions, examples, kept))
                store.put(masks, f"{target}/{method}", np.concatenate(kept).astype(np.uint8))
                key = {
                    "source": source,
                    "target": spec["name"],
                    "transform": spec["transform"],
                    "level": spec["level"],
                }
                rows.append(key | {"method": method, "seed": seed} | scores)
    with files.replacing(scores_path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


def artefact(group: h5py.Group, network: UNet) -> tuple[dict, dict]:
    """What stage adapt kept: (tensors to put in place, or else how :func:`predict` adapts to each test batch)."""
    if "method" not in group.attrs:
        return checkpoint.get_state(group, network), {}
    method = store.get_json(group, "method")
    function = partial(batchnorm.METHODS[method["function"]], **method["options"])
    return {}, {"adapt": function, "at_most": method["at_test"]}


def keep(pairs: Iterator, n: int, kept: list[np.ndarray]) -> Iterator:
    """Pass ``pairs`` of (predicted, true) on, and put the first ``n`` predicted masks, of one size, into ``kept``."""
    for predicted, true in pairs:
        room = n - sum(len(part) for part in kept)
        if room > 0 and (not kept or kept[0].shape[1:] == predicted.shape[1:]):
            kept.append(predicted[:room])
        yield predicted, true


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        evaluate(
            model_path=snakemake.input.model,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.input.adapted,
            scores_path=snakemake.output.scores,
            masks_path=snakemake.output.masks,
            source=snakemake.wildcards.source,
            seed=int(snakemake.wildcards.seed),
            threshold=snakemake.params.threshold,
            examples=snakemake.params.examples,
            device=snakemake.params.device,
        )
