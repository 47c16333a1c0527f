"""The tables that hypotheses are measured on, and which pairs of them a measure takes."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

# These transforms redraw an image at equal mean and variance.
STRUCTURE = ["texture", "noise_correlation"]


@dataclass(frozen=True)
class Tables:
    """The tables of a study, ``pairs`` the labelled ones; ``irregular``: variant -> options of training it changes."""

    pairs: pd.DataFrame
    distances: pd.DataFrame
    channels: pd.DataFrame
    scores: pd.DataFrame
    irregular: dict[str, list[str]]

    @property
    def offered(self) -> set[str]:
        """What a hypothesis may need: columns of the pairs and the scores, and distances."""
        return {*self.pairs, *self.scores, *self.distances["distance"]}


def per_seed(table: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.Series:
    return pd.Series({seed: number(rows) for seed, rows in table.groupby("seed")}, dtype=float)


def plain(tables: Tables) -> pd.DataFrame:
    """Pairs of networks as the study trains them, no variants."""
    return tables.pairs[tables.pairs["variant"] == ""]


def shifted(tables: Tables, transforms: list[str]) -> pd.DataFrame:
    """Pairs of the own domain under one of ``transforms``."""
    table = plain(tables)
    return table[table["shifted"] & table["transform"].isin(transforms)]


def abroad(tables: Tables) -> pd.DataFrame:
    """All pairs but those of the own domain, untransformed."""
    table = plain(tables)
    return table[~table["home"]]


def flips(tables: Tables) -> pd.DataFrame:
    table = plain(tables)
    return table[table["polarity"] == "flipped"]


def spearman(first: pd.Series, second: pd.Series) -> float:
    return first.corr(second, method="spearman")


def numbers_after(table: pd.DataFrame, prefix: str) -> list[int]:
    """The numbers n of the columns ``PREFIX<n>``, ascending; other names may begin so too."""
    rests = (name.removeprefix(prefix) for name in map(str, table) if name.startswith(prefix))
    return sorted(int(rest) for rest in rests if rest.isdecimal())
