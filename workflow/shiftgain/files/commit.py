"""Which state of the code is running."""

import subprocess
from pathlib import Path

UNKNOWN, CHANGED = "unknown", "-changed"


def commit() -> str:
    """The git commit of this checkout, ``-changed`` behind it where files differ from it; :data:`UNKNOWN` without git.

    A copy that lies in the repository of something else, which does not track it, is one without git.
    """
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True, text=True).stdout

    try:
        git("ls-files", "--error-unmatch", __file__)
        return git("rev-parse", "HEAD").strip() + (CHANGED if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
