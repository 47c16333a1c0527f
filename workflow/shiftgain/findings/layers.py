"""Layers of a network as tables and figures show them: in the order in which an image passes them."""

import pandas as pd


def in_order(table: pd.DataFrame, layers: list[str]) -> pd.DataFrame:
    """Rows by layer in the order of the network, and before, then after: not by the alphabet."""
    places = {name: place for place, name in enumerate([*layers, "before", "after"])}
    return table.sort_values(["layer", "state"], key=lambda names: names.map(places), kind="stable")


def few(layers: list[str]) -> list[str]:
    """At most three layers, for figures with a row each: the first, the deepest and the last."""
    return layers if len(layers) <= 3 else [layers[0], "bottleneck", layers[-1]]
