"""Names that appear in paths, in the config and in tables."""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shiftgain.files.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

# Columns that name a pair, and with the seed one observation of it.
PAIR = ["source", "target", "transform", "level"]
KEY = [*PAIR, "seed"]
# Columns that name a place in a network, and a distance that is measured there.
PLACE = ["layer", "activation", "unit"]
DISTANCE = ["distance", *PLACE, "state"]
# Methods by which tables know a network that is left as it is, and the plain refresh of its statistics.
KEPT, PLAIN = "source", "batchnorm"
# Id, in its SVG, of a figure that has nothing to show.
BLANK = "blank"

IDENTITY = "identity"
MEANS = re.compile(r"(\d\.\d\d)-(\d\.\d\d)")
GRAMMAR = "a name is DOMAIN, DOMAIN~VARIANT or either with @TRANSFORM=LEVEL, such as 0.30-0.70~wide@noise=0.1"


@dataclass(frozen=True)
class DomainName:
    """``BASE~VARIANT@TRANSFORM=LEVEL``, the last two parts only where there are any: ``0.30-0.70~wide@noise=0.1``.

    ``BASE@TRANSFORM=LEVEL`` is a domain; with a variant it is a network trained on that domain.
    """

    base: str
    transform: str = IDENTITY
    level: float = 0.0
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> "DomainName":
        """The name that prints as ``text``.

        Errors: :class:`StudyError` where no name does, with the name to write instead where one has the same parts.
        """
        base, *parts = re.split("(?=[~@])", text)
        variants = [part[1:] for part in parts if part[0] == "~"]
        shifts = [part[1:] for part in parts if part[0] == "@"]
        if not base or max(len(variants), len(shifts)) > 1 or "" in variants:
            raise StudyError(f"domain '{text}': {GRAMMAR}")
        name = cls(base, variant="".join(variants))
        for shift in shifts:
            transform, _, level = shift.partition("=")
            if not transform or not _is_number(level):
                raise StudyError(f"domain '{text}': after @ comes TRANSFORM=LEVEL, such as @noise=0.1")
            name = name.at(transform, float(level))
        if str(name) != text:
            raise StudyError(f"domain '{text}': write {name}")
        return name

    @classmethod
    def of_means(cls, mask: float, background: float) -> "DomainName":
        """A domain known by the mean grey levels of mask and background, which have two decimals at most."""
        return cls(f"{mask:.2f}-{background:.2f}")

    def at(self, transform: str, level: float) -> "DomainName":
        """The same name under another transform; at level 0 every transform is the identity."""
        return replace(self, transform=transform if level else IDENTITY, level=float(level) if level else 0.0)

    def __str__(self) -> str:
        variant = f"~{self.variant}" if self.variant else ""
        return f"{self.base}{variant}" + (f"@{self.transform}={printed(self.level)}" if self.level else "")

    @property
    def domain(self) -> str:
        """The domain that a network is trained on: the name without its variant."""
        return str(replace(self, variant=""))

    @property
    def means(self) -> tuple[float, float] | None:
        """Mean grey levels (mask, background) of a base named by :meth:`of_means`; None for a base of another form."""
        parts = MEANS.fullmatch(self.base)
        return (float(parts[1]), float(parts[2])) if parts else None


def printed(level: float) -> str:
    """A level as it stands in a name: six significant digits at most."""
    return f"{level:g}"


def target_name(domain: str, transform: str, level: float) -> str:
    """``0.30-0.70`` or, transformed, ``0.30-0.70@noise=0.1``: the name under which a network may be trained."""
    return str(DomainName.parse(domain).at(transform, level)) if level else domain


def full_names(table: "pd.DataFrame") -> list[str]:
    """:func:`target_name` of every row of a table with columns target, transform and level."""
    columns = (table[column] for column in ("target", "transform", "level"))
    return [target_name(*target) for target in zip(*columns, strict=True)]


def row_key(source: str, spec: dict, seed: int) -> dict[str, object]:
    """The columns :data:`KEY` of a row about network ``source`` on the target with parameters ``spec``."""
    return dict(zip(KEY, (source, spec["name"], spec["transform"], spec["level"], seed), strict=True))


def domain_of(network: str) -> str:
    """The domain that a network is trained on: ``0.30-0.70`` of ``0.30-0.70~wide``, trained as variant ``wide``."""
    return DomainName.parse(network).domain


def base_of(name: str) -> str:
    """The domain of which a network or a target is a variant or a shifted copy: ``mine`` of ``mine~wide@noise=0.1``."""
    return DomainName.parse(name).base


def variant_of(network: str) -> str:
    """``wide`` of ``0.30-0.70~wide``; empty for a network that is trained as the study trains them."""
    return DomainName.parse(network).variant


def layer_names(depth: int) -> list[str]:
    """The blocks of a U-Net, in the order in which an image passes them."""
    down = [f"encoder{k}" for k in range(1, depth + 1)]
    up = [f"decoder{k}" for k in range(depth, 0, -1)]
    return [*down, "bottleneck", *up]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
