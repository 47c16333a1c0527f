"""Faults of the domains that pairs name: unknown, unreadable, or without the masks and splits that they need."""

from collections.abc import Iterator
from itertools import chain, islice

from shiftgain.domains import real
from shiftgain.files.errors import StudyError, hint
from shiftgain.shifts import transforms
from shiftgain.study.entries import baseline_of, domain_spec, imageless, method_entry
from shiftgain.study.families import Family
from shiftgain.study.faults.methods import adaptations
from shiftgain.study.lineage import signatures
from shiftgain.study.names import DomainName, base_of, domain_of


def domain_faults(
    config: dict, families: dict[str, Family], sources: list[str], looks: dict[str, dict]
) -> Iterator[str]:
    """Faults of the domains that the pairs name: unknown, unreadable, or without the masks that training needs."""
    networks = set(sources) | set(config["oracles"])
    for name in sorted(networks):
        variant = DomainName.parse(name).variant
        if variant and variant not in config["variants"]:
            near = hint(variant, config["variants"])
            yield f"network '{name}': no variant '{variant}' under config key variants{near}"
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


def _check_domain(config: dict, name: str, trained: bool, looks: dict[str, dict]) -> None:
    parsed = DomainName.parse(name)
    transforms.check(parsed.transform, parsed.level)
    base = parsed.base
    entry = config["domains"].get(base)
    if entry is None:
        if parsed.means is None:
            raise StudyError(
                f"domain '{name}' is not known: name it under config key domains, "
                f"or by its means such as 0.30-0.70{hint(base, config['domains']) if config['domains'] else ''}"
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


def _imageless_faults(config: dict, families: dict[str, Family]) -> Iterator[str]:
    """Methods that look at images of the source, of which there are none, and such domains as targets and oracles."""
    names = imageless(config["domains"])
    for name in names:
        if name in config["oracles"] or any(name in family.domains for family in families.values()):
            yield f"config key domains.{name}: no path, so that it can be a source only; add a path to its images"
    known = signatures("adaptation/methods", "METHODS")
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
    """Labelled targets that are tested on an image which the source of a pair trains on under another name.

    An image is known by its place in a file, and by its pixels, so that a copy in another file or format is found.
    """
    pairs = {(base_of(s), base_of(t)) for family in families.values() for s in family.sources for t in family.domains}
    sound = {name for name, look in looks.items() if "fault" not in look}
    for source, target in sorted((s, t) for s, t in pairs if s != t and {s, t} <= sound and looks[t]["has_masks"]):
        trained = real.trained_on(real.parts(source, domain_spec(config, source), looks[source]))
        tested = real.parts(target, domain_spec(config, target), looks[target]).get("test", [])
        known = {looks[source][key][number] for key in ("places", "words") for number in trained}
        both = [number for number in tested if known & {looks[target][key][number] for key in ("places", "words")}]
        if both:
            yield (
                f"domains '{source}' and '{target}' hold the same images: {len(both)} of the {len(tested)} on which "
                f"'{target}' is tested, number {both[0]} the first, are trained on as '{source}'; give them one name, "
                f"or ranges under domains.{source}.split and domains.{target}.split that keep them apart"
            )


def _shift_faults(config: dict, targets: list[str], looks: dict[str, dict]) -> Iterator[str]:
    """Targets without what their transform changes: colours, masks, or a drawing."""
    for target in targets:
        spec = domain_spec(config, target)
        try:
            labelled = "path" not in spec or looks[spec["name"]]["has_masks"]
            transforms.check_domain(spec, _is_coloured(spec, looks), labelled)
        except StudyError as error:
            yield str(error)


def _is_coloured(spec: dict, looks: dict[str, dict]) -> bool:
    if spec["channels"] == 1:
        return False
    if "path" in spec:
        return looks[spec["name"]]["coloured"]
    return any(isinstance(mean, list) and len(set(mean)) > 1 for mean in spec["means"])
