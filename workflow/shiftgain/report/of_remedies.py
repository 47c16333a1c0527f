"""Figures of the conditions of adaptation: what mends each, and why plain refreshing does or does not.

Nothing here reads a file or knows a result.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from shiftgain.findings.conditions import BEST_PER_PAIR, by_condition, conditions
from shiftgain.findings.pairs import label
from shiftgain.report.panels import BLUE, ORANGE, blank, canvas, draw_legend, heat_map, in_cell, mark_cell, text_width

# Of the blocks of columns.
HEADINGS = ["without labels of the target", "chosen\nby labels", "yardsticks"]
PARTS = {"prior_part": ORANGE, "appearance_part": BLUE}
MARKERS = "osD^vPX<>*"


def remedies(remedy_table: pd.DataFrame) -> Figure:
    """Mean IoU of every remedy by the condition that a pair breaks, beside target-trained network and ceiling.

    ``remedy_table``: of :func:`shiftgain.findings.conditions.remedy_scores`. Framed: the best of what needs no labels,
    of the methods that all pairs of the row tried, to two decimals. A mean over fewer pairs bears their number.
    """
    if not len(remedy_table):
        return blank("This study tries no remedy.")
    names = [list(dict.fromkeys(remedy_table[key])) for key in ("condition", "method")]
    square, n = (
        remedy_table.pivot(index="condition", columns="method", values=column).loc[names[0], names[1]]
        for column in ("iou", "n")
    )
    sizes = remedy_table.groupby("condition")["pairs"].first().loc[names[0]]
    rows = [f"{name} ({count} pair{'s' * (count > 1)})" for name, count in sizes.items()]
    texts = square.map(in_cell) + n.map(lambda count: f"\n({count})").where(n.lt(sizes, axis=0), "")
    texts = texts.where(n > 0, "")
    first = names[1].index(BEST_PER_PAIR)
    blocks = [names[1][:first], [BEST_PER_PAIR], names[1][first + 1 :]]
    figure = canvas(1.0 + 0.36 * len(rows), text_width(rows) + 0.62 * len(names[1]) + 0.8)
    panels = figure.subplots(1, 3, width_ratios=list(map(len, blocks)))
    for axes, columns, heading in zip(panels, blocks, HEADINGS, strict=True):
        heat_map(axes, square[columns], "viridis", Normalize(0, 1), 7.5, texts[columns])
        axes.xaxis.tick_top()
        axes.set_xticks(axes.get_xticks(), [_in_lines(column) for column in columns])
        axes.set_yticks(axes.get_yticks(), rows if columns == blocks[0] else [""] * len(rows))
        axes.set_title(heading, weight="bold", pad=6)
    _frame_best(panels[0], square[blocks[0]].where(n[blocks[0]].eq(sizes, axis=0)))
    return figure


def closed_form(pairs: pd.DataFrame) -> Figure:
    """IoU after plain refreshing against the closed form of :mod:`shiftgain.findings.theory`, a point per pair.

    ``pairs``: a row per pair, averaged over seeds; those that theory knows are drawn, by the condition they break. The
    title has Pearson's r and the root mean square of the differences.
    """
    known = pairs.dropna(subset=["theory_after"])
    known = known.dropna(subset=["iou_batchnorm"]) if "iou_batchnorm" in known else known[:0]
    if len(known) < 2:
        return blank("No two pairs of this study have both an adapted IoU and a closed form.")
    theory, measured = known["theory_after"], known["iou_batchnorm"]
    condition = conditions(known)
    names = by_condition(condition)
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}
    figure = canvas(4.6, 5.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, zorder=0)
    for name in names:
        rows = condition == name
        axes.plot(
            theory[rows], measured[rows], ls="", marker=markers[name], color=colours[name],
            markersize=5, markeredgecolor="white", markeredgewidth=0.4, clip_on=False,
        )  # fmt: skip
    error = np.sqrt(((measured - theory) ** 2).mean())
    axes.set_title(f"{len(known)} pairs: r = {theory.corr(measured):.3f}, RMSE = {error:.3f}", weight="bold")
    axes.set(xlabel="IoU by the closed form, before any run", ylabel="IoU measured, statistics refreshed")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    draw_legend(figure, colours, marker=markers)
    return figure


def decomposition(decomposition_table: pd.DataFrame) -> Figure:
    """A panel per case: by layer the size of the difference of the means, and what each part adds to it.

    With d, the differences of the channels of a layer, and a part p of them: rms(d), and mean(p d) / rms(d), which add
    up to it.
    """
    table = decomposition_table
    if not len(table):
        return blank("No pair of this study is one of the cases that are looked into.")
    cases = list(dict.fromkeys(table["case"]))
    figure = canvas(3.0, 0.8 + 3.1 * len(cases))
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False, sharey=True)[0], cases, strict=True):
        rows = table[table["case"] == case]
        pair, by_layer = rows.iloc[0], rows.groupby("layer", sort=False)
        size = by_layer["difference"].apply(lambda values: float(np.sqrt((values**2).mean())))
        places, above, below = np.arange(len(size)), np.zeros(len(size)), np.zeros(len(size))
        for name, colour in PARTS.items():
            products = (rows[name] * rows["difference"]).groupby(rows["layer"], sort=False).mean()
            along = (products / size.where(size > 0)).fillna(0).to_numpy()
            axes.bar(places, along, 0.7, bottom=np.where(along > 0, above, below), color=colour)
            above, below = above + along.clip(0), below + along.clip(None, 0)
        axes.hlines(size, places - 0.42, places + 0.42, color="black", lw=1.4)
        axes.axhline(0, color="0.6", lw=0.6, zorder=0)
        shares = f"foreground {pair['source_share']:.2f} → {pair['target_share']:.2f}"
        axes.set_title(f"{case}: {label(pair)}\n{shares}", weight="bold")
        axes.set_xticks(places, list(size.index), rotation=60, ha="right", rotation_mode="anchor")
        axes.yaxis.set_tick_params(labelleft=True)
    figure.axes[0].set_ylabel("difference of the means\n(deviations on the source)")
    draw_legend(figure, {name.replace("_", " "): colour for name, colour in PARTS.items()})
    return figure


def _in_lines(method: str) -> str:
    """A method above its column, a word to a line."""
    return method.replace("_", "\n").replace(" ", "\n").replace("-", "-\n")


def _frame_best(axes: Axes, square: pd.DataFrame) -> None:
    rounded = square.round(2)
    for row, column in np.argwhere(rounded.eq(rounded.max(axis=1), axis=0).to_numpy()):
        mark_cell(axes, column, row)
