"""Transformations: what holds for all of them, and the exact values of each."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from shiftgain.domains import synthetic
from shiftgain.files.errors import StudyError
from shiftgain.files.store import IGNORED
from shiftgain.shifts import transforms
from shiftgain.shifts.generation import drawn_compound
from shiftgain.shifts.intensity import OFFSET_PER_STOP
from shiftgain.shifts.transforms import TRANSFORMS
from shiftgain.study.lineage import registry
from tests.test_synthetic import clipped_moments

# One line per transform: a level that it takes.
LEVELS = {
    "identity": 0,
    "brightness": 0.2,
    "contrast": 1,
    "gamma": -1.5,
    "inversion": 0.8,
    "illumination": 2,
    "exposure": 0.7,
    "hue": 40,
    "saturation": 1,
    "noise": 0.3,
    "blur": 1.5,
    "sharpen": 1,
    "quantisation": 5,
    "jpeg": 70,
    "crop": 0.5,
    "zoom": 0.5,
    "rotation": 30,
    "shear": -0.4,
    "stretch": 1,
    "elastic": 2,
    "emptied": 0.6,
    "foreground": -0.7,
    "share_spread": 1,
    "texture": 1,
    "noise_correlation": 1.5,
    "compound": 23,
}
SHAPES = [(3, 8, 6), (3, 8, 6, 3)]
ACTING = [
    (name, shape)
    for name, transform in TRANSFORMS.items()
    for shape in SHAPES[transform.changes == "colours" :]
    if transform.changes in ("images", "colours")
]
GEOMETRIC = [name for name, transform in TRANSFORMS.items() if "geometry" in transform.function.__module__]
DRAWN = [name for name, transform in TRANSFORMS.items() if transform.changes == "drawing"]
SPEC = {
    "name": "0.60-0.30", "transform": "identity", "level": 0.0, "channels": 1, "size": [64, 64], "means": [0.6, 0.3],
    "noise": {"mask_sd": 0.05, "background_sd": 0.1}, "foreground": 0.35,
    "perlin": {"octaves": 2, "persistence": 0.5, "lacunarity": 2.0, "scale": 16},
}  # fmt: skip


def block(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    return images, rng.integers(0, 2, shape[:3]).astype(np.uint8)


def apply(name: str, images: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    return transforms.apply(name, images, None, level, np.random.default_rng(seed))[0]


def test_every_transform_has_a_level_here():
    assert LEVELS.keys() == TRANSFORMS.keys()


def test_the_registry_is_read_without_importing_it():
    assert registry("shifts/transforms", "TRANSFORMS") == list(TRANSFORMS)


@pytest.mark.parametrize(("name", "shape"), ACTING)
class TestAll:
    @pytest.mark.parametrize("level", [0, 0.0, -0.0])
    def test_level_zero_changes_nothing(self, name, shape, level):
        images, masks = block(shape)
        rng = np.random.default_rng(1)
        for changed, unchanged in (
            transforms.apply(name, images, masks, level, rng),
            TRANSFORMS[name].function(images, masks, level, rng),
        ):
            np.testing.assert_array_equal(changed, images)
            np.testing.assert_array_equal(unchanged, masks)

    def test_the_same_seed_gives_the_same_result(self, name, shape):
        images, _ = block(shape)
        first, second = (apply(name, images, LEVELS[name], seed=4) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_a_level_shifts_and_keeps_types_and_shapes(self, name, shape):
        images, masks = block(shape)
        kept = images.copy(), masks.copy()
        changed, moved = transforms.apply(name, images, masks, LEVELS[name], np.random.default_rng(0))
        assert changed.dtype == moved.dtype == np.uint8
        assert changed.shape == moved.shape + images.shape[3:]
        assert (moved.shape == masks.shape) == (name != "crop")
        assert set(np.unique(moved)) <= {0, 1}
        assert np.array_equal(changed, images) == (name == "identity")
        assert np.array_equal(moved, masks) == (name not in GEOMETRIC)
        np.testing.assert_array_equal(images, kept[0])
        np.testing.assert_array_equal(masks, kept[1])

    def test_masks_may_be_missing(self, name, shape):
        images, _ = block(shape)
        assert transforms.apply(name, images, None, LEVELS[name], np.random.default_rng(0))[1] is None

    def test_the_cut_into_blocks_does_not_matter(self, name, shape):
        images, _ = block(shape)
        rng = np.random.default_rng(2)
        parts = [transforms.apply(name, part, None, LEVELS[name], rng)[0] for part in (images[:1], images[1:])]
        np.testing.assert_array_equal(np.concatenate(parts), apply(name, images, LEVELS[name], seed=2))

    def test_a_view_is_as_good_as_a_copy(self, name, shape):
        images, _ = block(shape)
        view = images[:, ::-1, ::2]
        np.testing.assert_array_equal(
            apply(name, view, LEVELS[name]), apply(name, np.ascontiguousarray(view), LEVELS[name])
        )

    def test_the_ends_of_the_range_are_taken_and_what_lies_beyond_is_not(self, name, shape):
        images, _ = block(shape)
        transform = TRANSFORMS[name]
        for level in (transform.low, transform.high):
            assert apply(name, images, level).dtype == np.uint8
        for level in (transform.low - 0.1, transform.high + 0.1, float("nan"), float("inf")):
            with pytest.raises(StudyError, match=rf"^transform '{name}': level .* is outside \[.*; choose"):
                apply(name, images, level)


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("brightness", 0.2, [51, 52, 178, 179, 251, 255]),
        ("brightness", -0.2, [0, 0, 76, 77, 149, 204]),
        ("brightness", 0.1, [26, 27, 153, 154, 226, 255]),  # 25.5 upwards: neighbours stay apart
        ("brightness", 1, [255] * 6),
        ("brightness", -1, [0] * 6),
        ("contrast", 1, [0, 0, 127, 129, 255, 255]),  # 126.5 and 128.5 upwards
        ("contrast", -1, [64, 64, 127, 128, 164, 191]),
        ("contrast", 8, [0, 0, 0, 255, 255, 255]),
        ("gamma", 1, [0, 0, 63, 64, 157, 255]),
        ("gamma", -1, [0, 16, 180, 181, 226, 255]),
        ("inversion", 1, [255, 254, 128, 127, 55, 0]),
        ("inversion", 0.5, [128] * 6),
        ("inversion", 0.25, [64, 64, 127, 128, 164, 191]),
        ("quantisation", 7, [0, 0, 0, 255, 255, 255]),
        ("quantisation", 6, [0, 0, 85, 170, 170, 255]),  # 0, 85, 170, 255
        ("illumination", 2, [0, 1, 254, 64, 200, 255]),  # factors 1/2, 1, 2 along a row
    ],
)
def test_exact_values(name, level, expected):
    images = np.array([0, 1, 127, 128, 200, 255], np.uint8).reshape(1, 2, 3)
    assert apply(name, images, level).ravel().tolist() == expected


@given(st.floats(-1, 1), st.floats(-8, 8))
def test_brightness_and_contrast_are_affine_up_to_rounding(level, stops):
    grey = np.arange(256)
    images = grey.astype(np.uint8).reshape(1, 16, 16)
    for name, amount, exact in (
        ("brightness", level, grey + 255 * level),
        ("contrast", stops, (grey - 127.5) * 2**stops + 127.5),
    ):
        inside = (exact >= 0) & (exact <= 255)
        result = apply(name, images, amount).ravel()
        assert np.all(np.abs(result - exact)[inside] <= 0.5 + 1e-4)
        assert np.all(result[exact < 0] == 0) and np.all(result[exact > 255] == 255)


def test_gamma_is_a_power_up_to_rounding():
    grey = np.arange(256)
    result = apply("gamma", grey.astype(np.uint8).reshape(1, 16, 16), 0.5).ravel()
    assert np.abs(result - 255 * (grey / 255) ** 2**0.5).max() <= 0.5 + 1e-4


def test_noise_has_the_asked_deviation_and_no_pattern():
    images = np.full((4, 128, 128, 3), 128, np.uint8)
    added = (apply("noise", images, 0.1).astype(float) - 128) / 255
    # Standard errors at 196,608 values: 0.00023 of the mean, 0.00016 of the deviation.
    assert abs(added.mean()) < 0.001
    assert abs(added.std() - 0.1) < 0.001
    neighbours = np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1]
    channels = np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]
    assert abs(neighbours) < 0.02 and abs(channels) < 0.02
    assert not np.array_equal(apply("noise", images, 0.1), apply("noise", images, 0.1, seed=1))


def test_noise_is_clipped():
    values = apply("noise", np.full((1, 64, 64), 250, np.uint8), 1.0)
    assert (values == 255).mean() > 0.3 and (values == 0).mean() > 0.1


def test_a_full_inversion_twice_is_the_identity():
    images, _ = block((3, 8, 6))
    np.testing.assert_array_equal(apply("inversion", apply("inversion", images, 1), 1), images)


def test_hue_by_a_third_of_a_turn_passes_the_channels_on():
    images, _ = block((3, 8, 6, 3))
    np.testing.assert_array_equal(apply("hue", images, 120), images[..., [2, 0, 1]])  # red becomes green
    np.testing.assert_array_equal(apply("hue", images, -120), images[..., [1, 2, 0]])
    np.testing.assert_array_equal(apply("hue", images, 180), apply("hue", images, -180))


@pytest.mark.parametrize(("name", "level", "factor"), [("hue", 70, 1), ("saturation", 1, 2), ("saturation", -1, 0.5)])
def test_colours_keep_their_grey_and_scale_their_distance_from_it(name, level, factor):
    images = np.random.default_rng(0).integers(100, 156, (3, 8, 6, 3)).astype(np.uint8)
    changed = apply(name, images, level)
    assert np.abs(changed.mean(-1) - images.mean(-1)).max() <= 0.5
    distance, before = (np.linalg.norm(rgb - rgb.mean(-1, keepdims=True), axis=-1) for rgb in (changed, images))
    assert np.abs(distance - factor * before).max() <= 1
    grey = np.full((1, 4, 4, 3), 77, np.uint8)
    np.testing.assert_array_equal(apply(name, grey, level), grey)


@pytest.mark.parametrize("sd", [2, 4.5])
def test_blur_turns_an_edge_into_a_normal_distribution(sd):
    images = np.zeros((1, 8, 64), np.uint8)
    images[:, :, 32:] = 255
    expected = [255 * NormalDist(31.5, sd).cdf(column) for column in range(64)]
    assert np.abs(apply("blur", images, sd) - np.array(expected)).max() < 2  # a pixel is no point
    flat = np.full((1, 8, 8), 99, np.uint8)
    np.testing.assert_array_equal(apply("blur", flat, 32), flat)


def test_sharpening_adds_what_blur_takes_away():
    images = np.random.default_rng(0).integers(110, 146, (2, 32, 32)).astype(np.uint8)
    expected = images + 2 * (images - apply("blur", images, 1).astype(float))
    assert np.abs(apply("sharpen", images, 2) - expected).max() <= 0.5 + 2 * 0.5
    flat = np.full((1, 8, 8), 99, np.uint8)
    np.testing.assert_array_equal(apply("sharpen", flat, 16), flat)


def test_jpeg_loses_more_with_each_level_and_at_last_all_but_the_mean_of_a_block():
    images = np.random.default_rng(0).normal(128, 20, (4, 32, 32)).round().astype(np.uint8)
    errors = [np.abs(apply("jpeg", images, level) - images.astype(float)).mean() for level in (0, 5, 50, 90)]
    assert errors == sorted(set(errors)) and errors[0] == 0
    blocks = apply("jpeg", images, 99).reshape(4, 4, 8, 4, 8)
    assert np.all(blocks == blocks[:, :, :1, :, :1])


def discs() -> tuple[np.ndarray, np.ndarray]:
    """Two off-centre discs as images that are their masks, 0 and 255."""
    rows, columns = np.mgrid[:64, :64]
    masks = np.stack([np.hypot(rows - 24, columns - 36) < 12, np.hypot(rows - 35, columns - 30) < 17]).astype(np.uint8)
    return 255 * masks, masks


@pytest.mark.parametrize("name", GEOMETRIC)
def test_image_and_mask_move_alike(name):
    moved, masks = transforms.apply(name, *discs(), LEVELS[name], np.random.default_rng(0))
    for image, mask in zip(moved, masks, strict=True):
        edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)
        assert not ((image > 127) != mask)[~edge].any()
        assert 0.05 < mask.mean() < 0.9 and edge.mean() < 0.2


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("rotation", 90, lambda a: np.rot90(a, 1, (1, 2))),
        ("rotation", -90, lambda a: np.rot90(a, -1, (1, 2))),
        ("rotation", 180, lambda a: a[:, ::-1, ::-1]),
        ("crop", 0.5, lambda a: a[:, 2:6, 2:6]),  # 4.5 of 9 rounds to the even 4
        ("shear", 1, lambda a: np.stack([np.roll(a[:, row], row - 4, axis=1) for row in range(9)], 1)),
        ("zoom", 1, None),
    ],
)
def test_whole_pixels_are_moved_exactly(name, level, expected):
    rng = np.random.default_rng(3)
    images, masks = rng.integers(0, 256, (2, 9, 9)).astype(np.uint8), rng.integers(0, 2, (2, 9, 9)).astype(np.uint8)
    found = transforms.apply(name, images, masks, level, rng)
    for moved, still in zip(found, (images, masks), strict=True):
        if name == "zoom":
            np.testing.assert_array_equal(moved[:, ::2, ::2], still[:, 2:7, 2:7])
        elif name == "shear":
            np.testing.assert_array_equal(moved[:, 2:7, 2:7], expected(still)[:, 2:7, 2:7])
            np.testing.assert_array_equal(moved[:, 0, 0], still[:, 0, 4])
        else:
            np.testing.assert_array_equal(moved, expected(still))


@pytest.mark.parametrize(
    ("name", "level", "width", "height"), [("zoom", 1, 40, 24), ("zoom", -1, 10, 6), ("stretch", 2, 40, 6)]
)
def test_scales_are_powers_of_two(name, level, width, height):
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[:, 26:38, 22:42] = 1  # 12 rows, 20 columns in the middle
    moved = transforms.apply(name, 255 * masks, masks, level, np.random.default_rng(0))[1][0]
    assert [line[12:52].sum() for line in (moved[32], moved[:, 32])] == [width, height]  # mirrored ones lie outside


def test_elastic_displacement_has_the_asked_size_and_grows_with_the_level_only():
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8), (60, 64, 128))
    moved = (apply("elastic", ramp, level).astype(float) - ramp for level in (1, 3))
    one, three = (part[:, :, 16:-16] / 2 for part in moved)
    assert np.sqrt((three**2).mean()) == pytest.approx(3, rel=0.05)
    assert np.corrcoef(one.ravel(), three.ravel())[0, 1] > 0.95


def drawn(name: str, level: float, spec: dict = SPEC, n: int = 64) -> tuple[np.ndarray, np.ndarray]:
    changed = transforms.drawn(spec | {"transform": name, "level": level})
    images, masks = zip(*synthetic.blocks(changed, spec["name"], "test", n, 0), strict=True)
    return np.concatenate(images), np.concatenate(masks)


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_changes_its_spec_and_leaves_finished_images(name):
    spec = SPEC | {"transform": name, "level": LEVELS[name]}
    assert transforms.drawn(spec | {"level": 0.0}) == spec | {"level": 0.0}
    changed = transforms.drawn(spec)
    what = {key for key in changed if changed[key] != spec.get(key)}
    assert what == {"means", "noise", "foreground"} if name == "compound" else len(what) == 1
    images, masks = block((3, 8, 6))
    assert transforms.apply(name, images, masks, LEVELS[name], np.random.default_rng(0))[0] is images
    before, after = drawn(name, 0.0, n=4), drawn(name, LEVELS[name], n=4)
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1]) == (name == "noise_correlation")
    np.testing.assert_array_equal(drawn(name, LEVELS[name], n=4)[0], after[0])


def gains_and_offsets(level: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What each of ``n`` images was exposed by: a line through the places of 100, 127, 128 and 155."""
    images = np.broadcast_to(np.array([[100, 127], [128, 155]], np.uint8), (n, 2, 2))
    exposed = apply("exposure", images, level).astype(float)
    gains = (exposed[:, 1, 1] - exposed[:, 0, 0]) / 55
    return gains, (exposed.mean(axis=(1, 2)) - 127.5) / 255


def test_every_image_has_its_own_exposure_of_the_asked_spread():
    gains, offsets = gains_and_offsets(0.5, 4000)
    stops = np.log2(gains)
    # Standard errors at 4000 images: 0.008 of the mean and 0.006 of the deviation, in units of the level.
    assert stops.mean() == pytest.approx(0, abs=0.02) and stops.std() == pytest.approx(0.5, rel=0.05)
    assert offsets.mean() == pytest.approx(0, abs=0.01)
    assert offsets.std() == pytest.approx(0.5 * OFFSET_PER_STOP, rel=0.05)
    assert abs(np.corrcoef(stops, offsets)[0, 1]) < 0.06


def test_exposure_is_one_affine_map_for_all_of_an_image_and_its_channels():
    grey = np.broadcast_to(np.arange(64, 192, dtype=np.uint8).reshape(1, 8, 16, 1), (5, 8, 16, 3))
    exposed = apply("exposure", grey, 0.2).astype(float)
    assert (exposed.min() > 0) and (exposed.max() < 255), "nothing is clipped"
    for image in exposed:
        assert np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2])
        line = np.polyfit(np.arange(64, 192), image[..., 0].ravel(), 1)
        assert np.abs(np.polyval(line, np.arange(64, 192)) - image[..., 0].ravel()).max() <= 0.6
    assert len({image[0, 0, 0] for image in exposed}) == 5


def test_exposure_grows_with_the_level_only():
    stops = [np.log2(gains_and_offsets(level, 200)[0]) for level in (0.3, 0.6)]
    assert np.corrcoef(*stops)[0, 1] > 0.99


@pytest.mark.parametrize("level", [0.5, 2])
def test_every_image_has_its_own_foreground_share(level):
    """Of large images with small pieces, so that the share of an image is its own and not chance."""
    spec = SPEC | {"size": [256, 256], "perlin": SPEC["perlin"] | {"scale": 4}}
    shares = drawn("share_spread", level, spec, n=60)[1].mean(axis=(1, 2))
    same = drawn("share_spread", 0.0, spec, n=60)[1].mean(axis=(1, 2))
    logits, still = (np.log(part / (1 - part)) for part in (shares, same))
    assert still.std() < 0.1
    # Standard errors at 60 images: 0.13 of the mean, 0.09 of the deviation, in units of the level.
    assert logits.std() == pytest.approx(level, rel=0.3)
    assert logits.mean() == pytest.approx(np.log(0.35 / 0.65), abs=0.4 * level)


def test_a_spread_of_shares_draws_the_same_heights_and_the_same_order_at_every_level():
    small, large = (drawn("share_spread", level, n=40)[1] for level in (0.5, 2))
    for one, other in zip(small, large, strict=True):
        assert (one <= other).all() or (one >= other).all(), "thresholds of one height map"
    still = drawn("share_spread", 0.0, n=40)[1].mean(axis=(1, 2))
    moved = [part.mean(axis=(1, 2)) - still for part in (small, large)]
    assert ((moved[0] > 0) == (moved[1] > 0))[np.abs(moved[1]) > 0.02].all()


def test_compounds_are_fixed_by_their_number():
    assert drawn_compound(0) == (0.0, 0.0, False, 0.0) and drawn_compound(0).gain == 1
    assert drawn_compound(1) == (-1.3, 0.14, True, 1.06) and drawn_compound(1).gain == -(2**-1.3)
    assert drawn_compound(3) == (-1.14, 0.02, False, -0.52) and drawn_compound(3).gain == 2**-1.14
    assert drawn_compound(7.0) == drawn_compound(7)
    for level in (2.5, 0.1):
        with pytest.raises(StudyError, match=rf"level {level} is the number of a draw; give a whole number"):
            drawn_compound(level)


def test_compounds_fill_their_ranges():
    draws = np.array([drawn_compound(number) for number in range(1, 2001)], float)
    for column, (low, high) in zip(draws[:, [0, 1, 3]].T, ((-1.5, 0), (-0.2, 0.2), (-2, 2)), strict=True):
        # Uniform: a deviation of width / sqrt(12), known to 2 %, and a mean to 0.0065 of the width.
        assert low <= column.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < column.max() <= high
        assert column.mean() == pytest.approx((low + high) / 2, abs=0.025 * (high - low))
        assert column.std() == pytest.approx((high - low) / 12**0.5, rel=0.05)
    assert draws[:, 2].mean() == pytest.approx(0.5, abs=0.04)
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.09, "the parts are independent"


@pytest.mark.parametrize("number", [1, 3])
def test_a_compound_is_its_three_parts_at_once(number):
    change = drawn_compound(number)
    images, masks = drawn("compound", number, n=400)
    plain = drawn("foreground", change.share, n=400)
    np.testing.assert_array_equal(masks, plain[1])
    for inside, mean, sd in ((masks == 1, 0.6, 0.05), (masks == 0, 0.3, 0.1)):
        moved = 0.5 + change.gain * (mean - 0.5) + change.offset, abs(change.gain) * sd
        expected = clipped_moments(*moved)
        found = images[inside] / 255
        assert (found.mean(), found.std()) == pytest.approx(expected, abs=0.002)
    assert (images[masks == 1].mean() < images[masks == 0].mean()) == change.flipped


def test_a_compound_of_colours_changes_each_channel():
    spec = SPEC | {"channels": 3, "means": [[0.6, 0.5, 0.4], 0.3], "transform": "compound", "level": 3.0}
    means = transforms.drawn(spec)["means"]
    gain = 2**-1.14
    assert means[0] == pytest.approx([0.52 + gain * 0.1, 0.52, 0.52 - gain * 0.1], abs=1e-5)
    assert means[1] == pytest.approx(0.52 - 0.2 * gain, abs=1e-5)


def test_shares_shifted_by_two_logits_are_as_asked():
    shares = {level: drawn("foreground", level, n=600)[1].mean() for level in (-2, 2)}
    assert shares[-2] == pytest.approx(0.068, abs=0.02) and shares[2] == pytest.approx(0.80, abs=0.04)


@pytest.mark.parametrize("level", [-6, -1, 0.5, 6])
def test_the_foreground_share_moves_by_logits(level):
    share = drawn("foreground", level, n=600)[1].mean()
    expected = 1 / (1 + np.exp(-np.log(0.35 / 0.65) - level))
    # Heights within an image are alike: one image is worth about 20 independent pixels.
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / (20 * 600)) + 1e-3


def test_texture_scales_the_masks_at_an_equal_share():
    edges, shares = {}, {}
    for level in (-1, 0, 1):
        masks = drawn("texture", level, n=400)[1].astype(int)
        edges[level], shares[level] = np.abs(np.diff(masks, axis=2)).mean(), masks.mean()
    assert edges[-1] / edges[0] == pytest.approx(2, rel=0.1) and edges[0] / edges[1] == pytest.approx(2, rel=0.1)
    assert max(shares.values()) - min(shares.values()) < 0.03


@pytest.mark.parametrize("sd", [0.7, 2])
def test_correlated_noise_has_the_moments_of_white_noise(sd):
    images, masks = drawn("noise_correlation", sd, n=400)
    for inside, mean, deviation in ((masks == 1, 0.6, 0.05), (masks == 0, 0.3, 0.1)):
        expected = clipped_moments(mean, deviation)
        found = images[inside] / 255
        assert found.mean() == pytest.approx(expected[0], abs=0.002)
        assert found.std() == pytest.approx(expected[1], rel=0.02)
    background = (images - 76.5) * (masks == 0)
    both = (masks[:, :, 1:] == 0) & (masks[:, :, :-1] == 0)
    product = (background[:, :, 1:] * background[:, :, :-1])[both].mean()
    kernel = ndimage.gaussian_filter1d(np.eye(1, 65, 32)[0], sd)
    assert product / 25.5**2 == pytest.approx((kernel[1:] * kernel[:-1]).sum() / (kernel**2).sum(), abs=0.01)


@pytest.mark.parametrize(
    ("transform", "changes", "coloured", "message"),
    [
        ("hue", {}, False, r"domain '0.60-0.30' is gray, and transform 'hue' needs colours; set generate.channels: 3"),
        ("saturation", {"path": "a.h5"}, False, r"is gray, and transform 'saturation' needs colours"),
        ("texture", {"path": "a.h5"}, True, r"domain '0.60-0.30' is real, .*; take synthetic targets"),
        ("foreground", {"foreground": None, "threshold": 0.1}, True, r"is given by 'threshold', .*; give 'foreground'"),
        (
            "share_spread",
            {"foreground": None, "threshold": 0.1},
            True,
            r"'threshold', and transform 'share_spread' needs",
        ),
        (
            "compound",
            {"foreground": None, "threshold": 0.1},
            True,
            r"'threshold', and transform 'compound' needs a share",
        ),
        (
            "compound",
            {"path": "a.h5"},
            True,
            r"is real, and transform 'compound' changes how .*; take synthetic targets",
        ),
        ("compound", {"means": [0.0, 1.0]}, True, r"would leave \[0, 1\] .* at level 23; take means from 0.2 to 0.8"),
    ],
)
def test_a_domain_without_what_would_change_is_refused_in_one_line(transform, changes, coloured, message):
    spec = SPEC | changes | {"transform": transform, "level": LEVELS[transform]}
    with pytest.raises(StudyError, match=message) as caught:
        transforms.check_domain(spec, coloured, labelled=True)
    assert "\n" not in str(caught.value)
    transforms.check_domain(spec | {"level": 0.0}, coloured, labelled=True)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_synthetic_domain_in_colour_goes_through_every_transform(name):
    transforms.check_domain(SPEC | {"transform": name, "level": LEVELS[name]}, coloured=True, labelled=True)


def test_an_unknown_name_is_met_with_the_nearest_or_with_all():
    with pytest.raises(StudyError, match=r"^transform 'brigthness' is not known; did you mean 'brightness'\?$"):
        transforms.check("brigthness", 0.1)
    with pytest.raises(StudyError, match=r"known: identity, .*compound$"):
        transforms.check("xyz", 0)


def test_a_level_out_of_range_is_named_with_the_unit():
    with pytest.raises(StudyError, match=r"level -0.1 is outside \[0, 1\] \(sd in grey level\)"):
        transforms.check("noise", -0.1)


class TestEmptied:
    """Objects are painted out, of whole images."""

    def scene(self, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
        """Images of columns 10, 20, 30, ... with a bright object in columns 3 and 4, and pixels that do not count."""
        images = np.tile(np.arange(10, 90, 10, np.uint8), (n, 6, 1))
        masks = np.zeros_like(images)
        masks[:, 1:, 3:5] = 1
        masks[:, 0, 0] = IGNORED
        images[masks == 1] = 255
        return images, masks

    def test_an_object_takes_the_values_beyond_its_border(self):
        images, masks = self.scene(1)
        painted, left = transforms.apply("emptied", images, masks, 1, np.random.default_rng(0))
        # Column 3 is mirrored at column 2, column 4 at column 5.
        assert painted[0, -1].tolist() == [10, 20, 30, 20, 70, 60, 70, 80]
        assert set(np.unique(left)) == {0, IGNORED} and np.array_equal(left == IGNORED, masks == IGNORED)
        np.testing.assert_array_equal(painted[masks != 1], images[masks != 1])

    def test_an_object_takes_nothing_of_its_neighbour(self):
        images, masks = self.scene(1)
        images[:, 1:, 6:] = 255
        masks[:, 1:, 6:] = 1
        painted, _ = transforms.apply("emptied", images, masks, 1, np.random.default_rng(0))
        # Columns 6 and 7 are mirrored in the object at 4 and 3, column 4 in that at 6: all take the pixel between them.
        assert painted[0, -1].tolist() == [10, 20, 30, 20, 60, 60, 60, 60]

    def test_the_level_is_the_share_of_images_and_more_are_emptied_at_a_higher_one(self):
        images, masks = self.scene(400)
        emptied = {}
        for level in (0.25, 0.75):
            changed, left = transforms.apply("emptied", images, masks, level, np.random.default_rng(1))
            emptied[level] = ~(left == 1).any(axis=(1, 2))
            assert abs(emptied[level].mean() - level) < 0.08, "three standard errors"
            np.testing.assert_array_equal(changed[~emptied[level]], images[~emptied[level]])
        assert not (emptied[0.25] & ~emptied[0.75]).any()
        assert (images[:, -1, 3] == 255).all() and (masks == 1).any(), "the arrays given are left as they are"

    def test_the_cut_into_blocks_does_not_matter_and_colours_go_along(self):
        images, masks = self.scene()
        coloured = np.stack([images, images, 255 - images], axis=-1)
        whole, _ = transforms.apply("emptied", coloured, masks, 0.5, np.random.default_rng(2))
        rng = np.random.default_rng(2)
        cuts = [np.s_[:7], np.s_[7:]]
        parts = [transforms.apply("emptied", coloured[cut], masks[cut], 0.5, rng)[0] for cut in cuts]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        grey, _ = transforms.apply("emptied", images, masks, 0.5, np.random.default_rng(2))
        np.testing.assert_array_equal(whole[..., 0], grey)

    def test_what_has_no_background_or_no_masks(self):
        images, masks = self.scene(1)
        kept, left = transforms.apply("emptied", images, np.ones_like(masks), 1, np.random.default_rng(0))
        assert np.array_equal(kept, images) and left.all()
        with pytest.raises(StudyError, match=r"has no masks, .* 'emptied' .*; take a labelled target"):
            transforms.check_domain(SPEC | {"transform": "emptied", "level": 0.5}, coloured=False, labelled=False)
