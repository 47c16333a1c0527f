"""A study: the config spelled out into domains, shift families, jobs, and which files they mean.

Read while Snakemake parses the workflow: it must not import torch. A config becomes one through
:func:`shiftgain.study.checks.study`, which finds its faults first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, permutations, product
from typing import NamedTuple

from shiftgain.domains import real, splits
from shiftgain.study.lineage import catalogue, registry
from shiftgain.study.names import DomainName, base_of, domain_of, layer_names, target_name, variant_of

# Options of training that make a network irregular: too brief, too fast, with stale statistics.
IRREGULAR = {"epochs", "learning_rate", "batchnorm_momentum"}
# Functions of methods that advice chooses from; others are there to be compared with.
ACTIONS = ("batchnorm", "remedy")
# The draw of what is read from the user's files, the same for all seeds.
FILES = "files"


@dataclass(frozen=True)
class Family:
    """Targets that one job takes for one source and seed: ``domains`` under all of ``shifts``, (transform, level)."""

    sources: tuple[str, ...]
    domains: tuple[str, ...]
    shifts: tuple[tuple[str, float], ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def targets(self) -> list[str]:
        """Domains by full name, transformation included, in the order of the tables."""
        names = (target_name(domain, *shift) for domain in self.domains for shift in self.shifts)
        return list(dict.fromkeys(names))


class Segmented(NamedTuple):
    """Masks of every image of a target by one source and one ``action``, a method or ``advised``, at a seed."""

    target: str
    source: str
    action: str
    family: str
    seed: int

    @property
    def folder(self) -> str:
        """``TARGET/SOURCE/ACTION``: what its folder is called."""
        return f"{self.target}/{self.source}/{self.action}"


class Training(NamedTuple):
    """How a network is trained: the ``model`` (channels, width, depth) and the ``options`` of config key train."""

    model: dict
    options: dict


@dataclass(frozen=True)
class Study:
    """A checked config, spelled out.

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
    def pictured(self) -> list[str]:
        """Those of the :attr:`job_names` whose images the figures show: each pair at the first of its seeds."""
        return [f"{source}/seed{self.families[family].seeds[0]}/{family}" for source, family in self.pairs]

    @property
    def pictured_networks(self) -> list[str]:
        """``NETWORK/seedSEED`` of the networks of :attr:`pictured`, each once."""
        return list(dict.fromkeys(job.rpartition("/")[0] for job in self.pictured))

    @cached_property
    def pictured_images(self) -> dict[str, str]:
        """Shift family -> :meth:`images_of` it at the first of its seeds."""
        return {name: self.images_of(name, family.seeds[0]) for name, family in self.families.items()}

    @cached_property
    def pictured_data(self) -> dict[str, str]:
        """Domain that is trained on -> :meth:`data_of` it at the first seed of its networks."""
        first = {domain_of(network): seed for network, seed in reversed(self.trained)}
        return {domain: self.data_of(domain, first[domain]) for domain in self.trained_domains}

    @cached_property
    def trained(self) -> list[tuple[str, int]]:
        """(network, seed): every source at the seeds of its blocks, and every oracle at all seeds."""
        oracles = [(name, seed) for name in self.config["oracles"] for seed in self.config["seeds"]]
        trainings = set(oracles) | {(source, seed) for source, seed, _ in self.jobs}
        return sorted(trainings, key=lambda training: (self.networks.index(training[0]), training[1]))

    @cached_property
    def network_names(self) -> list[str]:
        """``NETWORK/seedSEED`` of all :attr:`trained`: what their files are called."""
        return [f"{network}/seed{seed}" for network, seed in self.trained]

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

    @cached_property
    def real_domains(self) -> list[str]:
        """Named domains that are read from files of the user."""
        return [name for name, entry in self.config["domains"].items() if "path" in entry]

    @cached_property
    def _real_families(self) -> set[str]:
        """Shift families of real domains alone."""
        real = set(self.real_domains)
        return {
            name
            for name, family in self.families.items()
            if all(DomainName.parse(domain).base in real for domain in family.domains)
        }

    def data_of(self, network: str, seed: int | str) -> str:
        """``DOMAIN/DRAW`` of the images that a network is trained on at a seed: what their file is called."""
        domain = DomainName.parse(network)
        return f"{domain.domain}/{self._draw(domain.base in self.real_domains, seed)}"

    def data_if_any(self, network: str, seed: int | str) -> list[str]:
        """:meth:`data_of` a network, or nothing where it has no images."""
        return [] if network in self.imageless else [self.data_of(network, seed)]

    def images_of(self, family: str, seed: int | str) -> str:
        """``FAMILY/DRAW`` of the targets that the networks of a seed meet: what their file is called."""
        return f"{family}/{self._draw(family in self._real_families, seed)}"

    def _draw(self, from_files: bool, seed: int | str) -> str:
        """Name of the images of one seed of the study: ``seedN``, or :data:`FILES`."""
        fixed = self.config["generate"]["seed"]
        return FILES if from_files else f"seed{seed if fixed is None else fixed}"

    def specs(self, names: list[str], splits: list[str], draw: str = FILES) -> dict[str, dict]:
        """Full domain name -> everything that makes ``splits`` of it. See :func:`domain_spec`.

        A synthetic domain has a ``seed`` where a ``draw`` of its images is asked for, such as ``seed0``.
        """
        seed = {} if draw == FILES else {"seed": int(draw.removeprefix("seed"))}
        specs = {name: domain_spec(self.config, name) for name in names}
        for spec in specs.values():
            if "path" not in spec:
                spec |= {"images": {split: spec["images"][split] for split in splits}} | seed
            elif "look" in spec:
                # What is passed over changes nothing of what is read.
                spec["look"] = {key: value for key, value in spec["look"].items() if key != "passed_over"}
        return specs

    @cached_property
    def readings(self) -> dict[str, dict]:
        """Real domains that the study reads: name -> entry, with what was seen of its files."""
        return {name: entry for name, entry in self.config["domains"].items() if "look" in entry}

    @cached_property
    def read_data(self) -> list[str]:
        """What the files of the domains trained on are called, of those that are read from the user's files."""
        return [data for name, data in self.pictured_data.items() if base_of(name) in self.readings]

    @cached_property
    def read_images(self) -> list[str]:
        """What the files of shift families are called, of those with a target that is read from the user's files."""
        families = self.pictured_images.items()
        return [images for name, images in families if self.readings.keys() & map(base_of, self.families[name].domains)]

    @cached_property
    def passed_over(self) -> dict[str, dict]:
        """Real domain -> how many of its files were passed over, and why."""
        return {name: real.passed_over(entry) for name, entry in self.readings.items()}

    @cached_property
    def segmented(self) -> dict[str, Segmented]:
        """Folder -> the masks to be written, of each source and target that config key segment names."""
        entry = self.config["segment"]
        chosen = self.real_domains if entry["targets"] == "all" else entry["targets"]
        found: dict[str, Segmented] = {}
        for source, name in self.all_pairs:
            family = self.families[name]
            for target, action in product([target for target in family.targets if target in chosen], entry["methods"]):
                each = Segmented(target, source, action, name, family.seeds[0])
                if action in ("advised", "source", *family.methods):
                    found.setdefault(each.folder, each)
        return found

    def segmented_as(self, wildcards) -> Segmented:
        """The entry of :attr:`segmented` of a job."""
        return self.segmented[f"{wildcards.target}/{wildcards.source}/{wildcards.action}"]

    @property
    def summary(self) -> list[str]:
        """What is read of every real domain, in lines for people."""
        return [f"{name}: {line}" for name, entry in self.readings.items() for line in real.summary(entry)]

    @property
    def layers(self) -> list[str]:
        """Layers whose latents are taken, in the order of the network."""
        choice, known = self.config["latents"]["layers"], layer_names(self.config["model"]["depth"])
        return [layer for layer in known if choice == "all" or layer in choice]

    @property
    def judged(self) -> dict[str, dict]:
        """Hypotheses that get a verdict, in their own order: name -> entry of ``workflow/hypotheses.yaml``."""
        names = self.config["hypotheses"]["judge"]
        return {name: entry for name, entry in catalogue("hypotheses").items() if names == "all" or name in names}

    @property
    def irregular(self) -> dict[str, list[str]]:
        """Variant -> what it changes of how long, how fast and with what momentum of the statistics one trains."""
        changed = {
            name: sorted(IRREGULAR & entry.get("train", {}).keys()) for name, entry in self.config["variants"].items()
        }
        return {name: options for name, options in changed.items() if options}

    @property
    def decays(self) -> list[str]:
        """Sources of one domain whose networks differ in weight decay alone; none where there are no two."""
        variants = self.config["variants"]
        plain = [source for source, _ in self.pairs if not variant_of(source)]
        for domain in dict.fromkeys(plain):
            others = [
                source
                for source in dict.fromkeys(source for source, _ in self.pairs)
                if domain_of(source) == domain
                and variants.get(variant_of(source), {}).get("train", {}).keys() == {"weight_decay"}
            ]
            if others:
                return [domain, *others]
        return []

    @property
    def remedies(self) -> list[str]:
        """Methods that are remedies by their function, in the order of the config."""
        return [name for name, entry in self.config["methods"].items() if entry.get("function") == "remedy"]

    @property
    def resized(self) -> list[str]:
        """Sources whose network has a variant of the model, such as another width."""
        variants = self.config["variants"]
        return [name for name in self.networks if "model" in variants.get(variant_of(name), {})]

    @cached_property
    def frozen(self) -> dict[str, dict[str, list[str]]]:
        """Protocol -> role -> names: the pairs on which the shipped predictor is judged as it is.

        A role that is missing takes all names.
        """
        real = {"source": self.real_domains, "target": self.real_domains}
        return {"synthetic_to_real": real, "another_width": {"source": self.resized}}

    @property
    def asks_the_shipped_predictor(self) -> bool:
        """Whether any protocol of :attr:`frozen` names pairs of this study."""
        return any(names for roles in self.frozen.values() for names in roles.values())

    @cached_property
    def protocols(self) -> list[str]:
        """All protocols by which predictors are judged."""
        return [*registry("prediction/predictors", "PROTOCOLS"), *self.frozen]

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

    def targets(self, family: str, splits: list[str], draw: str) -> dict[str, dict]:
        """The :meth:`specs` of every target of a shift family."""
        return self.specs(self.families[family].targets, splits, draw)

    def methods(self, family: str) -> dict[str, dict]:
        """Adaptation methods of a shift family: name -> :meth:`method`."""
        methods = {}
        for name in self.families[family].methods:
            if baseline_of(name) in self.config["baselines"]:
                continue
            methods[name] = self.method(name)
        return methods

    def actions(self, family: str) -> list[str]:
        """Methods of a shift family that advice chooses from: plain refreshing and the remedies, of all images."""
        return [name for name in self.families[family].methods if self._is_action(name)]

    def actions_of(self, source: str) -> dict[str, dict]:
        """The :meth:`actions` of all shift families that a source meets: name -> :meth:`method`."""
        met = [family for one, family in self.pairs if one == source]
        return {name: self.method(name) for family in met for name in self.actions(family)}

    @cached_property
    def order(self) -> list[str]:
        """All actions of the study, the simpler first: a plain refresh, then in the order of the config."""
        met = {name for family in self.families for name in self.actions(family)}
        return [name for name in dict.fromkeys(["batchnorm", "remedy", *self.config["methods"]]) if name in met]

    @cached_property
    def rehearsed(self) -> list[str]:
        """``NETWORK/seedSEED`` of the networks that are rehearsed: every source that has an action to choose."""
        networks = [f"{source}/seed{seed}" for source, seed, family in self.jobs if self.actions(family)]
        return list(dict.fromkeys(networks))

    def _is_action(self, name: str) -> bool:
        entry = {} if baseline_of(name) in self.config["baselines"] else method_entry(self.config["methods"], name)
        return entry.get("function") in ACTIONS and not {"images", "at_test"} & entry.keys()

    def method(self, name: str) -> dict:
        """``function``, ``options``, and ``images`` or ``at_test`` of an adaptation method."""
        entry = method_entry(self.config["methods"], name)
        options = method_options(entry)
        return {key: value for key, value in entry.items() if key not in options} | {"options": options}

    def partner(self, seed: str, family: str) -> int | None:
        """Seed of the network whose predictions one of ``seed`` is compared with: the first other; None without."""
        return next((number for number in self.families[family].seeds if str(number) != seed), None)

    def of_partner(self, path: str) -> Callable:
        """Input function: ``path``, with ``{partner}``, of the :meth:`partner` of a job; nothing for a job without."""

        def files(wildcards) -> list | str:
            seed = self.partner(wildcards.seed, wildcards.family)
            return [] if seed is None else path.format(partner=seed, **wildcards)

        return files

    def baseline(self, name: str) -> dict:
        """``function``, ``selection``, ``options`` of a baseline; a variant has the rest from its function's entry.

        And ``start``, a :meth:`method`, where it goes on from the source's network as that adapts it.
        """
        entry = baseline_entry(self.config["baselines"], name)
        start = {"start": self.method(entry["start"])} if "start" in entry else {}
        options = baseline_options(entry)
        return {"function": entry["function"], "selection": entry["selection"], "options": options} | start

    def of_start(self, path: str) -> Callable:
        """Input function: ``path``, of the network that a baseline goes on from; nothing for random weights."""
        return lambda wildcards: path.format(**wildcards) if "start" in self.baseline(wildcards.method) else []

    def baselines(self, source: str, family: str) -> list[tuple[str, str]]:
        """(target, baseline) of the networks trained for one source towards a shift family; none towards itself."""
        entry = self.families[family]
        names = [name for name in self.config["baselines"] if name in map(baseline_of, entry.methods)]
        return [(target, name) for target in entry.targets if target != domain_of(source) for name in names]

    @cached_property
    def trainings(self) -> list[tuple[str, str, str, int]]:
        """(baseline, source, target, seed) of the whole study, each once."""
        trainings = (
            (name, source, target, seed)
            for source, seed, family in self.jobs
            for target, name in self.baselines(source, family)
        )
        return list(dict.fromkeys(trainings))


def imageless(domains: dict[str, dict]) -> list[str]:
    """Entries of config key domains that have a network and no images."""
    return [name for name, entry in domains.items() if "network" in entry and "path" not in entry]


def baseline_of(method: str) -> str:
    """The name before ``+batchnorm``: NAME+batchnorm is BN adaptation of the network that baseline NAME trained."""
    return method.removesuffix("+batchnorm")


def method_entry(entries: dict[str, dict], name: str) -> dict:
    """An entry of config key methods; a function without one is a method by its own name."""
    return {"function": name} | entries.get(name, {})


def method_options(entry: dict) -> dict:
    """What an entry of config key methods hands to its function by name."""
    return {key: value for key, value in entry.items() if key not in ("function", "images", "at_test")}


def baseline_entry(entries: dict[str, dict], name: str) -> dict:
    """An entry of config key baselines; a variant has the rest from the entry that is named as its function."""
    return entries.get(entries[name]["function"], {}) | entries[name]


def baseline_options(entry: dict) -> dict:
    """What an entry of config key baselines hands to its function by name."""
    return {key: value for key, value in entry.items() if key not in ("function", "selection", "start")}


def domain_spec(config: dict, name: str) -> dict:
    """The parameters of a domain: of its images, and ``transform`` and ``level`` on top.

    Real domains have a ``path``; synthetic ones have what :mod:`shiftgain.domains.synthetic` asks for but the seed.
    """
    parsed = DomainName.parse(name)
    spec = {"name": parsed.base, "transform": parsed.transform, "level": parsed.level}
    generate = config["generate"]
    entry = config["domains"].get(parsed.base, {})
    spec["channels"] = generate["channels"]
    if "path" in entry:
        split = entry.get("split", {})
        # A layout alone says nothing of shares.
        inherited = not split.keys() - {"layout"}
        if inherited and "network" in entry:
            split, inherited = {"layout": splits.SHARED} | dict.fromkeys(splits.SPLITS, splits.ALL), False
        entry = {key: value for key, value in entry.items() if key != "network"}
        return spec | entry | {"split": generate["split"] | split if inherited else split, "split_inherited": inherited}
    means = entry.get("means") or list(parsed.means or ())
    for key in ("size", "images", "perlin", "noise"):
        default, override = generate[key], entry.get(key, {})
        spec[key] = default | override if isinstance(default, dict) else override or default
    rule = entry if {"threshold", "foreground"} & entry.keys() else generate
    mask = {key: rule[key] for key in ("threshold", "foreground") if rule.get(key) is not None}
    if "foreground_spread" in entry:
        mask["foreground_spread"] = entry["foreground_spread"]
    return spec | {"means": means, "masks": entry.get("masks", generate["masks"])} | mask


def families(config: dict) -> Iterator[tuple[str, Family]]:
    """(name, family) of every block of ``pairs``, cut by ``adapt.transforms_per_job`` and ``adapt.domains_per_job``."""
    for block in config["pairs"]:
        names = _names(block["targets"])
        step, together = config["adapt"]["domains_per_job"], config["adapt"]["transforms_per_job"]
        for first in range(0, len(block["transforms"]), together):
            taken = dict(islice(block["transforms"].items(), first, first + together))
            for part, start in enumerate(range(0, len(names), step)):
                name = f"{block['name']}-{'+'.join(taken)}" + (f"-{part}" if part else "")
                yield (
                    name,
                    Family(
                        sources=tuple(_names(block["sources"])),
                        domains=tuple(names[start : start + step]),
                        shifts=tuple((shift, float(level)) for shift, levels in taken.items() for level in levels),
                        methods=tuple(block["methods"]),
                        seeds=tuple(block.get("seeds", config["seeds"])),
                    ),
                )


def _names(domains: list | dict) -> list[str]:
    if isinstance(domains, list):
        return domains
    grid = domains["grid"]
    # Pairs that use a later grid value come later, so that appending a value only appends domains.
    order = sorted(permutations(range(len(grid)), 2), key=lambda pair: (max(pair), pair))
    return [str(DomainName.of_means(grid[mask], grid[background])) for mask, background in order]
