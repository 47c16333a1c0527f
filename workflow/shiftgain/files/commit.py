"""Which state of the code is running."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The git commit of this checkout, ``-changed`` behind it where files differ from it; ``unknown`` without git."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True, text=True).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("-changed" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
