"""Score every target of a shift family without its masks: networks + statistics + images -> one row per target.

The images are the first of split ``adapt``. Of the source, labelled validation images serve as the reference.
"""

from collections.abc import Iterable, Iterator

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.adaptation import batchnorm
from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.network import checkpoint, devices, normalisation
from shiftgain.network.inference import BATCH_PIXELS, Inputs
from shiftgain.network.unet import UNet, pad, to_input
from shiftgain.prediction.scores.masks import agreement
from shiftgain.prediction.scores.registry import scores
from shiftgain.prediction.view import View
from shiftgain.study.names import base_of, row_key

METHOD = "batchnorm"


def score(
    model_path: str,
    source_path: str,
    targets_path: str,
    adapted_path: str,
    partner_paths: dict[str, str],
    scores_path: str,
    source: str,
    seed: int,
    images: int,
    rows: int,
    threshold: float,
    device: str,
) -> None:
    """Write every score of :mod:`shiftgain.prediction.scores.registry`, and the agreement with any partner network.

    ``partner_paths``: ``model`` and ``adapted`` of another seed, or nothing. ``images`` of each domain are looked at,
    at most, and ``rows`` positions of them for scores of features.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    partner = checkpoint.load(partner_paths["model"], torch_device) if partner_paths else None
    table = []
    with (
        store.read(source_path) as labelled,
        store.read(targets_path) as targets,
        store.read(adapted_path) as adapted,
        store.read(partner_paths.get("adapted", adapted_path)) as partner_adapted,
    ):
        reference = labelled_view(network, labelled["validation"], images, rows, threshold, torch_device)
        for target, splits in store.targets(targets):
            spec = store.get_json(splits, "domain")
            unseen = store.unseen(splits["adapt"], base_of(source))
            batches = list(first(Inputs(splits["adapt"], torch_device, chosen=unseen), images))
            middle = mean_grey(batches)
            turned = [2 * middle - batch for batch in batches]
            states = {
                "before": view(network, batches, batches, rows, threshold),
                "inverted": view(network, turned, batches, rows, threshold, batchnorm.batchnorm(network, turned)),
            }
            if METHOD in adapted[target]:
                state = statistics(adapted[target], network)
                states["after"] = view(network, batches, batches, rows, threshold, state)
            seeds = {"seed_agreement_before": np.nan, "seed_agreement_after": np.nan}
            if partner is not None and "after" in states:
                others = {"before": {}, "after": statistics(partner_adapted[target], partner)}
                for name, state in others.items():
                    other = view(partner, batches, batches, rows, threshold, state)
                    seeds[f"seed_agreement_{name}"] = agreement(reference, states[name], other)
            table.append(row_key(source, spec, seed) | scores(reference, states) | seeds)
    write_rows(table, scores_path)


def statistics(group: h5py.Group, network: UNet) -> normalisation.State:
    """The batch-norm statistics that stage ``adapt`` kept for a target."""
    return checkpoint.get_state(group[METHOD], network)


@torch.inference_mode()
def view(
    network: UNet,
    batches: Iterable[Tensor],
    shown: Iterable[Tensor],
    rows: int,
    threshold: float,
    state: normalisation.State | None = None,
    labels: list[np.ndarray] | None = None,
) -> View:
    """What ``network``, with ``state`` in place, says of ``batches`` (n, channels, H, W), in one forward pass.

    The grey levels of the view are those of ``shown``. ``rows`` are drawn evenly from the images, at the same
    positions whatever the network.
    """
    batches = list(batches)
    per_image = -(-rows // sum(len(images) for images in batches))
    probabilities, samples, at = [], [], []
    with normalisation.adapted(network, state or {}):
        for number, images in enumerate(batches):
            height, width = images.shape[-2:]
            features = network.features(pad(images, network.depth))
            p = torch.sigmoid(network.head(features)[:, 0, :height, :width].float())
            probabilities.append(p.cpu().numpy())
            rng = np.random.default_rng(number)
            chosen = rng.integers(0, height * width, (len(images), per_image))
            places = torch.from_numpy(chosen).to(images.device)
            pixels = features[:, :, :height, :width].flatten(2).float()
            samples.append(
                pixels.gather(2, places[:, None].expand(-1, pixels.shape[1], -1)).movedim(1, 2).flatten(0, 1)
            )
            at.append(p.flatten(1).gather(1, places).flatten())
    return View(
        images=[images.mean(1).cpu().numpy() for images in shown],
        probabilities=probabilities,
        rows=torch.cat(samples).cpu().numpy().astype(float),
        row_probabilities=torch.cat(at).cpu().numpy(),
        threshold=threshold,
        labels=labels,
    )


def labelled_view(
    network: UNet, split: h5py.Group, images: int, rows: int, threshold: float, device: torch.device
) -> View:
    """:func:`view` of the first ``images`` of a split of the source, with its masks."""
    batches, labels, missing = [], [], images
    for batch, masks in store.batches(split, BATCH_PIXELS):
        batches.append(to_input(batch[:missing], device))
        labels.append((np.asarray(masks) == 1)[:missing])
        missing -= len(batch)
        if missing <= 0:
            break
    return view(network, batches, batches, rows, threshold, labels=labels)


def first(batches: Iterable[Tensor], n: int) -> Iterator[Tensor]:
    """The first ``n`` images of ``batches`` (or all)."""
    for batch in batches:
        yield batch[:n]
        n -= len(batch)
        if n <= 0:
            return


def mean_grey(batches: list[Tensor]) -> Tensor:
    """Mean grey level (channels, 1, 1) of all images."""
    total = torch.as_tensor(sum(batch.sum((0, 2, 3)) for batch in batches))
    return (total / sum(batch[:, 0].numel() for batch in batches))[:, None, None]


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        score(
            model_path=snakemake.input.model,
            source_path=snakemake.input.source,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.input.adapted,
            partner_paths={kind: path for kind in ("model", "adapted") if (path := snakemake.input[f"partner_{kind}"])},
            scores_path=snakemake.output.scores,
            source=snakemake.wildcards.source,
            seed=int(snakemake.wildcards.seed),
            images=snakemake.params.images,
            rows=snakemake.params.rows,
            threshold=snakemake.params.threshold,
            device=snakemake.params.device,
        )
