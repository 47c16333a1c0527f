"""Large images in tiles: what a network says of a tile's core is what it says of the same place of the whole image.

A tile is a core and a halo around it, as wide as the network sees; where the image itself ends, the tile ends too, and
is padded as the whole image would be. Small images are tiles as they are, a batch of them together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shiftgain.network.unet import pad, to_input

# An image above this is cut, and so many pixels a tile has at most, halo included: 1024 x 1024. A network of width 8
# holds 32 MiB then for each activation at full size; smaller tiles would be halo for the most part.
TILE_PIXELS = 2**20
# Rows of an image whose powers are summed at a time.
MOMENT_ROWS = 256
# Added to the standard deviation of an image: BioImage.IO's epsilon of zero_mean_unit_variance, for images 0 to 255.
SMALLEST_SD = 1e-6 / 255
# Two 3 x 3 convolutions: how far a block of the network sees, in positions of its own grid.
BLOCK_REACH = 2

Slices = tuple[slice, slice]


class Frame(NamedTuple):
    """What a network asks of its tiles: sides that are multiples of ``cell``, and ``halo``, as far as it sees beyond.

    ``each``: what of every image is brought to mean 0 and variance 1 by itself before the network sees it: ``image``,
    its channels together, or every ``channel``, or nothing.
    """

    cell: int
    halo: int
    each: str = ""


# The depth of a U-Net, from which its frame follows, or the frame of another network.
Depth = int | Frame


class Tile(NamedTuple):
    """``images`` float (n, channels, h, w): core, halo and padding; h and w are multiples of the frame's cell.

    ``core``: rows and columns of ``images`` that the tile answers for, neither halo nor padding. ``at``: the same core
    in the whole images, of ``size`` (H, W). ``numbers``: which images these are, of those that are iterated over.
    ``counted`` boolean (n, H, W): the pixels of the whole images that count, None where all do.
    """

    images: Tensor
    core: Slices
    at: Slices
    size: tuple[int, int]
    numbers: Sequence[int]
    counted: np.ndarray | None = None

    def only(self, inside: np.ndarray) -> "Tile":
        """The same of those images alone that are ``inside``, boolean (n,)."""
        images = self.images[torch.from_numpy(inside).to(self.images.device)]
        numbers = [number for number, taken in zip(self.numbers, inside, strict=True) if taken]
        counted = None if self.counted is None else self.counted[inside]
        return self._replace(images=images, numbers=numbers, counted=counted)

    @property
    def begun(self) -> int:
        """How many images begin with this tile: of the tiles of an image, the first alone counts."""
        return len(self.numbers) if self.at[0].start == self.at[1].start == 0 else 0

    @property
    def ends(self) -> bool:
        """Whether this is the last tile of its images."""
        return (self.at[0].stop, self.at[1].stop) == self.size


class Cut(NamedTuple):
    """Of one side of an image: ``outer``, core and halo; ``core`` counted from the start of ``outer``; ``at``, core."""

    outer: slice
    core: slice
    at: slice


@dataclass(frozen=True)
class Tiled:
    """The tiles of a batch of images, image by image where they are large; may be iterated as often as wanted.

    ``images`` as stored, uint8 (n, H, W) or (n, H, W, 3), or float (n, channels, H, W); ``numbers``: one for each;
    ``depth``: :data:`Depth` of the network. ``counted``: as in :class:`Tile`. Images above ``pixels``, or
    else :data:`TILE_PIXELS`, are cut.
    """

    images: np.ndarray | Tensor
    numbers: range
    depth: Depth
    device: torch.device
    counted: np.ndarray | None = None
    pixels: int | None = None

    def __iter__(self) -> Iterator[Tile]:
        height, width = self.images.shape[2:4] if isinstance(self.images, Tensor) else self.images.shape[1:3]
        pixels = self.pixels or TILE_PIXELS
        longest = isqrt(min(pixels, TILE_PIXELS)) if height * width > pixels else None
        frame = frame_of(self.depth)
        moments = _moments(self.images, frame.each, self.device) if frame.each else None
        for rows in cuts(height, frame, longest):
            for columns in cuts(width, frame, longest):
                core, at = (rows.core, columns.core), (rows.at, columns.at)
                part = self._part(rows.outer, columns.outer)
                if moments is not None:
                    part = (part - moments[0]) / moments[1]
                images = pad(part, frame.cell)
                yield Tile(images, core, at, (height, width), self.numbers, self.counted)

    def _part(self, rows: slice, columns: slice) -> Tensor:
        if isinstance(self.images, Tensor):
            return self.images[:, :, rows, columns]
        return to_input(self.images[:, rows, columns], self.device)


def frame_of(depth: Depth) -> Frame:
    """The frame of a network of ``depth``."""
    return depth if isinstance(depth, Frame) else Frame(2**depth, halo(depth))


def _moments(images: np.ndarray | Tensor, each: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (n, channels or 1, 1, 1) of every image in [0, 1], or of its channels."""
    sums = torch.zeros(0)
    for start in range(0, images.shape[2 if isinstance(images, Tensor) else 1], MOMENT_ROWS):
        rows = slice(start, start + MOMENT_ROWS)
        part = (images[:, :, rows] if isinstance(images, Tensor) else to_input(images[:, rows], device)).double()
        powers = torch.stack([(part**power).sum((2, 3)) for power in range(3)])
        sums = powers if not len(sums) else sums + powers
    count, first, second = sums if each == "channel" else sums.sum(2, keepdim=True)
    mean = first / count
    sd = (second / count - mean**2).clamp(min=0).sqrt() + SMALLEST_SD
    return mean.float()[:, :, None, None], sd.float()[:, :, None, None]


def tiles_of(batches: Iterable[Tensor], depth: Depth) -> list[Tile]:
    """All tiles of ``batches`` float (n, channels, H, W), their images numbered through."""
    tiles: list[Tile] = []
    for images in batches:
        first = tiles[-1].numbers[-1] + 1 if tiles else 0
        tiles += Tiled(images, range(first, first + len(images)), depth, images.device)
    return tiles


def halo(depth: int) -> int:
    """Pixels that a network sees beyond a core, a multiple of ``2**depth``: ``6 * 2**depth``, or 8 at depth 1.

    From the head back to the image: each block sees two positions of its grid further, and from there on to the end
    of the cell of 2 x 2 that a transposed convolution fills or a pooling takes together. Cores begin and end with cells
    of ``2**depth``.
    """
    reach = 0
    for level in range(depth):
        reach = up(reach + BLOCK_REACH * 2**level, 2 ** (level + 1))
    reach += sum(BLOCK_REACH * 2**level for level in range(depth + 1))
    return up(reach, 2**depth)


def cuts(side: int, depth: Depth, longest: int | None = None) -> list[Cut]:
    """A side of an image, cut into cores of about equal length whose origins are multiples of the frame's cell.

    With its halos none is longer than ``longest``, unless the halos alone would be more than two thirds of it.
    """
    cell, reach, _ = frame_of(depth)
    if longest is None or side <= longest:
        return [Cut(slice(0, side), slice(0, side), slice(0, side))]
    room = max(longest - 2 * reach, reach) // cell * cell
    step = up(-(-side // -(-side // room)), cell)
    parts = []
    for start in range(0, side, step):
        stop = min(start + step, side)
        first, last = max(0, start - reach), min(stop + reach, side)
        parts.append(Cut(slice(first, last), slice(start - first, stop - first), slice(start, stop)))
    return parts


def core_at(tile: Tile, size: Sequence[int]) -> Slices:
    """The core on a layer whose activations of ``tile.images`` are of ``size`` (h, w).

    Over the tiles of an image the cores hold each position of the layer once that has a pixel of the image below it.
    """
    return _coarse(tile.core, _stride(tile, size))


def place_at(tile: Tile, size: Sequence[int]) -> Slices:
    """The core of :func:`core_at`, on the layer's grid of the whole image, :func:`grid_at`."""
    return _coarse(tile.at, _stride(tile, size))


def grid_at(tile: Tile, size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the layer of :func:`core_at` for the whole image without its padding."""
    rows, columns = (-(-side // _stride(tile, size)) for side in tile.size)
    return rows, columns


def counted_at(tile: Tile, size: Sequence[int]) -> np.ndarray | None:
    """Which positions of :func:`grid_at` count, boolean (n, rows, columns): those with half of their pixels or more.

    None where all do. Pixels of the padding are none of a position's.
    """
    if tile.counted is None or _stride(tile, size) == 1:
        return tile.counted
    return 2 * pixels_at(tile, size, tile.counted) >= pixels_at(tile, size, np.ones((1, *tile.size), bool))


def pixels_at(tile: Tile, size: Sequence[int], pixels: np.ndarray) -> np.ndarray:
    """How many of ``pixels``, boolean (n, H, W) of the whole images, lie in each position of :func:`grid_at`.

    uint16 (n, rows, columns). Pixels of the padding are none of a position's.
    """
    rows, columns = (np.arange(0, side, _stride(tile, size)) for side in tile.size)
    counts = np.add.reduceat(pixels, rows, axis=1, dtype=np.uint16)
    return np.add.reduceat(counts, columns, axis=2, dtype=np.uint16)


def _stride(tile: Tile, size: Sequence[int]) -> int:
    return tile.images.shape[-2] // size[0]


def _coarse(slices: Slices, stride: int) -> Slices:
    rows, columns = (slice(part.start // stride, -(-part.stop // stride)) for part in slices)
    return rows, columns


def up(number: int, unit: int) -> int:
    """The next multiple of ``unit``."""
    return -(-number // unit) * unit
