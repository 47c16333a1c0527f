"""Synthetic domains: their statistics, and what each random stream depends on."""

import numpy as np
import pytest
from scipy.stats import norm

from shiftgain.domains import perlin, synthetic
from shiftgain.files.errors import StudyError

SPEC = {
    "size": [32, 48],
    "channels": 1,
    "means": [0.6, 0.3],
    "noise": {"mask_sd": 0.05, "background_sd": 0.1},
    "perlin": {"octaves": 3, "persistence": 0.5, "lacunarity": 2.0, "scale": 16},
    "foreground": 0.35,
}
RGB = SPEC | {"channels": 3, "means": [[0.8, 0.5, 0.2], [0.3, 0.4, 0.6]]}


def drawn(spec=SPEC, name="a", split="train", n=20, seed=0, workers=1):
    """All images and all masks."""
    images, masks = zip(*synthetic.blocks(spec, name, split, n, seed, workers=workers), strict=True)
    return np.concatenate(images), np.concatenate(masks)


def clipped_moments(mean, sd):
    """Mean and standard deviation of a normal grey level after clipping to [0, 1] and rounding to 8 bits."""
    quantiles = norm.ppf((np.arange(10**5) + 0.5) / 10**5, mean, sd)
    levels = np.rint(255 * quantiles.clip(0, 1)) / 255
    return levels.mean(), levels.std()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 images, and parts that end in the middle of an image."""
    monkeypatch.setattr(synthetic, "BLOCK_IMAGES", 7)
    monkeypatch.setattr(synthetic, "PART_PIXELS", 1000)
    monkeypatch.setattr(perlin, "PART_PIXELS", 2 * 32 * 48)


@pytest.mark.parametrize(("spec", "shape"), [(SPEC, (32, 48)), (RGB, (32, 48, 3))])
def test_shapes_and_types(spec, shape):
    sizes = []
    for images, masks in synthetic.blocks(spec, "a", "train", 600, 0):
        assert images.dtype == masks.dtype == np.uint8
        assert images.flags.c_contiguous and masks.flags.c_contiguous
        assert images.shape[1:] == shape and masks.shape == (len(images), 32, 48)
        assert set(np.unique(masks)) == {0, 1}
        sizes.append(len(images))
    assert sizes == [256, 256, 88]


def test_blocks_of_large_images_are_smaller():
    spec = SPEC | {"size": [2048, 1024]}
    assert [len(images) for images, _ in synthetic.blocks(spec, "a", "train", 3, 0)] == [2, 1]


@pytest.mark.parametrize("spec", [SPEC, RGB, SPEC | {"size": [9, 7]}])
def test_same_for_every_number_of_workers(spec, small_blocks):
    images, masks = drawn(spec, n=40)
    for workers in (2, 3, 9):
        again = drawn(spec, n=40, workers=workers)
        np.testing.assert_array_equal(again[0], images)
        np.testing.assert_array_equal(again[1], masks)


@pytest.mark.parametrize("spec", [SPEC, RGB, SPEC | {"size": [9, 7]}])
@pytest.mark.parametrize("n", [1, 7, 12])
def test_fewer_images_are_the_first_ones(spec, n, small_blocks):
    for less, more in zip(drawn(spec, n=n), drawn(spec, n=40), strict=True):
        np.testing.assert_array_equal(less, more[:n])


def test_no_images_no_blocks():
    assert list(synthetic.blocks(SPEC, "a", "train", 0, 0)) == []


def test_readers_may_stop_early(small_blocks):
    series = synthetic.blocks(SPEC, "a", "train", 10**9, 0, workers=2)
    next(series)
    series.close()


def test_streams_are_pinned():
    """Results of a study hold across machines and releases: a change here makes every study draw anew."""
    for masks, grey, area in (
        ("own", [37, 150, 157, 147, 151, 152, 160, 126], 1146),
        ("shared", [37, 71, 84, 64, 72, 75, 90, 22], 1119),
    ):
        images, drawn_masks = drawn(SPEC | {"masks": masks}, n=2)
        assert images[0, 0, :8].tolist() == grey
        assert drawn_masks.sum() == pytest.approx(area, abs=2)
    assert synthetic.entropy("a", 0) % 10**9 == 204281466


def test_domains_are_independent_draws():
    """No image of one has the mask of an image of another, and masks of two agree no more than by chance."""
    (images, masks), (others, other_masks) = drawn(name="a", n=200), drawn(name="b", n=200)
    alike = [(one == other).all() for one in masks for other in other_masks if 0 < one.mean() < 1]
    assert not any(alike)
    share, other_share = masks.mean(), other_masks.mean()
    by_chance = share * other_share + (1 - share) * (1 - other_share)
    # 200 images of about 6 independent cells each: a standard error of 0.015.
    assert (masks == other_masks).mean() == pytest.approx(by_chance, abs=0.06)
    # Grey levels of standard deviation 13 to 26 agree by chance in one pixel of fifty.
    assert (images == others).mean() < 0.05


def test_shared_masks_are_those_of_every_domain_that_shares_them():
    shared = SPEC | {"masks": "shared"}
    images, masks = drawn(shared, name="a")
    others, same = drawn(shared, name="b")
    np.testing.assert_array_equal(masks, same)
    assert (images == others).mean() < 0.05
    assert not (drawn(name="a")[1] == masks).all(axis=(1, 2)).any()


def test_a_domain_owns_its_masks_unless_it_shares_them():
    for one, other in zip(drawn(), drawn(SPEC | {"masks": "own"}), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("masks", "name"), [("own", "a"), ("shared", "b")])
def test_grey_levels_leave_masks_alone(masks, name):
    expected = drawn(SPEC | {"masks": masks})[1]
    for other in (RGB, SPEC | {"means": [0.1, 0.9]}, SPEC | {"noise": {"mask_sd": 0, "background_sd": 0.3}}):
        np.testing.assert_array_equal(drawn(other | {"masks": masks}, name=name)[1], expected)


def test_thresholds_share_heights():
    low, high = (drawn(SPEC | {"foreground": share})[1] for share in (0.2, 0.5))
    assert (low <= high).all() and low.sum() < high.sum()


def test_a_spread_of_shares_has_its_own_stream_and_fewer_images_are_the_first_ones(small_blocks):
    spec = SPEC | {"foreground_spread": 1.5}
    _, masks = drawn(spec, n=40)
    np.testing.assert_array_equal(drawn(spec, n=12)[1], masks[:12])
    np.testing.assert_array_equal(drawn(spec, n=40, workers=3)[1], masks)
    plain = drawn(n=40)[1]
    larger = (masks >= plain).all(axis=(1, 2))
    assert 8 < larger.sum() < 32 and (masks <= plain).all(axis=(1, 2))[~larger].all()
    assert not np.array_equal(larger[:7], larger[7:14]) or not np.array_equal(larger[7:14], larger[14:21])
    for change in ({"split": "test"}, {"seed": 1}, {"name": "b"}):
        still, moved = drawn(n=40, **change)[1], drawn(spec, n=40, **change)[1]
        assert not np.array_equal((moved >= still).all(axis=(1, 2)), larger)


def test_scale_leaves_first_pixels_alone():
    """Origins do not depend on the options of the height map."""
    wide = drawn(SPEC | {"perlin": SPEC["perlin"] | {"scale": 64}}, n=100)[1]
    np.testing.assert_array_equal(drawn(n=100)[1][:, 0, 0], wide[:, 0, 0])


@pytest.mark.parametrize("change", [{"split": "test"}, {"seed": 1}])
def test_split_and_seed_change_everything(change):
    for one, other in zip(drawn(), drawn(**change), strict=True):
        assert (one == other).mean() < 0.9
        assert not (one == other).all(axis=(1, 2)).any()


def test_noise_has_a_stream_for_every_seed_split_block_domain_and_channel(small_blocks):
    """Images that are all mask: their noise agrees by chance alone, in one pixel of fifty."""
    spec = RGB | {"threshold": -9.0, "foreground": None, "means": [0.5, 0.5]}
    first = drawn(spec, n=14)[0]
    others = [drawn(spec, **{"n": 14} | change)[0] for change in ({"split": "test"}, {"seed": 1}, {"name": "b"})]
    for one, other in [(first, other) for other in others] + [(first[:7], first[7:]), (first, np.roll(first, 1, -1))]:
        assert (one == other).mean() < 0.05


def test_blocks_differ(small_blocks):
    images, masks = drawn(n=14)
    assert not (masks[:7] == masks[7:]).all(axis=(1, 2)).any()
    assert (images[:7] == images[7:]).mean() < 0.1


@pytest.mark.parametrize("foreground", [0.1, 0.35, 0.5, 0.8])
@pytest.mark.parametrize(
    "options",
    [{"octaves": 1}, {"octaves": 4, "persistence": 0.7}, {"octaves": 3, "lacunarity": 1.7, "scale": 24}],
)
def test_share_of_foreground(foreground, options):
    _, masks = drawn(SPEC | {"foreground": foreground, "perlin": SPEC["perlin"] | options}, n=3000)
    # 3000 images of about 6 independent cells each: standard error of the mean below 0.005.
    assert masks.mean() == pytest.approx(foreground, abs=0.015)


def test_threshold_given():
    spec = SPEC | {"threshold": 0.0, "foreground": None}
    assert synthetic.threshold(spec) == 0
    assert drawn(spec, n=2000)[1].mean() == pytest.approx(0.5, abs=0.02)


def test_masks_are_smooth():
    """Neighbours agree: a mask is a few regions, no noise."""
    _, masks = drawn(n=100)
    assert (masks[:, 1:] == masks[:, :-1]).mean() > 0.9
    assert (masks[:, :, 1:] == masks[:, :, :-1]).mean() > 0.9


def test_moments():
    images, masks = drawn(n=500)
    grey = images / 255
    for role, mean, sd in ((1, 0.6, 0.05), (0, 0.3, 0.1)):
        assert grey[masks == role].mean() == pytest.approx(mean, abs=0.001)
        assert grey[masks == role].std() == pytest.approx(sd, abs=0.001)
        assert clipped_moments(mean, sd) == pytest.approx((mean, sd), abs=0.0005)


def test_noise_is_white():
    """No correlation between neighbours, images, or the channels of a pixel."""
    spec = RGB | {"means": [0.5, 0.5], "noise": {"mask_sd": 0.1, "background_sd": 0.1}}
    noise = (drawn(spec, n=200)[0] / 255 - 0.5) / 0.1
    limit = 5 / np.sqrt(noise[..., 0].size)
    for other in (np.roll(noise, 1, axis=axis) for axis in range(4)):
        assert abs((noise * other).mean()) < limit
    assert abs((noise**3).mean()) < 5 * limit
    assert (noise**4).mean() == pytest.approx(3, abs=0.05)


def test_rgb_colours_per_class():
    images, masks = drawn(RGB, n=200)
    np.testing.assert_allclose(images[masks == 1].mean(axis=0) / 255, RGB["means"][0], atol=0.002)
    np.testing.assert_allclose(images[masks == 0].mean(axis=0) / 255, RGB["means"][1], atol=0.002)
    np.testing.assert_allclose(images[masks == 1].std(axis=0) / 255, 0.05, atol=0.002)


def test_one_mean_holds_for_all_channels():
    images, _ = drawn(SPEC | {"channels": 3}, n=5)
    np.testing.assert_array_equal(images[..., 0], drawn(n=5)[0])
    assert (images[..., 0] == images[..., 1]).mean() < 0.1


def test_clipping():
    spec = SPEC | {"means": [1.0, 0.05], "noise": {"mask_sd": 0.1, "background_sd": 0.1}}
    images, masks = drawn(spec, n=300)
    for role, mean in ((1, 1.0), (0, 0.05)):
        grey = images[masks == role] / 255
        expected = clipped_moments(mean, 0.1)
        assert (grey.mean(), grey.std()) == pytest.approx(expected, abs=0.001)
    # E max(0, N(m, s)) = m Phi(m / s) + s phi(m / s), at m / s = 1/2.
    assert clipped_moments(0.05, 0.1)[0] == pytest.approx(0.05 * 0.6915 + 0.1 * 0.3521, abs=1e-4)
    # Half a grey level more at either end is rounded to it.
    assert synthetic.clipped_share(images[masks == 1]) == pytest.approx(0.508, abs=0.005)
    assert synthetic.clipped_share(images[masks == 0]) == pytest.approx(0.316, abs=0.005)


def test_no_noise():
    images, masks = drawn(SPEC | {"noise": {"mask_sd": 0, "background_sd": 0}})
    np.testing.assert_array_equal(images, np.where(masks, 153, 76))


def test_clipped_share_counts_both_ends():
    assert synthetic.clipped_share(np.array([[0, 255, 1, 254], [0, 128, 127, 2]], np.uint8)) == 3 / 8


def test_entropy_tells_parts_apart():
    parts = [("a", "b"), ("ab",), ("a", 1), ("a", "1"), ("a1",), ("a", 1.5), ()]
    assert len({synthetic.entropy(*one) for one in parts}) == len(parts)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("threshold, foreground", {"threshold": 0.1}),
        ("threshold, foreground", {"foreground": None}),
        ("foreground_spread", {"foreground": None, "threshold": 0.1, "foreground_spread": 1}),
        ("foreground", {"foreground": 1.0}),
        ("foreground", {"foreground": 0}),
        ("means", {"means": [[0.1, 0.2, 0.3], 0.5]}),
        ("means", {"means": [1.2, 0.5]}),
        ("means", {"means": [0.2, -0.5]}),
        ("noise.mask_sd", {"noise": {"mask_sd": -0.1, "background_sd": 0.1}}),
        ("noise.background_sd", {"noise": {"mask_sd": 0.1, "background_sd": -0.1}}),
        ("perlin.scale", {"perlin": SPEC["perlin"] | {"scale": 0.05}}),
        ("perlin.octaves", {"perlin": SPEC["perlin"] | {"octaves": 0}}),
    ],
)
def test_faults_name_the_key(key, change):
    with pytest.raises(StudyError, match=key):
        drawn(SPEC | change)
