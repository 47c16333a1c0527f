"""TIFF as series: axes from the metadata of ImageJ, OME or tifffile, colours of any kind, level 0 of pyramids."""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import SEEK_CUR
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageSequence
from tifffile import PHOTOMETRIC

from shiftgain.domains import axes
from shiftgain.domains.stack import Request, Stack, naming
from shiftgain.files.errors import StudyError

# Photometrics whose colours pillow turns into RGB, of 8 bits.
PILLOW = {PHOTOMETRIC.SEPARATED, PHOTOMETRIC.YCBCR, PHOTOMETRIC.CIELAB}
TAG_ORIENTATION = 274
JPEG = {tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.APERIO_JP2000_YCBC}


@dataclass(frozen=True)
class _Plane:
    """An image: ``page`` of the file, of whose array ``index`` is taken, or number ``end_to_end`` behind the header.

    ``axes``: of the image, once ``index`` is taken; ``white``: the value shown black where the least is shown white;
    ``palette`` uint8 (colours, 3), to look colours up; ``pillow``: decoded by pillow.
    """

    page: int
    index: axes.Index
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    end_to_end: int | None = None
    white: int | None = None
    palette: np.ndarray | None = None
    pillow: bool = False


def tiff(file: Path, request: Request) -> Stack:
    """The images of a TIFF file, in the order of its pages."""
    with naming(file), tifffile.TiffFile(file, _multifile=False) as handle:
        if not _is_whole(handle):
            raise StudyError(f"{file}: cut off after page {len(handle.pages)}; replace it by an intact file")
        planes: list[_Plane] = []
        notes: dict[str, None] = {}
        bits, orders = set(), set()
        for series in handle.series:
            page = series.keyframe
            if page.is_reduced or (series.name or "").lower() in ("thumbnail", "label", "macro"):
                notes[f"passed over the reduced copy of {series.shape}"] = None
                continue
            if len(series.levels) > 1:
                notes[f"level 0 of {len(series.levels)} of a pyramid"] = None
            planes += _planes(file, handle, series, request, notes)
            sides = zip(series.axes, series.shape, strict=True)
            orders.add("".join(axis for axis, side in sides if axis not in "YXSC" and side > 1))
            bits.add(_bits(handle, page))
        images = (handle.imagej_metadata or {}).get("images", 1)
        if len(handle.pages) == len(planes) == 1 < images:
            raise StudyError(f"{file}: cut off after page 1; replace it by an intact file")
        if not planes:
            raise StudyError(f"{file}: holds reduced copies only; save it as a plain TIFF")
        planes.sort(key=lambda plane: plane.page)
        for number, plane in enumerate(planes):
            if plane.dtype != planes[0].dtype:
                raise StudyError(f"{file}: image {number} is {plane.dtype}, image 0 {planes[0].dtype}; convert one")
    used = bits.pop() if len(bits) == 1 else None
    order = orders.pop() if len(orders) == 1 else ""
    shapes = [plane.shape for plane in planes]
    return Stack(file, shapes, planes[0].dtype, partial(_pixels, file, planes), used, tuple(notes), order)


def _planes(file: Path, handle, series, request: Request, notes: dict[str, None]) -> Iterator[_Plane]:
    page = series.keyframe
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        codec = tifffile.COMPRESSION(page.compression).name
        raise StudyError(f"{file}: {codec} compression; save it without, or install imagecodecs")
    turned = page.tags.valueof(TAG_ORIENTATION, 1)
    if turned not in (0, 1):
        raise StudyError(f"{file}: page {page.index} is stored turned (orientation {turned}); save it upright")
    if page.axes not in ("YX", "YXS", "SYX"):
        raise StudyError(f"{file}: page {page.index} is {page.axes} {page.shape}; save grey or RGB pages")
    where = f"{file}: page {page.index}"
    names, outer, inner, pillow = series.axes[: -page.ndim], series.shape[: -page.ndim], page.axes, _by_pillow(page)
    if tuple(series.shape[-page.ndim :]) != tuple(page.shape):  # a side of one pixel, which a series leaves out
        names, outer = "I", (len(series.pages),)
    if "S" in inner and not pillow:
        inner, request = _samples(where, handle, page, request, notes)
    if [axis for axis, size in zip(names, outer, strict=True) if size > 1].count("Q") > 1 and request.channel is None:
        raise StudyError(
            f"{file}: holds {' x '.join(map(str, outer))} images and does not say what the axes are; give config key "
            f"{request.key}.channel: all if each is an image of its own, or a number for a channel of the last"
        )
    if names.count("Q") > 1 and isinstance(request.channel, int):
        last = max(number for number, axis in enumerate(names) if axis == "Q")
        names = names[:last] + "C" + names[last + 1 :]
    sizes = (*outer, *page.shape)
    # Of axes that stand twice, all but the channel's only count images.
    letters = "".join("I" if axis not in "CYXS" else axis for axis in names) + inner
    channels = int(np.prod([side for axis, side in zip(names, outer, strict=True) if axis == "C"]))
    if channels > 1 and request.channel in (None, "rgb"):
        # Colours in pages of their own are not put together: `channel: rgb` is not offered.
        raise StudyError(axes.asked(str(file), channels, request, in_pages=True))
    image_axes, indices = axes.images_of(where if not outer else str(file), letters, sizes, request)
    if not outer and page.ndim == 2:
        axes.check_sides(str(file), 1, *page.shape)
    elif page.ndim == 2:
        axes.check_sides(str(file), int(np.prod(outer)), *page.shape)
    shape = tuple(page.shape[page.axes.index(axis)] for axis in "YX")
    coloured = pillow or len(image_axes) == 3
    palette = None
    if page.photometric == PHOTOMETRIC.PALETTE and not request.masks:
        palette = _palette(where, page, request, notes)
        coloured = coloured or palette is not None
    white = _white(where, handle, page, notes)
    if coloured:
        shape += (3,)
    end_to_end = len(series.pages) == 1 and int(np.prod(outer)) > 1
    for index in indices:
        number = int(np.ravel_multi_index(index[: len(outer)], outer)) if outer else 0  # type: ignore[arg-type]
        plane = series.pages[0 if end_to_end else number]
        if plane is None:
            raise StudyError(f"{file}: its OME metadata name planes of other files; save all of them in one file")
        yield _Plane(
            plane.index, index[len(outer) :], image_axes, shape, np.dtype(np.uint8) if pillow else np.dtype(page.dtype),
            number if end_to_end else None, white, palette, pillow,
        )  # fmt: skip


def _samples(where: str, handle, page, request: Request, notes: dict[str, None]) -> tuple[str, Request]:
    """Axes of a page of several samples a pixel, S for colours, C for channels, I for sections, and what is asked."""
    samples = page.shape[page.axes.index("S")]
    if page.axes == "SYX" and handle.is_shaped and page.photometric == PHOTOMETRIC.RGB:
        # tifffile writes stacks of three and of four sections as planes of one RGB image unless told otherwise.
        if request.channel != "rgb" and (samples == 4 or request.channel == "all"):
            notes[f"{samples} planes that tifffile wrote as one RGB image, taken for {samples} images"] = None
            return "IYX", request
        if request.channel is None and request.channels == 1:
            raise StudyError(
                f"{where} is 3 planes that tifffile writes for a stack of 3 as for one RGB image; give config key "
                f"{request.key}.channel: all for 3 images, or rgb for colours"
            )
    if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) and samples in (3, 4) and not axes.is_one(request):
        if samples == 4:
            notes["alpha dropped"] = None
        return page.axes, request
    if samples == 2 and any(kind in (1, 2) for kind in page.extrasamples):
        notes["alpha dropped"] = None
        request = request._replace(channel=0)
    return page.axes.replace("S", "C"), request


def _by_pillow(page) -> bool:
    return page.photometric in PILLOW and page.compression not in JPEG


def _white(where: str, handle, page, notes: dict[str, None]) -> int | None:
    """The greatest value of a page whose least is shown white; ImageJ keeps the meaning of what is stored."""
    if page.photometric != PHOTOMETRIC.MINISWHITE:
        return None
    if handle.is_imagej:
        notes["inverting look-up table of ImageJ: the stored value is taken"] = None
        return None
    if page.dtype.kind not in "bu":
        raise StudyError(f"{where} is min-is-white of type {page.dtype}; save it as min-is-black")
    notes["min-is-white: taken as shown"] = None
    return 2**page.bitspersample - 1


def _palette(where: str, page, request: Request, notes: dict[str, None]) -> np.ndarray | None:
    """None where the stored value is the intensity: a table that only rises, or a channel asked for."""
    table = page.colormap
    if request.channel == "rgb":
        return (table.T >> 8).astype(np.uint8)
    if isinstance(request.channel, int) or ((np.diff(table.astype(int), axis=1) >= 0).all() and table.any()):
        notes["colour map: the stored value is the intensity"] = None
        return None
    raise StudyError(
        f"{where} has a palette; give config key {request.key}.channel: 0 to take the stored numbers, or rgb to look "
        "colours up"
    )


def _bits(handle, page) -> int | None:
    """Bits that the metadata say are used; None where they are all that the type has, or nothing is said."""
    stated = re.search(r'\bSignificantBits="(\d+)"', handle.ome_metadata or "")
    bits = int(stated[1]) if stated else page.bitspersample
    return bits if isinstance(bits, int) and 8 < bits < 8 * page.dtype.itemsize else None


def _pixels(file: Path, planes: list[_Plane], numbers: Sequence[int]) -> Iterator[np.ndarray]:
    with naming(file), tifffile.TiffFile(file, _multifile=False) as handle:
        for number in numbers:
            plane = planes[number]
            yield _finished(plane, _raw(file, handle, plane))


def _raw(file: Path, handle, plane: _Plane) -> np.ndarray:
    if plane.pillow:
        with Image.open(file, formats=["TIFF"]) as image:
            return np.asarray(ImageSequence.Iterator(image)[plane.page].convert("RGB"))
    page = handle.pages[plane.page].aspage()
    if plane.end_to_end is None:
        return page.asarray()[plane.index]
    # Of a stack above 4 GB, ImageJ writes the first header and all pixels end to end.
    dtype = np.dtype(page.dtype).newbyteorder(handle.byteorder)
    size = int(np.prod(page.shape)) * dtype.itemsize
    pixels = np.memmap(file, dtype, "r", page.dataoffsets[0] + plane.end_to_end * size, tuple(page.shape))
    return np.asarray(pixels)[plane.index]


def _finished(plane: _Plane, pixels: np.ndarray) -> np.ndarray:
    """(rows, columns) or (rows, columns, 3) of what is stored, as it is meant."""
    if plane.pillow:
        return pixels
    if plane.white is not None:
        pixels = ~pixels if pixels.dtype == bool else (plane.white - pixels).astype(pixels.dtype)
    if plane.palette is not None:
        return plane.palette[pixels]
    if len(plane.axes) == 3:
        pixels = np.moveaxis(pixels, 0, -1) if plane.axes.index("Y") == 1 else pixels
        return pixels[..., :3]
    return pixels


def _is_whole(handle: tifffile.TiffFile) -> bool:
    """Whether the last page found is marked as such: tifffile drops pages behind a cut with a log line."""
    header, stream = handle.tiff, handle.filehandle
    stream.seek(handle.pages[-1].offset)
    (tags,) = struct.unpack(header.tagnoformat, stream.read(header.tagnosize))
    stream.seek(tags * header.tagsize, SEEK_CUR)
    return struct.unpack(header.offsetformat, stream.read(header.offsetsize)) == (0,)
