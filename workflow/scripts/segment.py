"""Write a mask for every image of a target: network + statistics + the user's files -> files like these.

What is done, and why, is in ``about.json``. No mask of the target is opened.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch

from shiftgain.adaptation import artefacts
from shiftgain.domains import identity, real, writers
from shiftgain.domains.stack import Stack
from shiftgain.files import job, store
from shiftgain.files.commit import commit
from shiftgain.files.errors import StudyError
from shiftgain.files.tables import read_csv, replacing
from shiftgain.network import checkpoint, devices, normalisation
from shiftgain.network.handover import hand_over
from shiftgain.network.inference import BATCH_PIXELS, of_images
from shiftgain.network.unet import UNet
from shiftgain.prediction.choice import EXPECTED, KEEP, UNKNOWN, done
from shiftgain.report import outlines
from shiftgain.study.names import IDENTITY, KEPT, KEY

SHEET_IMAGES = 12
OWN_RULE = (
    "No single state dict holds this method. These weights hold the statistics of the domain; of each image the "
    "statistics are {part:.4g} its own and the rest the domain's, weights {weights}, polarity {polarity}, towards a "
    "foreground share of {share:.4g}, unless its objects stand out too little from its background (usual contrast "
    "{contrast:.4g}), or too few are sure (usual stability {stability:.4g}) and the domain's statistics find fewer: "
    "function of_image of shiftgain/adaptation/remedies.py."
)
TEST_RULE = (
    "No single state dict holds this method. These weights are those of the source; function {function} of "
    "shiftgain/adaptation adapts them to {at_test} images at a time, with options {options}."
)


def segment(
    model_path: str,
    adapted_path: str,
    advice_path: str | None,
    folder: str,
    spec: dict,
    source: str,
    seed: int,
    action: str,
    unknown: str,
    threshold: float,
    probabilities: bool,
    onnx: bool,
    device: str,
) -> None:
    """Write masks, probabilities where asked, a sheet of outlines, ``about.json`` and the network to ``folder``.

    ``spec``: of the target. ``action``: a method, or ``advised``: what the advice at ``advice_path`` decides for the
    pair, and ``unknown`` where it does not decide.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    target = spec["name"]
    method, why = action, "asked for"
    if action == "advised":
        method, why = advised(advice_path, source, target, seed, unknown)
    logging.info("%s: %s, %s", target, method, why)
    state, how, facts = found(adapted_path, target, method, network)
    normalisation.put(network, state)
    stacks = real.image_stacks(target, spec)
    sheet = Sheet(sum(len(stack.shapes) for stack in stacks), threshold)
    pages = sheet.watch(predicted(network, stacks, spec, torch_device, **how))
    write(stacks, pages, Path(folder), target, threshold, probabilities)
    sheet.write(stacks, Path(folder, "outlines.png"))
    facts |= {"source": source, "target": target, "seed": seed, "method": method, "threshold": threshold}
    facts |= {"images": sheet.total, "images_sha256": identity.digest_of(stacks), "commit": commit()}
    image = next(batches(stacks, spec, 1))[0]
    hand_over(network.cpu(), checkpoint.model(model_path), image, words(facts), facts, Path(folder, "network"), onnx)
    about = facts | {"action": action, "why": why, "foreground": sheet.foreground / sheet.pixels}
    with replacing(Path(folder, "about.json")) as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n")


def method_of(decision: str) -> str:
    """The method that a decision names; to keep the network is method source, and so is what nothing is expected of."""
    return KEPT if decision in (KEEP, EXPECTED) else decision


def advised(advice_path: str | None, source: str, target: str, seed: int, unknown: str) -> tuple[str, str]:
    """(method, why in words) that the advice decides for a pair; without advice, ``unknown`` does."""
    left = f"where config key segment.unknown says {unknown}"
    if advice_path is None:
        why = f"nothing is advised without labelled images of {source}, by which advice is calibrated, {left}"
        return method_of(unknown), why
    advice = read_csv(advice_path, [*KEY, "decision", "action", "gain"])
    pair = dict(zip(KEY, (source, target, IDENTITY, 0.0, seed), strict=True))
    rows = advice[(advice[list(pair)] == list(pair.values())).all(axis=1)]
    if rows.empty:
        return method_of(unknown), f"there is no advice for it, {left}"
    decision = rows["decision"].iloc[0]
    if decision != UNKNOWN:
        return method_of(decision), f"the advice is {decision}"
    chosen = done(rows).iloc[0] if unknown == EXPECTED else unknown
    return method_of(chosen), f"the advice says unknown, {left}"


def found(adapted_path: str, target: str, method: str, network: UNet) -> tuple[dict, dict, dict]:
    """(tensors to put in place, how to adapt to each image besides, what is known of it) of a method on a target.

    Known: ``n_target_images``, and ``rule``, what no state dict holds of the method, in words.
    """
    if method == KEPT:
        return {}, {}, {"n_target_images": 0, "rule": ""}
    with store.read(adapted_path) as adapted:
        if method not in adapted[target]:
            tried = ", ".join(adapted[target])
            raise StudyError(f"{target}: '{method}' was not tried (tried: {tried}); add it to the methods of its pair")
        group = adapted[target][method]
        state, how = artefacts.kept(group, network)
        n = store.get_json(group, "n_target_images") if "n_target_images" in group.attrs else None
        own = store.get_json(group, "own") if "own" in group.attrs else None
        asked = store.get_json(group, "method") if "method" in group.attrs else None
        return state, how, {"n_target_images": n, "rule": rule(own, asked)}


def rule(own: dict | None, asked: dict | None) -> str:
    """What a method does to each image or batch beyond the statistics of the domain; nothing where these are all."""
    if own is not None and own["part"]:
        return OWN_RULE.format(**own)
    return TEST_RULE.format(**asked) if asked is not None else ""


def words(facts: dict) -> dict:
    """``name`` and ``description`` of the network that made the masks."""
    adapted = f"adapted to {facts['n_target_images']} unlabelled images of {facts['target']} by {facts['method']}"
    what = adapted if facts["n_target_images"] else f"used on {facts['target']} by {facts['method']}"
    text = (
        f"Network of {facts['source']}, {what}; images sha256 {facts['images_sha256'][:16]}, by shiftgain at commit "
        f"{facts['commit'][:12]}. Input: images of {facts['target']} as 8-bit grey levels, 0 to 255. {facts['rule']}"
    )
    return {"name": f"{facts['source']} on {facts['target']} by {facts['method']}", "description": text.strip()}


@torch.inference_mode()
def predicted(
    network: UNet, stacks: list[Stack], spec: dict, device: torch.device, adapt=None, at_most: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image as read, foreground probability float32 (H, W)) of every image of a series, in its order."""
    for images in batches(stacks, spec, at_most):
        p = np.empty(images.shape[:3], np.float32)
        for tile, part in of_images(network, images, device, adapt):
            p[:, *tile.at] = part.cpu().numpy()
        yield from zip(images, p, strict=True)


def batches(stacks: list[Stack], spec: dict, at_most: int | None) -> Iterator[np.ndarray]:
    """The images of a series as read, neighbours of one size together, ``at_most`` or so many as pass at once."""
    batch: list[np.ndarray] = []
    for stack in stacks:
        for pixels in stack.pages(range(len(stack.shapes))):
            image = real.as_read(pixels[np.newaxis], spec)[0]
            most = at_most or max(1, BATCH_PIXELS // (image.shape[0] * image.shape[1]))
            if batch and (len(batch) >= most or batch[0].shape != image.shape):
                yield np.stack(batch)
                batch = []
            batch.append(image)
    yield np.stack(batch)


def write(
    stacks: list[Stack], pages: Iterator[np.ndarray], folder: Path, series: str, threshold: float, probabilities: bool
) -> None:
    """Write the masks, and the probabilities where asked, of all files of a series, from ``pages`` of probabilities."""
    names, tiffs = writers.names(stacks, series), writers.names(stacks, series, ".tif")
    for stack, name, tiff in zip(stacks, names, tiffs, strict=True):
        if not probabilities:
            writers.write(folder / "masks" / name, stack, (page > threshold for page in pages))
            continue
        # Of a stack that does not fit into memory, probabilities wait on the disk until its masks are written.
        with TemporaryFile() as file:
            writers.write(folder / "masks" / name, stack, (page > threshold for page in kept(pages, file)))
            file.seek(0)
            writers.write(
                folder / "probabilities" / tiff, stack, (np.load(file, allow_pickle=False) for _ in stack.shapes)
            )


def kept(pages: Iterator[np.ndarray], file) -> Iterator[np.ndarray]:
    """``pages``, each written to ``file`` as it passes."""
    for page in pages:
        np.save(file, page)
        yield page


@dataclass
class Sheet:
    """What is seen of ``total`` images as they pass: thumbnails of some, spread evenly, and the foreground of all."""

    total: int
    threshold: float
    thumbnails: list = field(default_factory=list)
    pixels: int = 0
    foreground: int = 0

    @property
    def numbers(self) -> list[int]:
        """Which images are shown."""
        return sorted({round(share * (self.total - 1)) for share in np.linspace(0, 1, min(SHEET_IMAGES, self.total))})

    def watch(self, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
        """The probabilities of ``pairs`` of image and probability, one by one."""
        shown = set(self.numbers)
        for number, (image, p) in enumerate(pairs):
            mask = p > self.threshold
            self.pixels, self.foreground = self.pixels + mask.size, self.foreground + int(mask.sum())
            if number in shown:
                self.thumbnails.append(outlines.thumbnail(image, mask))
            yield p

    def write(self, stacks: list[Stack], path: Path) -> None:
        """Write the contact sheet; an image of a stack is called by its file and its number in it."""
        names = [
            stack.file.name + (f" {number}" if len(stack.shapes) > 1 else "")
            for stack in stacks
            for number in range(len(stack.shapes))
        ]
        outlines.sheet(self.thumbnails, [names[number] for number in self.numbers], path)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        segment(
            model_path=snakemake.input.model,
            adapted_path=snakemake.input.adapted,
            advice_path=snakemake.input.advice or None,
            folder=snakemake.output.folder,
            spec=snakemake.params.spec,
            source=snakemake.wildcards.source,
            seed=snakemake.params.seed,
            action=snakemake.wildcards.action,
            unknown=snakemake.params.unknown,
            threshold=snakemake.params.threshold,
            probabilities=snakemake.params.probabilities,
            onnx=snakemake.params.onnx,
            device=snakemake.params.device,
        )
