"""Where in a folder the images lie, and which file is the mask of which: the layouts that people have.

Images in ``images/`` and masks in ``masks/`` (or ``labels/``); images anywhere below the folder where there is no
``images/``; masks beside their images, as ``x_mask.png`` or ``x_label.tif``. Subfolders are gone through.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple
from unicodedata import normalize

from shiftgain.domains.readers import KINDS, WHOLE, reader_of
from shiftgain.files.errors import StudyError

IMAGE_FOLDERS = {"images", "image", "imgs", "img", "imagestr"}
MASK_FOLDERS = {
    "masks", "mask", "labels", "label", "labelstr", "annotations", "annotation", "segmentations", "segmentation", "gt",
    "groundtruth", "ground_truth",
}  # fmt: skip
MASK_WORD = re.compile(
    r"[ _.-]+(cp[ _-])?(masks?|labels?|seg|segmentation|simple segmentation|gt|annotations?|anno|manual\d*)$",
    re.IGNORECASE,
)
# A folder whose name holds such a word, such as train_masks or 01_GT, may hold masks: it is asked about.
MASK_WORDS = MASK_FOLDERS | {"seg", "segs", "anno", "annos", "manual", "targets", "truth"}
IMAGE_WORD = re.compile(r"[ _.-]+(images?|imgs?|im|raw|0000)$", re.IGNORECASE)
# Written by systems, not by people.
LITTER = {
    "thumbs.db", "desktop.ini", "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "lost+found",
    "system volume information",
}  # fmt: skip

Place = tuple[str, ...]


class Layout(NamedTuple):
    """``images`` in natural order; ``masks``: the mask of each, or None; ``passed_over``: (file, why)."""

    images: list[Path]
    masks: list[Path] | None
    passed_over: list[tuple[Path, str]]


class _File(NamedTuple):
    """A file: ``place``, its folders less those that say images or masks, and ``stem``."""

    path: Path
    place: Place
    stem: str


def layout(folder: Path, key: str, images: str | None = None, masks: str | None = None) -> Layout:
    """The images and masks of ``folder``; ``images`` and ``masks`` name its folders where they are called otherwise.

    Errors: :class:`StudyError` naming the file, or the config key below ``key``.
    """
    for named, leaf in ((images, "images"), (masks, "masks")):
        if named is not None and not (folder / named).is_dir():
            raise StudyError(f"config key {key}.{leaf}: no folder '{named}' in {folder}; correct it")
    files_by_role: dict[str, list[_File]] = {"images": [], "masks": []}
    passed_over = []
    files = sorted(_walk(folder), key=lambda file: _natural(file.relative_to(folder)))
    in_folders = images is not None or any(_said(file.relative_to(folder).parts[:-1], IMAGE_FOLDERS) for file in files)
    for file in files:
        parts = file.relative_to(folder).parts[:-1]
        role, place = _role(parts, images, masks, in_folders)
        reader = reader_of(file)
        if reader in WHOLE:
            passed_over.append((file, "give it as the path of a domain"))
        elif reader is None:
            passed_over.append((file, f"no reader for '{file.suffix or file.name}'"))
        elif role is None:
            passed_over.append((file, f"outside of {images or 'images'}/"))
        else:
            files_by_role[role].append(_File(file, place, stem_of(file)))
    image_files, labels = files_by_role["images"], files_by_role["masks"]
    if not labels:
        image_files, labels = _beside(image_files)
        if not labels and images is None and masks is None:
            _check_folders(image_files, folder, key)
    if not image_files:
        where = folder / images if images else folder / "images" if (folder / "images").is_dir() else folder
        names = ", ".join(sorted({file.name for file, _ in passed_over})[:4])
        others = f" (passed over: {names})" if names else ""
        raise StudyError(f"{where}: no {KINDS} file in it{others}; put the files there")
    _check_stems(image_files)
    labelled = bool(labels) or _said_folders(folder, masks)
    pairs = _pairs(image_files, labels, folder, key) if labelled else None
    return Layout([file.path for file in image_files], pairs, passed_over)


def _walk(folder: Path) -> Iterable[Path]:
    """Files below ``folder`` and OME-Zarr folders, links followed, none of what systems leave."""
    visited = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not _is_litter(name)]
        for name in [name for name in folders if reader_of(Path(root, name))]:
            folders.remove(name)
            yield Path(root, name)
        yield from (Path(root, name) for name in files if not _is_litter(name))


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _said(parts: Place, words: set[str]) -> bool:
    return any(part.lower() in words for part in parts)


def _said_folders(folder: Path, masks: str | None) -> bool:
    return masks is not None or any(each.is_dir() and each.name.lower() in MASK_FOLDERS for each in folder.iterdir())


def _role(parts: Place, images: str | None, masks: str | None, in_folders: bool) -> tuple[str | None, Place]:
    """("images", "masks" or None, place) of a file in the folders ``parts``."""
    for name, role in ((masks, "masks"), (images, "images")):
        if name is not None and parts[: len(PurePath(name).parts)] == PurePath(name).parts:
            return role, parts[len(PurePath(name).parts) :]
    place = tuple(part for part in parts if part.lower() not in IMAGE_FOLDERS | MASK_FOLDERS)
    if _said(parts, MASK_FOLDERS):
        return (None if masks else "masks"), place
    if in_folders and (images is not None or not _said(parts, IMAGE_FOLDERS)):
        return None, place
    return "images", place


def stem_of(file: Path) -> str:
    """The name of a file without its suffix and the ``.ome`` that belongs to it; an accented letter is one."""
    return normalize("NFC", re.sub(r"\.ome$", "", file.stem, flags=re.IGNORECASE))


def _check_folders(files: list[_File], folder: Path, key: str) -> None:
    """Errors: :class:`StudyError` where some of the images lie in a folder that is called like masks."""
    called = [file for file in files if _is_called_masks(file.place)]
    if called and len(called) < len(files):
        own = called[0].path.relative_to(folder).parts[0]
        other = next(file for file in files if not _is_called_masks(file.place)).path.relative_to(folder).parts
        raise StudyError(
            f"{folder}: {own} is called like masks; give config key {key}.images: {other[0] if other[1:] else '.'} and "
            f"{key}.masks: {own}, or `images: .` alone if all of it are images"
        )


def _is_called_masks(place: Place) -> bool:
    return any(word in MASK_WORDS for part in place for word in re.split(r"[ _.-]+", part.lower()))


def _beside(files: list[_File]) -> tuple[list[_File], list[_File]]:
    """(images, masks) among files of one folder: a name that ends in a mask's word, where another is its image's."""
    others = [file for file in files if not MASK_WORD.search(file.stem)]
    known = {(file.place, stem) for file in others for stem in _stems(file, IMAGE_WORD)}
    masks = [file for file in files if MASK_WORD.search(file.stem)]
    if not any((file.place, MASK_WORD.sub("", file.stem)) in known for file in masks):
        return files, []
    return others, masks


def _stems(file: _File, word: re.Pattern) -> list[str]:
    """The stem, and without the word that says what it is."""
    return list(dict.fromkeys((file.stem, word.sub("", file.stem))))


def _check_stems(files: list[_File]) -> None:
    first: dict[tuple[Place, str], Path] = {}
    for file in files:
        other = first.setdefault((file.path.parent.parts, file.stem), file.path)
        if other is not file.path:
            raise StudyError(f"{file.path}: same stem as {other.name}; rename or remove one")


def _pairs(images: list[_File], masks: list[_File], folder: Path, key: str) -> list[Path]:
    """The mask of each image, in their order."""
    _check_stems(masks)
    by_name: dict[tuple[Place | None, str], list[_File]] = defaultdict(list)
    for mask in masks:
        for stem in _stems(mask, MASK_WORD):
            by_name[mask.place, stem].append(mask)
            by_name[None, stem].append(mask)
    choices = []
    for image in images:
        names = [(place, stem) for place in (image.place, None) for stem in _stems(image, IMAGE_WORD)]
        choices.append(next((by_name[name] for name in names if name in by_name), []))
    used = Counter(mask for choice in choices for mask in choice)
    for mask in masks:
        if mask not in used:
            raise StudyError(f"{mask.path}: a mask without an image; add the image or remove the mask")
    for image, choice in zip(images, choices, strict=True):
        if not choice:
            where = masks[0].path.parent if masks else folder / "masks"
            raise StudyError(f"{image.path}: has no mask in {where}; add it (all 0 for no foreground)")
        if len(choice) > 1:
            raise StudyError(
                f"{image.path}: {choice[0].path} and {choice[1].path} may be its mask; "
                f"name the folder by config key {key}.masks, or remove one"
            )
        if used[choice[0]] > 1:
            raise StudyError(f"{choice[0].path}: the mask of several images, {image.path} is one; rename one")
    return [choice[0].path for choice in choices]


def _natural(file: PurePath) -> tuple:
    """Sorts img2 before img10, and files of a folder before those of its subfolders."""
    *folders, _ = file.parts
    return (*((1, _numbers(name)) for name in folders), (0, _numbers(file.stem), file.name))


def _numbers(text: str) -> list:
    parts = re.split("([0-9]+)", text)
    return [int(part) if odd % 2 else part.lower() for odd, part in enumerate(parts)]
