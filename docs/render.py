"""Pages of numbers, keys and words, rendered from what they tell of: `make docs` writes them.

A page is a template of docs/templates and one function here, which works out what the template says. Tests hold the
committed pages to the functions, so no number is copied by hand.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import yaml

from docs.published import results
from docs.scale import scale
from shiftgain.adaptation.baselines import BASELINES
from shiftgain.adaptation.methods import METHODS
from shiftgain.latents.distances import DISTANCES
from shiftgain.shifts.generation import drawn_compound

ROOT = Path(__file__).parents[1]
COMPOUNDS = 20  # as many as workflow/studies/remedies.yaml takes


def glossary() -> dict:
    """The words of workflow/report/glossary.yaml."""
    return {"words": yaml.safe_load((ROOT / "workflow/report/glossary.yaml").read_text())}


def configuration() -> dict:
    """Every key of the config: what it means, what it may be, what it is by default."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    seen: dict[int, str] = {}
    sections = {
        name: {
            "meaning": sense(section) if "properties" in section else "",
            "keys": list(keys(name, section, default[name], schema, seen)),
        }
        for name, section in schema["properties"].items()
    }
    compounds = [(number, *drawn_compound(number)) for number in range(COMPOUNDS + 1)]
    draws = [
        [number, stops, offset, "yes" if flip else "no", share] for number, stops, offset, flip, share in compounds
    ]
    return {"sections": sections, "draws": draws, "named": named(default)}


def named(default: dict) -> dict[str, list[list[str]]]:
    """Key of the config -> the names that it may hold, and the first line of what each does.

    A method of ``config.yaml`` is told by its function and options.
    """
    functions = METHODS | BASELINES
    methods = [[f"`{name}`", first_line(function)] for name, function in functions.items()]
    for section in ("methods", "baselines"):
        variants = [(name, yaml.safe_dump(entry, default_flow_style=True)) for name, entry in default[section].items()]
        methods += [[f"`{name}`", f"`{text.strip()}`"] for name, text in variants if name not in functions]
    distances = [[f"`{name}`", first_line(function)] for name, function in DISTANCES.items()]
    return {"pairs.N.methods": methods, "distances.names": distances}


def first_line(function: Callable) -> str:
    """The first line of a docstring, without the marks of reStructuredText."""
    line = (function.__doc__ or "").splitlines()[0]
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", line.replace("``", "`"))


PAGES = {
    "docs/results.md": results,
    "docs/scale.md": scale,
    "docs/glossary.md": glossary,
    "config/README.md": configuration,
}


def render(page: str) -> str:
    """The text of ``page``, a path of :data:`PAGES`, from its template."""
    loader = jinja2.FileSystemLoader(ROOT / "docs/templates")
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"row": row, "head": head}
    return environment.get_template(f"{PAGES[page].__name__}.md.j2").render(PAGES[page]())


def row(cells: list) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def head(cells: list) -> str:
    """The two lines that begin a table of Markdown."""
    return f"{row(cells)}\n{row(['---'] * len(cells))}\n"


def keys(path: str, schema: dict, default: object, top: dict, seen: dict[int, str]) -> Iterator[list[str]]:
    """A row per key at and under ``path``: its sense, what it may be, and its default.

    ``seen``: mapping of keys that has its rows already, by identity -> its path. YAML's aliases and the schema's
    references give one mapping several paths, and later ones point at the first.
    """
    schema = resolved(schema, top)
    inner = schema.get("properties", {})
    if not inner:
        yield [f"`{path}`", sense(schema), allowed(schema, top), one_line(default)]
        # What may be a text or a list may be a mapping instead.
        for name, value in schema.get("else", {}).get("properties", {}).items():
            yield from keys(f"{path}.{name}", value, None, top, seen)
    elif id(inner) in seen:
        yield [f"`{path}`", sense(schema), f"the keys of `{seen[id(inner)]}`", ""]
        return
    else:
        seen[id(inner)] = path
    known: dict = default if isinstance(default, dict) else {}
    for name, value in inner.items():
        yield from keys(f"{path}.{name}", value, known.get(name), top, seen)
    entry = schema.get("additionalProperties")
    entries = [(f"{path}.N", schema.get("items", {}))]
    if isinstance(entry, dict):
        entries = [(f"{path}.NAME", part) for part in (entry, entry.get("then", {}), entry.get("else", {}))]
        # A block of options for each value of `function`.
        for block in entry.get("allOf", []):
            entries.append((f"{path}.{block['if']['properties']['function']['const']}", block["then"]))
    for inner_path, part in entries:
        for name, value in part.get("properties", {}).items():
            yield from keys(f"{inner_path}.{name}", value, None, top, seen)


def resolved(schema: dict, top: dict) -> dict:
    reference = schema.get("$ref")
    return top["$defs"][reference.removeprefix("#/$defs/")] | schema if reference else schema


def sense(schema: dict) -> str:
    return " ".join(schema.get("description", "").split())


def one_line(default: object) -> str:
    """A default in the one-line form of YAML; nothing for a key that has none or holds a whole block."""
    if default is None:
        return ""
    text = yaml.safe_dump(default, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return f"`{text}`" if len(text) <= 60 else ""


def allowed(schema: dict, top: dict) -> str:
    """What a value may be, in words."""
    schema = resolved(schema, top)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "if" in schema and "type" in schema["if"]:
        first = schema["if"] | schema.get("then", {})
        return " or ".join(allowed(part, top) for part in (first, schema.get("else", {})) if part)
    if "anyOf" in schema:
        return " or ".join(allowed(part, top) for part in schema["anyOf"])
    kinds = schema.get("type", "object")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(kind_of(kind, schema, top) for kind in kinds)


def kind_of(kind: str, schema: dict, top: dict) -> str:
    if kind == "array":
        counts: dict[tuple, str] = {(2, 2): "two of ", (3, 3): "three of "}
        count = counts.get((schema.get("minItems"), schema.get("maxItems")), "")
        return f"list of {count}{allowed(schema.get('items', {}), top)}"
    if kind == "object":
        return "mapping"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]:g}" for name, sign in bounds.items() if name in schema and kind != "null"]
    return " ".join([kind, ", ".join(limits)]).strip()


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.parent.mkdir(exist_ok=True)
        path.write_text(render(page))
