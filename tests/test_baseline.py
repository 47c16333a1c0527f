"""The baselines: their losses by hand, what trains, and the stage: it resumes, and a divergence stays in its cell."""

import math
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import h5py
import pandas as pd
import pytest
import torch
from torch.nn import functional

from scripts.baseline import baseline
from scripts.train import train
from shiftgain.adaptation import artefacts, baselines, cellseguda, selftraining, ynet
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import checkpoint, metrics, training
from shiftgain.network.inference import predict
from shiftgain.network.normalisation import norm_layers
from shiftgain.network.unet import UNet
from shiftgain.study.checks import study
from tests.conftest import MODEL, delete, write_domain
from tests.test_study import DEFAULT, changed

CPU = torch.device("cpu")
OPTIONS = {
    "epochs": 3, "patience": 9, "batch": 8, "crop": None, "learning_rate": 0.01, "weight_decay": 0,
    "batchnorm_momentum": 0.1, "precision": "float32", "crops_per_image": 1, "images_per_epoch": None,
    "augmentation": "none",
}  # fmt: skip
TERMS = {
    "ynet": ["segmentation", "reconstruction"],
    "cellseguda": ["segmentation", "adversarial", "reconstruction", "discriminator"],
    "selftraining": ["segmentation", "pseudo_label"],
}


def method(name: str, selection: str = "source_validation", **options) -> dict:
    """A baseline as the default config has it."""
    found = study(DEFAULT).baseline(name)
    return found | {"selection": selection, "options": found["options"] | options}


@pytest.fixture
def target_path(tmp_path):
    """A target of brighter discs, 32 x 32, of which 10 are unlabelled."""
    path = tmp_path / "bright.h5"
    with store.create(path) as file:
        splits = {"train": 4, "validation": 6, "adapt": 10, "test": 4}
        write_domain(file, splits, seed=1, size=32, foreground=0.9, background=0.5)
    return path


@pytest.fixture
def source_path(tmp_path):
    path = tmp_path / "discs.h5"
    with store.create(path) as file:
        write_domain(file, {"train": 16, "validation": 6, "adapt": 8, "test": 8}, size=32)
    return path


def run(folder, source_path, target_path, name="ynet", stem="model", chosen=None, **options):
    path = folder / f"{stem}.h5"
    baseline(
        str(source_path), str(target_path), str(path), str(path.with_suffix(".csv")),
        MODEL, chosen or method(name), OPTIONS | options, seed=3, device="cpu",
    )  # fmt: skip
    return path


def learner(name: str, **options) -> training.Learner:
    torch.manual_seed(0)
    network = training.fresh(MODEL, OPTIONS, CPU)
    return baselines.BASELINES[name](network, MODEL, OPTIONS, nullcontext(), **method(name)["options"] | options)


def batch(size: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source images, their masks, target images."""
    generator = torch.Generator().manual_seed(0)
    images, others = (torch.rand(4, 1, size, size, generator=generator) for _ in range(2))
    return images, (images > 0.5).float(), others


def moved(name: str, **options) -> tuple[training.Learner, dict, set[str]]:
    """A learner after one step, its losses, and the parts of it whose weights the step changed."""
    found = learner(name, **options)
    before = {key: tensor.clone() for key, tensor in found.parts.named_parameters()}
    losses = found.step(*batch())
    after = dict(found.parts.named_parameters())
    return found, losses, {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize(("name", "parts"), [
    ("ynet", {"network", "decoder"}),
    ("cellseguda", {"network", "discriminator", "rebuilder"}),
    ("selftraining", {"network", "teacher"}),
])  # fmt: skip
def test_every_part_trains_and_every_term_is_reported(name, parts):
    _, losses, changed_parts = moved(name)
    assert changed_parts == parts
    assert list(losses) == ["loss", *TERMS[name]] and not any(loss.requires_grad for loss in losses.values())


def test_every_baseline_is_tested():
    assert TERMS.keys() == baselines.BASELINES.keys()


def test_ynet_loss_is_the_weighted_sum():
    _, losses, _ = moved("ynet", reconstruction=0.25)
    assert losses["loss"].item() == pytest.approx((losses["segmentation"] + 0.25 * losses["reconstruction"]).item())


def test_ynet_reconstructs_both_domains_as_standardised():
    found = learner("ynet")
    images, masks, others = batch()
    found.network.input_mean.fill_(0.5)
    found.network.input_sd.fill_(0.25)
    for parameter in found.parts["decoder"].parameters():
        parameter.data.zero_()
    losses = found.step(images, masks, others)
    expected = sum((((part - 0.5) / 0.25) ** 2).mean() for part in (images, others))
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_reconstruction_ynet_is_the_source_training():
    """The same weights as supervised training: the target moves the encoder by its reconstruction only."""
    weights = []
    for name in ("ynet", "supervised"):
        torch.manual_seed(0)
        network = training.fresh(MODEL, OPTIONS, CPU)
        kind = (
            learner("ynet", reconstruction=0)
            if name == "ynet"
            else training.supervised(network, OPTIONS, nullcontext())
        )
        kind.step(*batch())
        weights.append(dict(kind.network.named_parameters()))
    torch.testing.assert_close(*weights)


def test_ynet_decoder_has_no_skips():
    decoder = ynet.Reconstruction(**MODEL)
    assert decoder(torch.rand(2, 16, 4, 4)).shape == (2, 1, 16, 16)


def test_cellseguda_loss_is_the_weighted_sum():
    _, losses, _ = moved("cellseguda", adversarial=0.5, reconstruction=0.25)
    expected = losses["segmentation"] + 0.5 * losses["adversarial"] + 0.25 * losses["reconstruction"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def fixed_discriminator(found: training.Learner, bias: float) -> None:
    """A discriminator that answers ``bias`` whatever it sees: positive is target."""
    for parameter in found.parts["discriminator"].parameters():
        parameter.data.zero_()
    found.parts["discriminator"].layers[-1].bias.data.fill_(bias)


@pytest.mark.parametrize("bias", [-2.0, 0.0, 2.0])
def test_label_sides(bias):
    """D is right about the source when it says 0, about the target when it says 1; S wants 0 for the target."""
    found = learner("cellseguda", learning_rate=1e-12)
    fixed_discriminator(found, bias)
    losses = found.step(*batch())
    probability = 1 / (1 + math.exp(-bias))
    of_source, of_target = -math.log(1 - probability), -math.log(probability)
    assert losses["discriminator"].item() == pytest.approx((of_source + of_target) / 2, rel=1e-5)
    assert losses["adversarial"].item() == pytest.approx(-math.log(1 - probability), rel=1e-5)


def test_discriminator_learns_source_0_target_1():
    discriminator = cellseguda.Discriminator(4)
    logits = discriminator(torch.zeros(2, 1, 64, 64))
    assert logits.shape == (2, 1, 2, 2)
    assert cellseguda.label_loss(torch.full((2, 1), 50.0), cellseguda.TARGET).item() == pytest.approx(0, abs=1e-6)
    assert cellseguda.label_loss(torch.full((2, 1), -50.0), cellseguda.SOURCE).item() == pytest.approx(0, abs=1e-6)


def test_the_discriminators_loss_does_not_move_the_segmenter():
    """Masks are detached: with the weights of its own terms at 0, only the source's labels move S."""
    alone = learner("cellseguda", adversarial=0, reconstruction=0)
    torch.manual_seed(0)
    plain = training.supervised(training.fresh(MODEL, OPTIONS, CPU), OPTIONS, nullcontext())
    for found in (alone, plain):
        found.step(*batch())
    torch.testing.assert_close(dict(alone.network.named_parameters()), dict(plain.network.named_parameters()))


def test_the_segmenters_step_does_not_move_the_discriminator():
    """S's adversarial gradient reaches D's parameters, but D's optimiser never steps on it."""
    found = [learner("cellseguda", adversarial=weight) for weight in (0.0, 100.0)]
    for one in found:
        one.step(*batch())
    torch.testing.assert_close(*(dict(one.parts["discriminator"].named_parameters()) for one in found))


def test_pseudo_labels_by_hand():
    logits = torch.tensor([[0.0, 2.0, -1.0, 3.0]])
    taught = torch.tensor([[0.95, 0.02, 0.6, 0.9]])
    expected = (math.log(2) + functional.softplus(torch.tensor(2.0)).item()) / 4
    assert selftraining.pseudo_label_loss(logits, taught, 0.9).item() == pytest.approx(expected, rel=1e-6)


def test_the_teacher_follows():
    found, _, _ = moved("selftraining", decay=0.75)
    before = dict(learner("selftraining").network.named_parameters())
    student, teacher = (dict(found.parts[part].named_parameters()) for part in ("network", "teacher"))
    for name in student:
        torch.testing.assert_close(teacher[name], 0.75 * before[name] + 0.25 * student[name])


@pytest.mark.parametrize("name", TERMS)
def test_the_stage_keeps_a_plain_unet_and_logs_every_term(tmp_path, source_path, target_path, name):
    path = run(tmp_path, source_path, target_path, name, epochs=2)
    assert checkpoint.load(path, CPU).state_dict().keys() == UNet(**MODEL).state_dict().keys()
    curve = pd.read_csv(path.with_suffix(".csv"))
    terms = ["loss", *TERMS[name]]
    assert list(curve) == ["epoch", *terms, "validation_iou", "learning_rate", "presented"]
    assert list(curve["epoch"]) == [1, 2]
    # 16 source images in 2 batches, and 2 batches of the 10 target images, each taken twice: 7, 7 and 6 to a batch.
    assert list(curve["presented"]) == [30, 30]
    about = checkpoint.about(path)
    assert about["n_target_images"] == 10 and about["image_presentations"] == 60
    assert about["selection"] == "source_validation" and about["status"] == ""
    assert not list(tmp_path.glob("*.resume.h5"))


@pytest.mark.parametrize("name", TERMS)
def test_same_seed_same_weights_and_no_mask_of_the_target(tmp_path, source_path, target_path, name):
    one = run(tmp_path, source_path, target_path, name, "one", epochs=2)
    with h5py.File(target_path, "a") as target:
        for split in target.values():
            del split["masks"]
    other = run(tmp_path, source_path, target_path, name, "other", epochs=2)
    torch.testing.assert_close(*(checkpoint.load(path, CPU).state_dict() for path in (one, other)), rtol=0, atol=0)


def test_sees_split_adapt_of_the_target_and_the_training_split_of_the_source(tmp_path, source_path, target_path):
    whole = checkpoint.load(run(tmp_path, source_path, target_path, epochs=1), CPU).state_dict()
    delete(source_path, "adapt", "test")
    delete(target_path, "train", "validation", "test", "adapt/masks")
    again = checkpoint.load(run(tmp_path, source_path, target_path, epochs=1), CPU).state_dict()
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    with h5py.File(source_path) as source:
        assert whole["input_mean"].item() == pytest.approx(source["train/images"][...].mean() / 255, rel=1e-5)


@pytest.mark.parametrize("change", ["none", "target", "method"])
def test_a_training_goes_on_only_from_its_own(tmp_path, source_path, target_path, change):
    def fit(reconstruction: float) -> list:
        torch.manual_seed(0)
        network = training.fresh(MODEL, OPTIONS, CPU)
        asked = method("ynet", reconstruction=reconstruction)
        with store.read(source_path) as source, store.read(target_path) as target:
            rest = (source, target, asked, OPTIONS | {"epochs": 1}, 3, CPU, tmp_path / "a.resume.h5", "a")
            return baselines.train(network, MODEL, *rest)

    before = fit(0.5)
    if change == "target":
        with h5py.File(target_path, "a") as domain:
            store.put_json(domain, "domain", {"name": "others", "transform": "identity", "level": 0.0})
            for split in domain.values():
                split["images"][...] = 255 - split["images"][...]
    after = fit(0.25 if change == "method" else 0.5)
    assert (after == before) == (change == "none")


def test_killed_training_resumes_to_the_same_weights(tmp_path, source_path, target_path):
    """Of the baseline with most to restore: three networks, three optimisers."""
    undisturbed = run(tmp_path, source_path, target_path, "cellseguda", "undisturbed", epochs=8)
    program = (
        "import sys; from pathlib import Path; from tests.test_baseline import run; "
        "run(Path(sys.argv[1]), sys.argv[2], sys.argv[3], 'cellseguda', 'killed', epochs=8)"
    )
    job = subprocess.Popen([sys.executable, "-c", program, *map(str, (tmp_path, source_path, target_path))])
    resume_path = tmp_path / "killed.resume.h5"
    while not resume_path.exists() and job.poll() is None:
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert resume_path.exists() and not (tmp_path / "killed.h5").exists()
    resumed = run(tmp_path, source_path, target_path, "cellseguda", "killed", epochs=8)
    states = [checkpoint.load(path, CPU).state_dict() for path in (undisturbed, resumed)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


class Flip(NamedTuple):
    """A source of bright discs, its network, IoU above 0.8, and a target of dark discs without masks to learn by."""

    source: Path
    target: Path
    model: Path


@pytest.fixture(scope="module")
def flip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flip")
    paths = Flip(*(folder / f"{name}.h5" for name in ("source", "target", "model")))
    with store.create(paths.source) as file:
        write_domain(file, {"train": 16, "validation": 6}, size=32)
    with store.create(paths.target) as file:
        write_domain(file, {"adapt": 10, "test": 10}, seed=1, size=32, foreground=0.3, background=0.7)
        del file["adapt/masks"]
    options = OPTIONS | {"epochs": 20, "patience": 20, "batch": 4}
    train(*map(str, (paths.source, paths.model, folder / "model.csv")), MODEL, options, seed=3, device="cpu")
    return paths


def from_turned(folder, flip, **options):
    """Self-training that starts from the network as method turned adapts it: where it is kept, and what that is."""
    start = study(DEFAULT).method("turned")
    path = folder / "started.h5"
    baseline(
        str(flip.source), str(flip.target), str(path), str(path.with_suffix(".csv")),
        MODEL, method("selftraining") | {"start": start}, OPTIONS | options,
        seed=3, device="cpu", start_path=str(flip.model),
    )  # fmt: skip
    return path


def turned_state(flip):
    """The network of the source, and what method turned changes of it."""
    network = checkpoint.load(flip.model, CPU)
    with store.read(flip.source) as source, store.read(flip.target) as target:
        methods = {"turned": study(DEFAULT).method("turned")}
        made = artefacts.adapter(network, source, 3, CPU)(target["adapt"], methods)["turned"]
    return network, made


def test_self_training_starts_from_the_remedied_network(tmp_path, flip):
    """At a rate of nothing it ends there too: weights of the source, statistics and standardisation of the remedy."""
    network, made = turned_state(flip)
    path = from_turned(tmp_path, flip, learning_rate=1e-12)
    kept = checkpoint.load(path, CPU).state_dict()
    assert kept["input_sd"].item() < 0
    torch.testing.assert_close(kept, network.state_dict() | made.state, rtol=1e-6, atol=1e-7)
    # Three epochs of 16 crops of the source and as many of the target, after those of the source's network and remedy.
    before = checkpoint.about(flip.model)["image_presentations"] + made.image_presentations
    assert made.image_presentations >= 10
    curve = pd.read_csv(path.with_suffix(".csv"))
    assert checkpoint.about(path)["image_presentations"] == before + curve["presented"].sum()
    assert curve["validation_iou"].max() > 0.8


def test_self_training_from_a_turned_network_repairs_a_flip(tmp_path, flip):
    scores = {}
    for name, path in {
        "alone": run(tmp_path, flip.source, flip.target, "selftraining", "alone", epochs=6, batch=4),
        "started": from_turned(tmp_path, flip, epochs=6, batch=4),
    }.items():
        with store.read(flip.target) as target:
            scores[name] = metrics.scores(predict(checkpoint.load(path, CPU), target["test"], 0.5, CPU))["iou"]
    assert scores["started"] > 0.8 > scores["alone"] + 0.3


def test_a_started_learner_sees_the_target_as_it_is_standardised_and_keeps_its_statistics(flip):
    network, made = turned_state(flip)
    parts, seen = torch.nn.ModuleDict({"network": network, "teacher": deepcopy(network)}).train(), {}

    def step(images, masks, unlabelled):
        seen.update(images=images, unlabelled=unlabelled, modes={m.training for m in norm_layers(parts).values()})
        return {}

    images, masks, others = batch()
    standardisation = {name: made.state[name] for name in ("input_mean", "input_sd")}
    baselines.started(training.Learner(network, parts, [], step), standardisation).step(images, masks, others)
    assert torch.equal(seen["images"], images) and seen["modes"] == {False}
    wanted = (others - made.state["input_mean"]) / made.state["input_sd"]
    torch.testing.assert_close(network.standardise(seen["unlabelled"]), wanted, rtol=1e-4, atol=1e-5)


def test_divergence_is_recorded_not_raised(tmp_path, source_path, target_path):
    path = run(tmp_path, source_path, target_path, learning_rate=1e30)
    assert checkpoint.about(path)["status"] == "diverged: the loss is not finite in epoch 1"
    assert not len(pd.read_csv(path.with_suffix(".csv"))) and not list(tmp_path.glob("*.resume.h5"))


def test_a_collapsed_discriminator_is_named():
    row = {"epoch": 1, "loss": 1.0, "discriminator": 0.4}
    assert baselines.status([row, row | {"epoch": 2, "discriminator": 1e-4}]) == "discriminator collapsed in epoch 2"
    assert baselines.status([row | {"discriminator": 1e-4}, row]) == "discriminator collapsed in epoch 1"
    assert baselines.status([row]) == baselines.status([{"epoch": 1, "loss": 1e-9}]) == ""


def test_selection_looks_at_the_split_it_names(tmp_path, source_path, target_path):
    """A target without foreground: a blank prediction scores 1 there and 0 on the source, any other the reverse."""
    with h5py.File(target_path, "a") as target:
        target["validation/masks"][...] = 0
    curves = {}
    for rule in ("source_validation", "target_oracle"):
        path = run(tmp_path, source_path, target_path, stem=rule, chosen=method("ynet", rule), epochs=2)
        assert checkpoint.about(path)["selection"] == rule
        curves[rule] = pd.read_csv(path.with_suffix(".csv"))
    assert curves["source_validation"]["loss"].equals(curves["target_oracle"]["loss"])
    assert not curves["source_validation"]["validation_iou"].equals(curves["target_oracle"]["validation_iou"])


def test_an_oracle_without_labels_is_refused(tmp_path, source_path, target_path):
    with h5py.File(target_path, "a") as target:
        del target["validation/masks"]
    with pytest.raises(StudyError, match=r"bright\.h5: no masks in split validation.*take source_validation"):
        run(tmp_path, source_path, target_path, chosen=method("ynet", "target_oracle"))


MINE = {"function": "selftraining"}
YNET = DEFAULT["baselines"]["ynet"]


@pytest.mark.parametrize(("path", "value", "message"), [
    ("baselines.ynet", YNET | {"adversarial": 1}, r"baselines\.ynet: unknown key 'adversarial'; known: function"),
    ("baselines.ynet", YNET | {"reconstruction": -1}, r"baselines\.ynet\.reconstruction: -1 is less than"),
    ("baselines.ynet", YNET | {"selection": "target"}, r"baselines\.ynet\.selection: 'target' is not one of"),
    ("baselines.mine", {"function": "ynett"}, r"baselines\.mine\.function: no such 'ynett'; did you mean 'ynet'"),
    ("baselines.batchnorm", YNET, r"baselines\.batchnorm: the name is that of an adaptation method too; rename it"),
    ("baselines.mine", MINE | {"start": "turnd"}, r"baselines\.mine\.start: no such method 'turnd'; did you mean"),
    ("baselines.mine", MINE | {"start": "intent"}, r"baselines\.mine\.start: 'intent' adapts to each image; name a"),
    ("baselines.mine", MINE | {"start": "image"}, r"baselines\.mine\.start: 'image' adapts to each image; name a"),
    ("baselines.ynet", YNET | {"start": "turned"}, r"baselines\.ynet: unknown key 'start'"),
    ("pairs.0.methods", ["ynt"], r"pairs\.0\.methods: no such method 'ynt'; did you mean 'ynet'"),
    ("pairs.0.methods", ["prior+batchnorm"], r"pairs\.0\.methods: no such method 'prior\+batchnorm'"),
])  # fmt: skip
def test_faults_in_the_config_are_one_line(path, value, message):
    with pytest.raises(StudyError, match=rf"config key {message}"):
        study(changed(path, value))


class Wildcards(dict):
    """Names as Snakemake gives them to an input function."""

    __getattr__ = dict.__getitem__


def test_a_start_is_a_method_with_its_options_and_its_network_an_input():
    found = study(DEFAULT)
    assert found.baseline("selftraining_balanced")["start"] == {
        "function": "remedy",
        "options": {"weights": "balanced"},
    }
    assert "start" not in found.baseline("selftraining_balanced")["options"]
    of_start, wildcards = found.of_start("{source}/{seed}"), {"source": "a", "seed": "1"}
    for name, files in (("selftraining_balanced", "a/1"), ("selftraining", [])):
        assert of_start(Wildcards(wildcards, method=name)) == files


def test_one_training_per_baseline_source_and_target_and_none_at_home():
    config = changed("pairs.0.methods", ["batchnorm", "ynet+batchnorm", "oracle"])
    config["pairs"][0] |= {
        "sources": ["0.30-0.70"],
        "targets": ["0.30-0.70", "0.50-0.70"],
        "transforms": {"noise": [0, 0.1]},
    }
    config["baselines"]["oracle"] = {"function": "cellseguda", "selection": "target_oracle", "adversarial": 1}
    found = study(config)
    targets = ["0.30-0.70@noise=0.1", "0.50-0.70", "0.50-0.70@noise=0.1"]
    assert sorted(found.trainings) == sorted(
        (name, "0.30-0.70", target, 0) for name in ("ynet", "oracle") for target in targets
    )
    assert list(found.methods("means-noise")) == ["batchnorm"]
    assert found.baseline("oracle") == {
        "function": "cellseguda",
        "selection": "target_oracle",
        "options": {"adversarial": 1, "reconstruction": 0.01, "learning_rate": 0.001},
    }


def test_no_baseline_towards_the_own_domain_of_a_variant():
    config = changed("variants", {"wide": {"model": {"width": 16}}})
    config["pairs"][0] |= {
        "sources": ["0.30-0.70", "0.30-0.70~wide", "0.50-0.70~wide"],
        "targets": ["0.30-0.70", "0.50-0.70"],
        "transforms": {"identity": [0]},
        "methods": ["batchnorm", "ynet"],
    }
    assert [(source, target) for _, source, target, _ in study(config).trainings] == [
        ("0.30-0.70", "0.50-0.70"),
        ("0.30-0.70~wide", "0.50-0.70"),
        ("0.50-0.70~wide", "0.30-0.70"),
    ]
