"""Batches of training images in random order, from a file of any length in bounded memory.

On a GPU the images lie there too, and batches are cut there: a step waits for no copy from the host.
"""

from collections.abc import Iterable, Iterator

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.files import store
from shiftgain.files.errors import StudyError

# A split below this size stays in memory for the whole training; a larger one is read in windows of as much.
WINDOW_BYTES = 2**27


class TrainingImages:
    """Shuffled, flipped and cropped batches of a split: (images, masks), or (images,) where not ``labelled``.

    An epoch has ``crops_per_image`` crops of every image, or ``images_per_epoch`` of these. Without a ``crop`` images
    are taken whole, and so is a side no longer than the crop's.

    ``chosen``: numbers of the images to take, in the order of the file; all without. ``ignores``: whether some pixels
    of its masks are not counted. The masks of an unlabelled split are never read, nor need there be any. A split larger
    than ``window_bytes`` is cut into runs of neighbouring images, and each epoch reads randomly chosen runs,
    ``window_bytes`` at a time, and shuffles within them.
    """

    def __init__(
        self,
        split: h5py.Group,
        batch: int,
        crop: list[int] | None = None,
        crops_per_image: int = 1,
        images_per_epoch: int | None = None,
        window_bytes: int = WINDOW_BYTES,
        labelled: bool = True,
        device: torch.device | str = "cpu",
        chosen: np.ndarray | None = None,
    ):
        self.device = torch.device(device)
        self.batch, self.crop, self.crops_per_image = batch, crop, crops_per_image
        self.window_bytes = window_bytes
        self.stacks: list[tuple[h5py.Dataset, ...]] = []
        total = store.count(split)
        self.count = total if chosen is None else len(chosen)
        taken = np.ones(total, bool) if chosen is None else np.isin(np.arange(total), chosen)
        self.taken: list[np.ndarray] = []
        for images, masks in store.stacks(split):
            if labelled and masks is None:
                raise StudyError(f"{split.file.filename}: no masks in {split.name}, which training needs; add them")
            own, taken = taken[: len(images)], taken[len(images) :]
            if own.any():
                self.stacks.append((images, masks) if labelled else (images,))
                self.taken.append(own)
        # Known beforehand, so that a step on a GPU waits for no look at its masks.
        self.ignores = labelled and "look" in split.attrs and bool(store.get_json(split, "look")["ignored_share"])
        crops = self.count * crops_per_image
        self.per_epoch = min(crops, max(batch, images_per_epoch or crops))
        size = sum(dataset.size for stack in self.stacks for dataset in stack)
        self.resident: list[tuple[Tensor, ...]] | None = None
        if size <= window_bytes:
            pairs = zip(self.stacks, self.taken, strict=True)
            self.resident = [self._put(dataset[:][own] for dataset in stack) for stack, own in pairs]

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Batches uint8 on the device, of at most ``batch`` images, until one would exceed ``per_epoch`` images."""
        left = self.per_epoch
        for window in self._windows(rng):
            order = rng.permutation(np.repeat(np.arange(len(window[0])), self.crops_per_image))
            # A last batch of one image would leave batch norm at a bottleneck of one position without a variance.
            for chosen in np.array_split(order, max(1, -(-len(order) // self.batch))):
                left -= len(chosen)
                if left < 0:
                    return
                yield self._vary(window, chosen, rng)

    def endless(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        """One :meth:`epoch` after another."""
        while True:
            yield from self.epoch(rng)

    def _put(self, arrays: Iterable[np.ndarray]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)

    def _windows(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        if self.resident is not None:
            yield from (self.resident[k] for k in rng.permutation(len(self.resident)))
            return
        for k in rng.permutation(len(self.stacks)):
            stack, own = self.stacks[k], self.taken[k]
            images = stack[0]
            run = images.chunks[0]
            runs = rng.permutation(-(-len(images) // run))
            image_bytes = sum(dataset.size for dataset in stack) // len(images)
            for part in np.array_split(runs, max(1, round(len(runs) * run * image_bytes / self.window_bytes))):
                slices = [slice(first * run, (first + 1) * run) for first in np.sort(part)]
                if any(own[part].any() for part in slices):
                    yield self._put(np.concatenate([data[part][own[part]] for part in slices]) for data in stack)

    def _vary(self, window: tuple[Tensor, ...], chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
        images = window[0]
        if self.crop is None:
            index = torch.from_numpy(chosen).to(self.device, non_blocking=True)
            pair = [array[index] for array in window]
        else:
            rows, columns = (min(sides) for sides in zip(self.crop, images.shape[1:3], strict=True))
            tops = rng.integers(0, images.shape[1] - rows + 1, len(chosen))
            lefts = rng.integers(0, images.shape[2] - columns + 1, len(chosen))
            pair = [
                torch.stack([a[k, t : t + rows, s : s + columns] for k, t, s in zip(chosen, tops, lefts, strict=True)])
                for a in window
            ]
        flips = [axis for axis in (1, 2) if rng.random() < 0.5]
        turn = rng.random() < 0.5 and pair[0].shape[1] == pair[0].shape[2]
        return tuple(torch.flip(a.swapaxes(1, 2) if turn else a, flips) for a in pair)
