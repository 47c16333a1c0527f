"""What docs/scale.md says a study costs: rows of bench.json and gpu.json, and what follows for a large grid."""

import json
from math import ceil

import yaml

from docs.published import PUBLISHED, ROOT
from shiftgain.study.costs import CHAIN

# The large grid: all ordered pairs of a hundred different means, under so many transforms, for so many sources.
DOMAINS, TRANSFORMS, SOURCES = 100 * 99, 15, 5
# What the page advises to set for it; the defaults are those of config.yaml.
SETTINGS = {
    "adapt": {"domains_per_job": 200, "transforms_per_job": 5},
    "generate": {"images": {"train": 512, "validation": 64, "adapt": 24, "test": 32}},
    "latents": {"layers": ["bottleneck"], "rows": 128},
}
# Rows of the bench that are slopes, in the order of the page.
BENT = [*(f"growth_{name}" for name in ("generate", "epoch", "statistics", "settling", "chain", "rehearse", "tables"))]
BENT += ["graph", "noop"]
# Ways to a faster step that the bench tries, row `road_NAME` -> in words.
ROADS = {
    "inductor": "the network compiled by TorchInductor",
    "bfloat16": "autocast to bfloat16",
    "grouped": "four networks as one, by grouped convolutions",
    "onednn_graph": "a frozen trace under oneDNN Graph, which is for inference alone",
}


def scale() -> dict:
    """Rows of the bench by name, what a number of jobs at once gives of one card, and the large grid in two columns."""
    bench = json.loads((PUBLISHED / "bench.json").read_text())
    sharing = json.loads((PUBLISHED / "gpu.json").read_text())["parts"]["sharing"]["rows"]
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    costs = {name: row["value"] for name, row in bench.items()}
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    grids = [large_grid(costs, default, config) for config in (default, default | SETTINGS)]
    return {
        "bench": bench,
        "made": sorted({f"commit {row['commit'][:7]}, {row['machine']}" for row in bench.values()}),
        "bends": [f"{bench[f'{name}_slope']['ratio']:.2f}" for name in BENT],
        "overlay": yaml.safe_dump(SETTINGS, default_flow_style=None, sort_keys=False),
        "rows": [[name, *(grid[name] for grid in grids)] for name in grids[0]],
        "slurm_jobs": ceil(families(SETTINGS) * SOURCES / profile["group-components"]["cells"]),
        "roads": ROADS,
        "two": lambda row: f"{row['value']:,.0f}" if row["value"] >= 100 else f"{row['value']:.2g}",
        "rates": {k: sharing[f"jobs_{k}"]["jobs_per_minute"] for k in (1, 2, 4, 8)},
    }


def families(config: dict) -> int:
    """Shift families of the large grid: what one job takes."""
    adapt = config["adapt"]
    return ceil(DOMAINS / adapt["domains_per_job"]) * ceil(TRANSFORMS / adapt["transforms_per_job"])


def large_grid(costs: dict[str, float], default: dict, config: dict) -> dict[str, str]:
    """What the large grid takes under ``config``, in words -> in numbers; ``costs`` are of ``default``."""
    jobs = families(config) * (1 + len(CHAIN) * SOURCES)
    targets = DOMAINS * TRANSFORMS
    images = sum(config["generate"]["images"][name] for name in ("adapt", "test"))
    share = images / sum(default["generate"]["images"][name] for name in ("adapt", "test"))
    kept = costs["growth_disk_target"] + (latents_kib(config) - latents_kib(default))
    return {
        "families": f"{families(config):,}",
        "jobs: a family once drawn, and five for each source": f"{jobs:,}",
        "Snakemake before the first job": f"{jobs * costs['graph_slope'] / 1000:.0f} s",
        "a run with nothing to do": f"{jobs * costs['noop_slope'] / 1000:.0f} s",
        "adapt to score, core hours, at most": f"{targets * SOURCES * costs['growth_chain_slope'] / 3.6e6:,.0f} h",
        "starting processes, core hours": f"{jobs * costs['grain_start'] / 3600:.1f} h",
        "tabulate and predict, hours": f"{targets * SOURCES * costs['growth_tables_slope'] / 3.6e6:.1f} h",
        "images and masks of the targets": f"{targets * costs['growth_disk_family'] * share / 2**20:,.0f} GiB",
        "statistics, masks and latents": f"{targets * SOURCES * kept / 2**20:,.0f} GiB",
    }


def latents_kib(config: dict) -> float:
    """KiB of latents of a source and target, before and after: 2 sum over layers of 4 (rows C + C^2) + 8 C bytes."""
    width, depth, options = config["model"]["width"], config["model"]["depth"], config["latents"]
    channels = {"bottleneck": width * 2**depth} | {f"encoder{k}": width * 2 ** (k - 1) for k in range(1, depth + 1)}
    kept = [channels[layer] for layer in options["layers"]]
    return 2 * sum(4 * (options["rows"] * c + c * c) + 8 * c for c in kept) / 1024
