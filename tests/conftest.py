"""Tiny domains and networks, seeded."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from shiftgain.adaptation import batchnorm
from shiftgain.files import store
from shiftgain.network.tiles import tiles_of
from shiftgain.network.unet import UNet

MODEL = {"channels": 1, "width": 4, "depth": 2}
METHODS = {"batchnorm": {"function": "batchnorm", "options": {}}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run the whole workflow come first, so that none is left to a single core at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def discs(n: int, size: int, seed: int, foreground: float = 0.7, background: float = 0.3):
    """Images uint8 (n, size, size) of noisy discs, and their masks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    centres = rng.uniform(0.25 * size, 0.75 * size, (n, 2, 1, 1))
    radii = rng.uniform(0.15 * size, 0.3 * size, (n, 1, 1))
    masks = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2).astype(np.uint8)
    grey = np.where(masks, foreground, background) + rng.normal(0, 0.05, masks.shape)
    return np.round(255 * grey.clip(0, 1)).astype(np.uint8), masks


def write_domain(
    group, splits: dict[str, int], seed: int = 0, size: int = 16, spec: dict | None = None, **means
) -> None:
    """A domain as stage ``generate`` writes it."""
    store.put_json(group, "domain", {"name": "discs", "transform": "identity", "level": 0.0} | (spec or {}))
    for number, (split, n) in enumerate(splits.items()):
        store.append(group.create_group(split), *discs(n, size, 10 * seed + number, **means))
        group[split].attrs["clipped_share"] = 0.0


def delete(path: Path, *names: str) -> None:
    """Take splits or datasets out of an HDF5 file, such as what a stage must not see."""
    with h5py.File(path, "a") as file:
        for name in names:
            del file[name]


@pytest.fixture
def domain_path(tmp_path):
    """A domain of 16 x 16 discs with all four splits."""
    path = tmp_path / "discs.h5"
    with store.create(path) as file:
        write_domain(file, {"train": 24, "validation": 6, "adapt": 8, "test": 8})
    return path


@pytest.fixture
def targets_path(tmp_path):
    """A shift family of two targets: the discs themselves, and brighter ones."""
    path = tmp_path / "targets.h5"
    with store.create(path) as file:
        write_domain(file.create_group("discs"), {"adapt": 8, "test": 8}, seed=1)
        spec = {"transform": "brightness", "level": 0.2}
        brighter = {"foreground": 0.9, "background": 0.5}
        write_domain(file.create_group("discs@brightness=0.2"), {"adapt": 8, "test": 8}, seed=2, spec=spec, **brighter)
    return path


@pytest.fixture
def network():
    """A U-Net of 4, 8, 16 channels with random weights and statistics, frozen."""
    torch.manual_seed(0)
    network = UNet(**MODEL).to(memory_format=torch.channels_last)
    images = torch.from_numpy(discs(8, 16, 0)[0]).unsqueeze(1) / 255
    network.load_state_dict(network.state_dict() | batchnorm.batchnorm(network, tiles_of([images], network.depth)))
    return network.requires_grad_(False).eval()
