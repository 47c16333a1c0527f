"""Draw domains and write their images and masks: config -> HDF5.

One file holds either one domain to train on, all its splits at the top (``train``, ``validation``, ``adapt``,
``test``), or a shift family to adapt to and to score (``{target}/adapt``, ``{target}/test``).
"""

import logging

import numpy as np

from shiftgain.domains import real, synthetic
from shiftgain.files import job, store
from shiftgain.shifts import transforms


def generate(domains: dict[str, dict], splits: list[str], data_path: str, at_top: bool, workers: int) -> None:
    """Write ``splits`` of every domain (full name -> its spec) to ``data_path``.

    A real series without room for a split asked for is refused when the config is checked, not here.
    """
    with store.create(data_path) as file:
        for name, spec in domains.items():
            group = file if at_top else file.create_group(name)
            store.put_json(group, "domain", spec)
            for line in real.summary(spec) if "look" in spec else []:
                logging.info("%s: %s", spec["name"], line)
            for split in splits:
                write_split(group.create_group(split), name, spec, split, workers)
            logging.info("%s: %s", name, {split: store.count(group[split]) for split in splits})


def write_split(group, name: str, spec: dict, split: str, workers: int) -> None:
    """Append the blocks of one split, transformed; attach the share of pixels at either end of the range.

    Of a real domain, ``name`` in full, attach its row of ``domains.csv`` as ``look``.
    """
    clipped, pixels = 0.0, 0
    counts, low, high = np.zeros(3, np.int64), 255, 0
    # The user's files have no seed: what is done to them is drawn once for all seeds of the study.
    draw = [spec["seed"]] if "seed" in spec else []
    rng = np.random.default_rng(synthetic.entropy(spec["name"], split, spec["transform"], *draw))
    for images, masks in blocks(spec, split, workers):
        images, masks = transforms.apply(spec["transform"], images, masks, spec["level"], rng)
        store.append(group, images, masks)
        clipped += synthetic.clipped_share(images) * images.size
        pixels += images.size
        if "look" in spec:
            low, high = min(low, int(images.min())), max(high, int(images.max()))
        if "look" in spec and masks is not None:
            counts += [np.count_nonzero(masks == value) for value in (0, 1, store.IGNORED)]
    if "look" in spec:
        store.put_json(group, "look", real.row(spec, name, split, store.count(group), counts, (low, high)))
    group.attrs["clipped_share"] = clipped / pixels


def blocks(spec: dict, split: str, workers: int):
    """(images, masks or None) of a split, block by block; of transformations, those of the drawing are done."""
    if "path" in spec:
        return real.blocks(spec["name"], spec, split)
    spec = transforms.drawn(spec)
    return synthetic.blocks(spec, spec["name"], split, spec["images"][split], spec["seed"], workers=workers)


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        generate(
            domains=snakemake.params.domains,
            splits=snakemake.params.splits,
            data_path=snakemake.output.data,
            at_top=snakemake.params.at_top,
            workers=snakemake.threads,
        )
