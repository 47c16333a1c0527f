"""Rows `page_*`: what a page of 720 and of 10,000 pairs weighs, and how long a browser takes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.draw import draw
from scripts.report import report
from shiftgain.report import atlas as gather
from shiftgain.report import cards, thumbnails
from shiftgain.study.names import KEY, PAIR
from tests.bench.measure import row
from tests.browser import browser, missing, show
from tests.made_up import spec_of, two_sources

METHODS = ["balanced", "turned", "turned_balanced"]
LAYERS = ["encoder1", "bottleneck"]
DISTANCES = ["wasserstein", "wasserstein_diagonal", "sliced_wasserstein", "bhattacharyya", "bhattacharyya_diagonal"]
# pairs -> sources, grey levels of the means of the targets, transforms
STUDIES = {720: (3, 5, 12), 10_000: (5, 11, 19)}
# Asked of the page, in milliseconds, by number of pairs: to be painted first, and to answer a click.
LIMITS = {720: (1000, 100), 10_000: (3000, 3000)}
SIDE = 48


def made_up_atlas(n_pairs: int) -> dict:
    """An atlas of ``n_pairs`` pairs with random numbers, and pictures of the size of the default study's."""
    rng = np.random.default_rng(0)
    n_sources, n_means, n_shifts = STUDIES[n_pairs]
    means = itertools.permutations(np.linspace(0.05, 0.95, n_means), 2)
    targets = [f"{mask:.2f}-{background:.2f}" for mask, background in means]
    shifts = [("identity", 0.0), *(("brightness", round(0.01 * k, 2)) for k in range(1, n_shifts))]
    places = list(itertools.product(targets[:n_sources], targets, shifts))[:n_pairs]
    rows = pd.DataFrame([(source, target, *shift) for source, target, shift in places], columns=PAIR)
    iou = rng.uniform(0, 1, (2 + len(METHODS), n_pairs))
    rows = rows.assign(seed=0, seeds=1, name=rows["target"], home=False, method="batchnorm", polarity="kept")
    rows = rows.assign(condition=rng.choice(["polarity", "share"], n_pairs), own_iou=0.95, iou_before=iou[0])
    rows = rows.assign(iou_after=iou[1], iou_batchnorm=iou[1], pixel_ceiling=0.9, true_foreground=0.3)
    rows = rows.assign(**{f"iou_{name}": values for name, values in zip(METHODS, iou[2:], strict=True)})
    gain = (iou[1] - iou[0] + rng.normal(0, 0.2, n_pairs)).clip(-1, 1)
    scores = rng.choice(list(cards.LOOKED_AT), (n_pairs, 3))
    drivers = [f"{one} = 0.50 (+0.10); {two} = 0.20 (-0.10); {three} = 0.30 (+0.01)" for one, two, three in scores]
    advice = rows[KEY].assign(expected_before=iou[0], expected_after=iou[1], gain=gain, gain_low=gain - 0.1)
    advice = advice.assign(
        gain_high=gain + 0.1, action="batchnorm", decision=np.where(gain > 0, "batchnorm", "keep"), drivers=drivers
    )
    columns = list(itertools.product(LAYERS, ("before", "after"), DISTANCES))
    parts = [
        rows[PAIR].assign(layer=layer, state=state, distance=name, value=rng.uniform(0, 2, n_pairs), null=0.1)
        for layer, state, name in columns
    ]
    specs = {
        name: spec_of("0.30-0.70") | {"name": name, "means": list(map(float, name.split("-")))} for name in targets
    }
    said = gather.contents(rows, advice.assign(warning=""), pd.concat(parts), specs, LAYERS, METHODS)
    return said | made_up_pictures(rows, rng) | {"cards": []}


def made_up_pictures(rows: pd.DataFrame, rng: np.random.Generator) -> dict:
    """What :func:`atlas.gathered` would give: as many of ``rows`` as have room."""
    pool: list[str] = []
    images: dict[tuple, list[int]] = {}
    shown, spent = {}, 0

    def place(text: str) -> int:
        pool.append(text)
        return len(pool) - 1

    for number in gather.spread(rows):
        key = tuple(rows.iloc[number][["target", "transform", "level"]])
        if key not in images:
            noise = rng.normal(128, 40, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
            images[key] = [place(thumbnails.image(noise)), place(thumbnails.mask(blobs(rng)))]
        predicted = {name: place(thumbnails.mask(blobs(rng))) for name in ("kept", "batchnorm", *METHODS)}
        texts = [rng.normal(size=200) for _ in range(3)]
        histograms = [[layer, [[k, 0.1, *_flat(thumbnails.histograms(texts))] for k in range(3)]] for layer in LAYERS]
        entry = {"image": images[key][0], "mask": images[key][1], "predicted": predicted, "latents": histograms}
        spent += len(repr(entry))
        if spent + sum(map(len, pool)) > gather.PICTURE_CHARACTERS:
            break
        shown[str(number)] = entry
    return {"pool": pool, "shown": shown}


def blobs(rng: np.random.Generator) -> np.ndarray:
    """A mask of a few squares."""
    return np.kron(rng.integers(0, 2, (6, 6), dtype=np.uint8), np.ones((SIDE // 6, SIDE // 6), np.uint8))


def _flat(found: tuple[float, float, list[str]]) -> list:
    low, high, texts = found
    return [round(low, 2), round(high, 2), *texts]


CLICK = """
const done = arguments[0], cells = [...document.querySelectorAll("td.cell")], times = [];
(function next(k) {
  if (k === 9) return done(times.sort((a, b) => a - b)[4]);
  const start = performance.now();
  cells[Math.floor((k * cells.length) / 9)].click();
  requestAnimationFrame(() => setTimeout(() => { times.push(performance.now() - start); next(k + 1); }));
})(0);
"""


def bench_page(folder: Path) -> dict:
    """Bytes of the page, and in a browser the first paint and the median of nine clicks until the next frame is out."""
    if missing():
        print(f"page: {missing()}")
        return {}
    drawn, written = two_sources(folder)
    draw(**drawn)
    rows = {}
    with browser() as driver:
        for n_pairs in STUDIES:
            Path(written["atlas_path"]).write_text(json.dumps(made_up_atlas(n_pairs), separators=(",", ":")))
            report(**written)
            path = Path(written["page_path"])
            show(driver, path)
            paint = "return performance.getEntriesByType('paint')[0].startTime"
            times = {"paint": driver.execute_script(paint), "click": driver.execute_async_script(CLICK)}
            size = path.stat().st_size / 2**20
            rows[f"page_{n_pairs}_size"] = row(size, f"MiB, page of {n_pairs} pairs", size / 5, "5 MiB asked for")
            for (name, value), limit in zip(times.items(), LIMITS[n_pairs], strict=True):
                what = {"paint": "ms to the first paint", "click": "ms from a click to the next frame"}[name]
                rows[f"page_{n_pairs}_{name}"] = row(
                    value, f"{what}, {n_pairs} pairs", value / limit, f"{limit} ms asked for"
                )
    return rows
