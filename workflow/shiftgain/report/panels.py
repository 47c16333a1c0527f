"""How a figure looks: its size, colours, pictures, heat maps and legends, and SVG that repeats byte for byte.

Figures are :class:`Figure` objects and never pyplot's, which would keep them all and look for a screen. Matplotlib's
constrained layout places panels, labels and legends; a height here is a choice of proportions, not of places.
"""

from collections.abc import Collection

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.textpath import TextPath
from seaborn.utils import relative_luminance

from shiftgain.files.tables import replacing
from shiftgain.findings.relations import means, on_grid
from shiftgain.study.names import BLANK

WIDTH = 10  # inches
TICK_SIZE = 7  # points
# Black and white stand out equally on a relative luminance L with (L + 0.05) / 0.05 = 1.05 / (L + 0.05), WCAG 2.
MIDDLE = 0.179
CORNER = 0.25  # of a cell's side, cut off to mark it
BLUE, ORANGE, GREY, MISSING = "#0072b2", "#d55e00", "0.65", "0.92"
QUANTITIES = {"iou_before": "IoU before", "iou_after": "IoU after", "gain_iou": "gain"}
GAIN_COLOURS = "vlag_r"
STATES = {"before": ORANGE, "after": BLUE}
POLARITY = {"kept": BLUE, "flipped": ORANGE}
# Colours of the palette, which readers of any colour vision tell apart.
MOST_COLOURS = 10
# Domains that fill less of the grid of their means would make a map of empty cells: they stand under their names.
FILLED_SHARE = 0.2

sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "shiftgain",
        "image.composite_image": False,
        "savefig.dpi": 120,
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.titlepad": 4,
        "axes.labelsize": 8,
        "xtick.labelsize": TICK_SIZE,
        "ytick.labelsize": TICK_SIZE,
        "legend.fontsize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def save(figure: Figure, path: str) -> None:
    """Write SVG without a date or a version, so that the same figure is the same bytes; white edges are cut off."""
    _lay_out(figure)
    with replacing(path) as partial:
        figure.savefig(
            partial, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None, "Creator": None}
        )


def blank(message: str) -> Figure:
    """A figure that says why there is none; the page leaves it out."""
    figure = Figure(figsize=(WIDTH, 0.6))
    figure.set_gid(BLANK)
    figure.text(0.5, 0.5, message, ha="center", va="center", size=9)
    return figure


def canvas(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def bands(heights: list[float], width: float = WIDTH) -> tuple[Figure, list[SubFigure]]:
    """A figure of bands one above the other, of ``heights`` in inches."""
    figure = canvas(sum(heights), width)
    return figure, list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])


def write_heading(part: SubFigure, text: str) -> None:
    part.suptitle(text, x=0.005, ha="left", size=9, weight="bold")


def write_over(axes: Axes, points: float, text: str) -> None:
    """``text`` above a panel by ``points``, higher than its title."""
    axes.annotate(
        text, (0.5, 1), (0, points), xycoords="axes fraction", textcoords="offset points", ha="center", weight="bold"
    )


def text_width(texts: Collection[str], size: float = TICK_SIZE) -> float:
    """Inches that the longest of ``texts`` takes."""
    return max((TextPath((0, 0), text, size=size).get_extents().width for text in texts), default=0) / 72


def source_colours(sources: list[str]) -> dict[str, tuple]:
    """One colour per source, the same in every figure; of more than can be told apart, a scale in their order."""
    palette = sns.color_palette("colorblind" if len(sources) <= MOST_COLOURS else "viridis", len(sources))
    return dict(zip(sources, palette, strict=True))


def grid_means(specs: dict[str, dict]) -> dict[str, tuple[float, float]]:
    """Domain -> (mask mean, background mean), of those that are known by them; empty where they make no grid."""
    grid = {name: pair for name, spec in specs.items() if on_grid(spec) and (pair := means(spec))}
    cells = np.prod([len(values) for values in grid_axes(grid)])
    return grid if len(grid) > 2 and len(grid) >= FILLED_SHARE * cells else {}


def grid_axes(grid: dict[str, tuple[float, float]]) -> list[list[float]]:
    """Mask means and background means that occur, each ascending."""
    return [sorted({pair[axis] for pair in grid.values()}) for axis in (0, 1)]


def picture_cells(axes: Axes, shape: tuple[float, float]) -> None:
    """Bare axes of (rows, columns) square cells of side 1, the first in the upper left corner; ticks bear no lines."""
    axes.set(xlim=(0, shape[1]), ylim=(shape[0], 0), aspect="equal", anchor="NW", xticks=[], yticks=[])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def place_picture(axes: Axes, picture: np.ndarray, box: tuple, framed: bool = False) -> None:
    """Draw ``picture`` as large as fits into ``box`` = (left, top, width, height), in cells."""
    x, y, width, height = box
    scale = min(width / picture.shape[1], height / picture.shape[0])
    width, height = scale * picture.shape[1], scale * picture.shape[0]
    extent = (x, x + width, y + height, y)
    axes.imshow(_thumbnail(picture), cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    colour, line = (ORANGE, 2.5) if framed else ("0.5", 0.5)
    frame = Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=line, clip_on=False)
    axes.add_patch(frame)


def in_cell(value: float) -> str:
    """A number as it stands in a cell: two decimals, no zero before the point."""
    return f"{round(value, 2) + 0:.2f}".replace("0.", ".", 1)


def heat_map(
    axes: Axes, square: pd.DataFrame, colours: str, norm: Normalize, size: float, texts: pd.DataFrame | None = None
) -> None:
    """A heat map with its values, or ``texts``, written in where ``size`` (points) is not 0; pale grey where none."""
    texts = square.map(in_cell) if texts is None else texts
    axes.set_facecolor(MISSING)
    sns.heatmap(
        square, ax=axes, norm=norm, cmap=colours, cbar=False, linewidths=0.5, linecolor="white",
        annot=texts if size else False, fmt="", annot_kws={"size": size}, xticklabels=False, yticklabels=False,
    )  # fmt: skip
    # Seaborn writes in white on colours of middling lightness too, and else in grey.
    cells = matplotlib.colormaps[colours](norm(square.to_numpy(float)))
    for text in axes.texts:
        column, row = map(int, text.get_position())
        text.set_color("black" if relative_luminance(cells[row, column]) > MIDDLE else "white")
    axes.set_xticks(np.arange(square.shape[1]) + 0.5, square.columns)
    axes.set_yticks(np.arange(square.shape[0]) + 0.5, square.index)
    axes.tick_params(length=0)
    axes.set(xlabel="", ylabel="")


def mark_cell(axes: Axes, column: int, row: int) -> None:
    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2, clip_on=False))


def cut_corner(axes: Axes, column: int, row: int, upwards: bool = False) -> None:
    """Cut the upper right corner of a cell of a heat map; ``upwards``: its rows are numbered from below."""
    y, inwards = (row + 1, row + 1 - CORNER) if upwards else (row, row + CORNER)
    corner = [(column + 1 - CORNER, y), (column + 1, y), (column + 1, inwards)]
    axes.add_patch(Polygon(corner, facecolor="0.15", edgecolor="white", linewidth=0.5))


def draw_legend(
    figure: Figure,
    colours: dict,
    marker: str | dict[str, str] = "",
    loc: str = "lower center",
    styles: dict[str, str] | None = None,
) -> None:
    """A legend outside the panels, for which the figure grows: in as many columns, six at most, as fit its width.

    Name -> colour, of lines or, with a ``marker`` for all or for each name, of points; and name -> line style.
    """
    markers = marker if isinstance(marker, dict) else dict.fromkeys(colours, marker)
    handles = [
        Line2D([], [], color=colour, label=name, lw=0 if marker else 3, marker=markers[name])
        for name, colour in colours.items()
    ]
    handles += [Line2D([], [], color="0.3", ls=style, label=name) for name, style in (styles or {}).items()]
    for columns in range(min(6, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, loc=f"outside {loc}", ncols=columns, frameon=False, borderaxespad=0.2)
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def _lay_out(figure: Figure) -> None:
    """Place the panels once, to a ten-thousandth of the figure.

    The last digits of the layout's solver differ from run to run, and the names of clip paths with them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    parts = list(figure.subfigs)
    for part in parts:
        parts += part.subfigs
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(4))
    for axes in figure.get_axes():
        axes.set_position(np.round(axes.get_position(original=True).bounds, 4))
        axes.set_in_layout(True)


def _thumbnail(picture: np.ndarray, side: int = 200) -> np.ndarray:
    """``picture`` uint8 (H, W) or (H, W, 3), averaged over blocks until the shorter side is about ``side``."""
    step = max(1, round(min(picture.shape[:2]) / side))
    rows, columns = (length // step for length in picture.shape[:2])
    blocks = picture[: rows * step, : columns * step].reshape(rows, step, columns, step, *picture.shape[2:])
    return blocks.mean(axis=(1, 3)).astype(np.uint8)
