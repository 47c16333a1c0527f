"""Entries of the config, with what they inherit: of a domain, of a method, of a baseline."""

from shiftgain.domains import splits
from shiftgain.study.names import DomainName


def imageless(domains: dict[str, dict]) -> list[str]:
    """Entries of config key domains that have a network and no images."""
    return [name for name, entry in domains.items() if "network" in entry and "path" not in entry]


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


def method_entry(entries: dict[str, dict], name: str) -> dict:
    """An entry of config key methods; a function without one is a method by its own name."""
    return {"function": name} | entries.get(name, {})


def method_options(entry: dict) -> dict:
    """What an entry of config key methods hands to its function by name."""
    return {key: value for key, value in entry.items() if key not in ("function", "images", "at_test")}


def baseline_of(method: str) -> str:
    """The name before ``+batchnorm``: NAME+batchnorm is BN adaptation of the network that baseline NAME trained."""
    return method.removesuffix("+batchnorm")


def baseline_entry(entries: dict[str, dict], name: str) -> dict:
    """An entry of config key baselines; a variant has the rest from the entry that is named as its function."""
    return entries.get(entries[name]["function"], {}) | entries[name]


def baseline_options(entry: dict) -> dict:
    """What an entry of config key baselines hands to its function by name."""
    return {key: value for key, value in entry.items() if key not in ("function", "selection", "start")}
