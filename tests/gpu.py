"""`make gpu`: what only a GPU can show, in one run of bounded minutes, each figure with the card's name.

Writes gpu.json: card, versions, commit and, of every part, its status, its minutes and its rows, after every row; and
beside it the tables that the parts make. `PYTHONPATH=workflow python -m tests.gpu PART ...` runs some parts. A part
runs in a process of its own, so that one that fails or hangs leaves the others alone; one that is done is not run
again by the same code on the same card, unless with --again. `--tiny` runs the same code on a CPU with sizes that
show nothing.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch

from shiftgain.files.commit import commit
from shiftgain.files.tables import replacing
from tests.gpu_parts import CORES, ENVIRONMENT, GRACE, PARTS, ROOT, Setting, told

# What a part may take of all minutes; what one leaves, the later ones have.
SHARES = {"tests": 0.2, "throughput": 0.1, "together": 0.16, "sharing": 0.19, "talk": 0.35}


def run_part(name: str, setting: Setting, path: Path) -> None:
    """Run a part; gpu.json at ``path`` has what is known of it after every row, and its status at the end."""
    start = time.time()
    entry: dict = {"status": "stopped", "commit": setting.commit, "rows": {}, "cuts": setting.cuts}

    def keep(**more: object) -> None:
        entry.update(more, minutes=minutes_since(start))
        record(path, name, entry)

    keep()
    try:
        for key, row in PARTS[name](setting):
            print(f"  {key}: {json.dumps(rounded(row))}", flush=True)
            entry["rows"][key] = rounded(row)
            keep()
        keep(status="cut short" if setting.cuts else "done")
    except Exception as error:
        traceback.print_exc()
        keep(status="failed", error=told(error))


def minutes_since(start: float) -> float:
    """Minutes between ``start`` and now."""
    return round((time.time() - start) / 60, 3)


def rounded(value):
    """Floats to six digits, all else as it is."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_json(path: Path, value: dict) -> None:
    """Write ``value`` complete or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n")


def record(path: Path, name: str, entry: dict) -> None:
    """Put the entry of a part into gpu.json."""
    measured = json.loads(path.read_text())
    measured["parts"][name] = entry
    write_json(path, measured)


def isolated(name: str, setting: Setting, path: Path) -> None:
    """:func:`run_part` in a process of its own, which is killed when it outlasts its minutes by :data:`GRACE`."""
    command = [sys.executable, "-m", "tests.gpu", name, "--child", "--results", str(setting.results)]
    command += ["--minutes", str(setting.left / 60), "--commit", setting.commit, *(["--tiny"] if setting.tiny else [])]
    start = time.time()
    record(path, name, {"status": "stopped", "rows": {}, "cuts": []})
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, start_new_session=True)
    try:
        ended = f"its process ended with {process.wait(setting.left + GRACE)}"
    except subprocess.TimeoutExpired:
        ended = "killed: it outlasted its minutes"
    finally:
        # Its jobs too, which are in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    entry = json.loads(path.read_text())["parts"][name]
    if entry["status"] == "stopped":
        record(path, name, entry | {"status": "failed", "error": ended, "minutes": minutes_since(start)})


def card(tiny: bool) -> dict:
    """What the machine is; asked in another process, so that this one takes nothing of the card."""
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    machine = {"cores": CORES, "processor": names[0] if names else platform.machine(),
               "python": platform.python_version(), "torch": torch.__version__}  # fmt: skip
    if tiny:
        return {"card": "none (tiny)"} | machine
    program = (
        "import torch, json; p = torch.cuda.get_device_properties(0); print(json.dumps({'card': p.name,"
        "'gib': round(p.total_memory / 2**30, 1), 'multiprocessors': p.multi_processor_count,"
        "'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"error: torch sees no GPU ({done.stderr.strip().splitlines()[-1]}); --tiny runs the code on a CPU")
    return json.loads(done.stdout.splitlines()[-1]) | machine


def code() -> str:
    """A digest of all that a part runs."""
    digest = sha256()
    run = [*ROOT.glob("workflow/**/*.py"), *ROOT.glob("tests/*.py")]
    for path in sorted([*run, ROOT / "workflow/studies/talk.yaml", ROOT / "config.yaml"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def main(arguments: list[str]) -> None:
    """Run the parts named, all by default, each within its share of the minutes."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=12, help="for all parts together (12)")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of gpu.json and its tables")
    parser.add_argument("--commit", default="", help="the commit that is run, where git cannot say it")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--tiny", action="store_true", help="the same code on a CPU, in seconds, with tiny sizes")
    parser.add_argument("--here", action="store_true", help="every part in this process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if asked.tiny:
        # Threads would wait for each other longer than they work.
        torch.set_num_threads(1)
    begun = time.time()
    end = begun + 60 * asked.minutes
    results, work = asked.results.resolve(), ROOT / "results" / f"gpu{'_tiny' if asked.tiny else ''}"
    for folder in (results, work):
        folder.mkdir(parents=True, exist_ok=True)
    path = results / "gpu.json"
    if asked.child:
        return run_part(asked.parts[0], Setting(results, work, end, asked.tiny, asked.commit), path)

    about = card(asked.tiny) | {"commit": asked.commit or commit(), "code": code()}
    before = json.loads(path.read_text()) if path.exists() else {}
    same = {key: before.get(key) for key in ("card", "code")} == {key: about[key] for key in ("card", "code")}
    parts, calls = (before["parts"], before["calls"]) if same else ({}, [])
    write_json(path, about | {"parts": parts, "calls": calls})
    print(f"{about['card']}, torch {about['torch']}, commit {about['commit']}: {asked.minutes:g} minutes", flush=True)
    chosen, ran = [name for name in PARTS if name in asked.parts or not asked.parts], []
    for number, name in enumerate(chosen):
        if parts.get(name, {}).get("status") == "done" and not asked.again:
            print(f"{name}: done before", flush=True)
            continue
        left = end - time.time()
        # Of what is left, its share among the parts still to come: what earlier ones did not use is passed on.
        mine = left * SHARES[name] / sum(SHARES[each] for each in chosen[number:])
        if left < 15 and not asked.tiny:
            print(f"{name}: skipped, its minutes are gone", flush=True)
            if name not in parts:
                record(path, name, {"status": "skipped", "minutes": 0, "rows": {}, "cuts": []})
            continue
        print(f"{name}: at most {mine / 60:.1f} minutes", flush=True)
        setting = Setting(results, work, time.time() + mine, asked.tiny, about["commit"])
        (run_part if asked.here else isolated)(name, setting, path)
        ran.append(name)
        measured = json.loads(path.read_text())
        write_json(path, measured | {"calls": [*calls, {"parts": ran, "minutes": minutes_since(begun)}]})
        entry = measured["parts"][name]
        print(f"{name}: {entry['status']} in {entry['minutes']:.2f} minutes {entry.get('error', '')}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
