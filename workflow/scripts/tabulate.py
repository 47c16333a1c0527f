"""Join the rows of all jobs into the tables of the results contract, and work out gains, gaps and pairs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import h5py
import numpy as np
import pandas as pd

from shiftgain.files import job, store
from shiftgain.files.tables import read_csv, write_csv
from shiftgain.findings.pairs import SMALLEST_GAP, pair_table, sorted_by
from shiftgain.study.names import KEPT, KEY, PAIR, PLACE, base_of, full_names

# Of the target alone, whatever the method.
FACTS = ["clipped_share", "pixel_ceiling"]
SEGMENTATION = [
    *[*PAIR, "method", "seed", "n_images", "iou", "dice", "iou_mean", "dice_mean"],
    *["predicted_foreground", "true_foreground", "empty_foreground", *FACTS],
    *["selection", "n_target_images", "image_presentations", "status"],
]
GAINS = [
    *[*PAIR, "method", "seed", "iou_before", "iou_after", "iou_target_trained"],
    *["gain_iou", "gain_dice", "gap_closed"],
]
DOMAINS = [
    *["domain", "split", "images", "series", "passed_over", "why", "sizes", "channels", "dtype"],
    *["window_low", "window_high", "window", "grey_low", "grey_high", "mask_values", "foreground_share"],
    *["ignored_share", "notes"],
]


def tabulate(
    evaluated_paths: list[str], oracle_paths: list[str], distances_paths: list[str], channels_paths: list[str],
    scores_paths: list[str], specs: dict[str, dict], segmentation_path: str, gains_path: str, pairs_path: str,
    networks_path: str, distances_path: str, channels_path: str, scores_path: str, domains_path: str,
    data_paths: Sequence[str] = (), targets_paths: Sequence[str] = (),
    passed_over: Mapping[str, dict] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Write the tables, each sorted by its key, a pair that two blocks of the config share once.

    ``specs``: full name of every domain -> its parameters. ``data_paths`` and ``targets_paths``: files of real domains
    that are trained on, and of the shift families with real targets; ``passed_over``: real domain ->
    :func:`shiftgain.domains.real.passed_over`.
    """
    evaluated = read(evaluated_paths, [*KEY, "method", "iou", "dice", "predicted_foreground", *FACTS])
    networks = read(oracle_paths, ["target", "seed", "iou"]).rename(columns={"target": "network"})
    distances = read(distances_paths, [*KEY, *PLACE, "state", "distance", "value", "null"])
    channels, scores = read(channels_paths, ["source", "seed", "layer"]), read(scores_paths, [*KEY, "method"])
    segmentation = with_oracles(evaluated, networks)
    gained = gains(segmentation)[GAINS]
    tables = {segmentation_path: segmentation.reindex(columns=SEGMENTATION), gains_path: gained}
    tables |= {pairs_path: pair_table(segmentation, gained, networks, specs), networks_path: networks}
    tables |= {distances_path: distances, channels_path: channels, scores_path: scores}
    tables |= {domains_path: readings(data_paths, targets_paths, passed_over)}
    for path, table in tables.items():
        write_csv(sorted_by(table, keys_of(table)), path, "%.9g")


def with_oracles(scores: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """``scores`` and, for each pair whose target has a network of its own, a row of method ``target``."""
    pairs = scores[KEY].drop_duplicates()
    facts = scores.drop_duplicates(KEY)[[*KEY, *FACTS]]
    named = pairs.assign(network=full_names(pairs), method="target")
    joined = named.merge(networks, on=["network", "seed"]).merge(facts, on=KEY)
    return pd.concat([scores, joined.drop(columns="network")], ignore_index=True).sort_values([*KEY, "method"])


def gains(segmentation: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and method beside ``source``: before, after, and the share of the gap to the oracle closed."""
    scores = segmentation.set_index(KEY)
    before = scores[scores["method"] == KEPT][["iou", "dice"]].add_suffix("_before")
    trained = scores[scores["method"] == "target"][["iou"]].rename(columns={"iou": "iou_target_trained"})
    rows = scores[~scores["method"].isin([KEPT, "target"])].join(before).join(trained)
    rows["iou_after"] = rows["iou"]
    rows["gain_iou"] = rows["iou"] - rows["iou_before"]
    rows["gain_dice"] = rows["dice"] - rows["dice_before"]
    gap = rows["iou_target_trained"] - rows["iou_before"]
    rows["gap_closed"] = np.where(gap > SMALLEST_GAP, rows["gain_iou"] / gap.where(gap > SMALLEST_GAP), np.nan)
    return rows.reset_index()


def read(paths: list[str], columns: list[str]) -> pd.DataFrame:
    """All rows of several tables of one form, which have ``columns`` at least; each key once."""
    table = pd.concat([read_csv(path, columns) for path in paths], ignore_index=True)
    return table.drop_duplicates(keys_of(table), ignore_index=True)


def readings(data_paths: Sequence[str], targets_paths: Sequence[str], passed_over: Mapping[str, dict]) -> pd.DataFrame:
    """A row per real domain and split: what stage generate read of it."""
    rows = []
    for path in data_paths:
        with store.read(path) as file:
            rows += _readings(file)
    for path in targets_paths:
        with store.read(path) as file:
            rows += [row for _, splits in store.targets(file) for row in _readings(splits)]
    rows = [row | passed_over[base_of(row["domain"])] for row in rows]
    return pd.DataFrame(rows, columns=DOMAINS).drop_duplicates(["domain", "split"], ignore_index=True)


def _readings(splits: h5py.Group) -> list[dict]:
    return [store.get_json(split, "look") for _, split in store.members(splits) if "look" in split.attrs]


def keys_of(table: pd.DataFrame) -> list[str]:
    """The columns that name a row of a table, by which it is sorted."""
    names = ["domain", "split", "network", *KEY, "method", *PLACE, "state", "distance"]
    return [name for name in names if name in table]


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        tabulate(
            evaluated_paths=list(snakemake.input.evaluated),
            oracle_paths=list(snakemake.input.oracles),
            distances_paths=list(snakemake.input.distances),
            channels_paths=list(snakemake.input.channels),
            scores_paths=list(snakemake.input.scores),
            specs=snakemake.params.specs,
            segmentation_path=snakemake.output.segmentation,
            gains_path=snakemake.output.gains,
            pairs_path=snakemake.output.pairs,
            networks_path=snakemake.output.networks,
            distances_path=snakemake.output.distances,
            channels_path=snakemake.output.channels,
            scores_path=snakemake.output.scores,
            domains_path=snakemake.output.domains,
            data_paths=list(snakemake.input.data),
            targets_paths=list(snakemake.input.targets),
            passed_over=snakemake.params.passed_over,
        )
