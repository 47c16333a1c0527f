"""On a GPU: results within tolerance of the CPU, and a training loop that never waits for the device; `make gpu`."""

import json
import time

import h5py
import numpy as np
import pytest
import torch

from scripts.tabulate import GAINS
from scripts.train import train
from shiftgain.adaptation import batchnorm
from shiftgain.files import store
from shiftgain.files.tables import read_csv
from shiftgain.latents.activations import summarise
from shiftgain.network import checkpoint, devices, metrics, together, training
from shiftgain.network.batches import TrainingImages
from shiftgain.network.inference import Inputs, predict
from shiftgain.network.training import segmentation_loss
from shiftgain.network.unet import UNet, to_input
from tests import gpu
from tests.conftest import MODEL, discs
from tests.test_train import OPTIONS

NO_GPU = not torch.cuda.is_available()
MISSING = "torch sees no GPU"


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
    found = {}
    for name in ("cpu", "cuda"):
        device = devices.pick(name)
        moved = network.to(device)
        with store.read(domain_path) as domain:
            state = batchnorm.batchnorm(moved, Inputs(domain["adapt"], device))
            arrays = summarise(
                moved, Inputs(domain["adapt"], device), 8, ["bottleneck"], ["before_relu"], ["position"], 32
            )
        found[name] = {key: tensor.cpu() for key, tensor in state.items()}, arrays["bottleneck/before_relu/position"]
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], rtol=1e-3, atol=1e-4)
    for key, array in found["cpu"][1].items():
        np.testing.assert_allclose(found["cuda"][1][key], array, rtol=1e-2, atol=1e-3)


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
@pytest.mark.parametrize("way", gpu.WAYS)
def test_recorded_steps_move_networks_as_plain_ones_do(way, monkeypatch):
    device = devices.pick("cuda")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    options = OPTIONS | {"precision": "float32"}
    networks = [training.fresh(MODEL, options, device) for _ in range(3)]
    several, plain = (
        gpu.WAYS[way](networks, options, device),
        [gpu.Alone([network], options, device) for network in networks],
    )
    several.train(True)
    images, masks = (torch.rand(8, 3, 16, 16, device=device) for _ in range(2))
    for step in range(together.UNRECORDED + 5):
        shown, true = images.roll(step, 0), masks.roll(step, 0).round()
        said = several.step(shown, true)
        expected = [one.step(shown[:, j : j + 1], true[:, j : j + 1]) for j, one in enumerate(plain)]
        torch.testing.assert_close(said, torch.stack(expected), rtol=1e-2, atol=1e-3)


@pytest.fixture
def tiny(tmp_path):
    """`python -m tests.gpu --tiny` in this process, or another, into a folder; returns what it writes."""
    threads = torch.get_num_threads()

    def run(*arguments: str) -> dict:
        gpu.main(["--tiny", "--results", str(tmp_path), *arguments])
        return json.loads((tmp_path / "gpu.json").read_text())

    yield run
    torch.set_num_threads(threads)


def test_every_part_runs_on_a_cpu_and_says_what_it_ran_on(tiny, tmp_path, capsys):
    told = tiny("--here", "--commit", "abc")
    assert told["card"] == "none (tiny)" and told["torch"] == torch.__version__ and told["commit"] == "abc"
    assert list(told["parts"]) == list(gpu.PARTS)
    for name, entry in told["parts"].items():
        assert entry["status"] == ("cut short" if name == "sharing" else "done"), (name, entry)
        assert entry["minutes"] > 0 and entry["rows"]
    assert "none without a card" in told["parts"]["sharing"]["cuts"][0]
    rows = told["parts"]["together"]["rows"]
    for way in gpu.WAYS:
        assert rows[f"trained_{way}_2"]["iou_minus_alone_largest"] < 0.05
    for row in told["parts"]["throughput"]["rows"].values():
        assert all(value > 0 for value in row.values() if isinstance(value, float))
    assert list(read_csv(tmp_path / "gpu_talk.csv")) == GAINS
    assert read_csv(tmp_path / "gpu_distances.csv", ["state", "distance", "value", "null"])["value"].min() > 0
    assert len(list(tmp_path.iterdir())) <= 8
    capsys.readouterr()
    tiny("--here", "throughput")
    assert "throughput: done before" in capsys.readouterr().out


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
    setting = gpu.Setting(tmp_path, tmp_path, time.time() + 2, tiny=True)
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    written = {"status": "stopped", "rows": {"first": {}}, "cuts": [], "minutes": 0}
    write = f"import pathlib, time; pathlib.Path({str(tmp_path / 'talk.json')!r}).write_text({json.dumps(written)!r})"
    program = f"{write}; time.sleep(60)"
    start = gpu.subprocess.Popen
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda command, **how: start([gpu.sys.executable, "-c", program], **how)
    )
    entries = []
    gpu.isolated("talk", setting, entries.append)
    assert entries[-1]["status"] == "failed" and "killed" in entries[-1]["error"]
    assert entries[-1]["rows"] == {"first": {}}


def test_a_part_runs_in_a_process_of_its_own(tiny):
    assert tiny("talk")["parts"]["talk"]["status"] == "done"
