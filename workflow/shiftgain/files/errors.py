"""The one exception that a user is meant to read, and what its line says of a word that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


class StudyError(Exception):
    """A fault the user can mend: one line that names the key or the file, and the remedy.

    Jobs print it without a traceback and exit with status 1 (see :mod:`shiftgain.files.job`).
    """


def hint(word: object, known: Iterable) -> str:
    """``; did you mean 'NAME'?`` with the nearest of ``known``, or all of them where none is near."""
    names = [str(name) for name in known]
    close = get_close_matches(str(word), names, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(names) or 'none'}"
