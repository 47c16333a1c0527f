"""A contact sheet: images beside each other, each with the outline of its mask."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from shiftgain.files.tables import replacing
from shiftgain.report.thumbnails import stretched

SIDE = 240  # px of the longer side of an image on the sheet
COLUMNS = 4
MARGIN = 8  # px
LINE = 16  # px, of a name
COLOUR = (255, 140, 0)
MOST_LETTERS = 36


def thumbnail(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Image uint8 (H, W) or (H, W, 3), :data:`SIDE` px long, with the outline of ``mask``, boolean (H, W).

    The image is :func:`thumbnails.stretched`; the outline is the rim of the mask.
    """
    scale = SIDE / max(mask.shape)
    rows, columns = (max(1, round(side * scale)) for side in mask.shape)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    shown = np.asarray(Image.fromarray(stretched(image)).convert("RGB").resize((columns, rows), how)).copy()
    # By grey levels, so that objects finer than a pixel of the sheet stay in it where they fill half of it.
    small = np.asarray(Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize((columns, rows), how)) > 127
    shown[rim(small)] = COLOUR
    return Image.fromarray(shown)


def rim(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask, boolean (H, W), of which a neighbour to the side, above or below is outside of it."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def sheet(thumbnails: Sequence[Image.Image], names: Sequence[str], path: Path) -> None:
    """Write a PNG of ``thumbnails`` in rows of :data:`COLUMNS`, each above its name."""
    columns = min(COLUMNS, len(thumbnails))
    cell = SIDE + MARGIN
    canvas = Image.new(
        "RGB", (columns * cell + MARGIN, -(-len(thumbnails) // columns) * (cell + LINE) + MARGIN), "white"
    )
    draw = ImageDraw.Draw(canvas)
    for number, (picture, name) in enumerate(zip(thumbnails, names, strict=True)):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * cell, MARGIN + row * (cell + LINE)
        canvas.paste(picture, (left, top))
        short = name if len(name) <= MOST_LETTERS else f"...{name[-MOST_LETTERS + 3 :]}"
        draw.text((left, top + picture.height + 2), short, fill="black")
    with replacing(path) as partial:
        canvas.save(partial, format="PNG")
