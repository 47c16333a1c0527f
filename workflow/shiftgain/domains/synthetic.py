"""Synthetic domains: masks from thresholded Perlin noise, filled with white Gaussian noise.

A domain is a dict; its grey levels run from 0 (black) to 1 (white):

    size: [rows, columns]        channels: 1 or 3
    means: [mask, background]    each a number, or three for 3 channels
    noise: {mask_sd, background_sd, correlation}         correlation: px, may be left out; see :func:`_correlated`
    perlin: {octaves, persistence, lacunarity, scale}    see :mod:`shiftgain.domains.perlin`
    threshold or foreground: mask where the height map exceeds this value, or expected share of mask pixels
    masks: own (or left out), or shared with all domains that differ from this one in grey levels alone
    foreground_spread: deviation between images of the logit of that share; may be left out, see :func:`_limits`

Images are drawn in blocks. The masks of a block come from a random stream of (seed, domain, split, block), without the
domain where they are shared; its noise from one of (seed, domain, split, block, channel). Neither depends on threads or
on other domains, and two domains are independent draws unless they share their masks.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from shiftgain.domains import perlin
from shiftgain.files.errors import StudyError

BLOCK_IMAGES = 256
BLOCK_PIXELS = 2**22
PART_PIXELS = 2**18  # what a thread works on at a time: it fits the cache, and one draw gives 4 pixels
# Quantiles (u + 1/2) / 2**16 of the standard normal distribution; SciPy has them too but is slow to import.
_LOWER = np.array([NormalDist().inv_cdf((u + 0.5) / 2**16) for u in range(2**15)])
NORMAL = np.concatenate([_LOWER, -_LOWER[::-1]])


def blocks(
    spec: dict, name: str, split: str, n: int, seed: int, workers: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first ``n`` images of a split of domain ``name``, in blocks of at most :data:`BLOCK_IMAGES`.

    Yields images uint8 (b, rows, columns), or (b, rows, columns, 3) for 3 channels, and masks uint8 0/1
    (b, rows, columns). ``workers`` threads draw ahead of the reader, one block each.

    Errors: :class:`StudyError` naming the key of ``spec`` that is at fault.
    """
    rows, columns = spec["size"]
    step = max(1, min(BLOCK_IMAGES, BLOCK_PIXELS // (rows * columns)))
    limit, levels = threshold(spec), grey_levels(spec)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for number, start in enumerate(range(0, n, step)):
            count = min(step, n - start)
            waiting.append(pool.submit(_block, spec, limit, levels, count, name, seed, split, number))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def threshold(spec: dict) -> float:
    """Height above which a pixel is mask: ``threshold``, or what ``foreground`` asks for.

    Errors: :class:`StudyError` unless exactly one of the two is given.
    """
    given = [key for key in ("threshold", "foreground") if spec.get(key) is not None]
    if len(given) != 1:
        raise StudyError("threshold, foreground: give exactly one of the two")
    if given == ["threshold"]:
        if spec.get("foreground_spread"):
            raise StudyError("foreground_spread: there is no share to spread about; give foreground, not threshold")
        return float(spec["threshold"])
    foreground = spec["foreground"]
    if not 0 < foreground < 1:
        raise StudyError(f"foreground: {foreground} is not between 0 and 1; give a share of the pixels")
    return float(np.quantile(_sample(spec["perlin"]), 1 - foreground))


def _sample(options: dict) -> np.ndarray:
    """Heights (131072) of a pixel, whose quantiles are thresholds (standard error of a share: 0.0014)."""
    return _sample_of(options["octaves"], options["persistence"], options["lacunarity"])


@lru_cache
def _sample_of(octaves: int, persistence: float, lacunarity: float) -> np.ndarray:
    """Heights more than four lattice cells apart and so nearly independent, from a fixed stream.

    The distribution of a height does not depend on the scale.
    """
    options = {"octaves": octaves, "persistence": persistence, "lacunarity": lacunarity, "scale": 0.23}
    return np.sort(_heights(options, (16, 16), 512, "quantile"), axis=None)


def _limits(spec: dict, limit: float, n: int, *parts: str | int) -> np.ndarray | float:
    """Height above which a pixel is mask, float32 (n, 1, 1) where images differ in their share, else ``limit``.

    logit(share) = logit(foreground) + foreground_spread x N, N a standard normal of each image from the stream of
    ``parts``, the same one at every spread.
    """
    spread = spec.get("foreground_spread", 0)
    if not spread:
        return limit
    logits = np.log(spec["foreground"] / (1 - spec["foreground"]))
    logits = logits + spread * NORMAL[_bits(np.random.SFC64(entropy("shares", *parts)), n)]
    return np.quantile(_sample(spec["perlin"]), 1 / (1 + np.exp(logits))).astype(np.float32).reshape(-1, 1, 1)


def grey_levels(spec: dict) -> np.ndarray:
    """Tables uint8 (channels, 2**17) of a pixel's grey level by 16 random bits, first background, then mask.

    Inversion (Devroye, Non-Uniform Random Variate Generation, 1986, II.2): the table holds the quantiles
    (u + 1/2) / 2**16 of the normal distribution, clipped to [0, 1] and rounded to 8 bits. Probabilities
    are exact to 2**-16, and no pixel lies more than 4.2 standard deviations off.

    Errors: :class:`StudyError` naming the key of ``spec`` that is at fault.
    """
    channels = spec["channels"]
    tables = []
    for place, role in ((1, "background"), (0, "mask")):
        means, sd = np.atleast_1d(spec["means"][place]), spec["noise"][f"{role}_sd"]
        if len(means) not in (1, channels):
            raise StudyError(f"means: {len(means)} for the {role}, but channels: {channels}; give 1 or {channels}")
        if means.min() < 0 or means.max() > 1:
            raise StudyError(f"means: {spec['means'][place]} is no grey level; give 0 (black) to 1 (white)")
        if not sd >= 0:
            raise StudyError(f"noise.{role}_sd: {sd} is below 0; give 0 or more")
        tables.append([_quantised(mean, sd) for mean in np.broadcast_to(means, channels)])
    return np.concatenate(tables, axis=1)


def _quantised(mean: float, sd: float) -> np.ndarray:
    return np.rint(255 * (mean + sd * NORMAL).clip(0, 1)).astype(np.uint8)


def clipped_share(images: np.ndarray) -> float:
    """Share of the values in uint8 ``images`` at either end of their range, 0 or 255."""
    # 0 wraps to 255, so that one comparison finds both.
    return np.count_nonzero(images - np.uint8(1) >= 254) / images.size


def entropy(*parts: str | int | float) -> int:
    """A seed of 256 bits from ``parts``, the same in every run and on every machine."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest())


def _block(
    spec: dict, limit: float, levels: np.ndarray, n: int, name: str, seed: int, split: str, number: int
) -> tuple[np.ndarray, np.ndarray]:
    owner = [] if spec.get("masks") == "shared" else [name]
    limits = _limits(spec, limit, n, seed, split, number, *owner)
    masks = (_heights(spec["perlin"], spec["size"], n, "masks", seed, split, number, *owner) > limits).view(np.uint8)
    flat = masks.reshape(-1)
    values = np.empty((flat.size, len(levels)), np.uint8)
    for channel, table in enumerate(levels):
        stream = np.random.SFC64(entropy("noise", seed, split, number, name, channel))
        correlation = spec["noise"].get("correlation", 0)
        ranks = _correlated(_bits(stream, flat.size).reshape(masks.shape), correlation).ravel() if correlation else None
        for start in range(0, flat.size, PART_PIXELS):
            part = slice(start, start + PART_PIXELS)
            index = flat[part] * np.uint32(2**16)
            index |= _bits(stream, index.size) if ranks is None else ranks[part]
            values[part, channel] = table.take(index)
    images = values.reshape(*masks.shape, -1)
    return images if len(levels) > 1 else images[..., 0], masks


def _bits(stream: np.random.SFC64, n: int) -> np.ndarray:
    """``n`` uniform draws, uint16."""
    return stream.random_raw(-(-n // 4)).view(np.uint16)[:n]


def _correlated(bits: np.ndarray, sd: float) -> np.ndarray:
    """Uniform draws uint16 (n, rows, columns) made alike to their neighbours, each one still uniform.

    The normal quantiles of ``bits`` are smoothed by a Gaussian of ``sd`` px, periodic over the image, scaled back to
    unit variance, and turned into ranks again: with them each class keeps its distribution of grey levels exactly.
    """
    from scipy import ndimage, special

    point = np.zeros(bits.shape[1:])
    point[0, 0] = 1
    kernel = ndimage.gaussian_filter(point, sd, mode="wrap")
    field = ndimage.gaussian_filter(NORMAL[bits], sd, mode="wrap", axes=(1, 2))
    field /= np.sqrt((kernel**2).sum())
    return (special.ndtr(field) * (2**16 - 1e-6)).astype(np.uint16)


def _heights(options: dict, size: tuple[int, int], n: int, *parts: str | int) -> np.ndarray:
    """Height maps float32 (n, rows, columns) at random origins, from the stream of ``parts``."""
    draws = np.random.SFC64(entropy(*parts)).random_raw(3 * n).reshape(n, 3)
    # 53 bits make a float in [0, 512): two periods of the table of gradients.
    return perlin.fields((draws[:, :2] >> 11) / 2**44, size, base=draws[:, 2] >> 56, **options)
