"""Rows `slurm_*`: more than five hundred jobs on a Slurm of one node, in groups, as job arrays, and one by one.

It takes about an hour of two cores and wants root, and runs when it is named.
"""

import time
from pathlib import Path

import yaml

from tests.bench.measure import row
from tests.bench.scheduling import graph_checkout
from tests.cluster import PROFILE, command_output, missing, one_node, submit, unsafe

# Six jobs each, of one target: 516, and beside them the drawing of the source, its training, the table and `all`.
FAMILIES = 86
# Images as few as a stage takes: what is measured is how the jobs are started.
OVERLAY = {
    "oracles": [],
    "generate": {"size": [32, 32], "images": {"train": 16, "validation": 8, "adapt": 8, "test": 8}},
    "train": {"epochs": 1},
}
TABLE = "results/tables/segmentation.csv"
# How jobs are handed to Slurm -> whether the groups of the profile stay, and what else Snakemake is told.
WAYS: dict[str, tuple[bool, list[str]]] = {
    "groups": (True, []),
    "arrays": (False, ["--slurm-array-jobs=all"]),
    "single": (False, []),
}


def bench_slurm(folder: Path) -> dict:
    """The same study in every one of :data:`WAYS`, to the same table; the ratio is of the profile as it ships."""
    cluster = folder / "slurm"
    if why := missing() or unsafe(cluster):
        print(f"slurm: {why}")
        return {}
    cluster.mkdir()
    rows: dict[str, dict] = {}
    tables, seen = set(), set[str]()
    with one_node(cluster) as environment:
        for way, (grouped, more) in WAYS.items():
            checkout = folder / way
            *_, configfile, config, overlay = graph_checkout(checkout, FAMILIES, OVERLAY)
            if not grouped:
                ungroup(checkout / PROFILE / "config.yaml")
            start = time.perf_counter()
            run = submit(checkout, environment, *more, configfile, config, overlay, "--", TABLE)
            output, _ = run.communicate()
            assert run.returncode == 0, output
            wall = time.perf_counter() - start
            listed = command_output(environment, "squeue", "-h", "-r", "-t", "all", "-o", "%F %i").splitlines()
            new = [line.split() for line in listed if line not in seen]
            seen |= {*listed}
            tables.add((checkout / TABLE).read_bytes())
            submitted = len({number for number, _ in new})
            unit = f"s, {output.count('Finished jobid')} jobs, {submitted} times sbatch, {len(new)} jobs of Slurm"
            first = next(iter(rows.values()), {"value": wall})["value"]
            rows[f"slurm_{way}"] = row(wall, unit, wall / first, "in the groups of the profile")
    assert len(tables) == 1, "the tables differ"
    return rows


def ungroup(path: Path) -> None:
    """Take the groups out of a profile."""
    profile = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({key: value for key, value in profile.items() if "group" not in key}))
