"""The config, checked and spelled out: domains, shift families, and which files they mean.

Read while Snakemake parses the workflow: it must not import torch, and every fault it finds is one line that
names the key and the remedy, before any job starts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice, permutations
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from workflow.lib import real, transforms
from workflow.lib.errors import StudyError
from workflow.lib.lineage import registry
from workflow.lib.names import domain_of, layer_names, target_name

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"
IRREGULAR = {"epochs", "learning_rate", "batchnorm_momentum"}
MEANS = re.compile(r"^(\d\.\d\d)-(\d\.\d\d)$")


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


@dataclass(frozen=True)
class Study:
    """A checked config. ``families``: name -> :class:`Family`; ``networks``: trained domains, ``~VARIANT`` and all."""

    config: dict
    families: dict[str, Family]
    networks: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(source, family) of the whole study."""
        return [(source, name) for name, family in self.families.items() for source in family.sources]

    @property
    def jobs(self) -> list[tuple[str, int, str]]:
        """(source, seed, family) of the whole study: what adapt, evaluate, latents, distances and score run over."""
        return [(source, seed, name) for source, name in self.pairs for seed in self.families[name].seeds]

    @property
    def trained(self) -> list[tuple[str, int]]:
        """(network, seed): every source at the seeds of its blocks, and every oracle at all seeds."""
        oracles = [(name, seed) for name in self.config["oracles"] for seed in self.config["seeds"]]
        found = set(oracles) | {(source, seed) for source, seed, _ in self.jobs}
        return sorted(found, key=lambda each: (self.networks.index(each[0]), each[1]))

    def specs(self, names: list[str], splits: list[str]) -> dict[str, dict]:
        """Full domain name -> everything that makes ``splits`` of it. See :func:`domain_spec`."""
        found = {name: domain_spec(self.config, name) for name in names}
        for spec in found.values():
            if "images" in spec:
                spec["images"] = {split: spec["images"][split] for split in splits}
        return found

    @property
    def layers(self) -> list[str]:
        """Layers whose latents are taken, in the order of the network."""
        asked, known = self.config["latents"]["layers"], layer_names(self.config["model"]["depth"])
        return [layer for layer in known if asked == "all" or layer in asked]

    @property
    def judged(self) -> list[str]:
        """Hypotheses that get a verdict, in their own order."""
        asked = self.config["hypotheses"]["judge"]
        return [name for name in registry("hypotheses", "HYPOTHESES") if asked == "all" or name in asked]

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
        plain = [source for source, _ in self.pairs if "~" not in source]
        for domain in dict.fromkeys(plain):
            others = [
                source
                for source in dict.fromkeys(source for source, _ in self.pairs)
                if domain_of(source) == domain
                and variants.get(source.partition("~")[2], {}).get("train", {}).keys() == {"weight_decay"}
            ]
            if others:
                return [domain, *others]
        return []

    @property
    def resized(self) -> list[str]:
        """Sources whose network has a variant of the model, such as another width."""
        variants = self.config["variants"]
        return [name for name in self.networks if "model" in variants.get(name.partition("~")[2], {})]

    def networks_of(self, seed: str) -> list[str]:
        """The networks that are trained at one seed."""
        return [name for name, number in self.trained if str(number) == seed]

    def training(self, network: str) -> tuple[dict, dict]:
        """(``model``, ``train``) of a network: those of the config, with what its variant changes."""
        variant = self.config["variants"].get(network.partition("~")[2], {})
        model = {"channels": self.config["generate"]["channels"]} | self.config["model"] | variant.get("model", {})
        options = self.config["train"] | variant.get("train", {})
        return model, {key: value for key, value in options.items() if key != "threads"}

    def targets(self, family: str, splits: list[str]) -> dict[str, dict]:
        """The :meth:`specs` of every target of a shift family."""
        return self.specs(self.families[family].targets, splits)

    def methods(self, family: str) -> dict[str, dict]:
        """Adaptation methods of a shift family: name -> ``function``, its ``options``, ``images`` or ``at_test``."""
        found = {}
        for name in self.families[family].methods:
            if baseline_of(name) in self.config["baselines"]:
                continue
            entry = {"function": name} | self.config["methods"].get(name, {})
            options = {key: value for key, value in entry.items() if key not in ("function", "images", "at_test")}
            found[name] = {key: value for key, value in entry.items() if key not in options} | {"options": options}
        return found

    def partner(self, source: str, seed: str, family: str) -> dict[str, str]:
        """Paths of ``model`` and ``adapted`` of another seed: the first that is another; empty for a single seed."""
        other = next((number for number in self.families[family].seeds if str(number) != seed), None)
        if other is None:
            return {}
        paths = {"model": f"models/{source}/seed{other}.h5", "adapted": f"adapted/{source}/seed{other}/{family}.h5"}
        return {kind: str(Path(self.config["results"], path)) for kind, path in paths.items()}

    def baseline(self, name: str) -> dict:
        """``function``, ``selection``, ``options`` of a baseline; a variant has the rest from its function's entry."""
        entries = self.config["baselines"]
        entry = entries.get(entries[name]["function"], {}) | entries[name]
        options = {key: value for key, value in entry.items() if key not in ("function", "selection")}
        return {"function": entry["function"], "selection": entry["selection"], "options": options}

    def baselines(self, source: str, family: str) -> list[tuple[str, str]]:
        """(target, baseline) of the networks trained for one source towards a shift family; none towards itself."""
        found = self.families[family]
        names = [name for name in self.config["baselines"] if name in map(baseline_of, found.methods)]
        return [(target, name) for target in found.targets if target != domain_of(source) for name in names]

    @property
    def trainings(self) -> list[tuple[str, str, str, int]]:
        """(baseline, source, target, seed) of the whole study, each once."""
        found = (
            (name, source, target, seed)
            for source, seed, family in self.jobs
            for target, name in self.baselines(source, family)
        )
        return list(dict.fromkeys(found))


def study(config: dict) -> Study:
    """Check ``config`` against the schema and against itself, and expand it.

    Errors: :class:`StudyError`, one line per fault.
    """
    config = {key: value for key, value in config.items() if key != "pathvars"}
    faults = list(schema_faults(config)) or list(_own_faults(config))
    if faults:
        raise StudyError("\n".join(faults))
    found = dict(_families(config))
    sources = [source for family in found.values() for source in family.sources]
    faults = list(dict.fromkeys(_domain_faults(config, found, sources)))
    if faults:
        raise StudyError("\n".join(faults))
    return Study(config, found, tuple(dict.fromkeys(sources + config["oracles"])))


def baseline_of(method: str) -> str:
    """The name before ``+batchnorm``: NAME+batchnorm is BN adaptation of the network that baseline NAME trained."""
    return method.removesuffix("+batchnorm")


def domain_spec(config: dict, name: str) -> dict:
    """The parameters of a domain: of its images, and ``transform`` and ``level`` on top.

    Real domains have a ``path``; synthetic ones have what :mod:`workflow.lib.synthetic` asks for.
    """
    base, _, shift = domain_of(name).partition("@")
    transform, _, level = shift.partition("=")
    spec = {"name": base, "transform": transform or "identity", "level": float(level or 0)}
    generate = config["generate"]
    entry = config["domains"].get(base, {})
    spec["channels"] = generate["channels"]
    if "path" in entry:
        return spec | {"split": generate["split"]} | entry
    means = entry.get("means") or [float(mean) for mean in base.split("-")]
    for key in ("size", "images", "perlin", "noise"):
        default, own = generate[key], entry.get(key, {})
        spec[key] = default | own if isinstance(default, dict) else own or default
    rule = entry if {"threshold", "foreground"} & entry.keys() else generate
    mask = {key: rule[key] for key in ("threshold", "foreground") if rule.get(key) is not None}
    return spec | {"means": means, "seed": generate["seed"]} | mask


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: plain YAML silently keeps the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            place = key_node.start_mark
            raise StudyError(f"{place.name}, line {place.line + 1}: key '{key}' stands twice; rename or remove one")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def duplicate_keys(paths: list) -> None:
    """Errors: :class:`StudyError` when a key, such as the name of a domain, stands twice in one of the files."""
    for path in paths:
        with Path(path).open() as file:
            yaml.load(file, _Loader)


def schema_faults(config: dict) -> Iterator[str]:
    """One line per violation of the schema, naming the key by its path and the remedy."""
    validator = Draft202012Validator(yaml.safe_load(SCHEMA.read_text()))
    for error in sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.path]):
        where = "config key " + (".".join(str(part) for part in error.absolute_path) or "(top level)")
        allowed = error.schema.get("properties", {})
        if error.validator == "additionalProperties":
            unknown = [key for key in error.instance if key not in allowed]
            for key in unknown:
                yield f"{where}: unknown key '{key}'{_hint(key, allowed)}"
        elif error.validator == "required":
            yield f"{where}: {error.message}; see workflow/schemas/config.schema.yaml"
        else:
            meaning = error.schema.get("description")
            yield f"{where}: {error.message}" + (f" ({meaning})" if meaning else "")


def _hint(word: str, known) -> str:
    known = [str(name) for name in known]
    close = get_close_matches(str(word), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def _own_faults(config: dict) -> Iterator[str]:
    """Faults that hold before the pairs are spelled out."""
    for key, known in {
        "latents.layers": layer_names(config["model"]["depth"]),
        "distances.names": registry("distances", "DISTANCES"),
        "hypotheses.judge": registry("hypotheses", "HYPOTHESES"),
    }.items():
        section, leaf = key.split(".")
        for name in config[section][leaf]:
            if name not in known and config[section][leaf] != "all":
                yield f"config key {key}: no such entry '{name}'{_hint(name, known)}"
    if (config["generate"].get("threshold") is None) == (config["generate"].get("foreground") is None):
        yield "config key generate: give exactly one of 'threshold' and 'foreground' (set the other to null)"
    for number, block in enumerate(config["pairs"]):
        for role in ("sources", "targets"):
            for mean in block[role]["grid"] if isinstance(block[role], dict) else []:
                if round(mean, 2) != mean:
                    yield f"config key pairs.{number}.{role}.grid: {mean} has more than two decimals; round it"
    for name, entry in config["methods"].items():
        known = registry("batchnorm", "METHODS")
        if entry["function"] not in known:
            yield f"config key methods.{name}.function: no such '{entry['function']}'{_hint(entry['function'], known)}"
        if {"images", "at_test"} <= entry.keys():
            yield f"config key methods.{name}: give 'images' or 'at_test', not both"
    for name, entry in config["baselines"].items():
        where, known = f"config key baselines.{name}", registry("baselines", "BASELINES")
        if entry["function"] not in known:
            yield f"{where}.function: no such '{entry['function']}'{_hint(entry['function'], known)}"
        elif name in config["methods"] or name in registry("batchnorm", "METHODS"):
            yield f"{where}: the name is that of an adaptation method too; rename it"
    names = [block["name"] for block in config["pairs"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"config key pairs: two blocks are named '{name}'; rename one"
    for number, block in enumerate(config["pairs"]):
        where = f"config key pairs.{number}"
        for name in block["methods"]:
            known = [*registry("batchnorm", "METHODS"), *config["methods"], *config["baselines"]]
            if name not in known and baseline_of(name) not in config["baselines"]:
                yield f"{where}.methods: no such method '{name}'{_hint(name, known)}"
        for name, levels in block["transforms"].items():
            for level in levels:
                try:
                    transforms.check(name, level)
                except StudyError as error:
                    yield f"{where}.transforms.{name}: {error}"
    crop, depth = config["train"]["crop"], config["model"]["depth"]
    sizes = {"train.crop": crop} if crop else {"generate.size": config["generate"]["size"]}
    for key, size in sizes.items():
        if any(side % 2**depth for side in size):
            yield (
                f"config key {key}: {size} is not a multiple of {2**depth} in both sides, "
                f"as model.depth = {depth} needs; change the size or lower the depth"
            )


def _domain_faults(config: dict, families: dict[str, Family], sources: list[str]) -> Iterator[str]:
    """Faults of the domains that the pairs name: unknown, unreadable, or without the masks that training needs."""
    networks = set(sources) | set(config["oracles"])
    for name in sorted(networks):
        _, tilde, variant = name.partition("~")
        if tilde and variant not in config["variants"]:
            hint = _hint(variant, config["variants"])
            yield f"network '{name}': no variant '{variant}' under config key variants{hint}"
    trained = {domain_of(name) for name in networks}
    for name in sorted({name for family in families.values() for name in family.domains if "~" in name}):
        yield f"domain '{name}': a variant is trained, so it can be a source, not a target; name {domain_of(name)}"
    asked = {name for family in families.values() for name in family.domains} | trained
    for key in config["domains"]:
        if any(key.lower() == other.lower() for other in config["domains"] if other != key):
            yield f"config key domains.{key}: two domains differ in case only; rename one"
    sound = []
    for name in sorted(asked):
        try:
            _check_domain(config, name, name in trained)
            sound.append(name)
        except StudyError as error:
            yield str(error)
    shifted = [family.targets for family in families.values() if set(family.domains) <= set(sound)]
    # One line says it for all targets of a family.
    faults = [islice(_shift_faults(config, targets), 1) for targets in [*shifted, sound]]
    yield from dict.fromkeys(chain.from_iterable(faults))


def _shift_faults(config: dict, targets: list[str]) -> Iterator[str]:
    """Targets without what their transform changes: colours, or a drawing."""
    for target in targets:
        spec = domain_spec(config, target)
        try:
            transforms.check_domain(spec, _is_coloured(spec))
        except StudyError as error:
            yield str(error)


def _is_coloured(spec: dict) -> bool:
    if spec["channels"] == 1:
        return False
    if "path" in spec:
        return real.describe(spec)["coloured"]
    return any(isinstance(mean, list) and len(set(mean)) > 1 for mean in spec["means"])


def _check_domain(config: dict, name: str, trained: bool) -> None:
    base, at, shift = name.partition("@")
    if at:
        transform, equals, level = shift.partition("=")
        if not equals or not re.fullmatch(r"-?\d+(\.\d+)?", level):
            raise StudyError(f"domain '{name}': after @ comes TRANSFORM=LEVEL, such as @noise=0.1")
        transforms.check(transform, float(level))
    entry = config["domains"].get(base)
    if entry is None:
        means = MEANS.match(base)
        if not means:
            raise StudyError(
                f"domain '{name}' is not known: name it under config key domains, "
                f"or by its means such as 0.30-0.70{_hint(base, config['domains']) if config['domains'] else ''}"
            )
        if any(float(mean) > 1 for mean in means.groups()):
            raise StudyError(f"domain '{name}': means are grey levels in [0, 1], mask first, background second")
        return
    if "path" in entry:
        real.check(base, domain_spec(config, base))
        if trained and not real.describe(domain_spec(config, base))["has_masks"]:
            raise StudyError(
                f"domain '{base}' ({entry['path']}) has no masks: it can be a target, not a source; add masks"
            )
    else:
        wants = [3 if isinstance(mean, list) else 1 for mean in entry["means"]]
        if max(wants) > config["generate"]["channels"]:
            raise StudyError(f"config key domains.{base}.means: RGB means need generate.channels: 3")


def _names(domains: list | dict) -> list[str]:
    if isinstance(domains, list):
        return domains
    grid = domains["grid"]
    # Pairs that use a later grid value come later, so that appending a value only appends domains.
    order = sorted(permutations(range(len(grid)), 2), key=lambda pair: (max(pair), pair))
    return [f"{grid[mask]:.2f}-{grid[background]:.2f}" for mask, background in order]


def _families(config: dict) -> Iterator[tuple[str, Family]]:
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
                        shifts=tuple((name, float(level)) for name, levels in taken.items() for level in levels),
                        methods=tuple(block["methods"]),
                        seeds=tuple(block.get("seeds", config["seeds"])),
                    ),
                )
