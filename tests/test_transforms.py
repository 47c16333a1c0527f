"""Transformations: what holds for all of them, and the exact values of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.lib import transforms
from workflow.lib.errors import StudyError
from workflow.lib.lineage import registry

# One line per transform: a level that it takes.
LEVELS = {"identity": 0, "brightness": 0.2, "contrast": 1, "gamma": -1.5, "noise": 0.3}


def block(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    return images, rng.integers(0, 2, shape[:3]).astype(np.uint8)


def apply(name: str, images: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    return transforms.apply(name, images, None, level, np.random.default_rng(seed))[0]


def test_every_transform_has_a_level_here():
    assert LEVELS.keys() == transforms.TRANSFORMS.keys()


def test_the_registry_is_read_without_importing_it():
    assert registry("transforms", "TRANSFORMS") == list(transforms.TRANSFORMS)


@pytest.mark.parametrize("shape", [(3, 8, 6), (3, 8, 6, 3)])
@pytest.mark.parametrize("name", transforms.TRANSFORMS)
class TestAll:
    @pytest.mark.parametrize("level", [0, 0.0, -0.0])
    def test_level_zero_changes_nothing(self, name, shape, level):
        images, masks = block(shape)
        rng = np.random.default_rng(1)
        for changed, unchanged in (
            transforms.apply(name, images, masks, level, rng),
            transforms.TRANSFORMS[name].function(images, masks, level, rng),
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
        assert changed.shape == images.shape and moved.shape == masks.shape
        assert set(np.unique(moved)) <= {0, 1}
        assert np.array_equal(changed, images) == (name == "identity")
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
        transform = transforms.TRANSFORMS[name]
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


def test_an_unknown_name_is_met_with_the_nearest_or_with_all():
    with pytest.raises(StudyError, match=r"^transform 'brigthness' is not known; did you mean 'brightness'\?$"):
        transforms.check("brigthness", 0.1)
    with pytest.raises(StudyError, match=r"known: identity, .*noise$"):
        transforms.check("xyz", 0)


def test_a_level_out_of_range_is_named_with_the_unit():
    with pytest.raises(StudyError, match=r"level -0.1 is outside \[0, 1\] \(sd in grey level\)"):
        transforms.check("noise", -0.1)
