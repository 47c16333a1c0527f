"""On a GPU: results within tolerance of the CPU, and a training loop that never waits for the device."""

import h5py
import numpy as np
import pytest
import torch

from tests.conftest import MODEL, discs
from tests.test_faults import OPTIONS
from workflow.lib import batchnorm, checkpoint, devices, metrics, store
from workflow.lib.latents import summarise
from workflow.lib.prediction import Inputs, predict
from workflow.lib.sampling import TrainingImages
from workflow.lib.training import segmentation_loss
from workflow.lib.unet import UNet, to_input
from workflow.scripts.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]


def test_training_reaches_what_the_cpu_reaches(tmp_path, domain_path):
    scores = {}
    for name in ("cpu", "cuda"):
        model, options = str(tmp_path / f"{name}.h5"), OPTIONS | {"epochs": 25, "patience": 25}
        train(str(domain_path), model, str(tmp_path / f"{name}.csv"), MODEL, options, 0, name)
        device = devices.pick(name)
        with store.read(domain_path) as domain:
            scores[name] = metrics.scores(predict(checkpoint.load(model, device), domain["test"], 0.5, device))["iou"]
    assert scores["cuda"] == pytest.approx(scores["cpu"], abs=0.05)


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
