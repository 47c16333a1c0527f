"""Faults of config key segment."""

from collections.abc import Iterator
from itertools import product

from shiftgain.files.errors import hint
from shiftgain.study.faults.methods import adaptations


def segment_faults(config: dict) -> Iterator[str]:
    """Targets that are no files of the user or of no pair, and methods that no pair of theirs tries."""
    entry = config["segment"]
    blocks = [(_names_of(block["targets"]), block["methods"]) for block in config["pairs"]]
    files = [name for name, domain in config["domains"].items() if "path" in domain]
    for name in [] if entry["targets"] == "all" else entry["targets"]:
        if name not in files:
            yield f"config key segment.targets: '{name}' is no domain with a path{hint(name, files)}"
        elif not any(name in targets for targets, _ in blocks):
            yield f"config key segment.targets: '{name}' is the target of no pair; add it to a block of pairs"
    tried = list(dict.fromkeys(method for _, methods in blocks for method in methods if method in adaptations(config)))
    for key in ("methods", "unknown"):
        known = [*{"methods": ["advised"], "unknown": ["expected", "keep"]}[key], "source", *tried]
        for name in entry[key] if key == "methods" else [entry[key]]:
            if entry["targets"] and name not in known:
                yield f"config key segment.{key}: '{name}' is tried by no pair{hint(name, known)}"
    if "advised" in entry["methods"]:
        yield from _shared_pairs(config["pairs"], files if entry["targets"] == "all" else entry["targets"])


def _shared_pairs(blocks: list[dict], targets: list[str]) -> Iterator[str]:
    """Pairs of several blocks of other methods: advice might name one that the block which is segmented lacks."""
    first: dict[tuple[str, str], dict] = {}
    for block in blocks:
        for pair in product(_names_of(block["sources"]), _names_of(block["targets"])):
            other = first.setdefault(pair, block)
            if pair[1] in targets and set(other["methods"]) != set(block["methods"]):
                yield (
                    f"config key pairs: '{other['name']}' and '{block['name']}' both take '{pair[0]}' to '{pair[1]}', "
                    "whose masks are wanted as advised; put their methods into one block"
                )
                return


def _names_of(domains: list | dict) -> list[str]:
    return domains if isinstance(domains, list) else []
