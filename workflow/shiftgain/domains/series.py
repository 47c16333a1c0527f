"""The series of a domain as stored, images and masks in their order, by the headers of its files."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shiftgain.domains import arrays
from shiftgain.domains.layout import IMAGE_WORD, MASK_WORD, Layout, layout, stem_of
from shiftgain.domains.readers import READERS, WHOLE, read, reader_of
from shiftgain.domains.stack import Request, Stack
from shiftgain.files.errors import StudyError


class Series(NamedTuple):
    """A domain as stored: the shape of each image, and what reads the images, or values of masks, of given numbers."""

    shapes: list[tuple[int, ...]]
    dtype: np.dtype
    images: Callable[[Sequence[int]], np.ndarray]
    masks: Callable[[Sequence[int]], Iterator[tuple[Path, np.ndarray]]] | None
    bits: int | None
    notes: list[str]
    passed_over: list[tuple[Path, str]]


def key_of(name: str) -> str:
    return f"domains.{name}"


def path_of(spec: dict) -> Path:
    return Path(spec["path"]).expanduser()


def series_of(key: str, spec: dict) -> Series:
    """The series of a domain, by the headers of its files alone."""
    images, labels, passed_over = stacks_of(key, spec)
    bits = {stack.bits for stack in images}
    return Series(
        [shape for stack in images for shape in stack.shapes],
        images[0].dtype,
        partial(_images, _pages(images)),
        None if labels is None else partial(_labels, _pages(labels)),
        bits.pop() if len(bits) == 1 else None,
        _notes(images, "") + _notes(labels or [], "masks: "),
        passed_over,
    )


def stacks_of(key: str, spec: dict) -> tuple[list[Stack], list[Stack] | None, list[tuple[Path, str]]]:
    """Images, masks or None, and the files passed over, with why."""
    images, files = images_of(key, spec)
    path, for_masks = path_of(spec), _request(key, spec)._replace(masks=True)
    labels: list[Stack] | None = None
    if files is not None:
        labels = None if files.masks is None else [read(file, for_masks) for file in files.masks]
    elif reader_of(path) in WHOLE:
        if spec.get("masks") or (arrays.has_labels(path) if path.is_dir() else arrays.mask_names(path)):
            labels = [read(path, for_masks._replace(dataset=spec.get("masks")))]
    elif file := _mask_file(path, key, spec.get("masks")):
        labels = [read(file, for_masks)]
    if labels is not None:
        _check_masks(images, labels)
    return images, labels, files.passed_over if files else []


def _request(key: str, spec: dict) -> Request:
    return Request(key, channel=spec.get("channel"), channels=spec["channels"])


def images_of(key: str, spec: dict) -> tuple[list[Stack], Layout | None]:
    """Images, and the layout of a folder of files; no mask is opened."""
    path, request = path_of(spec), _request(key, spec)
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder; correct the path of the domain in the config")
    files = None
    if path.is_dir() and reader_of(path) is None:
        files = layout(path, key, spec.get("images"), spec.get("masks"))
        images = [read(file, request) for file in files.images]
    elif reader_of(path) in WHOLE:
        images = [read(path, request._replace(dataset=spec.get("images")))]
    else:
        if spec.get("images"):
            raise StudyError(f"config key {key}.images: {path.name} holds one series; remove it")
        images = [read(path, request)]
    _check_images(images)
    return images, files


def _mask_file(path: Path, key: str, name: str | None) -> Path | None:
    """The file of masks of a stack: the one named, or the one beside it called as the stack with a mask's word."""
    if name is not None:
        file = beside(path, name)
        if not file.is_file():
            raise StudyError(f"config key {key}.masks: no file '{file}'; give it relative to the folder of {path.name}")
        return file
    names = mask_files(path)
    if len(names) > 1:
        raise StudyError(f"{path}: {names[0]} and {names[1]} may be its masks; name one by config key {key}.masks")
    return path.parent / names[0] if names else None


def beside(path: Path, name: str) -> Path:
    """The file ``name``, given relative to the folder of ``path``; ``~`` is the home folder."""
    return path.parent / Path(name).expanduser()


def mask_files(path: Path) -> list[str]:
    stems = {stem_of(path), IMAGE_WORD.sub("", stem_of(path))}
    return [
        file.name
        for file in sorted(path.parent.iterdir())
        if file.suffix.lower() in READERS and file != path
        if MASK_WORD.search(stem_of(file)) and MASK_WORD.sub("", stem_of(file)) in stems
    ]


def _check_images(stacks: list[Stack]) -> None:
    first = stacks[0]
    for stack in stacks:
        if stack.dtype.kind not in "uif":
            raise StudyError(f"{stack.file}: images of type {stack.dtype}; convert them to uint8, uint16 or float32")
        if stack.dtype != first.dtype:
            raise StudyError(f"{stack.file}: {stack.dtype}, {first.file}: {first.dtype}; convert one")


def _check_masks(images: list[Stack], labels: list[Stack]) -> None:
    for image, label in zip(images, labels, strict=True):
        if label.dtype.kind not in "buif":
            raise StudyError(f"{label.file}: masks of type {label.dtype}; convert them to integers")
        if len(label.shapes) != len(image.shapes):
            counts = f"{len(label.shapes)} masks, {image.file}: {len(image.shapes)} images"
            raise StudyError(f"{label.file}: {counts}; make them match")
        if label.order != image.order and sorted(label.order) == sorted(image.order):
            raise StudyError(
                f"{label.file}: its masks lie along {label.order}, the images in {image.file} along {image.order}; "
                "save them in one order of axes"
            )
        for number, (shape, other) in enumerate(zip(label.shapes, image.shapes, strict=True)):
            if shape[:2] != other[:2]:
                raise StudyError(
                    f"{label.file}: mask {number} is {shape[:2]}, the image in {image.file}: {other[:2]}; "
                    "make them match"
                )


def _notes(stacks: list[Stack], prefix: str) -> list[str]:
    """What readers say, each once, with the number of files."""
    counts = Counter(note for stack in stacks for note in stack.notes)
    return [f"{prefix}{note} ({count} files)" if count > 1 else f"{prefix}{note}" for note, count in counts.items()]


def _pages(stacks: list[Stack]) -> list[tuple[Stack, int]]:
    return [(stack, number) for stack in stacks for number in range(len(stack.shapes))]


def _decoded(pages: list[tuple[Stack, int]]) -> Iterator[tuple[Path, np.ndarray]]:
    """File and pixels of each page, opening a file once for a run of pages."""
    for _, group in groupby(pages, key=lambda page: id(page[0])):
        run = list(group)
        stack = run[0][0]
        for pixels in stack.pages([number for _, number in run]):
            yield stack.file, pixels


def _images(pages: list[tuple[Stack, int]], numbers: Sequence[int]) -> np.ndarray:
    return np.stack([pixels for _, pixels in _decoded([pages[number] for number in numbers])])


def _labels(pages: list[tuple[Stack, int]], numbers: Sequence[int]) -> Iterator[tuple[Path, np.ndarray]]:
    yield from _decoded([pages[number] for number in numbers])
