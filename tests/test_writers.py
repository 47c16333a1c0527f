"""Masks as files: read back, they lie over their images."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from shiftgain.domains import writers
from shiftgain.domains.readers import read
from shiftgain.domains.stack import Request

RNG = np.random.default_rng(0)
REQUEST = Request("domains.mine", channel=1)


def masks_of(stack) -> list[np.ndarray]:
    """A mask for each image that tells it from the others: its number in binary in the first row."""
    masks = []
    for number, shape in enumerate(stack.shapes):
        mask = np.zeros(shape[:2], bool)
        mask[0, :5] = [number >> bit & 1 for bit in range(5)]
        masks.append(mask)
    return masks


def written(folder: Path, stack) -> tifffile.TiffFile:
    (name,) = writers.names([stack], "mine")
    writers.write(folder / "out" / name, stack, iter(masks_of(stack)))
    return tifffile.TiffFile(folder / "out" / name)


IMAGEJ = {"imagej": True, "resolution": (4.0, 4.0), "metadata": {"axes": "TZCYX", "unit": "um", "spacing": 0.5}}
SIZES = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": "nm"}
OME = {"ome": True, "photometric": "minisblack", "metadata": {"axes": "TZCYX"} | SIZES}


@pytest.mark.parametrize(("kind", "name"), [(IMAGEJ, "a.tif"), (OME, "a.ome.tif")])
def test_a_hyperstack_keeps_axes_kind_and_calibration_less_its_channels(kind, name, tmp_path):
    tifffile.imwrite(tmp_path / name, RNG.integers(0, 9, (2, 3, 2, 20, 24), np.uint16), **kind)
    stack = read(tmp_path / name, REQUEST)
    with written(tmp_path, stack) as found, tifffile.TiffFile(tmp_path / name) as image:
        (series,) = found.series
        assert (series.axes, series.shape) == ("TZYX", (2, 3, 20, 24)) and series.dtype == np.uint8
        assert found.pages[0].resolution == image.pages[0].resolution
        assert (found.is_imagej, found.is_ome) == (image.is_imagej, image.is_ome)
        if found.is_imagej:
            known = found.imagej_metadata
            assert (known["unit"], known["spacing"], known["frames"], known["slices"]) == ("um", 0.5, 2, 3)
        else:
            pixels = tifffile.xml2dict(found.ome_metadata)["OME"]["Image"]["Pixels"]
            assert {key: pixels[key] for key in SIZES} == SIZES
        expected = np.stack(masks_of(stack)).reshape(2, 3, 20, 24)
        np.testing.assert_array_equal(series.asarray(), expected * 255)


def test_planes_stored_in_another_order_than_their_axes_come_back_at_their_places(tmp_path):
    """An OME file whose metadata say that its first page is the last section."""
    path = tmp_path / "a.ome.tif"
    data = np.arange(3, dtype=np.uint8).repeat(20 * 24).reshape(3, 20, 24)
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    places = "".join(f'<TiffData FirstZ="{2 - page}" IFD="{page}" PlaneCount="1"/>' for page in range(3))
    tifffile.tiffcomment(path, re.sub(r"<TiffData[^>]*/>", places, tifffile.tiffcomment(path)).encode())
    stack = read(path, Request("domains.mine"))
    images = np.stack(list(stack.pages(range(3))))
    with tifffile.TiffFile(path) as image:
        shown = image.series[0].asarray()
    assert images[:, 0, 0].tolist() == [0, 1, 2] and shown[:, 0, 0].tolist() == [2, 1, 0]
    (name,) = writers.names([stack], "mine")
    writers.write(tmp_path / "out" / name, stack, iter(images == 0))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / name), np.where(shown == 0, 255, 0))


def test_plain_stacks_stay_stacks_and_pages_of_unlike_sizes_stay_pages(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 9, (4, 20, 24), np.uint8), photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        for side in (20, 30):
            writer.write(RNG.integers(0, 9, (side, 24), np.uint8), resolution=(100, 100), resolutionunit="CENTIMETER")
    stack = read(tmp_path / "a.tif", Request("domains.mine"))
    with written(tmp_path, stack) as found:
        assert found.series[0].shape == (4, 20, 24) and len(found.pages) == 4
        np.testing.assert_array_equal(found.series[0].asarray(), np.stack(masks_of(stack)) * 255)
    with written(tmp_path, read(tmp_path / "b.tif", Request("domains.mine"))) as found:
        assert [page.shape for page in found.pages] == [(20, 24), (30, 24)]
        assert found.pages[1].resolution == (100, 100) and found.pages[1].resolutionunit == 3


def test_colours_become_one_mask_and_pictures_pngs_in_their_folders(tmp_path):
    (tmp_path / "a/deep").mkdir(parents=True)
    for name in ("a/one.png", "a/deep/two.jpg", "a/three.bmp"):
        Image.fromarray(RNG.integers(0, 255, (20, 24, 3), np.uint8)).save(tmp_path / name)
    stacks = [read(path, Request("domains.mine")) for path in sorted((tmp_path / "a").rglob("*.*"))]
    names = writers.names(stacks, "mine")
    assert {str(name) for name in names} == {"one.png", "deep/two.png", "three.png"}
    assert {str(name) for name in writers.names(stacks, "mine", ".tif")} == {"one.tif", "deep/two.tif", "three.tif"}
    pages = iter([mask for stack in stacks for mask in masks_of(stack)])
    for stack, name in zip(stacks, names, strict=True):
        writers.write(tmp_path / "out" / name, stack, pages)
        found = np.asarray(Image.open(tmp_path / "out" / name))
        assert found.dtype == np.uint8 and found.shape == (20, 24)
    tifffile.imwrite(tmp_path / "c.tif", RNG.integers(0, 9, (20, 24, 3), np.uint8), photometric="rgb")
    with written(tmp_path, read(tmp_path / "c.tif", Request("domains.mine"))) as found:
        assert found.series[0].shape == (20, 24)


def test_of_a_file_that_holds_a_series_the_masks_are_a_stack_called_as_the_domain(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = RNG.integers(0, 9, (3, 20, 24), np.uint8)
    with written(tmp_path, read(tmp_path / "a.h5", Request("domains.mine"))) as found:
        assert found.filehandle.name == "mine.tif" and found.series[0].shape == (3, 20, 24)


def test_probabilities_stay_numbers(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 9, (2, 20, 24), np.uint8), photometric="minisblack")
    stack = read(tmp_path / "a.tif", Request("domains.mine"))
    p = RNG.random((2, 20, 24)).astype(np.float32)
    writers.write(tmp_path / "p.tif", stack, iter(p))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "p.tif"), p)
