"""Files, masks and grey levels as people have them: what each kind must read as, or which question it must raise.

The series is blobs on noise, 30 % foreground; each case writes it in another way.
"""

import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from scipy import ndimage

from scripts.generate import generate, write_split
from shiftgain.domains import grey, identity, real
from shiftgain.domains.stack import Stack
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import metrics, training
from shiftgain.network.batches import TrainingImages
from shiftgain.study.checks import study

ROOT = Path(__file__).parents[1]

SHARE = 0.3
BLOBS = np.stack([ndimage.gaussian_filter(np.random.default_rng(n).normal(size=(64, 64)), 4) for n in range(10)])
MASKS = (np.quantile(BLOBS, 1 - SHARE) < BLOBS).astype(np.uint8)
# Grey levels 9 to 218.
IMAGES = np.random.default_rng(0).integers(9, 219, MASKS.shape).astype(np.uint8)
STACK = {"photometric": "minisblack"}


def spec_of(path: Path, **more) -> dict:
    return {"path": str(path), "split": {"test": 1.0}, "channels": 1} | more


def looked_at(path: Path, **more) -> dict:
    return real.look("mine", spec_of(path, **more))


def read(path: Path, **more) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """(images, masks) of the domain at ``path``, one by one."""
    pairs = list(real.blocks("mine", spec_of(path, **more), "test"))
    images = [image for block, _ in pairs for image in block]
    return images, None if pairs[0][1] is None else [mask for _, block in pairs for mask in block]


def share(path: Path, **more) -> float:
    """Foreground share of the pixels that count."""
    masks = np.stack(read(path, **more)[1] or [])
    return float((masks == 1).sum() / (masks < 2).sum())


def assert_reads(path: Path, images=IMAGES, masks=MASKS, **more) -> None:
    found, labels = read(path, **more)
    np.testing.assert_array_equal(np.stack(found), images)
    assert (labels is None) == (masks is None)
    if masks is not None:
        np.testing.assert_array_equal(np.stack(labels or []), masks)


def asks(match: str, path: Path, **more) -> None:
    with pytest.raises(StudyError, match=match) as fault:
        looked_at(path, **more)
    assert "\n" not in str(fault.value)


def save(file: Path, pixels: np.ndarray, **how) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix in (".tif", ".tiff"):
        tifffile.imwrite(file, pixels, **({} if how.get("imagej") or how.get("ome") else STACK) | how)
    else:
        Image.fromarray(pixels).save(file, **how)
    return file


def folder(
    path: Path, masks: np.ndarray | None = MASKS, images: np.ndarray = IMAGES, suffix: str = ".tif", **how
) -> Path:
    """``images/`` and ``masks/`` with a file for each."""
    for number, image in enumerate(images):
        save(path / "images" / f"{number}{suffix if image.dtype.itemsize < 4 else '.tif'}", image)
    for number, mask in enumerate([] if masks is None else masks):
        save(path / "masks" / f"{number}{suffix}", mask, **how)
    return path


def hdf5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


class TestForeground:
    def test_shades_between_two_peaks_are_asked_for_the_middle(self, tmp_path):
        soft = (255 * ndimage.gaussian_filter(MASKS.astype(float), (0, 2, 2))).astype(np.uint8)
        path = folder(tmp_path, soft)
        asks(
            r"^config key domains\.mine: its masks hold 0 .*: say what is an object, `threshold: 12\d` for shades", path
        )
        assert share(path, threshold=127) == pytest.approx(SHARE, abs=0.02)

    def test_labels_of_ilastik_are_asked_for_their_background(self, tmp_path):
        path = folder(tmp_path, MASKS + 1)
        asks(r"domains\.mine: its masks hold 1 \(70\.0 %\), 2 \(30\.0 %\): .*`background: 1`$", path)
        assert_reads(path, background=1)
        assert_reads(path, foreground=[2])

    @pytest.mark.parametrize("name", ["1 bit", "8 bits"])
    def test_min_is_white_is_read_as_shown(self, tmp_path, name):
        stored = 1 - MASKS if name == "1 bit" else 255 * (1 - MASKS)
        kind = bool if name == "1 bit" else np.uint8
        path = folder(tmp_path, stored.astype(kind), photometric="miniswhite")
        assert_reads(path)
        assert "masks: min-is-white: taken as shown (10 files)" in looked_at(path)["notes"]

    def test_min_is_white_images_are_read_as_shown(self, tmp_path):
        save(tmp_path / "images" / "a.tif", 255 - IMAGES, photometric="miniswhite")
        assert_reads(tmp_path, masks=None)

    def test_an_inverting_table_of_imagej_leaves_the_stored_value(self, tmp_path):
        save(tmp_path / "images" / "a.tif", IMAGES, imagej=True, metadata={"axes": "ZYX"})
        how = {"imagej": True, "photometric": "miniswhite", "metadata": {"axes": "ZYX"}}
        save(tmp_path / "masks" / "a.tif", 255 * MASKS, **how)
        assert_reads(tmp_path)

    @pytest.mark.parametrize(("mark", "dtype"), [(255, np.uint8), (-1, np.int16), (-1, np.float32), (65535, np.uint16)])
    def test_what_does_not_count_is_asked_and_left_out(self, tmp_path, mark, dtype):
        marked = MASKS.astype(dtype)
        marked[:, :16] = mark
        path = folder(tmp_path, marked)
        asks(rf"such as `foreground: \[1\]`, with `ignore: \[{mark}\]`", path)
        expected = MASKS.copy()
        expected[:, :16] = 255
        assert_reads(path, masks=expected, ignore=[mark])
        found = looked_at(path, ignore=mark)
        assert set(found["ignored"]) == {0.25}
        np.testing.assert_allclose(found["foreground"], MASKS[:, 16:].mean(axis=(1, 2)))

    def test_float_masks(self, tmp_path):
        assert_reads(folder(tmp_path, MASKS.astype(np.float32)))

    def test_probabilities_are_asked_for_a_threshold(self, tmp_path):
        path = folder(tmp_path, (0.8 * MASKS + 0.1 * np.random.default_rng(1).random(MASKS.shape)).astype(np.float32))
        asks(r"`threshold: 0\.4\d*` for shades", path)
        assert_reads(path, threshold=0.5)
        half = folder(tmp_path / "half", (0.5 * MASKS + 0.25).astype(np.float32))
        assert_reads(half, masks=0 * MASKS, threshold=0.75)

    @pytest.mark.parametrize("apart", [True, False])
    def test_masks_named_after_their_images(self, tmp_path, apart):
        for number, (image, mask) in enumerate(zip(IMAGES, MASKS, strict=True)):
            save(tmp_path / ("images" if apart else "") / f"cell {number:02d}.png", image)
            save(tmp_path / ("masks" if apart else "") / f"cell {number:02d}_mask.png", 255 * mask)
        assert_reads(tmp_path)

    def test_objects_counted_through_are_asked_for_their_background(self, tmp_path):
        objects = np.stack([ndimage.label(mask)[0] for mask in MASKS]).astype(np.uint16)
        objects[0, 0, :12] = np.arange(12)
        path = folder(tmp_path, objects)
        asks(r"`background: 0` where each object has its own number$", path)
        assert_reads(path, masks=objects > 0, background=0)

    def test_three_classes_are_asked(self, tmp_path):
        classes = MASKS.copy()
        classes[:, 40:][MASKS[:, 40:] == 1] = 2
        path = folder(tmp_path, classes)
        asks(r"its masks hold 0 .*, 1 .*, 2 .*: say .* such as `foreground: \[1\]`, or `background: 0` for all", path)
        assert_reads(path, masks=classes == 2, foreground=2)
        asks(r"domains\.mine\.foreground: \[3\] is in no mask; they hold 0", path, foreground=3)
        asks(r"domains\.mine: \[2\] is in neither 'foreground' nor 'background'", path, foreground=1, background=0)
        asks(r"domains\.mine: 'threshold' and 'foreground' are given; remove one", path, foreground=1, threshold=1)

    def test_colours_are_named(self, tmp_path):
        red = np.zeros((*MASKS.shape, 3), np.uint8)
        red[..., 0] = 255 * MASKS
        assert_reads(folder(tmp_path / "two", red, suffix=".png"))
        red[:, :8, :, 1] = 128
        path = folder(tmp_path / "three", red, suffix=".png")
        asks(r"its masks hold 0 .*'#ff0000' .*'#008000'", path)
        assert_reads(path, masks=red[..., 0] > 0, foreground=["#ff0000", "#ff8000"])

    def test_masks_of_nothing_but_foreground_are_asked_and_of_none_are_said(self, tmp_path):
        asks(r"its masks hold 255 \(100\.0 %\): .*`foreground: \[255\]`, or", folder(tmp_path / "a", 0 * MASKS + 255))
        assert share(folder(tmp_path / "b", 0 * MASKS)) == 0
        assert set(looked_at(tmp_path / "b")["foreground"]) == {0}

    def test_jpeg_masks_are_asked_for_the_middle(self, tmp_path):
        path = folder(tmp_path, 255 * MASKS, suffix=".jpg", quality=90)
        asks(r"`threshold: 127` for shades", path)
        assert share(path, threshold=127) == pytest.approx(SHARE, abs=0.005)

    def test_not_a_number_is_named(self, tmp_path):
        holes = MASKS.astype(np.float32)
        holes[3, 0, 0] = np.nan
        asks(r"masks/3\.tif: a mask that holds not-a-number", folder(tmp_path, holes))

    def test_a_file_changed_since_it_was_looked_at_is_named(self, tmp_path):
        path = folder(tmp_path)
        spec = real.settled({"mine": spec_of(path)}, {"mine": looked_at(path)})["mine"]
        save(path / "masks" / "7.tif", 2 * MASKS[7])
        with pytest.raises(StudyError, match=r"masks/7\.tif: holds 2, which no mask did"):
            list(real.blocks("mine", spec, "test"))


def study_of(tmp_path: Path, **series) -> dict[str, np.ndarray]:
    """The 8-bit images of several domains of one study, each a TIFF stack or (pixels, rest of the entry)."""
    entries = {name: each if isinstance(each, tuple) else (each, {}) for name, each in series.items()}
    specs = {n: spec_of(save(tmp_path / f"{n}.tif", pixels), **more) for n, (pixels, more) in entries.items()}
    specs = real.settled(specs, {name: real.look(name, spec) for name, spec in specs.items()})
    return {n: np.concatenate([images for images, _ in real.blocks(n, s, "test")]) for n, s in specs.items()}


class TestGreyLevels:
    SCENE = np.random.default_rng(2).integers(2000, 40000, MASKS.shape).astype(np.uint16)

    def test_half_the_exposure_is_half_as_bright(self, tmp_path):
        found = study_of(tmp_path, full=self.SCENE, half=self.SCENE // 2)
        np.testing.assert_allclose(found["half"], found["full"] / 2, atol=1)
        np.testing.assert_array_equal(found["full"], np.rint(self.SCENE / 257))

    def test_the_same_pixels_are_the_same_grey_level_in_every_type(self, tmp_path):
        types = {name: IMAGES.astype(name) for name in ("uint8", "uint16", "int16", "uint32", "float32", "float64")}
        for found in study_of(tmp_path, **types).values():
            np.testing.assert_array_equal(found, IMAGES)

    def test_12_bits_in_16(self, tmp_path):
        twelve = self.SCENE // 10
        found = study_of(tmp_path, full=twelve, half=twelve // 2)
        np.testing.assert_array_equal(found["full"], np.rint(twelve * 255.0 / 4095))
        np.testing.assert_allclose(found["half"], found["full"] / 2, atol=1)

    def test_a_hot_pixel_moves_nothing(self, tmp_path):
        hot = IMAGES.astype(np.uint16)
        hot[:, 20, 20] = 65535
        found = study_of(tmp_path, plain=IMAGES.astype(np.uint16), hot=hot)
        np.testing.assert_array_equal(found["plain"], IMAGES)
        np.testing.assert_array_equal(found["hot"][:, :20], IMAGES[:, :20])

    def test_bits_of_the_metadata_are_the_window(self, tmp_path):
        dim = (self.SCENE // 100).astype(np.uint16)
        file = save(tmp_path / "a.ome.tif", dim, ome=True, metadata={"axes": "ZYX", "SignificantBits": 12})
        np.testing.assert_array_equal(np.stack(read(file)[0]), np.rint(dim * 255.0 / 4095))
        facts = {"dtype": "uint16", "bits": 12, "low": 0, "high": 5000, "window": None}
        assert grey.windows({"a": facts})["a"][0] == (0, 2**14 - 1), "metadata that the values belie are not believed"

    def test_packed_12_bits(self, tmp_path):
        twelve = (self.SCENE // 10)[0]
        file = save(tmp_path / "a.tif", twelve, bitspersample=12)
        np.testing.assert_array_equal(read(file)[0][0], np.rint(twelve * 255.0 / 4095))

    def test_floats_from_0_to_1(self, tmp_path):
        scene = (IMAGES / 255).astype(np.float32)
        found = study_of(tmp_path, full=scene, half=scene / 2)
        np.testing.assert_array_equal(found["full"], IMAGES)
        np.testing.assert_allclose(found["half"], IMAGES / 2, atol=0.6)

    def test_signed_values_lie_about_mid_grey(self, tmp_path):
        signed = IMAGES.astype(np.int16) * 100 - 11000
        found = study_of(tmp_path, full=signed, half=signed // 2)
        np.testing.assert_allclose(found["full"], 255 * (signed + 32768.0) / 65535, atol=0.51)
        np.testing.assert_allclose(found["half"] - 127.5, (found["full"] - 127.5) / 2, atol=1)

    def test_normalised_floats(self, tmp_path):
        scores = np.random.default_rng(0).normal(size=MASKS.shape).astype(np.float32)
        (found,) = study_of(tmp_path, a=scores).values()
        np.testing.assert_allclose(found, 255 * np.clip(scores + 4, 0, 8) / 8, atol=0.51)

    def test_not_a_number_is_black(self, tmp_path):
        scene = (IMAGES / 255).astype(np.float32)
        scene[:, 0, :5] = np.nan
        (found,) = study_of(tmp_path, a=scene).values()
        assert not found[:, 0, :5].any()
        np.testing.assert_array_equal(found[:, 1:], IMAGES[:, 1:])

    def test_a_domain_that_another_would_blacken_is_asked_for_its_window(self, tmp_path):
        dim = IMAGES.astype(np.uint16)
        with pytest.raises(
            StudyError, match=r"domains\.dim: its values, .* under the window \[0, 65535\].*`window: \["
        ):
            study_of(tmp_path, dim=dim, bright=self.SCENE)
        found = study_of(tmp_path, dim=(dim, {"window": [0, 255]}), bright=self.SCENE)
        np.testing.assert_array_equal(found["dim"], IMAGES)
        np.testing.assert_array_equal(found["bright"], np.rint(self.SCENE / 257))

    def test_faint_floats_are_asked_for_a_window(self, tmp_path):
        with pytest.raises(StudyError, match=r"domains\.a: its values, .* would be \d of 256 grey levels"):
            study_of(tmp_path, a=(IMAGES / 1e6).astype(np.float32))

    def test_the_window_is_said(self, tmp_path):
        spec = spec_of(save(tmp_path / "a.tif", self.SCENE))
        spec = real.settled({"mine": spec}, {"mine": real.look("mine", spec)})["mine"]
        assert "grey levels: 0 is black, 65535 white, the smallest that holds mine" in real.summary(spec)


class TestAxes:
    def test_channels_of_imagej_are_asked(self, tmp_path):
        for number in range(12):
            pair = np.stack([IMAGES[number % 10], 255 - IMAGES[number % 10]])
            save(tmp_path / "images" / f"{number}.tif", pair, imagej=True, metadata={"axes": "CYX"})
        asks(r"images/0\.tif has 2 channels; give config key domains\.mine\.channel: .*`channel: 0`, or `channel: all`",
             tmp_path)  # fmt: skip
        assert_reads(tmp_path, images=[IMAGES[n % 10] for n in range(12)], masks=None, channel=0)
        assert_reads(tmp_path, images=[255 - IMAGES[n % 10] for n in range(12)], masks=None, channel=1)
        assert len(read(tmp_path, channel="all")[0]) == 24
        asks(r"domains\.mine\.channel: 2 of 2; count from 0", tmp_path, channel=2)

    @pytest.mark.parametrize("axes", ["ZCYX", "CZYX", "TCYX"])
    @pytest.mark.parametrize("kind", ["imagej", "ome"])
    def test_channels_of_a_hyperstack(self, tmp_path, axes, kind):
        if (axes, kind) == ("CZYX", "imagej"):
            pytest.skip("ImageJ has one order")
        both = np.stack([IMAGES, 255 - IMAGES], axis=axes.index("C"))
        file = save(
            tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif"), both, **{kind: True}, metadata={"axes": axes}
        )
        asks(r"has 2 channels", file)
        assert_reads(file, images=255 - IMAGES, masks=None, channel=1)

    @pytest.mark.parametrize("axes", ["ZYX", "TYX"])
    def test_sections_and_times_are_images(self, tmp_path, axes):
        assert_reads(save(tmp_path / "a.tif", IMAGES, imagej=True, metadata={"axes": axes}), masks=None)

    def test_four_sections_by_tifffile_are_no_colours(self, tmp_path):
        for name in ("a", "b"):
            part = slice(0, 4) if name == "a" else slice(4, 8)
            save(tmp_path / "images" / f"{name}.tif", IMAGES[part], photometric="rgb", planarconfig="separate")
            save(tmp_path / "masks" / f"{name}.tif", MASKS[part], photometric="rgb", planarconfig="separate")
        assert_reads(tmp_path, images=IMAGES[:8], masks=MASKS[:8])
        assert any("taken for 4 images" in note for note in looked_at(tmp_path)["notes"])

    def test_three_sections_by_tifffile_are_asked(self, tmp_path):
        file = save(tmp_path / "a.tif", IMAGES[:3], photometric="rgb", planarconfig="separate")
        asks(r"3 planes that tifffile writes .*domains\.mine\.channel: all for 3 images, or rgb for colours", file)
        assert_reads(file, images=IMAGES[:3], masks=None, channel="all")
        assert read(file, channel="rgb")[0][0].shape == (64, 64)
        assert_reads(file, images=[np.moveaxis(IMAGES[:3], 0, -1)], masks=None, channels=3)

    @pytest.mark.parametrize("planar", ["separate", "contig"])
    def test_colours_in_planes_and_in_pixels(self, tmp_path, planar):
        colours = np.moveaxis(IMAGES[:3], 0, -1)
        stored = IMAGES[:3] if planar == "separate" else colours
        how = {"photometric": "rgb", "planarconfig": planar, "metadata": None, "software": "camera"}
        assert_reads(save(tmp_path / "a.tif", stored, **how), images=[colours], masks=None, channels=3)

    def test_a_colour_map_of_one_channel_leaves_the_stored_value(self, tmp_path):
        green = np.zeros((3, 256), np.uint16)
        green[1] = np.arange(256) * 257
        file = save(tmp_path / "a.tif", IMAGES, photometric="palette", colormap=green)
        assert_reads(file, masks=None)
        assert looked_at(file)["notes"] == ["colour map: the stored value is the intensity"]

    def test_a_palette_is_asked(self, tmp_path):
        table = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype(np.uint16)
        file = save(tmp_path / "a.tif", IMAGES, photometric="palette", colormap=table)
        asks(r"has a palette; give config key domains\.mine\.channel: 0 .*, or rgb", file)
        assert_reads(file, masks=None, channel=0)
        assert_reads(file, images=(table.T >> 8)[IMAGES], masks=None, channel="rgb", channels=3)

    def test_level_0_of_a_pyramid(self, tmp_path):
        image = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(image, subifds=1, **STACK)
            writer.write(image[::2, ::2], subfiletype=1, **STACK)
        with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
            writer.write(image, metadata=None, **STACK)
            writer.write(image[::2, ::2], subfiletype=1, metadata=None, **STACK)
        for name in ("a.tif", "b.tif"):
            assert_reads(tmp_path / name, images=[image], masks=None)

    def test_alpha_is_dropped_and_said(self, tmp_path):
        grey_alpha = np.stack([IMAGES[0], 255 - IMAGES[0]], axis=-1)
        file = save(tmp_path / "a.tif", grey_alpha, extrasamples=["unassalpha"], planarconfig="contig")
        assert_reads(file, images=IMAGES[:1], masks=None)
        assert looked_at(file)["notes"] == ["alpha dropped"]

    def test_channels_in_pixels_are_asked(self, tmp_path):
        five = np.moveaxis(IMAGES[:5], 0, -1)
        file = save(tmp_path / "a.tif", five, planarconfig="contig")
        asks(r"has 5 channels", file)
        assert_reads(file, images=IMAGES[4:5], masks=None, channel=4)

    def test_unnamed_axes_are_asked(self, tmp_path):
        file = save(tmp_path / "a.tif", IMAGES.reshape(5, 2, 64, 64))
        asks(r"holds 5 x 2 images and does not say what the axes are; give .*channel: all", file)
        assert_reads(file, masks=None, channel="all")
        assert_reads(file, images=IMAGES[::2], masks=None, channel=0)

    def test_pages_of_several_sizes_keep_their_order(self, tmp_path):
        pages = [IMAGES[0], IMAGES[1, :32], IMAGES[2]]
        first, *others = map(Image.fromarray, pages)
        first.save(tmp_path / "a.tif", save_all=True, append_images=others)
        found = read(tmp_path / "a.tif")[0]
        assert all(np.array_equal(*pair) for pair in zip(found, pages, strict=True))

    @pytest.mark.parametrize("kind", ["png", "tif", "h5"])
    def test_a_channel_of_colours(self, tmp_path, kind):
        colours = np.moveaxis(IMAGES[:3], 0, -1)
        file = tmp_path / f"a.{kind}"
        if kind == "h5":
            hdf5(file, images=colours[np.newaxis], masks=MASKS[:1])
        else:
            save(file, colours, **({"photometric": "rgb"} if kind == "tif" else {}))
            save(tmp_path / f"a_mask.{kind}", MASKS[0])
        assert_reads(file, images=IMAGES[1:2], masks=MASKS[:1], channel=1)
        asks(r"domains\.mine\.channel: 3 of 3; count from 0", file, channel=3)

    def test_cmyk_is_turned_into_colours(self, tmp_path):
        picture = Image.fromarray(np.moveaxis(IMAGES[:3], 0, -1)).convert("CMYK")
        picture.save(tmp_path / "a.tif")
        assert_reads(tmp_path / "a.tif", images=[np.asarray(picture.convert("RGB"))], masks=None, channels=3)


class TestHdf5:
    @pytest.mark.parametrize(
        ("images", "masks"), [("raw", "label"), ("volumes/raw", "volumes/labels"), ("images", "masks")]
    )
    def test_usual_names_and_a_last_axis_of_one(self, tmp_path, images, masks):
        file = hdf5(
            tmp_path / "a.h5", **{images.replace("/", "__"): IMAGES[..., None], masks.replace("/", "__"): MASKS}
        )
        assert_reads(file)

    def test_samples_of_a_colour_that_are_named_are_one_image(self, tmp_path):
        colours = np.stack([IMAGES, IMAGES, IMAGES], axis=-1)
        file = hdf5(tmp_path / "a.h5", images=colours)
        with h5py.File(file, "a") as handle:
            for dimension, letter in zip(handle["images"].dims, "iyxs", strict=True):
                dimension.label = letter
        found, _ = read(file, channels=3)
        np.testing.assert_array_equal(found, colours)
        np.testing.assert_array_equal(read(file, channel=1)[0], IMAGES)

    def test_names_are_configurable(self, tmp_path):
        file = hdf5(tmp_path / "a.h5", em__clean=IMAGES, em__mito=MASKS)
        asks(r"a\.h5: has no dataset 'images' \(only: em/clean, em/mito\); .* by domains\.mine\.images", file)
        found, labels = read(file, images="em/clean", masks="/em/mito")
        np.testing.assert_array_equal(found, IMAGES)
        np.testing.assert_array_equal(labels, MASKS)
        asks(r"no dataset 'em/x' \(has: em/clean, em/mito\); correct domains\.mine\.masks",
             file, **{"images": "em/clean", "masks": "em/x"})  # fmt: skip

    def test_two_names_of_images_are_asked(self, tmp_path):
        asks(r"has no dataset 'images' \(only: raw, data\)", hdf5(tmp_path / "a.h5", raw=IMAGES, data=IMAGES))

    def test_axes_of_ilastik(self, tmp_path):
        file = hdf5(tmp_path / "a.h5", exported_data=np.stack([IMAGES, 255 - IMAGES], axis=1)[:, :, None])
        with h5py.File(file, "a") as handle:
            keys = ", ".join(f'{{"key": "{key}"}}' for key in "tczyx")
            handle["exported_data"].attrs["axistags"] = f'{{"axes": [{keys}]}}'
        asks(r"'exported_data' has 2 channels", file)
        assert_reads(file, images=255 - IMAGES, masks=None, channel=1)

    def test_channels_first(self, tmp_path):
        file = hdf5(tmp_path / "a.h5", images=np.stack([IMAGES] * 2, axis=1), masks=MASKS)
        asks(r"'images' has 2 channels", file)
        assert_reads(file, channel=1)

    def test_one_colour_image_is_not_64_narrow_ones(self, tmp_path):
        asks(
            r"which would be 64 images of 64 x 3; store",
            hdf5(tmp_path / "a.h5", images=np.zeros((64, 64, 3), np.uint8)),
        )

    def test_one_image_of_two_axes(self, tmp_path):
        assert_reads(hdf5(tmp_path / "a.h5", images=IMAGES[0], masks=MASKS[0]), images=IMAGES[:1], masks=MASKS[:1])

    def test_any_suffix(self, tmp_path):
        assert_reads(hdf5(tmp_path / "a.nxs", images=IMAGES, masks=MASKS))

    def test_a_filter_that_is_not_there_is_named(self, tmp_path, monkeypatch):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("images", data=IMAGES, compression="lzf")
        assert_reads(tmp_path / "a.h5", masks=None)
        monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
        asks(r"a\.h5: '/images' needs HDF5 filter lzf; repack", tmp_path / "a.h5")

    @pytest.mark.parametrize(
        ("error", "remedy"),
        [
            (OSError("unable to lock file, errno = 37"), "HDF5_USE_FILE_LOCKING"),
            (PermissionError("denied"), "permission"),
            (OSError("bad sblock"), "intact"),
        ],
    )
    def test_an_intact_file_is_not_said_to_be_damaged(self, tmp_path, monkeypatch, error, remedy):
        file = hdf5(tmp_path / "a.h5", images=IMAGES)

        def fail(*_):
            raise error

        monkeypatch.setattr(h5py, "File", fail)
        asks(remedy, file)


class TestLayout:
    def test_all_kinds_and_subfolders_are_read(self, tmp_path):
        order = {}
        for number in range(24):
            kind = "png" if number < 10 else "jpg" if number < 15 else "bmp"
            place = tmp_path / "images" / ("" if number < 20 else "batch2")
            save(place / f"{number:02d}.{kind}", IMAGES[number % 10], **({"quality": 95} if kind == "jpg" else {}))
            order[number] = IMAGES[number % 10]
        found = read(tmp_path)[0]
        assert len(found) == 24
        for number, image in order.items():
            assert np.abs(found[number] - image.astype(int)).mean() < (10 if 10 <= number < 15 else 1e-9)

    def test_what_is_passed_over_is_named(self, tmp_path):
        path = folder(tmp_path)
        (path / "images" / "notes.txt").write_text("no image")
        (path / "images" / "Thumbs.db").write_text("litter")
        (path / "images" / "scan.raw").write_text("no reader")
        save(path / "overview.png", IMAGES[0])
        spec = real.settled({"mine": spec_of(path)}, {"mine": looked_at(path)})["mine"]
        lines = real.summary(spec)
        assert "passed over 1: no reader for '.raw': scan.raw" in lines
        assert "passed over 1: no reader for '.txt': notes.txt" in lines
        assert "passed over 1: outside of images/: overview.png" in lines
        assert not any("Thumbs" in line for line in lines)
        assert_reads(path)

    def test_a_flat_folder(self, tmp_path):
        for number, image in enumerate(IMAGES):
            save(tmp_path / f"{number}.png", image)
        assert_reads(tmp_path, masks=None)

    @pytest.mark.parametrize("word", ["_mask", "_label", "-labels", "_cp_masks", "_Simple Segmentation", "_seg"])
    def test_masks_beside_images(self, tmp_path, word):
        for number in range(10):
            save(tmp_path / f"{number}.tif", IMAGES[number])
            save(tmp_path / f"{number}{word}.tif", MASKS[number])
        assert_reads(tmp_path)

    def test_a_word_that_all_names_have_makes_no_mask(self, tmp_path):
        for number in range(10):
            save(tmp_path / f"{number}_label.png", IMAGES[number])
        assert_reads(tmp_path, masks=None)

    @pytest.mark.parametrize(("images", "masks"), [("images", "labels"), ("imagesTr", "labelsTr"), ("images", "GT")])
    def test_usual_folders(self, tmp_path, images, masks):
        for number in range(10):
            save(tmp_path / images / f"{number}{'_0000' if images == 'imagesTr' else ''}.png", IMAGES[number])
            save(tmp_path / masks / f"{number}.png", MASKS[number])
        assert_reads(tmp_path)

    def test_a_folder_for_each_sample(self, tmp_path):
        for number in range(10):
            save(tmp_path / f"s{number}" / "images" / "x.png", IMAGES[number])
            save(tmp_path / f"s{number}" / "masks" / "x.png", MASKS[number])
        assert_reads(tmp_path)

    def test_folders_are_configurable(self, tmp_path):
        path = folder(tmp_path)
        (path / "images").rename(path / "em")
        (path / "masks").rename(path / "by_hand")
        np.testing.assert_array_equal(read(path, images="em", masks="by_hand")[1], MASKS)
        asks(r"domains\.mine\.masks: no folder 'hand' in", path, images="em", masks="hand")

    def test_two_folders_of_masks_are_asked(self, tmp_path):
        path = folder(tmp_path)
        for number in range(10):
            save(path / "labels" / f"{number}.tif", 1 - MASKS[number])
        asks(r"may be its mask; name the folder by config key domains\.mine\.masks", path)
        np.testing.assert_array_equal(read(path, masks="masks")[1], MASKS)

    def test_masks_in_subfolders_and_links(self, tmp_path):
        for number in range(10):
            place = "" if number < 6 else "late"
            save(tmp_path / "far" / place / f"{number}.png", IMAGES[number])
            save(tmp_path / "near" / "masks" / place / f"{number}.png", MASKS[number])
        (tmp_path / "near" / "images").symlink_to(tmp_path / "far")
        assert_reads(tmp_path / "near")

    def test_home(self, tmp_path, monkeypatch):
        folder(tmp_path / "nuclei")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert_reads(Path("~/nuclei"))

    def test_a_stack_as_path(self, tmp_path):
        file = save(tmp_path / "a.tif", IMAGES)
        assert_reads(file, masks=None)
        save(tmp_path / "a_mask.tif", MASKS)
        assert_reads(file)
        save(tmp_path / "truth" / "other.tif", MASKS[::-1])
        found = read(file, masks="truth/other.tif")[1]
        np.testing.assert_array_equal(found, MASKS[::-1])
        asks(r"domains\.mine\.masks: no file '.*nothing\.tif'", file, masks="nothing.tif")

    def test_a_kind_without_a_reader_is_named(self, tmp_path):
        (tmp_path / "a.raw").write_text("scan")
        asks(r"a\.raw: no reader for '\.raw' \(known: \.png, .*\); save it as TIFF", tmp_path / "a.raw")

    def test_a_key_that_says_nothing_of_a_stack_is_refused(self, tmp_path):
        asks(r"domains\.mine\.images: a\.tif holds one series; remove it", save(tmp_path / "a.tif", IMAGES), images="x")

    @pytest.mark.parametrize(
        ("orientation", "turn"),
        [(1, np.asarray), (3, partial(np.rot90, k=2)), (5, np.transpose), (6, partial(np.rot90, k=-1)), (8, np.rot90)],
    )
    def test_a_photograph_is_turned_as_its_exif_says(self, tmp_path, orientation, turn):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(tmp_path / "a.jpg", IMAGES[0, :, :48], exif=exif, quality=100)
        found, expected = read(tmp_path)[0][0], turn(IMAGES[0, :, :48])
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 3
        assert looked_at(tmp_path)["sizes"] == [list(expected.shape)]


class TestOptionalLibraries:
    @pytest.mark.parametrize("dtype", ["float32", "int16", "uint16", "int8"])
    def test_mrc(self, tmp_path, dtype):
        mrcfile = pytest.importorskip("mrcfile")
        pixels = (IMAGES // 2).astype(dtype)
        for name, values in (("a.mrc", pixels), ("a_mask.mrc", MASKS.astype(np.int8))):
            with mrcfile.new(tmp_path / name) as file:
                file.set_data(values)
        assert_reads(tmp_path / "a.mrc", images=IMAGES // 2)

    @pytest.mark.parametrize("version", [2, 3])
    def test_ome_zarr(self, tmp_path, version):
        zarr = pytest.importorskip("zarr")

        def multiscale(group, pixels: np.ndarray, axes: str) -> None:
            sizes = {"0": pixels, "1": pixels[..., ::2, ::2]}
            for name, values in sizes.items():
                group.create_array(name, data=values, chunks=(1,) * (values.ndim - 2) + (32, 32))
            scales = [{"axes": [{"name": axis} for axis in axes], "datasets": [{"path": name} for name in sizes]}]
            group.attrs.update({"multiscales": scales} if version == 2 else {"ome": {"multiscales": scales}})

        root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)
        multiscale(root, np.stack([IMAGES, 255 - IMAGES], axis=0), "czyx")
        labels = root.create_group("labels")
        labels.attrs.update({"labels": ["cells"]} if version == 2 else {"ome": {"labels": ["cells"]}})
        multiscale(labels.create_group("cells"), MASKS, "zyx")
        asks(r"'0' has 2 channels", tmp_path / "a.zarr")
        assert_reads(tmp_path / "a.zarr", channel=0)
        found = read(tmp_path / "a.zarr", channel=1, masks="labels/cells/0")
        np.testing.assert_array_equal(found[0], 255 - IMAGES)

    @pytest.mark.parametrize(("name", "library"), [("a.mrc", "mrcfile"), ("a.zarr", "zarr")])
    def test_a_library_that_is_not_there_is_named(self, tmp_path, monkeypatch, name, library):
        monkeypatch.setitem(sys.modules, library, None)
        if name == "a.zarr":
            (tmp_path / name).mkdir()
            (tmp_path / name / "zarr.json").write_text("{}")
        else:
            (tmp_path / name).write_bytes(bytes(2000))
        asks(rf"{name}: reading it needs {library}; pip install {library}", tmp_path / name)


@pytest.fixture
def scenes(monkeypatch) -> dict[str, tuple]:
    """Name of a scene -> (axes, pixels) of every ND2 file, by a stand-in for bioio and dask, which reads no file.

    It has what bioio documents of BioImage: scenes, set_scene, xarray_data and xarray_dask_data in the order TCZYX or
    TCZYXS; and get_plugins of its module plugins.
    """
    held: dict[str, tuple] = {}

    class BioImage:
        def __init__(self, path: str, use_plugin_cache: bool) -> None:
            self.scenes = tuple(held)
            self.set_scene(0)

        def set_scene(self, number: int) -> None:
            axes, pixels = held[self.scenes[number]]
            about = {"dims": tuple(axes), "shape": pixels.shape, "dtype": pixels.dtype}
            self.xarray_dask_data = self.xarray_data = SimpleNamespace(data=pixels, **about)

    plugins = SimpleNamespace(get_plugins=lambda use_cache: {".nd2": ["bioio-nd2"]})
    errors = SimpleNamespace(UnsupportedFileFormatError=type("UnsupportedFileFormatError", (Exception,), {}))
    stand_ins = {
        "bioio": SimpleNamespace(BioImage=BioImage),
        "bioio.plugins": plugins,
        "bioio_base.exceptions": errors,
        "dask": SimpleNamespace(config=SimpleNamespace(set=lambda **_: nullcontext())),
    }
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    return held


class TestMicroscopes:
    @pytest.fixture
    def file(self, tmp_path) -> Path:
        (tmp_path / "a.nd2").write_bytes(b"read by the stand-in")
        return tmp_path / "a.nd2"

    @pytest.mark.parametrize("axes", ["T", "Z"])
    def test_times_and_sections_are_images_and_channels_are_asked(self, file, scenes, axes):
        both = np.stack([IMAGES, 255 - IMAGES])
        scenes["first"] = "TCZYX", both[np.newaxis] if axes == "Z" else np.moveaxis(both, 0, 1)[:, :, np.newaxis]
        asks(r"a\.nd2 has 2 channels; give config key domains\.mine\.channel: .*`channel: 0`, or `channel: all`", file)
        assert_reads(file, images=255 - IMAGES, masks=None, channel=1)
        assert len(read(file, channel="all")[0]) == 20
        asks(r"domains\.mine\.channel: 2 of 2; count from 0", file, channel=2)
        save(file.with_name("a_mask.tif"), MASKS)
        assert_reads(file, channel=0, images=IMAGES)

    def test_scenes_follow_on_each_other_and_are_said(self, file, scenes):
        scenes["left"] = "TCZYX", IMAGES[np.newaxis, np.newaxis, :6]
        scenes["right"] = "TCZYX", IMAGES[np.newaxis, np.newaxis, 6:, :48]
        found = read(file)[0]
        expected = [*IMAGES[:6], *IMAGES[6:, :48]]
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
        assert looked_at(file)["notes"] == ["2 scenes, one after another"]
        scenes["right"] = "TCZYX", IMAGES[np.newaxis, np.newaxis, 6:].astype(np.uint16)
        asks(r"a\.nd2: scene 'right' is uint16, the first uint8; export them apart", file)

    def test_samples_are_colours_of_which_one_may_be_taken(self, file, scenes):
        colours = np.stack([IMAGES[:3], IMAGES[3:6], IMAGES[6:9]], axis=-1)
        scenes["first"] = "TCZYXS", colours[np.newaxis, np.newaxis]
        assert_reads(file, images=colours, masks=None, channels=3)
        assert_reads(file, images=colours[..., 2], masks=None, channel=2)

    def test_what_is_missing_is_named(self, tmp_path, scenes, monkeypatch):
        """The plugin of a kind first, then the library."""
        for name, package in (("a.czi", "bioio-czi"), ("a.lif", "bioio-lif"), ("a.IMS", "bioio-bioformats")):
            (tmp_path / name).write_bytes(b"scan")
            asks(rf"{name}: reading it needs .*; pip install bioio {package}, or export .* OME-TIFF$", tmp_path / name)
        monkeypatch.setitem(sys.modules, "bioio", None)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "b.nd2").write_bytes(b"scan")
        asks(r"b\.nd2: reading it needs .*; pip install bioio bioio-nd2, or export", tmp_path / "folder")

    def test_a_czi(self, tmp_path):
        """A real file through the real library."""
        pytest.importorskip("bioio_czi")
        from pylibCZIrw import czi

        with czi.create_czi(str(tmp_path / "a.czi")) as file:
            for number in range(8):
                for channel, image in enumerate((IMAGES[number], 255 - IMAGES[number])):
                    plane = {"T": number // 4, "Z": number % 4, "C": channel}
                    file.write(data=image[..., np.newaxis].astype(np.uint16), plane=plane)
            file.write_metadata(document_name="a")
        asks(r"a\.czi has 2 channels", tmp_path / "a.czi")
        assert_reads(tmp_path / "a.czi", images=255 - IMAGES[:8], masks=None, channel=1)
        with czi.create_czi(str(tmp_path / "colours.czi")) as file:
            file.write(data=np.moveaxis(IMAGES[:3], 0, -1))
            file.write_metadata(document_name="colours")
        assert_reads(tmp_path / "colours.czi", images=[np.moveaxis(IMAGES[:3], 0, -1)], masks=None, channels=3)
        with czi.create_czi(str(tmp_path / "scenes.czi")) as file:
            for scene in range(2):
                file.write(data=IMAGES[scene][..., np.newaxis], scene=scene, location=(100 * scene, 0))
            file.write_metadata(document_name="scenes")
        asks(r"scenes\.czi: holds 2 scenes and does not say which; export each as OME-TIFF", tmp_path / "scenes.czi")
        (tmp_path / "cut.czi").write_bytes((tmp_path / "a.czi").read_bytes()[:500])
        asks(r"cut\.czi: cannot be read as CZI; replace it by an intact file", tmp_path / "cut.czi")


def study_config(tmp_path: Path, **domains: dict) -> dict:
    """The default config with real ``domains``: the first is source, all are targets."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    block = config["pairs"][0] | {
        "sources": [next(iter(domains))],
        "targets": list(domains),
        "transforms": {"identity": [0]},
    }
    return config | {"results": str(tmp_path / "results"), "domains": domains, "pairs": [block], "oracles": []}


class TestStudy:
    def test_a_look_is_remembered_until_a_file_changes(self, tmp_path, monkeypatch):
        config = study_config(tmp_path, **{"lab-a": {"path": str(folder(tmp_path / "a"))}})
        first = study(config).config["domains"]["lab-a"]
        looks = []
        look = real.look
        monkeypatch.setattr(real, "look", lambda *each: looks.append(each) or look(*each))
        assert study(config).config["domains"]["lab-a"] == first
        assert not looks
        save(tmp_path / "a" / "masks" / "3.tif", 3 * MASKS[3])
        with pytest.raises(StudyError, match=r"^config key domains\.lab-a: its masks hold 0 .*, 1 .*, 3 "):
            study(config)
        assert len(looks) == 1

    @pytest.mark.parametrize("change", ["size", "time", "name"])
    def test_a_changed_file_has_another_stamp(self, tmp_path, change):
        spec, file = {"path": str(tmp_path)}, tmp_path / "a.tif"
        file.write_bytes(b"same")
        os.utime(file, ns=(0, 0))
        before = identity.stamp(spec)
        assert identity.stamp(spec) == before
        if change == "name":
            file = file.rename(tmp_path / "b.tif")
        else:
            file.write_bytes(b"longer" if change == "size" else b"else")
        os.utime(file, ns=(0, 10**9 if change == "time" else 0))
        assert identity.stamp(spec) != before

    def test_masks_that_are_named_from_the_home_folder_are_looked_at(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "a.tif").write_bytes(b"images")
        spec, masks = {"path": str(tmp_path / "a.tif"), "masks": "~/b.tif"}, tmp_path / "b.tif"
        masks.write_bytes(b"masks")
        before = identity.stamp(spec)
        masks.write_bytes(b"others")
        assert identity.stamp(spec) != before

    def test_the_pixels_that_lie_beside_a_vsi_are_its_own(self, tmp_path):
        """Of FOLDER/a.vsi they are in FOLDER/_a_/stack1/frame_t.ets; those of another file are not."""
        slide, pixels, other = tmp_path / "a.vsi", tmp_path / "_a_/stack1/frame_t.ets", tmp_path / "_b_/frame_t.ets"
        for file in (slide, pixels, other):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"one")
        stack = Stack(slide, [(4, 4)], np.dtype("uint8"), lambda numbers: iter(()))
        found = [(identity.stamp({"path": str(slide)}), identity.digest_of([stack]))]
        for file in (other, pixels):
            file.write_bytes(b"another")
            found.append((identity.stamp({"path": str(slide)}), identity.digest_of([stack])))
        assert found[0] == found[1] and not {*found[1]} & {*found[2]}

    def test_a_corrected_split_needs_no_second_look(self, tmp_path, monkeypatch):
        entry = {"path": str(folder(tmp_path / "a"))}
        study(study_config(tmp_path, mine=entry))
        monkeypatch.setattr(real, "look", lambda *each: pytest.fail("looked again"))
        with pytest.raises(StudyError, match=r"domains\.mine\.split: the shares sum to 1\.4"):
            study(study_config(tmp_path, mine=entry | {"split": {"train": 0.7, "test": 0.7}}))

    def test_domains_of_a_study_share_a_window(self, tmp_path):
        bright = folder(tmp_path / "a", images=TestGreyLevels.SCENE)
        dim = folder(tmp_path / "b", images=TestGreyLevels.SCENE // 16)
        (tmp_path / "read_only").touch()
        config = study_config(tmp_path, bright={"path": str(bright)}, dim={"path": str(dim)})
        domains = study(config | {"results": str(tmp_path / "read_only")}).config["domains"]
        assert domains["bright"]["window"] == domains["dim"]["window"] == [0, 65535]

    @pytest.mark.parametrize("part", ["train", "validation"])
    @pytest.mark.parametrize(("value", "what"), [(0, "no object"), (1, "nothing but objects")])
    def test_blocks_without_objects_are_refused_for_a_source_only(self, tmp_path, value, what, part):
        split = {"train": [0, 6], "validation": [6, 8], "adapt": [0, 6], "test": [8, 10]}
        start, stop = split[part]
        masks = MASKS.copy()
        masks[start:stop] = value
        blank = {"path": str(folder(tmp_path / "blank", masks)), "split": split}
        plain = {"path": str(folder(tmp_path / "plain")), "split": split}
        fault = rf"^config key domains\.blank\.split\.{part}: images {start} to {stop - 1} hold {what}"
        with pytest.raises(StudyError, match=fault):
            study(study_config(tmp_path, blank=blank))
        assert study(study_config(tmp_path, plain=plain, blank=blank)).networks == ("plain",)

    def test_what_was_read_is_logged_and_stored_by_split(self, tmp_path, caplog):
        marked = MASKS.copy()
        marked[:, :16] = 255
        entry = {"path": str(folder(tmp_path / "a", marked, images=IMAGES.astype(np.uint16))), "ignore": [255],
                 "split": {"train": [0, 4], "validation": [4, 6], "adapt": [4, 6], "test": [6, 10]}}  # fmt: skip
        specs = study(study_config(tmp_path, mine=entry)).specs(["mine"], ["train", "test"])
        with caplog.at_level("INFO"):
            generate(specs, ["train", "test"], str(tmp_path / "a.h5"), at_top=True, workers=1)
        assert "mine: grey levels: 0 is black, 255 white, the smallest that holds mine" in caplog.text
        with store.read(tmp_path / "a.h5") as file:
            row = store.get_json(file["test"], "look")
            np.testing.assert_array_equal(file["test/masks"][:], marked[6:])
            assert TrainingImages(file["train"], 2).ignores
        known = {"domain": "mine", "split": "test", "images": 4, "series": 10, "sizes": "64x64"}
        known |= {"channels": 1, "dtype": "uint16", "window_low": 0, "window_high": 255, "ignored_share": 0.25}
        assert row.items() >= known.items()
        assert row["foreground_share"] == pytest.approx(MASKS[6:, 16:].mean())
        assert (row["grey_low"], row["grey_high"]) == (IMAGES[6:].min(), IMAGES[6:].max())
        assert row["mask_values"].endswith("foreground is [1], background is [0], not counted [255]")


class TestNotCounted:
    def test_scores_leave_it_out(self):
        rng = np.random.default_rng(0)
        predicted, true = rng.random((2, 3, 8, 8)) > 0.5
        marked = true.astype(np.uint8)
        marked[:, :, :3] = 255
        found = metrics.scores([(predicted, marked)])
        expected = metrics.scores([(predicted[:, :, 3:], true[:, :, 3:])])
        assert found == pytest.approx(expected, nan_ok=True)

    def test_the_loss_leaves_it_out(self):
        torch.manual_seed(0)
        logits, masks = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
        counted = torch.ones_like(masks)
        whole = training.segmentation_loss(logits, masks)
        torch.testing.assert_close(training.segmentation_loss(logits, torch.cat([masks, counted], 1)), whole)
        counted[..., 5:] = 0
        part = training.segmentation_loss(logits[..., :5], masks[..., :5])
        torch.testing.assert_close(training.segmentation_loss(logits, torch.cat([masks, counted], 1)), part)

    def test_no_gradient_comes_from_it(self, tmp_path):
        marked = MASKS.copy()
        marked[:, :32] = 255
        spec = spec_of(folder(tmp_path / "a", marked), ignore=[255], name="m", transform="identity", level=0.0)
        spec = real.settled({"m": spec}, {"m": real.look("m", spec)})["m"]
        with store.create(tmp_path / "a.h5") as file:
            write_split(file.create_group("test"), "m", spec, "test", 1)
            images = TrainingImages(file["test"], 2)
            _, masks = next(images.epoch(np.random.default_rng(0)))
        truth = training._truth(masks, images.ignores)
        logits = torch.randn(truth[:, :1].shape, requires_grad=True)
        training.segmentation_loss(logits, truth).backward()
        assert logits.grad is not None
        ignored = (masks == 255).unsqueeze(1)
        assert ignored.any()
        assert not logits.grad[ignored].any()
        assert logits.grad[~ignored].all()
