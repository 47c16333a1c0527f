"""Draw domains and write their images and masks: config -> HDF5.

One file holds either one domain to train on, all its splits at the top (``train``, ``validation``, ``adapt``,
``test``), or a shift family to adapt to and to score (``{target}/adapt``, ``{target}/test``).
"""

import logging
from collections.abc import Collection
from hashlib import sha256

import numpy as np

from shiftgain.domains import real, splits, synthetic
from shiftgain.files import job, store
from shiftgain.shifts import transforms


def generate(domains: dict[str, dict], splits: list[str], data_path: str, at_top: bool, workers: int) -> None:
    """Write ``splits`` of every domain (full name -> its spec) to ``data_path``.

    A real series lacks a split for which it has no room or no masks; where that is needed, the check of the config has
    refused it.
    """
    with store.create(data_path) as file:
        for name, spec in domains.items():
            group = file if at_top else file.create_group(name)
            store.put_json(group, "domain", spec)
            for line in real.summary(spec) if "look" in spec else []:
                logging.info("%s: %s", spec["name"], line)
            for split in [split for split in splits if split in available(spec)]:
                write_split(group.create_group(split), name, spec, split, workers)
            logging.info("%s: %s", name, {split: store.count(group[split]) for split in group})


def available(spec: dict) -> Collection[str]:
    """Splits that a domain has."""
    return real.parts(spec["name"], spec, seen(spec)) if "look" in spec else splits.SPLITS


def seen(spec: dict) -> dict:
    """What the check of the config saw of a real domain."""
    return spec["look"] | {"has_masks": spec["rule"] is not None}


def write_split(group, name: str, spec: dict, split: str, workers: int) -> None:
    """Append the blocks of one split, transformed; attach the share of pixels at either end of the range, and a digest.

    Of a real domain, ``name`` in full, attach its row of ``domains.csv`` as ``look``, and as ``trained_on`` the places
    in the split of images that networks have seen: domain trained on -> numbers in the order of the file.
    """
    clipped, pixels = 0.0, 0
    digests = sha256(), sha256()
    order: dict[tuple[int, ...], list[int]] = {}
    count = 0
    counts, low, high = np.zeros(3, np.int64), 255, 0
    # The user's files have no seed: what is done to them is drawn once for all seeds of the study.
    draw = [spec["seed"]] if "seed" in spec else []
    rng = np.random.default_rng(synthetic.entropy(spec["name"], split, spec["transform"], *draw))
    for images, masks in blocks(spec, split, workers):
        images, masks = transforms.apply(spec["transform"], images, masks, spec["level"], rng)
        store.append(group, images, masks)
        order.setdefault(images.shape[1:], []).extend(range(count, count + len(images)))
        count += len(images)
        for digest, arrays in zip(digests, (images, masks), strict=True):
            digest.update(b"" if arrays is None else arrays.tobytes())
        clipped += synthetic.clipped_share(images) * images.size
        pixels += images.size
        if "look" in spec:
            low, high = min(low, int(images.min())), max(high, int(images.max()))
        if "look" in spec and masks is not None:
            counts += [np.count_nonzero(masks == value) for value in (0, 1, store.IGNORED)]
    if "look" in spec:
        store.put_json(group, "look", real.row(spec, name, split, count, counts, (low, high)))
        numbers = real.parts(spec["name"], spec, seen(spec))[split]
        places = [numbers[place] for places in order.values() for place in places]
        trained_on = {
            other: [place for place, number in enumerate(places) if any(a <= number < b for a, b in spans)]
            for other, spans in spec.get("trained_on", {}).items()
        }
        for other in [other for other, own in trained_on.items() if split == "adapt" and len(own) == count]:
            logging.info("%s: networks of %s were trained on all that they adapt to", name, other)
        store.put_json(group, "trained_on", trained_on)
    store.put_json(group, "digest", [digest.hexdigest() for digest in digests])
    group.attrs["clipped_share"] = clipped / pixels


def blocks(spec: dict, split: str, workers: int):
    """(images, masks or None) of a split, block by block; of transformations, those of the drawing are done."""
    if "path" in spec:
        return real.blocks(spec["name"], spec, split)
    spec = transforms.drawn(spec)
    return synthetic.blocks(spec, spec["name"], split, spec["images"][split], spec["seed"], workers=workers)


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        generate(
            domains=snakemake.params.domains,
            splits=snakemake.params.splits,
            data_path=snakemake.output.data,
            at_top=snakemake.params.at_top,
            workers=snakemake.threads,
        )
