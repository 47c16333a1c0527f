"""k U-Nets of one shape trained as one: a small network leaves a GPU idle between its launches, k of them fill it.

They lie side by side in one network, k times as wide, whose convolutions have a group for each. No weight of one meets
an activation of another, losses are added, and AdamW works weight by weight: each follows the path that it would have
followed alone, to rounding. On a GPU the step is recorded once as a CUDA graph and replayed.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.network import metrics, training
from shiftgain.network.inference import BATCH_PIXELS, Inputs
from shiftgain.network.normalisation import State, norm_layers
from shiftgain.network.unet import UNet, input_moments, pad

# Calls before a step is recorded: libraries choose their kernels and the optimiser makes its state in the first ones.
UNRECORDED = 3


class Stacked:
    """k networks of one shape, and what trains them: what :func:`fit` needs of any way to train several at once.

    Images are (n, k * channels, H, W), masks and logits (n, k, H, W), losses (k,). ``options``: config block ``train``.
    With ``products`` the 3 x 3 convolutions are :func:`convolve`.
    """

    def __init__(self, networks: Sequence[UNet], options: dict, device: torch.device, products: bool = False):
        self.count = len(networks)
        self.network = stack(networks).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self.network.modules():
            if products and isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.__class__ = ProductConv2d
        self.optimiser = adam(self.network.parameters(), options, device)
        self.autocast = training.precision(options["precision"], device)
        self.step = Recorded(self._step) if device.type == "cuda" else self._step

    def _step(self, images: Tensor, masks: Tensor) -> Tensor:
        """Move the weights of every network once; their losses, detached."""
        with self.autocast:
            logits = self.network(images)
        each = losses(logits.float(), masks)
        training.descend(self.optimiser, each.sum())
        return each.detach()

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        set_rate(self.optimiser, rate)

    def train(self, mode: bool) -> None:
        """Batch norm by the batch, or by what it keeps."""
        self.network.train(mode)

    def logits(self, images: Tensor) -> Tensor:
        """What the networks say."""
        return self.network(images)

    def state(self, j: int) -> State:
        """The state dict of network ``j``, as a view."""
        return unstack(self.network.state_dict(), self.count, j)


class ProductConv2d(nn.Conv2d):
    """A grouped 3 x 3 convolution as :func:`convolve` does it."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C', H, W)."""
        weight = self.weight
        if torch.is_autocast_enabled(images.device.type):
            kind = torch.get_autocast_dtype(images.device.type)
            images, weight = images.to(kind), weight.to(kind)
        return convolve(images, weight, self.groups)


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


def stack(networks: Sequence[UNet]) -> UNet:
    """One U-Net that holds ``networks`` side by side: tensors of k times the length along their first axis."""
    first, k = networks[0], len(networks)
    states = [network.state_dict() for network in networks]
    width = len(states[0]["encoder1.conv1.weight"])
    whole = UNet(len(first.input_mean), width, first.depth, len(states[0]["head.bias"]), networks=k)
    whole.load_state_dict(
        {name: torch.cat([state[name] for state in states]) if own.ndim else own for name, own in states[0].items()}
    )
    for norm, of_first in zip(norm_layers(whole).values(), norm_layers(first).values(), strict=True):
        norm.momentum = of_first.momentum
    return whole


def unstack(state: State, k: int, j: int) -> State:
    """The tensors of network ``j`` in the state dict of :func:`stack`."""
    return {name: tensor.chunk(k)[j] if tensor.ndim else tensor for name, tensor in state.items()}


def losses(logits: Tensor, masks: Tensor) -> Tensor:
    """:func:`training.segmentation_loss` of each network (k,); ``logits`` and ``masks`` (n, k, H, W)."""
    axes = (0, 2, 3)
    probabilities = torch.sigmoid(logits)
    overlap = 2 * (probabilities * masks).sum(axes) + 1
    soft_dice = overlap / (probabilities.sum(axes) + masks.sum(axes) + 1)
    return functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(axes) + 1 - soft_dice


def convolve(images: Tensor, weight: Tensor, groups: int) -> Tensor:
    """3 x 3 convolution in ``groups`` with a border of zeros, as one batch of matrix products, a product to a group.

    ``images`` (n, groups * C, H, W), ``weight`` (groups * C', C, 3, 3); returns (n, groups * C', H, W).
    """
    return _Product.apply(images, weight, groups)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context, images: Tensor, weight: Tensor, groups: int) -> Tensor:
        context.save_for_backward(images, weight)
        context.groups = groups
        return _multiply(_windows(images, groups), _matrices(weight, groups), images)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        images, weight = context.saved_tensors
        groups = context.groups
        to_images = to_weight = None
        if context.needs_input_grad[0]:
            # The gradient passes back through the kernel turned by half a turn, its two axes of channels exchanged.
            turned = weight.flip(2, 3).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
            to_images = _multiply(_windows(gradient, groups), _matrices(turned, groups), images)
        if context.needs_input_grad[1]:
            outer = gradient.movedim(1, -1).unflatten(-1, (groups, -1)).movedim(-2, 0).flatten(2, 3)
            # Products image by image, added up afterwards: one long product for each group would fill no GPU.
            windows = _windows(images, groups).unflatten(1, (len(images), -1))
            product = torch.matmul(outer.transpose(2, 3), windows).sum(1)
            to_weight = product.flatten(0, 1).unflatten(1, (3, 3, -1)).movedim(-1, 1)
        return to_images, to_weight, None


def _windows(images: Tensor, groups: int) -> Tensor:
    """The 3 x 3 neighbourhood of every pixel: (groups, n * H * W, 9 * C) of images (n, groups * C, H, W)."""
    padded = functional.pad(images.movedim(1, -1).unflatten(-1, (groups, -1)), (0, 0, 0, 0, 1, 1, 1, 1))
    around = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return around.permute(3, 0, 1, 2, 5, 6, 4).flatten(4).flatten(1, 3)


def _matrices(weight: Tensor, groups: int) -> Tensor:
    """(groups, 9 * C, C') of a weight (groups * C', C, 3, 3), rows as the columns of :func:`_windows`."""
    return weight.movedim(1, -1).unflatten(0, (groups, -1)).flatten(2).transpose(1, 2)


def _multiply(windows: Tensor, matrices: Tensor, like: Tensor) -> Tensor:
    """(n, groups * C', H, W) from windows (groups, n * H * W, 9 * C) of images of the size of ``like``."""
    n, _, rows, columns = like.shape
    return torch.bmm(windows, matrices).unflatten(1, (n, rows, columns)).movedim(0, 3).flatten(3).movedim(3, 1)


def adam(parameters, options: dict, device: torch.device) -> torch.optim.Optimizer:
    """AdamW as in :func:`training.supervised`, its rate a tensor, so that a recorded step follows the schedule."""
    rate = torch.tensor(float(options["learning_rate"]), device=device)
    on_gpu = device.type == "cuda"
    return torch.optim.AdamW(
        parameters, lr=rate, weight_decay=options["weight_decay"], capturable=on_gpu, fused=on_gpu or None
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next steps, also of recorded ones."""
    for group in optimiser.param_groups:
        group["lr"].fill_(rate)


def fit(
    several,
    networks: Sequence[UNet],
    domains: Sequence[h5py.Group],
    options: dict,
    seeds: Sequence[int],
    device: torch.device,
) -> list[list[dict[str, float]]]:
    """:func:`training.train` of each of ``networks`` on its own of ``domains`` and with its own of ``seeds``, at once.

    ``several`` holds these networks as :class:`Stacked` does. Each ends with the weights of its best epoch in
    ``networks``; returns their curves, one row per epoch. The order of images is that of single trainings.

    Errors: :class:`StudyError` where the domains differ in the number or size of their images;
    :class:`training.Diverged` on a loss that is not finite.
    """
    sizes = {
        tuple(images.shape for split in ("train", "validation") for images, _ in store.stacks(domain[split]))
        for domain in domains
    }
    if len(sizes) > 1:
        raise StudyError(f"networks trained as one see as many images of one size each, not {sorted(sizes)}")
    images = [training.labelled_images(domain["train"], options, device) for domain in domains]
    validation = [_labelled(domain["validation"], device) for domain in domains]
    count, per_epoch = len(networks), images[0].per_epoch
    curves: list[list[dict[str, float]]] = [[] for _ in networks]
    best: list[State] = [{} for _ in networks]
    running = list(range(count))
    for epoch in range(options["epochs"]):
        running = [j for j in running if training.stale(curves[j]) < options["patience"]]
        if not running:
            break
        several.train(True)
        totals, seen, rate = torch.zeros(count, device=device), 0, 0.0
        orders = [own.epoch(np.random.default_rng((seed, epoch))) for own, seed in zip(images, seeds, strict=True)]
        for batches in zip(*orders, strict=True):
            rate = training.learning_rate((epoch + seen / per_epoch) / options["epochs"], options["learning_rate"])
            several.set_rate(rate)
            shown = pad(side_by_side([batch for batch, _ in batches]).float().div_(255), networks[0].depth)
            true = pad(side_by_side([mask for _, mask in batches]).float(), networks[0].depth)
            totals += several.step(shown, true) * len(shown)
            seen += len(shown)
        several.train(False)
        ious = _ious(several, validation, networks[0].depth)
        for j, mean in enumerate((totals / seen).tolist()):
            if j not in running:
                continue
            if not math.isfinite(mean):
                raise training.Diverged(f"network {j + 1} of {count}", f"the loss is not finite in epoch {epoch + 1}",
                                        curves[j])  # fmt: skip
            if ious[j] > max((row["validation_iou"] for row in curves[j]), default=-1.0):
                best[j] = {name: tensor.clone() for name, tensor in several.state(j).items()}
            curves[j].append(
                {"epoch": epoch + 1, "loss": mean, "validation_iou": ious[j], "learning_rate": rate, "presented": seen}
            )
    for network, state in zip(networks, best, strict=True):
        network.load_state_dict(state)
        network.eval()
    return curves


def standardised(network: UNet, domain: h5py.Group, device: torch.device) -> UNet:
    """``network``, its input standardised by the training images of ``domain``."""
    network.input_mean, network.input_sd = input_moments(Inputs(domain["train"], device))
    return network


def side_by_side(batches: Sequence[Tensor]) -> Tensor:
    """(n, k * channels, H, W) from k batches as stored, (n, H, W) or (n, H, W, channels)."""
    return torch.cat([batch.unsqueeze(-1) if batch.ndim == 3 else batch for batch in batches], dim=-1).movedim(-1, 1)


def _labelled(split: h5py.Group, device: torch.device) -> tuple[Tensor, Tensor]:
    """All images and masks of a split of one size, as stored."""
    (images, masks), *others = store.stacks(split)
    if others or masks is None:
        raise StudyError(f"{split.file.filename}: {split.name} needs masks, and images of one size")
    return torch.from_numpy(images[:]).to(device), torch.from_numpy(masks[:]).to(device)


@torch.inference_mode()
def _ious(several, splits: Sequence[tuple[Tensor, Tensor]], depth: int) -> list[float]:
    """IoU of each network on its own split, its pixels pooled."""
    n, rows, columns = splits[0][1].shape
    counts = torch.zeros(len(splits), 3, dtype=torch.int64, device=splits[0][0].device)
    step = max(1, BATCH_PIXELS // (rows * columns))
    for start in range(0, n, step):
        part = slice(start, start + step)
        shown = side_by_side([images[part] for images, _ in splits]).float().div_(255)
        predicted = several.logits(pad(shown, depth))[:, :, :rows, :columns] > 0
        true = side_by_side([masks[part] for _, masks in splits]).bool()
        counts += torch.stack([area.sum((0, 2, 3)) for area in (predicted & true, predicted, true)], 1)
    return metrics.iou(counts.cpu().numpy()).tolist()
