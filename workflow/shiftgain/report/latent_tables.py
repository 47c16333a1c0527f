"""The tables that the figures of latents draw: histograms of dimensions and channels, and distances by depth."""

import numpy as np
import pandas as pd

from shiftgain.latents.channels import dead
from shiftgain.report.pictures import LayerSamples, Sample

# Dimensions of a layer that are shown: those that moved most, and the one in the middle of that order.
MOVED_MOST, SHOWN = 3, 4
BINS, CHANNEL_BINS = 40, 60
# A channel is drawn from so many standard deviations below its mean to as many above.
REACH = 4
BIN = ["left", "right", "density"]


def histograms(samples: dict[str, list[LayerSamples]]) -> pd.DataFrame:
    """Densities of single latent dimensions, a row per ``pair``, ``layer``, ``dimension``, ``state`` and bin.

    ``place`` is that of the dimension in the figure, ``moved`` how far its mean moved, in standard deviations of the
    source. Bins span 0.5 to 99.5 percent of all states together.
    """
    rows = []
    for pair, layers in samples.items():
        for layer, states in layers:
            moved = _moved(states["source"], states["before"])
            order = np.argsort(-moved, kind="stable")
            chosen = [*order[:MOVED_MOST], *order[MOVED_MOST:][max(0, len(order) // 2 - MOVED_MOST) :][:1]]
            for place, dimension in enumerate(chosen):
                values = {state: sample.rows[:, dimension] for state, sample in states.items()}
                low, high = np.percentile(np.concatenate(list(values.values())), [0.5, 99.5])
                edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
                about = {"pair": pair, "layer": layer, "place": place, "dimension": dimension}
                rows += [
                    about | {"moved": moved[dimension], "state": state} | one
                    for state, column in values.items()
                    for one in _bins(column, edges)
                ]
    return pd.DataFrame(rows, columns=["pair", "layer", "place", "dimension", "moved", "state", *BIN])


def channel_histograms(channel_rows: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Densities of the living channels of a layer, standardised: a row per network, activation, channel and bin.

    ``channel_rows``: network -> activation -> rows (r, C).
    """
    rows = []
    edges = np.linspace(-REACH, REACH, CHANNEL_BINS + 1)
    for network, activations in channel_rows.items():
        for activation, values in activations.items():
            sd = values.std(axis=0)
            standardised = (values - values.mean(axis=0)) / np.where(sd > 0, sd, 1)
            for channel in np.flatnonzero(~dead(sd)):
                about = {"network": network, "activation": activation, "channel": channel}
                rows += [about | one for one in _bins(standardised[:, channel], edges)]
    return pd.DataFrame(rows, columns=["network", "activation", "channel", *BIN])


def by_depth(distance_table: pd.DataFrame, correlation_table: pd.DataFrame) -> pd.DataFrame:
    """A row per activation, unit, distance, state and layer: ``ratio``, the median distance over its null, and more.

    Spearman with an outcome stands in the column ``spearman_OUTCOME``.
    """
    keys = ["activation", "unit", "distance", "state", "layer"]
    nulls = distance_table["null"].where(distance_table["null"] > 0)
    ratio = distance_table.assign(ratio=distance_table["value"] / nulls).groupby(keys)["ratio"].median()
    spearman = correlation_table.pivot_table(index=keys, columns="outcome", values="spearman", dropna=False)
    return ratio.to_frame().join(spearman.add_prefix("spearman_")).reset_index()


def _moved(source: Sample, target: Sample) -> np.ndarray:
    """How far the mean of each dimension (C,) moved, in standard deviations of the source; 0 for a dead one."""
    distance = np.abs(target.mean - source.mean)
    return np.divide(distance, source.sd, out=np.zeros_like(distance), where=source.sd > 0)


def _bins(values: np.ndarray, edges: np.ndarray) -> list[dict]:
    density, _ = np.histogram(values, edges, density=True)
    return [dict(zip(BIN, one, strict=True)) for one in zip(edges[:-1], edges[1:], density, strict=True)]
