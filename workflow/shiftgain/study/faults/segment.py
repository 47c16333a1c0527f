"""Faults of config key segment."""

from collections.abc import Iterator

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


def _names_of(domains: list | dict) -> list[str]:
    return domains if isinstance(domains, list) else []
