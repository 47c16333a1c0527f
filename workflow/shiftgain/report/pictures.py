"""Examples out of the files of a study, as the figures show them: images, masks, latents and training curves."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from shiftgain.files import store
from shiftgain.files.tables import read_csv
from shiftgain.findings.pairs import label, main_method
from shiftgain.shifts.transforms import TRANSFORMS
from shiftgain.study.names import target_name

LATENT_CASES = ("works", "fails", "harms")
# Of an image with a longer side than twice this, every second pixel is kept, and so on: a picture shows no more.
PICTURE_SIDE = 1024
# Masks beside each other that can still be looked at.
MOST_METHODS = 6


class Example(NamedTuple):
    """An image uint8 (H, W) or (H, W, 3) and its mask (H, W), None where there is none, as :func:`thinned` leaves them.

    ``side``: the longer one of the image as it is stored, in pixels.
    """

    image: np.ndarray
    mask: np.ndarray | None
    side: int


@dataclass(frozen=True)
class Gallery:
    """Domain -> an example; transform in words -> level -> an example."""

    domains: dict[str, Example]
    shifted: dict[str, dict[float, Example]]


@dataclass(frozen=True)
class PictureRow:
    """A pair in words, and title -> picture uint8 (H, W) or (H, W, 3)."""

    label: str
    pictures: dict[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """``rows`` (r, C), ``mean`` (C,) and standard deviation ``sd`` (C,) of the latents of one layer."""

    rows: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


class LayerSamples(NamedTuple):
    """A layer, and state (source, before, after) -> its :class:`Sample`."""

    layer: str
    states: dict[str, Sample]


def scored_splits(
    data: dict[str, str], targets: dict[str, str], targets_of: dict[str, list[str]]
) -> dict[str, tuple[str, str]]:
    """Full name of every domain -> (file, group) of its test split.

    ``data``: domain that is trained on -> its file; ``targets``: shift family -> its file, which holds the targets that
    ``targets_of`` names. A domain in several files is read from the first family that has it.
    """
    splits = {domain: (path, "test") for domain, path in data.items()}
    for family, path in reversed(targets.items()):
        splits |= {target: (path, f"{target}/test") for target in targets_of[family]}
    return splits


def first_example(split: tuple[str, str]) -> Example:
    """The first image of a split and its mask."""
    return first_examples(split, 1)[0]


def first_examples(split: tuple[str, str], most: int) -> list[Example]:
    """The first images of a split and their masks, at most ``most``, of the size of the first."""
    path, group = split
    with store.read(path) as file:
        images, masks = store.stacks(file[group])[0]
        side = max(images.shape[1:3])
        return [
            Example(thinned(images[k]), None if masks is None else thinned(masks[k]), side)
            for k in range(min(most, len(images)))
        ]


def thinned(picture: np.ndarray) -> np.ndarray:
    """Every k-th row and column of (H, W, ...), k the whole part of the longer side over :data:`PICTURE_SIDE`."""
    step = max(1, max(picture.shape[:2]) // PICTURE_SIDE)
    return picture if step == 1 else picture[::step, ::step].copy()


def gallery(specs: dict, splits: dict, sources: list[str]) -> Gallery:
    """An example of every domain and level: a transform is shown on the domain that has most levels of it, of several
    on the one that has most of all transforms."""
    base = [name for name in specs if name in sources or specs[name]["level"] == 0]
    shifted = [spec for spec in specs.values() if spec["level"] != 0]
    names = [spec["name"] for spec in shifted]
    levels: dict[str, dict[float, Example]] = {}
    for transform in dict.fromkeys(spec["transform"] for spec in shifted):
        domains = [spec["name"] for spec in shifted if spec["transform"] == transform]
        domain = max(
            dict.fromkeys([*sources, *base, *domains]), key=lambda name: (domains.count(name), names.count(name))
        )
        names_by_level = {0.0: domain} if domain in splits else {}
        for spec in shifted:
            if (spec["name"], spec["transform"]) == (domain, transform):
                names_by_level[spec["level"]] = target_name(domain, transform, spec["level"])
        title = f"{transform}, {TRANSFORMS[transform].unit}: {domain}"
        levels[title] = {level: first_example(splits[name]) for level, name in names_by_level.items()}
    return Gallery({name: first_example(splits[name]) for name in base}, levels)


def predicted_masks(
    cases: dict, targets: dict[str, str], masks: dict[str, str], gains: pd.DataFrame, remedies: list[str]
) -> dict[str, PictureRow | None]:
    """Case -> its first test image, true mask and the mask by each method; None where the case does not occur.

    ``targets``: shift family -> its images; ``masks``: job -> the masks predicted on them. Where the study tries
    ``remedies`` and more than :data:`MOST_METHODS` methods, the main one is shown and, of the remedies, the best for
    the case by its labels, which the label of its row names.
    """
    main = main_method(gains)
    methods = [main, *(name for name in gains["method"].unique() if name != main)]
    crowded = len(methods) > MOST_METHODS and bool(set(methods) & set(remedies))
    rows: dict[str, PictureRow | None] = dict.fromkeys(cases)
    for name, pair in cases.items():
        if pair is not None:
            job = job_of(pair, masks, "")
            image, true, _ = first_example((targets[job.split("/")[2]], f"{pair['name']}/test"))
            assert true is not None, "cases are taken from labelled pairs"
            titles = {"source": "unadapted"} | {method: method for method in methods}
            best = best_remedy(pair, remedies)
            if crowded:
                titles = {"source": "unadapted", main: main} | ({best: "best remedy"} if best else {})
            with store.read(masks[job]) as file:
                group = file[pair["name"]]
                predicted = {
                    title: 255 * thinned(group[method][0]) for method, title in titles.items() if method in group
                }
            scores = f"IoU {pair['iou_before']:.3f} → {pair['iou_after']:.3f}\n(source at home {pair['own_iou']:.3f})"
            scores += f"\n{best.replace('_', ' ')} {pair[f'iou_{best}']:.3f}" if best else ""
            pictures = {"image": image, "true mask": 255 * true, **predicted}
            rows[name] = PictureRow(f"{label(pair)}\n{scores}", pictures)
    return rows


def best_remedy(pair: pd.Series, remedies: list[str]) -> str | None:
    """The one of ``remedies`` with the highest IoU on a row of the pair table; None where it tried none."""
    tried = {name: pair[f"iou_{name}"] for name in remedies if pd.notna(pair.get(f"iou_{name}"))}
    return max(tried, key=lambda name: tried[name], default=None)


def latent_samples(
    cases: dict, paths: dict[str, str], layers: list[str], activation: str
) -> dict[str, list[LayerSamples]]:
    """Samples of source and target in each of ``layers`` that there is, for the cases of :data:`LATENT_CASES`."""
    samples = {}
    for name, pair in cases.items():
        if pair is not None and name in LATENT_CASES:
            with store.read(paths[job_of(pair, paths, "targets/")]) as file:
                states = {"source": file["source/reference"], **file[f"targets/{pair['name']}"]}
                samples[f"{name}: {label(pair)}"] = [
                    LayerSamples(
                        layer,
                        {state: sample(group[f"{layer}/{activation}/position"]) for state, group in states.items()},
                    )
                    for layer in layers
                    if layer in states["source"]
                ]
    return samples


def sample(group) -> Sample:
    """The latents of one layer, from its group in an HDF5 file."""
    return Sample(group["rows"][:], group["mean"][:], np.sqrt(np.diagonal(group["covariance"][:]).clip(0)))


def channel_rows(paths: dict[str, str], networks: list[str], layer: str) -> dict[str, dict[str, np.ndarray]]:
    """Network -> activation -> rows (r, C) of the source's own images, where both activations were kept."""
    rows = {}
    for network in networks:
        path = next(path for key, path in paths.items() if key.startswith(f"{network}/"))
        with store.read(path) as file:
            groups = file["source/reference"].get(layer, {})
            if {"before_relu", "after_relu"} <= set(groups):
                rows[network] = {activation: group["position/rows"][:] for activation, group in groups.items()}
    return rows


def job_of(pair: pd.Series, paths: dict[str, str], prefix: str) -> str:
    """The job, ``source/seed0/family``, whose file of ``paths`` holds the target of ``pair`` below ``prefix``."""
    for key, path in paths.items():
        if key.startswith(f"{pair['source']}/seed{pair['seed']}/"):
            with store.read(path) as file:
                if prefix + pair["name"] in file:
                    return key
    raise LookupError(f"no file holds {pair['name']} as a target of {pair['source']}")


def training_curves(curves: dict[str, str]) -> pd.DataFrame:
    """All training curves in one table; ``domain`` and ``seed`` come from the names."""
    parts = [pd.DataFrame({"domain": [], "seed": [], "epoch": []})]
    for key, path in curves.items():
        domain, _, seed = key.rpartition("/seed")
        parts.append(read_csv(path, ["epoch"]).assign(domain=domain, seed=int(seed)))
    return pd.concat(parts[1:] or parts, ignore_index=True)
