"""Rows `train_*`: training as the workflow does it, beside a plain PyTorch loop."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import torch

from scripts.generate import generate
from shiftgain.files import store
from shiftgain.network import metrics, training
from shiftgain.network.inference import predict
from shiftgain.network.unet import UNet
from shiftgain.study.checks import study
from tests.bench.measure import CORES, CPU, DEFAULT, ROOT, batch_of_noise, least_seconds, row, training_step


class PerItem(torch.utils.data.Dataset):
    """What a plain PyTorch loop does: open the file, read one image and one mask per item."""

    def __init__(self, path: Path):
        self.file = h5py.File(path, locking=False)["train"]

    def __len__(self) -> int:
        return len(self.file["images"])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = (torch.from_numpy(self.file[name][index]).float().unsqueeze(0) for name in ("images", "masks"))
        return image / 255, mask


PROGRAM = "import sys; from tests.bench import learning; learning.train_{kind}(sys.argv[1], {epochs})"


def train_ours(path: str, epochs: int) -> None:
    """Train as the workflow does; prints images per second of the training epochs and the final IoU."""
    from shiftgain.files import job

    job._keep_freed_memory()
    torch.manual_seed(0)
    network = UNet(1, **DEFAULT["model"]).to(memory_format=torch.channels_last)
    options = DEFAULT["train"] | {"epochs": epochs, "patience": epochs}
    with store.read(path) as domain:
        presented = store.count(domain["train"]) * epochs
        start = time.perf_counter()
        training.train(network, domain, options, 0, CPU, Path(path).with_suffix(f".{os.getpid()}.resume.h5"), "bench")
        elapsed = time.perf_counter() - start
        iou = metrics.scores(predict(network, domain["test"], 0.5, CPU))["iou"]
    print(json.dumps({"images_per_second": presented / elapsed, "iou": iou}))


def train_plain(path: str, epochs: int) -> None:
    """The same in a plain loop: fp32, default memory layout, a DataLoader that reads HDF5 per item."""
    torch.manual_seed(0)
    network = UNet(1, **DEFAULT["model"])
    options = DEFAULT["train"]
    loader = torch.utils.data.DataLoader(PerItem(Path(path)), batch_size=options["batch"], shuffle=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options["learning_rate"], weight_decay=0)
    start, steps = time.perf_counter(), epochs * len(loader)
    best, state, step = -1.0, None, 0
    with store.read(path) as domain:
        for _ in range(epochs):
            network.train()
            for images, masks in loader:
                for group in optimiser.param_groups:
                    group["lr"] = training.learning_rate(step / steps, options["learning_rate"])
                loss = training.segmentation_loss(network(images), masks)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                step += 1
            network.eval()
            iou = metrics.scores(predict(network, domain["validation"], 0.5, CPU))["iou"]
            if iou > best:
                best, state = iou, {name: tensor.clone() for name, tensor in network.state_dict().items()}
        elapsed = time.perf_counter() - start
        network.load_state_dict(state)
        iou = metrics.scores(predict(network, domain["test"], 0.5, CPU))["iou"]
    print(json.dumps({"images_per_second": len(loader.dataset) * epochs / elapsed, "iou": iou}))


def bench_train(folder: Path, epochs: int = 6) -> dict:
    """Training throughput of the machine: as many one-core jobs at once as there are cores, against one plain loop."""
    path = folder / "train.h5"
    specs = study(DEFAULT).specs(["0.30-0.70"], ["train", "validation", "adapt", "test"], "seed0")
    generate(specs, ["train", "validation", "test"], str(path), True, CORES)

    def run(kind: str, count: int, threads: int) -> list[dict]:
        command = [sys.executable, "-c", PROGRAM.format(kind=kind, epochs=epochs), str(path)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        jobs = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        return [json.loads(job.communicate()[0].splitlines()[-1]) for job in jobs]

    plain_one, ours_one = run("plain", 1, 1)[0], run("ours", 1, 1)[0]
    plain_all, ours_all = run("plain", 1, CORES)[0], run("ours", CORES, 1)
    together = sum(job["images_per_second"] for job in ours_all)
    network = UNet(1, **DEFAULT["model"]).to(memory_format=torch.channels_last)
    limit = DEFAULT["train"]["batch"] / least_seconds(training_step(network, *batch_of_noise()))
    return {
        "train_machine": row(
            together,
            f"images/s, {CORES} jobs of one core",
            together / plain_all["images_per_second"],
            f"one plain loop on {CORES} cores",
        ),
        "train_core": row(
            ours_one["images_per_second"],
            "images/s on one core",
            ours_one["images_per_second"] / plain_one["images_per_second"],
            "plain loop on one core",
            limit / ours_one["images_per_second"],
            "its convolutions at peak, all else free",
        ),
        "train_limit": row(
            limit,
            "images/s on one core, were its convolutions at peak and all else free",
            limit / plain_one["images_per_second"],
            "plain loop on one core",
        ),
        "train_iou_difference": row(abs(ours_one["iou"] - plain_one["iou"]), "IoU between the two loops"),
    }
