"""A user's own series: which images are trained on, adapted to and scored, and what is done again when files change."""

import fcntl
import os
import shutil
from copy import deepcopy
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from scripts.adapt import adapt
from scripts.advise import IMAGES as NUMBERS
from scripts.generate import generate
from scripts.tabulate import DOMAINS, readings
from scripts.train import train
from shiftgain.domains import identity, real
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.files.tables import read_csv, write_rows
from shiftgain.findings.verdicts import judge
from shiftgain.network import checkpoint
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs
from shiftgain.report import page
from shiftgain.report.cards import cards
from shiftgain.study.checks import study
from shiftgain.study.given import typed
from shiftgain.study.plan import Study
from tests.conftest import METHODS, MODEL, discs
from tests.test_readers import IMAGES, MASKS, folder, hdf5, save, study_config
from tests.test_study import DEFAULT

SHARES = DEFAULT["generate"]["split"]
OPTIONS = {
    **{"epochs": 2, "patience": 2, "batch": 2, "crop": None, "crops_per_image": 1, "images_per_epoch": None},
    "augmentation": "none",
    **{"learning_rate": 0.01, "weight_decay": 0, "batchnorm_momentum": 0.1, "precision": "float32"},
}


def series(path: Path, count: int, labelled: bool = True, seed: int = 0) -> dict:
    """The entry of a domain of ``count`` images of discs."""
    images, masks = discs(count, 16, seed)
    return {"path": str(hdf5(path, images=images, **({"masks": masks} if labelled else {})))}


def parts(count: int, split: dict = SHARES, labelled: bool = True) -> dict[str, list[int]]:
    seen = {"dtype": "uint8", "images": count, "has_masks": labelled}
    return real.parts("mine", {"path": "mine", "split": split}, seen)


def counts(count: int, *arguments, **more) -> dict[str, int]:
    return {part: len(numbers) for part, numbers in parts(count, *arguments, **more).items()}


def as_target(tmp_path: Path, **domains: dict) -> Study:
    """A study in which a synthetic source meets all ``domains``."""
    config = study_config(tmp_path, **domains)
    config["pairs"][0]["sources"] = ["0.30-0.70"]
    return study(config)


class TestTargets:
    def test_an_unlabelled_series_is_adapted_to_and_predicted_in_whole(self):
        assert parts(60, labelled=False) == {"adapt": [*range(60)], "test": [*range(60)]}

    def test_a_labelled_series_is_adapted_to_in_whole_but_for_its_test_images(self):
        found = parts(60)
        assert found["test"] == [*range(48, 60)]
        assert found["adapt"] == [*range(48)]
        assert found["train"] + found["validation"] == [*range(42)]

    def test_ranges_are_what_they_say(self):
        assert parts(60, {"test": [0, 20]}) == {"test": [*range(20)], "adapt": [*range(20, 60)]}
        assert parts(60, {"test": [0, 20], "adapt": [10, 30]})["adapt"] == [*range(10, 30)]
        assert parts(60, {"test": [0, 20]}, labelled=False) == {"adapt": [*range(60)], "test": [*range(20)]}

    def test_where_all_is_tested_all_is_adapted_to(self):
        assert parts(20, {"test": [0, 20]})["adapt"] == [*range(20)]
        assert parts(20, {"test": 1.0})["adapt"] == [*range(20)]

    def test_spread_over_the_series(self):
        found = parts(60, SHARES | {"layout": "spread"})
        assert {part: len(numbers) for part, numbers in found.items()} == counts(60)
        assert found["adapt"] == [number for number in range(60) if number not in found["test"]]
        gaps = np.diff(found["test"])
        assert gaps.min() >= 3 and gaps.max() <= 7
        scored = [number for part in ("train", "validation", "test") for number in found[part]]
        assert len(scored) == len(set(scored))

    def test_a_layout_alone_leaves_the_shares_of_the_study(self, tmp_path):
        mine = series(tmp_path / "a.h5", 20) | {"split": {"layout": "spread"}}
        spec = as_target(tmp_path, mine=mine).specs(["mine"], [])["mine"]
        assert spec["split"] == SHARES | {"layout": "spread"}

    @pytest.mark.parametrize("labelled", [True, False])
    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
    def test_short_series_are_targets(self, tmp_path, count, labelled):
        plan = as_target(tmp_path, mine=series(tmp_path / "a.h5", count, labelled))
        path = tmp_path / "targets.h5"
        generate(plan.specs(["mine"], ["adapt", "test"]), ["adapt", "test"], str(path), False, 1)
        with store.read(path) as file:
            found = {split: store.count(file[f"mine/{split}"]) for split in ("adapt", "test")}
        assert found == {"test": 1 if labelled else count, "adapt": max(1, count - labelled)}

    def test_a_series_of_some_images_without_masks_is_still_refused(self, tmp_path):
        path = folder(tmp_path / "a")
        (path / "masks" / "3.tif").unlink()
        with pytest.raises(StudyError, match=r"3\.tif: has no mask"):
            as_target(tmp_path, mine={"path": str(path)})


class TestSources:
    @pytest.mark.parametrize("count", [4, 5, 6, 7, 9, 10, 11, 13, 14])
    def test_short_series_train(self, tmp_path, count):
        plan = study(study_config(tmp_path, mine=series(tmp_path / "a.h5", count)))
        path = tmp_path / "data.h5"
        splits = ["train", "validation", "adapt", "test"]
        generate(plan.specs(["mine"], splits), splits, str(path), True, 1)
        with store.read(path) as file:
            found = {split: store.count(file[split]) for split in splits}
        assert min(found.values()) >= 1
        assert found["adapt"] == count - found["test"]
        assert found["train"] == max(found[part] for part in ("train", "validation", "test"))

    @pytest.mark.parametrize("count", [1, 2])
    def test_too_short_ones_are_refused_before_any_job(self, tmp_path, count):
        config = study_config(tmp_path, mine=series(tmp_path / "a.h5", count))
        message = rf"config key generate\.split, for domain mine: {count} images leave none for '\w+', .*; add images"
        with pytest.raises(StudyError, match=message):
            study(config)

    @pytest.mark.parametrize("part", ["train", "validation", "test"])
    def test_a_split_that_training_needs_is_asked_for(self, tmp_path, part):
        split = {"train": [0, 5], "validation": [5, 6], "test": [7, 9]}
        del split[part]
        mine = series(tmp_path / "a.h5", 10) | {"split": split}
        with pytest.raises(StudyError, match=rf"^config key domains\.mine\.split: no '{part}', which .*; add it"):
            study(study_config(tmp_path, mine=mine))

    def test_a_target_needs_no_more_than_test(self, tmp_path):
        mine = series(tmp_path / "a.h5", 20) | {"split": {"test": [0, 20]}}
        as_target(tmp_path, mine=mine)
        with pytest.raises(StudyError, match=r"domains\.mine\.split: no 'test', which a target needs"):
            as_target(tmp_path, mine=mine | {"split": {"train": [0, 3]}})

    def test_a_baseline_that_judges_by_target_labels_needs_a_validation_split(self, tmp_path):
        config = study_config(
            tmp_path, source=series(tmp_path / "a.h5", 20), mine=series(tmp_path / "b.h5", 20, seed=1)
        )
        config["domains"]["mine"]["split"] = {"test": [0, 5]}
        config["baselines"] = config["baselines"] | {"oracle": {"function": "ynet", "selection": "target_oracle"}}
        config["pairs"][0]["methods"] = ["batchnorm", "oracle"]
        with pytest.raises(StudyError, match=r"domains\.mine\.split: no 'validation', which baseline oracle needs"):
            study(config)
        config["domains"]["mine"] = series(tmp_path / "c.h5", 20, labelled=False, seed=1)
        with pytest.raises(StudyError, match=r"'mine' has no masks, by which baseline oracle chooses"):
            study(config)

    def test_ranges_over_the_shares_of_the_study_name_both_places(self, tmp_path):
        config = study_config(tmp_path, mine=series(tmp_path / "a.h5", 20))
        config["generate"]["split"] = SHARES | {"test": [0, 20], "adapt": [0, 20]}
        with pytest.raises(StudyError, match=r"^config key generate\.split: .*config\.yaml.*domains\.NAME\.split"):
            study(config)


class TestOneFolderUnderTwoNames:
    OLD = {"train": [0, 12], "validation": [12, 14], "test": [14, 20]}

    @pytest.mark.parametrize("how", ["same", "link", "copy", "part", "renamed", "pictures", "rows"])
    def test_tested_on_what_is_trained_on_is_refused(self, tmp_path, how):
        masks, images = np.concatenate([MASKS] * 2), np.concatenate([IMAGES, 255 - IMAGES])
        old = folder(tmp_path / "old", masks, images)
        new = old if how == "same" else tmp_path / "new"
        if how == "renamed":
            for number in range(20):
                save(new / "images" / f"b{19 - number:02d}.tif", images[number], compression="zlib")
                save(new / "masks" / f"b{19 - number:02d}.tif", masks[number])
        if how == "pictures":
            folder(new, masks, images, suffix=".png")
        if how == "rows":
            new = hdf5(tmp_path / "new.h5", images=images.astype(np.uint16), masks=masks)
        if how == "link":
            new.symlink_to(old)
        if how in ("copy", "part"):
            shutil.copytree(old, new)
        if how == "part":
            for number in range(12, 20):
                (new / "images" / f"{number}.tif").unlink()
                (new / "masks" / f"{number}.tif").unlink()
        split = {"test": [8, 20] if how == "renamed" else [0, 12]}
        config = study_config(
            tmp_path, old={"path": str(old), "split": self.OLD}, new={"path": str(new), "split": split}
        )
        with pytest.raises(StudyError, match=r"^domains 'old' and 'new' hold the same images: 12 of the 12 "):
            study(config)

    def test_one_file_and_a_single_image_are_enough(self, tmp_path):
        entry = series(tmp_path / "a.h5", 20)
        domains = {"old": entry | {"split": self.OLD}, "new": entry | {"split": {"test": [13, 20]}}}
        with pytest.raises(StudyError, match=r"'old' and 'new' hold the same images: 1 of the 7 "):
            study(study_config(tmp_path, **domains))

    @pytest.mark.parametrize("copied", [False, True])
    def test_kept_apart_they_pass_and_the_network_adapts_to_none_that_it_saw(self, tmp_path, copied):
        old = new = series(tmp_path / "a.h5", 20)
        if copied:
            images, masks = discs(20, 16, 0)
            new = {"path": str(folder(tmp_path / "b", masks, images, suffix=".png"))}
        domains = {"old": old | {"split": self.OLD}, "new": new | {"split": {"test": [14, 20], "adapt": [10, 20]}}}
        plan = study(study_config(tmp_path, **domains))
        generate(plan.specs(["new"], ["adapt"]), ["adapt"], str(tmp_path / "t.h5"), False, 1)
        with store.read(tmp_path / "t.h5") as file:
            np.testing.assert_array_equal(store.unseen(file["new/adapt"], "old"), np.arange(4, 10))

    @pytest.mark.parametrize("colour", [0, 200])
    def test_blank_images_in_two_series_are_no_copies_and_a_single_other_one_is(self, tmp_path, colour):
        """Image 0 is trained on, 8 and 9 are tested."""
        own = np.roll(IMAGES, 7, axis=2)
        both = {"a": IMAGES.copy(), "b": own.copy()}
        for images in both.values():
            images[[0, 8, 9]] = colour
        domains = {name: {"path": str(folder(tmp_path / name, images=images))} for name, images in both.items()}
        study(study_config(tmp_path, **domains))
        save(tmp_path / "b" / "images" / "9.tif", IMAGES[5], description="the same pixels in another file")
        with pytest.raises(StudyError, match=r"^domains 'a' and 'b' .*: 1 of the 2 .* is tested, number 9 the first"):
            study(study_config(tmp_path, **domains))

    def test_images_are_decoded_where_another_domain_has_their_size_and_once(self, tmp_path, monkeypatch):
        decoded = []
        words = identity.words
        monkeypatch.setattr(identity, "words", lambda name, spec: decoded.append(name) or words(name, spec))
        one = {"path": str(folder(tmp_path / "one"))}
        small = series(tmp_path / "small.h5", 20)
        study(study_config(tmp_path, one=one, small=small))
        assert not decoded
        two = {"path": str(folder(tmp_path / "two", images=255 - IMAGES))}
        for _ in range(2):
            study(study_config(tmp_path, one=one, small=small, two=two))
        assert decoded == ["one", "two"]


def test_a_copy_has_the_same_pixels_in_whatever_they_are_stored(tmp_path):
    grey = IMAGES[:4]
    copies = {
        "types": hdf5(tmp_path / "a.h5", images=grey.astype(">i4")),
        "colours": folder(tmp_path / "b", None, np.repeat(grey[..., np.newaxis], 3, axis=-1), suffix=".png"),
        "stack": save(tmp_path / "c.tif", grey),
    }
    others = {
        "part": hdf5(tmp_path / "d.h5", images=grey[:, 1:]),
        "shape": hdf5(tmp_path / "e.h5", images=grey.reshape(4, 32, 128)),
        "negative": hdf5(tmp_path / "f.h5", images=255 - grey),
        "order": hdf5(tmp_path / "g.h5", images=grey[::-1]),
    }
    found = {
        name: identity.words("mine", {"path": str(path), "channels": 1})["words"]
        for name, path in (copies | others).items()
    }
    assert found["types"] == found["colours"] == found["stack"] == found["order"][::-1]
    assert len({word for words in found.values() for word in words}) == 16
    flat = hdf5(tmp_path / "h.h5", images=np.full((2, 64, 64, 3), (1, 2, 3), np.uint8))
    assert identity.words("mine", {"path": str(flat), "channels": 1}) == {"words": [None, None]}


class TestUnseen:
    @pytest.fixture
    def plan(self, tmp_path) -> Study:
        return study(study_config(tmp_path, mine=series(tmp_path / "a.h5", 20)))

    def test_at_home_images_that_were_trained_on_are_left_out(self, tmp_path, plan, network):
        """Of 20: 12 trained on, 2 validated on, 4 tested; also under a transform, and in the batches of a baseline."""
        path, names = tmp_path / "targets.h5", ["mine", "mine@brightness=0.2"]
        generate(plan.specs(names, ["adapt", "test"]), ["adapt", "test"], str(path), False, 1)
        with store.read(path) as file:
            for name in names:
                split = file[f"{name}/adapt"]
                assert store.count(split) == 16
                np.testing.assert_array_equal(store.unseen(split, "mine"), [14, 15])
                assert store.unseen(split, "0.30-0.70") is None
                own = Inputs(split, torch.device("cpu"), 2, chosen=store.unseen(split, "mine"))
                assert (own.count, own.draw(5, 0).count) == (2, 2)
                images = TrainingImages(split, 2, labelled=False, chosen=store.unseen(split, "mine"))
                (batch,) = next(images.epoch(np.random.default_rng(0)))
                assert images.per_epoch == 2 and len(batch) == 2
        generate(plan.specs(["mine"], ["train"]), ["train"], str(tmp_path / "data.h5"), True, 1)
        checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
        paths = [str(tmp_path / "model.h5"), str(tmp_path / "data.h5"), str(path), str(tmp_path / "adapted.h5")]
        for home, count in (("mine", 2), ("other", 16)):
            adapt(*paths, METHODS, 0, "cpu", home)
            with store.read(tmp_path / "adapted.h5") as file:
                assert {store.get_json(file[name]["batchnorm"], "n_target_images") for name in names} == {count}

    def test_numbers_follow_the_file_where_sizes_differ(self, tmp_path):
        """Images of two sizes in turn lie in two stacks: 4 of one, 4 of the other."""
        for number in range(10):
            side = 64 - 8 * (number % 2)
            save(tmp_path / "a/images" / f"{number}.png", IMAGES[number, :side])
            save(tmp_path / "a/masks" / f"{number}.png", MASKS[number, :side])
        split = {"train": [0, 5], "validation": [5, 6], "test": [8, 10]}
        plan = study(study_config(tmp_path, mine={"path": str(tmp_path / "a"), "split": split}))
        generate(plan.specs(["mine"], ["adapt"]), ["adapt"], str(tmp_path / "t.h5"), True, 1)
        with store.read(tmp_path / "t.h5") as file:
            chosen = store.unseen(file["adapt"], "mine")
            images = [image for batch in store.image_batches(file["adapt"], 2**20, chosen=chosen) for image in batch]
        assert [image.shape[0] for image in images] == [64, 56]
        np.testing.assert_array_equal(images[0], IMAGES[6])
        np.testing.assert_array_equal(images[1], IMAGES[7, :56])

    def test_where_all_were_trained_on_all_are_taken(self, tmp_path):
        mine = series(tmp_path / "a.h5", 10) | {"split": {"train": [0, 6], "validation": [6, 8], "test": [8, 10]}}
        plan = study(study_config(tmp_path, mine=mine))
        generate(plan.specs(["mine"], ["adapt"]), ["adapt"], str(tmp_path / "t.h5"), True, 1)
        with store.read(tmp_path / "t.h5") as file:
            assert store.count(file["adapt"]) == 8 and store.unseen(file["adapt"], "mine") is None

    def test_a_large_split_is_read_in_runs_of_chosen_images(self, tmp_path, plan):
        generate(plan.specs(["mine"], ["adapt"]), ["adapt"], str(tmp_path / "t.h5"), True, 1)
        with store.read(tmp_path / "t.h5") as file:
            wanted = {file["adapt/images"][number].tobytes() for number in (3, 14)}
            images = TrainingImages(file["adapt"], 1, window_bytes=1, labelled=False, chosen=np.array([3, 14]))
            found = [batch for (batch,) in images.epoch(np.random.default_rng(0))]
        turned = {np.rot90(each, k).tobytes() for batch in found for each in batch.numpy() for k in range(4)}
        assert len(found) == 2
        flipped = {np.rot90(each[:, ::-1], k).tobytes() for batch in found for each in batch.numpy() for k in range(4)}
        assert wanted <= turned | flipped


def params(plan: Study) -> dict:
    """What rules generate and generate_targets are rerun by."""
    splits = ["train", "validation", "adapt", "test"]
    family = next(iter(plan.families))
    return deepcopy({"data": plan.specs(["mine"], splits), "targets": plan.targets(family, splits[2:], "files")})


class TestIdentity:
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        return folder(tmp_path / "a")

    def changed(self, tmp_path: Path, path: Path, change) -> tuple[dict, dict]:
        """What data and targets are made of, before and after ``change``."""
        config = study_config(tmp_path, mine={"path": str(path)})
        before = params(study(config))
        change()
        return before, params(study(config))

    @pytest.mark.parametrize("what", ["pixels", "masks", "more", "fewer", "kept time"])
    def test_other_content_is_other_data_in_every_role(self, tmp_path, path, what):
        def change() -> None:
            image = path / "images" / "3.tif"
            about = image.stat()
            if what == "masks":
                save(path / "masks" / "3.tif", MASKS[4])
            elif what == "more":
                save(path / "images" / "99.tif", IMAGES[0])
                save(path / "masks" / "99.tif", MASKS[0])
            elif what == "fewer":
                image.unlink()
                (path / "masks" / "3.tif").unlink()
            else:
                save(image, IMAGES[4])
                if what == "kept time":
                    os.utime(image, ns=(about.st_atime_ns, about.st_mtime_ns))

        before, after = self.changed(tmp_path, path, change)
        assert before["data"] != after["data"] and before["targets"] != after["targets"]
        assert after["data"]["mine"]["digest"] == after["targets"]["mine"]["digest"]

    @pytest.mark.parametrize("what", ["nothing", "touched", "rewritten", "litter", "another file", "renamed", "moved"])
    def test_the_same_content_is_the_same_data(self, tmp_path, path, what):
        def change() -> None:
            image = path / "images" / "3.tif"
            if what == "touched":
                os.utime(image)
            elif what == "rewritten":
                image.write_bytes(image.read_bytes())
            elif what == "litter":
                (path / "images" / ".DS_Store").write_bytes(b"left")
            elif what == "another file":
                (path / "notes.txt").write_text("of the day")
            elif what == "renamed":
                image.rename(image.with_name("03.tif"))
                (path / "masks" / "3.tif").rename(path / "masks" / "03.tif")
            elif what == "moved":
                shutil.copytree(path, tmp_path / "b")
                shutil.rmtree(path)
                (tmp_path / "b").rename(path)

        before, after = self.changed(tmp_path, path, change)
        assert before == after

    def test_a_digest_is_taken_where_name_size_or_time_changed_alone(self, tmp_path, path, monkeypatch):
        config = study_config(tmp_path, mine={"path": str(path)})
        study(config)
        digests, looks = [], []
        digest, look = identity._digest, real.look
        monkeypatch.setattr(identity, "_digest", lambda file: digests.append(file) or digest(file))
        monkeypatch.setattr(real, "look", lambda *each: looks.append(each) or look(*each))
        study(config)
        assert not digests
        os.utime(path / "images" / "3.tif")
        study(config)
        assert digests and not looks

    def test_what_is_passed_over_is_told_anew(self, tmp_path, path):
        config = study_config(tmp_path, mine={"path": str(path)})
        assert study(config).passed_over == {"mine": {"passed_over": 0, "why": ""}}
        (path / "notes.txt").write_text("of the day")
        plan = study(config)
        assert plan.passed_over == {"mine": {"passed_over": 1, "why": "1: no reader for '.txt'"}}
        assert any(line.startswith("mine: passed over 1: no reader for '.txt': notes.txt") for line in plan.summary)

    def test_hdf5_and_a_stack_beside_its_masks(self, tmp_path):
        images, masks = discs(10, 16, 0)
        file, stack = hdf5(tmp_path / "a.h5", images=images, masks=masks), save(tmp_path / "s" / "cell.tif", images)
        beside = save(tmp_path / "s" / "cell_mask.tif", masks)
        changes = {
            file: lambda: hdf5(file, images=images, masks=masks[::-1]),
            stack: lambda: save(beside, masks[::-1]),
        }
        for path, change in changes.items():
            before, after = self.changed(tmp_path, path, change)
            assert before["data"] != after["data"]


class TestResuming:
    def stopped(self, tmp_path: Path, monkeypatch, masks: np.ndarray, width: int = 4) -> None:
        """A training that was killed after its first epoch."""
        self.write(tmp_path, masks)
        monkeypatch.setattr("shiftgain.network.training.stale", lambda curve: self.kill() if curve else 0)
        with pytest.raises(KeyboardInterrupt):
            self.train(tmp_path, width)
        monkeypatch.undo()
        assert (tmp_path / "model.resume.h5").exists()

    @staticmethod
    def kill() -> int:
        raise KeyboardInterrupt

    def write(self, tmp_path: Path, masks: np.ndarray) -> None:
        images, _ = discs(len(masks), 16, 0)
        entry = {"path": str(hdf5(tmp_path / "a.h5", images=images, masks=masks))}
        plan = study(study_config(tmp_path, mine=entry))
        splits = ["train", "validation", "adapt", "test"]
        generate(plan.specs(["mine"], splits), splits, str(tmp_path / "data.h5"), True, 1)

    def train(self, tmp_path: Path, width: int = 4, **options) -> None:
        paths = [str(tmp_path / name) for name in ("data.h5", "model.h5", "curve.csv")]
        train(*paths, MODEL | {"width": width}, OPTIONS | options, 0, "cpu")

    MASKS = discs(20, 16, 0)[1]

    def test_the_same_training_goes_on(self, tmp_path, monkeypatch, caplog):
        self.stopped(tmp_path, monkeypatch, self.MASKS)
        with caplog.at_level("INFO"):
            self.train(tmp_path)
        assert "resuming after epoch 1" in caplog.text

    def test_corrected_masks_start_afresh(self, tmp_path, monkeypatch, caplog):
        self.stopped(tmp_path, monkeypatch, 1 - self.MASKS)
        self.write(tmp_path, self.MASKS)
        with caplog.at_level("INFO"):
            self.train(tmp_path)
        assert "of other data: starting afresh" in caplog.text and "resuming" not in caplog.text
        monkeypatch.undo()
        expected = tmp_path / "expected"
        expected.mkdir()
        self.write(expected, self.MASKS)
        self.train(expected)
        found, fresh = (
            checkpoint.load(folder / "model.h5", torch.device("cpu")).state_dict() for folder in (tmp_path, expected)
        )
        assert all(torch.equal(found[name], fresh[name]) for name in fresh)

    def test_another_width_starts_afresh(self, tmp_path, monkeypatch, caplog):
        self.stopped(tmp_path, monkeypatch, self.MASKS)
        with caplog.at_level("INFO"):
            self.train(tmp_path, width=6)
        assert "of other model: starting afresh" in caplog.text

    def test_other_options_start_afresh(self, tmp_path, monkeypatch, caplog):
        self.stopped(tmp_path, monkeypatch, self.MASKS)
        with caplog.at_level("INFO"):
            self.train(tmp_path, learning_rate=0.002)
        assert "of other options: starting afresh" in caplog.text


class TestTables:
    def test_a_row_for_each_real_domain_and_split(self, tmp_path):
        path = folder(tmp_path / "a")
        (path / "notes.txt").write_text("of the day")
        plan = study(study_config(tmp_path, mine={"path": str(path)}, NA=series(tmp_path / "b.h5", 5, labelled=False)))
        splits, family = ["train", "validation", "adapt", "test"], next(iter(plan.families))
        assert plan.read_data == ["mine/files"] and plan.read_images == [f"{family}/files"]
        generate(plan.specs(["mine"], splits), splits, str(tmp_path / "data.h5"), True, 1)
        generate(plan.targets(family, splits[2:], "files"), splits[2:], str(tmp_path / "targets.h5"), False, 1)
        table = readings([str(tmp_path / "data.h5")], [str(tmp_path / "targets.h5")], plan.passed_over)
        assert list(table) == DOMAINS
        sizes = dict(zip(zip(table["domain"], table["split"], strict=True), table["images"], strict=True))
        expected = {("mine", "train"): 6, ("mine", "validation"): 1, ("mine", "adapt"): 8, ("mine", "test"): 2}
        assert sizes == expected | {("NA", "adapt"): 5, ("NA", "test"): 5}
        row = table[(table["domain"] == "mine") & (table["split"] == "test")].iloc[0]
        assert (row["series"], row["passed_over"], row["why"]) == (10, 1, "1: no reader for '.txt'")
        assert row["foreground_share"] == pytest.approx(MASKS[8:].mean())
        text = page.readings(table)
        assert "train 6, validation 1, adapt 8, test 2" in text and "1 (1: no reader for" in text
        assert "foreground is [1], background is [0]" in text and "<td>NA</td>" in text

    def test_a_synthetic_study_has_the_header_alone(self, tmp_path):
        table = readings([], [], {})
        assert list(table) == DOMAINS and not len(table)
        assert page.readings(table) == ""

    def test_a_domain_called_na_stays_one(self, tmp_path):
        rows = [{"source": name, "target": name, "iou": np.nan, "status": ""} for name in ("NA", "null", "nan", "1e3")]
        write_rows(rows, tmp_path / "a.csv")
        table = read_csv(tmp_path / "a.csv")
        assert table["source"].tolist() == table["target"].tolist() == ["NA", "null", "nan", "1e3"]
        assert table["iou"].isna().all() and table["status"].isna().all()

    def test_no_hypotheses_is_a_table_with_a_header(self, tmp_path):
        write_rows([], tmp_path / "nothing.csv")
        table = judge(None, {})
        table.to_csv(tmp_path / "hypotheses.csv", index=False)
        assert {"hypothesis", "verdict", "value"} <= set(read_csv(tmp_path / "hypotheses.csv"))

    def test_cards_say_how_many_images(self):
        row = {
            "source": "a",
            "transform": "identity",
            "level": 0.0,
            "seed": 0,
            "decision": "keep",
            "action": "batchnorm",
        }
        row |= dict.fromkeys(["expected_before", "expected_after", "gain", "gain_low", "gain_high"], 0.1)
        row |= {"drivers": "", "warning": ""}
        rows = [row | {"target": "b"} | dict(zip(NUMBERS, (60, 60), strict=True))]
        rows += [row | {"target": "c"} | dict(zip(NUMBERS, (1, 12), strict=True))]
        found = {card["target"]: card["images"] for card in cards(page.pd.DataFrame(rows), ["b"])}
        assert found["b"] == "adapted to 60 images, predicted for 60 images without masks"
        assert found["c"] == "adapted to 1 image, scored on 12 images"


def test_a_file_is_read_where_it_cannot_be_locked(tmp_path):
    """As on a file system without locks, HDF5 gets none on a file that another process has locked."""
    with store.create(tmp_path / "a.h5") as file:
        store.put(file, "a", np.arange(3))
    with (tmp_path / "a.h5").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="lock"):
            h5py.File(tmp_path / "a.h5", "r", locking=True)
        with store.read(tmp_path / "a.h5") as file:
            assert file["a"][:].tolist() == [0, 1, 2]


def test_arguments_in_lists_and_mappings_are_typed():
    given = {"seeds": ["0", "1"], "train": {"epochs": "2", "crop": "null"}, "results": "1", "oracles": ["0.30-0.70"]}
    expected = {"seeds": [0, 1], "train": {"epochs": 2, "crop": None}, "results": "1", "oracles": ["0.30-0.70"]}
    assert typed(given) == expected


def test_home_is_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder(tmp_path / "nuclei")
    plan = study(study_config(tmp_path, **{"lab-a": {"path": "~/nuclei"}}))
    assert identity.stamp(plan.config["domains"]["lab-a"]) == identity.stamp({"path": str(tmp_path / "nuclei")})
