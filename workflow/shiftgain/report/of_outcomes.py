"""Figures of IoU: training, maps over domains, lines over the levels of a transform, and methods beside each other.

Nothing here reads a file or knows a result.
"""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from shiftgain.findings.pairs import POOR_MARGIN
from shiftgain.findings.theory import classes, predicted_map
from shiftgain.report.panels import (
    GAIN_COLOURS,
    POLARITY,
    QUANTITIES,
    WIDTH,
    bands,
    blank,
    canvas,
    cut_corner,
    draw_legend,
    grid_axes,
    grid_means,
    heat_map,
    mark_cell,
    source_colours,
    text_width,
    write_heading,
)
from shiftgain.shifts.transforms import TRANSFORMS
from shiftgain.study.names import domain_of

MAPPED_QUANTITIES = QUANTITIES | {"pixel_ceiling": "pixel ceiling"}
COLOURS = dict.fromkeys(MAPPED_QUANTITIES, "viridis") | {"gain_iou": GAIN_COLOURS}
# Levels whose ticks are nearer than this share of the axis would write over one another.
TICK_SHARE = 0.2
# Of the range of levels: by so much sources stand beside each other where each has a whisker.
DODGE = 0.015
# Sources of which each has a whisker.
MOST_WHISKERS = 4
UNIT_CHARACTERS = 26  # of a level axis, in a line
# Transforms beside each other in the figure of transforms, maps' sources below each other before they go in pairs.
MOST_BESIDE, MOST_BELOW = 6, 4


def training(curves: pd.DataFrame, sources: list[str]) -> Figure:
    """Loss and source-validation IoU per epoch, a line per network; columns domain, seed, epoch and the two."""
    if not len(curves):
        return blank("Every network of this study was trained elsewhere.")
    names = list(dict.fromkeys([*sources, *curves["domain"]]))
    figure = canvas(2.8)
    panels = figure.subplots(1, 2)
    colours = source_colours(names)
    for (domain, _), curve in curves.groupby(["domain", "seed"]):
        for axes, column in zip(panels, ("loss", "validation_iou"), strict=True):
            axes.plot(curve["epoch"], curve[column], color=colours[domain], marker="o", markersize=2, lw=1)
    for axes in panels:
        axes.locator_params(axis="x", integer=True)
    panels[0].set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    panels[1].set(xlabel="epoch", ylabel="validation IoU on its own domain", ylim=(0, 1.01))
    draw_legend(figure, colours)
    return figure


def maps(pairs: pd.DataFrame, specs: dict[str, dict], sources: list[str]) -> Figure:
    """IoU before, after, gain and ceiling at identity: over the grid of means for each source, source x other targets.

    ``pairs``: a row per pair, averaged over seeds, home included. Lines, between cells, are the theory's: where a
    classifier of single pixels reaches an IoU of a half (:mod:`shiftgain.findings.theory`). The ceiling is what the
    best such classifier reaches on the target. A corner of the gain is cut where the IoU after is poor, so that a gain
    of 0 from 1 to 1 is told from one from 0 to 0.
    """
    table = pairs[pairs["transform"] == "identity"]
    if not len(table):
        return blank("No pair without a transform has scores.")
    grid = grid_means({name: specs[name] for name in table["target"].unique()})
    of_grid, others = (table[table["target"].isin(grid) == known] for known in (True, False))
    mapped = [source for source in sources if source in set(of_grid["source"])]
    beside = 1 if len(mapped) <= MOST_BELOW else 2
    heights = [2.6 if beside == 1 else 1.8] * -(-len(mapped) // beside)
    names = [list(dict.fromkeys(others[role])) for role in ("source", "target")]
    if len(others):
        heights.append(0.4 + 0.3 * len(names[0]) + text_width(names[1]))
    limit = max(0.1, float(table["gain_iou"].abs().max()))
    norms = dict.fromkeys(MAPPED_QUANTITIES, Normalize(0, 1)) | {"gain_iou": Normalize(-limit, limit)}

    figure, parts = bands([*heights, 0.65])
    tiles = [tile for part in parts for tile in part.subfigures(1, beside, squeeze=False)[0]] if mapped else []
    # A value needs a fifth of an inch beside the names of the rows.
    size = 6 if WIDTH / beside / 4 - 0.4 > 0.2 * len(grid_axes(grid)[0]) else 0
    for tile, source in zip(tiles, mapped, strict=False):
        write_heading(tile, f"source {source}")
        panels = tile.subplots(1, 4)
        _maps_of_source(panels, of_grid[of_grid["source"] == source], grid, grid.get(domain_of(source)), norms, size)
        _boundaries(panels, specs[domain_of(source)], grid_axes(grid))
    if len(others):
        _matrices(parts[-2], others, names, norms)
    poor = f"gain (cut corner: still more than {POOR_MARGIN:g} below the source on its own images)"
    bars = {"iou_after": "IoU before and after, and ceiling", "gain_iou": poor}
    for axes, (column, text) in zip(parts[-1].subplots(1, 2), bars.items(), strict=True):
        scale = ScalarMappable(norms[column], COLOURS[column])
        figure.colorbar(scale, cax=axes, orientation="horizontal", label=text)
    return figure


def transforms(pairs: pd.DataFrame, sources: list[str]) -> Figure:
    """Mean and spread over targets of IoU before, after and gain, against level, a column per transform.

    ``pairs``: a row per pair averaged over seeds, identity and home included; its rows at identity stand at level 0
    of every transform that the same source and target went through.
    """
    columns = [name for name in pairs["transform"].unique() if name != "identity"]
    if not columns:
        return blank("This study scores no transform.")
    groups = [group for group in (*POLARITY, "") if (pairs["polarity"] == group).any()]
    rows = [(group, quantity) for quantity in QUANTITIES for group in groups]
    split = np.array_split(columns, -(-len(columns) // MOST_BESIDE))
    figure, parts = bands([1.2 * len(rows) + 0.5] * len(split), min(WIDTH, 0.9 + 3.1 * len(columns)))
    colours = source_colours(sources)
    limit = max(0.1, 1.05 * float(pairs["gain_iou"].abs().max()))
    for part, names in zip(parts, split, strict=True):
        panels = part.subplots(len(rows), len(split[0]), squeeze=False, sharex="col", sharey="row")
        for axes in panels[:, len(names) :].ravel():
            axes.set_axis_off()
        for column, transform in zip(panels.T, names, strict=False):
            _transform_column(column, transform, rows, pairs, colours, limit)
        for axes, (group, quantity) in zip(panels[:, 0], rows, strict=True):
            axes.set_ylabel(QUANTITIES[quantity] + (f"\npolarity {group}" if group else "\nall targets"))
    draw_legend(figure, colours)
    return figure


def methods(gains_by_method: pd.DataFrame) -> Figure:
    """Mean gain of every method under every transform: over the pairs that keep the polarity, and that flip it.

    ``gains_by_method``: rows of ``gains.csv``, averaged over seeds, with ``polarity`` (kept, flipped, or empty where
    unknown).
    """
    table = gains_by_method
    if table["method"].nunique() < 2:
        return blank("This study compares no methods.")
    groups = [group for group in (*POLARITY, "") if (table["polarity"] == group).any()]
    names, columns = (list(dict.fromkeys(table[key])) for key in ("method", "transform"))
    limit = max(0.1, float(table["gain_iou"].abs().max()))
    size = 7 if len(columns) * len(groups) <= 24 else 0
    figure = canvas(0.5 + 0.26 * len(names) + text_width(columns))
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        part = table[table["polarity"] == group]
        square = part.pivot_table(index="method", columns="transform", values="gain_iou")
        square = square.reindex(index=names, columns=columns)
        heat_map(axes, square, GAIN_COLOURS, Normalize(-limit, limit), size)
        axes.set_title(f"mean gain, polarity {group}" if group else "mean gain", weight="bold")
        axes.set_xticks(axes.get_xticks(), columns, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticklabels(names if group == groups[0] else [])
    return figure


def _maps_of_source(
    panels: np.ndarray, table: pd.DataFrame, grid: dict, source_means: tuple | None, norms: dict, size: float
) -> None:
    across, down = grid_axes(grid)
    for axes, (column, title) in zip(panels, MAPPED_QUANTITIES.items(), strict=True):
        square = pd.DataFrame(np.nan, down, across)
        for target, value in zip(table["target"], table[column], strict=True):
            square.loc[grid[target][1], grid[target][0]] = value
        heat_map(axes, square, COLOURS[column], norms[column], size)
        axes.invert_yaxis()
        axes.set(title=title, xlabel="mask mean", ylabel="background mean" if column == "iou_before" else "")
        if column == "gain_iou":
            for target in table.loc[_is_poor(table), "target"]:
                cut_corner(axes, across.index(grid[target][0]), down.index(grid[target][1]), upwards=True)
        if source_means is not None:
            mark_cell(axes, across.index(source_means[0]), down.index(source_means[1]))


def _boundaries(panels: np.ndarray, spec: dict, scales: list[list[float]]) -> None:
    """The theory's boundary before (dashed) and after adaptation (solid), on the maps of a source of known means.

    Along the edges between cells that it parts, where no number stands.
    """
    source = classes(spec)
    if source is None:
        return
    values = sorted({*scales[0], *scales[1]})
    columns, rows = ([values.index(value) for value in scale] for scale in scales)
    for axes, reached, style in zip(panels, predicted_map(source, np.array(values)), ("--", "-"), strict=False):
        above = reached[np.ix_(rows, columns)] >= 0.5
        edges = [((x + 1, y), (x + 1, y + 1)) for y, x in np.argwhere(above[:, 1:] != above[:, :-1])]
        edges += [((x, y + 1), (x + 1, y + 1)) for y, x in np.argwhere(above[1:] != above[:-1])]
        axes.add_collection(LineCollection(edges, colors="0.1", linewidths=2, linestyles=style), autolim=False)


def _is_poor(table: pd.DataFrame) -> pd.Series:
    return table["iou_after"] < table["own_iou"] - POOR_MARGIN


def _matrices(part: SubFigure, table: pd.DataFrame, names: list[list[str]], norms: dict) -> None:
    """Source x target, for targets that are not known by their two means; ``names`` of the rows and of the columns."""
    for axes, (column, title) in zip(part.subplots(1, 4), MAPPED_QUANTITIES.items(), strict=True):
        square = table.pivot_table(index="source", columns="target", values=column)
        square = square.reindex(index=names[0], columns=names[1])
        heat_map(axes, square, COLOURS[column], norms[column], size=7 if len(names[1]) <= 6 else 0)
        axes.set_title(title)
        axes.set_xticklabels(names[1], rotation=90)
        axes.set_yticklabels(names[0] if column == "iou_before" else [])
        if column == "gain_iou":
            poor = table[_is_poor(table)]
            for source, target in zip(poor["source"], poor["target"], strict=True):
                cut_corner(axes, names[1].index(target), names[0].index(source))
        for source in set(names[0]) & set(names[1]):
            mark_cell(axes, names[1].index(source), names[0].index(source))


def _transform_column(
    column: np.ndarray, transform: str, rows: list, pairs: pd.DataFrame, colours: dict, limit: float
) -> None:
    """One transform: a panel for each of ``rows`` (polarity, quantity)."""
    moved = pairs[pairs["transform"] == transform]
    still = pairs[pairs["transform"] == "identity"].merge(moved[["source", "target"]].drop_duplicates())
    both = pd.concat([moved, still])
    means_of = both.groupby(["polarity", "source", "level"])[list(QUANTITIES)].agg(["mean", "std"])
    for axes, (group, quantity) in zip(column, rows, strict=True):
        if group in means_of.index:
            _against_level(axes, means_of.loc[group, quantity], colours)
        if quantity == "gain_iou":
            axes.set(ylim=(-limit, limit), yticks=[-0.5, 0, 0.5] if limit > 0.5 else [0])
        else:
            axes.set(ylim=(0, 1.02), yticks=[0, 0.5, 1])
            ceiling = both[both["polarity"] == group].groupby("level")["pixel_ceiling"].mean()
            axes.plot(ceiling.index, ceiling, color="0.3", lw=1, ls=":")
        axes.axhline(0, color="0.6", lw=0.6, zorder=0)
    column[0].set_title(transform, weight="bold")
    unit = TRANSFORMS[transform].unit if transform in TRANSFORMS else ""
    column[-1].set(xlabel=fill(f"level, {unit}" if unit else "level", UNIT_CHARACTERS))
    column[-1].set_xticks(_apart(sorted(both["level"].unique())))


def _apart(levels: list[float]) -> list[float]:
    """The ascending ``levels`` that have room for a tick: the ends, and of the rest what is far enough."""
    room = TICK_SHARE * (levels[-1] - levels[0])
    ticks = [levels[-1]]
    for level in [levels[0], *sorted(levels[1:-1], key=abs)]:
        if all(abs(level - tick) >= room for tick in ticks):
            ticks.append(level)
    return sorted(set(ticks))


def _against_level(axes: Axes, table: pd.DataFrame, colours: dict) -> None:
    """Lines of ``mean`` against level, with a whisker of ``std`` where sources are few, beside each other.

    ``table`` has the index (source, level).
    """
    levels = table.index.get_level_values("level")
    step = DODGE * (levels.max() - levels.min()) if len(colours) <= MOST_WHISKERS else 0
    for source, rows in table.groupby(level="source"):
        places = rows.index.get_level_values("level") + step * (list(colours).index(source) - (len(colours) - 1) / 2)
        look = {"color": colours[source], "marker": "o", "markersize": 3, "lw": 1.2, "elinewidth": 0.8, "capsize": 2}
        axes.errorbar(places, rows["mean"], rows["std"] if step else None, **look)
