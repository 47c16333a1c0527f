"""Draw two synthetic domains into folders, as a user has them: ``python -m commands.folders FOLDER``.

``FOLDER/home``: PNG images with their masks. ``FOLDER/away``: a TIFF stack of brighter images with less contrast,
without masks; theirs are kept apart, in ``FOLDER/away_masks.tif``, to see afterwards how good the result is.
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
import yaml
from PIL import Image

from shiftgain.domains import synthetic
from shiftgain.study.entries import domain_spec

CONFIG = Path(__file__).parents[2] / "config.yaml"
SIZE = [96, 96]
# Name -> means of mask and background, and number of images.
DOMAINS = {"home": ([0.7, 0.3], 24), "away": ([0.9, 0.65], 12)}
PIXELS_PER_MICROMETRE = 4.0


def drawn(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, H, W) and masks uint8 0/1 of one of :data:`DOMAINS`."""
    means, count = DOMAINS[name]
    config = yaml.safe_load(CONFIG.read_text())
    config["domains"] = {name: {"means": means, "size": SIZE}}
    blocks = list(synthetic.blocks(domain_spec(config, name), name, "test", count, seed))
    images, masks = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return images, masks


def write(folder: Path) -> None:
    """Write the two domains below ``folder``."""
    images, masks = drawn("home")
    for number, pair in enumerate(zip(images, 255 * masks, strict=True)):
        for kind, pixels in zip(("images", "masks"), pair, strict=True):
            path = folder / "home" / kind / f"field{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    images, masks = drawn("away")
    (folder / "away").mkdir(parents=True, exist_ok=True)
    about: dict = {
        "imagej": True,
        "resolution": (PIXELS_PER_MICROMETRE,) * 2,
        "metadata": {"axes": "ZYX", "unit": "um"},
    }
    tifffile.imwrite(folder / "away" / "stack.tif", images, **about)
    tifffile.imwrite(folder / "away_masks.tif", 255 * masks, **about)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    print(f"two folders: {sys.argv[1]}/home with masks, {sys.argv[1]}/away without")
