"""Arrays in HDF5, OME-Zarr and MRC as series: by the axes that they name, or by their shape where it says enough."""

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from shiftgain.domains import axes
from shiftgain.domains.stack import Request, Stack, naming
from shiftgain.files.errors import StudyError

# Names that are taken unasked: this package's own, ilastik's, CREMI's.
IMAGES = ("images", "image", "raw", "volumes/raw", "exported_data", "data")
MASKS = ("masks", "mask", "labels", "label", "volumes/labels", "volumes/label")
# Of an array, read at once at most.
READ_BYTES = 2**24
# Axes of an array that names none, by what its last sides are.
UNNAMED_AXES = {2: "YX", 3: "IYX"}

# Names of axes that are words, and types of axes in NGFF -> the letter.
AXIS_WORDS = {
    **dict.fromkeys(("channel", "channels", "wavelength"), "C"), **dict.fromkeys(("time", "frame"), "T"),
    **dict.fromkeys(("depth", "plane", "slice"), "Z"), **dict.fromkeys(("height", "row", "rows"), "Y"),
    **dict.fromkeys(("width", "column", "columns"), "X"), **dict.fromkeys(("image", "position"), "I"),
}  # fmt: skip
# "IMOD", in the header of files that it wrote.
IMOD_STAMP = 1146047817

Opening = Callable[[], AbstractContextManager[Any]]


def hdf5(file: Path, request: Request) -> Stack:
    """The images of a dataset, axes by ``axistags`` (ilastik) or dimension labels where there are any."""
    with naming(file), h5py.File(file, "r") as handle:
        names: list[str] = []
        handle.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        name = _name(file, names, request)
        dataset = handle[name]
        _check_filters(file, dataset)
        labels = [axis.label for axis in dataset.dims]
        where = f"{file}: '{name}'"
        named = _vigra(dataset.attrs.get("axistags")) or (_lettered(where, labels) if all(labels) else None)
        return _stack(file, name, dataset.shape, dataset.dtype, named, partial(_dataset, file, name), request)


def zarr(file: Path, request: Request) -> Stack:
    """Level 0 of the images, or of the labels, of an OME-Zarr group (NGFF 0.4 and 0.5); or an array by its name."""
    library = _library("zarr", file)
    with naming(file):
        root = library.open(str(file), mode="r")
        if not isinstance(root, library.Group):
            return _zarr_stack(file, "", root, None, request)
        if request.dataset is None and request.masks:
            names = list(_ome(root["labels"]).get("labels", ())) if "labels" in root else []
            name = "labels/" + _one(file, names, "masks", request)
        else:
            name = request.dataset or ""
        node = root[name] if name else root
        if not isinstance(node, library.Group):
            return _zarr_stack(file, name, node, None, request)
        scales = _ome(node).get("multiscales")
        if not scales:
            what = ", ".join(sorted(key for key, _ in node.members(max_depth=None))) or "nothing"
            role = "masks" if request.masks else "images"
            raise StudyError(f"{file}: no multiscale image (holds {what}); name the array by {request.key}.{role}")
        level = "/".join(filter(None, (name, scales[0]["datasets"][0]["path"])))
        named = _lettered(f"{file}: '{level}'", scales[0].get("axes", ()))
        return _zarr_stack(file, level, root[level], named or None, request)


def has_labels(file: Path) -> bool:
    """Whether an OME-Zarr group has labels of its own."""
    with naming(file):
        root = _library("zarr", file).open(str(file), mode="r")
        return "labels" in root if hasattr(root, "members") else False


def mrc(file: Path, request: Request) -> Stack:
    """The sections of an MRC file (modes of real numbers), or the image where there is one."""
    library = _library("mrcfile", file)
    with naming(file), library.mmap(file, "r", permissive=True) as handle:
        if handle.data is None:
            raise StudyError(f"{file}: cannot be read as MRC; replace it by an intact file")
        dtype = handle.data.dtype
        unsigned = dtype == np.int8 and _has_unsigned_bytes(file, handle.header)
        opening = partial(_mrc, file, np.dtype(np.uint8 if unsigned else dtype))
        stack = _stack(file, "", handle.data.shape, np.dtype(np.uint8 if unsigned else dtype), None, opening, request)
        return replace(stack, notes=(*stack.notes, "bytes without sign, as the header says")) if unsigned else stack


def _has_unsigned_bytes(file: Path, header) -> bool:
    """Whether bytes of mode 0 count from 0: by the flag of IMOD, mrc_format.txt, else by the greatest value stated.

    IMOD's header has its stamp at byte 152 and flags behind it, of which the first is set where bytes have a sign.
    """
    with file.open("rb") as raw:
        raw.seek(152)
        stamp, flags = np.frombuffer(raw.read(8), header.mode.dtype)
    return not flags & 1 if stamp == IMOD_STAMP else bool(header.dmin >= 0 and header.dmax > np.iinfo(np.int8).max)


@contextmanager
def _dataset(file: Path, name: str) -> Iterator[h5py.Dataset]:
    with h5py.File(file, "r") as handle:
        yield handle[name]


@contextmanager
def _mrc(file: Path, dtype: np.dtype) -> Iterator[np.ndarray]:
    with _library("mrcfile", file).mmap(file, "r", permissive=True) as handle:
        yield handle.data.view(dtype) if handle.data.dtype == np.int8 else handle.data


@contextmanager
def _zarr_array(file: Path, name: str) -> Iterator[Any]:
    root = _library("zarr", file).open(str(file), mode="r")
    yield root[name] if name else root


def _zarr_stack(file: Path, name: str, array, named: str | None, request: Request) -> Stack:
    if named is None:
        labels = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        named = _lettered(f"{file}: '{name}'", labels) if labels and all(labels) else None
    return _stack(file, name, array.shape, np.dtype(array.dtype), named, partial(_zarr_array, file, name), request)


def _lettered(where: str, axes_named: Sequence[str | dict]) -> str:
    """The letter of each axis, by its name or by the type that NGFF gives it.

    Errors: :class:`StudyError` for a word that says nothing of what the axis is.
    """
    letters = ""
    for axis in axes_named:
        name, kind = (axis, "") if isinstance(axis, str) else (axis["name"], axis.get("type", ""))
        letter = name if len(name) == 1 else AXIS_WORDS.get(name.lower(), AXIS_WORDS.get(kind, ""))
        if not letter:
            known = ", ".join(AXIS_WORDS)
            raise StudyError(f"{where} has an axis '{name}'; call it by a letter, such as z, t or c, or one of {known}")
        letters += letter.upper()
    return letters


def _stack(
    file: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    named: str | None,
    opening: Opening,
    request: Request,
) -> Stack:
    where = f"{file}: '{name}'" if name else f"{file}:"
    letters = _letters(where, shape, named, request)
    if named is None and len(shape) == 3:
        axes.check_sides(where, *shape)
    return stack_of(file, where, letters, shape, dtype, opening, request)


def stack_of(
    file: Path,
    where: str,
    letters: str,
    shape: Sequence[int],
    dtype: np.dtype,
    opening: Opening,
    request: Request,
) -> Stack:
    """The images of an array with axes ``letters``, as :mod:`shiftgain.domains.axes` has them; ``opening`` gives it.

    Errors: :class:`StudyError`, starting with ``where``, as :func:`axes.images_of`, and for colours of other types.
    """
    image_axes, indices = axes.images_of(where, letters, shape, request)
    sides = [shape[letters.index(axis)] for axis in "YX"]
    coloured = len(image_axes) == 3
    if coloured and dtype.kind not in "uif":
        raise StudyError(f"{where} is {tuple(shape)} of type {dtype}; convert it")
    notes = ("alpha dropped",) if coloured and shape[letters.index(image_axes.strip("YX") or "S")] == 4 else ()
    size = (*sides, 3) if coloured else tuple(sides)
    turn = [image_axes.index(axis) for axis in ("Y", "X", *image_axes.replace("Y", "").replace("X", ""))]
    read = partial(_arrays, file, opening, indices, turn)
    order = "".join(
        axis for axis, side in zip(letters, shape, strict=True) if axis not in (*image_axes, "C") and side > 1
    )
    return Stack(file, [size] * len(indices), np.dtype(dtype), read, notes=notes, order=order)


def _letters(where: str, shape: tuple[int, ...], named: str | None, request: Request) -> str:
    """Axes of an array: those named, or what its shape leaves no doubt of."""
    if named and len(named) == len(shape):
        letters = named.upper()
        # Samples of a colour, or one channel of them; a side of another length counts what some call samples: images.
        colours = "S" in letters and shape[letters.index("S")] in (3, 4)
        return letters.replace("S", ("C" if axes.is_one(request) else "S") if colours else "I")
    if len(shape) in UNNAMED_AXES and 0 not in shape:
        return UNNAMED_AXES[len(shape)]
    if len(shape) == 4 and 0 not in shape:
        if shape[3] in (1, 3):
            return "IYXC" if shape[3] == 1 or axes.is_one(request) else "IYXS"
        if shape[1] == 1 or request.channel is not None or (shape[1] <= axes.MOST_SAMPLES < shape[3]):
            return "ICYX" if shape[3] > axes.MOST_SAMPLES else "IYXC"
    channels = next((size for size in (*shape[3:], *shape[1:2]) if 1 < size <= axes.MOST_SAMPLES), None)
    hint = f", or name a channel by {request.key}.channel" if channels and len(shape) == 4 else ""
    raise StudyError(f"{where} is {shape}; make it (n, H, W) or (n, H, W, 3), not empty{hint}")


def _arrays(
    file: Path, opening: Opening, indices: list[axes.Index], turn: list[int], numbers: Sequence[int]
) -> Iterator[np.ndarray]:
    with naming(file), opening() as array:
        chosen = [indices[number] for number in numbers]
        for index in _runs(chosen, max(1, READ_BYTES * array.shape[0] // max(1, array.size * array.dtype.itemsize))):
            images = np.asarray(array[index])
            for image in images if isinstance(index[0], slice) and len(turn) < images.ndim else [images]:
                pixels = image.transpose(turn)
                yield pixels[..., :3] if pixels.ndim == 3 else pixels


def _runs(chosen: list[axes.Index], at_most: int) -> Iterator[axes.Index]:
    """One index for each run of neighbours along the first axis: a chunk that holds several is decompressed once."""
    position = 0
    while position < len(chosen):
        start, *rest = chosen[position]
        length = 1
        if isinstance(start, int):
            run = chosen[position : position + at_most]
            length = next((k for k, index in enumerate(run) if index != (start + k, *rest)), len(run))
            yield (slice(start, start + length), *rest)
        else:
            yield chosen[position]
        position += length


def _name(file: Path, names: list[str], request: Request) -> str:
    """The dataset asked for, or the only one of a name that is taken unasked."""
    if request.dataset is not None:
        name = request.dataset.strip("/")
        if name not in names:
            role = "masks" if request.masks else "images"
            raise StudyError(f"{file}: no dataset '{name}' (has: {', '.join(names)}); correct {request.key}.{role}")
        return name
    known = MASKS if request.masks else IMAGES
    if known[0] in names:
        return known[0]
    role = "masks" if request.masks else "images"
    return _one(file, [name for name in known if name in names] or names, role, request)


def mask_names(file: Path) -> list[str]:
    """Names of masks in an HDF5 file that are taken unasked."""
    with naming(file), h5py.File(file, "r") as handle:
        return [name for name in MASKS if isinstance(handle.get(name), h5py.Dataset)]


def _one(file: Path, names: list[str], role: str, request: Request) -> str:
    if len(names) == 1 and (request.masks or names[0] in IMAGES):
        return names[0]
    held = f"only: {', '.join(names)}" if names else "none at all"
    raise StudyError(f"{file}: has no dataset '{role}' ({held}); add or rename it, or name it by {request.key}.{role}")


def _vigra(tags: object) -> str | None:
    """Axes of vigra, as ilastik writes them: JSON of keys, t z y x c."""
    if tags is None:
        return None
    text = tags.decode() if isinstance(tags, bytes) else str(tags)
    return "".join(axis["key"] for axis in json.loads(text)["axes"]).upper()


def _ome(node) -> dict:
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)


def _check_filters(file: Path, dataset: h5py.Dataset) -> None:
    created = dataset.id.get_create_plist()
    for number in range(created.get_nfilters()):
        code, _, _, name = created.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            label = name.decode(errors="replace") or code
            raise StudyError(f"{file}: '{dataset.name}' needs HDF5 filter {label}; repack it with gzip (h5repack)")


def _library(name: str, file: Path):
    """An optional library. Errors: :class:`StudyError` naming it where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StudyError(f"{file}: reading it needs {name}; pip install {name}, or save it as TIFF") from error
