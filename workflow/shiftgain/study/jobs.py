"""What is run: sources, networks, seeds and targets of a study, and what their files are called."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from shiftgain.study.entries import imageless
from shiftgain.study.families import Family
from shiftgain.study.names import domain_of, layer_names, variant_of


class Training(NamedTuple):
    """How a network is trained: the ``model`` (channels, width, depth) and the ``options`` of config key train."""

    model: dict
    options: dict


@dataclass(frozen=True)
class Jobs:
    """A checked config, spelled out into jobs.

    ``families``: name -> :class:`Family`; ``networks``: trained domains, ``~VARIANT`` and all.
    """

    config: dict
    families: dict[str, Family]
    networks: tuple[str, ...]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(source, family) of the whole study, those that can be compared: the source has images."""
        return [pair for pair in self.all_pairs if pair[0] not in self.imageless]

    @cached_property
    def all_pairs(self) -> list[tuple[str, str]]:
        """(source, family) of the whole study."""
        return [(source, name) for name, family in self.families.items() for source in family.sources]

    @cached_property
    def imageless(self) -> list[str]:
        """Sources of which there is a network that was trained elsewhere, and no image: masks are all that is made."""
        return imageless(self.config["domains"])

    @cached_property
    def jobs(self) -> list[tuple[str, int, str]]:
        """(source, seed, family) of the whole study: what adapt, evaluate, latents, distances and score run over."""
        return [(source, seed, name) for source, name in self.pairs for seed in self.families[name].seeds]

    @cached_property
    def job_names(self) -> list[str]:
        """``SOURCE/seedSEED/FAMILY`` of all :attr:`jobs`: what their files are called."""
        return [f"{source}/seed{seed}/{family}" for source, seed, family in self.jobs]

    @cached_property
    def trained(self) -> list[tuple[str, int]]:
        """(network, seed): every source at the seeds of its blocks, and every oracle at all seeds."""
        oracles = [(name, seed) for name in self.config["oracles"] for seed in self.config["seeds"]]
        trainings = set(oracles) | {(source, seed) for source, seed, _ in self.jobs}
        return sorted(trainings, key=lambda training: (self.networks.index(training[0]), training[1]))

    @cached_property
    def adopted(self) -> dict[str, dict]:
        """Sources whose network was trained elsewhere -> the description of it."""
        entries, names = self.config["domains"], [*self.networks, *self.imageless]
        return {name: entries[name]["network"] for name in names if "network" in entries.get(name, {})}

    @cached_property
    def fitted_names(self) -> list[str]:
        """``NETWORK/seedSEED`` of the networks that this study trains, which have a training curve."""
        return [f"{network}/seed{seed}" for network, seed in self.trained if network not in self.adopted]

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds at which any network is trained, ascending."""
        return sorted({seed for _, seed in self.trained})

    @cached_property
    def trained_domains(self) -> list[str]:
        """Full names of the domains that networks are trained on, each once."""
        return list(dict.fromkeys(map(domain_of, self.networks)))

    @cached_property
    def targets_of(self) -> dict[str, list[str]]:
        """Shift family -> full names of its targets, in the order of the alphabet: that of its file."""
        return {name: sorted(family.targets) for name, family in self.families.items()}

    @cached_property
    def domains(self) -> list[str]:
        """Full names of all targets, family by family, then of the domains trained on; each once."""
        targets = (target for names in self.targets_of.values() for target in names)
        return list(dict.fromkeys([*targets, *self.trained_domains]))

    @property
    def layers(self) -> list[str]:
        """Layers whose latents are taken, in the order of the network."""
        choice, known = self.config["latents"]["layers"], layer_names(self.config["model"]["depth"])
        return [layer for layer in known if choice == "all" or layer in choice]

    @property
    def channels(self) -> int:
        """Of all images of the study."""
        return self.config["generate"]["channels"]

    def networks_of(self, seed: str) -> list[str]:
        """The networks that are trained at one seed."""
        return [name for name, number in self.trained if str(number) == seed]

    def training(self, network: str) -> Training:
        """How a network is trained: as the config says, with what its variant changes."""
        variant = self.config["variants"].get(variant_of(network), {})
        model = {"channels": self.channels} | self.config["model"] | variant.get("model", {})
        options = self.config["train"] | variant.get("train", {})
        return Training(model, {key: value for key, value in options.items() if key != "threads"})
