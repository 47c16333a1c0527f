"""A logger of Snakemake that says, while jobs run, which they are, how far each is, and about how long the rest takes.

Found by Snakemake under the name progress where the folder workflow is on Python's path, as commands/start.py has it.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Seconds between two lines, and bytes at the end of a log in which its last line is looked for.
PAUSE, TAIL = 30, 2000
# Rule -> seconds that one of its jobs is expected to take, and cores: set before Snakemake starts.
expected: dict[str, float] = {}
cores = 1
# Rule -> number of jobs that Snakemake has planned, and MB that one of them asks for.
planned: dict[str, int] = {}
memory: dict[str, int] = {}
# Log and outputs of every job that Snakemake has named: all jobs of a study in a dry run of all.
named: list[tuple[str, list[str]]] = []


class LogHandler(LogHandlerBase):
    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.left: dict[str, int] = {}
        self.jobs: dict[int, tuple[str, str]] = {}
        self.running: dict[int, float] = {}
        self.taken: dict[str, list[float]] = {}
        threading.Thread(target=self._beat, daemon=True).start()

    def emit(self, record: Any) -> None:
        """Keep count of the jobs; ``record`` has what Snakemake says of its ``event``."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self.left = {rule: n for rule, n in record.stats.items() if rule not in ("total", "all")}
            planned.update(self.left)
        elif event == LogEvent.JOB_INFO:
            log = str(record.log[0]) if record.log else ""
            self.jobs[record.jobid] = (record.rule_name, log)
            named.append((log, list(map(str, record.output))))
            memory[record.rule_name] = record.resources.get("mem_mb", 0)
        elif event == LogEvent.JOB_STARTED:
            self.running |= dict.fromkeys(record.jobs, time.monotonic())
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.running:
            rule, _ = self.jobs.get(record.job_id, ("", ""))
            self.taken.setdefault(rule, []).append(time.monotonic() - self.running.pop(record.job_id))
            if rule in self.left:
                self.left[rule] -= 1

    def line(self, now: float) -> str:
        """What runs, how far it says that it is, and what is left; empty where nothing runs."""
        running = [(*self.jobs.get(job, ("", "")), now - start) for job, start in self.running.items()]
        running = [(rule, log, seconds) for rule, log, seconds in running if rule in self.left]
        if not running:
            return ""
        named = "; ".join(f"{rule} for {spoken(seconds)}{_said(log)}" for rule, log, seconds in running)
        left, unknown = self.remaining(now)
        unmeasured = f" (not measured: {', '.join(unknown)})" if unknown else ""
        rest = f"{'at least' if unknown else 'about'} {spoken(left)} left{unmeasured}"
        return f"[progress] {sum(self.left.values())} to go, {rest}; running: {named}"

    def remaining(self, now: float) -> tuple[float, list[str]]:
        """(seconds, rules of which nothing is known), from what jobs of this run took, or else were expected to."""
        total, unknown = 0.0, []
        for rule, n in self.left.items():
            taken = self.taken.get(rule)
            each = sum(taken) / len(taken) if taken else expected.get(rule)
            if each is None:
                unknown += [rule] * (n > 0)
                continue
            total += n * each
            for job, start in self.running.items():
                if self.jobs.get(job, ("",))[0] == rule:
                    total -= min(now - start, each)
        return total / max(1, cores), unknown

    def _beat(self) -> None:
        while True:
            time.sleep(PAUSE)
            if text := self.line(time.monotonic()):
                print(text, file=sys.stderr, flush=True)


def spoken(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _said(log: str) -> str:
    """The last line of a log, in brackets, without its time; empty where there is none."""
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, Path(log).stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last[24:] if last[:4].isdigit() else last})" if last else ""
