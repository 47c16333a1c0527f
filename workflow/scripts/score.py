"""Score every target of a shift family without its masks: networks + statistics + images -> a row per target and
action.

The images are of split ``adapt``. Of the source, labelled validation images serve as the reference. Of images
that are large together only the middle of each is looked at: :func:`shiftgain.prediction.states.looked_at`.
"""

from collections.abc import Collection

import h5py
import numpy as np

from shiftgain.adaptation import artefacts
from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.network import checkpoint, devices
from shiftgain.network.unet import UNet
from shiftgain.prediction import states
from shiftgain.prediction.scores.masks import agreement
from shiftgain.prediction.scores.registry import scores
from shiftgain.prediction.states import Action
from shiftgain.study.names import KEPT, base_of, row_key


def score(
    model_path: str,
    source_path: str,
    targets_path: str,
    adapted_path: str,
    partner_paths: dict[str, str],
    scores_path: str,
    source: str,
    seed: int,
    methods: Collection[str],
    images: int,
    rows: int,
    threshold: float,
    device: str,
) -> None:
    """Write every score of :mod:`shiftgain.prediction.scores.registry`, and the agreement with any partner network.

    A target has a row of the network as it is, method ``source``, and of each of ``methods``. ``partner_paths``:
    ``model`` and ``adapted`` of another seed, or nothing. ``images`` of each domain are looked at, at most, and
    ``rows`` positions of them for scores of features.
    """
    torch_device = devices.pick(device)
    network = checkpoint.load(model_path, torch_device)
    partner = checkpoint.load(partner_paths["model"], torch_device) if partner_paths else None
    table = []
    with (
        store.read(source_path) as labelled,
        store.read(targets_path) as targets,
        store.read(adapted_path) as adapted,
        store.read(partner_paths.get("adapted", adapted_path)) as partner_adapted,
    ):
        reference = states.labelled_view(network, labelled["validation"], images, rows, threshold, torch_device)
        for target, splits in store.targets(targets):
            unseen = store.unseen(splits["adapt"], base_of(source))
            batches = states.looked_at(splits["adapt"], images, torch_device, unseen)
            views = states.views(network, batches, actions(adapted[target], network, methods), rows, threshold)
            key = row_key(source, store.get_json(splits, "domain"), seed)
            other = {}
            if partner is not None:
                told = actions(partner_adapted[target], partner, methods)
                other = states.views(partner, batches, told, rows, threshold)
            for method, row in scores(reference, views, KEPT).items():
                agreed = agreement(reference, views[method], other[method]) if method in other else np.nan
                table.append(key | {"method": method} | row | {"seed_agreement": agreed})
    write_rows(table, scores_path)


def actions(group: h5py.Group, network: UNet, methods: Collection[str]) -> dict[str, Action]:
    """What stage ``adapt`` kept of each of ``methods`` for a target."""
    tried = [method for method in methods if method in group]
    return {
        method: Action(checkpoint.get_state(group[method], network), artefacts.own_of(group[method]))
        for method in tried
    }


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        score(
            model_path=snakemake.input.model,
            source_path=snakemake.input.source,
            targets_path=snakemake.input.targets,
            adapted_path=snakemake.input.adapted,
            partner_paths={kind: path for kind in ("model", "adapted") if (path := snakemake.input[f"partner_{kind}"])},
            scores_path=snakemake.output.scores,
            source=snakemake.wildcards.source,
            seed=int(snakemake.wildcards.seed),
            methods=snakemake.params.methods,
            images=snakemake.params.images,
            rows=snakemake.params.rows,
            threshold=snakemake.params.threshold,
            device=snakemake.params.device,
        )
