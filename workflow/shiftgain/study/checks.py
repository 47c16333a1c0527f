"""The config, checked against its schema and against itself, and spelled out.

Every fault is one line that names the key and the remedy, before any job starts.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from itertools import chain, islice
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from shiftgain.domains import identity, real, splits
from shiftgain.files.errors import StudyError
from shiftgain.files.memory import remembered
from shiftgain.shifts import transforms
from shiftgain.study import descriptions
from shiftgain.study.lineage import catalogue, code, registry, signatures
from shiftgain.study.names import IDENTITY, DomainName, base_of, domain_of, layer_names, printed
from shiftgain.study.plan import (
    Family,
    Study,
    baseline_entry,
    baseline_of,
    baseline_options,
    domain_spec,
    families,
    imageless,
    method_entry,
    method_options,
)

SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.yaml"
# Arguments that a stage gives to the function of a method or a baseline; the others are options of the config.
GIVEN_ARGUMENTS = {"network", "domain", "tiles", "images", "source", "model", "options", "autocast"}
# Tables use these for other things: methods source and target, and columns iou_NAME of tables/pairs.csv.
TAKEN_NAMES = {"source", "target", "before", "after", "target_trained"}


def study(config: dict) -> Study:
    """Check ``config`` against the schema and against itself, and expand it.

    Errors: :class:`StudyError`, one line per fault.
    """
    config = {key: value for key, value in config.items() if key != "pathvars"}
    faults = list(schema_faults(config)) or list(_own_faults(config))
    if faults:
        raise StudyError("\n".join(faults))
    config = config | {"domains": _with_descriptions(config["domains"])}
    named = dict(families(config))
    sources = [source for family in named.values() for source in family.sources]
    looks = _looks(config, {*_asked(named), *map(domain_of, sources + config["oracles"])})
    faults = list(dict.fromkeys(_domain_faults(config, named, sources, looks)))
    if faults:
        raise StudyError("\n".join(faults))
    specs = {name: config["domains"][name] for name in looks}
    seen = _seen(config, looks)
    entries = {
        name: spec | {"digest": looks[name]["digest"], "trained_on": seen[name]}
        for name, spec in real.settled(specs, looks).items()
    }
    config = config | {"domains": config["domains"] | entries}
    compared = [name for name in sources if name not in imageless(config["domains"])]
    return Study(config, named, tuple(dict.fromkeys(compared + config["oracles"])))


def _with_descriptions(domains: dict[str, dict]) -> dict[str, dict]:
    """The domains, with the networks that were trained elsewhere spelled out.

    Errors: :class:`StudyError`, one line per fault.
    """
    whole, faults = {}, []
    for name, entry in domains.items():
        try:
            if "network" in entry:
                network = descriptions.described(f"domains.{name}.network", entry["network"], _description_faults)
                entry = entry | {"network": network}
        except StudyError as error:
            faults.append(str(error))
        whole[name] = entry
    if faults:
        raise StudyError("\n".join(faults))
    return whole


def _description_faults(entry: dict) -> Iterator[str]:
    """Violations of the schema by the description of a network, in lines."""
    definitions = yaml.safe_load(SCHEMA.read_text())["$defs"]
    yield from _schema_faults(entry, {"$ref": "#/$defs/network", "$defs": definitions})


def _asked(families: dict[str, Family]) -> list[str]:
    return [name for family in families.values() for name in family.domains]


def _looks(config: dict, names: Iterable[str]) -> dict[str, dict]:
    """:func:`real.look` at every real domain among ``names``, and :func:`identity.content` of it, or its ``fault``.

    Kept in ``<results>/looks``: the content while names, sizes and times of the files are as they were, and the look
    while the content, the entry in the config and the code are.
    """
    real_ones = {DomainName.parse(name).base for name in names}
    looks = {}
    for name in sorted(real_ones & {name for name, entry in config["domains"].items() if "path" in entry}):
        spec = domain_spec(config, name)
        entry = {key: value for key, value in spec.items() if key not in ("split", "split_inherited")}
        folder = Path(config["results"], "looks")
        try:
            read = code("generate")
            content = remembered(
                folder / f"{name}.content.json",
                [entry, identity.stamp(spec), read],
                partial(identity.content, name, spec),
            )
            key = [entry, content["digest"], content["passed_over"], read]
            look = remembered(folder / f"{name}.json", key, partial(real.look, name, spec))
            real.parts(name, spec, look)
            looks[name] = look | content | {"passed_over": look["passed_over"]}
        except StudyError as error:
            looks[name] = {"fault": str(error)}
    return looks


def _seen(config: dict, looks: dict[str, dict]) -> dict[str, dict[str, list[list[int]]]]:
    """Of each real domain: domain -> [start, stop) of the images that a network trained on that domain has seen.

    Itself among them, and others that hold the same images under another name.
    """
    trained = {}
    for name, look in looks.items():
        seen = real.trained_on(real.parts(name, domain_spec(config, name), look))
        trained[name] = {look["words"][number] for number in seen}
    return {
        name: {
            other: spans
            for other, words in trained.items()
            if (spans := splits.spans([number for number, word in enumerate(look["words"]) if word in words]))
        }
        for name, look in looks.items()
    }


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


def typed(arguments: dict) -> dict:
    """What ``--config`` gives, with numbers as numbers: Snakemake leaves those within lists and mappings text."""
    return {key: _typed(value) if isinstance(value, dict | list) else value for key, value in arguments.items()}


def _typed(value):
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    with suppress(yaml.YAMLError):
        plain = yaml.safe_load(value) if isinstance(value, str) else value
        if plain is None or isinstance(plain, bool | int | float):
            return plain
    return value


def schema_faults(config: dict) -> Iterator[str]:
    """One line per violation of the schema, naming the key by its path and the remedy."""
    yield from _schema_faults(config, yaml.safe_load(SCHEMA.read_text()))


def _schema_faults(config: dict, schema: dict) -> Iterator[str]:
    validator = Draft202012Validator(schema)
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
        "distances.names": registry("latents/distances", "DISTANCES"),
        "hypotheses.judge": list(catalogue("hypotheses")),
    }.items():
        section, leaf = key.split(".")
        names = config[section][leaf]
        for name in [] if names == "all" else names:
            if name not in known:
                yield f"config key {key}: no such entry '{name}'{_hint(name, known)}"
    yield from _mixed_faults(config["generate"]["split"])
    if (config["generate"].get("threshold") is None) == (config["generate"].get("foreground") is None):
        yield "config key generate: give exactly one of 'threshold' and 'foreground' (set the other to null)"
    for number, block in enumerate(config["pairs"]):
        for role in ("sources", "targets"):
            for mean in block[role]["grid"] if isinstance(block[role], dict) else []:
                if round(mean, 2) != mean:
                    yield f"config key pairs.{number}.{role}.grid: {mean} has more than two decimals; round it"
    for name, entry in config["methods"].items():
        known = registry("adaptation/batchnorm", "METHODS")
        if entry["function"] not in known:
            yield f"config key methods.{name}.function: no such '{entry['function']}'{_hint(entry['function'], known)}"
        else:
            yield from _option_faults(
                f"methods.{name}", "adaptation/batchnorm", "METHODS", entry, method_options(entry)
            )
            compares = "source" in signatures("adaptation/batchnorm", "METHODS")[entry["function"]].arguments
            if compares and "at_test" in entry:
                yield f"config key methods.{name}.at_test: not with function {entry['function']}; give 'scope: image'"
        if {"images", "at_test"} <= entry.keys():
            yield f"config key methods.{name}: give 'images' or 'at_test', not both"
    for name, entry in config["baselines"].items():
        where, known = f"config key baselines.{name}", registry("adaptation/baselines", "BASELINES")
        if entry["function"] not in known:
            yield f"{where}.function: no such '{entry['function']}'{_hint(entry['function'], known)}"
        elif name in config["methods"] or name in registry("adaptation/batchnorm", "METHODS"):
            yield f"{where}: the name is that of an adaptation method too; rename it"
        else:
            entry = baseline_entry(config["baselines"], name)
            options = baseline_options(entry)
            yield from _option_faults(f"baselines.{name}", "adaptation/baselines", "BASELINES", entry, options)
            if "start" in entry:
                yield from _start_faults(f"{where}.start", entry["start"], config["methods"])
    for section in ("methods", "baselines"):
        for name in sorted(TAKEN_NAMES & config[section].keys()):
            yield f"config key {section}.{name}: tables use this name for something else; rename it"
    yield from _segment_faults(config)
    names = [block["name"] for block in config["pairs"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"config key pairs: two blocks are named '{name}'; rename one"
    for number, block in enumerate(config["pairs"]):
        where = f"config key pairs.{number}"
        for name in block["methods"]:
            known = [*registry("adaptation/batchnorm", "METHODS"), *config["methods"], *config["baselines"]]
            if name not in known and baseline_of(name) not in config["baselines"]:
                yield f"{where}.methods: no such method '{name}'{_hint(name, known)}"
        yield from _name_faults(where, block)
        for name, levels in block["transforms"].items():
            yield from _level_faults(f"{where}.transforms.{name}", levels)
            for level in levels:
                try:
                    transforms.check(name, level)
                except StudyError as error:
                    yield f"{where}.transforms.{name}: {error}"
    yield from _spelling_faults("config key oracles", config["oracles"])
    crop, depth = config["train"]["crop"], config["model"]["depth"]
    sizes = {"train.crop": crop} if crop else {"generate.size": config["generate"]["size"]}
    for key, size in sizes.items():
        if any(side % 2**depth for side in size):
            yield (
                f"config key {key}: {size} is not a multiple of {2**depth} in both sides, "
                f"as model.depth = {depth} needs; change the size or lower the depth"
            )


def _mixed_faults(split: dict) -> Iterator[str]:
    """Ranges laid over the shares of config.yaml, which nobody wrote side by side."""
    ranges = [part for part, value in split.items() if isinstance(value, list) or value == splits.ALL]
    shares = [part for part, value in split.items() if isinstance(value, int | float)]
    if ranges and shares:
        yield (
            f"config key generate.split: {', '.join(ranges)} are ranges, {', '.join(shares)} shares, such as those of "
            "config.yaml, over which yours are laid; give ranges for all, or put yours under domains.NAME.split, which "
            "takes the place of generate.split"
        )


def _option_faults(key: str, module: str, functions: str, entry: dict, options: dict) -> Iterator[str]:
    """Options that the function of an entry does not take, and those that it needs and does not get."""
    signature = signatures(module, functions)[entry["function"]]
    known = [argument for argument in signature.arguments if argument not in GIVEN_ARGUMENTS]
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    for name in options:
        if name not in known:
            yield f"config key {key}.{name}: function {entry['function']} has no option '{name}'; {takes}"
    for name in signature.required:
        if name in known and name not in options:
            yield f"config key {key}: function {entry['function']} needs option '{name}'; add it"


def _segment_faults(config: dict) -> Iterator[str]:
    """Targets that are no files of the user or of no pair, and methods that no pair of theirs tries."""
    entry = config["segment"]
    blocks = [(_names_of(block["targets"]), block["methods"]) for block in config["pairs"]]
    files = [name for name, domain in config["domains"].items() if "path" in domain]
    for name in [] if entry["targets"] == "all" else entry["targets"]:
        if name not in files:
            yield f"config key segment.targets: '{name}' is no domain with a path{_hint(name, files)}"
        elif not any(name in targets for targets, _ in blocks):
            yield f"config key segment.targets: '{name}' is the target of no pair; add it to a block of pairs"
    tried = list(dict.fromkeys(method for _, methods in blocks for method in methods if method in adaptations(config)))
    for key in ("methods", "unknown"):
        known = [{"methods": "advised", "unknown": "keep"}[key], "source", *tried]
        for name in entry[key] if key == "methods" else [entry[key]]:
            if entry["targets"] and name not in known:
                yield f"config key segment.{key}: '{name}' is tried by no pair{_hint(name, known)}"


def adaptations(config: dict) -> list[str]:
    """Names of all adaptations that a config knows: functions, and its variants of them."""
    return list(dict.fromkeys([*registry("adaptation/batchnorm", "METHODS"), *config["methods"]]))


def _names_of(domains: list | dict) -> list[str]:
    return domains if isinstance(domains, list) else []


def _start_faults(where: str, name: str, entries: dict[str, dict]) -> Iterator[str]:
    """A method that is not known, or that leaves no one network to start from."""
    known = list(dict.fromkeys([*registry("adaptation/batchnorm", "METHODS"), *entries]))
    entry = method_entry(entries, name)
    if name not in known:
        yield f"{where}: no such method '{name}'{_hint(name, known)}"
    elif "at_test" in entry or entry.get("scope", "domain") != "domain":
        yield f"{where}: '{name}' adapts to each image; name a method that adapts to the whole domain"


def _spelling_faults(where: str, names: list[str]) -> Iterator[str]:
    for name in names:
        try:
            DomainName.parse(name)
        except StudyError as error:
            yield f"{where}: {error}"


def _name_faults(where: str, block: dict) -> Iterator[str]:
    """Names of a block that nothing is called by, and targets that would go through two transforms."""
    transforms = [name for name, levels in block["transforms"].items() if name != IDENTITY and any(levels)]
    for role in ("sources", "targets"):
        names = block[role] if isinstance(block[role], list) else []
        spelling = list(_spelling_faults(f"{where}.{role}", names))
        yield from spelling
        if role == "targets" and not spelling and transforms:
            for name in map(DomainName.parse, names):
                if name.level:
                    yield (
                        f"{where}.targets: '{name}' is transformed already, and {transforms[0]} would come on top; "
                        f"name {name.at(IDENTITY, 0)}, or put it into a block with transforms: {{identity: [0]}}"
                    )


def _level_faults(where: str, levels: list[float]) -> Iterator[str]:
    """Levels that a name cannot hold; those that would have one name together in one line."""
    by_name: dict[str, list[float]] = {}
    for level in levels:
        by_name.setdefault(printed(level), []).append(level)
    for name, alike in by_name.items():
        listed = " and ".join(map(str, alike))
        if len(alike) > 1:
            yield f"{where}: {listed} would both be named {name}; give levels six significant digits at most"
        elif float(name) != alike[0]:
            yield f"{where}: {listed} has more than six significant digits; write {name}"


def _domain_faults(
    config: dict, families: dict[str, Family], sources: list[str], looks: dict[str, dict]
) -> Iterator[str]:
    """Faults of the domains that the pairs name: unknown, unreadable, or without the masks that training needs."""
    networks = set(sources) | set(config["oracles"])
    for name in sorted(networks):
        variant = DomainName.parse(name).variant
        if variant and variant not in config["variants"]:
            hint = _hint(variant, config["variants"])
            yield f"network '{name}': no variant '{variant}' under config key variants{hint}"
        base = base_of(name)
        if name != base and "network" in config["domains"].get(base, {}):
            yield f"network '{name}': the network of '{base}' was trained elsewhere, and has no other form; name {base}"
    trained = {domain_of(name) for name in networks}
    targets = {name for family in families.values() for name in family.domains}
    for name in sorted(name for name in targets if name != domain_of(name)):
        yield f"domain '{name}': a variant is trained, so it can be a source, not a target; name {domain_of(name)}"
    for key in config["domains"]:
        if any(key.lower() == other.lower() for other in config["domains"] if other != key):
            yield f"config key domains.{key}: two domains differ in case only; rename one"
    sound = []
    for name in sorted(targets | trained):
        try:
            _check_domain(config, name, name in trained, looks)
            sound.append(name)
        except StudyError as error:
            yield str(error)
    yield from _imageless_faults(config, families)
    yield from _split_faults(config, families, networks, looks)
    yield from _overlap_faults(config, families, looks)
    shifted = [family.targets for family in families.values() if set(family.domains) <= set(sound)]
    # One line says it for all targets of a family.
    faults = [islice(_shift_faults(config, targets, looks), 1) for targets in [*shifted, sound]]
    yield from dict.fromkeys(chain.from_iterable(faults))


def _imageless_faults(config: dict, families: dict[str, Family]) -> Iterator[str]:
    """Methods that look at images of the source, of which there are none, and such domains as targets and oracles."""
    names = imageless(config["domains"])
    for name in names:
        if name in config["oracles"] or any(name in family.domains for family in families.values()):
            yield f"config key domains.{name}: no path, so that it can be a source only; add a path to its images"
    known = signatures("adaptation/batchnorm", "METHODS")
    for family in families.values():
        for source in [source for source in family.sources if source in names]:
            for method in [method for method in family.methods if method in adaptations(config)]:
                function = method_entry(config["methods"], method)["function"]
                if "source" in known[function].arguments or function == "standardise":
                    yield (
                        f"config key domains.{source}: method '{method}' compares targets with images of the source; "
                        "add a path to some of them, or leave the method out"
                    )


def _split_faults(
    config: dict, families: dict[str, Family], networks: set[str], looks: dict[str, dict]
) -> Iterator[str]:
    """Splits of real domains that a stage needs and that are missing, or too short."""
    targets = {base_of(name) for family in families.values() for name in family.domains}
    judges = {
        base_of(name): method
        for family in families.values()
        for method in map(baseline_of, family.methods)
        if method in config["baselines"] and config["baselines"][method].get("selection") == "target_oracle"
        for name in family.domains
    }
    for name, look in looks.items():
        if "fault" in look:
            continue
        spec = domain_spec(config, name)
        numbers, where = real.parts(name, spec, look), real.place(name, spec)
        if name in judges and not look["has_masks"]:
            yield f"domain '{name}' has no masks, by which baseline {judges[name]} chooses its epoch; take another"
        if not look["has_masks"]:
            continue
        needs = {"test": "a target"} if name in targets else {}
        needs |= {"validation": f"baseline {judges[name]}"} if name in judges else {}
        if name in map(base_of, networks):
            needs |= dict.fromkeys(("train", "validation", "test"), "a network trained on it")
        for part, user in needs.items():
            if part not in spec["split"]:
                yield f"{where}: no '{part}', which {user} needs; add it, as a share or a range"
            elif part not in numbers:
                yield (
                    f"{where}: {look['images']} images leave none for '{part}', which {user} needs; "
                    f"add images, or leave '{name}' out of the sources"
                )


def _overlap_faults(config: dict, families: dict[str, Family], looks: dict[str, dict]) -> Iterator[str]:
    """Labelled targets that are tested on images which the source of a pair trains on under another name."""
    pairs = {(base_of(s), base_of(t)) for family in families.values() for s in family.sources for t in family.domains}
    sound = {name for name, look in looks.items() if "fault" not in look}
    for source, target in sorted((s, t) for s, t in pairs if s != t and {s, t} <= sound and looks[t]["has_masks"]):
        trained = real.trained_on(real.parts(source, domain_spec(config, source), looks[source]))
        tested = real.parts(target, domain_spec(config, target), looks[target]).get("test", [])
        by_place, by_word = (
            len({looks[source][key][number] for number in trained} & {looks[target][key][number] for number in tested})
            for key in ("places", "words")
        )
        # A blank image may be in two series; most of the images are not.
        if by_place or 2 * by_word > len(tested):
            yield (
                f"domains '{source}' and '{target}' hold the same images: {max(by_place, by_word)} of the "
                f"{len(tested)} on which '{target}' is tested are trained on as '{source}'; give them one name, or "
                f"ranges under domains.{source}.split and domains.{target}.split that keep them apart"
            )


def _shift_faults(config: dict, targets: list[str], looks: dict[str, dict]) -> Iterator[str]:
    """Targets without what their transform changes: colours, or a drawing."""
    for target in targets:
        spec = domain_spec(config, target)
        try:
            transforms.check_domain(spec, _is_coloured(spec, looks))
        except StudyError as error:
            yield str(error)


def _is_coloured(spec: dict, looks: dict[str, dict]) -> bool:
    if spec["channels"] == 1:
        return False
    if "path" in spec:
        return looks[spec["name"]]["coloured"]
    return any(isinstance(mean, list) and len(set(mean)) > 1 for mean in spec["means"])


def _check_domain(config: dict, name: str, trained: bool, looks: dict[str, dict]) -> None:
    parsed = DomainName.parse(name)
    transforms.check(parsed.transform, parsed.level)
    base = parsed.base
    entry = config["domains"].get(base)
    if entry is None:
        if parsed.means is None:
            raise StudyError(
                f"domain '{name}' is not known: name it under config key domains, "
                f"or by its means such as 0.30-0.70{_hint(base, config['domains']) if config['domains'] else ''}"
            )
        if max(parsed.means) > 1:
            raise StudyError(f"domain '{name}': means are grey levels in [0, 1], mask first, background second")
        return
    if "path" in entry:
        if "fault" in looks[base]:
            raise StudyError(looks[base]["fault"])
        if trained and not looks[base]["has_masks"]:
            raise StudyError(
                f"domain '{base}' ({entry['path']}) has no masks: it can be a target, not a source; add masks"
            )
        if trained:
            real.check_objects(base, domain_spec(config, base), looks[base])
    elif "network" in entry:
        if name != base or not trained:
            raise StudyError(f"config key domains.{base}: no path, so that it can be a source only; add its images")
    else:
        wants = [3 if isinstance(mean, list) else 1 for mean in entry["means"]]
        if max(wants) > config["generate"]["channels"]:
            raise StudyError(f"config key domains.{base}.means: RGB means need generate.channels: 3")
