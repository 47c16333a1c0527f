"""What a study will cost, from slopes that `make bench` measured, or from what its own jobs took before.

Read before Snakemake starts: it must not import torch.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from math import isfinite, nan
from pathlib import Path
from typing import NamedTuple

from shiftgain.study.plan import Study

# What the slopes were measured of: pixels of an image and channels of the first block; pixels and images of a chain.
SLOPE_PIXELS, SLOPE_WIDTH = 32 * 32, 8
CHAIN_PIXELS, CHAIN_IMAGES = 48 * 48, 96
# Stages that one row of `make bench`, growth_chain, measures together.
CHAIN = ("adapt", "evaluate", "latents", "distances", "score")
# Methods besides keeping the network that growth_chain and growth_rehearse measured.
MEASURED_METHODS = 4
# What growth_rehearse measured: pieces of a target, and pixels of a piece.
REHEARSED_PIECES, REHEARSED_PIXELS = 6, 48 * 48
# Pairs up to which stages tabulate and predict cost what they cost at this many: folds, and not pairs, cost most.
TABLE_PAIRS = 512


class Cost(NamedTuple):
    """Of one job of a rule: ``seconds`` of one core, None where nothing was measured, and where the number is from."""

    seconds: float | None
    origin: str


def slopes(path: Path) -> dict[str, float]:
    """Row -> value of ``bench.json``; empty without the file."""
    return {name: row["value"] for name, row in json.loads(path.read_text()).items()} if path.is_file() else {}


def costs(study: Study, measured: dict[str, float], benchmarks: Path) -> dict[str, Cost]:
    """Rule -> :class:`Cost` of one of its jobs, the mean over them.

    Of a rule with files in ``benchmarks``, <results>/benchmarks of the same study, the mean of what its jobs took; else
    what the slopes ``measured`` give (docs/scale.md), where they have its rows; else unknown.
    """
    before = {rule: Cost(sum(times) / len(times), "its last run") for rule, times in _taken(benchmarks)}
    planned = _by_slopes(study, defaultdict(lambda: nan, measured))
    return {rule: Cost(seconds, "slopes") for rule, seconds in planned.items() if isfinite(seconds)} | before


def disk(study: Study, measured: dict[str, float]) -> float | None:
    """Bytes of images, masks, statistics and latents of a whole study, in proportion to pixels; None without slopes."""
    if not measured:
        return None
    share = _pixels(study) * _target_images(study) / (CHAIN_PIXELS * CHAIN_IMAGES)
    families = sum(len(study.targets_of[family]) * len(study.families[family].seeds) for family in study.families)
    images = families * measured["growth_disk_family"] * share
    trained = len(study.trained_domains) * len(study.seeds) * _pixels(study) / SLOPE_PIXELS
    images += trained * measured["growth_disk_image"] * sum(study.config["generate"]["images"].values())
    kept = sum(len(study.targets_of[family]) for _, _, family in study.jobs) * measured["growth_disk_target"]
    return 1024 * (images + kept * _methods(study))


def _by_slopes(study: Study, measured: dict[str, float]) -> dict[str, float]:
    start, images = measured["grain_start"], study.config["generate"]["images"]
    scale = _pixels(study) / SLOPE_PIXELS
    targets = sum(len(study.targets_of[family]) for _, _, family in study.jobs) / max(1, len(study.jobs))
    in_family = sum(map(len, study.targets_of.values())) / max(1, len(study.targets_of))
    drawn = scale * measured["growth_generate_slope"] / 1000
    chain = measured["growth_chain_slope"] / 1000 * targets / len(CHAIN)
    chain *= _pixels(study) * _target_images(study) / (CHAIN_PIXELS * CHAIN_IMAGES) * _methods(study)
    width = (study.config["model"]["width"] / SLOPE_WIDTH) ** 2
    epoch = scale * width * measured["growth_epoch_slope"] / 1000 * images.get("train", 0)
    pairs = sum(len(study.targets_of[family]) for _, _, family in study.jobs)
    more = measured["growth_tables_slope"] / 1000 * max(0, pairs - TABLE_PAIRS)
    return {
        "generate": start + drawn * sum(images.values()),
        "generate_targets": start + drawn * in_family * _target_images(study),
        "train": start + epoch * study.config["train"]["epochs"],
        "predict": start + measured[f"growth_tables_{TABLE_PAIRS}"] + more,
        "rehearse": start + _rehearsed(study) * max(1.0, width) * measured["growth_rehearse_slope"] / 1000,
        **dict.fromkeys(CHAIN, start + chain * max(1.0, width)),
    }


def _methods(study: Study) -> float:
    """Methods of a job on average, the network as it is among them, over those that the slopes were measured of."""
    numbers = [len(study.methods(family)) + 1 for _, _, family in study.jobs]
    return sum(numbers) / max(1, len(numbers)) / (MEASURED_METHODS + 1)


def _rehearsed(study: Study) -> float:
    """Targets that a source rehearses, in those of growth_rehearse: by their actions and pixels; 0 without a source."""
    options, sources = study.config["rehearse"], {source for source, _ in study.pairs}
    actions = sum(len(study.actions_of(source)) for source in sources) / max(1, len(sources))
    side = min(options["side"], *study.config["generate"]["size"])
    pixels = options["pieces"] * side**2 / (REHEARSED_PIECES * REHEARSED_PIXELS)
    return options["targets"] * (actions + 1) / (MEASURED_METHODS + 1) * pixels


def _taken(benchmarks: Path) -> Iterator[tuple[str, list[float]]]:
    """(rule, wall seconds of its jobs) of the benchmark files of a study."""
    for entry in sorted(benchmarks.glob("*")) if benchmarks.is_dir() else []:
        paths = [entry] if entry.suffix == ".tsv" else sorted(entry.rglob("*.tsv"))
        times = [float(row["s"]) for path in paths for row in csv.DictReader(path.open(), delimiter="\t") if row["s"]]
        if times:
            yield entry.stem, times


def _pixels(study: Study) -> int:
    rows, columns = study.config["generate"]["size"]
    return rows * columns


def _target_images(study: Study) -> int:
    images = study.config["generate"]["images"]
    return images["adapt"] + images["test"]
