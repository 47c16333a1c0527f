"""The config as files and the command line give it, before it is checked."""

from contextlib import suppress
from pathlib import Path

import yaml

from shiftgain.files.errors import StudyError


def duplicate_keys(paths: list) -> None:
    """Errors: :class:`StudyError` when a key, such as the name of a domain, stands twice in one of the files."""
    for path in paths:
        with Path(path).open() as file:
            yaml.load(file, _Loader)


def typed(arguments: dict) -> dict:
    """What ``--config`` gives, with numbers as numbers: Snakemake leaves those within lists and mappings text."""
    return {key: _typed(value) if isinstance(value, dict | list) else value for key, value in arguments.items()}


def _typed(value):
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    with suppress(yaml.YAMLError):
        plain = yaml.safe_load(value) if isinstance(value, str) else value
        if plain is None or isinstance(plain, bool | int | float):
            return plain
    return value


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: plain YAML silently keeps the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            place = key_node.start_mark
            raise StudyError(f"{place.name}, line {place.line + 1}: key '{key}' stands twice; rename or remove one")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
