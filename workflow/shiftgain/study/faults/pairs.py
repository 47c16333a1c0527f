"""Faults of the blocks of pairs: names, methods, transforms and levels."""

from collections.abc import Iterator

from shiftgain.files.errors import StudyError, hint
from shiftgain.shifts import transforms
from shiftgain.study.entries import baseline_of
from shiftgain.study.faults.methods import adaptations
from shiftgain.study.names import IDENTITY, DomainName, printed


def pair_faults(config: dict) -> Iterator[str]:
    """Blocks of config key pairs, one after the other, and the names of oracles."""
    names = [block["name"] for block in config["pairs"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"config key pairs: two blocks are named '{name}'; rename one"
    known = [*adaptations(config), *config["baselines"]]
    for number, block in enumerate(config["pairs"]):
        where = f"config key pairs.{number}"
        yield from _grid_faults(where, block)
        for name in block["methods"]:
            if name not in known and baseline_of(name) not in config["baselines"]:
                yield f"{where}.methods: no such method '{name}'{hint(name, known)}"
        yield from _name_faults(where, block)
        for name, levels in block["transforms"].items():
            yield from _level_faults(f"{where}.transforms.{name}", levels)
            for level in levels:
                try:
                    transforms.check(name, level)
                except StudyError as error:
                    yield f"{where}.transforms.{name}: {error}"
    yield from _spelling_faults("config key oracles", config["oracles"])


def _grid_faults(where: str, block: dict) -> Iterator[str]:
    """Means of a grid that a name of two decimals cannot hold."""
    for role in ("sources", "targets"):
        for mean in block[role]["grid"] if isinstance(block[role], dict) else []:
            if round(mean, 2) != mean:
                yield f"{where}.{role}.grid: {mean} has more than two decimals; round it"


def _spelling_faults(where: str, names: list[str]) -> Iterator[str]:
    for name in names:
        try:
            DomainName.parse(name)
        except StudyError as error:
            yield f"{where}: {error}"


def _name_faults(where: str, block: dict) -> Iterator[str]:
    """Names of a block that nothing is called by, and targets that would go through two transforms."""
    transforms = [name for name, levels in block["transforms"].items() if name != IDENTITY and any(levels)]
    for role in ("sources", "targets"):
        names = block[role] if isinstance(block[role], list) else []
        spelling = list(_spelling_faults(f"{where}.{role}", names))
        yield from spelling
        if role == "targets" and not spelling and transforms:
            for name in map(DomainName.parse, names):
                if name.level:
                    yield (
                        f"{where}.targets: '{name}' is transformed already, and {transforms[0]} would come on top; "
                        f"name {name.at(IDENTITY, 0)}, or put it into a block with transforms: {{identity: [0]}}"
                    )


def _level_faults(where: str, levels: list[float]) -> Iterator[str]:
    """Levels that a name cannot hold; levels that would have one name, together in one line."""
    by_name: dict[str, list[float]] = {}
    for level in levels:
        by_name.setdefault(printed(level), []).append(level)
    for name, alike in by_name.items():
        listed = " and ".join(map(str, alike))
        if len(alike) > 1:
            yield f"{where}: {listed} would both be named {name}; give levels six significant digits at most"
        elif float(name) != alike[0]:
            yield f"{where}: {listed} has more than six significant digits; write {name}"
