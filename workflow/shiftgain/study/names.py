"""Names that appear in paths and tables."""

# What makes a pair; KEY, an observation of it.
PAIR = ["source", "target", "transform", "level"]
KEY = [*PAIR, "seed"]
# Id, in its SVG, of a figure that has nothing to show.
BLANK = "blank"


def target_name(domain: str, transform: str, level: float) -> str:
    """``0.30-0.70`` or, transformed, ``0.30-0.70@noise=0.1``: the name under which a network may be trained."""
    return domain if transform == "identity" or level == 0 else f"{domain}@{transform}={level:g}"


def domain_of(network: str) -> str:
    """The domain that a network is trained on: ``0.30-0.70`` of ``0.30-0.70~wide``, trained as variant ``wide``."""
    return network.partition("~")[0]


def layer_names(depth: int) -> list[str]:
    """The blocks of a U-Net, in the order in which an image passes them."""
    down = [f"encoder{k}" for k in range(1, depth + 1)]
    up = [f"decoder{k}" for k in range(depth, 0, -1)]
    return [*down, "bottleneck", *up]
