"""What a reader makes of a file, by its headers: images that are decoded when they are asked for."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shiftgain.files.errors import StudyError


class Request(NamedTuple):
    """What the config says of a file before it is opened.

    ``key``: the domain's key in the config, for messages; ``masks``: whether the file holds masks; ``dataset``: the
    name of the images or masks in a file of several; ``channel``: the one to take, "all" for each as an image of its
    own, "rgb" for three as colours; ``channels``: of the study, 1 or 3.
    """

    key: str
    masks: bool = False
    dataset: str | None = None
    channel: int | str | None = None
    channels: int = 1


@dataclass(frozen=True)
class Stack:
    """The images (or masks) of a file.

    ``shapes``: (rows, columns) or (rows, columns, 3) of each; ``pages(numbers)`` gives their pixels as stored;
    ``bits``: those that the metadata say are used, where fewer than the type has; ``notes``: how it was read, where a
    reader had a choice; ``order``: letters of the axes along which the images lie, the slowest first, as far as known.
    """

    file: Path
    shapes: list[tuple[int, ...]]
    dtype: np.dtype
    pages: Callable[[Sequence[int]], Iterator[np.ndarray]]
    bits: int | None = None
    notes: tuple[str, ...] = ()
    order: str = ""


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Whatever a damaged file provokes, in one line that names it: decoders raise almost anything."""
    try:
        yield
    except (StudyError, MemoryError):
        raise
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"{file}: cannot be read ({what}); {_remedy(error, what)}") from error


def _remedy(error: Exception, what: str) -> str:
    """What helps: a file that is not damaged needs no other in its place."""
    if isinstance(error, FileNotFoundError):
        return "where it is a link, it leads nowhere: correct it"
    if isinstance(error, PermissionError) or "errno = 13" in what:
        return "give yourself the permission to read it"
    if isinstance(error, OSError) and re.search(r"\block", what):
        return "close it where it is open for writing, or set HDF5_USE_FILE_LOCKING=FALSE where there are no locks"
    return "replace it by an intact file"
