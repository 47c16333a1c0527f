"""Why the means inside the network move, for pairs that show it: networks + labelled test images -> a table.

Reads masks of targets, to explain what happened: nothing is adapted, predicted or advised by this table.
"""

import pandas as pd
import torch

from shiftgain.files import job, store
from shiftgain.files.tables import write_csv
from shiftgain.findings.cases import decomposed_cases
from shiftgain.findings.pairs import of_jobs, read_pairs
from shiftgain.latents.decomposition import class_means, decomposition
from shiftgain.network import checkpoint
from shiftgain.network.adopted import layers_of
from shiftgain.study.names import KEY, domain_of

COLUMNS = [
    *["case", *KEY, "layer", "channel", "source_share", "target_share", "difference", "prior_part", "appearance_part"],
]


def decompose(
    pairs_path: str, jobs: list[str], models: dict[str, str], data: dict[str, str], targets: dict[str, str],
    targets_of: dict[str, list[str]], table_path: str,
) -> None:  # fmt: skip
    """Write the table, a row per case, layer and channel.

    Dicts map to paths: ``models`` from ``network/seed0``, ``data`` from a domain, ``targets`` from a shift family,
    whose targets ``targets_of`` names. Pairs are those of ``jobs``, ``source/seed0/family``, whose images these are.
    """
    # Six passes at most, over a few images.
    device = torch.device("cpu")
    parts = [pd.DataFrame(columns=COLUMNS)]
    for case, pair in decomposed_cases(of_jobs(read_pairs(pairs_path), jobs, targets_of)).items():
        name = f"{pair['source']}/seed{pair['seed']}"
        network = checkpoint.load(models[name], device)
        layers = layers_of(network)
        families = (job.rpartition("/")[2] for job in jobs if job.startswith(f"{name}/"))
        family = next(family for family in families if pair["name"] in targets_of[family])
        sides = []
        for path, group in ((data[domain_of(pair["source"])], "test"), (targets[family], f"{pair['name']}/test")):
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
    with job.run(snakemake.log[0], snakemake.output):
        decompose(
            **job.by_name(snakemake.input, snakemake.params.names),
            pairs_path=snakemake.input.pairs,
            jobs=snakemake.params.jobs,
            targets_of=snakemake.params.targets_of,
            table_path=snakemake.output.decomposition,
        )
