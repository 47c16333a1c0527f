"""Measure distances between source and target latents: latents -> one row per target, layer, state and distance."""

from shiftgain.files import job, store
from shiftgain.files.tables import write_rows
from shiftgain.latents import channels
from shiftgain.latents.distances import DISTANCES, Latents, null, projections
from shiftgain.study.names import PLACE, row_key


def distances(
    latents_path: str,
    targets_path: str,
    distances_path: str,
    channels_path: str,
    names: list[str],
    n_projections: int,
    source: str,
    seed: int,
) -> None:
    """Write value and null of every distance in ``names``.

    The null is the mean over the pairs of halves of the source's images in which positions of the layer count; NaN
    where there are none.

    ``channels_path`` gets the shares of dead and of non-Gaussian channels of the source, a row per layer.
    """
    rows, shares = [], []
    with store.read(latents_path) as latents, store.read(targets_path) as targets:
        specs = {target: store.get_json(group, "domain") for target, group in store.targets(targets)}
        pairs = [pair for _, pair in store.members(latents["source/null"])]
        for path, reference in summaries(latents["source/reference"]):
            place = dict(zip(PLACE, path.split("/"), strict=True))
            shares.append({"source": source, "seed": seed} | place | channels.shares(reference.rows))
            directions = projections(reference.mean.size, n_projections, seed=0)
            told = [pair for pair in pairs if f"first/{path}" in pair and f"second/{path}" in pair]
            halves = [(load(pair["first"][path]), load(pair["second"][path])) for pair in told]
            nulls = {name: null(name, halves, directions) for name in names}
            for target, spec in specs.items():
                for state, group in store.members(latents[f"targets/{target}"]):
                    taken = load(group[path])
                    for name in names:
                        value = DISTANCES[name](reference, taken, directions)
                        row = {"state": state, "distance": name, "value": value, "null": nulls[name]}
                        rows.append(row_key(source, spec, seed) | place | row)
    write_rows(rows, distances_path)
    write_rows(shares, channels_path)


def summaries(group):
    """(``layer/activation/unit``, latents) of everything below a group."""
    for layer, activations in store.members(group):
        for activation, units in store.members(activations):
            for unit, arrays in store.members(units):
                yield f"{layer}/{activation}/{unit}", load(arrays)


def load(group) -> Latents:
    """The summary that stage ``latents`` wrote."""
    arrays = [group[name][...] for name in ("rows", "mean", "covariance")]
    try:
        return Latents(*arrays).finite()
    except ValueError as error:
        raise KeyError(f"{group.name}: {error}") from error


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        distances(
            latents_path=snakemake.input.latents,
            targets_path=snakemake.input.targets,
            distances_path=snakemake.output.distances,
            channels_path=snakemake.output.channels,
            names=snakemake.params.names,
            n_projections=snakemake.params.projections,
            source=snakemake.wildcards.source,
            seed=int(snakemake.wildcards.seed),
        )
