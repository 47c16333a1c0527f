"""What a network that was trained elsewhere asks of its tiles, and its layers, seen as an image passes through it."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shiftgain.files.errors import StudyError
from shiftgain.network.adopted import Adopted, output_of
from shiftgain.network.tiles import up

# Of the image that is passed to see what the modules make of it: deep networks leave 8 positions of it.
PROBE_SIDE = 256
# A strip of so many rows and up to so many columns tells how far a network sees: no convolutional one sees further.
STRIP_ROWS, LONGEST_STRIP = 64, 2048
# What takes in the whole of an image; pooling to one position shows by its size.
WHOLE_IMAGE_LAYERS = (nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm, nn.MultiheadAttention)
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# Halo of a network that sees the whole of an image, in pixels: what is near counts most all the same.
WHOLE_IMAGE_HALO = 64


def examine(network: Adopted, cell: int | None = None, halo: int | None = None) -> dict:
    """The traits of a network: what it asks of tiles, its batch-norm layers in order, and its layers by name.

    ``cell``, ``halo``: as the user gives them; without, they are measured. ``cell`` is the side of the square of pixels
    that the coarsest activation has for each position; ``halo`` how far beyond such squares it sees (:func:`reach`).
    Layers are named as those of a U-Net: on the way down to the coarsest grid, the last batch norm of each coarser grid
    is encoder1, encoder2, ...; the last on the coarsest is the bottleneck; behind it, the last of each finer grid is
    decoderK ... decoder1. Without such a way down, the first batch norm is encoder1. In a network without
    batch norm, convolutions stand in their place.

    Errors: :class:`StudyError` where the network does not take images, or where its output has another size.
    """
    side = PROBE_SIDE if cell is None else up(PROBE_SIDE, cell)
    passed, outputs = _passed(network, side)
    if outputs.shape[-2:] != (side, side):
        made = " x ".join(map(str, outputs.shape[-2:]))
        raise StudyError(f"network: makes {made} of {side} x {side} pixels; wrap it so that each pixel has an output")
    if max(network.foreground) >= outputs.shape[1]:
        raise StudyError(f"network: foreground {network.foreground} of {outputs.shape[1]} outputs; count from 0")
    grids = [each.size for each in passed if each.size]
    cell = cell or -(-side // min(size for size in grids if size > 1))
    seen = halo
    if halo is None and 1 not in grids and not any(isinstance(each.part, WHOLE_IMAGE_LAYERS) for each in passed):
        seen = reach(network.module, len(network.input_mean), cell)
    norms = [place for place, each in enumerate(passed) if each.normalises]
    convolutions = [place for place, each in enumerate(passed) if isinstance(each.part, CONVOLUTIONS)]
    if not convolutions:
        raise StudyError("network: has no convolution; it cannot be adopted")
    layers = [
        (passed[place].name, side // passed[place].size, _after(passed, place)) for place in norms or convolutions
    ]
    return {
        "cell": cell,
        "halo": up(WHOLE_IMAGE_HALO if seen is None else seen, cell),
        "sees_whole_image": seen is None,
        "norms": list(dict.fromkeys(passed[place].name for place in norms)),
        "layers": _named(layers),
        "receiver": passed[convolutions[-1]].name,
        "values_per_pixel": max(each.given.shape[1] * each.size**2 for each in passed if each.size) / side**2,
        "outputs": outputs.shape[1],
    }


class Passed(NamedTuple):
    """A module without parts, what it took and what it gave, as an image passed."""

    name: str
    part: nn.Module
    taken: tuple
    given: Any

    @property
    def size(self) -> int:
        """Columns of what it gave, 0 where that is no image."""
        return self.given.shape[-1] if isinstance(self.given, Tensor) and self.given.ndim == 4 else 0

    @property
    def normalises(self) -> bool:
        """Whether it is batch norm with statistics of its own."""
        return isinstance(self.part, nn.BatchNorm2d) and self.part.running_mean is not None


def _passed(network: Adopted, side: int) -> tuple[list[Passed], Tensor]:
    """What the modules of a network did as an image of ``side`` passed, in order, and the output.

    Errors: :class:`StudyError` where it cannot pass.
    """
    passed: list[Passed] = []
    hooks = [
        part.register_forward_hook(
            lambda part, taken, given, name=name: passed.append(Passed(name, part, taken, given))
        )
        for name, part in network.module.named_modules()
        if not list(part.children())
    ]
    channels = len(network.input_mean)
    images = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            return passed, output_of(network.module(network.standardise(images)))
    except StudyError:
        raise
    except Exception as error:
        what = " ".join(str(error).split())[:200]
        raise StudyError(
            f"network: cannot take {channels} channels of {side} x {side} ({what}); set generate.channels to what it "
            "takes, or correct kwargs"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _after(passed: list[Passed], place: int) -> str | None:
    """The module that takes what the one at ``place`` gave, where it is an activation; dropout may be between."""
    for each in passed[place + 1 : place + 3]:
        if type(each.part).__module__ == "torch.nn.modules.activation":
            return each.name
        if not isinstance(each.part, nn.Dropout | nn.Dropout2d | nn.Identity):
            break
    return None


def _named(norms: list[tuple[str, int, str | None]]) -> dict[str, dict]:
    """Layer -> ``norm`` and ``relu``, of (norm, stride, activation after it) in the order of execution."""
    if not norms:
        return {}
    coarsest = max(stride for _, stride, _ in norms)
    places = [place for place, (_, stride, _) in enumerate(norms) if stride == coarsest]
    named: dict[str, int] = {}
    down = {stride: place for place, (_, stride, _) in enumerate(norms[: places[0]])}
    up_again = {stride: place for place, (_, stride, _) in enumerate(norms) if place > places[-1]}
    for number, stride in enumerate(sorted(down), start=1):
        named[f"encoder{number}"] = down[stride]
    if not down and places[-1] > 0:
        named["encoder1"] = 0
    named["bottleneck"] = places[-1]
    for number, stride in enumerate(sorted(up_again), start=1):
        named[f"decoder{number}"] = up_again[stride]
    order = sorted(named, key=lambda name: named[name])
    return {name: {"norm": norms[named[name]][0], "relu": norms[named[name]][2]} for name in order}


def reach(module: nn.Module, channels: int, cell: int) -> int | None:
    """How many pixels beyond the squares of ``cell`` pixels a module sees; None where it sees the whole image.

    Not-a-number passes through every operation that takes it in, whatever the weights: of a strip, the pixels on one
    side of a border between squares are made not-a-number, and it is seen how far the output is on the other side.
    """
    length = up(PROBE_SIDE, 2 * cell)
    # oneDNN transforms tiles of an image together, or compares, and so spreads not-a-number too far or loses it.
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=False):
        while length <= LONGEST_STRIP:
            spreads = [_spread(module, channels, up(STRIP_ROWS, cell), length, turned) for turned in (False, True)]
            if None not in spreads:
                return max(spread for spread in spreads if spread is not None)
            length *= 2
    return None


def _spread(module: nn.Module, channels: int, rows: int, length: int, turned: bool) -> int | None:
    """Pixels by which not-a-number spreads over a border in the middle of a strip; None where it reaches the end."""
    strip = torch.rand(1, channels, rows, length, generator=torch.Generator().manual_seed(0))
    middle, spreads = length // 2, []
    for part in (slice(0, middle), slice(middle, length)):
        images = strip.clone()
        images[..., part] = torch.nan
        outputs = output_of(module(images.mT if turned else images))
        lost = (outputs.mT if turned else outputs).isnan().any(1).any(0).any(0)
        beyond = lost[middle:] if part.start == 0 else lost[:middle].flip(0)
        if bool(beyond[-1]):
            return None
        spreads.append(int(beyond.nonzero().max()) + 1 if bool(beyond.any()) else 0)
    return max(spreads)
