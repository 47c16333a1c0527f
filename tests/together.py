"""k U-Nets of one shape trained as one, for `make gpu`: what is lost where a small network leaves a card idle.

They lie side by side in one network, k times as wide, whose convolutions have a group for each. No weight of one meets
an activation of another, losses are added, and AdamW works weight by weight: each follows the path that it would have
followed alone, to rounding. On a GPU the step is recorded once as a CUDA graph and replayed.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftgain.files import store
from shiftgain.network import metrics, training
from shiftgain.network.inference import BATCH_PIXELS, Inputs, input_moments
from shiftgain.network.normalisation import State, norm_layers
from shiftgain.network.unet import UNet, pad

# Calls before a step is recorded: libraries choose their kernels and the optimiser makes its state in the first ones.
UNRECORDED = 3


class SideBySide(UNet):
    """k U-Nets as one: every axis of channels holds those of one network after those of another.

    Images are (n, k * channels, H, W), logits (n, k, H, W); tensors are k times as long along their first axis.
    """

    def __init__(self, networks: Sequence[UNet]):
        states = [network.state_dict() for network in networks]
        own, k = states[0], len(networks)
        width, outputs = len(own["encoder1.conv1.weight"]), len(own["head.bias"])
        super().__init__(k * len(own["input_mean"]), k * width, networks[0].depth, k * outputs)
        self.networks = k
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.groups = k
                module.weight = nn.Parameter(module.weight.detach().chunk(k, 1)[0])
        self.load_state_dict(
            {name: torch.cat([state[name] for state in states]) if own[name].ndim else own[name] for name in own}
        )
        for norm, of_first in zip(norm_layers(self).values(), norm_layers(networks[0]).values(), strict=True):
            norm.momentum = of_first.momentum

    def decode(self, images: Tensor, skips: list[Tensor]) -> Tensor:
        """As :meth:`UNet.decode`, the channels of skip and of what comes from below network by network."""
        for level in range(self.depth, 0, -1):
            images = self.get_submodule(f"up{level}")(images)
            # Channels last in memory, as the convolutions want them.
            both = [tensor.movedim(1, -1).unflatten(-1, (self.networks, -1)) for tensor in (skips[level - 1], images)]
            images = self.get_submodule(f"decoder{level}")(torch.cat(both, dim=-1).flatten(-2).movedim(-1, 1))
        return images

    def state(self, j: int) -> State:
        """The state dict of network ``j``, as a view."""
        return {
            name: tensor.chunk(self.networks)[j] if tensor.ndim else tensor
            for name, tensor in self.state_dict().items()
        }


class Stacked:
    """Networks side by side and what trains them. ``options``: config block ``train``.

    ``step(images, masks)`` moves the weights of each once and returns their losses (k,), detached.
    """

    def __init__(self, networks: Sequence[UNet], options: dict, device: torch.device):
        self.network = SideBySide(networks).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # A tensor, so that a recorded step follows the schedule.
        self.rate = torch.tensor(float(options["learning_rate"]), device=device)
        on_gpu = device.type == "cuda"
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.rate, weight_decay=options["weight_decay"], capturable=on_gpu, fused=on_gpu or None,
        )  # fmt: skip
        self.autocast = training.precision(options["precision"], device)
        self.step = Recorded(self._step) if on_gpu else self._step

    def _step(self, images: Tensor, masks: Tensor) -> Tensor:
        with self.autocast:
            logits = self.network(images)
        each = losses(logits.float(), masks)
        training.descend(self.optimiser, each.sum())
        return each.detach()


class Recorded:
    """A step on tensors of the GPU, recorded as a CUDA graph and replayed; one graph for each shape of its tensors.

    The first calls of a shape run as they are, so that every call is one step. What is returned lasts until the next.
    """

    def __init__(self, step: Callable[..., Tensor]):
        self.step, self.stream = step, torch.cuda.Stream()
        self.calls: Counter = Counter()
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        shapes = tuple(tensor.shape for tensor in tensors)
        self.calls[shapes] += 1
        if self.calls[shapes] <= UNRECORDED:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = self.step(*tensors)
            torch.cuda.current_stream().wait_stream(self.stream)
            return result
        if shapes not in self.graphs:
            own, graph = [tensor.clone() for tensor in tensors], torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                result = self.step(*own)
            self.graphs[shapes] = graph, own, result
        graph, own, result = self.graphs[shapes]
        for place, tensor in zip(own, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return result


def losses(logits: Tensor, masks: Tensor) -> Tensor:
    """:func:`training.segmentation_loss` of each network (k,); ``logits`` and ``masks`` (n, k, H, W)."""
    axes = (0, 2, 3)
    probabilities = torch.sigmoid(logits)
    overlap = 2 * (probabilities * masks).sum(axes) + 1
    soft_dice = overlap / (probabilities.sum(axes) + masks.sum(axes) + 1)
    return functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(axes) + 1 - soft_dice


def fit(
    networks: Sequence[UNet], domains: Sequence[h5py.Group], options: dict, seeds: Sequence[int], device: torch.device
) -> list[list[dict[str, float]]]:
    """:func:`training.train` of each of ``networks`` on its own of ``domains`` and with its own of ``seeds``, at once.

    Each ends with the weights of its best epoch; returns their curves, one row per epoch. The order of images is that
    of single trainings. The domains have as many images of one size; nothing is augmented.
    """
    several, count, depth = Stacked(networks, options, device), len(networks), networks[0].depth
    images = [training.labelled_images(domain["train"], options, device) for domain in domains]
    validation = [_labelled(domain["validation"], device) for domain in domains]
    curves: list[list[dict[str, float]]] = [[] for _ in networks]
    best: list[State] = [{} for _ in networks]
    for epoch in range(options["epochs"]):
        running = [j for j in range(count) if training.stale(curves[j]) < options["patience"]]
        if not running:
            break
        several.network.train()
        totals, seen, rate = torch.zeros(count, device=device), 0, 0.0
        orders = [own.epoch(np.random.default_rng((seed, epoch))) for own, seed in zip(images, seeds, strict=True)]
        for batches in zip(*orders, strict=True):
            progress = (epoch + seen / images[0].per_epoch) / options["epochs"]
            rate = training.learning_rate(progress, options["learning_rate"])
            several.rate.fill_(rate)
            shown = pad(side_by_side([batch for batch, _ in batches]).float().div_(255), 2**depth)
            true = pad(side_by_side([mask for _, mask in batches]).float(), 2**depth)
            totals += several.step(shown, true) * len(shown)
            seen += len(shown)
        several.network.eval()
        means, ious = (totals / seen).tolist(), _ious(several.network, validation)
        for j in running:
            if ious[j] > max((row["validation_iou"] for row in curves[j]), default=-1.0):
                best[j] = {name: tensor.clone() for name, tensor in several.network.state(j).items()}
            row = {"epoch": epoch + 1, "loss": means[j], "validation_iou": ious[j]}
            curves[j].append(row | {"learning_rate": rate, "presented": seen})
    for network, state in zip(networks, best, strict=True):
        network.load_state_dict(state)
        network.eval()
    return curves


def standardised(network: UNet, domain: h5py.Group, device: torch.device) -> UNet:
    """``network``, its input standardised by the training images of ``domain``."""
    network.input_mean, network.input_sd = input_moments(Inputs(domain["train"], device, network.depth))
    return network


def side_by_side(batches: Sequence[Tensor]) -> Tensor:
    """(n, k * channels, H, W) from k batches as stored, (n, H, W) or (n, H, W, channels)."""
    return torch.cat([batch.unsqueeze(-1) if batch.ndim == 3 else batch for batch in batches], dim=-1).movedim(-1, 1)


def _labelled(split: h5py.Group, device: torch.device) -> tuple[Tensor, Tensor]:
    """All images and masks of a split of one size, as stored."""
    ((images, masks),) = store.stacks(split)
    return torch.from_numpy(images[:]).to(device), torch.from_numpy(masks[:]).to(device)


@torch.inference_mode()
def _ious(network: SideBySide, splits: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """IoU of each network on its own split, its pixels pooled."""
    n, rows, columns = splits[0][1].shape
    counts = torch.zeros(len(splits), 3, dtype=torch.int64, device=splits[0][0].device)
    step = max(1, BATCH_PIXELS // (rows * columns))
    for start in range(0, n, step):
        part = slice(start, start + step)
        shown = side_by_side([images[part] for images, _ in splits]).float().div_(255)
        predicted = network(pad(shown, 2**network.depth))[:, :, :rows, :columns] > 0
        true = side_by_side([masks[part] for _, masks in splits]).bool()
        counts += torch.stack([area.sum((0, 2, 3)) for area in (predicted & true, predicted, true)], 1)
    return metrics.iou(counts.cpu().numpy()).tolist()
