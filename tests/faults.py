"""How many of the faults in ``faults.yaml`` the tests catch: ``python -m tests.faults [NAME...]``.

Each fault is one line put wrong, in words and in code: in ``file`` the text ``old``, which stands there once, becomes
``new``; ``tests`` are arguments of pytest, a test file as a rule; ``wrong`` says what would go wrong unnoticed. A fault
is caught if the tests pass without it and fail with it. NAME picks the faults whose ``file`` or ``wrong`` contain it.
The checkout is copied, once for each core, and never touched.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".yaml")
GOAL = 0.9
# Python takes compiled code for current by second and size of the source: a fault of the same length would not be seen.
ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
WORKERS = os.cpu_count() or 1


def copy(folder: Path) -> None:
    """The tracked files of the checkout, as they are now, in ``folder``."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True, text=True).stdout
    for name in listed.split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)


def passes(folder: Path, tests: str) -> bool:
    """Whether all of these tests pass. Errors: SystemExit where pytest could not run them."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)]
    run = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    if run.returncode > 1:
        raise SystemExit(f"pytest {tests}: no test was run\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.returncode == 0


def survives(folder: Path, fault: dict) -> bool:
    """Whether the tests pass with the fault in place, which is taken out again."""
    path = folder / fault["file"]
    text = path.read_text()
    if (times := text.count(fault["old"])) != 1:
        raise SystemExit(f"{fault['file']}: {fault['wrong']}: 'old' stands there {times} times, not once")
    path.write_text(text.replace(fault["old"], fault["new"]))
    try:
        return passes(folder, fault["tests"])
    finally:
        path.write_text(text)


def main(names: list[str]) -> int:
    faults = [f for f in yaml.safe_load(LIST.read_text()) if any(n in f["file"] + f["wrong"] for n in names or [""])]
    caught = 0
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(WORKERS) as pool:
        free: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copy(folder := Path(place) / str(worker))
            free.put(folder)

        def in_a_copy(function: Callable[[Path, Any], bool], asked: Any) -> bool:
            folder = free.get()
            try:
                return function(folder, asked)
            finally:
                free.put(folder)

        tests = sorted({fault["tests"] for fault in faults})
        passed = pool.map(lambda asked: in_a_copy(passes, asked), tests)
        if failing := [asked for asked, fine in zip(tests, passed, strict=True) if not fine]:
            raise SystemExit(f"these tests fail without any fault: {failing}")
        survived = pool.map(lambda fault: in_a_copy(survives, fault), faults)
        for fault, unseen in zip(faults, survived, strict=True):
            caught += not unseen
            print("SURVIVED" if unseen else "caught  ", f"{fault['file']}: {fault['wrong']}", flush=True)
    print(f"{caught} of {len(faults)} caught")
    return int(caught < GOAL * len(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
