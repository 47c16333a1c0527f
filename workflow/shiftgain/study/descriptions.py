"""Descriptions of networks that were trained elsewhere, read before any job: no code of theirs runs here.

A description is a small YAML file of the keys of config key domains.NAME.network, or a model description of BioImage.IO
(spec 0.4 and 0.5) with weights ``pytorch_state_dict``.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from shiftgain.files.errors import StudyError
from shiftgain.files.sums import digest

# Steps that leave the values as they are, or that stage adopt does itself: images come as 8-bit grey levels.
NO_STEPS = {"ensure_dtype"}
STEPS = {"zero_mean_unit_variance", "fixed_zero_mean_unit_variance", "scale_linear"}
KWARGS = {"mean", "std", "gain", "offset", "axes"}
ACTIVATIONS = {"sigmoid", "softmax"}
DEFAULTS = {"preprocessing": {"id": "none"}, "activation": "sigmoid", "foreground": 0}


def described(key: str, entry: str | dict, faults: Callable[[dict], Iterable[str]]) -> dict:
    """A description with every key, paths absolute, and the digests of its files.

    ``key``: of the network in the config; ``faults``: of a description by the schema, in lines.
    Errors: :class:`StudyError` naming the file or the key.
    """
    folder = Path()
    if isinstance(entry, str):
        path = Path(entry).expanduser()
        try:
            held = yaml.safe_load(path.read_text())
        except FileNotFoundError as error:
            raise StudyError(f"{path}: no such file; correct config key {key}") from error
        except IsADirectoryError as error:
            raise StudyError(f"{path}: a folder; config key {key} names a file in it, such as rdf.yaml") from error
        except OSError as error:
            raise StudyError(f"{path}: cannot be read ({error.strerror}); correct config key {key}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise StudyError(f"{path}: no YAML ({' '.join(str(error).split())}); correct it") from error
        folder, key = path.parent, str(path)
        if not isinstance(held, dict):
            raise StudyError(f"{path}: no mapping; describe the network by architecture and weights")
        try:
            entry = _of_bioimageio(key, held) if isinstance(held.get("weights"), dict) else held
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise StudyError(
                f"{path}: no whole description of a model ({type(error).__name__}: {error}); it needs weights with "
                "source and architecture, inputs and outputs"
            ) from error
        if lines := list(faults(entry)):
            raise StudyError(f"{path}: {lines[0].removeprefix('config key ')}")
    if entry.get("activation") == "softmax" and "foreground" not in entry:
        raise StudyError(
            f"{key}: softmax has an output for each class; give foreground, the number of that of the objects, from 0"
        )
    entry = DEFAULTS | entry
    architecture = dict(entry["architecture"])
    if ("source" in architecture) == ("import_from" in architecture):
        raise StudyError(f"{key}: architecture: give source, a Python file, or import_from, an installed module")
    if "source" in architecture:
        source = _file(key, folder, architecture["source"])
        known = digest(source)
        if architecture.get("sha256", known) != known:
            raise StudyError(f"{source}: sha256 is {known}, not what {key} says; correct it if you trust the file")
        architecture |= {"source": str(source), "sha256": known}
    weights = _file(key, folder, entry["weights"])
    return entry | {"architecture": architecture, "weights": str(weights), "weights_sha256": digest(weights)}


def _of_bioimageio(key: str, held: dict) -> dict:
    """The keys of ours in a model description of BioImage.IO."""
    weights = held["weights"].get("pytorch_state_dict")
    if weights is None:
        raise StudyError(f"{key}: weights: only {', '.join(held['weights'])}; take a model with pytorch_state_dict")
    architecture = weights["architecture"]
    if isinstance(architecture, str):
        # Spec 0.4: file.py:callable, or module.callable.
        before, _, name = architecture.rpartition(":" if ".py:" in architecture else ".")
        where = "source" if before.endswith(".py") else "import_from"
        architecture = {"callable": name, where: before, "kwargs": weights.get("kwargs", {})}
        architecture |= {"sha256": weights["architecture_sha256"]} if "architecture_sha256" in weights else {}
    known = ("callable", "source", "import_from", "sha256", "kwargs")
    own = held.get("config", {}).get("shiftgain", {})
    found: dict = {"architecture": {name: architecture[name] for name in known if name in architecture}}
    found["weights"] = weights["source"]
    steps = [_step(step) for step in held["inputs"][0].get("preprocessing") or []]
    steps = [step for step in steps if step["id"] not in NO_STEPS]
    if len(steps) > 1 or any(step["id"] not in STEPS for step in steps):
        names = ", ".join(step["id"] for step in steps)
        raise StudyError(f"{key}: preprocessing {names}; one step can be followed, of {', '.join(sorted(STEPS))}")
    found["preprocessing"] = steps[0] if steps else {"id": "none"}
    after = [_step(step)["id"] for step in held["outputs"][0].get("postprocessing") or []]
    # Without a step after it, the output is what its user takes for probabilities.
    found["activation"] = next((name for name in after if name in ACTIVATIONS), "none")
    if (class_of_objects := _objects(held["outputs"][0])) is not None:
        found["foreground"] = class_of_objects
    _check_range(key, held["inputs"][0], found["preprocessing"]["id"])
    return found | {name: own[name] for name in ("activation", "foreground", "cell", "halo") if name in own}


def _objects(output: dict) -> int | None:
    """The output of the objects where the names of the channels say it: the one that is not background."""
    axes = output.get("axes") or []
    lists = [axis["channel_names"] for axis in axes if isinstance(axis, dict) and "channel_names" in axis]
    named: list = lists[0] if lists else []
    others = [number for number, name in enumerate(named) if str(name).lower() not in ("background", "bg")]
    return others[0] if len(others) == 1 else None


def _check_range(key: str, given: dict, step: str) -> None:
    """Errors: :class:`StudyError` where the network was made for other grey levels than images come in, 8 bits."""
    data = given.get("data") or given.get("data_type") or {}
    kind = data.get("type", "") if isinstance(data, dict) else data
    if step != "zero_mean_unit_variance" and kind not in ("", "uint8", "float32", "float64", "float16"):
        raise StudyError(
            f"{key}: inputs of type {kind}, but images come as 8-bit grey levels, 0 to 255; describe the network "
            "with a preprocessing for these"
        )


def _step(step: dict) -> dict:
    """A step of processing; spec 0.4 calls its id name, and a mean and deviation of its own a mode."""
    given, name = step.get("kwargs") or {}, step.get("id", step.get("name"))
    kwargs = {key: value for key, value in given.items() if key in KWARGS}
    modes = {"per_sample": name, "fixed": f"fixed_{name}"}
    # A step that cannot be followed, such as one of mode per_dataset, is named as it is, and refused by that name.
    step_id = modes.get(given.get("mode", "per_sample"), f"{name} of mode {given.get('mode')}")
    return {"id": step_id} | ({"kwargs": kwargs} if kwargs else {})


def _file(key: str, folder: Path, name: str) -> Path:
    path = (folder / Path(name).expanduser()).resolve()
    if not path.is_file():
        raise StudyError(f"{key}: no file '{path}'; give it relative to the description")
    return path
