"""Files of microscopes as series, through the library bioio, whose plugins read a kind each and name the axes."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from shiftgain.domains import axes
from shiftgain.domains.arrays import stack_of
from shiftgain.domains.stack import Request, Stack, naming
from shiftgain.files.errors import StudyError

# Suffix -> the package that reads it; that of Bio-Formats runs Java.
PLUGINS = {
    ".czi": "bioio-czi",
    ".nd2": "bioio-nd2",
    ".lif": "bioio-lif",
    ".dv": "bioio-dv",
    ".oib": "bioio-bioformats",
    ".vsi": "bioio-bioformats",
    ".ims": "bioio-bioformats",
}
# The scenes of a file that describes none.
UNDESCRIBED = ("Image:0",)


def microscope(file: Path, request: Request) -> Stack:
    """The images of all scenes of a file, in their order: sections and times are images, samples are colours.

    Errors: :class:`StudyError` naming the packages that are missing, and as :func:`axes.images_of`.
    """
    with naming(file):
        image = _opened(file)
        _check_scenes(file, image)
        scenes = []
        for number, name in enumerate(image.scenes):
            image.set_scene(number)
            where = f"{file}: scene '{name}'" if len(image.scenes) > 1 else str(file)
            array = image.xarray_dask_data
            letters = "".join(map(str, array.dims)).upper()
            if "S" in letters and array.shape[letters.index("C")] == 1 and axes.is_one(request):
                letters = letters.replace("C", "I").replace("S", "C")
            dtype = np.dtype(array.dtype)
            scenes.append(stack_of(file, where, letters, array.shape, dtype, partial(_scene, file, number), request))
            if dtype != scenes[0].dtype:
                raise StudyError(f"{where} is {dtype}, the first {scenes[0].dtype}; export them apart, as OME-TIFF")
        notes = dict.fromkeys(note for scene in scenes for note in scene.notes)
        if len(scenes) > 1:
            notes[f"{len(scenes)} scenes, one after another"] = None
    shapes = [shape for scene in scenes for shape in scene.shapes]
    return Stack(file, shapes, scenes[0].dtype, partial(_pixels, scenes), notes=tuple(notes))


def _opened(file: Path) -> Any:
    """Errors: :class:`StudyError` where the library, or what it needs for this kind of file, is not installed."""
    suffix = file.suffix.lower()
    try:
        library, plugins = importlib.import_module("bioio"), importlib.import_module("bioio.plugins")
        known = plugins.get_plugins(use_cache=True)
    except ImportError:
        known = {}
    if suffix not in known:
        packages = f"bioio {PLUGINS[suffix]}"
        raise StudyError(f"{file}: reading it needs {packages}; pip install {packages}, or export it as OME-TIFF")
    try:
        return library.BioImage(str(file), use_plugin_cache=True)
    except importlib.import_module("bioio_base.exceptions").UnsupportedFileFormatError as error:
        raise StudyError(f"{file}: cannot be read as {suffix[1:].upper()}; replace it by an intact file") from error


def _check_scenes(file: Path, image: Any) -> None:
    """Of a CZI that counts its scenes but does not describe them, the plugin takes the first for the whole."""
    if file.suffix.lower() == ".czi" and tuple(image.scenes) == UNDESCRIBED:
        count = image.metadata.findtext(".//Image/SizeS") or "1"
        if int(count) > 1:
            raise StudyError(f"{file}: holds {count} scenes and does not say which; export each as OME-TIFF")


@contextmanager
def _scene(file: Path, number: int) -> Iterator[Any]:
    image = _opened(file)
    image.set_scene(number)
    # On the cores of the job alone, not on all there are.
    with importlib.import_module("dask").config.set(scheduler="synchronous"):
        array = image.xarray_dask_data
        # bioio-czi 3.0.1 reads colours right in whole only: of a part, each sample is the first.
        yield image.xarray_data.data if "S" in array.dims else array.data


def _pixels(scenes: list[Stack], numbers: Sequence[int]) -> Iterator[np.ndarray]:
    places = [(scene, number) for scene, stack in enumerate(scenes) for number in range(len(stack.shapes))]
    for scene, run in groupby((places[number] for number in numbers), key=lambda place: place[0]):
        yield from scenes[scene].pages([number for _, number in run])
