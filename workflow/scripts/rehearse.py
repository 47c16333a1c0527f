"""Rehearse on the source: its own labelled images under known changes, every action on each, scores beside true IoU.

The images are labelled ones that the network was neither trained on nor tested on: those held back for adaptation, or
where there are none the validation images.
"""

import h5py
import numpy as np

from shiftgain.adaptation import artefacts
from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.network import checkpoint, devices, metrics
from shiftgain.network.inference import BATCH_PIXELS
from shiftgain.network.tiles import frame_of
from shiftgain.network.unet import to_input
from shiftgain.prediction import rehearsal, states
from shiftgain.prediction.scores.registry import scores
from shiftgain.prediction.states import Action
from shiftgain.prediction.view import View
from shiftgain.study.names import KEPT, base_of


def rehearse(
    model_path: str,
    source_path: str,
    rehearsal_path: str,
    source: str,
    seed: int,
    methods: dict[str, dict],
    options: dict,
    images: int,
    rows: int,
    threshold: float,
    device: str,
) -> None:
    """Write a row per target and action: ``kinds`` of changes, every score, ``iou`` and ``gain_sd``.

    ``gain_sd``: standard deviation over images of the IoU under the action minus that of the network that is kept.
    ``options``: ``targets``, ``pieces`` and ``side`` of config key rehearse. ``images`` and ``rows`` as in stage score.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    table = []
    with store.read(source_path) as labelled, h5py.File("rehearsal", "w", driver="core", backing_store=False) as memory:
        reference = states.labelled_view(network, labelled["validation"], images, rows, threshold, torch_device)
        adapt = artefacts.adapter(network, labelled, seed, torch_device)
        pictures, masks = held_out(labelled, base_of(source))
        made = rehearsal.rehearse(pictures, masks, **options, multiple=frame_of(network.depth).cell, seed=seed)
        for number, target in enumerate(made):
            split = memory.create_group(f"{number}")
            store.append(split, target.images, None)
            actions = {name: Action(kept.state, kept.own) for name, kept in adapt(split, methods).items()}
            views = states.views(network, [to_input(target.images, torch_device)], actions, rows, threshold)
            for method, row in scores(reference, views, KEPT).items():
                key = {"source": source, "seed": seed, "target": number, "kinds": target.kinds, "method": method}
                table.append(key | row | outcome(views[method], views[KEPT], target.masks))
    write_rows(table, rehearsal_path)


def held_out(labelled: h5py.File, domain: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images and masks of the source that its networks have not seen; its validation images where there are none."""
    split, chosen = labelled["adapt"], store.unseen(labelled["adapt"], domain)
    # Of a series of the user those to adapt to hold those trained on.
    if chosen is None and "look" in split.attrs:
        split = labelled["validation"]
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for batch, truth in store.masked_batches(split, BATCH_PIXELS, chosen):
        images += list(batch)
        masks += list(truth if truth is not None else ())
    return images, masks


def outcome(state: View, kept: View, masks: np.ndarray) -> dict[str, float]:
    """The pooled ``iou`` of a view of one batch with its true masks, and ``gain_sd`` over its images."""
    true, counted = masks == 1, masks != store.IGNORED
    counts, before = (metrics.counts(view.predicted[0] & counted, true) for view in (state, kept))
    gains = metrics.iou(counts) - metrics.iou(before)
    return {"iou": float(metrics.iou(counts.sum(axis=0))), "gain_sd": float(gains.std(ddof=1)) if len(gains) > 1 else 0}


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        rehearse(
            model_path=snakemake.input.model,
            source_path=snakemake.input.source,
            rehearsal_path=snakemake.output.rehearsal,
            source=snakemake.wildcards.source,
            seed=int(snakemake.wildcards.seed),
            methods=snakemake.params.methods,
            options=snakemake.params.options,
            images=snakemake.params.images,
            rows=snakemake.params.rows,
            threshold=snakemake.params.threshold,
            device=snakemake.params.device,
        )
