"""The pair table: a row per source, target, transform, level and seed, with everything that is known of it."""

from collections.abc import Iterable

import pandas as pd

from shiftgain.files.tables import read_csv
from shiftgain.findings.relations import with_relations
from shiftgain.study.names import KEPT, KEY, PAIR, PLAIN

# Every column of tables/pairs.csv, in its order; workflow/schemas/tables.schema.yaml says what each holds. The adapted
# IoU of each method follows, in columns iou_METHOD, methods in the order of :func:`numbered`.
COLUMNS = [
    *["source", "target", "transform", "level", "seed", "name", "variant"],
    *["home", "shifted", "polarity", "brightness", "towards_mask"],
    *["share_spread", "share_change", "contrast_change", "theory_before", "theory_after"],
    *["true_foreground", "foreground_before", "foreground_after", "clipped_share", "pixel_ceiling"],
    *["own_iou", "iou_target_trained", "iou_before", "method", "iou_after", "gain_iou"],
]
# A change of IoU of at most this size is called none.
SMALLEST_GAIN = 0.02
# An IoU more than this below that of the source at home is called poor, as in the talk's cases.
POOR_MARGIN = 0.1
# Adapted IoU at most this far below the source's own is called restored, as in the talk's case `works`.
RESTORED_MARGIN = 0.03
# Below this room between the IoU before and that of a target-trained network, the share of it closed means nothing.
SMALLEST_GAP = 0.01
# A share of foreground less than this from one half counts as one half: a flip of polarity there leaves no trace in the
# grey levels. Test splits of domains drawn at one half have shares within 0.01 of it.
NEAR_HALF = 0.05
# A statement over fewer pairs than this is not made.
FEWEST_PAIRS = 3
# Characters that the name of a method has at most, by the schema of the config.
LONGEST_NAME = 40


def near_half(share: pd.Series) -> pd.Series:
    """|share - 1/2| < :data:`NEAR_HALF`."""
    return (share - 0.5).abs() < NEAR_HALF


def numbered(names: pd.Series | pd.Index) -> pd.Series | pd.Index:
    """Names of methods -> what they are sorted by: the alphabet, but numbers by size, ``prior_2`` before ``prior_16``.

    A ``key`` of the functions of pandas that sort; numbers are filled up with zeros.
    """
    return names.astype(object).str.replace(r"\d+", lambda number: number[0].zfill(LONGEST_NAME), regex=True)


def sorted_by(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The rows of ``table`` sorted by ``columns``; a column ``method`` as :func:`numbered` has it."""
    return table.sort_values(columns, key=lambda values: numbered(values) if values.name == "method" else values)


def main_method(gains: pd.DataFrame) -> str:
    """The method that the figures show: ``batchnorm``, or the first one of a study without it."""
    methods = sorted(gains["method"].unique())
    # Without any, no network of the study can be adapted.
    return PLAIN if PLAIN in methods or not methods else methods[0]


def pair_table(
    segmentation: pd.DataFrame, gains: pd.DataFrame, networks: pd.DataFrame, specs: dict[str, dict]
) -> pd.DataFrame:
    """The table with :data:`COLUMNS`, sorted by its key.

    ``segmentation``, ``gains`` and ``networks``: the tables of those names, each key once; ``specs``: full name of
    every domain -> its parameters.
    """
    scored = {"iou": "iou_before", "predicted_foreground": "foreground_before"}
    table = segmentation[segmentation["method"] == KEPT].rename(columns=scored)
    facts = ["true_foreground", "foreground_before", "clipped_share", "pixel_ceiling", "iou_before"]
    table = with_relations(table[[*KEY, *facts]], specs)
    for role, column in (("source", "own_iou"), ("name", "iou_target_trained")):
        scores = networks.rename(columns={"network": role, "iou": column})
        table = table.merge(scores[[role, "seed", column]], on=[role, "seed"], how="left")
    table["method"] = main_method(gains)
    main = gains.loc[gains["method"] == main_method(gains), [*KEY, "iou_after", "gain_iou"]]
    by_method = gains.pivot(index=KEY, columns="method", values="iou_after").add_prefix("iou_")
    shares = segmentation.loc[segmentation["method"] == main_method(gains), [*KEY, "predicted_foreground"]]
    table = table.merge(shares.rename(columns={"predicted_foreground": "foreground_after"}), on=KEY, how="left")
    table = table.merge(main, on=KEY, how="left")[COLUMNS]
    by_method = by_method.sort_index(axis=1, key=numbered)
    return table.merge(by_method.reset_index(), on=KEY, how="left").sort_values(KEY, ignore_index=True)


def read_pairs(path: str) -> pd.DataFrame:
    """The pair table as :func:`pair_table` made it.

    Errors: :class:`StudyError` naming the file when it is missing, damaged or of another form.
    """
    table = read_csv(path, COLUMNS)
    words = ["variant", "polarity"]
    return table.assign(**{word: table[word].astype(object).where(table[word].notna(), "") for word in words})


def by_action(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per pair, seed and action that was scored with masks: its ``method``, ``iou``, and ``true_foreground``."""
    wide = pairs.rename(columns={"iou_before": f"iou_{KEPT}"})
    methods = [column for column in wide if column not in COLUMNS]
    long = wide.melt([*KEY, "true_foreground"], methods, "method", "iou").dropna(subset="iou", ignore_index=True)
    return long.assign(method=long["method"].str.removeprefix("iou_"))


def over_seeds(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs scored with the main method, home included, averaged over seeds."""
    fixed = [*PAIR, "name", "variant", "home", "shifted", "polarity", "brightness", "method"]
    return pairs[pairs["gain_iou"].notna()].groupby(fixed).mean(numeric_only=True).reset_index()


def abroad(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs of :func:`over_seeds` but home: what is counted."""
    table = over_seeds(pairs)
    return table[~table["home"]]


def of_jobs(pairs: pd.DataFrame, jobs: Iterable[str], targets_of: dict[str, list[str]]) -> pd.DataFrame:
    """The rows of ``pairs`` that one of ``jobs``, ``source/seed0/family``, is about: their images are at hand."""
    parts = [job.split("/") for job in jobs]
    known = {(source, seed, target) for source, seed, family in parts for target in targets_of[family]}
    rows = zip(pairs["source"], "seed" + pairs["seed"].astype(str), pairs["name"], strict=True)
    return pairs[[row in known for row in rows]]


def by_pair(scores: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and seed of the table of scores, which has one per action: ``NAME_before`` and ``NAME_after``.

    Before is of the network as it is, after of a plain refresh; a score that is equal in both, as one of the domain is,
    is ``NAME``.
    """
    kept, plain = (scores[scores["method"] == method].set_index(KEY).drop(columns="method") for method in (KEPT, PLAIN))
    plain = plain.reindex(kept.index)
    same = [name for name in kept if kept[name].equals(plain[name])]
    parts = [part.drop(columns=same).add_suffix(f"_{state}") for part, state in ((kept, "before"), (plain, "after"))]
    # Copied, since pandas warns, in the terminal of a run, where a table lies in many parts.
    return pd.concat([kept[same], *parts], axis=1).copy().reset_index()


def label(pair: pd.Series) -> str:
    """Source, target and transform of a pair in words."""
    level = "" if pair["transform"] == "identity" else f", {pair['transform']} {pair['level']:g}"
    return f"{pair['source']} → {pair['target']}{level}"
