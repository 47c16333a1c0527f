"""Kills single jobs while Snakemake goes on: every process of Python imports this first, with its folder on the path.

The idea is that of Toil's bad worker. Environment variable BAD_JOBS names a folder with ``seconds.json``, stage -> how
long a job of it takes. Of every stage the first job is killed, and each other one with :data:`PROBABILITY`: by SIGKILL,
at a random moment of its time, or, where it is done before, at its very end. STAGE.NUMBER.killed is left of each.
"""

import atexit
import json
import os
import random
import re
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil

PROBABILITY = 0.3


def number_of(stage: str, folder: Path) -> int:
    """How many jobs of this stage were started before this one."""
    number = 0
    while True:
        try:
            (folder / f"{stage}.{number}.started").touch(exist_ok=False)
            return number
        except FileExistsError:
            number += 1


def doom(stage: str, folder: Path) -> None:
    number = number_of(stage, folder)
    chance = random.Random(f"{stage} {number}")
    if number and chance.random() > PROBABILITY:
        return

    def kill() -> None:
        (folder / f"{stage}.{number}.killed").touch()
        # With what it started, as a scheduler does: workers that outlived it would keep the test waiting.
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    atexit.register(kill)
    timer = threading.Timer(chance.uniform(0, json.loads((folder / "seconds.json").read_text())[stage]), kill)
    timer.daemon = True
    timer.start()


script = re.search(r"/\.snakemake/scripts/tmp\w+\.(\w+)\.py$", " ".join(sys.orig_argv))
if script and "BAD_JOBS" in os.environ:
    doom(script[1], Path(os.environ["BAD_JOBS"]))
