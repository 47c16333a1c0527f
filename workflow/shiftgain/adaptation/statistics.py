"""Statistics of what each normalisation of a network receives, pooled over all positions of all images.

With weights w over positions, mean = sum w x / sum w and variance = sum w (x - mean)^2 / sum w, whatever the batches or
tiles in which the positions come. The standardisation of the input, ``input``, may be one of the layers.

A layer's statistics depend on what the layers before it normalise by. Where all images pass together, each layer
normalises by its own statistics as the pass goes on, and one pass is exact. Where they come in several tiles, each
normalises by the statistics so far, and the pass is repeated under those of the last until they settle: the first layer
is exact after one pass, the next after two, and all after as many as there are layers, at the latest.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from shiftgain.network.adopted import Adopted
from shiftgain.network.inference import SMALLEST_INPUT_SD
from shiftgain.network.normalisation import KINDS, State, norm_layers, put, statistics
from shiftgain.network.tiles import Tile, core_at
from shiftgain.network.unet import UNet

Moments = tuple[Tensor, Tensor]
Mix = Callable[[Moments, Moments], Moments]
# One mix for all layers, or each layer's by its name.
Mixes = Mix | Mapping[str, Mix]

INPUT = "input"
INPUT_TENSORS = ("input_mean", "input_sd")
# Statistics have settled where none moves by more in a pass: means in deviations of their channel, variances in shares
# of themselves. Half of the 1e-3 by which statistics may differ from those of one large batch.
SETTLED_MOVEMENT = 5e-4
# Values of the widest layer, channels times pixels, that a pass takes at once: about 1.4 GB. A domain of no more is
# refreshed exactly in one pass.
ONE_PASS_VALUES = 48 * 2**20
# Positions that are centred at a time: of few channels, as large layers have, they fit a cache.
CHUNK_POSITIONS = 2**15
# Positions whose weighted values are one product.
RUN = 256
# Of a channel that is constant, rounding alone moves; batch norm itself adds 1e-5 to every variance.
SMALLEST_SCALE = 1e-5


def target_alone(source: Moments, target: Moments) -> Moments:
    """The mix in which nothing of the source is left."""
    return target


def one_pass_pixels(network: UNet) -> int:
    """Pixels of images that pass through ``network`` at once."""
    if isinstance(network, Adopted):
        return int(ONE_PASS_VALUES / network.values_per_pixel)
    first, *_ = norm_layers(network).values()
    return ONE_PASS_VALUES // first.num_features


@dataclass
class Pooled:
    """Weighted mean and squared deviations of a layer's channels, part by part.

    M = M_a + M_b + (mean_b - mean_a)^2 w_a w_b / (w_a + w_b), M the sum of weighted squared deviations: Chan, Golub and
    LeVeque 1983, The American Statistician 37, equation 2.1.
    """

    channels: int
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        self.weight = torch.zeros((), dtype=torch.float64, device=self.device)
        self.mean = torch.zeros(self.channels, dtype=torch.float64, device=self.device)
        self.squares = torch.zeros_like(self.mean)
        self.positions = 0

    def add(self, activation: Tensor, weights: Tensor | None = None) -> None:
        """Take in (n, channels, H, W) under ``weights`` (n, H, W), all 1 without."""
        positions = activation.movedim(1, -1).flatten(0, -2).float().split(CHUNK_POSITIONS)
        shares = [None] * len(positions) if weights is None else weights.reshape(-1, 1).split(CHUNK_POSITIONS)
        for part, share in zip(positions, shares, strict=True):
            self._add(part, share)

    def _add(self, positions: Tensor, weights: Tensor | None) -> None:
        if weights is None:
            weight = torch.full_like(self.weight, len(positions))
            mean = positions.mean(0)
            squares = (positions - mean).square_().sum(0)
        else:
            weight = weights.sum(dtype=torch.float64)
            mean = _weighted_sum(positions, weights) / weight.float()
            squares = _weighted_sum((positions - mean).square_(), weights)
        total = self.weight + weight
        step = mean.double() - self.mean
        self.mean += step * (weight / total)
        self.squares += squares.double() + step.square() * (self.weight * weight / total)
        self.weight, self.positions = total, self.positions + len(positions)

    def moments(self, unbiased: bool = False) -> Moments:
        """(mean, variance), float32; a batch is normalised by its biased variance, a domain's is estimated unbiased."""
        variance = self.squares / self.weight
        if unbiased:
            variance = variance * (self.positions / max(1, self.positions - 1))
        return self.mean.float(), variance.float()


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i x_i (channels,) of ``values`` (n, channels) and ``weights`` (n, 1).

    Products of :data:`RUN` positions, added up in pairs: one product over all of them loses three digits in float32.
    """
    whole = len(values) // RUN * RUN
    runs = weights[:whole].view(-1, 1, RUN) @ values[:whole].view(-1, RUN, values.shape[1])
    return runs.sum(0)[0] + (weights[whole:].T @ values[whole:])[0]


def refresh(network: UNet, tiles: Iterable[Tile], layers: Collection[str], mix: Mixes = target_alone) -> State:
    """Statistics of ``layers`` over all of ``tiles``, each ``mix(source, target)`` of (mean, variance).

    ``layers``: names of batch-norm layers, and ``input``. The network is left as it was.
    """
    return settle(network, tiles, layers, mix).state


def settle(
    network: UNet,
    tiles: Iterable[Tile],
    layers: Collection[str],
    mix: Mixes = target_alone,
    turned: bool = False,
) -> "Gathered":
    """Passes of :func:`gather` until :func:`movement` is at most :data:`SETTLED_MOVEMENT`; one for a single tile."""
    gathered = gather(network, tiles, layers, mix, turned=turned)
    for _ in range(len(layers) if len(gathered.probabilities) > 1 else 0):
        before = gathered.biased
        gathered = gather(network, tiles, layers, mix, before, turned=turned)
        if movement(before, gathered.biased) <= SETTLED_MOVEMENT:
            break
    return gathered


@dataclass(frozen=True)
class Gathered:
    """What a pass gathered: ``state``, to put in place, and ``biased``, by which deeper layers are normalised in it.

    ``probabilities``: of the foreground, for the core of each tile, float16 (n, h, w).
    """

    state: State
    biased: State
    probabilities: list[Tensor]


@torch.inference_mode()
def gather(
    network: UNet,
    tiles: Iterable[Tile],
    layers: Collection[str],
    mix: Mixes = target_alone,
    given: State | None = None,
    weights: Sequence[Tensor] | None = None,
    turned: bool = False,
) -> Gathered:
    """One forward pass over ``tiles``, in which the statistics of ``layers`` are taken under ``weights``.

    Layers normalise by ``given``, or by the mix of the source's statistics and those so far. ``weights``: for the core
    of each tile, (n, h, w). ``turned``: the network sees negatives, images mirrored about their mean.
    """
    collector = Collector(network, mix, live=given is None, turned=turned)
    probabilities: list[Tensor] = []
    with ExitStack() as stack:
        stack.callback(put, network, collector.source)
        put(network, given or {})
        for name, norm in norm_layers(network).items():
            if name in layers:
                hook = norm.register_forward_pre_hook(lambda _, taken, name=name: collector.look(name, taken[0]))
                stack.callback(hook.remove)
        for number, tile in enumerate(tiles):
            collector.next(tile, weights[number] if weights else None)
            if INPUT in layers:
                collector.look(INPUT, tile.images)
            logits = network(tile.images)[:, 0, tile.core[0], tile.core[1]]
            probabilities.append(torch.sigmoid(logits.float()).half())
    return Gathered(collector.state(unbiased=True), collector.state(unbiased=False), probabilities)


class Collector:
    """The statistics of a network's layers, while tiles pass: :meth:`next` names the tile, :meth:`look` takes it in."""

    def __init__(self, network: UNet, mix: Mixes, live: bool, turned: bool):
        """``live``: whether the network normalises by the statistics so far."""
        self.mix, self.live, self.turned = mix, live, turned
        self.own = statistics(network) | {name: getattr(network, name) for name in INPUT_TENSORS}
        self.source = {name: tensor.clone() for name, tensor in self.own.items()}
        self.pooled: dict[str, Pooled] = {}

    def next(self, tile: Tile, weights: Tensor | None) -> None:
        """What passes from here on belongs to ``tile``, whose core has ``weights`` (n, h, w)."""
        self.tile = tile
        self.grids = {} if weights is None else {1: weights.float()}

    def look(self, name: str, activation: Tensor) -> None:
        """Take in what layer ``name`` receives (n, channels, h, w), halo and padding left out."""
        height, width = activation.shape[-2:]
        rows, columns = core_at(self.tile, (height, width))
        if name not in self.pooled:
            self.pooled[name] = Pooled(activation.shape[1], activation.device)
        weights = self._weights(self.tile.images.shape[-2] // height) if self.grids else None
        self.pooled[name].add(activation[..., rows, columns], weights)
        if self.live:
            for key, tensor in self._tensors(name, unbiased=False).items():
                self.own[key].copy_(tensor)

    def state(self, unbiased: bool) -> State:
        """The tensors of all layers looked at, by their names in the state dict."""
        return {key: tensor for name in self.pooled for key, tensor in self._tensors(name, unbiased).items()}

    def _weights(self, stride: int) -> Tensor:
        """Means of the weights over the cells of a layer's grid; of cells at the image's end, over what is in it."""
        if stride not in self.grids:
            full = self.grids[1][:, None]
            self.grids[stride] = functional.avg_pool2d(full, stride, ceil_mode=True, count_include_pad=False)[:, 0]
        return self.grids[stride]

    def _mix(self, name: str) -> Mix:
        return self.mix if callable(self.mix) else self.mix[name]

    def _tensors(self, name: str, unbiased: bool) -> State:
        target = self.pooled[name].moments(unbiased)
        if name == INPUT:
            return self._input_tensors(*target)
        names = [f"{name}.{kind}" for kind in KINDS]
        source = self.source[names[0]], self.source[names[1]]
        return dict(zip(names, self._mix(name)(source, target), strict=True))

    def _input_tensors(self, mean: Tensor, variance: Tensor) -> State:
        """A negative, 2 mean - x, standardised by M and S is (x - (2 mean - M)) / -S: one state for one image.

        Where the source has that state, an image of a turned domain, its mean is of the images as they are.
        """
        source_mean, source_sd = (self.source[name].flatten() for name in INPUT_TENSORS)
        mixed, variance = self._mix(INPUT)((source_mean, source_sd.square()), (mean, variance))
        sd = variance.clamp(min=SMALLEST_INPUT_SD**2).sqrt()
        of_negatives = mixed if (source_sd < 0).all() else 2 * mean - mixed
        tensors = (of_negatives, -sd) if self.turned else (mixed, sd)
        return {name: tensor[:, None, None] for name, tensor in zip(INPUT_TENSORS, tensors, strict=True)}


def movement(before: State, after: State) -> float:
    """The largest difference between two states: of a mean in deviations of its channel, of a variance in itself."""
    return max(float(((after[name] - before[name]).abs() / _scale(after, name)).max()) for name in after)


def _scale(state: State, name: str) -> Tensor:
    scale = {
        "input_mean": lambda: state["input_sd"].abs(),
        "input_sd": lambda: state["input_sd"].abs(),
        "running_mean": lambda: state[name.replace("running_mean", "running_var")].sqrt(),
        "running_var": lambda: state[name],
    }[name.rpartition(".")[2]]()
    return scale.clamp(min=SMALLEST_SCALE)
