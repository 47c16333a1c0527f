"""What was learnt from files that have not changed, kept between runs."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shiftgain.files.errors import StudyError
from shiftgain.files.tables import replacing


def remembered(path: Path, key: list, learn: Callable[[], dict]) -> dict:
    """The dict that ``learn`` gave when ``key`` was as it is now, as JSON at ``path``; learnt again where it was not.

    A place that cannot be written to costs the time of learning at every run, and no more.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(path.read_text())
        if entry["key"] == key:
            return entry["value"]
    value = json.loads(json.dumps(learn()))
    with suppress(OSError, StudyError), replacing(path) as partial:
        partial.write_text(json.dumps({"key": key, "value": value}))
    return value
