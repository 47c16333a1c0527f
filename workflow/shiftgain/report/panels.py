"""How a figure is laid out and looks: panels in inches, pictures, heat maps, legends, SVG that repeats byte for byte.

Figures are :class:`Figure` objects and never pyplot's, which would keep them all and look for a screen. Panels are
placed in inches: matplotlib's own layout takes longer than the drawing.
"""

from collections.abc import Collection

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from shiftgain.files.tables import replacing
from shiftgain.study.names import BLANK

WIDTH = 10  # inches
BLUE, ORANGE, GREY, MISSING = "#0072b2", "#d55e00", "0.65", "0.92"

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
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def save(figure: Figure, path: str) -> None:
    """Write SVG without a date or a version, so that the same figure is the same bytes."""
    with replacing(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def blank(message: str) -> Figure:
    """A figure that says why there is none; the page leaves it out."""
    figure = Figure(figsize=(WIDTH, 0.6))
    figure.set_gid(BLANK)
    figure.text(0.5, 0.5, message, ha="center", va="center", size=9)
    return figure


def axes_grid(figure: Figure, shape: tuple[int, int], box: tuple, gap: tuple[float, float], **sharing) -> np.ndarray:
    """Axes (rows, columns) in ``box`` (left, top, width, height), ``gap`` (x, y) apart: inches from the top left."""
    width, height = figure.get_size_inches()
    size = [(box[2 + axis] - gap[axis] * (shape[1 - axis] - 1)) / shape[1 - axis] for axis in (0, 1)]
    grid = figure.add_gridspec(
        *shape,
        left=box[0] / width,
        right=(box[0] + box[2]) / width,
        top=1 - box[1] / height,
        bottom=1 - (box[1] + box[3]) / height,
        wspace=gap[0] / size[0],
        hspace=gap[1] / size[1],
    )
    return grid.subplots(squeeze=False, **sharing)


def bare_canvas(figure: Figure) -> Axes:
    """One bare axes over the whole figure, in inches from the upper left: for many pictures, cheaper than one each."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def place_picture(canvas: Axes, picture: np.ndarray, box: tuple, framed: bool = False) -> None:
    """Draw ``picture`` as large as fits into ``box`` = (left, top, width, height)."""
    x, y, width, height = box
    scale = min(width / picture.shape[1], height / picture.shape[0])
    width, height = scale * picture.shape[1], scale * picture.shape[0]
    extent = (x, x + width, y + height, y)
    canvas.imshow(_thumbnail(picture), cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    colour, line = (ORANGE, 2.5) if framed else ("0.5", 0.5)
    canvas.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=line))


def write_heading(canvas: Axes, y: float, text: str) -> None:
    canvas.text(0.05, y + 0.2, text, size=9, weight="bold")


def write_over(axes: Axes, points: float, text: str, size: float = 8, x: float = 0.5, ha: str = "center") -> None:
    """``text`` so many points above a panel, higher than its title."""
    axes.annotate(
        text, (x, 1), (0, points), xycoords="axes fraction", textcoords="offset points", ha=ha, size=size, weight="bold"
    )


def heat_map(axes: Axes, square: pd.DataFrame, colours: str, norm: Normalize, size: float) -> None:
    """A heat map with its values written in where ``size`` (points) is not 0; pale grey where there is none."""
    texts = square.map(lambda value: f"{round(value, 2) + 0:.2f}".replace("0.", ".", 1))
    axes.set_facecolor(MISSING)
    sns.heatmap(
        square, ax=axes, norm=norm, cmap=colours, cbar=False, linewidths=0.5, linecolor="white",
        annot=texts if size else False, fmt="", annot_kws={"size": size}, xticklabels=False, yticklabels=False,
    )  # fmt: skip
    axes.set_xticks(np.arange(square.shape[1]) + 0.5, square.columns)
    axes.set_yticks(np.arange(square.shape[0]) + 0.5, square.index)
    axes.tick_params(length=0)
    axes.set(xlabel="", ylabel="")


def draw_legend(figure: Figure, colours: dict, marker: str = "", loc: str = "lower center") -> None:
    handles = [
        Line2D([], [], color=colour, label=name, lw=0 if marker else 3, marker=marker)
        for name, colour in colours.items()
    ]
    figure.legend(handles=handles, loc=loc, ncols=_legend_columns(colours), frameon=False, borderaxespad=0)


def legend_height(names: Collection[str]) -> float:
    """Inches that the rows of a legend take."""
    return 0.22 * -(-len(names) // _legend_columns(names))


def _legend_columns(names: Collection[str]) -> int:
    """How many entries stand beside each other, six at most: the longest sets the width of all."""
    return max(1, min(6, int(WIDTH / (0.5 + 0.065 * max(map(len, names), default=0)))))


def _thumbnail(picture: np.ndarray, side: int = 200) -> np.ndarray:
    """``picture`` uint8 (H, W) or (H, W, 3), averaged over blocks until the shorter side is about ``side``."""
    step = max(1, round(min(picture.shape[:2]) / side))
    rows, columns = (length // step for length in picture.shape[:2])
    blocks = picture[: rows * step, : columns * step].reshape(rows, step, columns, step, *picture.shape[2:])
    return blocks.mean(axis=(1, 3)).astype(np.uint8)
