"""Whether the files of a domain are what they were: a digest of what they hold, under a stamp of names and times."""

import json
import os
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path

import numpy as np

from shiftgain.domains.series import beside, images_of, key_of, mask_files, path_of, stacks_of
from shiftgain.domains.stack import Stack, naming


def stamp(spec: dict) -> str:
    """Digest of the names, sizes and times of all files that a domain may be read from.

    Of times both that of the content and that of the entry, which a copy that keeps the first changes.
    """
    path, digest = path_of(spec), sha256()
    # Text, not paths: of thousands of files, making and sorting those takes longer than looking at them.
    files = [f"{root}/{name}" for root, _, names in os.walk(path, followlinks=True) for name in names]
    if path.is_file():
        masks = [spec["masks"]] if spec.get("masks") else mask_files(path)
        files = [*map(str, _files(path)), *(str(beside(path, name)) for name in masks)]
    for file in sorted(files):
        with suppress(OSError):
            about = os.stat(file)  # noqa: PTH116
            digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def content(name: str, spec: dict) -> dict:
    """What the files of a domain hold, whatever they are called and whenever they were written.

    ``digest``: of the bytes of all images and masks, in their order; ``places``: for each image a word that it shares
    with itself under another name of its domain; ``passed_over``: the files that are. Errors: as
    :func:`shiftgain.domains.real.look`.
    """
    images, labels, others = stacks_of(key_of(name), spec)
    digests = {stack.file: _digest(stack.file) for stack in [*images, *(labels or [])]}
    read_files = [[[digests[stack.file], len(stack.shapes)] for stack in stacks] for stacks in (images, labels or [])]
    dataset = spec.get("images") or ""
    pages = [(stack.file, f" {dataset} {number}") for stack in images for number in range(len(stack.shapes))]
    return {
        "digest": sha256(json.dumps([read_files, labels is None]).encode()).hexdigest(),
        "places": [os.path.realpath(file) + page for file, page in pages],
        "passed_over": [str(file) for file, _ in others],
    }


def words(name: str, spec: dict) -> dict:
    """``words``: for each image of a domain one that it shares with its copies; None of one without any contrast.

    A copy has the same pixels, whatever file, format or type of integer they are stored in, and may be the same grey
    levels as colours; a part of an image, or other grey levels, is none. All images are decoded, no mask is opened.
    Errors: as :func:`shiftgain.domains.real.look`.
    """
    stacks, _ = images_of(key_of(name), spec)
    return {"words": [_word(pixels) for stack in stacks for pixels in stack.pages(range(len(stack.shapes)))]}


def _word(pixels: np.ndarray) -> str | None:
    if (pixels == pixels[:1, :1]).all():
        return None
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    dtype = pixels.dtype.newbyteorder("=")
    if dtype.kind in "iu":
        dtype = np.result_type(*(np.min_scalar_type(int(end)) for end in (pixels.min(), pixels.max())))
    digest = sha256(f"{pixels.shape}\0".encode())
    digest.update(np.ascontiguousarray(pixels, dtype).data)
    return digest.hexdigest()[:16]


def digest_of(stacks: list[Stack]) -> str:
    """Digest of the bytes of all files of images, in their order."""
    return sha256("".join(_digest(stack.file) for stack in stacks).encode()).hexdigest()


def _digest(path: Path) -> str:
    """Digest of a file, or of all files that :func:`_files` finds and their places."""
    digest, root = sha256(), path if path.is_dir() else path.parent
    for file in _files(path):
        if file != path:
            digest.update(f"{file.relative_to(root)}\0".encode())
        with naming(file), file.open("rb") as opened:
            digest.update(file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """All files that hold what ``path`` does: of a folder (OME-Zarr) those in it; a VSI has its pixels beside it."""
    folder = path.parent / f"_{path.stem}_" if path.suffix.lower() == ".vsi" else path
    inside = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    return inside if path.is_dir() else [path, *inside]
