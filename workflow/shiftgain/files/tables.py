"""Files that appear under their name only when they are complete."""

import errno
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

from shiftgain.files.errors import StudyError

REMEDIES = {
    errno.ENOSPC: "no space left on the disk; free some and run again",
    errno.EDQUOT: "no space left in your quota; free some and run again",
    errno.EROFS: "the file system is read-only; make it writable, or change config key results",
    errno.EACCES: "no permission to write; change that of the folder, or config key results",
}

# Columns that hold names of domains or networks.
NAMES = ("source", "target", "name", "network", "domain")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to: moved to ``path`` when the block ends, removed on any error.

    What a killed process left of the same file is removed too. Errors: :class:`StudyError` naming ``path`` when the
    disk is full or must not be written.
    """
    path = Path(path)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(".*"):
            if re.fullmatch(rf"\.\d+\.{re.escape(path.name)}", left.name):
                left.unlink(missing_ok=True)
        yield partial
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        if remedy := REMEDIES.get(_number(error)):
            raise StudyError(f"{path}: {remedy}") from error
        raise
    finally:
        with suppress(OSError):
            partial.unlink()


def read_csv(path: str | Path, columns: Collection[str] = (), **options) -> "pd.DataFrame":
    """A table whose names of domains (:data:`NAMES`) stay text, even ``1e3`` and ``NA``; ``options`` are of pandas.

    Errors: :class:`StudyError` naming the file when it is missing, cut short, damaged, or lacks one of ``columns``.
    """
    import pandas as pd

    try:
        content = Path(path).read_bytes()
        # pandas fills up a last line that is cut, and takes zeros, which a crash leaves in a file, for text.
        if content and not content.endswith(b"\n"):
            raise ValueError("the last line is cut")
        if b"\0" in content:
            raise ValueError("it is not text")
        # Nothing is written where there is no number: a domain may be called NA, or null.
        empty = {"keep_default_na": False, "na_values": ""}
        table = pd.read_csv(BytesIO(content), dtype=dict.fromkeys(NAMES, str), **empty | options)
        # pandas takes what the first line has too many for an index.
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("a line is longer than the first")
        if missing := [name for name in columns if name not in table]:
            raise ValueError(f"no column {', '.join(missing)}")
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such file; run the step that makes it again") from error
    except ValueError as error:
        raise StudyError(f"{path}: damaged ({str(error).strip()}); delete it and run again") from error
    return table


def write_csv(table: "pd.DataFrame", path: str | Path, float_format: str | None = None) -> None:
    """Write a table without its index, complete or not at all."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format=float_format)


def write_rows(rows: list[dict], path: str | Path) -> None:
    """Write the rows of one job, dicts of equal keys, in full precision.

    Later stages read these numbers; only the tables made of them are rounded.
    """
    import pandas as pd

    write_csv(pd.DataFrame(rows), path)


def _number(error: Exception) -> int:
    """The errno of an error; HDF5 hides it in its text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    match = re.search(r"errno = (\d+)", str(error))
    return int(match.group(1)) if match else 0
