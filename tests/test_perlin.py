"""Equality with noise.pnoise2, the reference."""

import noise
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftgain.domains import perlin
from shiftgain.files.errors import StudyError


def reference(origins, shape, *, scale, octaves=1, persistence=0.5, lacunarity=2.0, base=0):
    """The same by a loop over pixels."""
    rows, columns = shape
    bases = np.broadcast_to(base, len(origins))
    return np.array(
        [
            [
                [
                    noise.pnoise2(x + c / scale, y + r / scale, octaves, persistence, lacunarity, base=int(one))
                    for c in range(columns)
                ]
                for r in range(rows)
            ]
            for (x, y), one in zip(origins, bases, strict=True)
        ]
    ).reshape(len(origins), rows, columns)


def inside_table(origins, shape, *, scale, octaves=1, lacunarity=2.0, base=0, **_):
    """Where pnoise2 stays within its table of 512: the sum of hash, lattice line and base is below."""
    rows, columns = shape
    inside = np.ones((len(origins), rows, columns), bool)
    bases = np.broadcast_to(base, len(origins))[:, None]
    frequency = np.float32(1)
    for _ in range(octaves):
        x, y = (
            np.floor((start[:, None] + np.arange(count) / scale).astype(np.float32) * frequency).astype(int)
            for start, count in zip(np.asarray(origins).T, (columns, rows), strict=True)
        )
        hashes = np.maximum(*(np.tile(perlin.PERMUTATION, 2)[(x + step & 255) + bases] for step in (0, 1)))
        lines = np.maximum(y & 255, y + 1 & 255) + bases
        inside &= hashes[:, None, :].astype(int) + lines[:, :, None] < 512
        frequency *= np.float32(lacunarity)
    return inside


OPTIONS = st.fixed_dictionaries(
    {
        "scale": st.sampled_from([1, 7.3, 24, 32, 100]) | st.floats(0.3, 200),
        "octaves": st.integers(1, 6),
        "persistence": st.sampled_from([0.5, 0.0, 1.0]) | st.floats(0, 2),
        "lacunarity": st.sampled_from([1.0, 1.7, 2.0, 2.3, 3.1]) | st.floats(1, 4),
        "base": st.integers(0, 1),
    }
)
# 40 pixels at the least scale, 0.3, reach 130 cells from an origin.
COORDINATE = st.floats(-890, 890) | st.integers(-890, 890).map(float)


@settings(max_examples=300, deadline=None)
@given(
    origins=st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=3),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    options=OPTIONS,
)
def test_equals_pnoise2(origins, shape, options):
    found = perlin.fields(np.array(origins), shape, **options)
    assert found.shape == (len(origins), *shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(origins, shape, **options), rtol=0, atol=1e-6)


@pytest.mark.parametrize("octaves", range(1, 7))
@pytest.mark.parametrize("lacunarity", [1.7, 2.0, 2.3, 3.1])
@pytest.mark.parametrize("scale", [7.3, 24])
def test_equals_pnoise2_in_every_corner_of_the_table(octaves, lacunarity, scale):
    origins = np.random.default_rng(octaves).uniform(0, 512, (12, 2))
    options = {"scale": scale, "octaves": octaves, "lacunarity": lacunarity, "persistence": 0.6}
    found = perlin.fields(origins, (33, 20), **options)
    np.testing.assert_allclose(found, reference(origins, (33, 20), **options), rtol=0, atol=1e-6)


def test_every_table_entry_counts():
    """These points meet every entry of the period: a wrong gradient anywhere shows."""
    cells = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2)[::7]
    found = perlin.fields(cells + np.array([0.3, 0.4]), (1, 1), scale=1)[:, 0, 0]
    expected = [noise.pnoise2(x + 0.3, y + 0.4) for x, y in cells.tolist()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    corners = perlin.HASHES[cells[:, 0]] + cells[:, 1]
    assert set(corners & 255) == set(range(256))


@pytest.mark.parametrize("name", ["CORNERS_X", "CORNERS_Y"])
def test_wrong_gradient_is_seen(monkeypatch, name):
    wrong = getattr(perlin, name).copy()
    wrong[77] += 1
    monkeypatch.setattr(perlin, name, wrong)
    with pytest.raises(AssertionError):
        test_every_table_entry_counts()


@settings(max_examples=150, deadline=None)
@given(
    origin=st.tuples(COORDINATE, COORDINATE),
    options=OPTIONS,
    bases=st.lists(st.integers(0, 255), min_size=1, max_size=4),
)
def test_equals_pnoise2_for_every_base_where_that_reads_its_table(origin, options, bases):
    origins = np.array([origin] * len(bases))
    options = options | {"base": np.array(bases)}
    inside = inside_table(origins, (9, 9), **options)
    difference = perlin.fields(origins, (9, 9), **options) - reference(origins, (9, 9), **options)
    np.testing.assert_allclose(difference[inside], 0, atol=1e-6)


def test_base_meets_the_table_often_enough():
    rng = np.random.default_rng(0)
    origins, bases = rng.uniform(0, 512, (200, 2)), rng.integers(0, 256, 200)
    options = {"scale": 3, "octaves": 2, "base": bases}
    inside = inside_table(origins, (6, 6), **options)
    assert 0.2 < inside.mean() < 0.8
    difference = perlin.fields(origins, (6, 6), **options) - reference(origins, (6, 6), **options)
    np.testing.assert_allclose(difference[inside], 0, atol=1e-6)
    assert len(set(bases[inside.any(axis=(1, 2))])) > 80


@pytest.mark.parametrize("base", [0, 1, 2, 37, 128, 255])
def test_base_offsets_every_octave(base):
    """What pnoise2 documents, also where its C reads past its table. Coordinates are exact in float32."""
    origins = np.random.default_rng(base).integers(0, 256 * 64, (4, 2)) / 64
    found = perlin.fields(origins, (24, 24), scale=32, octaves=3, persistence=0.5, base=base)
    moved = sum(
        0.5**octave * reference(origins * 2**octave + base, (24, 24), scale=32 / 2**octave) for octave in range(3)
    )
    np.testing.assert_allclose(found, moved / 1.75, rtol=0, atol=1e-6)


def test_fields_do_not_depend_on_each_other():
    origins = np.random.default_rng(0).uniform(0, 512, (40, 2))
    options = {"scale": 24, "octaves": 4, "lacunarity": 2.3}
    together = perlin.fields(origins, (100, 90), base=np.arange(40), **options)
    for number in (0, 17, 39):
        alone = perlin.fields(origins[number], (100, 90), base=number, **options)
        np.testing.assert_array_equal(together[number], alone[0])


def test_no_field_of_no_origin():
    assert perlin.fields(np.empty((0, 2)), (4, 5), scale=8).shape == (0, 4, 5)


@pytest.mark.parametrize(
    ("key", "options", "origin"),
    [
        ("octaves", {"octaves": 0}, 0),
        ("persistence", {"persistence": -0.1}, 0),
        ("lacunarity", {"lacunarity": 0.9}, 0),
        ("lacunarity", {"lacunarity": 20.0, "octaves": 10}, 0),
        ("lacunarity", {"lacunarity": 1e30, "octaves": 10}, 0),
        ("scale", {"scale": 0}, 0),
        ("scale", {"scale": 0.001}, 0),
        ("scale", {}, 1023),
        ("scale", {}, -1023),
        ("scale", {}, float("nan")),
        ("base", {"base": 256}, 0),
        ("base", {"base": -1}, 0),
    ],
)
def test_options_out_of_range_are_named(key, options, origin):
    with pytest.raises(StudyError, match=key):
        perlin.fields(np.array([[origin, 0.0]]), (8, 8), **({"scale": 8} | options))
