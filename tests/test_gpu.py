"""On a GPU: results within tolerance of the CPU, and a training loop that never waits for the device; `make gpu`."""

import json
import shutil
import time

import h5py
import numpy as np
import pytest
import torch

from docs import published, render
from scripts.adapt import adapt
from scripts.evaluate import evaluate
from scripts.rehearse import rehearse
from scripts.score import score
from scripts.tabulate import GAINS
from scripts.train import train
from shiftgain.adaptation import batchnorm
from shiftgain.files import store
from shiftgain.files.tables import read_csv
from shiftgain.latents.activations import summarise
from shiftgain.network import checkpoint, devices, metrics, training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, predict
from shiftgain.network.training import segmentation_loss
from shiftgain.network.unet import UNet, to_input
from tests import gpu, together
from tests.conftest import METHODS, MODEL, discs
from tests.test_adopt import adopted_at, home
from tests.test_rehearse import OPTIONS as REHEARSAL
from tests.test_remedies import OPTIONS as REMEDIES
from tests.test_remedies import trained
from tests.test_train import OPTIONS

__all__ = ["home", "trained"]

NO_GPU = not torch.cuda.is_available()
MISSING = "torch sees no GPU"
# Of these networks, float32 in another order of sums is off by 2e-6 of a channel's deviation, TF32 by 7e-4 (both worked
# out on a CPU, TF32 by rounding what convolutions multiply to ten bits).
FLOAT32 = 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason=MISSING)
def test_training_reaches_what_the_cpu_reaches(tmp_path, domain_path):
    scores = {}
    for name in ("cpu", "cuda"):
        model, options = (
            str(tmp_path / f"{name}.h5"),
            OPTIONS | {"epochs": 25, "patience": 25, "learning_rate": 0.003, "precision": "auto"},
        )
        train(str(domain_path), model, str(tmp_path / f"{name}.csv"), MODEL, options, 0, name)
        device = devices.pick(name)
        with store.read(domain_path) as domain:
            scores[name] = metrics.scores(predict(checkpoint.load(model, device), domain["test"], 0.5, device))["iou"]
    assert scores["cuda"] == pytest.approx(scores["cpu"], abs=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason=MISSING)
def test_adaptation_and_latents_agree_with_the_cpu(network, domain_path):
    states, latents = {}, {}
    for name in ("cpu", "cuda"):
        device = devices.pick(name)
        moved = network.to(device)
        with store.read(domain_path) as domain:
            state = batchnorm.batchnorm(moved, Inputs(domain["adapt"], device, network.depth))
            arrays = summarise(
                moved,
                Inputs(domain["adapt"], device, network.depth),
                8,
                ["bottleneck"],
                ["before_relu"],
                ["position"],
                32,
            )
        states[name] = {key: tensor.cpu().numpy() for key, tensor in state.items()}
        latents[name] = arrays["bottleneck/before_relu/position"]
    # In units of a channel's deviation, since a mean may lie near zero.
    for key, mean in states["cpu"].items():
        if key.endswith("running_mean"):
            scale = np.sqrt(states["cpu"][key.replace("running_mean", "running_var")])
            np.testing.assert_allclose(states["cuda"][key] / scale, mean / scale, rtol=0, atol=FLOAT32)
        else:
            np.testing.assert_allclose(states["cuda"][key], mean, rtol=FLOAT32)
    scale = np.sqrt(np.diag(latents["cpu"]["covariance"]))
    for key, units in (("mean", scale), ("rows", scale), ("covariance", np.outer(scale, scale))):
        np.testing.assert_allclose(latents["cuda"][key] / units, latents["cpu"][key] / units, rtol=0, atol=FLOAT32)


def test_no_device_rounds_to_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    devices.pick("cpu")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


REMEDIED = {"-".join(options.values()): {"function": "remedy", "options": options} for options in REMEDIES} | METHODS


def close(one, other, bounds: dict[str, float]) -> None:
    """Tables that name the same rows, and whose columns of ``bounds`` differ by no more than these."""
    names = ["target", "method"]
    assert one[names].equals(other[names])
    for column, bound in bounds.items():
        np.testing.assert_allclose(one[column], other[column], rtol=0, atol=bound, err_msg=column)


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason=MISSING)
def test_every_remedy_and_rehearsal_reaches_what_it_does_on_the_cpu(tmp_path, domain_path, targets_path, trained):
    model, tables = str(tmp_path / "model.h5"), {}
    rehearsed = {name: REMEDIED[name] for name in ("batchnorm", "image-balanced-turned")}
    checkpoint.save(model, trained, MODEL, {})
    for device in ("cpu", "cuda"):
        files = [str(tmp_path / f"{device}{name}") for name in (".h5", ".csv", "_masks.h5", "_rehearsed.csv")]
        adapt(model, str(domain_path), str(targets_path), files[0], REMEDIED, 0, device)
        evaluate(model, str(targets_path), *files[:3], "discs", 0, 0.5, 1, device, methods=list(REMEDIED))
        rehearse(model, str(domain_path), files[3], "discs", 0, rehearsed, REHEARSAL, 6, 30, 0.5, device)
        tables[device] = [read_csv(files[1]), read_csv(files[3])]
    for on_cpu, on_gpu, methods in zip(tables["cpu"], tables["cuda"], (REMEDIED, rehearsed), strict=True):
        assert set(on_cpu["method"]) == {"source", *methods}
        close(on_cpu, on_gpu, {"iou": 0.02})


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason=MISSING)
def test_a_network_trained_elsewhere_scores_as_on_the_cpu(tmp_path, home, targets_path):
    path, _ = adopted_at(tmp_path, home, preprocessing={"id": "zero_mean_unit_variance"})
    tables = {}
    for device in ("cpu", "cuda"):
        files = [str(tmp_path / f"{device}{name}") for name in (".h5", ".csv")]
        adapt(path, home, str(targets_path), files[0], METHODS, 0, device, "home")
        score(path, home, str(targets_path), files[0], {}, files[1], "home", 0, list(METHODS), 8, 40, 0.5, device)
        tables[device] = read_csv(files[1])
    close(tables["cpu"], tables["cuda"], {"expected_iou": 0.02})


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason=MISSING)
def test_a_step_does_not_wait_for_the_device(tmp_path):
    device = devices.pick("cuda")
    images, masks = discs(32, 16, 0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        store.append(file.create_group("train"), images, masks)
        pool = TrainingImages(file["train"], batch=8, device=device)
        assert pool.resident[0][0].is_cuda
        network = UNet(**MODEL).to(device)
        optimiser = torch.optim.AdamW(network.parameters())
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch, true in pool.epoch(np.random.default_rng(0)):
                with torch.autocast("cuda", torch.bfloat16):
                    logits = network(to_input(batch, device))
                loss = segmentation_loss(logits.float(), true.unsqueeze(1).float())
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason=MISSING)
def test_recorded_steps_move_networks_as_plain_ones_do():
    device = devices.pick("cuda")
    options = OPTIONS | {"precision": "float32"}
    networks = [training.fresh(MODEL, options, device) for _ in range(3)]
    several = together.Stacked(networks, options, device)
    plain = [training.supervised(network, options, training.precision("float32", device)) for network in networks]
    for module in (several.network, *networks):
        module.train()
    images, masks = (torch.rand(8, 3, 16, 16, device=device) for _ in range(2))
    for step in range(together.UNRECORDED + 5):
        shown, true = images.roll(step, 0), masks.roll(step, 0).round()
        said = several.step(shown, true)
        expected = [one.step(shown[:, j : j + 1], true[:, j : j + 1], None)["loss"] for j, one in enumerate(plain)]
        torch.testing.assert_close(said, torch.stack(expected), rtol=1e-2, atol=1e-3)


@pytest.fixture
def tiny(tmp_path):
    """`python -m tests.gpu --tiny` in this process, or another, into a folder; returns what it writes."""
    threads = torch.get_num_threads()

    def run(*arguments: str) -> dict:
        gpu.main(["--tiny", "--minutes", "60", "--results", str(tmp_path), *arguments])
        return json.loads((tmp_path / "gpu.json").read_text())

    yield run
    torch.set_num_threads(threads)


def test_every_part_runs_on_a_cpu_and_says_what_it_ran_on(tiny, tmp_path, capsys, monkeypatch):
    told = tiny("--here", "--commit", "abc")
    assert told["card"] == "none (tiny)" and told["torch"] == torch.__version__ and told["commit"] == "abc"
    assert list(told["parts"]) == list(gpu.PARTS)
    for name, entry in told["parts"].items():
        assert entry["status"] == ("cut short" if name == "sharing" else "done"), (name, entry)
        assert entry["minutes"] > 0 and entry["rows"]
    assert "no multi-process service" in told["parts"]["sharing"]["cuts"][0]
    assert told["parts"]["sharing"]["rows"]["jobs_2"]["failed"] == []
    assert [call["parts"] for call in told["calls"]] == [list(gpu.PARTS)]
    assert told["parts"]["together"]["rows"]["trained_grouped_2"]["iou_minus_alone_largest"] < 0.05
    for row in told["parts"]["throughput"]["rows"].values():
        assert all(value > 0 for value in row.values() if isinstance(value, float))
    assert list(read_csv(tmp_path / "gpu_talk.csv")) == GAINS
    assert read_csv(tmp_path / "gpu_distances.csv", ["state", "distance", "value", "null"])["value"].min() > 0
    assert len(list(tmp_path.iterdir())) <= 8
    assert {entry["commit"] for entry in told["parts"].values()} == {"abc"}
    capsys.readouterr()
    tiny("--here", "throughput")
    assert "throughput: done before" in capsys.readouterr().out
    # What it has just written can be published.
    folder = shutil.copytree(published.PUBLISHED, tmp_path / "published")
    for path in tmp_path.glob("gpu*.*"):
        shutil.copy(path, folder)
    monkeypatch.setattr(published, "PUBLISHED", folder)
    assert "One none (tiny) with" in render.render("docs/results.md")


def test_a_part_that_fails_hangs_or_has_no_minutes_leaves_the_others_alone(tiny, monkeypatch):
    def fails(setting):
        yield "first", {"value": 1.0}
        raise ValueError("so it goes")

    monkeypatch.setitem(gpu.PARTS, "tests", fails)
    told = tiny("--here", "tests", "talk")
    assert told["parts"]["tests"]["status"] == "failed" and "so it goes" in told["parts"]["tests"]["error"]
    assert told["parts"]["tests"]["rows"] == {"first": {"value": 1.0}}
    assert told["parts"]["talk"]["status"] == "done"


def test_a_part_that_outlasts_its_minutes_is_killed_and_what_it_wrote_stays(tmp_path, monkeypatch):
    path = tmp_path / "gpu.json"
    gpu.write_json(path, {"parts": {}})
    setting = gpu.Setting(tmp_path, tmp_path, time.time() + 2, tiny=True)
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    written = {"parts": {"talk": {"status": "stopped", "rows": {"first": {}}, "cuts": [], "minutes": 0}}}
    write = f"import pathlib, time; pathlib.Path({str(path)!r}).write_text({json.dumps(written)!r})"
    program = f"{write}; time.sleep(60)"
    start = gpu.subprocess.Popen
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda command, **how: start([gpu.sys.executable, "-c", program], **how)
    )
    gpu.isolated("talk", setting, path)
    entry = json.loads(path.read_text())["parts"]["talk"]
    assert entry["status"] == "failed" and "killed" in entry["error"]
    assert entry["rows"] == {"first": {}}


def test_a_part_runs_in_a_process_of_its_own(tiny):
    assert tiny("talk")["parts"]["talk"]["status"] == "done"
