"""What a person with a folder of images is told first: whether the masks are good, and what was done for them."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from shiftgain.prediction.choice import UNKNOWN
from shiftgain.report import cards
from shiftgain.study.names import IDENTITY, KEPT, KEY, PLAIN


def read(folders: list[str]) -> dict[str, list[dict]]:
    """``SOURCE → TARGET`` -> what stage segment did, by action: ``about.json``, ``folder``, ``sheet`` and ``how``."""
    found: dict[str, list[dict]] = {}
    for folder in map(Path, folders):
        about = json.loads((folder / "about.json").read_text())
        sheet = base64.b64encode((folder / "outlines.png").read_bytes()).decode()
        how = "the network as it is" if about["method"] == KEPT else cards.named(about["method"])
        how = f"as advised: {how}" if about["action"] == "advised" else how
        about |= {"sheet": sheet, "folder": "/".join(folder.parts[-4:]), "how": how}
        found.setdefault(f"{about['source']} → {about['target']}", []).append(about)
    return found


def answers(done: dict[str, list[dict]], advice: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, list[str]]:
    """Pair -> sentences on its masks by the advised action, or by the first where none was advised.

    ``done``: of :func:`read`; ``advice``, ``pairs``: the tables of these names. What the tables lack is not said.
    """
    found = {}
    for pair, actions in done.items():
        about = next((each for each in actions if each["action"] == "advised"), actions[0])
        key = dict(zip(KEY, (about["source"], about["target"], IDENTITY, 0.0, about["seed"]), strict=True))
        rows = [table[(table[list(key)] == list(key.values())).all(axis=1)] for table in (advice, pairs)]
        row, scores = (table.iloc[0].to_dict() if len(table) else {} for table in rows)
        found[pair] = [*_good(about, row, scores), *_done(about, row, scores)]
    return found


def _good(about: dict, row: dict, scores: dict) -> Iterator[str]:
    """Whether the masks are good: measured where masks are known, expected, and what that is worth."""
    method, target = about["method"], about["target"]
    reached = scores.get("iou_before" if method == KEPT else f"iou_{method}", np.nan)
    if not pd.isna(reached):
        yield (
            f"The masks of {target} are {cards.grade(reached)}: their overlap (IoU) with the known masks of its test "
            f"images is {reached:.2f}."
        )
    expected = row.get(f"expected_{method}", np.nan)
    if pd.isna(expected):
        if pd.isna(reached):
            yield f"Whether the masks of {target} are good cannot be told here: look at them."
        return
    if pd.isna(reached):
        yield (
            f"The masks of {target} are probably {cards.grade(expected)}: their overlap with what a person would draw "
            f"(IoU, 1 where both agree wholly) is expected to be {expected:.2f}."
        )
    else:
        yield f"Before these masks were read, an overlap of {expected:.2f} was expected."
    said = cards.card(row, pd.isna(reached))
    yield from (
        said[name] for name in ("caution", "todo") if said[name] and (name != "todo" or row["decision"] == UNKNOWN)
    )


def _done(about: dict, row: dict, scores: dict) -> Iterator[str]:
    """What was done to the network, and what it is without that."""
    source, images = about["source"], about["n_target_images"]
    own = scores.get("own_iou", np.nan)
    home = "" if pd.isna(own) else f" On images of {source} that it was not trained on, it reaches {own:.2f}."
    if about["method"] == KEPT:
        yield f"The network of {source} was used as it is.{home}"
        return
    before = row.get("expected_before", np.nan)
    rest = "" if pd.isna(before) else f"; without that, an overlap of {before:.2f} would be expected"
    to = f"{images} images" if images else "images"
    yield (
        f"For them the network of {source} was adapted to {to} of {about['target']}, without any label: "
        f"{_in_words(about['method'])}{rest}.{home}"
    )


def _in_words(method: str) -> str:
    how = cards.does(method)
    if how or method == PLAIN:
        return "its statistics were refreshed" + (f", {how}" if how else "")
    return f"by {cards.named(method)}"
