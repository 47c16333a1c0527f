"""What a method makes of a target: the artefact that stage adapt keeps, and from which self-training may start."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import h5py
import torch

from shiftgain.adaptation import remedies, statistics
from shiftgain.adaptation.methods import COMPARING, METHODS
from shiftgain.files import store
from shiftgain.network import checkpoint
from shiftgain.network.inference import Inputs
from shiftgain.network.normalisation import State
from shiftgain.network.tiles import Tile
from shiftgain.network.unet import UNet

# Images of the source that a target is compared with, of those that its statistics were taken of in training.
REFERENCE_IMAGES = 32


class Artefact(NamedTuple):
    """The tensors that a method changes, what remains to be done for each image, and how many images it took.

    ``image_presentations``: images times passes; passes that methods of one call share are those of the first of them.
    """

    state: State
    own: remedies.Own | None
    n_target_images: int
    image_presentations: int


def adapter(
    network: UNet, source: h5py.File | None, seed: int, device: torch.device, home: str = ""
) -> Callable[[h5py.Group, dict[str, dict]], dict[str, Artefact]]:
    """A function from the images of a split and methods, by name, to the :class:`Artefact` of ``network`` by each.

    A method has ``function``, ``options`` and, where it sees few, ``images``, the number of them drawn by ``seed``.
    Of a target of ``home``, the domain that the network was trained on, images that it has seen are left out. Masks are
    not read, of the source or of the target.
    """
    pixels = statistics.one_pass_pixels(network)

    @cache
    def reference() -> remedies.Reference:
        assert source is not None, "the check of the config has refused this"
        trained_on = Inputs(source["train"], device, network.depth, pixels=pixels)
        return remedies.reference(network, trained_on.draw(REFERENCE_IMAGES, seed))

    def adapt(split: h5py.Group, methods: dict[str, dict]) -> dict[str, Artefact]:
        domains: dict[int, remedies.Domain] = {}
        made, passed = {}, list[int]()
        for name, method in methods.items():
            images = Counted(split, device, network.depth, store.unseen(split, home), pixels=pixels, passed=passed)
            if "images" in method:
                images = images.draw(method["images"], seed)
            domain = domains.setdefault(images.count, remedies.Domain(network, images))
            function, options, own = METHODS[method["function"]], method["options"], None
            before = sum(passed)
            if method["function"] in COMPARING:
                state, own = function(domain, reference(), **options)
            else:
                state = function(network, domain.images, **options)
            made[name] = Artefact(state, own, images.count, sum(passed) - before)
        return made

    return adapt


def kept(group: h5py.Group, network: UNet) -> tuple[State, dict]:
    """What stage adapt kept: (tensors to put in place, how :func:`predict` adapts to each image or batch besides)."""
    if "method" not in group.attrs:
        own = own_of(group)
        how = {} if own is None else {"adapt": partial(remedies.of_image, own=own), "at_most": 1}
        return checkpoint.get_state(group, network), how
    method = store.get_json(group, "method")
    function = partial(METHODS[method["function"]], **method["options"])
    return {}, {"adapt": function, "at_most": method["at_test"]}


def own_of(group: h5py.Group) -> remedies.Own | None:
    """How each image gets statistics of its own, where stage adapt kept that."""
    return remedies.Own(**store.get_json(group, "own")) if "own" in group.attrs else None


@dataclass(frozen=True)
class Counted(Inputs):
    """Images, and how many of them a method took, pass after pass."""

    passed: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[Tile]:
        for tile in super().__iter__():
            self.passed.append(tile.begun)
            yield tile
