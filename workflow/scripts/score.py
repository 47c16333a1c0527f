"""Score every target of a shift family without its masks: networks + statistics + images -> one row per target.

The images are of split ``adapt``. Of the source, labelled validation images serve as the reference. Of images
that are large together only the middle of each is looked at: :func:`middle`.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.adaptation import batchnorm
from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.network import checkpoint, devices, normalisation
from shiftgain.network.inference import BATCH_PIXELS
from shiftgain.network.tiles import Tiled, tiles_of
from shiftgain.network.unet import UNet, to_input
from shiftgain.prediction.scores.masks import agreement
from shiftgain.prediction.scores.registry import scores
from shiftgain.prediction.view import View
from shiftgain.study.names import base_of, row_key

METHOD = "batchnorm"
Array = TypeVar("Array", np.ndarray, Tensor)
# Pixels of a domain that are looked at, over all its images: four of 1024 x 1024. Scores keep some of them in several
# arrays for each state of the network; all states together then take about a gigabyte.
VIEW_PIXELS = 2**22


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
            batches = looked_at(splits["adapt"], images, torch_device, store.unseen(splits["adapt"], base_of(source)))
            grey = mean_grey(batches)
            turned = [2 * grey - batch for batch in batches]
            state = batchnorm.batchnorm(network, tiles_of(together(turned), network.depth))
            states = {
                "before": view(network, batches, batches, rows, threshold),
                "inverted": view(network, turned, batches, rows, threshold, state),
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
            n, size = len(images), images.shape[-2:]
            chosen = np.random.default_rng(number).integers(0, size[0] * size[1], (n, per_image))
            which, places = np.arange(n).repeat(per_image), np.stack(np.unravel_index(chosen.ravel(), size))
            p, sample = np.empty((n, *size), np.float32), np.empty((n * per_image, 0))
            for tile in Tiled(images, range(n), network.depth, images.device):
                features, logits = network.features_and_logits(tile.images)
                sample = sample if sample.size else np.empty((n * per_image, features.shape[1]))
                p[:, *tile.at] = torch.sigmoid(logits[:, 0, *tile.core].float()).cpu().numpy()
                first, stop = np.array([[part.start, part.stop] for part in tile.at]).T[:, :, None]
                inside = ((first <= places) & (places < stop)).all(axis=0)
                offset = np.array([part.start for part in tile.core])[:, None] - first
                index = torch.from_numpy(np.stack([which, *(places + offset)])[:, inside]).to(images.device)
                sample[inside] = features[index[0], :, index[1], index[2]].float().cpu().numpy()
            probabilities.append(p)
            samples.append(sample)
            at.append(p[which, places[0], places[1]])
    return View(
        images=[images.mean(1).cpu().numpy() for images in shown],
        probabilities=probabilities,
        rows=np.concatenate(samples),
        row_probabilities=np.concatenate(at),
        threshold=threshold,
        labels=labels,
    )


def labelled_view(
    network: UNet, split: h5py.Group, images: int, rows: int, threshold: float, device: torch.device
) -> View:
    """:func:`view` of the first ``images`` of a split of the source, with its masks."""
    batches, labels, missing = [], [], images
    pixels = VIEW_PIXELS // min(images, store.count(split))
    for batch, masks in store.batches(split, BATCH_PIXELS):
        batches.append(to_input(middle(batch[:missing], pixels), device))
        labels.append(middle(np.asarray(masks)[:missing], pixels) == 1)
        missing -= len(batch)
        if missing <= 0:
            break
    return view(network, batches, batches, rows, threshold, labels=labels)


def looked_at(split: h5py.Group, images: int, device: torch.device, chosen: np.ndarray | None = None) -> list[Tensor]:
    """The first ``images`` of a split, or of those ``chosen``, or all, as batches (n, channels, H, W).

    Of a series of the user, whose neighbours are alike, those taken are spread over it.
    """
    numbers = np.arange(store.count(split)) if chosen is None else chosen
    if "look" in split.attrs and len(numbers) > images:
        numbers = numbers[np.linspace(0, len(numbers) - 1, images).round().astype(int)]
    pixels = VIEW_PIXELS // min(images, len(numbers))
    stored = first(store.image_batches(split, BATCH_PIXELS, chosen=numbers), images)
    return [to_input(middle(batch, pixels), device) for batch in stored]


def together(batches: list[Tensor]) -> list[Tensor]:
    """``batches`` as one where their images are of one size: statistics of a single batch take a single pass."""
    return [torch.cat(batches)] if len({batch.shape[1:] for batch in batches}) == 1 else batches


def first(batches: Iterable[Array], n: int) -> Iterator[Array]:
    """The first ``n`` images of ``batches`` (or all)."""
    for batch in batches:
        yield batch[:n]
        n -= len(batch)
        if n <= 0:
            return


def middle(images: np.ndarray, pixels: int) -> np.ndarray:
    """The middle of images (n, H, W, ...), ``pixels`` of each at most, in their proportions; all of small images."""
    height, width = images.shape[1:3]
    share = min(1, (pixels / (height * width)) ** 0.5)
    rows = max(1, int(height * share))
    columns = max(1, min(int(width * share), pixels // rows))
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[:, top : top + rows, left : left + columns]


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
