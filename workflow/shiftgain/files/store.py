"""HDF5 files: the only module that knows how arrays lie on disk.

Every dataset is chunked and carries a Fletcher-32 checksum per chunk, so that a flipped bit is an error and not a
result. A file is written under a temporary name and moved into place when complete. Nothing is ever unpickled.

A split of a domain is a group with ``images`` uint8 (n, H, W) or (n, H, W, 3) and, where labelled, ``masks``
uint8 0/1 (n, H, W), :data:`IGNORED` where a pixel is not counted. Images of further sizes lie beside them as
``images_1``, ``masks_1`` and so on: see :func:`stacks`.
"""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import h5py
import numpy as np

from shiftgain.files.errors import StudyError
from shiftgain.files.tables import replacing

# In a mask: neither foreground nor background, left out of loss and scores.
IGNORED = 255
CHUNK_BYTES = 2**18


@contextmanager
def create(path: str | Path) -> Iterator[h5py.File]:
    """A new HDF5 file that appears under ``path`` only when the block ends without an error."""
    with replacing(path) as partial, h5py.File(partial, "w", libver="latest", locking=False) as file:
        yield file


@contextmanager
def read(path: str | Path) -> Iterator[h5py.File]:
    """An HDF5 file opened for reading.

    Errors: :class:`StudyError` naming the file when it is missing, is no HDF5 file, or a checksum or an
    expected dataset fails while the block reads it.
    """
    try:
        # A file is complete when it has its name, so that no lock is needed, nor a file system that has locks.
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such file; run the step that makes it again") from error
    except OSError as error:
        raise StudyError(f"{path}: damaged or not an HDF5 file ({error}); delete it and run again") from error
    with file:
        try:
            yield file
        except (KeyError, OSError) as error:
            if _culprit(error) not in (None, str(path)):
                raise
            what = f"{error.args[0]}; the file is incomplete:" if isinstance(error, KeyError) else f"damaged ({error});"
            raise StudyError(f"{path}: {what} delete it and run again") from error


def members(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """(name, node) of what a group holds; ``group.items()`` of h5py gives None for a node that is damaged."""
    return ((name, group[name]) for name in group)


def targets(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """(full name, splits) of the targets of a shift family."""
    if not len(file):
        raise KeyError(f"no target in {file.name}")
    yield from members(file)


def _culprit(error: Exception) -> str | None:
    """The file that was being read when ``error`` was raised: of several open ones, h5py does not say which."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, h5py.HLObject) and value.id.valid:
                return value.file.filename
    return None


def put(group: h5py.Group, name: str, array: np.ndarray) -> h5py.Dataset:
    """Write ``array`` as a checksummed dataset ``name`` (slashes make groups)."""
    array = np.asarray(array)
    if array.ndim == 0 or array.size == 0:
        return group.create_dataset(name, data=array)
    return group.create_dataset(name, data=array, chunks=_chunks(array.shape, array.itemsize), fletcher32=True)


def append(group: h5py.Group, images: np.ndarray, masks: np.ndarray | None) -> None:
    """Add a block to the end of a split; a size not met before starts a new stack."""
    number = 0
    while (name := _suffixed("images", number)) in group and group[name].shape[1:] != images.shape[1:]:
        number += 1
    for dataset_name, block in ((name, images), (_suffixed("masks", number), masks)):
        if block is None:
            continue
        if dataset_name not in group:
            shape = (0, *block.shape[1:])
            group.create_dataset(
                dataset_name,
                shape,
                dtype=np.uint8,
                maxshape=(None, *shape[1:]),
                chunks=_chunks((len(block), *shape[1:]), 1),
                fletcher32=True,
            )
        dataset = group[dataset_name]
        start = len(dataset)
        dataset.resize(start + len(block), axis=0)
        dataset[start:] = block


def stacks(split: h5py.Group) -> list[tuple[h5py.Dataset, h5py.Dataset | None]]:
    """(images, masks or None) of a split, one pair for each image size."""
    number, pairs = 0, []
    while (name := _suffixed("images", number)) in split:
        # Not `split.get`, which takes damaged masks for missing ones.
        images, masks = split[name], split[mask_name] if (mask_name := _suffixed("masks", number)) in split else None
        if images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)) or not len(images):
            raise KeyError(f"{images.name} of shape {images.shape} is no stack of images")
        if masks is not None and masks.shape != images.shape[:3]:
            raise KeyError(f"{masks.name} of shape {masks.shape} does not fit images of shape {images.shape}")
        pairs.append((images, masks))
        number += 1
    if not pairs:
        raise KeyError(f"no dataset 'images' in {split.name}")
    return pairs


def batches(
    split: h5py.Group, pixels: int, at_most: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(images, masks or None) of a split in order: batches of about ``pixels`` pixels, or of ``at_most`` images.

    Batches of ``at_most`` are full but for the last of each size: statistics of a batch are of so many images.
    """
    for images, masks in stacks(split):
        n = len(images)
        full = (slice(first, min(first + at_most, n)) for first in range(0, n, at_most)) if at_most else None
        for part in full or _parts(n, _batch(images, pixels)):
            yield images[part], None if masks is None else masks[part]


def image_batches(split: h5py.Group, pixels: int, chosen: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The images of :func:`batches`; masks are not read, nor need there be any.

    ``chosen`` takes these numbers, sorted.
    """
    for images, _, part in _selected(split, pixels, chosen):
        yield images[part]


def masked_batches(
    split: h5py.Group, pixels: int, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The batches of :func:`image_batches` with their masks, None where there are none."""
    for images, masks, part in _selected(split, pixels, chosen):
        yield images[part], None if masks is None else masks[part]


def _selected(
    split: h5py.Group, pixels: int, chosen: np.ndarray | None
) -> Iterator[tuple[h5py.Dataset, h5py.Dataset | None, np.ndarray | slice]]:
    first = 0
    for images, masks in stacks(split):
        n = len(images)
        numbers = np.arange(n)
        if chosen is not None:
            numbers = np.intersect1d(numbers, chosen - first)
        for part in _parts(len(numbers), _batch(images, pixels)):
            indices = numbers[part]
            yield images, masks, indices if chosen is not None else slice(indices[0], indices[-1] + 1)
        first += n


def unseen(split: h5py.Group, domain: str) -> np.ndarray | None:
    """Numbers, in the order of the file, of the images of a split that no network trained on ``domain`` has seen.

    None, for all images, where such networks have seen none of them, and where they have seen all.
    """
    seen = get_json(split, "trained_on").get(domain, []) if "trained_on" in split.attrs else []
    others = np.setdiff1d(np.arange(count(split)), seen)
    return others if 0 < len(others) < count(split) else None


def count(split: h5py.Group) -> int:
    """Number of images of a split."""
    return sum(len(images) for images, _ in stacks(split))


def put_json(node: h5py.HLObject, name: str, value) -> None:
    """Attach a plain value as a JSON attribute, keys sorted, and its CRC-32: HDF5 has checksums of arrays only."""
    text = json.dumps(value, sort_keys=True)
    node.attrs[name] = text
    node.attrs[f"{name}.crc32"] = crc32(text.encode())


def get_json(node: h5py.HLObject, name: str):
    """The value that :func:`put_json` attached.

    Errors: KeyError where there is none, OSError where a bit of it has changed.
    """
    if name not in node.attrs:
        raise KeyError(f"no attribute '{name}' in {node.name}")
    text = node.attrs[name]
    if crc32(text.encode(errors="surrogateescape")) != node.attrs[f"{name}.crc32"]:
        raise OSError(f"attribute '{name}' of {node.name} is not what was written")
    return json.loads(text)


def _batch(images: h5py.Dataset, pixels: int) -> int:
    """Images per batch."""
    return max(1, pixels // (images.shape[1] * images.shape[2]))


def _parts(n: int, size: int) -> Iterator[slice]:
    """Cuts ``n`` into sizes that differ by one at most: averages over batches then weigh every image alike."""
    edges = np.linspace(0, n, -(-n // size) + 1).astype(int)
    return (slice(first, last) for first, last in pairwise(edges))


def _suffixed(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole rows along the first axis, about CHUNK_BYTES together."""
    row = max(1, int(np.prod(shape[1:]))) * itemsize
    return (max(1, min(shape[0], CHUNK_BYTES // row)), *shape[1:])
