"""Why the means inside the network move, for pairs that show it: networks + labelled test images -> a table.

Reads masks of targets, to explain what happened: nothing is adapted, predicted or advised by this table.
"""

import pandas as pd
import torch

from shiftgain.files import job, store
from shiftgain.files.tables import write_csv
from shiftgain.findings.pairs import decomposed_cases, read_pairs
from shiftgain.latents.decomposition import class_means, decomposition
from shiftgain.network import checkpoint
from shiftgain.report.pictures import scored_splits
from shiftgain.study.names import KEY, domain_of, layer_names

COLUMNS = [
    *["case", *KEY, "layer", "channel", "source_share", "target_share", "difference", "prior_part", "appearance_part"],
]


def decompose(
    pairs_path: str, models: dict[str, str], data: dict[str, str], targets: dict[str, str],
    targets_of: dict[str, list[str]], table_path: str,
) -> None:  # fmt: skip
    """Write the table, a row per case, layer and channel.

    Dicts map to paths: ``models`` from ``network/seed0``, ``data`` from a domain, ``targets`` from a shift family,
    whose targets ``targets_of`` names.
    """
    # Six passes at most, over a few images.
    device = torch.device("cpu")
    splits = scored_splits(data, targets, targets_of)
    parts = [pd.DataFrame(columns=COLUMNS)]
    for case, pair in decomposed_cases(read_pairs(pairs_path)).items():
        network = checkpoint.load(models[f"{pair['source']}/seed{pair['seed']}"], device)
        layers = layer_names(network.depth)
        sides = []
        for name in (domain_of(pair["source"]), pair["name"]):
            path, group = splits[name]
            with store.read(path) as file:
                sides.append(class_means(network, file[group], layers, device))
        for layer in layers:
            source, target = (side[layer] for side in sides)
            columns = {"case": case} | pair[KEY].to_dict() | {"layer": layer}
            columns |= {"source_share": source.share, "target_share": target.share} | decomposition(source, target)
            parts.append(pd.DataFrame(columns))
    table = pd.concat([part for part in parts if len(part)] or parts)[COLUMNS]
    write_csv(table, table_path, "%.6g")


if __name__ == "__main__":
    with job.run(snakemake.log[0]):
        decompose(
            pairs_path=snakemake.input.pairs,
            models=dict(zip(snakemake.params.networks, snakemake.input.models, strict=True)),
            data=dict(zip(snakemake.params.domains, snakemake.input.data, strict=True)),
            targets=dict(zip(snakemake.params.targets_of, snakemake.input.targets, strict=True)),
            targets_of=snakemake.params.targets_of,
            table_path=snakemake.output.decomposition,
        )
