"""Files of people that were misread without a word when they were tried: each is read rightly now, or asked about."""

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from shiftgain.domains import grey
from shiftgain.files.errors import StudyError
from tests.test_readers import IMAGES, MASKS, STACK, asks, assert_reads, hdf5, looked_at, save


@pytest.mark.parametrize(("flags", "dmax", "signed"), [(0, 255, False), (1, 127, True), (None, 255, False)])
def test_bytes_of_mrc_have_the_sign_that_the_header_says(tmp_path, flags, dmax, signed):
    """IMOD's flag, or where it has not written the file the greatest value; mrcfile reads signed bytes either way."""
    mrcfile = pytest.importorskip("mrcfile")
    pixels = IMAGES // 2 if signed else IMAGES
    for name, values in (("a.mrc", pixels.view(np.int8)), ("a_mask.mrc", MASKS.astype(np.int8))):
        with mrcfile.new(tmp_path / name) as file:
            file.set_data(values)
            file.header.dmin, file.header.dmax = 0, dmax if name == "a.mrc" else 1
    if flags is not None:
        with (tmp_path / "a.mrc").open("r+b") as file:
            file.seek(152)
            file.write(np.array([1146047817, flags], np.int32).tobytes())
    assert_reads(tmp_path / "a.mrc", images=pixels)
    assert looked_at(tmp_path / "a.mrc")["dtype"] == ("int8" if signed else "uint8")


@pytest.mark.parametrize("folders", [("raw", "seg"), ("01", "01_GT"), ("train", "train_masks"), ("inputs", "targets")])
def test_a_folder_that_is_called_like_masks_is_asked_about(tmp_path, folders):
    for name, stack in zip(folders, (IMAGES, MASKS), strict=True):
        for number, pixels in enumerate(stack):
            save(tmp_path / name / f"{number}.png", pixels)
    own, other = folders
    asks(rf"{other} is called like masks; give config key domains\.mine\.images: {own} and .*masks: {other}", tmp_path)
    found = looked_at(tmp_path, images=own, masks=other)
    assert found["images"] == len(IMAGES) and found["has_masks"]
    assert looked_at(tmp_path, images=".")["images"] == 2 * len(IMAGES), "all of it may be images"


@pytest.mark.parametrize(
    ("image", "mask"),
    [("x{}.ome.tif", "x{}_mask.ome.tif"), ("x{}.ome.tif", "x{}_mask.tif"), ("x{}.bmp", "x{}_anno.bmp")],
)
def test_masks_beside_images_of_these_names(tmp_path, image, mask):
    for number, (pixels, labels) in enumerate(zip(IMAGES, MASKS, strict=True)):
        save(tmp_path / image.format(number), pixels)
        save(tmp_path / mask.format(number), labels)
    assert_reads(tmp_path)


@pytest.mark.parametrize(("stack", "mask"), [("s.ome.tif", "s_mask.ome.tif"), ("s_raw.tif", "s_mask.tif")])
def test_masks_beside_a_stack_of_these_names(tmp_path, stack, mask):
    save(tmp_path / stack, IMAGES, metadata={"axes": "ZYX"})
    save(tmp_path / mask, MASKS, metadata={"axes": "ZYX"})
    assert_reads(tmp_path / stack)


def test_a_file_of_the_same_name_is_no_mask_of_a_stack(tmp_path):
    save(tmp_path / "s.tif", IMAGES)
    save(tmp_path / "s.png", MASKS[0])
    assert not looked_at(tmp_path / "s.tif")["has_masks"]


def test_an_accent_is_one_letter_however_it_is_written(tmp_path):
    for number, (pixels, labels) in enumerate(zip(IMAGES, MASKS, strict=True)):
        save(tmp_path / "images" / f"caf\u00e9{number}.png", pixels)
        save(tmp_path / "masks" / f"cafe\u0301{number}.png", labels)
    assert_reads(tmp_path)


def test_a_link_that_leads_nowhere_is_called_one(tmp_path):
    save(tmp_path / "a.png", IMAGES[0])
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    asks("b.png: cannot be read .*; where it is a link, it leads nowhere: correct it", tmp_path)


def test_thumbnails_of_a_server_are_no_images(tmp_path):
    for number, pixels in enumerate(IMAGES):
        save(tmp_path / f"{number}.png", pixels)
        save(tmp_path / "@eaDir" / f"{number}.png" / "SYNOPHOTO_THUMB_M.jpg", pixels[::4, ::4])
    assert_reads(tmp_path, masks=None)


def test_axes_of_hdf5_that_are_words_are_read(tmp_path):
    path = hdf5(tmp_path / "a.h5", images=np.stack([IMAGES, 255 - IMAGES]), masks=MASKS)
    with h5py.File(path, "a") as file:
        for number, name in enumerate(("channel", "plane", "height", "width")):
            file["images"].dims[number].label = name
    asks("'images' has 2 channels", path)
    assert_reads(path, channel=0)
    with h5py.File(path, "a") as file:
        file["images"].dims[1].label = "thing"
    asks("'images' has an axis 'thing'; call it by a letter", path)


def test_masks_along_other_axes_than_their_images_are_refused(tmp_path):
    images, masks = (stack[:6].reshape(2, 3, 64, 64) for stack in (IMAGES, MASKS))
    path = hdf5(tmp_path / "a.h5", images=images, masks=masks.swapaxes(0, 1))
    with h5py.File(path, "a") as file:
        for name, axes in (("images", "tzyx"), ("masks", "ztyx")):
            for number, axis in enumerate(axes):
                file[name].dims[number].label = axis
    asks("its masks lie along ZT, the images in .* along TZ; save them in one order", path)
    for name, pixels, axes in (("b.tif", images, "TZYX"), ("b_mask.tif", masks.swapaxes(0, 1), "ZTYX")):
        tifffile.imwrite(tmp_path / name, pixels, metadata={"axes": axes}, **STACK)
    asks("its masks lie along ZT, the images in .* along TZ; save them in one order", tmp_path / "b.tif")


def test_a_stack_with_its_images_along_the_last_axis_is_refused(tmp_path):
    path = hdf5(tmp_path / "a.h5", images=np.moveaxis(IMAGES, 0, -1), masks=np.moveaxis(MASKS, 0, -1))
    asks(r"'images' is \(64, 64, 10\), which would be 64 images of 64 x 10; store .* grey ones as \(n, H, W\)", path)


def test_channels_in_pages_of_their_own_are_not_offered_as_colours(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IMAGES[:3]] * 2), imagej=True, metadata={"axes": "ZCYX"})
    for more in ({}, {"channel": "rgb", "channels": 3}):
        asks("has 3 channels; give config key .*, or save them as one RGB page for colours", tmp_path / "a.tif", **more)
    assert looked_at(tmp_path / "a.tif", channel=0)["images"] == 2


def test_a_tiff_that_is_stored_turned_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGES[0], extratags=[(274, "H", 1, 3, True)], **STACK)
    asks(r"page 0 is stored turned \(orientation 3\); save it upright", tmp_path / "a.tif")


def test_palettes_of_png_follow_the_channel_that_is_asked_for(tmp_path):
    image = Image.fromarray(IMAGES[0]).convert("P")
    image.putpalette([level for n in range(256) for level in (0, 0, n)])
    image.putdata(IMAGES[0].ravel().tolist())
    image.save(tmp_path / "a.png")
    asks("has a palette; give config key domains.mine.channel: 0 to take the stored numbers, or rgb", tmp_path)
    assert_reads(tmp_path, images=IMAGES[:1], masks=None, channel=0)


@pytest.mark.parametrize(("number", "colour"), list(enumerate(("red", "green", "blue"))))
def test_a_stain_that_is_drawn_in_one_colour_keeps_its_levels(tmp_path, number, colour):
    coloured = np.zeros((*IMAGES.shape, 3), np.uint8)
    coloured[..., number] = IMAGES
    for index, pixels in enumerate(coloured):
        save(tmp_path / f"{index}.png", pixels)
    asks(rf"its images are {colour} alone, .*domains\.mine\.channel: {number} to take its levels, or rgb", tmp_path)
    assert_reads(tmp_path, masks=None, channel=number)
    assert looked_at(tmp_path, channel="rgb")["images"] == len(IMAGES)


def fact(dtype: str, low: float, high: float) -> dict:
    return {"dtype": dtype, "low": low, "high": high, "bits": None, "window": None}


def test_the_same_values_have_one_window_as_integers_and_as_floats():
    found = grey.windows({"full": fact("uint16", 200, 4000), "quarter": fact("float32", 50, 1000)})
    assert found["full"][0] == found["quarter"][0] == (0, 4095)
    apart = grey.windows({"full": fact("uint16", 200, 4000), "share": fact("float32", 0, 1)})
    assert apart["share"][0] == (0.0, 1.0)


@pytest.mark.parametrize(("low", "high"), [(32768, 32893), (1000, 1062)])
def test_integers_far_from_black_in_few_grey_levels_are_asked_about(low, high):
    with pytest.raises(StudyError, match=rf"of 256 grey levels under the window .*give `window: \[{low}, "):
        grey.windows({"a": fact("uint16", low, high)})
    assert grey.windows({"dark": fact("uint16", 0, 62)})["dark"][0] == (0, 255)


def test_the_range_of_a_domain_is_that_of_all_its_images(tmp_path):
    """A first image in the dark says nothing of the others."""
    deep = IMAGES.astype(np.uint16) * 16
    deep[0] = 7
    found = looked_at(save(tmp_path / "a.tif", deep))
    assert found["low"] == 7 and found["high"] > 3000
