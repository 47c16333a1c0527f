"""Figures of latents: single dimensions, distances between domains, and how these go with the outcomes.

Nothing here reads a file or knows a result.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shiftgain.findings.layers import few
from shiftgain.latents.channels import shares
from shiftgain.report.latent_tables import MOVED_MOST, REACH, SHOWN
from shiftgain.report.panels import (
    BLUE,
    GREY,
    POLARITY,
    QUANTITIES,
    STATES,
    bands,
    blank,
    canvas,
    draw_legend,
    write_heading,
    write_over,
)

ADAPTATION = {f"{state} adaptation": colour for state, colour in STATES.items()}
STYLES = {"before": "--", "after": "-"}
# Columns of the figure of depth, and their titles.
DEPTH_COLUMNS = {
    "ratio": "median distance / its null",
    "spearman_gain_iou": "Spearman with gain",
    "spearman_iou_after": "Spearman with IoU after",
}
# A distance spans orders of magnitude, and has a logarithmic axis, from this factor between its least and largest on.
LOGARITHMIC_SPAN = 30
# A dot is hollow where the distance of a larger share of the pairs does not exceed its null.
HOLLOW_SHARE = 0.25


def latents(histogram_table: pd.DataFrame) -> Figure:
    """Histograms of single latent dimensions: the three that moved most, and the one in the middle of that order.

    ``histogram_table``: of :func:`shiftgain.report.latent_tables.histograms`.
    """
    if not len(histogram_table):
        return blank("None of the cases whose latents are shown occurs in this study.")
    pairs = dict(list(histogram_table.groupby("pair", sort=False)))
    figure, parts = bands([1.25 * table["layer"].nunique() + 0.3 for table in pairs.values()])
    for part, (pair, table) in zip(parts, pairs.items(), strict=True):
        write_heading(part, pair)
        layers = dict(list(table.groupby("layer", sort=False)))
        for row, (layer, rows) in zip(part.subplots(len(layers), SHOWN, squeeze=False), layers.items(), strict=True):
            for place, axes in enumerate(row):
                _histograms(axes, rows[rows["place"] == place], "median: " if place == MOVED_MOST else "")
            row[0].set_ylabel(layer)
    draw_legend(figure, {"source": GREY} | {f"target, {words}": colour for words, colour in ADAPTATION.items()})
    return figure


def distances(clouds: pd.DataFrame, correlation_table: pd.DataFrame) -> Figure:
    """Gain against each distance: a column per distance, a row per layer and state.

    ``clouds``: rows of ``distances.csv`` of one activation with ``gain_iou`` and ``group``; ``correlation_table``:
    rows of ``correlations.csv``. The vertical line is the median null.
    """
    if not len(clouds):
        return blank("No pair has both a distance and a gain.")
    names = list(clouds["distance"].unique())
    rows = list(clouds[["layer", "state"]].drop_duplicates().itertuples(index=False, name=None))
    colours = _group_colours(clouds["group"])
    figure = canvas(1.45 * len(rows) + 0.3)
    panels = figure.subplots(len(rows), len(names), squeeze=False, sharey=True)
    known = correlation_table[correlation_table["outcome"] == "gain_iou"].merge(
        clouds[["activation", "unit"]].drop_duplicates()
    )
    known = known.set_index(["layer", "state", "distance"])
    for row, (layer, state) in zip(panels, rows, strict=True):
        for axes, name in zip(row, names, strict=True):
            points = clouds[(clouds["layer"] == layer) & (clouds["state"] == state) & (clouds["distance"] == name)]
            _cloud(axes, points, colours)
            key = (layer, state, name)
            axes.set_title(_spearman(known.loc[key]) if key in known.index else "", size=7)
        row[0].set_ylabel(f"{layer}\n{state} adaptation\ngain")
    for axes, name in zip(panels[0], names, strict=True):
        write_over(axes, 18, name.replace("_", " "))
    words = {name: f"polarity {name}" if name in POLARITY else name for name in colours}
    draw_legend(figure, {words[name]: colour for name, colour in colours.items()}, marker="o", loc="upper center")
    return figure


def correlations(correlation_table: pd.DataFrame, layers: list[str]) -> Figure:
    """Every Spearman correlation with its interval: a column per outcome, a row of panels per layer and activation.

    Of a few ``layers``. A hollow dot: of more than a quarter of the pairs the distance does not exceed its null
    (``below_null``).
    """
    table = correlation_table[correlation_table["spearman"].notna() & correlation_table["layer"].isin(few(layers))]
    if not len(table):
        return blank("Too few pairs for a correlation.")
    outcomes = list(dict.fromkeys(["gain_iou", "iou_after", *table["outcome"]]))
    places = list(table[["layer", "activation", "unit"]].drop_duplicates().itertuples(index=False, name=None))
    names = list(dict.fromkeys(table["distance"]))
    # The name of a layer and its activation takes as much as three rows.
    figure = canvas((0.24 * max(3, len(names)) + 0.15) * len(places) + 0.6)
    panels = figure.subplots(len(places), len(outcomes), squeeze=False, sharex=True, sharey=True)
    for row, (layer, activation, unit) in zip(panels, places, strict=True):
        for axes, outcome in zip(row, outcomes, strict=True):
            part = table.query("layer == @layer and activation == @activation and unit == @unit")
            _dots(axes, part[part["outcome"] == outcome], names)
        row[0].set_ylabel(f"{layer}\n{activation.replace('_', ' ')}" + (" per image" if unit == "image" else ""))
        row[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        row[0].set_ylim(len(names) - 0.5, -0.5)
    for axes, outcome in zip(panels[0], outcomes, strict=True):
        axes.set_title("with " + QUANTITIES.get(outcome, outcome.replace("_", " ")), weight="bold")
    for axes in panels[-1]:
        axes.set(xlabel="Spearman correlation", xlim=(-1, 1), xticks=[-1, -0.5, 0, 0.5, 1])
    draw_legend(figure, ADAPTATION, marker="o")
    return figure


def channels(channel_table: pd.DataFrame, channel_rows: dict[str, dict[str, np.ndarray]], channel_layer: str) -> Figure:
    """Every channel of a layer, standardised, one line each: a row per network, before and after the ReLU.

    ``channel_table``: of :func:`shiftgain.report.latent_tables.channel_histograms`, made of ``channel_rows``: network
    -> activation -> rows (r, C).
    """
    if len(channel_rows) < 2:
        return blank("This study trains no variant with another weight decay.")
    figure = canvas(2.3 * len(channel_rows) + 0.2)
    panels = figure.subplots(len(channel_rows), 2, squeeze=False, sharex=True)
    curve = np.linspace(-REACH, REACH, 121)
    for row, (network, activations) in zip(panels, channel_rows.items(), strict=True):
        for axes, activation in zip(row, ("before_relu", "after_relu"), strict=True):
            lines = channel_table.query("network == @network and activation == @activation")
            for _, line in lines.groupby("channel"):
                axes.plot((line["left"] + line["right"]) / 2, line["density"], color=BLUE, lw=0.5, alpha=0.35)
            axes.plot(curve, np.exp(-(curve**2) / 2) / np.sqrt(2 * np.pi), color="0.1", lw=1, ls="--")
            counted = shares(activations[activation])
            axes.set_title(
                f"{network}, {channel_layer} {activation.replace('_relu', ' the ReLU')}: "
                f"{counted['dead']:.0%} dead, {counted['non_gaussian']:.0%} not Gaussian",
            )
            axes.set(ylim=(0, 1.2), yticks=[])
    for axes in panels[-1]:
        axes.set_xlabel("activation, in standard deviations from its mean")
    return figure


def depth(depth_table: pd.DataFrame, layers: list[str]) -> Figure:
    """By layer, in the order of the network: distance over null, and Spearman with gain and adapted IoU.

    A row of panels per activation and unit, a line per distance and state. ``depth_table``: of
    :func:`shiftgain.report.latent_tables.by_depth`.
    """
    kinds = sorted(
        depth_table[["activation", "unit"]].drop_duplicates().itertuples(index=False, name=None),
        key=lambda kind: (kind[0] != "before_relu", kind[1] != "position"),
    )
    names = list(dict.fromkeys(depth_table["distance"]))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    figure = canvas(1.9 * len(kinds) + 0.9)
    panels = figure.subplots(len(kinds), 3, squeeze=False, sharex=True)
    table = depth_table.set_index(["activation", "unit", "distance", "state", "layer"])
    for row, kind in zip(panels, kinds, strict=True):
        for name in names:
            for state, style in STYLES.items():
                look = {"color": colours[name], "ls": style, "marker": "o", "markersize": 3, "lw": 1.2}
                lines = table.reindex([(*kind, name, state, layer) for layer in layers])
                for axes, column in zip(row, DEPTH_COLUMNS, strict=True):
                    if column in lines:
                        axes.plot(layers, lines[column].to_numpy(), **look)
        row[0].set_yscale("log")
        row[0].axhline(1, color="0.6", lw=0.6)
        for axes in row[1:]:
            axes.set(ylim=(-1.02, 1.02), yticks=[-1, -0.5, 0, 0.5, 1])
            axes.axhline(0, color="0.6", lw=0.6)
        row[0].set_ylabel(f"{kind[0].replace('_', ' ')}\nper {kind[1]}")
    for axes, title in zip(panels[0], DEPTH_COLUMNS.values(), strict=True):
        axes.set_title(title, weight="bold")
    for axes in panels[-1]:
        axes.tick_params(axis="x", rotation=60)
    words = {f"{state} adaptation": style for state, style in STYLES.items()}
    draw_legend(figure, {name.replace("_", " "): colour for name, colour in colours.items()}, styles=words)
    return figure


def _histograms(axes: Axes, table: pd.DataFrame, prefix: str) -> None:
    """One dimension: a filled histogram of the source, and outlines of the target's states; off where there is none."""
    if not len(table):
        axes.set_axis_off()
        return
    for state, colour in {"source": GREY, **STATES}.items():
        bins = table[table["state"] == state]
        if len(bins):
            edges = [*bins["left"], bins["right"].iloc[-1]]
            axes.stairs(bins["density"], edges, color=colour, fill=state == "source", linewidth=1.1)
    first = table.iloc[0]
    axes.set_title(f"{prefix}dimension {first['dimension']}, moved {first['moved']:.1f} sd", size=7)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)


def _cloud(axes: Axes, points: pd.DataFrame, colours: dict) -> None:
    shade = list(points["group"].map(colours))
    axes.scatter(points["value"], points["gain_iou"], c=shade, s=8, alpha=0.5, lw=0, rasterized=True)
    axes.axhline(0, color="0.6", lw=0.6, zorder=0)
    low, high, null = points["value"].min(), points["value"].max(), points["null"].median()
    if low > 0 and high > LOGARITHMIC_SPAN * low:
        axes.set_xscale("log")
        axes.minorticks_off()
    else:
        axes.locator_params(axis="x", nbins=4)
    if null > 0 or axes.get_xscale() == "linear":
        axes.axvline(null, color="0.2", lw=0.8, ls="--")


def _dots(axes: Axes, table: pd.DataFrame, names: list[str]) -> None:
    for (state, colour), offset in zip(STATES.items(), (-0.15, 0.15), strict=True):
        rows = table[table["state"] == state]
        places = np.array([names.index(name) + offset for name in rows["distance"]])
        hollow = np.where(rows["below_null"] > HOLLOW_SHARE, "white", colour)
        axes.hlines(places, rows["ci_low"], rows["ci_high"], color=colour, lw=1.2, zorder=1)
        axes.scatter(rows["spearman"], places, s=16, c=hollow, edgecolors=colour, linewidths=1, zorder=2)
    axes.axvline(0, color="0.6", lw=0.6, zorder=0)
    axes.grid(axis="x", color="0.92", lw=0.6)


def _group_colours(groups: pd.Series) -> dict[str, tuple | str]:
    if set(groups) <= set(POLARITY):
        return {name: colour for name, colour in POLARITY.items() if (groups == name).any()}
    names = list(dict.fromkeys(groups))
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def _spearman(row: pd.Series) -> str:
    if np.isnan(row["spearman"]):
        return ""
    interval = "" if np.isnan(row["ci_low"]) else f" [{row['ci_low']:+.2f}, {row['ci_high']:+.2f}]"
    return f"{row['spearman']:+.2f}{interval}"
