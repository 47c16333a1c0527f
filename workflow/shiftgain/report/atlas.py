"""What the atlas of the page knows of every pair: numbers in columns, pictures and histograms for as many as fit.

A pair is a source, a target, a transform and a level; its numbers are means over the seeds, its pictures and histograms
of the first seed. The page's script reads this as JSON (``workflow/report/atlas.js``).
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from shiftgain.files import store
from shiftgain.findings.conditions import UNADAPTED, by_condition, conditions
from shiftgain.findings.layers import few
from shiftgain.findings.pairs import POOR_MARGIN, SMALLEST_GAIN, main_method
from shiftgain.findings.relations import means, on_grid
from shiftgain.report import cards, thumbnails
from shiftgain.report.pictures import first_example, first_examples
from shiftgain.shifts.transforms import TRANSFORMS
from shiftgain.study.names import KEPT, KEY, PAIR, target_name

# Characters of pictures and histograms that a page holds. With figures and numbers, the default study stays below 5 MB.
PICTURE_CHARACTERS = 2_000_000
# Numbers of a pair that the page shows, and the decimals that they keep.
FACTS = {
    "own_iou": 3, "iou_target_trained": 3, "pixel_ceiling": 3, "theory_after": 3, "true_foreground": 3,
    "foreground_before": 3, "foreground_after": 3,
}  # fmt: skip
EXPECTED_PREFIX = "expected_"
ADVICE_DECIMALS = {"gain": 3}
# What a card says is kept as numbers and as words between them, which many cards share.
NUMBER, CLAUSE = re.compile(r"([+-]?\d+\.\d+)"), re.compile(r"(?<=; )")
# Images that a card of the page shows, and pixels of their longer side.
CARD_IMAGES, CARD_SIDE = 2, 192
# Dimensions of a layer whose histograms are shown: those whose means moved most.
DIMENSIONS = 3
STATES = ("source", "before", "after")


def pair_rows(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per pair, home and pairs without labels included: numbers averaged over seeds, words of the first seed.

    ``seeds``: how many there are. ``pairs``: the table of :func:`pairs.read_pairs`.
    """
    groups = pairs.sort_values(KEY, kind="stable").groupby(PAIR, sort=False)
    numbers = [name for name in pairs.select_dtypes("number") if name not in KEY]
    rows = groups.first().assign(**groups[numbers].mean(), seeds=groups.size()).reset_index()
    # `first` skips what is missing: a pair's polarity is empty for all its seeds or for none.
    return rows.assign(condition=conditions(rows))


def contents(
    rows: pd.DataFrame, advice: pd.DataFrame, distances: pd.DataFrame, specs: dict[str, dict], layers: list[str],
    remedies: list[str],
) -> dict:  # fmt: skip
    """All that the atlas says in words and numbers, ready for JSON.

    ``rows``: of :func:`pair_rows`; ``advice``, ``distances``: the tables of these names, distances of one activation;
    ``specs``: full name -> parameters of every domain.
    """
    main = main_method(rows.dropna(subset=["method"]))
    methods = [name.removeprefix("iou_") for name in rows if name.startswith("iou_")]
    methods = [name for name in methods if name not in ("before", "after", "target_trained")]
    methods = [main, *(name for name in methods if name != main)] if main in methods else methods
    names = {key: list(dict.fromkeys(rows[key])) for key in ("source", "target")}
    shifts = sorted(set(zip(rows["transform"], rows["level"], strict=True)), key=lambda shift: (shift[1] != 0, shift))
    known = by_condition(rows["condition"])
    facts = {name: _rounded(rows[name], digits) for name, digits in FACTS.items() if name in rows}
    iou = {UNADAPTED: _rounded(rows["iou_before"], 3)} | {name: _rounded(rows[f"iou_{name}"], 3) for name in methods}
    return {
        "main": main,
        "methods": methods,
        "remedies": [name for name in remedies if name in methods],
        "conditions": known,
        "sources": names["source"],
        "targets": names["target"],
        "means": {name: means(specs[name]) for name in names["target"] if name in specs and on_grid(specs[name])},
        "shifts": [[transform, level, _unit(transform)] for transform, level in shifts],
        "smallest": SMALLEST_GAIN,
        "poor": POOR_MARGIN,
        "pairs": {
            "source": _places(rows["source"], names["source"]),
            "target": _places(rows["target"], names["target"]),
            "shift": _places(zip(rows["transform"], rows["level"], strict=True), shifts),
            "condition": _places(rows["condition"], known),
            "polarity": list(rows["polarity"]),
            "home": list(map(int, rows["home"])),
            "seed": list(map(int, rows["seed"])),
            "seeds": list(map(int, rows["seeds"])),
        }
        | facts,
        "iou": iou,
        "advice": _advised(rows, advice, main),
        "distances": _distances(rows, distances, few(layers)),
    }


def gathered(
    rows: pd.DataFrame, splits: Mapping[str, tuple[str, str]], jobs: Mapping[tuple[str, str], str],
    masks: Mapping[str, str], latents: Mapping[str, str], layers: list[str], activation: str, methods: list[str],
    budget: int,
) -> dict:  # fmt: skip
    """Pictures and histograms of as many of ``rows`` as have room in ``budget`` characters, ready for JSON.

    ``splits``: full name of a target -> (file, group) of its test images; ``jobs``: (source, target) -> a key of
    ``masks`` and ``latents``, the files of that job. ``shown``: row -> its pictures, as places in ``pool``, and its
    histograms.
    """
    pool: dict[str, int] = {}
    examples: dict[str, dict] = {}
    shown: dict[int, dict] = {}

    def place(text: str) -> int:
        return pool.setdefault(text, len(pool))

    spent = 0
    for number in spread(rows):
        source, target = rows.iloc[number][["source", "name"]]
        if target not in examples:
            example = first_example(splits[target])
            mask = None if example.mask is None else place(thumbnails.mask(example.mask))
            examples[target] = {"image": place(thumbnails.image(example.image)), "mask": mask}
        with store.read(masks[jobs[source, target]]) as file:
            group = file[target]
            stored = {UNADAPTED: "source"} | {name: name for name in methods}
            predicted = {
                name: place(thumbnails.mask(group[key][0])) for name, key in stored.items() if key in group
            }  # fmt: skip
        with store.read(latents[jobs[source, target]]) as file:
            states = {"source": file["source/reference"], **file[f"targets/{target}"]}
            histograms = list(_histograms(states, few(layers), activation))
        entry = examples[target] | {"predicted": predicted, "latents": histograms}
        # Pictures that pairs share are counted once.
        cost = sum(map(len, pool)) + spent + len(repr(entry))
        if cost > budget:
            break
        spent += len(repr(entry))
        shown[number] = entry
        size = len(pool)
    return {
        "pool": list(pool)[:size] if shown else [],
        "shown": {str(number): shown[number] for number in sorted(shown)},
    }


def compared(
    shown: list[dict], splits: Mapping[str, tuple[str, str]], jobs: Mapping[tuple[str, str], str],
    masks: Mapping[str, str],
) -> Iterator[list[dict[str, str]]]:  # fmt: skip
    """Of each card of :func:`cards.cards` its first test images: ``image``, and the masks ``kept`` and ``adapted``.

    Images are stretched, so that dim ones are seen. Adapted is by the action of the advice, whether it is advised or
    not. ``splits``, ``jobs`` and ``masks`` as those of :func:`gathered`.
    """
    for card in shown:
        name = target_name(card["target"], card["transform"], card["level"])
        with store.read(masks[jobs[card["source"], name]]) as file:
            kept, adapted = (file[name][method][:CARD_IMAGES] for method in (KEPT, card["action"]))
        images = [example.image for example in first_examples(splits[name], len(kept))]
        yield [
            {
                "image": thumbnails.image(thumbnails.stretched(image), CARD_SIDE),
                "kept": thumbnails.mask(before, CARD_SIDE),
                "adapted": thumbnails.mask(after, CARD_SIDE),
            }
            for image, before, after in zip(images, kept, adapted, strict=False)
        ]


def spread(rows: pd.DataFrame) -> list[int]:
    """Places of all ``rows`` in the order in which they are drawn while there is room.

    Pairs without labels first, then halves, quarters and so on of the order by gain: whatever number fits, gains and
    losses of every size are among them.
    """
    gain = (rows["iou_after"] - rows["iou_before"]).to_numpy()
    order = [int(place) for place in np.argsort(gain, kind="stable")]
    labelled = [place for place in order if np.isfinite(gain[place])]
    bits = len(labelled).bit_length()
    halved = sorted(range(len(labelled)), key=lambda k: f"{k:0{bits}b}"[::-1])
    return sorted(set(order) - set(labelled)) + [labelled[k] for k in halved]


def _histograms(states: Mapping, layers: list[str], activation: str) -> Iterator[list]:
    """For each layer, of the dimensions that moved most: [layer, [dimension, moved, low, high, texts by state]...].

    A network that was trained elsewhere may lack a layer.
    """
    for layer in (layer for layer in layers if layer in states["source"]):
        groups = {state: states[state][f"{layer}/{activation}/position"] for state in STATES if state in states}
        source = groups["source"]
        sd = np.sqrt(np.diagonal(source["covariance"][:]).clip(0))
        distance = np.abs(groups["before"]["mean"][:] - source["mean"][:])
        moved = np.divide(distance, sd, out=np.zeros_like(distance), where=sd > 0)
        samples = {state: group["rows"][:] for state, group in groups.items()}
        dimensions = []
        for dimension in np.argsort(-moved, kind="stable")[:DIMENSIONS]:
            low, high, texts = thumbnails.histograms([values[:, dimension] for values in samples.values()])
            about = [int(dimension), round(float(moved[dimension]), 1), float(f"{low:.3g}"), float(f"{high:.3g}")]
            dimensions.append([*about, *texts])
        yield [layer, dimensions]


def _advised(rows: pd.DataFrame, advice: pd.DataFrame, main: str) -> dict:
    """Columns of the advice in the order of ``rows``: numbers are means over seeds, words are of the first seed.

    ``expected``: method -> IoU, of all columns expected_NAME. ``said``: field of :func:`cards.card` -> for each pair a
    list of numbers, as text, and of places in ``words``; empty without advice.
    """
    numbers = [name for name in advice if name.startswith(EXPECTED_PREFIX) or name in ADVICE_DECIMALS]
    first = cards.of_pairs(advice)
    names = [name for name in ("decision", "action") if name in first]
    table = first[[*PAIR, *names]].merge(advice.groupby(PAIR)[numbers].mean(), "left", PAIR)
    table = rows[PAIR].merge(table, "left", PAIR)
    # Where each action has its own column, "after" is that of the action which is advised on.
    method_of = {"expected_before": UNADAPTED} | (
        {} if f"{EXPECTED_PREFIX}{main}" in advice else {"expected_after": main}
    )
    sums = ("expected_before", "expected_after")
    actions = [name for name in numbers if name.startswith(EXPECTED_PREFIX) and name not in sums]
    method_of |= {name: name.removeprefix(EXPECTED_PREFIX) for name in actions}
    decided = {name: list(table[name].astype(object).where(table[name].notna(), "")) for name in names}
    return {
        "expected": {method: _rounded(table[name], 3) for name, method in method_of.items() if name in table},
        **{name: _rounded(table[name], digits) for name, digits in ADVICE_DECIMALS.items() if name in table},
        **decided,
        **_said(rows, first),
    }


def _said(rows: pd.DataFrame, advice: pd.DataFrame) -> dict:
    """``said`` and ``words`` of :func:`_advised`; ``advice``: a row per pair."""
    by_pair = {tuple(row[name] for name in PAIR): row for row in advice.to_dict("records")}
    keys = rows[PAIR].itertuples(index=False, name=None)
    found = [
        cards.card(by_pair[key], unlabelled) if key in by_pair else {}
        for key, unlabelled in zip(keys, rows["iou_before"].isna(), strict=True)
    ]
    words: dict[str, int] = {}
    said = {name: [_tokens(card.get(name, ""), words) for card in found] for name in cards.FIELDS}
    return {"said": said, "words": list(words)}


def _tokens(text: str, words: dict[str, int]) -> list[str | int]:
    """``text`` as numbers and as places of what stands between them in ``words``, to which new ones are added."""
    tokens: list[str | int] = []
    for place, part in enumerate(NUMBER.split(text)):
        if place % 2:
            tokens.append(part)
        else:
            tokens += [words.setdefault(clause, len(words)) for clause in CLAUSE.split(part) if clause]
    return tokens


def _distances(rows: pd.DataFrame, distances: pd.DataFrame, layers: list[str]) -> dict:
    """``columns`` (layer, state, distance), and ``values`` and ``nulls`` of each in the order of ``rows``.

    Means over seeds, to three digits; a null is of a source and is given once for each.
    """
    place = ["layer", "state", "distance"]
    table = distances[distances["layer"].isin(layers)]
    if not len(table):
        return {"columns": [], "values": [], "nulls": []}
    keys = list(table[place].drop_duplicates().itertuples(index=False, name=None))
    keys.sort(key=lambda key: (layers.index(key[0]), key[1] != "before"))
    values = table.pivot_table(index=PAIR, columns=place, values="value", aggfunc="mean")
    nulls = table.pivot_table(index="source", columns=place, values="null", aggfunc="mean")
    values = values.reindex(pd.MultiIndex.from_frame(rows[PAIR]))
    sources = list(dict.fromkeys(rows["source"]))
    return {
        "columns": [list(key) for key in keys],
        "values": [_digits(values[key]) for key in keys],
        "nulls": [_digits(nulls[key].reindex(sources)) if key in nulls else [None] * len(sources) for key in keys],
    }


def _places(values: Iterable, known: list) -> list[int]:
    place = {value: number for number, value in enumerate(known)}
    return [place[value] for value in values]


def _rounded(values: pd.Series, digits: int) -> list[float | None]:
    return [None if pd.isna(value) else round(float(value), digits) + 0 for value in values]


def _digits(values: pd.Series) -> list[float | None]:
    return [None if pd.isna(value) else float(f"{value:.3g}") for value in values]


def _unit(transform: str) -> str:
    return TRANSFORMS[transform].unit if transform in TRANSFORMS else ""
