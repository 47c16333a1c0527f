"""Faults of methods and baselines: functions that are not known, and options that theirs do not take."""

from collections.abc import Iterator

from shiftgain.files.errors import hint
from shiftgain.study.entries import baseline_entry, baseline_options, method_entry, method_options
from shiftgain.study.lineage import registry, signatures

# Arguments that a stage gives to the function of a method or a baseline; the others are options of the config.
GIVEN_ARGUMENTS = {"network", "domain", "tiles", "images", "source", "model", "options", "autocast"}
# Tables use these for other things: methods source and target, and columns iou_NAME of tables/pairs.csv.
TAKEN_NAMES = {"source", "target", "before", "after", "target_trained"}
# Words that names of remedies are made of, from which the page says what one does -> what they say of its options.
WORDS = {
    "turned": {"polarity": "turned"},
    "told": {"polarity": "told"},
    "image": {"scope": "image"},
    "shrunk": {"scope": "shrunk"},
    "balanced": {"weights": "balanced"},
}
PLAIN_OPTIONS = {"scope": "domain", "weights": "plain", "polarity": "kept", "prior": 0}


def method_faults(methods: dict[str, dict]) -> Iterator[str]:
    """Entries of config key methods: functions that are not known, and options that do not go with them."""
    known = registry("adaptation/methods", "METHODS")
    for name, entry in methods.items():
        where = f"config key methods.{name}"
        if entry["function"] not in known:
            yield f"{where}.function: no such '{entry['function']}'{hint(entry['function'], known)}"
        else:
            options = method_options(entry)
            yield from _option_faults(f"methods.{name}", "adaptation/methods", "METHODS", entry, options)
            compares = "source" in signatures("adaptation/methods", "METHODS")[entry["function"]].arguments
            if compares and "at_test" in entry:
                yield f"{where}.at_test: not with function {entry['function']}; give 'scope: image'"
            words = name.split("_")
            if set(words) <= WORDS.keys():
                said = {key: value for word in words for key, value in WORDS[word].items()}
                if entry["function"] != "remedy" or PLAIN_OPTIONS | options != PLAIN_OPTIONS | said:
                    told = ", ".join(f"{key}: {value}" for key, value in {"function": "remedy", **said}.items())
                    yield f"{where}: the page reads this name as {{{told}}}; give the method another name"
        if {"images", "at_test"} <= entry.keys():
            yield f"{where}: give 'images' or 'at_test', not both"


def baseline_faults(config: dict) -> Iterator[str]:
    """Entries of config key baselines: as methods, with the name and with the start of the training."""
    known = registry("adaptation/baselines", "BASELINES")
    for name, entry in config["baselines"].items():
        where = f"config key baselines.{name}"
        if entry["function"] not in known:
            yield f"{where}.function: no such '{entry['function']}'{hint(entry['function'], known)}"
        elif name in adaptations(config):
            yield f"{where}: the name is that of an adaptation method too; rename it"
        else:
            entry = baseline_entry(config["baselines"], name)
            options = baseline_options(entry)
            yield from _option_faults(f"baselines.{name}", "adaptation/baselines", "BASELINES", entry, options)
            if "start" in entry:
                yield from _start_faults(f"{where}.start", entry["start"], config)
                if entry["selection"] == "target_oracle":
                    yield f"{where}.selection: target_oracle judges epochs on images as the source's; leave start out"


def taken_name_faults(config: dict) -> Iterator[str]:
    """Names of methods and baselines that tables use for something else."""
    for section in ("methods", "baselines"):
        for name in sorted(TAKEN_NAMES & config[section].keys()):
            yield f"config key {section}.{name}: tables use this name for something else; rename it"


def adaptations(config: dict) -> list[str]:
    """Names of all adaptations that a config knows: functions, and its variants of them."""
    return list(dict.fromkeys([*registry("adaptation/methods", "METHODS"), *config["methods"]]))


def _start_faults(where: str, name: str, config: dict) -> Iterator[str]:
    """A method that is not known, or that leaves no one network to start from."""
    known, entry = adaptations(config), method_entry(config["methods"], name)
    if name not in known:
        yield f"{where}: no such method '{name}'{hint(name, known)}"
    elif "at_test" in entry or entry.get("scope", "domain") != "domain":
        yield f"{where}: '{name}' adapts to each image; name a method that adapts to the whole domain"


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
