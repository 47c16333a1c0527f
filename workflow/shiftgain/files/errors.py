"""The one exception that a user is meant to read."""


class StudyError(Exception):
    """A fault the user can mend: one line that names the key or the file, and the remedy.

    Jobs print it without a traceback and exit with status 1 (see :mod:`shiftgain.files.job`).
    """
