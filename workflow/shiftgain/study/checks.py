"""The config, checked against its schema and against itself, and spelled out.

Every fault is one line that names the key and the remedy, before any job starts.
"""

from collections.abc import Iterator

from shiftgain.domains import real
from shiftgain.files.errors import StudyError
from shiftgain.study import descriptions
from shiftgain.study.entries import imageless
from shiftgain.study.families import families
from shiftgain.study.faults.domains import domain_faults
from shiftgain.study.faults.methods import baseline_faults, method_faults, taken_name_faults
from shiftgain.study.faults.pairs import pair_faults
from shiftgain.study.faults.schema import description_faults, schema_faults
from shiftgain.study.faults.segment import segment_faults
from shiftgain.study.faults.settings import setting_faults
from shiftgain.study.looks import looked_at, seen_in_training
from shiftgain.study.names import domain_of
from shiftgain.study.plan import Study


def study(config: dict) -> Study:
    """Check ``config`` against the schema and against itself, and expand it.

    Errors: :class:`StudyError`, one line per fault.
    """
    config = {key: value for key, value in config.items() if key != "pathvars"}
    faults = list(schema_faults(config)) or list(_own_faults(config))
    if faults:
        raise StudyError("\n".join(faults))
    config = config | {"domains": _with_descriptions(config["domains"])}
    named = dict(families(config))
    sources = [source for family in named.values() for source in family.sources]
    targets = [name for family in named.values() for name in family.domains]
    looks = looked_at(config, {*targets, *map(domain_of, sources + config["oracles"])})
    faults = list(dict.fromkeys(domain_faults(config, named, sources, looks)))
    if faults:
        raise StudyError("\n".join(faults))
    specs = {name: config["domains"][name] for name in looks}
    seen = seen_in_training(config, looks)
    entries = {
        name: spec | {"digest": looks[name]["digest"], "trained_on": seen[name]}
        for name, spec in real.settled(specs, looks).items()
    }
    config = config | {"domains": config["domains"] | entries}
    compared = [name for name in sources if name not in imageless(config["domains"])]
    return Study(config, named, tuple(dict.fromkeys(compared + config["oracles"])))


def _own_faults(config: dict) -> Iterator[str]:
    """Faults that hold before the pairs are spelled out."""
    yield from setting_faults(config)
    yield from method_faults(config["methods"])
    yield from baseline_faults(config)
    yield from taken_name_faults(config)
    yield from segment_faults(config)
    yield from pair_faults(config)


def _with_descriptions(domains: dict[str, dict]) -> dict[str, dict]:
    """The domains, with the networks that were trained elsewhere spelled out.

    Errors: :class:`StudyError`, one line per fault.
    """
    whole, faults = {}, []
    for name, entry in domains.items():
        try:
            if "network" in entry:
                network = descriptions.described(f"domains.{name}.network", entry["network"], description_faults)
                entry = entry | {"network": network}
        except StudyError as error:
            faults.append(str(error))
        whole[name] = entry
    if faults:
        raise StudyError("\n".join(faults))
    return whole
