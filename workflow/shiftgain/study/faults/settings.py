"""Faults of single keys: names of layers, distances and hypotheses, splits, masks, and sizes that a network halves."""

from collections.abc import Iterator
from pathlib import Path

from shiftgain.domains import splits
from shiftgain.files.errors import hint
from shiftgain.study.lineage import catalogue, registry
from shiftgain.study.names import layer_names


def setting_faults(config: dict) -> Iterator[str]:
    """Keys of a single value, or of a list of names; entries of domains, methods, pairs and segment have their own."""
    for key, known in {
        "latents.layers": layer_names(config["model"]["depth"]),
        "distances.names": registry("latents/distances", "DISTANCES"),
        "hypotheses.judge": list(catalogue("hypotheses")),
    }.items():
        section, leaf = key.split(".")
        names = config[section][leaf]
        for name in [] if names == "all" else names:
            if name not in known:
                yield f"config key {key}: no such entry '{name}'{hint(name, known)}"
    predictor = config["advise"]["predictor"]
    if predictor != "shipped" and not Path(predictor).is_file():
        yield f"config key advise.predictor: no file '{predictor}'; name the predictor.npz of a study, or shipped"
    yield from _mixed_faults(config["generate"]["split"])
    if (config["generate"].get("threshold") is None) == (config["generate"].get("foreground") is None):
        yield "config key generate: give exactly one of 'threshold' and 'foreground' (set the other to null)"
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
