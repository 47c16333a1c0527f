"""Shift families: the blocks of ``pairs``, cut into what one job takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, permutations

from shiftgain.study.names import DomainName, target_name


@dataclass(frozen=True)
class Family:
    """Targets that one job takes for one source and seed: ``domains`` under all of ``shifts``, (transform, level)."""

    sources: tuple[str, ...]
    domains: tuple[str, ...]
    shifts: tuple[tuple[str, float], ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def targets(self) -> list[str]:
        """Domains by full name, transformation included, in the order of the tables."""
        names = (target_name(domain, *shift) for domain in self.domains for shift in self.shifts)
        return list(dict.fromkeys(names))


def families(config: dict) -> Iterator[tuple[str, Family]]:
    """(name, family) of every block of ``pairs``, cut by ``adapt.transforms_per_job`` and ``adapt.domains_per_job``."""
    for block in config["pairs"]:
        names = _names(block["targets"])
        step, together = config["adapt"]["domains_per_job"], config["adapt"]["transforms_per_job"]
        for first in range(0, len(block["transforms"]), together):
            taken = dict(islice(block["transforms"].items(), first, first + together))
            for part, start in enumerate(range(0, len(names), step)):
                name = f"{block['name']}-{'+'.join(taken)}" + (f"-{part}" if part else "")
                yield (
                    name,
                    Family(
                        sources=tuple(_names(block["sources"])),
                        domains=tuple(names[start : start + step]),
                        shifts=tuple((shift, float(level)) for shift, levels in taken.items() for level in levels),
                        methods=tuple(block["methods"]),
                        seeds=tuple(block.get("seeds", config["seeds"])),
                    ),
                )


def _names(domains: list | dict) -> list[str]:
    if isinstance(domains, list):
        return domains
    grid = domains["grid"]
    # Pairs that use a later grid value come later, so that appending a value only appends domains.
    order = sorted(permutations(range(len(grid)), 2), key=lambda pair: (max(pair), pair))
    return [str(DomainName.of_means(grid[mask], grid[background])) for mask, background in order]
