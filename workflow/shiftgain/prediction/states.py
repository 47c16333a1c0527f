"""A network on the images of a target, in the state that an action puts it into: the views that scores are made of.

An action is to keep the network, or a method that changes its statistics. Beside the images each view holds what two
small changes do to the prediction: noise on the first images, and statistics half-way back to the source's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import h5py
import numpy as np
import torch
from torch import Tensor

from shiftgain.adaptation import batchnorm, remedies
from shiftgain.adaptation.statistics import INPUT_TENSORS
from shiftgain.files import store
from shiftgain.network import normalisation
from shiftgain.network.inference import BATCH_PIXELS, evenly
from shiftgain.network.normalisation import State
from shiftgain.network.tiles import tiles_of
from shiftgain.network.unet import UNet, to_input
from shiftgain.prediction.view import View
from shiftgain.study.names import KEPT, PLAIN

# Pixels of a domain that are looked at, over all its images, and no fewer images than so many for their sake.
VIEW_PIXELS = 2**20
FEWEST_IMAGES = 8
# Of the images' standard deviation: noise that a sound prediction withstands on the source.
PERTURBATION = 0.25
# Images of each batch that are perturbed: a ratio of counts needs no more, and each costs two passes.
PROBED_IMAGES = 6
# Channels that are constant on the source are as far from it as any.
LARGEST_DISTANCE = 10.0
SMALLEST_VARIANCE = 1e-5


@dataclass(frozen=True)
class Action:
    """``state``: tensors in place for all images; ``own``: how each image gets statistics of its own besides."""

    state: State = field(default_factory=dict)
    own: remedies.Own | None = None


def views(
    network: UNet, batches: Sequence[Tensor], actions: Mapping[str, Action], rows: int, threshold: float
) -> dict[str, View]:
    """Name of an action -> :func:`view`, of the network that is kept first, as :data:`KEPT`.

    Where method ``batchnorm`` is among ``actions``, it is the end of the path on which the kept network lies.
    """
    end = actions[PLAIN] if PLAIN in actions else refreshed(network, batches)
    return {
        name: view(network, batches, rows, threshold, action, end)
        for name, action in ({KEPT: Action()} | dict(actions)).items()
    }


def labelled_view(
    network: UNet, split: h5py.Group, images: int, rows: int, threshold: float, device: torch.device
) -> View:
    """:func:`view` of the first ``images`` of a split of the source by the network as it is, with its masks.

    Of a pixel that does not count the prediction stands in the masks, whose shapes are then whole.
    """
    n, pixels = _amount(split, images, store.count(split))
    batches, masks, missing = [], [], n
    for batch, truth in store.batches(split, BATCH_PIXELS):
        batches.append(to_input(middle(batch[:missing], pixels), device))
        masks.append(middle(np.asarray(truth)[:missing], pixels))
        missing -= len(batch)
        if missing <= 0:
            break
    found = view(network, batches, rows, threshold, Action(), refreshed(network, batches))
    counted = [part != store.IGNORED for part in masks]
    labels = [np.where(told, part == 1, p) for told, part, p in zip(counted, masks, found.predicted, strict=True)]
    return replace(found, labels=labels, counted=None if all(told.all() for told in counted) else counted)


def looked_at(split: h5py.Group, images: int, device: torch.device, chosen: np.ndarray | None = None) -> list[Tensor]:
    """The first ``images`` of a split, or of those ``chosen``, or all, as batches (n, channels, H, W).

    Of a series of the user, whose neighbours are alike, those taken are spread over it. Of large images the middle is
    taken, and fewer of them.
    """
    numbers = np.arange(store.count(split)) if chosen is None else chosen
    n, pixels = _amount(split, images, len(numbers))
    if "look" in split.attrs:
        numbers = evenly(numbers, n)
    return [
        to_input(middle(batch, pixels), device)
        for batch in store.image_batches(split, BATCH_PIXELS, chosen=numbers[:n])
    ]


def _amount(split: h5py.Group, images: int, count: int) -> tuple[int, int]:
    """How many images are looked at, and how many pixels of each."""
    size = max(stack.shape[1] * stack.shape[2] for stack, _ in store.stacks(split))
    n = min(images, count, max(FEWEST_IMAGES, VIEW_PIXELS // size))
    return n, VIEW_PIXELS // n


def middle(images: np.ndarray, pixels: int) -> np.ndarray:
    """The middle of images (n, H, W, ...), ``pixels`` of each at most, in their proportions; all of small images."""
    height, width = images.shape[1:3]
    share = min(1, (pixels / (height * width)) ** 0.5)
    rows = max(1, int(height * share))
    columns = max(1, min(int(width * share), pixels // rows))
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[:, top : top + rows, left : left + columns]


def refreshed(network: UNet, batches: Sequence[Tensor]) -> Action:
    """Method ``batchnorm`` on these images alone: what the path from the source's statistics leads to."""
    return Action(batchnorm.batchnorm(network, tiles_of(together(batches), network.depth)))


@torch.inference_mode()
def view(
    network: UNet,
    batches: Sequence[Tensor],
    rows: int,
    threshold: float,
    action: Action,
    end: Action,
) -> View:
    """What ``network`` says of ``batches`` float (n, channels, H, W) under ``action``.

    Features are kept at ``rows`` positions of the images, drawn without regard to the network. Half-way is between the
    source's statistics and those of the action; for a network that is kept, between the source's and those of ``end``.
    """
    source = {name: tensor.clone() for name, tensor in normalisation.statistics(network).items()}
    per_image = -(-rows // sum(len(images) for images in batches))
    probabilities, perturbed, halfway, samples, at = [], [], [], [], []
    for number, images in enumerate(batches):
        rng = np.random.default_rng(number)
        n, size = len(images), images.shape[-2:]
        chosen = rng.integers(0, size[0] * size[1], (n, per_image))
        noise = torch.from_numpy(rng.standard_normal((min(n, PROBED_IMAGES), *images.shape[1:]), dtype=np.float32))
        noisy = images[:PROBED_IMAGES] + PERTURBATION * images.std() * noise.to(images.device)
        parts: list[list[np.ndarray]] = [[], [], [], []]
        for which, state in _states(network, images, action):
            p, features = _pass(network, images[which], state)
            places = torch.from_numpy(chosen[which]).to(images.device)
            index = places[:, None].expand(-1, features.shape[1], -1)
            kept = features.flatten(2).gather(2, index).transpose(1, 2).flatten(0, 1)
            parts[0].append(p)
            parts[3].append(kept.float().cpu().numpy())
            probed = slice(which.start, min(which.stop, PROBED_IMAGES))
            if probed.start < probed.stop:
                between = _halfway(source, state or end.state, state)
                parts[1].append(_pass(network, noisy[probed], state)[0])
                parts[2].append(_pass(network, images[probed], between)[0])
        p = np.concatenate(parts[0])
        probabilities.append(p)
        perturbed.append(np.concatenate(parts[1]))
        halfway.append(np.concatenate(parts[2]))
        samples.append(np.concatenate(parts[3]))
        at.append(np.take_along_axis(p.reshape(n, -1), chosen, axis=1).ravel())
    return View(
        images=[images.mean(1).cpu().numpy() for images in batches],
        probabilities=probabilities,
        rows=np.concatenate(samples).astype(float),
        row_probabilities=np.concatenate(at),
        threshold=threshold,
        perturbed=perturbed,
        halfway=halfway,
        turned="input_sd" in action.state and bool((action.state["input_sd"] < 0).all()),
        own_part=action.own.part if action.own else 0.0,
        moved=distance(source, source | action.state),
        off_refresh=distance(end.state, source | action.state),
    )


def distance(first: State, second: State) -> float:
    """Root mean square over the channels of all layers of (m_2 - m_1) / s_1, at most :data:`LARGEST_DISTANCE`."""
    moves = [
        (second[name] - mean) / first[name.replace("_mean", "_var")].clamp(min=SMALLEST_VARIANCE).sqrt()
        for name, mean in first.items()
        if name.endswith("running_mean")
    ]
    return min(float(torch.cat(moves).square().mean().sqrt()), LARGEST_DISTANCE) if moves else 0.0


def together(batches: Sequence[Tensor]) -> Sequence[Tensor]:
    """``batches`` as one where their images are of one size: statistics of a single batch take a single pass."""
    return [torch.cat(list(batches))] if len({batch.shape[1:] for batch in batches}) == 1 else batches


def _states(network: UNet, images: Tensor, action: Action) -> Iterator[tuple[slice, State]]:
    """Runs of images, and the state of each run: all of them, or every image by itself."""
    if action.own is None:
        yield slice(0, len(images)), action.state
        return
    for number in range(len(images)):
        tiles = tiles_of([images[number : number + 1]], network.depth)
        with normalisation.adapted(network, action.state):
            own = remedies.of_image(network, tiles, action.own)
        yield slice(number, number + 1), action.state | own


def _pass(network: UNet, images: Tensor, state: State) -> tuple[np.ndarray, Tensor]:
    """Foreground probability (n, H, W), and the features (n, C, H, W) that the head receives.

    What is looked at of an image is small enough for a single tile.
    """
    (tile,) = tiles_of([images], network.depth)
    with normalisation.adapted(network, state):
        features, logits = (part[..., *tile.core] for part in network.features_and_logits(tile.images))
    return torch.sigmoid(logits[:, 0].float()).cpu().numpy(), features


def _halfway(source: State, end: State, state: State) -> State:
    """Half of the way from the source's statistics to those of ``end``; the input as ``state`` has it."""
    between = {name: torch.lerp(tensor, end[name], 0.5) for name, tensor in source.items() if name in end}
    return between | {name: state[name] for name in INPUT_TENSORS if name in state}
