"""Faults that the schema finds: keys that are not known, missing, or of another type or range."""

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError

from shiftgain.files.errors import hint

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.yaml"


def schema_faults(config: dict) -> Iterator[str]:
    """One line per violation of the schema, naming the key by its path and the remedy."""
    yield from _schema_faults(config, yaml.safe_load(SCHEMA.read_text()))


def description_faults(entry: dict) -> Iterator[str]:
    """Violations of the schema by the description of a network, in lines."""
    definitions = yaml.safe_load(SCHEMA.read_text())["$defs"]
    yield from _schema_faults(entry, {"$ref": "#/$defs/network", "$defs": definitions})


def _schema_faults(config: dict, schema: dict) -> Iterator[str]:
    validator = Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.path]):
        where = "config key " + (".".join(str(part) for part in error.absolute_path) or "(top level)")
        allowed = error.schema.get("properties", {})
        if error.validator == "additionalProperties":
            unknown = [key for key in error.instance if key not in allowed]
            for key in unknown:
                yield f"{where}: unknown key '{key}'{hint(key, allowed)}"
        elif error.validator == "required":
            yield f"{where}: {error.message}; see workflow/schemas/config.schema.yaml"
        elif instead := _written_otherwise(error):
            yield f"{where}: '{error.instance}' is {instead}"
        else:
            meaning = error.schema.get("description")
            yield f"{where}: {error.message}" + (f" ({meaning})" if meaning else "")


def _written_otherwise(error: ValidationError) -> str:
    """What is to be written in place of a text that stands for a number, or alone for a list; empty of other faults."""
    if not isinstance(error.instance, str):
        return ""
    # The schema tells by `if: {type: array}` whether a value is to be a list, or by naming both.
    lists = [part.get("type") for part in (error.schema, *error.schema.get("anyOf", []))]
    if "array" in lists or [*error.schema_path][-2:-1] == ["else"]:
        return f"no list; write [{error.instance}]"
    kinds = error.schema.get("type", [])
    if error.validator == "type" and {"number", "integer"} & {*([kinds] if isinstance(kinds, str) else kinds)}:
        with suppress(InvalidOperation):
            # YAML takes 1e-3 for a text, since it has no point.
            return f"text to YAML; write {Decimal(error.instance):f}"
    return ""
