"""Score a network, unadapted and adapted, and the baselines on the test split of every target of a shift family.

Networks + statistics + labelled test images -> one row per target and method, and the first predicted masks.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import h5py
import numpy as np
import torch

from shiftgain.adaptation import artefacts, batchnorm
from shiftgain.adaptation.statistics import one_pass_pixels
from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.findings import theory
from shiftgain.network import checkpoint, devices, metrics, normalisation
from shiftgain.network.inference import BATCH_PIXELS, Inputs, predict
from shiftgain.network.normalisation import State
from shiftgain.network.unet import UNet
from shiftgain.study.names import KEPT, base_of, row_key

# What a row says of how its network came about. Selection: which labelled images chose the epoch. Presentations: images
# that passed through a training step or an adaptation, labelled and unlabelled. Status: what went wrong, or nothing.
COUNTS = ["n_target_images", "image_presentations"]
ORIGIN = ["selection", *COUNTS, "status"]


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
    baseline_paths: Mapping[tuple[str, str], str] = MappingProxyType({}),
    methods: Collection[str] = (),
) -> None:
    """Write scores to ``scores_path`` and the first ``examples`` masks of ``{target}/{method}`` to ``masks_path``.

    ``baseline_paths``: (target, baseline) -> its network, scored under its name and, as ``methods`` ask, with BN
    adaptation on top. One that diverged has a row without scores and masks without foreground.
    """
    torch_device = devices.pick(device)
    network, about = checkpoint.load(model_path, torch_device), checkpoint.about(model_path)
    rows = []
    with (
        store.read(targets_path) as targets,
        store.read(adapted_path) as adapted,
        store.create(masks_path) as masks,
    ):
        for target, splits in store.targets(targets):
            key, test = row_key(source, store.get_json(splits, "domain"), seed), splits["test"]
            facts = {"clipped_share": test.attrs["clipped_share"], "pixel_ceiling": ceiling(test)}
            paths = {name: path for (towards, name), path in baseline_paths.items() if towards == target}
            for each in chain(
                [Candidate(KEPT, network, {}, {}, origin_of(about))],
                (
                    Candidate(method, network, *artefacts.kept(group, network), origin_of(about, group))
                    for method, group in store.members(adapted[target])
                ),
                trained(paths, methods, splits, base_of(source), torch_device),
            ):
                scores, first_masks = scored(each, test, threshold, examples, torch_device)
                store.put(masks, f"{target}/{each.method}", first_masks.view(np.uint8))
                rows.append(key | {"method": each.method} | scores | facts | each.origin)
    write_rows(rows, scores_path)


class Candidate(NamedTuple):
    """What is scored on a target: ``network`` with the tensors of ``state`` in place, under the name ``method``.

    ``how``: the arguments of :func:`predict` by which it adapts to each image or batch; ``origin``: :data:`ORIGIN`.
    """

    method: str
    network: UNet
    state: State
    how: dict
    origin: dict


def trained(
    paths: Mapping[str, str], methods: Collection[str], splits: h5py.Group, home: str, device: torch.device
) -> Iterator[Candidate]:
    """Of the baselines at ``paths``, by name: those of ``methods``, and NAME+batchnorm, refreshed on split ``adapt``.

    Images of the domain ``home`` that its networks have seen are left out.
    """
    for name, path in paths.items():
        origin, baseline = origin_of(checkpoint.about(path)), checkpoint.load(path, device)
        if name in methods:
            yield Candidate(name, baseline, {}, {}, origin)
        if f"{name}+batchnorm" in methods:
            split, pixels = splits["adapt"], one_pass_pixels(baseline)
            images = Inputs(split, device, baseline.depth, chosen=store.unseen(split, home), pixels=pixels)
            state = batchnorm.batchnorm(baseline, images)
            presented = {"image_presentations": origin["image_presentations"] + images.count}
            yield Candidate(f"{name}+batchnorm", baseline, state, {}, origin | presented)


def scored(
    candidate: Candidate, split: h5py.Group, threshold: float, examples: int, device: torch.device
) -> tuple[dict, np.ndarray]:
    """Scores on a split, and the first ``examples`` masks (n, H, W); neither of a network that diverged."""
    first_masks: list[np.ndarray] = []
    with normalisation.adapted(candidate.network, candidate.state):
        predictions = predict(candidate.network, split, threshold, device, **candidate.how)
        scores = metrics.scores(keep(predictions, examples, first_masks))
    shown = np.concatenate(first_masks)
    if candidate.origin["status"].startswith("diverged"):
        return scores | dict.fromkeys(scores.keys() - {"n_images", "true_foreground"}, np.nan), np.zeros_like(shown)
    return scores, shown


def origin_of(about: dict, group: h5py.Group | None = None) -> dict:
    """The columns :data:`ORIGIN` of a network, or of what stage adapt made of it; empty where it is not known."""
    origin = {name: about.get(name, "") for name in ORIGIN}
    if group is not None:
        counts = {name: store.get_json(group, name) if name in group.attrs else "" for name in COUNTS}
        presented = (origin["image_presentations"], counts["image_presentations"])
        origin |= counts | {"image_presentations": "" if "" in presented else sum(presented)}
    return origin


def ceiling(split: h5py.Group) -> float:
    """:func:`theory.pixel_ceiling` of a labelled split of gray images, else NaN."""
    counts = np.zeros((2, 256), np.int64)
    for images, masks in store.batches(split, BATCH_PIXELS):
        if masks is None or images.ndim == 4:
            return float("nan")
        grey, labels = images.reshape(-1), masks.reshape(-1)
        # By parts: of large images the counting would make eight bytes of each pixel.
        for start in range(0, grey.size, BATCH_PIXELS):
            part = slice(start, start + BATCH_PIXELS)
            for label in (0, 1):
                counts[label] += np.bincount(grey[part][labels[part] == label], minlength=256)
    return theory.pixel_ceiling(counts[1], counts[0])


def keep(pairs: Iterator, n: int, masks: list[np.ndarray]) -> Iterator:
    """Pass ``pairs`` of (predicted, true) on, and put the first ``n`` predicted masks, of one size, into ``masks``."""
    for predicted, true in pairs:
        room = n - sum(len(part) for part in masks)
        if room > 0 and (not masks or masks[0].shape[1:] == predicted.shape[1:]):
            masks.append(predicted[:room])
        yield predicted, true


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
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
            baseline_paths=dict(zip(map(tuple, snakemake.params.baselines), snakemake.input.baselines, strict=True)),
            methods=snakemake.params.methods,
        )
