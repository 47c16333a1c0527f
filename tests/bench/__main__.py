"""`make bench`: what the project costs, each figure beside what it is compared with, in one run.

Writes results/bench.json: name -> value, unit, ratio to what, how far it is from the limit of what, and the commit and
the machine that it is of; rows of other benches stay.
`PYTHONPATH=workflow python -m tests.bench NAME ...` runs some of them; sections and slurm take long, and run in this
way alone.
"""

import json
import sys
import tempfile
import traceback
from pathlib import Path

from shiftgain.files import runs
from shiftgain.files.commit import commit
from tests.bench.adaptation import bench_adapt
from tests.bench.drawing import bench_generate
from tests.bench.growth import bench_growth
from tests.bench.learning import bench_train
from tests.bench.measure import ROOT
from tests.bench.memory import bench_memory
from tests.bench.page import bench_page
from tests.bench.peers import bench_peers
from tests.bench.roads import bench_roads
from tests.bench.scheduling import bench_grain, bench_graph, bench_study
from tests.bench.sections import bench_sections
from tests.bench.slurm import bench_slurm

BENCHES = {
    "peers": bench_peers,
    "growth": bench_growth,
    "sections": bench_sections,
    "graph": bench_graph,
    "generate": bench_generate,
    "train": bench_train,
    "roads": bench_roads,
    "adapt": bench_adapt,
    "grain": bench_grain,
    "memory": bench_memory,
    "study": bench_study,
    "page": bench_page,
    "slurm": bench_slurm,
}
BY_NAME_ONLY = {"sections", "slurm"}


def main(names: list[str]) -> int:
    """Run the benches named, all but :data:`BY_NAME_ONLY` by default, print a table, merge it into bench.json.

    One that fails says why, and the others go on. Gives how many failed.
    """
    path = ROOT / "results" / "bench.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    machine = runs.machine()
    measured = {"commit": commit(), "machine": f"{machine['processor']}, {machine['cores']} cores"}
    failed = 0
    for name in names or [name for name in BENCHES if name not in BY_NAME_ONLY]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                rows = BENCHES[name](Path(folder))
            except Exception:
                traceback.print_exc()
                print(f"{name}: not measured", flush=True)
                failed += 1
                continue
        for key, figures in rows.items():
            ratio = "" if figures["ratio"] is None else f"{figures['ratio']:10.3f} x {figures['to']}"
            above = "" if figures["above"] is None else f"{figures['above']:10.3f} x {figures['limit']}"
            print(f"{key:28} {figures['value']:12.4f} {figures['unit']:42} {ratio:42} {above}", flush=True)
        found |= {key: figures | measured for key, figures in rows.items()}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
