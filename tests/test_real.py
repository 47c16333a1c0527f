"""A user's own domain: tiny files of every accepted kind, and one fault of every kind."""

import re
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from shiftgain.domains import real
from shiftgain.files.errors import StudyError

WHOLE = {"test": 1.0}
DATA = Path(__file__).parents[2] / "shared" / "data"


def pixels(shape: tuple[int, ...], dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def labels(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)


def spec_of(path: Path, split: dict = WHOLE, channels: int = 1, **more) -> dict:
    return {"path": str(path), "split": split, "channels": channels} | more


def images_of(spec: dict, split: str = "test") -> list[np.ndarray]:
    """Images of a split one by one."""
    return [image for images, _ in real.blocks("mine", spec, split) for image in images]


def masks_of(spec: dict, split: str = "test") -> list[np.ndarray]:
    return [mask for _, masks in real.blocks("mine", spec, split) for mask in masks]


def assert_same(found: list[np.ndarray], expected) -> None:
    assert [image.shape for image in found] == [np.shape(image) for image in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)


def write_hdf5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def write_folder(path: Path, images: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None) -> Path:
    """Each array as a file whose suffix says how; a TIFF takes one or more pages."""
    for folder, files in (("images", images), ("masks", masks)):
        for name, array in (files or {}).items():
            (path / folder).mkdir(parents=True, exist_ok=True)
            if name.endswith("png"):
                Image.fromarray(array).save(path / folder / name)
            else:
                photometric = "rgb" if array.ndim > 2 and array.shape[-1] in (3, 4) else "minisblack"
                tifffile.imwrite(path / folder / name, array, photometric=photometric)
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_hdf5(tmp_path / "series.h5", images=pixels((30, 8, 6)), masks=labels((30, 8, 6)))


class TestSplit:
    def test_shares_are_contiguous_blocks_in_a_fixed_order(self, series):
        shares = {"test": 0.2, "adapt": 0.1, "validation": 0.1, "train": 0.6}
        images = pixels((30, 8, 6))
        for part, expected in {"train": images[:18], "validation": images[18:21], "test": images[24:]}.items():
            assert_same(images_of(spec_of(series, shares), part), expected)

    def test_ranges_are_taken_as_they_are(self, series):
        spec = spec_of(series, {"train": [0, 20], "test": [22, 30], "adapt": [18, 30]})
        assert_same(images_of(spec, "train"), pixels((30, 8, 6))[:20])
        assert_same(masks_of(spec, "test"), labels((30, 8, 6))[22:])
        assert_same(images_of(spec, "adapt"), pixels((30, 8, 6))[18:])

    def test_a_rest_may_be_left(self, series):
        assert_same(images_of(spec_of(series, {"train": 0.5}), "train"), pixels((30, 8, 6))[:15])

    @pytest.mark.parametrize(
        ("split", "message"),
        [
            ({"train": 0.8, "test": 0.3}, r"split: the shares sum to 1.1; lower"),
            ({"train": 0.8, "test": 0.21}, r"split: the shares sum to 1.01; lower"),
            ({"train": 0}, r"split.train: 0 is empty"),
            ({"train": [0, 3], "layout": "spread"}, r"split.layout: it lays out shares, .* ranges; remove it"),
            ({"train": [0, 31]}, r"split.train: \[0, 31\] is empty or beyond the series of 30 images"),
            ({"test": [5, 5]}, r"split.test: \[5, 5\] is empty"),
            ({"test": [-3, 5]}, r"split.test: \[-3, 5\]"),
            ({"train": 0.5, "test": [20, 30]}, r"split: shares and ranges are mixed \(train and test\); give"),
            ({"train": [0, 20], "test": [19, 30]}, r"split: train and test overlap; take"),
            (
                {"test": [0, 20], "adapt": [0, 20], "validation": [3, 4]},
                r"split: test and validation overlap",
            ),
        ],
    )
    def test_what_cannot_be_split_is_an_error_of_check_and_of_blocks(self, series, split, message):
        with pytest.raises(StudyError, match=rf"^config key domains\.mine\.{message}"):
            real.check("mine", spec_of(series, split))
        with pytest.raises(StudyError, match=message):
            images_of(spec_of(series, split), next(iter(split)))

    def test_a_split_that_is_left_out_cannot_be_asked(self, series):
        with pytest.raises(StudyError, match=r"^config key domains\.mine\.split: no 'train'; add it"):
            images_of(spec_of(series), "train")


class TestHdf5:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_grey(self, series, channels):
        spec = spec_of(series, channels=channels)
        real.check("mine", spec)
        expected = pixels((30, 8, 6))
        assert_same(images_of(spec), expected if channels == 1 else np.stack([expected] * 3, axis=-1))
        assert_same(masks_of(spec), labels((30, 8, 6)))
        found = {"images": 30, "sizes": [[8, 6]], "dtype": "uint8", "has_masks": True, "coloured": False}
        assert real.describe(spec) == found

    def test_colour_becomes_luma_or_stays(self, tmp_path):
        colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 31]], np.uint8)
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=colours.reshape(1, 5, 1, 3)))
        assert images_of(spec)[0].ravel().tolist() == [76, 150, 29, 255, 18]  # the last is 18.264
        assert_same(images_of(spec | {"channels": 3}), colours.reshape(1, 5, 1, 3))

    def test_equal_channels_have_themselves_as_luma(self, tmp_path):
        ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
        file = write_hdf5(tmp_path / "a.h5", images=np.stack([ramp] * 3, axis=-1))
        assert_same(images_of(spec_of(file)), ramp)

    def test_masks_may_be_missing(self, tmp_path):
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=pixels((2, 4, 4))))
        assert [masks for _, masks in real.blocks("mine", spec, "test")] == [None]
        assert real.describe(spec)["has_masks"] is False

    @pytest.mark.parametrize(
        ("dtype", "label"), [(bool, 1), (np.uint8, 255), (np.float32, 1), (np.uint16, 256), (">i8", 2**40)]
    )
    def test_any_label_is_foreground(self, tmp_path, dtype, label):
        masks = (labels((2, 4, 4)).astype(np.int64) * label).astype(dtype)
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=pixels((2, 4, 4)), masks=masks))
        assert_same(masks_of(spec), labels((2, 4, 4)))

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"train": pixels((2, 4, 4))}, r"has no dataset 'images' \(only: train\); add"),
            ({"images/train": pixels((2, 4, 4))}, r"has no dataset 'images'"),
            ({"images": pixels((2, 4, 4)).astype(complex)}, r"images of type complex128; convert"),
            ({"images": pixels((2, 4, 4)) > 9}, r"images of type bool; convert"),
            ({"images": pixels((4,))}, r"'images' is \(4,\); make"),
            ({"images": pixels((2, 4, 4, 4))}, r"'images' is \(2, 4, 4, 4\); make"),
            ({"images": pixels((0, 4, 4))}, r"'images' is \(0, 4, 4\); make it .* not empty"),
            (
                {"images": pixels((2, 4, 4)), "masks": labels((1, 4, 4))},
                r"1 masks, \S*wrong\.h5: 2 images; make them match",
            ),
            (
                {"images": pixels((2, 4, 4)), "masks": labels((2, 4, 4)) / 2j},
                r"masks of type complex128; convert",
            ),
        ],
    )
    def test_a_wrong_file_is_named(self, tmp_path, arrays, message):
        spec = spec_of(write_hdf5(tmp_path / "wrong.h5", **arrays))
        with pytest.raises(StudyError, match=rf"^\S*wrong\.h5: {message}"):
            real.check("mine", spec)
        with pytest.raises(StudyError, match=message):
            real.describe(spec)

    def test_a_cut_file_and_no_hdf5_file_are_named(self, series, tmp_path):
        series.write_bytes(series.read_bytes()[:-100])
        (tmp_path / "text.h5").write_text("no images")
        for path in (series, tmp_path / "text.h5"):
            with pytest.raises(StudyError, match=rf"^{re.escape(str(path))}: cannot be read .*; replace"):
                real.check("mine", spec_of(path))

    def test_a_damaged_chunk_is_named(self, tmp_path):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            images = file.create_dataset("images", data=pixels((3, 64, 64)), chunks=(1, 64, 64), compression="gzip")
            start = images.id.get_chunk_info(1).byte_offset
        content = bytearray(path.read_bytes())
        content[start + 100 : start + 140] = bytes(40)
        path.write_bytes(content)
        real.check("mine", spec_of(path))
        with pytest.raises(StudyError, match=rf"^{re.escape(str(path))}: cannot be read"):
            images_of(spec_of(path))


class TestSixteenBits:
    @pytest.mark.parametrize("dtype", ["<u2", ">u2"])
    def test_one_window_for_the_whole_domain(self, tmp_path, dtype):
        raw = np.array([[[100, 200]], [[300, 400]], [[1000, 1100]]])
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=raw.astype(dtype)), {"adapt": [0, 1], "test": [1, 3]})
        expected = np.rint(raw * 255 / 4095)
        assert_same(images_of(spec, "adapt"), expected[:1])
        assert_same(images_of(spec, "test"), expected[1:])
        assert real.describe(spec)["dtype"] == "uint16"

    def test_a_window_of_the_user(self, tmp_path):
        raw = np.array([[[0, 100, 150, 200, 65535]]], np.uint16)
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=raw), window=[100, 200])
        assert_same(images_of(spec), [[[0, 0, 128, 255, 255]]])

    def test_a_constant_series_keeps_its_level(self, tmp_path):
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=np.full((2, 3, 3), 700, np.uint16)))
        assert_same(images_of(spec), np.full((2, 3, 3), round(700 * 255 / 1023)))

    def test_colour(self, tmp_path):
        raw = np.array([0, 0, 0, 65535, 0, 0]).astype(np.uint16).reshape(1, 1, 2, 3)
        assert_same(images_of(spec_of(write_hdf5(tmp_path / "a.h5", images=raw), channel="rgb")), [[[0, 76]]])

    def test_a_window_without_use_or_sense_is_an_error(self, tmp_path, series):
        deep = write_hdf5(tmp_path / "deep.h5", images=pixels((2, 4, 4), np.uint16))
        with pytest.raises(StudyError, match=r"^config key domains\.mine\.window: .* 8-bit .*; remove the window"):
            real.check("mine", spec_of(series, window=[0, 100]))
        with pytest.raises(StudyError, match=r"^config key domains\.mine\.window: \[5, 5\] is empty; give"):
            real.check("mine", spec_of(deep, window=[5, 5]))


class TestFolder:
    def test_files_are_taken_in_natural_order(self, tmp_path):
        names = ["img1.png", "img2.tif", "img02.PNG", "img10.png", "Img11.tiff", "other.png"]
        shuffled = {names[number]: pixels((4, 5), seed=number) for number in (3, 0, 5, 4, 1, 2)}
        write_folder(tmp_path, {name: array for name, array in shuffled.items() if "PNG" not in name})
        Image.fromarray(shuffled["img02.PNG"]).save(tmp_path / "images" / "img02.PNG")
        (tmp_path / "images" / "notes.txt").write_text("passed over")
        (tmp_path / "images" / "._img1.png").write_bytes(b"passed over")
        order = ["img1.png", "img02.PNG", "img2.tif", "img10.png", "Img11.tiff", "other.png"]
        assert_same(images_of(spec_of(tmp_path)), [shuffled[name] for name in order])

    @pytest.mark.parametrize(
        ("name", "shape", "dtype"),
        [
            ("a.png", (7, 5), np.uint8),
            ("a.png", (7, 5, 3), np.uint8),
            ("a.tif", (7, 5), np.uint8),
            ("a.tif", (7, 5, 3), np.uint8),
            ("a.png", (7, 5), np.uint16),
            ("a.tif", (7, 5), np.uint16),
            ("a.tif", (7, 5, 3), np.uint16),
        ],
    )
    def test_a_folder_reads_as_the_same_pixels_in_hdf5(self, tmp_path, name, shape, dtype):
        image = pixels(shape, dtype)
        folder = spec_of(write_folder(tmp_path, {name: image}, {"a.png": labels((7, 5)) * 255}))
        file = spec_of(write_hdf5(tmp_path / "a.h5", images=image[np.newaxis]))
        assert real.describe(folder) == real.describe(file) | {"has_masks": True}
        for channels in (1, 3):
            assert_same(images_of(folder | {"channels": channels}), images_of(file | {"channels": channels}))
        assert_same(masks_of(folder), [labels((7, 5))])

    def test_alpha_is_dropped(self, tmp_path):
        image = pixels((6, 5, 4))
        grey = Image.merge("LA", [Image.fromarray(image[..., 0]), Image.fromarray(image[..., 3])])
        write_folder(tmp_path, {"a.png": image, "b.tif": image})
        grey.save(tmp_path / "images" / "c.png")
        found = images_of(spec_of(tmp_path, channels=3))
        assert_same(found, [image[..., :3], image[..., :3], np.stack([image[..., 0]] * 3, axis=-1)])

    def test_a_palette_is_looked_up(self, tmp_path, recwarn):
        """Also under the transparency of some colours, and with white as colour number 0."""
        numbers = labels((6, 5))
        picture = Image.fromarray(numbers).convert("P")
        picture.putpalette([255, 255, 255, 0, 0, 0])
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
            picture.save(tmp_path / folder / "a.png", transparency=b"\x00\x80")
        assert_same(images_of(spec_of(tmp_path)), [255 * (1 - numbers)])
        assert_same(masks_of(spec_of(tmp_path)), [1 - numbers])
        assert not recwarn.list

    def test_masks_of_any_kind(self, tmp_path):
        mask = labels((6, 5))
        kinds = {
            "a.png": mask * 255,
            "b.png": mask.astype(bool),
            "c.tif": mask.astype(bool),
            "d.tif": mask.astype(np.int32) * 65536,
            "e.png": mask.astype(np.uint16) * 256,
            "f.png": np.stack([mask * 0, mask * 7, mask * 0], axis=-1),
            "g.tif": np.stack([mask * 9, mask * 0, mask * 0, mask * 0 + 255], axis=-1),
        }
        write_folder(tmp_path, {name[0] + ".png": pixels((6, 5)) for name in kinds}, kinds)
        with pytest.raises(StudyError, match=r"^config key domains\.mine: its masks hold 0 \(50.0 %\), .*'#000700'"):
            masks_of(spec_of(tmp_path))
        assert_same(masks_of(spec_of(tmp_path, background=0)), [mask] * len(kinds))

    def test_a_stack_is_many_images(self, tmp_path):
        first, last = pixels((4, 6, 5)), pixels((3, 6, 5), seed=1)
        masks = labels((4, 6, 5)), labels((3, 6, 5), seed=2)
        write_folder(tmp_path, {"s1.tif": first, "s2.tif": last}, {"s1.tif": masks[0], "s2.tiff": masks[1]})
        spec = spec_of(tmp_path, {"train": [0, 2], "test": [2, 6]})
        assert_same(images_of(spec), [*first[2:], *last[:2]])
        assert_same(masks_of(spec), [*masks[0][2:], *masks[1][:2]])
        assert real.describe(spec)["images"] == 7

    @pytest.mark.parametrize(
        "how",
        [
            {"compression": "zlib"},
            {"compression": "zlib", "predictor": True},
            {"byteorder": ">"},
            {"bigtiff": True},
            {"imagej": True, "metadata": {"axes": "ZYX"}},
            {"imagej": True, "metadata": {"axes": "TYX"}, "truncate": True},  # as ImageJ does above 4 GB
            {"tile": (16, 16)},
        ],
    )
    def test_tiff_dialects(self, tmp_path, how):
        stack = pixels((5, 20, 18), np.uint16)
        stack[0, 0, :2] = 0, 65535
        (tmp_path / "images").mkdir()
        tifffile.imwrite(tmp_path / "images" / "a.tif", stack, photometric="minisblack", **how)
        spec = spec_of(tmp_path)
        real.check("mine", spec)
        assert_same(images_of(spec), np.rint(stack / 257))

    def test_colour_planes_of_a_tiff(self, tmp_path):
        image = pixels((6, 5, 3))
        (tmp_path / "images").mkdir()
        planes = np.moveaxis(image, -1, 0)
        tifffile.imwrite(tmp_path / "images" / "a.tif", planes, photometric="rgb", planarconfig="separate")
        assert_same(images_of(spec_of(tmp_path, channels=3)), [image])

    def test_sizes_may_differ_and_start_a_block(self, tmp_path):
        shapes = [(4, 4), (4, 4), (6, 4), (4, 4)]
        arrays = {f"{number}.png": pixels(shape, seed=number) for number, shape in enumerate(shapes)}
        arrays["4.tif"] = pixels((4, 4, 3), seed=4)
        write_folder(tmp_path, arrays, {name: labels(array.shape[:2]) for name, array in arrays.items()})
        spec = spec_of(tmp_path)
        assert real.describe(spec)["sizes"] == [[4, 4], [6, 4]]
        found = [(images.shape, masks.shape) for images, masks in real.blocks("mine", spec, "test")]
        assert found == [((n, *size), (n, *size)) for n, size in [(2, (4, 4)), (1, (6, 4)), (1, (4, 4)), (1, (4, 4))]]

    @pytest.mark.parametrize(
        ("images", "masks", "message"),
        [
            ({"a.png": pixels((4, 4))}, {"b.png": labels((4, 4))}, r"b\.png: a mask without an image; add"),
            (
                {"a.png": pixels((4, 4)), "b.png": pixels((4, 4))},
                {"a.png": labels((4, 4))},
                r"b\.png: has no mask in \S*masks; add",
            ),
            (
                {"a.tif": pixels((3, 5, 6))},
                {"a.tif": labels((2, 5, 6))},
                r"a\.tif: 2 masks, \S*a\.tif: 3 images; make",
            ),
            (
                {"a.png": pixels((4, 4))},
                {"a.png": labels((4, 5))},
                r"a\.png: mask 0 is \(4, 5\), the image in \S*a\.png: \(4, 4\); make",
            ),
            (
                {"a.png": pixels((4, 4)), "a.tif": pixels((4, 4))},
                None,
                r"a\.tif: same stem as a\.png; rename",
            ),
            (
                {"a.png": pixels((4, 4)), "b.png": pixels((4, 4), np.uint16)},
                None,
                r"b\.png: uint16, \S*a\.png: uint8; convert",
            ),
            ({"a.png": labels((4, 4)).astype(bool)}, None, r"a\.png: images of type bool; convert"),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path, images, masks, message):
        spec = spec_of(write_folder(tmp_path, images, masks))
        with pytest.raises(StudyError, match=rf"^\S*/(images|masks)/{message}"):
            real.check("mine", spec)

    def test_missing_and_empty_folders_are_named(self, tmp_path):
        with pytest.raises(StudyError, match=r"nowhere: no such file or folder; correct the path"):
            real.check("mine", spec_of(tmp_path / "nowhere"))
        with pytest.raises(StudyError, match=rf"^{tmp_path}: no PNG, .* file in it; put"):
            real.check("mine", spec_of(tmp_path))
        (tmp_path / "images").mkdir()
        with pytest.raises(StudyError, match=r"images: no PNG, .* file in it; put"):
            real.check("mine", spec_of(tmp_path))

    def test_a_volume_page_is_refused(self, tmp_path):
        (tmp_path / "images").mkdir()
        volume = pixels((16, 16, 16))
        tifffile.imwrite(
            tmp_path / "images" / "a.tif",
            volume,
            volumetric=True,
            tile=(16, 16, 16),
            photometric="minisblack",
        )
        with pytest.raises(StudyError, match=r"a\.tif: page 0 is ZYX \(16, 16, 16\); save"):
            real.check("mine", spec_of(tmp_path))

    def test_a_tiff_without_a_decoder_is_refused_before_any_job(self, tmp_path, monkeypatch):
        (tmp_path / "images").mkdir()
        Image.fromarray(pixels((4, 4))).save(tmp_path / "images" / "a.tif", compression="tiff_lzw")
        monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {})
        with pytest.raises(StudyError, match=r"a\.tif: LZW compression; save it without, or install imagecodecs"):
            real.check("mine", spec_of(tmp_path))

    def test_a_png_that_pillow_would_thin_out_is_refused(self, tmp_path):
        def chunk(name: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

        header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(7)))
            + chunk(b"IEND", b"")
        )
        with pytest.raises(StudyError, match=r"a\.png: of a colour PNG of 16 bits .*; save it as TIFF"):
            real.check("mine", spec_of(tmp_path))

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
    @pytest.mark.parametrize(
        "name_and_how",
        [
            ("a.png", {}),
            ("a.tif", {}),
            ("a.tif", {"compression": "zlib"}),
            ("a.tif", {"imagej": True, "metadata": {"axes": "ZYX"}}),
            ("a.tif", {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True}),
            ("single.tif", {}),
        ],
    )
    def test_a_cut_file_is_named(self, tmp_path, name_and_how, share):
        name, how = name_and_how
        (tmp_path / "images").mkdir()
        path = tmp_path / "images" / name
        stack = pixels((6, 40, 30))
        if name == "a.png":
            Image.fromarray(stack[0]).save(path)
        else:
            tifffile.imwrite(path, stack[0] if name == "single.tif" else stack, photometric="minisblack", **how)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(
            StudyError, match=rf"^{re.escape(str(path))}: (cannot be read|cut off) .*; replace"
        ) as fault:
            images_of(spec_of(tmp_path))
        assert "\n" not in str(fault.value)

    def test_a_damaged_mask_is_named(self, tmp_path):
        write_folder(tmp_path, {"a.png": pixels((40, 40))}, {"a.png": labels((40, 40))})
        path = tmp_path / "masks" / "a.png"
        path.write_bytes(path.read_bytes()[:80])
        real.check("mine", spec_of(tmp_path))
        with pytest.raises(StudyError, match=rf"^{re.escape(str(path))}: cannot be read"):
            masks_of(spec_of(tmp_path))


class TestBlocks:
    def test_a_block_is_bounded_and_none_is_lost(self, tmp_path, monkeypatch):
        monkeypatch.setattr(real, "BLOCK_BYTES", 1000)
        images, masks = pixels((23, 10, 10)), labels((23, 10, 10))
        file = write_hdf5(tmp_path / "a.h5", images=images, masks=masks)
        folder = write_folder(tmp_path / "folder", {"a.tif": images}, {"a.tif": masks})
        for path in (file, folder):
            for channels, sizes in ((1, [10, 10, 3]), (3, [3] * 7 + [2])):
                spec = spec_of(path, channels=channels)
                assert [len(block) for block, _ in real.blocks("mine", spec, "test")] == sizes
            assert_same(images_of(spec_of(path)), images)
            assert_same(masks_of(spec_of(path)), masks)

    def test_an_image_above_the_bound_is_a_block(self, tmp_path, monkeypatch):
        monkeypatch.setattr(real, "BLOCK_BYTES", 50)
        spec = spec_of(write_hdf5(tmp_path / "a.h5", images=pixels((3, 10, 10))))
        assert [len(images) for images, _ in real.blocks("mine", spec, "test")] == [1, 1, 1]

    def test_check_reads_no_pixels(self, tmp_path, monkeypatch):
        spec = spec_of(write_folder(tmp_path, {"a.png": pixels((4, 4)), "b.tif": pixels((2, 5, 6))}))
        monkeypatch.setattr("shiftgain.domains.series._decoded", None)
        real.check("mine", spec)


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the checkout")
@pytest.mark.parametrize(
    ("name", "count", "size", "foreground"),
    [
        ("mito_cdeep3m", 30, [512, 512], 8.6),
        ("mito_enhanced", 30, [512, 512], 8.1),
        ("mito_vnc", 20, [512, 512], 5.5),
        ("nuclei_fluo256", 90, [256, 256], 8.0),
        ("nuclei_fluo360", 60, [360, 360], 28.3),
        ("nuclei_he320", 90, [256, 320], 20.6),
    ],
)
def test_the_real_domains_load(name, count, size, foreground):
    spec = spec_of(DATA / f"{name}.h5")
    real.check(name, spec)
    found = {"images": count, "sizes": [size], "dtype": "uint8", "has_masks": True}
    assert real.describe(spec) == found | {"coloured": False}
    masks = masks_of(spec)
    assert len(masks) == count
    assert round(100 * np.mean(masks), 1) == foreground
