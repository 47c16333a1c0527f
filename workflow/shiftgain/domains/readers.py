"""Image files as a series: an HDF5 file, or a folder of PNG and TIFF. What they must hold stands in ``real.py``."""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from os import SEEK_CUR
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import tifffile
from PIL import Image

from shiftgain.files.errors import StudyError

SUFFIXES = {".png", ".tif", ".tiff"}
# Mode of a PNG -> the mode in which its pixels are taken.
PNG_MODES = {"1": "1", "L": "L", "LA": "L", "I;16": "I;16", "P": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}
PNG_TYPES = {"1": np.dtype(bool), "I;16": np.dtype(np.uint16)}


class _Page(NamedTuple):
    """An image or a mask in a file, as its header has it: ``shape`` (rows, columns) or (rows, columns, 3)."""

    file: Path
    number: int
    shape: tuple[int, ...]
    dtype: np.dtype
    photometric: str


class Series(NamedTuple):
    """A domain as stored: the shape of each image, and what reads images or masks from start to stop."""

    shapes: list[tuple[int, ...]]
    dtype: np.dtype
    images: Callable[[int, int], np.ndarray]
    masks: Callable[[int, int], np.ndarray] | None


def series(path: Path) -> Series:
    """The series at ``path``, an HDF5 file or a folder, by its headers alone.

    Errors: :class:`StudyError` naming the file and the remedy; from the readers too, for files damaged inside.
    """
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder; correct the path of the domain in the config")
    return _folder(path) if path.is_dir() else _hdf5(path)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Whatever a damaged file provokes, in one line that names it: decoders raise almost anything."""
    try:
        yield
    except (StudyError, MemoryError):
        raise
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"{file}: cannot be read ({what}); replace it by an intact file") from error


def _check_images(file: Path, dtype: np.dtype) -> None:
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise StudyError(f"{file}: images of type {dtype}; convert them to uint8 or uint16")


def _check_masks(file: Path, dtype: np.dtype) -> None:
    if dtype.kind not in "bui":
        raise StudyError(f"{file}: masks of type {dtype}; convert them to integers, 0 for the background")


def _hdf5(path: Path) -> Series:
    with _naming(path), h5py.File(path, "r") as file:
        images, masks = file.get("images"), file.get("masks")
        if not isinstance(images, h5py.Dataset):
            raise StudyError(f"{path}: has no dataset 'images' (only: {', '.join(file)}); add or rename it")
        shape, dtype = images.shape, images.dtype
        _check_images(path, dtype)
        if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)) or 0 in shape:
            raise StudyError(f"{path}: 'images' is {shape}; make it (n, H, W) or (n, H, W, 3), not empty")
        if masks is not None:
            _check_masks(path, masks.dtype)
            if masks.shape != shape[:3]:
                raise StudyError(f"{path}: 'masks' is {masks.shape}; make it {shape[:3]} as 'images' are")
    read_masks = None if masks is None else partial(_hdf5_masks, path)
    return Series([shape[1:]] * shape[0], dtype, partial(_hdf5_images, path), read_masks)


def _hdf5_images(path: Path, start: int, stop: int) -> np.ndarray:
    with _naming(path), h5py.File(path, "r") as file:
        return file["images"][start:stop]


def _hdf5_masks(path: Path, start: int, stop: int) -> np.ndarray:
    with _naming(path), h5py.File(path, "r") as file:
        return (file["masks"][start:stop] != 0).astype(np.uint8)


def _folder(path: Path) -> Series:
    images = {stem: _pages(file) for stem, file in _files(path / "images").items()}
    pages = [page for found in images.values() for page in found]
    for page in pages:
        _check_images(page.file, page.dtype)
        if page.photometric not in ("MINISBLACK", "RGB"):
            raise StudyError(f"{page.file}: a TIFF of kind {page.photometric}; save it as grey or RGB")
        if page.dtype != pages[0].dtype:
            raise StudyError(f"{page.file}: {page.dtype}, {pages[0].file}: {pages[0].dtype}; convert one")
    labelled = (path / "masks").is_dir()
    return Series(
        [page.shape for page in pages],
        pages[0].dtype,
        partial(_folder_images, pages),
        partial(_folder_masks, _mask_pages(path / "masks", images)) if labelled else None,
    )


def _folder_images(pages: list[_Page], start: int, stop: int) -> np.ndarray:
    return np.stack(list(_decoded(pages[start:stop])))


def _folder_masks(pages: list[_Page], start: int, stop: int) -> np.ndarray:
    labels = _decoded(pages[start:stop])
    masks = [np.any(label, axis=-1) if label.ndim == 3 else label != 0 for label in labels]
    return np.stack(masks).astype(np.uint8)


def _files(folder: Path) -> dict[str, Path]:
    """PNG and TIFF files of ``folder`` by stem, in natural order."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder; put the PNG or TIFF files there")
    for file in sorted(folder.iterdir(), key=_natural):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            if file.stem in found:
                raise StudyError(f"{file}: same stem as {found[file.stem].name}; rename or remove one")
            found[file.stem] = file
    if not found:
        raise StudyError(f"{folder}: no PNG or TIFF file in it; put the files there")
    return found


def _natural(file: Path) -> tuple:
    parts = re.split("([0-9]+)", file.stem)
    return [int(part) if odd % 2 else part.lower() for odd, part in enumerate(parts)], file.name


def _mask_pages(folder: Path, images: dict[str, list[_Page]]) -> list[_Page]:
    """Masks of the images, in their order."""
    files = _files(folder)
    for stem in sorted(files.keys() - images.keys()):
        raise StudyError(f"{files[stem]}: a mask without an image; add the image or remove the mask")
    masks = []
    for stem, pages in images.items():
        if stem not in files:
            raise StudyError(f"{pages[0].file}: has no mask in {folder}; add it (all 0 for no foreground)")
        found = _pages(files[stem])
        if len(found) != len(pages):
            raise StudyError(f"{files[stem]}: {len(found)} pages, {pages[0].file}: {len(pages)}; make them match")
        for page, image in zip(found, pages, strict=True):
            _check_masks(page.file, page.dtype)
            if page.shape[:2] != image.shape[:2]:
                raise StudyError(
                    f"{page.file}: page {page.number} is {page.shape[:2]}, "
                    f"{image.file}: {image.shape[:2]}; make them match"
                )
        masks += found
    return masks


def _pages(file: Path) -> list[_Page]:
    """Images in ``file``, by its headers."""
    with _naming(file):
        return [_png_page(file)] if file.suffix.lower() == ".png" else _tiff_pages(file)


def _decoded(pages: list[_Page]) -> Iterator[np.ndarray]:
    """Pixels (rows, columns) or (rows, columns, 3) of each page, opening a file once for a run of pages."""
    for file, group in groupby(pages, key=lambda page: page.file):
        with _naming(file):
            if file.suffix.lower() == ".png":
                yield _without_alpha(_png(file))
            else:
                yield from map(_without_alpha, _tiff(file, [page.number for page in group]))


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def _png_page(file: Path) -> _Page:
    with Image.open(file, formats=["PNG"]) as image:
        if image.mode != "I;16" and str(image.tile[0].args).endswith(";16B"):
            raise StudyError(f"{file}: of a colour PNG of 16 bits pillow would read 8; save it as TIFF")
        colour = PNG_MODES[image.mode].startswith("RGB")
        shape = (image.height, image.width, 3) if colour else (image.height, image.width)
        return _Page(file, 0, shape, PNG_TYPES.get(image.mode, np.dtype(np.uint8)), "RGB" if colour else "MINISBLACK")


def _png(file: Path) -> np.ndarray:
    with Image.open(file, formats=["PNG"]) as image:
        return np.asarray(image.convert(PNG_MODES[image.mode]))


def _tiff_pages(file: Path) -> list[_Page]:
    with tifffile.TiffFile(file) as tiff:
        if not _is_whole(tiff):
            raise StudyError(f"{file}: cut off after page {len(tiff.pages)}; replace it by an intact file")
        found = []
        for number in range(_count(tiff)):
            page = tiff.pages[min(number, len(tiff.pages) - 1)].aspage()
            rows, columns, *samples = page.shape if page.axes != "SYX" else (*page.shape[1:], page.shape[0])
            if page.axes not in ("YX", "YXS", "SYX") or samples not in ([], [3], [4]):
                raise StudyError(f"{file}: page {number} is {page.axes} {page.shape}; save grey or RGB pages")
            if page.compression not in tifffile.TIFF.DECOMPRESSORS:
                codec = tifffile.COMPRESSION(page.compression).name
                raise StudyError(f"{file}: {codec} compression; save it without, or install imagecodecs")
            shape = (rows, columns, 3) if samples else (rows, columns)
            photometric = tifffile.PHOTOMETRIC(page.photometric).name
            found.append(_Page(file, number, shape, np.dtype(page.dtype), photometric))
        return found


def _tiff(file: Path, numbers: list[int]) -> Iterator[np.ndarray]:
    with tifffile.TiffFile(file) as tiff:
        if (count := _count(tiff)) > len(tiff.pages):
            page = tiff.pages[0].aspage()
            dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
            yield from np.memmap(file, dtype, "r", page.dataoffsets[0], (count, *page.shape))[numbers]
            return
        for number in numbers:
            page = tiff.pages[number].aspage()
            pixels = page.asarray()
            yield np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels


def _count(tiff: tifffile.TiffFile) -> int:
    """Number of images: of a stack above 4 GB, ImageJ writes the first header and all pixels end to end."""
    if len(tiff.pages) == 1 and tiff.imagej_metadata:
        return int(tiff.imagej_metadata.get("images", 1))
    return len(tiff.pages)


def _is_whole(tiff: tifffile.TiffFile) -> bool:
    """Whether the last page found is marked as such: tifffile drops pages behind a cut with a log line."""
    header, handle = tiff.tiff, tiff.filehandle
    handle.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(header.tagnoformat, handle.read(header.tagnosize))
    handle.seek(tags * header.tagsize, SEEK_CUR)
    return struct.unpack(header.offsetformat, handle.read(header.offsetsize)) == (0,)
