"""Activations inside the network, summarised while they pass: sampled rows and exact moments.

One row is one spatial position of one image (unit ``position``) or the mean over the positions of one image (unit
``image``). Nothing grows with the number of images but the rows kept. Of each tile the core alone is looked at, and of
that the positions that count (:func:`shiftgain.network.tiles.counted_at`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from shiftgain.network.adopted import Adopted
from shiftgain.network.tiles import Tile, core_at, counted_at, grid_at, place_at
from shiftgain.network.unet import UNet


def halves(n_images: int, draws: int, seed: int) -> np.ndarray:
    """Which images are in the first of two random halves, bool (draws, n_images); the others are in the second.

    Of an odd number of images the second half has one more.
    """
    first = np.tile(np.arange(n_images) < n_images // 2, (draws, 1))
    return np.random.default_rng(seed).permuted(first, axis=1)


class Moments:
    """Mean and covariance of rows (r, C) that come in parts."""

    def __init__(self) -> None:
        self.n = 0
        self.shift: Tensor | None = None
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Take in rows float (r, C)."""
        if not len(rows):
            return
        if self.shift is None or self.first is None or self.second is None:
            channels = rows.shape[1]
            # Sums about a value near the mean: no cancellation in the variance of a channel far from zero.
            self.shift = rows.mean(0)
            self.first = torch.zeros(channels, dtype=torch.float64, device=rows.device)
            self.second = torch.zeros(channels, channels, dtype=torch.float64, device=rows.device)
        rows = rows - self.shift
        self.n += len(rows)
        self.first += rows.sum(0, dtype=torch.float64)
        self.second += (rows.T @ rows).double()

    def arrays(self) -> dict[str, np.ndarray]:
        """``mean`` float64 (C,), ``covariance`` float32 (C, C), unbiased."""
        if self.shift is None or self.first is None or self.second is None:
            raise ValueError("a summary of no images")
        mean = self.first / self.n
        covariance = (self.second - self.n * torch.outer(mean, mean)) / max(1, self.n - 1)
        return {"mean": (mean + self.shift).cpu().numpy(), "covariance": covariance.float().cpu().numpy()}


class OfPositions:
    """Rows (sampled) and moments (exact) over the positions of one layer, filled tile by tile by :meth:`add`."""

    def __init__(self, rows_per_image: int, stream: int):
        self.rows_per_image, self.stream = rows_per_image, stream
        self.moments = Moments()
        self.rows: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        self.counted: np.ndarray | None = None

    def add(self, tile: Tile, activation: Tensor) -> None:
        """Take in what the layer made of a tile (n, C, h, w)."""
        size = activation.shape[-2:]
        if tile.begun:
            self._begin(tile, size, activation.shape[1])
        inside, place = core_at(tile, size), place_at(tile, size)
        positions = activation[:, :, *inside].permute(0, 2, 3, 1).float()
        first, stop = np.array([[part.start, part.stop] for part in place]).T[:, :, None]
        for rows, places, image in zip(self.rows[-len(tile.numbers) :], self.places, positions, strict=True):
            within = ((first <= places) & (places < stop)).all(axis=0)
            down, across = torch.from_numpy(places[:, within] - first).to(image.device)
            rows[within] = image[down, across].cpu().numpy()
        if self.counted is None:
            self.moments.add(positions.reshape(-1, positions.shape[-1]))
        else:
            self.moments.add(positions[torch.from_numpy(self.counted[:, place[0], place[1]]).to(positions.device)])

    def _begin(self, tile: Tile, size: Sequence[int], channels: int) -> None:
        """Draw the positions of the rows of the next images, (2, rows) each, in the order of the layer's grid."""
        self.counted, self.places = counted_at(tile, size), []
        height, width = grid_at(tile, size)
        for k, number in enumerate(tile.numbers):
            per_row = np.full(height, width) if self.counted is None else self.counted[k].sum(1)
            total = int(per_row.sum())
            chosen = np.random.default_rng((self.stream, number)).choice(
                total, min(total, self.rows_per_image), replace=False
            )
            ranks = np.sort(chosen)
            # The r-th position that counts: its row by the counts of the rows, its column by those in the row.
            ends = np.cumsum(per_row)
            down = np.searchsorted(ends, ranks, side="right")
            across = ranks - (ends - per_row)[down]
            if self.counted is not None:
                across = np.array(
                    [np.flatnonzero(self.counted[k, row])[rank] for row, rank in zip(down, across, strict=True)], int
                )
            self.places.append(np.stack([down, across]))
            self.rows.append(np.empty((len(ranks), channels), np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """``rows`` float32 (r, C), and the :class:`Moments`."""
        return {"rows": np.concatenate(self.rows), **self.moments.arrays()}


class OfImages:
    """One row for each image, the mean over the positions of a layer, and the moments of these rows."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.rows: list[np.ndarray] = []
        self.counted: np.ndarray | None = None
        self.total: Tensor | None = None

    def add(self, tile: Tile, activation: Tensor) -> None:
        """Take in what the layer made of a tile (n, C, h, w)."""
        size = activation.shape[-2:]
        positions = activation[:, :, *core_at(tile, size)].float()
        if tile.begun:
            self.counted, self.total = counted_at(tile, size), None
        if self.counted is not None:
            rows, columns = place_at(tile, size)
            counted = torch.from_numpy(self.counted[:, rows, columns]).to(positions.device)
            positions = positions * counted.unsqueeze(1)
        total = positions.sum((2, 3), dtype=torch.float64)
        self.total = total if self.total is None else self.total + total
        if tile.ends:
            height, width = grid_at(tile, size)
            n = np.full(len(total), height * width) if self.counted is None else self.counted.sum((1, 2))
            some = torch.from_numpy(n > 0).to(total.device)
            means = (self.total / torch.from_numpy(n.clip(1)).to(total.device)[:, None])[some].float()
            self.rows.append(means.cpu().numpy())
            self.moments.add(means)

    def arrays(self) -> dict[str, np.ndarray]:
        """``rows`` float32 (r, C), and the :class:`Moments`."""
        return {"rows": np.concatenate(self.rows), **self.moments.arrays()}


def summarise(
    network: UNet,
    tiles: Iterable[Tile],
    n_images: int,
    layers: list[str],
    activations: list[str],
    units: list[str],
    rows: int,
) -> dict[str, dict[str, np.ndarray]]:
    """:func:`summarise_parts` of one part, all of the images."""
    return summarise_parts(network, tiles, [np.ones(n_images, bool)], layers, activations, units, rows)[0]


def summarise_parts(
    network: UNet,
    tiles: Iterable[Tile],
    parts: list[np.ndarray],
    layers: list[str],
    activations: list[str],
    units: list[str],
    rows: int,
) -> list[dict[str, dict[str, np.ndarray]]]:
    """``layer/activation/unit`` -> rows and moments of :class:`OfPositions` or :class:`OfImages`, of each of ``parts``.

    One forward pass. A part says of each image whether it is taken, bool (n,), and takes one at least. Of each part
    ``rows`` are kept in all, the same number and positions from each image whatever the domain and the tiles (fewer
    where the layer has fewer positions that count, and of unit ``image`` one from each). ``before_relu`` is what the
    second ReLU of the block receives: the output of batch norm. Of a layer where no position of a part counts there is
    no summary. Memory: moments (C, C) and rows of each part.
    """
    per_image = [-(-rows // int(part.sum())) for part in parts]
    summaries = {
        f"{layer}/{activation}/{unit}": [
            OfPositions(n, stream) if unit == "position" else OfImages() for n in per_image
        ]
        for stream, layer in enumerate(layers)
        for activation in activations
        for unit in units
    }

    def take(name: str, activation: Tensor) -> None:
        for part, summary in zip(parts, summaries[name], strict=True):
            inside = part[tile.numbers]
            if inside.all():
                summary.add(tile, activation)
            elif inside.any():
                summary.add(tile.only(inside), activation[torch.from_numpy(inside).to(activation.device)])

    with torch.inference_mode(), hooked(network, summaries, take):
        for tile in tiles:
            network(tile.images)
    return [
        {name: of_parts[k].arrays() for name, of_parts in summaries.items() if of_parts[k].moments.n}
        for k in range(len(parts))
    ]


@contextmanager
def hooked(network: UNet, names: Iterable[str], take: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Hand each ``layer/activation/...`` of ``names`` to ``take``, name and activation (n, C, h, w), at every pass."""
    hooks = []
    for name in names:
        layer, activation = name.split("/")[:2]
        if isinstance(network, Adopted):
            watched = network.watched(layer, activation)
            hooks.append(watched.register_forward_hook(lambda _, __, given, name=name: take(name, given)))
            continue
        relu = network.get_submodule(f"{layer}.relu2")
        if activation == "before_relu":
            hooks.append(relu.register_forward_pre_hook(lambda _, taken, name=name: take(name, taken[0])))
        else:
            hooks.append(relu.register_forward_hook(lambda _, __, given, name=name: take(name, given)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
