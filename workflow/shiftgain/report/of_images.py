"""Figures of images and masks: the domains of a study and what its networks predict.

Nothing here reads a file or knows a result.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from shiftgain.report.panels import (
    ORANGE,
    WIDTH,
    bands,
    blank,
    canvas,
    grid_axes,
    grid_means,
    picture_cells,
    place_picture,
    write_heading,
)
from shiftgain.report.pictures import Example, Gallery, PictureRow

# Inches, of the title of a block and the labels at its edge.
LABEL_INCHES = 0.55
# Pictures are no larger than if there were this many in a row, however few there are.
FEWEST_MEANS, NAMED_PER_ROW = 4, 5
# Share of its cell that a picture takes.
FILL = 0.94


def domains(gallery: Gallery, specs: dict[str, dict], source_domains: list[str]) -> Figure:
    """One image beside its mask for every domain, and one image per level of every transform."""
    grid = grid_means({name: specs[name] for name in gallery.domains})
    named = {name: example for name, example in gallery.domains.items() if name not in grid}
    across, down = grid_axes(grid)
    most = max(map(len, gallery.shifted.values()), default=0)
    shifted_shape = (-(-len(gallery.shifted) // 2), 2, 4) if most <= 4 else (len(gallery.shifted), 1, max(8, most))
    heights = {}
    if grid:
        heights["grid"] = LABEL_INCHES + len(down) * (WIDTH - 0.9) / max(FEWEST_MEANS, len(across)) / 2
    if named:
        heights["named"] = LABEL_INCHES + -(-len(named) // NAMED_PER_ROW) * WIDTH / NAMED_PER_ROW * 0.6
    if gallery.shifted:
        rows, per_row, n_levels = shifted_shape
        heights["shifted"] = 0.3 + rows * (0.4 + (WIDTH / per_row - 0.2) / n_levels)
    figure, parts = bands(list(heights.values()))
    blocks = dict(zip(heights, parts, strict=True))
    if grid:
        _by_means(blocks["grid"], gallery.domains, grid, source_domains)
    if named:
        _by_name(blocks["named"], named, source_domains)
    if gallery.shifted:
        _by_level(blocks["shifted"], gallery.shifted, shifted_shape)
    return figure


def predictions(cases: dict[str, PictureRow | None]) -> Figure:
    """A row per case: image, true mask and the predicted masks; of a case that does not occur (None) the name alone.

    A title has its column, empty where a case lacks it.
    """
    occurring = {name: row for name, row in cases.items() if row is not None}
    absent = ", ".join(name for name in cases if name not in occurring)
    if not occurring:
        return blank(f"None of these cases occurs in this study: {absent}.")
    titles = list(dict.fromkeys(title for row in occurring.values() for title in row.pictures))
    # Inches: more methods make a wider figure, up to a limit, and then smaller pictures.
    cell = min(1.5, (1.4 * WIDTH - 2.6) / len(titles))
    figure = canvas(0.5 + cell * len(occurring), 2.6 + cell * len(titles))
    axes = figure.subplots()
    picture_cells(axes, (len(occurring), len(titles)))
    _titles(axes, titles, 8 if cell > 1 else 6)
    for number, (name, row) in enumerate(occurring.items()):
        beside = axes.get_yaxis_transform()
        axes.text(-0.02, number + 0.2, name, weight="bold", size=10, ha="right", va="center", transform=beside)
        axes.text(-0.02, number + 0.33, row.label, size=7.5, ha="right", va="top", linespacing=1.5, transform=beside)
        for title, picture in row.pictures.items():
            place_picture(axes, picture, (titles.index(title), number, FILL, FILL))
    if absent:
        axes.set_xlabel(f"does not occur in this study: {absent}", style="italic", loc="left")
    return figure


def masks_by_method(rows: list[PictureRow]) -> Figure:
    """A row per pair: its label and, below, its pictures under their titles, which may differ between rows."""
    if not rows:
        return blank("No method of this study trains with target images.")
    n_columns = max(len(row.pictures) for row in rows)
    cell = min(1.5, WIDTH / n_columns)
    figure = canvas((cell + 0.6) * len(rows), cell * n_columns)
    for axes, row in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        picture_cells(axes, (1, n_columns))
        axes.set_title(row.label, loc="left", weight="bold")
        _titles(axes, list(row.pictures), 6.5)
        for column, picture in enumerate(row.pictures.values()):
            place_picture(axes, picture, (column, 0, FILL, FILL))
    return figure


def _by_means(
    part: SubFigure, examples: dict[str, Example], grid: dict[str, tuple[float, float]], sources: list[str]
) -> None:
    """A cell per mask mean and background mean; a cell is two squares wide, for an image and its mask."""
    write_heading(part, "domains by their means: image and mask (framed: a source)")
    across, down = grid_axes(grid)
    axes = part.subplots()
    picture_cells(axes, (len(down), 2 * max(FEWEST_MEANS, len(across))))
    for name, (mask, background) in grid.items():
        box = 2 * across.index(mask), len(down) - 1 - down.index(background), 2 * FILL, FILL
        place_picture(axes, _side_by_side(examples[name]), box, name in sources)
    axes.set_xticks(2 * np.arange(len(across)) + FILL, [f"mask mean {mean:g}" for mean in across])
    axes.set_yticks(np.arange(len(down)) + FILL / 2, [f"background\nmean {mean:g}" for mean in reversed(down)])


def _by_name(part: SubFigure, examples: dict[str, Example], sources: list[str]) -> None:
    """Rows of named domains, each name above its image and mask."""
    write_heading(part, "named domains: image and mask (framed: a source)")
    height = 1.25  # of a row, in cells: a quarter for the name
    axes = part.subplots()
    picture_cells(axes, (height * -(-len(examples) // NAMED_PER_ROW), 2 * NAMED_PER_ROW))
    for number, (name, example) in enumerate(examples.items()):
        x, y = 2 * (number % NAMED_PER_ROW), height * (number // NAMED_PER_ROW) + height - 1
        axes.text(x + FILL, y - 0.06, name, ha="center", size=7)
        place_picture(axes, _side_by_side(example), (x, y, 2 * FILL, FILL), name in sources)


def _by_level(part: SubFigure, shifted: dict[str, dict[float, Example]], shape: tuple[int, int, int]) -> None:
    """A panel for each transform; ``shape``: rows and columns of panels, and the most levels in one."""
    write_heading(part, "every transform and level (the mask is outlined where it changes)")
    panels = part.subplots(*shape[:2], squeeze=False).ravel()
    for axes, (transform, levels) in zip(panels, shifted.items(), strict=False):
        picture_cells(axes, (1, shape[2]))
        axes.set_title(transform, loc="left", size=7.5, weight="bold")
        _levels(axes, dict(sorted(levels.items())))
    for axes in panels[len(shifted) :]:
        axes.set_axis_off()


def _levels(axes: Axes, levels: dict[float, Example]) -> None:
    """Images of one transform by level, to one scale: a cropped one is smaller."""
    _titles(axes, [f"{level:g}" if level else "0 (none)" for level in levels], 7)
    sides = {level: example.side for level, example in levels.items()}
    masks = [example.mask for example in levels.values() if example.mask is not None]
    moved = any(not np.array_equal(mask, masks[0]) for mask in masks)
    for column, (level, (image, mask, _)) in enumerate(levels.items()):
        side = FILL * sides[level] / max(sides.values())
        left, top = (start + (FILL - side) / 2 for start in (column, 0))
        place_picture(axes, image, (left, top, side, side))
        if moved and mask is not None and 0 < mask.mean() < 1:
            pixel = side / max(mask.shape)
            places = (
                (np.arange(length) + 0.5) * pixel + start
                for length, start in zip(mask.T.shape, (left, top), strict=True)
            )
            axes.contour(*places, mask, levels=[0.5], colors=[ORANGE], linewidths=0.8)


def _titles(axes: Axes, titles: list[str], size: float) -> None:
    """Titles over the columns of pictures, in two lines where a method adapts a baseline."""
    words = [title.replace("_", " ").replace("+", "\n+") for title in titles]
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(titles)) + FILL / 2, words, size=size)


def _side_by_side(example: Example) -> np.ndarray:
    """Image and mask in one picture, of the image's channels; mid-grey where there is no mask."""
    image, mask, _ = example
    drawn = np.full(image.shape[:2], 128, np.uint8) if mask is None else 255 * mask
    if image.ndim == 3:
        drawn = np.repeat(drawn[..., None], 3, axis=2)
    gap = np.full_like(image[:, : max(1, image.shape[1] // 24)], 255)
    return np.concatenate([image, gap, drawn], axis=1)
