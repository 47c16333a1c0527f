"""Rows `section_*`: memory of the stages that see images, on sections of 8192 x 8192.

Adapting passes over the section until its statistics settle, which takes some twenty minutes of a core: it runs when it
is named.
"""

from pathlib import Path

from scripts.generate import generate
from shiftgain.network import checkpoint
from tests.bench.growth import stages
from tests.bench.measure import DEFAULT, by_itself, frozen, row, small_specs

SECTION_SIDE = 8192
SECTION_STAGES = ("generate", "adapt", "evaluate", "latents", "score")
PLAIN = {"batchnorm": {"function": "batchnorm", "options": {}}}


def section_spec() -> dict:
    """The spec of a domain of a section to adapt to and one to score."""
    spec = small_specs(["0.70-0.30"], {"adapt": 2, "test": 1})["0.70-0.30"]
    return spec | {"size": [SECTION_SIDE, SECTION_SIDE], "images": {"adapt": 1, "test": 1}}


def section(folder: str, number: int) -> None:
    """One of :data:`SECTION_STAGES`, on sections of 8192 x 8192 as the target of a source of small images."""
    stage = SECTION_STAGES[number]
    if stage == "generate":
        generate({"0.70-0.30": section_spec()}, ["adapt", "test"], f"{folder}/sections.h5", False, 1)
    else:
        stages(folder, "sections", PLAIN)[stage]()


def bench_sections(folder: Path) -> dict:
    """Peak memory of the stages that see images, on sections of 8192 x 8192: the largest of 2 GiB is asked for."""
    splits = {"validation": 24, "adapt": 24}
    generate(small_specs(["0.30-0.70"], splits), list(splits), str(folder / "source.h5"), True, 1)
    model = DEFAULT["model"]
    checkpoint.save(folder / "network.h5", frozen(model), {"channels": 1, **model}, {})
    rows = {}
    for number, stage in enumerate(SECTION_STAGES):
        wall, _, peak = by_itself(section, folder, number)
        rows[f"section_{stage}"] = row(peak, f"GiB of 8192 x 8192, in {wall:.0f} s", peak / 2, "2 GiB asked for")
    return rows
