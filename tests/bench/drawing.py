"""Rows `generate_*` and `perlin_*`: drawing images, beside a loop over noise.pnoise2."""

from pathlib import Path

import numpy as np

from scripts.generate import generate
from shiftgain.domains import perlin
from tests.bench.measure import CORES, row, seconds, talk_domain


def bench_generate(folder: Path) -> dict:
    """10,000 images of 128 x 128 with masks into HDF5, and the field against a loop over noise.pnoise2."""
    import noise

    spec = talk_domain(10_000)
    whole = seconds(lambda: generate({"0.30-0.70": spec}, ["train"], str(folder / "a.h5"), True, CORES))
    options = spec["perlin"]
    origins = np.random.default_rng(0).uniform(0, 200, (200, 2))
    ours = seconds(lambda: perlin.fields(origins, (128, 128), **options)) / len(origins)

    def loop():
        scale, rest = options["scale"], {key: value for key, value in options.items() if key != "scale"}
        x, y = origins[0]
        return [[noise.pnoise2(x + c / scale, y + r / scale, **rest) for c in range(128)] for r in range(128)]

    theirs = seconds(loop)
    difference = np.abs(np.array(loop()) - perlin.fields(origins[:1], (128, 128), **options)[0]).max()
    return {
        "generate_10000_images": row(whole, "s", 2 / whole, "2 s asked for"),
        "perlin_field": row(1000 * ours, "ms per 128 x 128 field, one core", theirs / ours, "loop over noise.pnoise2"),
        "perlin_field_difference": row(float(difference) * 1e6, "1e-6 largest difference to noise.pnoise2"),
    }
