"""Readers by suffix: a file, and what the config says of it, become a :class:`shiftgain.domains.stack.Stack`.

A new kind of file is one function and its line in :data:`READERS`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, ImageOps

from shiftgain.domains import axes
from shiftgain.domains.arrays import hdf5, mrc, zarr
from shiftgain.domains.microscope import PLUGINS, microscope
from shiftgain.domains.stack import Request, Stack, naming
from shiftgain.domains.tiff import tiff
from shiftgain.files.errors import StudyError

# The user's own sections may be larger than what pillow takes for an attack.
Image.MAX_IMAGE_PIXELS = None

# Mode of a picture -> the mode in which its pixels are taken, and their type.
MODES = {
    "1": ("1", bool),
    "L": ("L", np.uint8),
    "LA": ("L", np.uint8),
    "I": ("I", np.int32),
    "I;16": ("I;16", np.uint16),
    "P": ("RGBA", np.uint8),
    "RGB": ("RGB", np.uint8),
    "RGBA": ("RGBA", np.uint8),
    "CMYK": ("RGB", np.uint8),
    "YCbCr": ("RGB", np.uint8),
}
# EXIF orientations that exchange rows and columns.
TURNED_ORIENTATIONS = {5, 6, 7, 8}
ORIENTATION = 0x0112
TURNING = ("JPEG", "MPO")


def picture(file: Path, request: Request) -> Stack:
    """A PNG, JPEG or BMP: grey or colours, palettes looked up, alpha dropped, turned as its EXIF says."""
    with naming(file), Image.open(file) as image:
        if image.format == "PNG" and image.mode != "I;16" and str(image.tile[0].args).endswith(";16B"):
            raise StudyError(f"{file}: of a colour PNG of 16 bits pillow would read 8; save it as TIFF")
        if image.mode not in MODES:
            raise StudyError(f"{file}: a picture of mode {image.mode}; save it as grey or RGB")
        mode, dtype = MODES[image.mode]
        if image.mode == "P" and not request.masks and request.channel is None and not _is_grey(image):
            raise StudyError(
                f"{file} has a palette; give config key {request.key}.channel: 0 to take the stored numbers, or rgb to "
                "look colours up"
            )
        if image.mode == "P" and isinstance(request.channel, int) and not request.masks:
            mode, request = "P", request._replace(channel=None)
        # Of a PNG, pillow would decode all pixels to find one.
        orientation = image.getexif().get(ORIENTATION, 1) if image.format in TURNING else 1
        sides = (image.width, image.height) if orientation in TURNED_ORIENTATIONS else (image.height, image.width)
        has_alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
        notes = [note for note, holds in {
            "alpha dropped": has_alpha,
            "palette looked up": image.mode == "P",
            "turned as the EXIF orientation says": orientation not in (0, 1),
        }.items() if holds]  # fmt: skip
    if mode == "P":
        notes = ["palette: the stored value is the intensity"]
    coloured = mode.startswith("RGB")
    taken = request.channel if coloured and isinstance(request.channel, int) and not request.masks else None
    axes.check_channel(3 if coloured else 1, request._replace(channel=taken))
    shape = (*sides, 3) if coloured and taken is None else sides
    return Stack(file, [shape], np.dtype(dtype), partial(_picture, file, mode, taken), notes=tuple(notes))


def _is_grey(image: Image.Image) -> bool:
    """Whether the colours of a palette are shades of grey, which mean what they show."""
    table = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    return bool((table == table[:, :1]).all())


def _picture(file: Path, mode: str, channel: int | None, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    with naming(file), Image.open(file) as image:
        turned = ImageOps.exif_transpose(image) if image.format in TURNING else image
        pixels = np.asarray(turned.convert(mode))
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if channel is None else pixels[..., channel]
    yield from [pixels] * len(numbers)


READERS: dict[str, Callable[[Path, Request], Stack]] = {
    ".png": picture,
    ".jpg": picture,
    ".jpeg": picture,
    ".bmp": picture,
    ".tif": tiff,
    ".tiff": tiff,
    ".mrc": mrc,
    ".mrcs": mrc,
    ".rec": mrc,
    ".st": mrc,
    ".h5": hdf5,
    ".hdf5": hdf5,
    ".zarr": zarr,
    **dict.fromkeys(PLUGINS, microscope),
}
# What holds images and masks at once is a domain by itself, not a file of a folder.
WHOLE = (hdf5, zarr)
KINDS = "PNG, JPEG, BMP, TIFF, MRC, CZI, ND2 or LIF"


def reader_of(file: Path) -> Callable[[Path, Request], Stack] | None:
    """The reader of a file, or of the folder that is an OME-Zarr; None where there is none."""
    if file.is_dir():
        return zarr if any((file / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")) else None
    reader = READERS.get(file.suffix.lower())
    return hdf5 if reader is None and h5py.is_hdf5(file) else reader


def read(file: Path, request: Request) -> Stack:
    """The images of a file, by its headers.

    Errors: :class:`StudyError` naming the file, or the config key of ``request`` that answers what it leaves open.
    """
    reader = reader_of(file)
    if reader is None:
        known = ", ".join(READERS)
        raise StudyError(f"{file}: no reader for '{file.suffix}' (known: {known}); save it as TIFF, or OME-TIFF")
    return reader(file, request)
