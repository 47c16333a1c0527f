"""The HDF5 files: splits, attributes, checksums, and what a damaged or half-written one does."""

import json

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from scripts.generate import generate
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network.inference import Inputs

SPEC = {
    "name": "0.30-0.70", "transform": "identity", "level": 0.0, "channels": 1, "size": [32, 32], "means": [0.3, 0.7],
    "images": {"adapt": 6, "test": 10}, "seed": 0, "noise": {"mask_sd": 0.05, "background_sd": 0.05},
    "perlin": {"octaves": 2, "persistence": 0.5, "lacunarity": 2.0, "scale": 16}, "foreground": 0.4,
}  # fmt: skip
SPLITS = ["adapt", "test"]


def targets(**changes) -> dict[str, dict]:
    brighter = SPEC | {"transform": "brightness", "level": 0.1}
    return {"0.30-0.70": SPEC | changes, "0.30-0.70@brightness=0.1": brighter | changes}


def test_family_holds_images_masks_and_what_made_them(tmp_path):
    generate(targets(), SPLITS, str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"0.30-0.70", "0.30-0.70@brightness=0.1"}
        plain, bright = file["0.30-0.70/test"], file["0.30-0.70@brightness=0.1/test"]
        assert plain["images"].shape == plain["masks"].shape == (10, 32, 32)
        assert plain["images"].dtype == plain["masks"].dtype == np.uint8
        assert set(np.unique(plain["masks"])) == {0, 1}
        assert np.array_equal(plain["masks"], bright["masks"])
        inside = plain["masks"][:] == 1
        assert plain["images"][:][inside].mean() / 255 == pytest.approx(0.3, abs=0.01)
        assert bright["images"][:][inside].mean() / 255 == pytest.approx(0.4, abs=0.01)
        assert json.loads(file["0.30-0.70"].attrs["domain"]) == SPEC
        assert 0 <= plain.attrs["clipped_share"] < 0.001
        assert plain["images"].fletcher32 and plain["images"].chunks


def test_clipped_share_is_recorded(tmp_path):
    spec = {"a": SPEC | {"transform": "brightness", "level": 0.4}}
    generate(spec, ["test"], str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        background = 1 - file["a/test/masks"][:].mean()
        assert file["a/test"].attrs["clipped_share"] == pytest.approx(background, abs=0.05)


def test_a_transform_of_the_drawing_is_done_once_and_recorded_as_a_transform(tmp_path):
    spec = SPEC | {"transform": "foreground", "level": 1.0}
    generate({"a": SPEC, "b": spec}, ["test"], str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        before, after = file["a/test/masks"][:], file["b/test/masks"][:]
        assert json.loads(file["b"].attrs["domain"]) == spec
    assert np.all(after >= before) and after.mean() - before.mean() > 0.1


def test_same_images_whatever_else_is_in_the_grid(tmp_path):
    generate(targets(), SPLITS, str(tmp_path / "a.h5"), at_top=False, workers=1)
    generate({"0.30-0.70": SPEC}, ["test"], str(tmp_path / "b.h5"), at_top=True, workers=2)
    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5") as other:
        assert np.array_equal(one["0.30-0.70/test/images"], other["test/images"])


def test_splits_differ(tmp_path):
    generate({"a": SPEC}, SPLITS, str(tmp_path / "a.h5"), at_top=True, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert not np.array_equal(file["adapt/masks"][:6], file["test/masks"][:6])


def test_rgb_domain(tmp_path):
    spec = SPEC | {"channels": 3, "means": [[0.8, 0.2, 0.4], [0.2, 0.2, 0.9]]}
    generate({"a": spec}, ["test"], str(tmp_path / "a.h5"), at_top=True, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        inside = file["test/masks"][:] == 1
        assert file["test/images"][:][inside].mean(0) / 255 == pytest.approx([0.8, 0.2, 0.4], abs=0.01)


@pytest.mark.parametrize(("labelled", "tested"), [(True, [16, 17, 18, 19]), (False, list(range(20)))])
def test_a_user_domain_with_and_without_masks(tmp_path, labelled, tested):
    """Without masks nothing is kept aside: all images are predicted."""
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = np.arange(20, dtype=np.uint8).repeat(12 * 8).reshape(20, 12, 8)
        if labelled:
            file["masks"] = np.tile(np.eye(12, 8, dtype=np.uint8), (20, 1, 1))
    spec = {
        "name": "mine",
        "transform": "identity",
        "level": 0.0,
        "channels": 1,
        "path": str(tmp_path / "mine.h5"),
    }
    spec["split"] = {"train": 0.6, "validation": 0.1, "adapt": 0.1, "test": 0.2}
    generate({"mine": spec}, SPLITS, str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["mine/test/images"][:, 0, 0]) == tested
        assert ("masks" in file["mine/test"]) == labelled


def test_a_transform_draws_other_noise_for_every_split_and_domain(tmp_path):
    """Grey images without noise of their own: what is left is the noise of the transform."""
    still = {"means": [0.5, 0.5], "noise": {"mask_sd": 0, "background_sd": 0}, "transform": "noise", "level": 0.1}
    specs = {name: SPEC | still | {"name": name} for name in ("a", "b")}
    generate(specs, SPLITS, str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        parts = [file[f"{name}/{split}/images"][:6] for name in specs for split in SPLITS]
    for number, one in enumerate(parts):
        assert one.std() > 20 and all((one == other).mean() < 0.05 for other in parts[:number])


def test_a_transformed_domain_keeps_the_draw_of_its_base(tmp_path):
    """Masks and noise: brightness adds to each grey level, and nothing is clipped here."""
    generate(targets(), SPLITS, str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        for split in SPLITS:
            plain, bright = file[f"0.30-0.70/{split}"], file[f"0.30-0.70@brightness=0.1/{split}"]
            assert np.array_equal(plain["masks"], bright["masks"])
            assert set(np.unique(bright["images"][...].astype(int) - plain["images"][...])) <= {25, 26}


@pytest.mark.parametrize("transform", ["identity", "noise"])
def test_every_seed_draws_images_of_its_own(tmp_path, transform):
    """Masks, noise, and the noise of a transform: of grey images without noise of their own that alone is left."""
    still = {"means": [0.5, 0.5], "noise": {"mask_sd": 0, "background_sd": 0}, "level": 0.1}
    spec = SPEC | {"transform": transform} | (still if transform == "noise" else {})
    parts = []
    for seed in (0, 1):
        path = str(tmp_path / f"{seed}.h5")
        generate({"a": spec | {"seed": seed}}, SPLITS, path, at_top=True, workers=1)
        with h5py.File(path) as file:
            parts.append((file["test/images"][...], file["test/masks"][...]))
    (images, masks), (others, other_masks) = parts
    assert not (masks == other_masks).all(axis=(1, 2)).any()
    assert (images == others).mean() < 0.05


def test_domains_of_equal_masks_and_means_have_other_noise(tmp_path):
    shared = {name: SPEC | {"name": name, "masks": "shared"} for name in "ab"}
    generate(shared, SPLITS, str(tmp_path / "a.h5"), at_top=False, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        for split in SPLITS:
            one, other = file[f"a/{split}"], file[f"b/{split}"]
            assert np.array_equal(one["masks"], other["masks"])
            assert (one["images"][...] == other["images"][...]).mean() < 0.05


def test_the_clipped_share_weighs_every_block_by_its_pixels(tmp_path):
    """A folder of two sizes: 4 black pixels and 12 grey ones."""
    (tmp_path / "images").mkdir()
    for name, size, level in (("a", (2, 2), 0), ("b", (3, 4), 100)):
        Image.fromarray(np.full(size, level, np.uint8)).save(tmp_path / "images" / f"{name}.png")
    spec = {"name": "mine", "transform": "identity", "level": 0.0, "channels": 1, "path": str(tmp_path)}
    generate({"mine": spec | {"split": {"test": 1.0}}}, ["test"], str(tmp_path / "a.h5"), at_top=True, workers=1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["test"].attrs["clipped_share"] == 4 / 16


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(ValueError, match="stop"), store.create(tmp_path / "a.h5") as file:
        file["x"] = 1
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "missing"])
def test_a_damaged_file_is_named(damage, tmp_path):
    path = tmp_path / "a.h5"
    generate({"a": SPEC}, ["test"], str(path), at_top=True, workers=1)
    with h5py.File(path) as file:
        offset = file["test/images"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 50] ^= 1
    damaged = {"truncated": content[: len(content) // 2], "flipped": content, "empty": b"", "text": b"images"}
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    with pytest.raises(StudyError, match=r"a\.h5: .*again"), store.read(path) as file:
        list(store.batches(file["test"], 1000))


def test_missing_dataset_is_named(tmp_path):
    with store.create(tmp_path / "a.h5") as file:
        file.create_group("test")
    with (
        pytest.raises(StudyError, match=r"a\.h5: no dataset 'images' in /test"),
        store.read(tmp_path / "a.h5") as file,
    ):
        store.stacks(file["test"])


def test_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")

    monkeypatch.setattr(store, "append", full)
    with pytest.raises(StudyError, match=r"a\.h5: no space left on the disk; free some and run again"):
        generate({"a": SPEC}, ["test"], str(tmp_path / "a.h5"), at_top=True, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_batches_weigh_images_alike(tmp_path):
    generate({"a": SPEC}, ["test"], str(tmp_path / "a.h5"), at_top=True, workers=1)
    with store.read(tmp_path / "a.h5") as file:
        sizes = [len(images) for images, _ in store.batches(file["test"], 4 * 32 * 32)]
        images = np.concatenate(list(store.image_batches(file["test"], 4 * 32 * 32)))
        assert sizes == [3, 3, 4] and np.array_equal(images, file["test/images"][:])


@pytest.fixture
def two_sizes(tmp_path):
    """A split of two stacks, 7 images of one size and 4 of another, each image of the grey level of its number."""
    with h5py.File(tmp_path / "sizes.h5", "w") as file:
        split = file.create_group("adapt")
        for size, numbers in ((4, range(7)), (6, range(7, 11))):
            store.append(split, np.stack([np.full((size, size), number, np.uint8) for number in numbers]), None)
        yield split


def numbers_of(batches) -> list[int]:
    return [int(number) for images in batches for number in images[:, 0, 0]]


def test_drawn_numbers_count_through_all_sizes(two_sizes):
    for chosen in ([0, 3, 6], [7], [2, 6, 7, 10], list(range(11))):
        assert numbers_of(store.image_batches(two_sizes, 40, chosen=np.array(chosen))) == chosen
    drawn = Inputs(two_sizes, torch.device("cpu"), 1).draw(5, seed=0)
    assert [
        round(255 * number) for tile in drawn for number in tile.images[:, 0, 0, 0].tolist()
    ] == drawn.chosen.tolist()
    assert drawn.count == 5
    assert Inputs(two_sizes, torch.device("cpu"), 1).draw(99, seed=0).chosen.tolist() == list(range(11))


def test_batches_leave_no_image(two_sizes):
    for pixels in (16, 40, 1000):
        assert numbers_of(store.image_batches(two_sizes, pixels)) == list(range(11))


@pytest.mark.parametrize(
    ("at_most", "sizes"), [(1, [1] * 11), (2, [2, 2, 2, 1, 2, 2]), (3, [3, 3, 1, 3, 1]), (4, [4, 3, 4]), (9, [7, 4])]
)
def test_batches_hold_so_many_images_however_few_pixels_pass_at_once(two_sizes, at_most, sizes):
    assert [len(images) for images, _ in store.batches(two_sizes, 16, at_most)] == sizes
