"""The figures of the report: tidy tables and arrays -> matplotlib figures.

Nothing here reads a file or knows a result.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from shiftgain.findings.pairs import means, on_grid
from shiftgain.findings.theory import predicted_map
from shiftgain.latents.channels import DEAD, shares
from shiftgain.report.panels import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
    axes_grid,
    bare_canvas,
    blank,
    draw_legend,
    heat_map,
    legend_height,
    place_picture,
    write_heading,
    write_over,
)
from shiftgain.study.names import domain_of

IOU = Normalize(0, 1)
QUANTITIES = {"iou_before": "IoU before", "iou_after": "IoU after", "gain_iou": "gain"}
MAPPED = QUANTITIES | {"pixel_ceiling": "pixel ceiling"}
COLOURS = dict.fromkeys(MAPPED, "viridis") | {"gain_iou": "vlag_r"}
STATES = {"before": ORANGE, "after": BLUE}
POLARITY = {"kept": BLUE, "flipped": ORANGE}


def source_colours(sources: list[str]) -> dict[str, tuple]:
    """One colour per source, the same in every figure."""
    palette = sns.color_palette("colorblind" if len(sources) <= 10 else "husl", len(sources))
    return dict(zip(sources, palette, strict=True))


def grid_means(specs: dict[str, dict]) -> dict[str, tuple[float, float]]:
    """Domain -> (mask mean, background mean), of those that are known by them; empty where they make no grid."""
    grid = {name: pair for name, spec in specs.items() if on_grid(spec) and (pair := means(spec))}
    cells = np.prod([len(values) for values in _axes_of(grid)])
    return grid if len(grid) > 2 and len(grid) >= 0.2 * cells else {}


def domains(
    examples: dict[str, tuple[np.ndarray, np.ndarray | None]],
    specs: dict[str, dict],
    sources: list[str],
    shifted: dict[str, dict[float, tuple[np.ndarray, np.ndarray | None]]],
) -> Figure:
    """One image beside its mask for every domain, and one image per level of every transform.

    ``examples``: domain -> image uint8 (H, W) or (H, W, 3) and mask (H, W) or None; ``shifted``: transform in words ->
    level -> the same.
    """
    grid = grid_means({name: specs[name] for name in examples})
    named = [name for name in examples if name not in grid]
    across, down = _axes_of(grid)
    cell = (WIDTH - 0.9) / max(4, len(across))
    tile = WIDTH / 5
    most = max(map(len, shifted.values()), default=0)
    per_row = 2 if most <= 4 else 1
    square = (WIDTH / per_row - 0.1) / max(4 if per_row == 2 else 8, most)
    heights = [
        0.55 + cell / 2 * len(down) if grid else 0,
        0.3 + (tile / 2 + 0.2) * -(-len(named) // 5) if named else 0,
        0.3 + (square + 0.45) * -(-len(shifted) // per_row) if shifted else 0,
    ]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    canvas = bare_canvas(figure)
    if grid:
        write_heading(canvas, 0, "domains by their means: image and mask (framed: a source)")
        for name, (mask, background) in grid.items():
            x, y = 0.9 + across.index(mask) * cell, 0.3 + (len(down) - 1 - down.index(background)) * cell / 2
            place_picture(canvas, _side_by_side(*examples[name]), (x, y, 0.96 * cell, 0.46 * cell), name in sources)
        for number, mask in enumerate(across):
            canvas.text(0.9 + (number + 0.48) * cell, heights[0] - 0.1, f"mask mean {mask:g}", ha="center")
        for number, background in enumerate(reversed(down)):
            y = 0.3 + (number + 0.46) * cell / 2
            canvas.text(0.82, y, f"background\nmean {background:g}", ha="right", va="center", linespacing=1.3)
    if named:
        write_heading(canvas, heights[0], "named domains: image and mask (framed: a source)")
    for number, name in enumerate(named):
        x, y = number % 5 * tile, heights[0] + 0.5 + number // 5 * (tile / 2 + 0.2)
        canvas.text(x + 0.48 * tile, y - 0.05, name, ha="center", size=7)
        place_picture(canvas, _side_by_side(*examples[name]), (x + 0.04, y, 0.94 * tile, 0.45 * tile), name in sources)
    if shifted:
        write_heading(canvas, sum(heights[:2]), "every transform and level (the mask is outlined where it changes)")
    for number, (transform, levels) in enumerate(shifted.items()):
        x, y = number % per_row * WIDTH / per_row, sum(heights[:2]) + 0.7 + number // per_row * (square + 0.45)
        canvas.text(x + 0.1, y - 0.2, transform, size=7.5, weight="bold")
        _gallery_row(canvas, dict(sorted(levels.items())), x + 0.1, y, square)
    return figure


def training(curves: pd.DataFrame, sources: list[str]) -> Figure:
    """Loss and source-validation IoU per epoch, a line per network; columns domain, seed, epoch and the two."""
    names = list(dict.fromkeys([*sources, *curves["domain"]]))
    figure = Figure(figsize=(WIDTH, 3 + legend_height(names)))
    panels = axes_grid(figure, (1, 2), (0.6, 0.1, WIDTH - 0.7, 2.4), (0.6, 0))[0]
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


def maps(table: pd.DataFrame, specs: dict[str, dict], sources: list[str]) -> Figure:
    """IoU before, after, gain and ceiling at identity: over the grid of means for each source, source x other targets.

    ``table``: a row per source and target, averaged over seeds, home included. Lines are the theory's: where a
    classifier of single pixels reaches an IoU of a half (:mod:`shiftgain.findings.theory`). The ceiling is what the
    best such classifier reaches on the target.
    """
    if not len(table):
        return blank("No pair without a transform has scores.")
    grid = grid_means({name: specs[name] for name in table["target"].unique()})
    others = table[~table["target"].isin(grid)]
    of_grid = table[table["target"].isin(grid)]
    shown = [source for source in sources if source in set(of_grid["source"])]
    per_row = 1 if len(shown) <= 4 else 2
    width = (WIDTH - 0.1) / per_row
    height = 0.95 + 0.8 * (width - 1.6) / 4
    names = [list(dict.fromkeys(others[role])) for role in ("source", "target")]
    margins = [0.2 + 0.065 * max(map(len, part), default=0) for part in names]
    matrix = 0.5 + 0.3 * len(names[0]) + margins[1] if len(others) else 0
    top = height * -(-len(shown) // per_row)
    figure = Figure(figsize=(WIDTH, top + matrix + 0.6))
    limit = max(0.1, float(table["gain_iou"].abs().max()))
    norms = dict.fromkeys(MAPPED, IOU) | {"gain_iou": Normalize(-limit, limit)}
    # Points; a value needs a fifth of an inch.
    size = 6 if (width - 1.6) / 4 > 0.2 * max(map(len, _axes_of(grid))) else 0
    for number, source in enumerate(shown):
        x, y = number % per_row * width, number // per_row * height
        panels = axes_grid(figure, (1, 4), (x + 0.6, y + 0.5, width - 0.7, height - 0.95), (0.3, 0))[0]
        write_over(panels[0], 22, f"source {source}", size=9, x=0, ha="left")
        _maps_of_source(panels, of_grid[of_grid["source"] == source], grid, grid.get(domain_of(source)), norms, size)
        _boundaries(panels, specs[domain_of(source)], _axes_of(grid))
    if len(others):
        box = (margins[0], top + 0.3, WIDTH - 0.1 - margins[0], 0.3 * len(names[0]))
        for axes, (column, title) in zip(axes_grid(figure, (1, 4), box, (0.2, 0))[0], MAPPED.items(), strict=True):
            square = others.pivot_table(index="source", columns="target", values=column)
            square = square.reindex(index=names[0], columns=names[1])
            heat_map(axes, square, COLOURS[column], norms[column], size=7 if len(names[1]) <= 6 else 0)
            axes.set_title(title)
            axes.set_xticklabels(names[1], rotation=90)
            axes.set_yticklabels(names[0] if column == "iou_before" else [])
            for source in set(names[0]) & set(names[1]):
                _mark_cell(axes, names[1].index(source), names[0].index(source))
    bars = axes_grid(figure, (1, 2), (0.6, top + matrix + 0.1, WIDTH - 0.9, 0.12), (0.5, 0))[0]
    for axes, column, text in zip(
        bars, ("iou_after", "gain_iou"), ("IoU before and after, and ceiling", "gain"), strict=True
    ):
        scale = ScalarMappable(norms[column], COLOURS[column])
        figure.colorbar(scale, cax=axes, orientation="horizontal", label=text)
    return figure


def transforms(table: pd.DataFrame, sources: list[str]) -> Figure:
    """Mean and spread over targets of IoU before, after and gain, against level, a column per transform.

    ``table``: a row per pair averaged over seeds, identity and home included; its rows at identity stand at level 0
    of every transform that the same source and target went through.
    """
    columns = [name for name in table["transform"].unique() if name != "identity"]
    if not columns:
        return blank("This study scores no transform.")
    groups = [group for group in (*POLARITY, "") if (table["polarity"] == group).any()]
    rows = [(group, quantity) for quantity in QUANTITIES for group in groups]
    bands = np.array_split(columns, -(-len(columns) // 6))
    band = 1.2 * len(rows) + 0.7
    figure = Figure(figsize=(WIDTH, band * len(bands) + 0.05 + legend_height(sources)))
    colours = source_colours(sources)
    limit = max(0.1, 1.05 * float(table["gain_iou"].abs().max()))
    for number, names in enumerate(bands):
        box = (0.75, number * band + 0.25, min(WIDTH - 0.85, 3.1 * len(columns)), 1.2 * len(rows) - 0.15)
        panels = axes_grid(figure, (len(rows), len(bands[0])), box, (0.15, 0.15), sharex="col", sharey="row")
        for column in panels.T[len(names) :]:
            for axes in column:
                axes.set_axis_off()
        for column, transform in zip(panels.T, names, strict=False):
            _transform_column(column, transform, rows, table, colours, limit)
        for axes, (group, quantity) in zip(panels[:, 0], rows, strict=True):
            axes.set_ylabel(QUANTITIES[quantity] + (f"\npolarity {group}" if group else "\nall targets"))
    draw_legend(figure, colours)
    return figure


def _transform_column(
    column: np.ndarray, transform: str, rows: list, table: pd.DataFrame, colours: dict, limit: float
) -> None:
    """One transform: a panel for each of ``rows`` (polarity, quantity)."""
    moved = table[table["transform"] == transform]
    still = table[table["transform"] == "identity"].merge(moved[["source", "target"]].drop_duplicates())
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
    column[-1].set(xlabel="level", xticks=sorted(both["level"].unique()))


def predictions(shown: dict[str, tuple[str, dict[str, np.ndarray]] | None]) -> Figure:
    """A row per case: image, true mask and the predicted masks.

    ``shown``: case -> (label, title -> picture uint8 (H, W) or (H, W, 3)), or None where the case does not occur. A
    title has its column, empty where a case lacks it.
    """
    occurring = {name: case for name, case in shown.items() if case is not None}
    absent = ", ".join(name for name in shown if name not in occurring)
    if not occurring:
        return blank(f"None of these cases occurs in this study: {absent}.")
    left, titles = 2.6, list(dict.fromkeys(title for _, pictures in occurring.values() for title in pictures))
    height = min(1.5, (1.4 * WIDTH - left) / len(titles))
    figure = Figure(figsize=(left + len(titles) * height, 0.3 + height * len(occurring) + 0.25 * bool(absent)))
    canvas = bare_canvas(figure)
    for column, title in enumerate(titles):
        x = left + (column + 0.47) * height
        canvas.text(x, 0.25, _title(title), ha="center", va="bottom", size=8 if height > 1 else 6)
    for row, (name, (label, pictures)) in enumerate(occurring.items()):
        y = 0.3 + row * height
        canvas.text(0.05, y + 0.12, name, weight="bold", size=10, va="top")
        canvas.text(0.05, y + 0.4, label, size=7.5, va="top", linespacing=1.5)
        for title, picture in pictures.items():
            x = left + titles.index(title) * height
            place_picture(canvas, picture, (x, y, 0.94 * height, 0.94 * height))
    if absent:
        canvas.text(0.05, 0.45 + height * len(occurring), f"does not occur in this study: {absent}", style="italic")
    return figure


def masks_by_method(shown: dict[str, dict[str, np.ndarray]]) -> Figure:
    """A row per pair: label -> title -> picture uint8 (H, W) or (H, W, 3); titles may differ between rows."""
    if not shown:
        return blank("No method of this study trains with target images.")
    columns = max(map(len, shown.values()))
    side = min(1.5, WIDTH / columns)
    figure = Figure(figsize=(side * columns, (side + 0.45) * len(shown)))
    canvas = bare_canvas(figure)
    for row, (label, pictures) in enumerate(shown.items()):
        y = row * (side + 0.45)
        canvas.text(0.03, y + 0.15, label, weight="bold", size=8)
        for column, (title, picture) in enumerate(pictures.items()):
            canvas.text((column + 0.48) * side, y + 0.37, _title(title), ha="center", va="bottom", size=6.5)
            place_picture(canvas, picture, (column * side + 0.02, y + 0.4, 0.95 * side, 0.95 * side))
    return figure


def _title(method: str) -> str:
    """A method above its pictures, in two lines where it adapts a baseline."""
    return method.replace("_", " ").replace("+", "\n+")


def latents(shown: dict[str, dict[str, dict[str, dict]]]) -> Figure:
    """Histograms of single latent dimensions: the three that moved most, and the one in the middle of that order.

    ``shown``: case and pair -> layer -> state (source, before, after) -> ``rows`` (r, C), ``mean`` and ``sd`` (C,).
    """
    if not shown:
        return blank("None of the cases whose latents are shown occurs in this study.")
    heights = [1.35 * len(layers) + 0.3 for layers in shown.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3))
    for number, (pair, layers) in enumerate(shown.items()):
        box = (0.35, sum(heights[:number]) + 0.45, WIDTH - 0.45, heights[number] - 0.65)
        panels = axes_grid(figure, (len(layers), 4), box, (0.15, 0.5))
        write_over(panels[0, 0], 20, pair, size=9, x=0, ha="left")
        for row, (layer, states) in zip(panels, layers.items(), strict=True):
            _latents_of(row, states)
            row[0].set_ylabel(layer)
    draw_legend(figure, {"source": GREY} | {f"target, {state} adaptation": colour for state, colour in STATES.items()})
    return figure


def distances(table: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Gain against each distance: a column per distance, a row per layer and state.

    ``table``: rows of ``distances.csv`` of one activation with ``gain_iou`` and ``group``; ``correlations``: rows of
    ``correlations.csv`` of that activation, outcome ``gain_iou``. The vertical line is the median null.
    """
    if not len(table):
        return blank("No pair has both a distance and a gain.")
    names = list(table["distance"].unique())
    rows = list(table[["layer", "state"]].drop_duplicates().itertuples(index=False, name=None))
    colours = _group_colours(table["group"])
    figure = Figure(figsize=(WIDTH, 1.5 * len(rows) + 0.8))
    box = (0.95, 0.7, WIDTH - 1.15, 1.5 * len(rows) - 0.45)
    panels = axes_grid(figure, (len(rows), len(names)), box, (0.18, 0.5), sharey=True)
    known = correlations.set_index(["layer", "state", "distance"])
    for row, (layer, state) in zip(panels, rows, strict=True):
        for axes, name in zip(row, names, strict=True):
            points = table[(table["layer"] == layer) & (table["state"] == state) & (table["distance"] == name)]
            _cloud(axes, points, colours)
            key = (layer, state, name)
            axes.set_title(_spearman(known.loc[key]) if key in known.index else "", size=7)
        row[0].set_ylabel(f"{layer}\n{state} adaptation\ngain")
    for axes, name in zip(panels[0], names, strict=True):
        write_over(axes, 18, name.replace("_", " "))
    words = {name: f"polarity {name}" if name in POLARITY else name for name in colours}
    draw_legend(figure, {words[name]: colour for name, colour in colours.items()}, marker="o", loc="upper center")
    return figure


def correlations(table: pd.DataFrame) -> Figure:
    """Every Spearman correlation with its interval: a column per outcome, a row of panels per layer and activation.

    A hollow dot: of more than a quarter of the pairs the distance does not exceed its null (``below_null``).
    """
    table = table[table["spearman"].notna()]
    if not len(table):
        return blank("Too few pairs for a correlation.")
    outcomes = list(dict.fromkeys(["gain_iou", "iou_after", *table["outcome"]]))
    layers = list(table[["layer", "activation", "unit"]].drop_duplicates().itertuples(index=False, name=None))
    names = list(dict.fromkeys(table["distance"]))
    height = 0.24 * len(names) + 0.2
    figure = Figure(figsize=(WIDTH, height * len(layers) + 1))
    left = 1 + 0.065 * max(map(len, names))
    box = (left, 0.25, WIDTH - left - 0.15, height * len(layers) - 0.1)
    panels = axes_grid(figure, (len(layers), len(outcomes)), box, (0.4, 0.1), sharex=True, sharey=True)
    for row, (layer, activation, unit) in zip(panels, layers, strict=True):
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
    draw_legend(figure, {f"{state} adaptation": colour for state, colour in STATES.items()}, marker="o")
    return figure


def depth(table: pd.DataFrame, distances: pd.DataFrame, layers: list[str]) -> Figure:
    """By layer, in the order of the network: distance over null, and Spearman with gain and adapted IoU.

    ``table``: rows of ``correlations.csv``; ``distances``: rows of ``distances.csv``. A row of panels per activation
    and unit, a line per distance and state.
    """
    kinds = sorted(
        distances[["activation", "unit"]].drop_duplicates().itertuples(index=False, name=None),
        key=lambda kind: (kind[0] != "before_relu", kind[1] != "position"),
    )
    names = list(dict.fromkeys(distances["distance"]))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    columns = ["value / null", "gain_iou", "iou_after"]
    figure = Figure(figsize=(WIDTH, 2 * len(kinds) + 1.1))
    panels = axes_grid(
        figure, (len(kinds), 3), (0.8, 0.25, WIDTH - 0.9, 2 * len(kinds) - 0.2), (0.45, 0.3), sharex=True
    )
    ratios = distances.assign(ratio=distances["value"] / distances["null"].where(distances["null"] > 0))
    keys = ["activation", "unit", "distance", "state", "layer"]
    medians = ratios.groupby(keys)["ratio"].median()
    spearmans = table.set_index([*keys, "outcome"])["spearman"]
    for row, kind in zip(panels, kinds, strict=True):
        for name in names:
            for state, style in {"before": "--", "after": "-"}.items():
                look = {"color": colours[name], "ls": style, "marker": "o", "markersize": 3, "lw": 1.2}
                places = [(*kind, name, state, layer) for layer in layers]
                row[0].plot(layers, medians.reindex(places).to_numpy(), **look)
                for axes, outcome in zip(row[1:], columns[1:], strict=True):
                    axes.plot(layers, spearmans.reindex([(*place, outcome) for place in places]).to_numpy(), **look)
        row[0].set_yscale("log")
        row[0].axhline(1, color="0.6", lw=0.6)
        for axes in row[1:]:
            axes.set(ylim=(-1.02, 1.02), yticks=[-1, -0.5, 0, 0.5, 1])
            axes.axhline(0, color="0.6", lw=0.6)
        row[0].set_ylabel(f"{kind[0].replace('_', ' ')}\nper {kind[1]}")
    titles = ["median distance / its null", "Spearman with gain", "Spearman with IoU after"]
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, weight="bold")
    for axes in panels[-1]:
        axes.tick_params(axis="x", rotation=60)
    draw_legend(figure, {name.replace("_", " "): colour for name, colour in colours.items()})
    return figure


def methods(table: pd.DataFrame) -> Figure:
    """Mean gain of every method under every transform: over the pairs that keep the polarity, and that flip it.

    ``table``: rows of ``gains.csv``, averaged over seeds, with ``polarity`` (kept, flipped, or empty where unknown).
    """
    if table["method"].nunique() < 2:
        return blank("This study compares no methods.")
    groups = [group for group in (*POLARITY, "") if (table["polarity"] == group).any()]
    names, columns = (list(dict.fromkeys(table[key])) for key in ("method", "transform"))
    limit = max(0.1, float(table["gain_iou"].abs().max()))
    height = 0.26 * len(names)
    figure = Figure(figsize=(WIDTH, height + 1.5))
    box = (1.5, 0.3, WIDTH - 1.6, height)
    for axes, group in zip(axes_grid(figure, (1, len(groups)), box, (0.2, 0))[0], groups, strict=True):
        part = table[table["polarity"] == group]
        square = part.pivot_table(index="method", columns="transform", values="gain_iou")
        square = square.reindex(index=names, columns=columns)
        heat_map(
            axes,
            square,
            COLOURS["gain_iou"],
            Normalize(-limit, limit),
            size=7 if len(columns) * len(groups) <= 24 else 0,
        )
        axes.set_title(f"mean gain, polarity {group}" if group else "mean gain", weight="bold")
        axes.set_xticklabels(columns, rotation=60, ha="right")
        axes.set_yticklabels(names if group == groups[0] else [])
    return figure


def channels(shown: dict[str, dict[str, np.ndarray]], layer: str) -> Figure:
    """Every channel of a layer, standardised, one line each: a row per network, before and after the ReLU.

    ``shown``: network -> activation -> rows (r, C).
    """
    if len(shown) < 2:
        return blank("This study trains no variant with another weight decay.")
    figure = Figure(figsize=(WIDTH, 2.3 * len(shown) + 0.5))
    panels = axes_grid(
        figure, (len(shown), 2), (0.6, 0.35, WIDTH - 0.7, 2.3 * len(shown) - 0.3), (0.4, 0.5), sharex=True
    )
    grid = np.linspace(-4, 4, 61)
    middle = (grid[1:] + grid[:-1]) / 2
    for row, (network, activations) in zip(panels, shown.items(), strict=True):
        for axes, activation in zip(row, ("before_relu", "after_relu"), strict=True):
            rows = activations[activation]
            sd = rows.std(axis=0)
            alive = sd > DEAD * np.sqrt(np.mean(sd**2))
            for column in ((rows - rows.mean(axis=0)) / np.where(sd > 0, sd, 1)).T[alive]:
                axes.plot(middle, np.histogram(column, grid, density=True)[0], color=BLUE, lw=0.5, alpha=0.35)
            axes.plot(middle, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), color="0.1", lw=1, ls="--")
            counted = shares(rows)
            axes.set_title(
                f"{network}, {layer} {activation.replace('_relu', ' the ReLU')}: "
                f"{counted['dead']:.0%} dead, {counted['non_gaussian']:.0%} not Gaussian",
            )
            axes.set(ylim=(0, 1.2), yticks=[])
    for axes in panels[-1]:
        axes.set_xlabel("activation, in standard deviations from its mean")
    return figure


def _axes_of(grid: dict[str, tuple[float, float]]) -> list[list[float]]:
    """Mask means and background means that occur, each ascending."""
    return [sorted({pair[axis] for pair in grid.values()}) for axis in (0, 1)]


def _gallery_row(canvas: Axes, levels: dict[float, tuple], x: float, y: float, square: float) -> None:
    """Images of one transform by level, to one scale: a cropped one is smaller."""
    sides = {level: max(image.shape[:2]) for level, (image, _) in levels.items()}
    masks = [mask for _, mask in levels.values()]
    moved = any(mask is not None and not np.array_equal(mask, masks[0]) for mask in masks)
    for column, (level, (image, mask)) in enumerate(levels.items()):
        side = 0.94 * square * sides[level] / max(sides.values())
        left, top = (start + (0.94 * square - side) / 2 for start in (x + column * square, y))
        canvas.text(x + (column + 0.47) * square, y - 0.05, f"{level:g}" if level else "0 (none)", ha="center", size=7)
        place_picture(canvas, image, (left, top, side, side))
        if moved and mask is not None and 0 < mask.mean() < 1:
            pixel = side / sides[level]
            places = (
                (np.arange(length) + 0.5) * pixel + start
                for length, start in zip(mask.T.shape, (left, top), strict=True)
            )
            canvas.contour(*places, mask, levels=[0.5], colors=[ORANGE], linewidths=0.8)


def _side_by_side(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Image and mask in one picture, of the image's channels; mid-grey where there is no mask."""
    drawn = np.full(image.shape[:2], 128, np.uint8) if mask is None else 255 * mask
    if image.ndim == 3:
        drawn = np.repeat(drawn[..., None], 3, axis=2)
    gap = np.full_like(image[:, : max(1, image.shape[1] // 24)], 255)
    return np.concatenate([image, gap, drawn], axis=1)


def _maps_of_source(
    panels: np.ndarray, table: pd.DataFrame, grid: dict, own: tuple | None, norms: dict, size: float
) -> None:
    across, down = _axes_of(grid)
    for axes, (column, title) in zip(panels, MAPPED.items(), strict=True):
        square = pd.DataFrame(np.nan, down, across)
        for target, value in zip(table["target"], table[column], strict=True):
            square.loc[grid[target][1], grid[target][0]] = value
        heat_map(axes, square, COLOURS[column], norms[column], size)
        axes.invert_yaxis()
        axes.set(title=title, xlabel="mask mean", ylabel="background mean" if column == "iou_before" else "")
        if own is not None:
            _mark_cell(axes, across.index(own[0]), down.index(own[1]))


def _boundaries(panels: np.ndarray, spec: dict, scales: list[list[float]]) -> None:
    """The theory's boundary before (dashed) and after adaptation (solid), on the maps of a source of known means."""
    pair = means(spec)
    if pair is None or "foreground" not in spec:
        return
    sds = spec["noise"]["mask_sd"], spec["noise"]["background_sd"]
    fine = np.linspace(min(map(min, scales)), max(map(max, scales)), 41)
    before, after = predicted_map(pair, sds, spec["foreground"], fine)
    across, down = (np.interp(fine, scale, np.arange(len(scale)) + 0.5) for scale in scales)
    for axes, shown in zip(panels, ([0], [1], [0, 1], []), strict=True):
        for state in shown:
            reached = (before, after)[state]
            axes.contour(across, down, reached, [0.5], colors="0.15", linewidths=1.3, linestyles=("--", "-")[state])


def _mark_cell(axes: Axes, column: int, row: int) -> None:
    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2, clip_on=False))


def _against_level(axes: Axes, table: pd.DataFrame, colours: dict) -> None:
    """Lines of ``mean`` and bands of ``std`` against level, of a table with the index (source, level)."""
    for source, rows in table.groupby(level="source"):
        levels, mean, spread = rows.index.get_level_values("level"), rows["mean"], rows["std"]
        axes.plot(levels, mean, color=colours[source], marker="o", markersize=3, lw=1.2)
        if len(colours) <= 4:
            axes.fill_between(levels, mean - spread, mean + spread, color=colours[source], alpha=0.12, lw=0)


def _latents_of(row: np.ndarray, states: dict[str, dict]) -> None:
    moved = _moved(states["source"], states["before"])
    order = np.argsort(-moved, kind="stable")
    chosen = [*order[:3], *order[3:][max(0, len(order) // 2 - 3) :][:1]]
    for place, (axes, dimension) in enumerate(zip(row, chosen, strict=False)):
        _histograms(axes, {state: arrays["rows"][:, dimension] for state, arrays in states.items()})
        middle = "median: " if place == 3 else ""
        axes.set_title(f"{middle}dimension {dimension}, moved {moved[dimension]:.1f} sd", size=7)
    for axes in row[len(chosen) :]:
        axes.set_axis_off()


def _moved(source: dict, target: dict) -> np.ndarray:
    """How far the mean of each dimension (C,) moved, in standard deviations of the source; 0 for a dead one."""
    distance = np.abs(target["mean"] - source["mean"])
    return np.divide(distance, source["sd"], out=np.zeros_like(distance), where=source["sd"] > 0)


def _histograms(axes: Axes, values: dict[str, np.ndarray]) -> None:
    low, high = np.percentile(np.concatenate(list(values.values())), [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, 41)
    for state, colour in {"source": GREY, **STATES}.items():
        if state in values:
            density, _ = np.histogram(values[state], edges, density=True)
            axes.stairs(density, edges, color=colour, fill=state == "source", linewidth=1.1)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)


def _cloud(axes: Axes, points: pd.DataFrame, colours: dict) -> None:
    shade = list(points["group"].map(colours))
    axes.scatter(points["value"], points["gain_iou"], c=shade, s=8, alpha=0.5, lw=0, rasterized=True)
    axes.axhline(0, color="0.6", lw=0.6, zorder=0)
    low, high, null = points["value"].min(), points["value"].max(), points["null"].median()
    if low > 0 and high > 30 * low:
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
        hollow = np.where(rows["below_null"] > 0.25, "white", colour)
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
    interval = "" if np.isnan(row["ci_low"]) else f" [{row['ci_low']:+.2f}, {row['ci_high']:+.2f}]"
    return f"{row['spearman']:+.2f}{interval}"
