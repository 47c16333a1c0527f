"""Masks for a folder of images: writes a study of its own, runs it, and names what came out.

``python -m commands.advise --target FOLDER (--source FOLDER | --network FILE [--source FOLDER]) --results FOLDER``

The study is an overlay like any other, ``RESULTS/study.yaml``. The same command goes on where it was stopped, and with
what was written into that file since: an answer to what was asked of the images, or anything else.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import yaml
from commands import start

from shiftgain.files.errors import StudyError
from shiftgain.files.tables import replacing

CHECKOUT = Path(__file__).parents[2]
STUDY = "study.yaml"
METHODS = ["batchnorm", "balanced", "image_balanced", "turned_balanced", "told_shrunk_balanced"]
# An epoch is 64 crops, of images of any size: a few minutes on one core.
TRAIN = {"epochs": 30, "patience": 8, "batch": 2, "crop": [256, 256], "crops_per_image": 16, "images_per_epoch": 64}
# What a results folder holds of a study that was refused: another may take its place.
BEFORE_ANY_JOB = {STUDY, "looks", ".snakemake"}
RESULTS = re.compile(r"[A-Za-z0-9_./-]+")


def overlay(target: str, source: str | None, network: str | None, results: str) -> dict:
    """The study of one source and one target, as an overlay of ``config.yaml``; paths absolute.

    Errors: :class:`StudyError` naming the argument.
    """
    if not target:
        raise StudyError("TARGET: give the folder or file of the images to segment")
    if not results:
        raise StudyError("RESULTS: give a new folder for everything that is made")
    for name, path in (("TARGET", target), ("SOURCE", source), ("NETWORK", network)):
        if path is not None and not Path(path).expanduser().exists():
            raise StudyError(f"{name}: no such file or folder '{path}'; correct it")
    if network is not None and Path(network).expanduser().is_dir():
        raise StudyError(f"NETWORK: {network} is a folder; name the description in it, such as {network}/rdf.yaml")
    if source is None and network is None:
        raise StudyError("SOURCE: give a folder of images with masks, to train on, or a network by NETWORK")
    where = str(Path(results).expanduser().resolve())
    if not RESULTS.fullmatch(where):
        raise StudyError(f"RESULTS: '{where}' has characters other than letters, digits, _ . / -; choose another place")
    for name, path in (("TARGET", target), ("SOURCE", source)):
        if path and Path(where).is_relative_to(Path(path).expanduser().resolve()):
            raise StudyError(f"RESULTS: {where} lies in {name}, with whose images its masks would be read; move it")
    names = [name_of(path) for path in (source or str(network), target)]
    if names[0] == names[1]:
        names = [f"{name}_{role}" for name, role in zip(names, ("source", "target"), strict=True)]
    home = {key: _absolute(path) for key, path in (("path", source), ("network", network)) if path}
    away = {"path": _absolute(target), "split": {"adapt": "all", "test": "all"}}
    pair = {"name": "advise", "sources": [names[0]], "targets": [names[1]], "transforms": {"identity": [0]}}
    return {
        "results": where,
        "domains": {names[0]: home, names[1]: away},
        "pairs": [pair | {"methods": METHODS if source else METHODS[:1]}],
        # Without images of the source nothing is advised, and it is for the eye to choose.
        "segment": {"targets": [names[1]], "methods": ["advised", "source" if source else "batchnorm"]},
        "train": TRAIN,
        "hypotheses": {"judge": []},
        "report": {"title": f"{names[0]} to {names[1]}: masks, and how far to trust them"},
    }


def name_of(path: str) -> str:
    """A name for the domain that lies at ``path``: its own, of letters, digits and _."""
    stem = Path(path).expanduser().resolve().name.split(".")[0]
    name = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_")[:24]
    return name if re.match("[A-Za-z]", name) else f"domain_{name}".strip("_")


def place(study: dict) -> Path:
    """Write the study into its results folder, which must be new or empty; one of the same folders is left as it is.

    Errors: :class:`StudyError` where it holds anything else.
    """
    folder = Path(study["results"])
    path = folder / STUDY
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"RESULTS: {folder} is a file; choose a new or empty folder")
    held = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if STUDY in held:
        if places(start.mapping(str(path))) == places(study):
            return path
        if held - BEFORE_ANY_JOB:
            raise StudyError(f"RESULTS: {folder} holds the study of other folders; choose another place")
    elif held:
        raise StudyError(f"RESULTS: {folder} holds other files; choose a new or empty folder")
    with replacing(path) as partial:
        partial.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def places(study: dict) -> dict:
    """Name of each domain -> where its images and its network lie."""
    named = {name: entry for name, entry in (study.get("domains") or {}).items() if isinstance(entry, dict)}
    return {name: [entry.get(key) for key in ("path", "network")] for name, entry in named.items()}


def outcome(study: dict) -> list[str]:
    """What came out, in lines: the decision, the masks, the network and the page."""
    (source,), (target,) = (study["pairs"][0][role] for role in ("sources", "targets"))
    folder = Path(study["results"], "segmented", target, source, "advised")
    page = Path(study["results"], "report.html")
    about = json.loads((folder / "about.json").read_text())
    return [
        f"{about['images']} images of {target}: {about['method']} ({about['why']})",
        f"masks:   {folder / 'masks'}",
        f"network: {folder / 'network'}",
        f"page:    {page}" if page.exists() else f"no page; to compare by eye: {folder.parent / 'batchnorm'}",
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="folder or file of the images to segment")
    parser.add_argument("--source", help="folder or file of images with masks")
    parser.add_argument("--network", help="description of a network that was trained elsewhere")
    parser.add_argument("--results", required=True, help="new folder for everything that is made")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    try:
        study = overlay(given.target, given.source, given.network, given.results)
        path = place(study)
        # Snakemake keeps its lock, and what it knows of the files, in the folder that it works in.
        os.chdir(study["results"])
        start.expect(start.read([str(CHECKOUT / "config.yaml"), str(path)]), given.cores)
        again = start.locked(Path.cwd())
    except StudyError as error:
        told = str(error)
        if "config key" in told:
            told += f"; write it into {Path(study['results'], STUDY)}, and repeat the command"
        print(f"error: {told}", file=sys.stderr)
        return 1
    command = ["--cores", str(given.cores), "--scheduler", "greedy", "--quiet", "rules"]
    command += ["--snakefile", str(CHECKOUT / "Snakefile"), "--configfile", str(path)]
    if start.run(command, again):
        return 1
    print("", *outcome(study), sep="\n")
    return 0


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
