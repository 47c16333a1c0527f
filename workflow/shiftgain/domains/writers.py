"""Masks as files like those of their images: the same name, size and axes, so that the two open together.

Of a PNG, JPEG or BMP the mask is a PNG. Of a TIFF it is a TIFF of the same kind (ImageJ, OME or plain), with the axes,
the resolution and the units of the image less its channels, so that Fiji and napari lay it over. Of anything else,
which holds a series, it is a plain TIFF stack. Masks are uint8, 0 and 255; probabilities float32, always TIFF.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from os.path import commonpath
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from shiftgain.domains.stack import Stack, naming
from shiftgain.files.tables import replacing

PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}
TIFFS = {".tif", ".tiff"}
# Of the metadata of ImageJ, what says where and when a pixel is; the rest says how channels are shown.
IMAGEJ = ("unit", "yunit", "zunit", "spacing", "finterval", "tunit", "xorigin", "yorigin", "zorigin")
# Of the attributes of Pixels in OME-XML, what says where and when a pixel is.
OME = [
    f"{name}{unit}" for name in (*(f"PhysicalSize{axis}" for axis in "XYZ"), "TimeIncrement") for unit in ("", "Unit")
]


@dataclass(frozen=True)
class Form:
    """How the images of a file lie in it.

    ``axes`` and ``shape``: of all of them together, rows and columns last, none for pages that share nothing.
    ``order``: for each place of these axes the number of its image in the :class:`Stack`. ``options``: of
    :meth:`tifffile.TiffWriter.write`; ``kind``: of :class:`tifffile.TiffWriter`.
    """

    axes: str = ""
    shape: tuple[int, ...] = ()
    order: list[int] | None = None
    kind: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)


def names(stacks: list[Stack], series: str, suffix: str = "") -> list[Path]:
    """Relative paths of the masks of ``stacks``: names of the images, in the folders that these do not share.

    ``suffix``: in place of each file's own. A file that is the whole series is called ``series`` where it is no TIFF.
    """
    folder = commonpath([str(stack.file.parent) for stack in stacks])
    return [
        (stack.file.relative_to(folder) if len(stacks) > 1 or stack.file.suffix.lower() in TIFFS | PICTURES
         else Path(series)).with_suffix(suffix or suffix_of(stack.file))
        for stack in stacks
    ]  # fmt: skip


def suffix_of(file: Path) -> str:
    """The suffix of the mask of an image."""
    if file.suffix.lower() in PICTURES:
        return ".png"
    return file.suffix if file.suffix.lower() in TIFFS else ".tif"


def write(path: Path, stack: Stack, pages: Iterator[np.ndarray]) -> None:
    """Write the masks boolean (H, W), or the probabilities float32 (H, W), of the images of ``stack`` in their order.

    ``path``: as :func:`names` gives it. Takes as many ``pages`` as the stack has images.
    """
    count = len(stack.shapes)
    arrays = (_levels(page) for page in islice(pages, count))
    with replacing(path) as partial:
        if path.suffix == ".png":
            Image.fromarray(next(arrays)).save(partial, format="PNG")
            return
        form = form_of(stack)
        if form.order is not None and form.order != list(range(count)):
            held = list(arrays)
            arrays = (held[number] for number in form.order)
        _write_tiff(partial, form, arrays)


def form_of(stack: Stack) -> Form:
    """The :class:`Form` of a stack's file; a plain stack where it is no TIFF."""
    if stack.file.suffix.lower() not in TIFFS:
        return _plain(stack)
    with naming(stack.file), tifffile.TiffFile(stack.file, _multifile=False) as handle:
        series = [part for part in handle.series if not part.keyframe.is_reduced]
        options = _resolution(handle.pages[0])
        if len(series) != 1:
            return Form(options=options)
        axes, shape, order = _images(series[0], len(stack.shapes))
        if not axes:
            return Form(options=options)
        if handle.is_imagej and set(axes) <= set("TZYX"):
            known = handle.imagej_metadata or {}
            about = {key: known[key] for key in IMAGEJ if key in known}
            return Form(axes, shape, order, {"imagej": True}, options | {"metadata": {"axes": axes} | about})
        if handle.is_ome and set(axes) <= set("TZYX"):
            pixels = _pixels(str(handle.ome_metadata))
            about = {key: pixels[key] for key in OME if key in pixels}
            return Form(axes, shape, order, {"ome": True}, options | {"metadata": {"axes": axes} | about})
        shaped = {} if handle.is_shaped else {"metadata": None}
        return Form(axes, shape, order, {}, options | shaped)


def _images(series, count: int) -> tuple[str, tuple[int, ...], list[int]]:
    """(axes, shape, order) of :class:`Form`, of a series of which ``count`` images were taken; no axes if unclear."""
    page = series.keyframe
    outer = list(zip(series.axes, series.shape, strict=True))[: -page.ndim]
    total = int(np.prod([size for _, size in outer]))
    kept = outer
    if total != count:
        # One of its channels was taken, or of its samples.
        kept = [(axis, size) for axis, size in outer if axis != "C"]
        if int(np.prod([size for _, size in kept])) != count:
            return "", (), []
    rows, columns = (page.shape[page.axes.index(axis)] for axis in "YX")
    places = np.array([getattr(page, "index", 0) for page in series.pages])
    order = list(range(count))
    if len(places) == total == count:
        order = np.argsort(np.argsort(places)).tolist()
    elif len(places) == total:
        channel = next(number for number, (axis, _) in enumerate(outer) if axis == "C")
        grid = np.moveaxis(places.reshape([size for _, size in outer]), channel, -1)
        order = np.argsort(np.argsort(grid[..., 0].ravel())).tolist()
    return "".join(axis for axis, _ in kept) + "YX", (*(size for _, size in kept), rows, columns), order


def _plain(stack: Stack) -> Form:
    alike = len({shape[:2] for shape in stack.shapes}) == 1
    if not alike or len(stack.shapes) == 1:
        return Form()
    return Form("QYX", (len(stack.shapes), *stack.shapes[0][:2]))


def _write_tiff(path: Path, form: Form, arrays: Iterator[np.ndarray]) -> None:
    # ImageJ reads its own stacks end to end only.
    options = {"photometric": "minisblack"} | ({} if "imagej" in form.kind else {"compression": "zlib"}) | form.options
    first = next(arrays)
    with tifffile.TiffWriter(path, **form.kind) as writer:
        if len(form.shape) < 3:
            for array in (first, *arrays):
                writer.write(array, **options)
            return

        def pages() -> Iterator[np.ndarray]:
            yield first
            yield from arrays

        writer.write(pages(), shape=form.shape, dtype=first.dtype, **options)


def _resolution(page) -> dict:
    """Pixels per unit and the unit of a page; nothing where it does not say."""
    if "XResolution" not in page.tags or "YResolution" not in page.tags:
        return {}
    parts = [page.tags[name].value for name in ("XResolution", "YResolution")]
    return {"resolution": tuple(a / b if b else 1.0 for a, b in parts), "resolutionunit": int(page.resolutionunit)}


def _pixels(xml: str) -> dict:
    image = tifffile.xml2dict(xml)["OME"]["Image"]
    return (image[0] if isinstance(image, list) else image)["Pixels"]


def _levels(page: np.ndarray) -> np.ndarray:
    return np.where(page, 255, 0).astype(np.uint8) if page.dtype == bool else page
