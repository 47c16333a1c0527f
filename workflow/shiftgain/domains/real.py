"""A user's own domain, files of images and masks, brought to uint8 in splits and blocks.

``spec`` is a plain dict from the config::

    {"path": ..., "split": {"train": 0.7, "test": 0.3}, "channels": 1, "window": [low, high], ...}

``path``: a folder, laid out as :mod:`shiftgain.domains.layout` says, or a file that holds the series: HDF5, OME-Zarr,
a TIFF or MRC stack; ``~`` is the home folder. ``images`` and ``masks`` name the datasets of HDF5 or OME-Zarr, the
folders of a folder, and ``masks`` the file of masks beside a stack, where they are called otherwise. ``channel``: the
one to take of several, ``all`` for each as an image of its own, ``rgb`` for three as colours. Files are taken in the
natural order of their names (img2 before img10), and every page as an image of its own. Images may differ in size.

``split``: shares of the series for train, validation and test, and for ``adapt`` what is held back from training; or
[start, stop) image numbers from 0 for each. Shares are laid out as contiguous blocks in the order of :data:`SPLITS`, so
that no split lies among the neighbours of another, or with ``layout: spread`` evenly over the series. A split may be
left out. Adaptation takes no labels: split adapt is all images but those of test, unless it is a range; of a series
without masks, adapt and test are all images, unless they are ranges. See :func:`parts`.

``window``: stored values shown as black and white, see :mod:`shiftgain.domains.grey`; 8-bit images pass unchanged.
``channels``: 1 turns RGB into luma (ITU-R BT.601-7, 2.5.1), rounded; 3 repeats grey. It acts on 8-bit values.
``foreground``, ``background``, ``threshold``, ``ignore``: what the masks mean, see :mod:`shiftgain.domains.masks`.

All pixels of the masks, and a sample of those of other than 8-bit images, are looked at once (:func:`look`); what is
left open is asked there. :func:`settled` puts the answers into the spec, as key ``look`` and in those above.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import file_digest, sha256
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shiftgain.domains import arrays, grey, masks
from shiftgain.domains.layout import MASK_WORD, layout
from shiftgain.domains.readers import READERS, WHOLE, read, reader_of
from shiftgain.domains.stack import Request, Stack, naming
from shiftgain.files.errors import StudyError

SPLITS = ("train", "validation", "adapt", "test")
BLOCK_BYTES = 2**24
# Images whose grey levels are looked at, spread over the series.
SAMPLED_IMAGES = 64


class Series(NamedTuple):
    """A domain as stored: the shape of each image, and what reads the images, or values of masks, of given numbers."""

    shapes: list[tuple[int, ...]]
    dtype: np.dtype
    images: Callable[[Sequence[int]], np.ndarray]
    masks: Callable[[Sequence[int]], Iterator[tuple[Path, np.ndarray]]] | None
    bits: int | None
    notes: list[str]
    passed_over: list[tuple[Path, str]]


def check(name: str, spec: dict) -> None:
    """Whether domain ``name`` can be read and split as ``spec`` asks; reads headers, not pixels.

    Errors: :class:`StudyError` naming the file or the config key.
    """
    _checked(name, spec)


def describe(spec: dict) -> dict:
    """``images`` (their number), ``sizes`` (distinct [rows, columns]), ``dtype`` as stored, ``has_masks``, and
    whether any is ``coloured`` (RGB).

    Errors: :class:`StudyError` naming the file.
    """
    return _description(_series(_key(spec.get("name", "NAME")), spec))


def look(name: str, spec: dict) -> dict:
    """What a domain holds, as JSON takes it: all of :func:`describe`, and

    ``passed_over``: why -> names; ``notes``: how it was read where there was a choice; ``bits``, ``low``, ``high``: of
    the stored values, None for 8 bits; ``values``: of all its masks, in words; ``rule``: see :func:`masks.rule`;
    ``foreground`` and ``ignored``: shares of the pixels of each mask, the first of those counted.

    Errors: :class:`StudyError` as :func:`check`, and where the values of the masks leave open what is foreground.
    """
    series = _series(_key(name), spec)
    passed_over: dict[str, list[str]] = {}
    for file, why in series.passed_over:
        passed_over.setdefault(why, []).append(file.name)
    facts = _description(series) | {"passed_over": passed_over, "notes": series.notes, "bits": series.bits}
    low = high = None
    if series.dtype != np.uint8:
        last = len(series.shapes) - 1
        numbers = sorted({round(share * last) for share in np.linspace(0, 1, SAMPLED_IMAGES)})
        low, high = grey.range_of(series.images([number])[0] for number in numbers)
    return facts | {"low": low, "high": high} | _look_at_masks(name, spec, series)


def settled(specs: dict[str, dict], looks: dict[str, dict]) -> dict[str, dict]:
    """The specs of all real domains of a study, by name, with what their :func:`look` answers: no key is left open.

    Errors: :class:`StudyError` as :func:`grey.windows`.
    """
    facts = {name: looks[name] | {"window": spec.get("window")} for name, spec in specs.items()}
    full_specs = {}
    for name, (window, origin) in grey.windows(facts).items():
        seen = looks[name]
        summary = {key: seen[key] for key in ("images", "sizes", "dtype", "coloured", "passed_over", "notes", "values")}
        answers = {"window": list(window) if window else None, "rule": seen["rule"]}
        full_specs[name] = specs[name] | answers | {"look": summary | {"window": origin}}
    return full_specs


def summary(spec: dict) -> list[str]:
    """What was read of a domain, a :func:`settled` one, in lines for people."""
    seen, window = spec["look"], spec["window"]
    sizes = ", ".join(f"{rows} x {columns}" for rows, columns in seen["sizes"][:4])
    more = f" and {len(seen['sizes']) - 4} other sizes" if len(seen["sizes"]) > 4 else ""
    kind = f"{seen['dtype']}, {'RGB' if seen['coloured'] else 'grey'}"
    lines = [f"{seen['images']} images of {sizes}{more}, {kind}, from {spec['path']}"]
    ends = f"{window[0]:g} is black, {window[1]:g} white, " if window else ""
    lines.append(f"grey levels: {ends}{seen['window']}")
    lines.append(f"masks: {seen['values']}" if spec["rule"] else "no masks")
    lines += [f"how it was read: {note}" for note in seen["notes"]]
    for why, names in seen.get("passed_over", {}).items():
        lines.append(f"passed over {len(names)}: {why}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    return lines


def passed_over(spec: dict) -> dict:
    """The columns of ``domains.csv`` on what was passed over of a :func:`settled` domain: how many files, and why."""
    why = spec["look"]["passed_over"]
    counts = {reason: len(names) for reason, names in why.items()}
    return {"passed_over": sum(counts.values()), "why": "; ".join(f"{n}: {reason}" for reason, n in counts.items())}


def row(spec: dict, name: str, split: str, images: int, counts: np.ndarray, greys: tuple[int, int]) -> dict:
    """A row of ``domains.csv``: what was read of split ``split`` of a :func:`settled` domain under full name ``name``.

    ``counts``: pixels of background and foreground, and those not counted, after the transform, or all 0 without
    masks; ``greys``: the least and the greatest grey level (0 to 255) of the split.
    """
    seen, window = spec["look"], spec["window"] or (None, None)
    background, foreground, ignored = (int(count) for count in counts)
    labelled = background + foreground + ignored > 0
    return {
        "domain": name,
        "split": split,
        "images": images,
        "series": seen["images"],
        "sizes": " ".join(f"{rows}x{columns}" for rows, columns in seen["sizes"]),
        "channels": 3 if seen["coloured"] else 1,
        "dtype": seen["dtype"],
        "window_low": window[0],
        "window_high": window[1],
        "window": seen["window"],
        "grey_low": greys[0],
        "grey_high": greys[1],
        "mask_values": seen["values"],
        "foreground_share": foreground / (background + foreground) if background + foreground else None,
        "ignored_share": ignored / (background + foreground + ignored) if labelled else None,
        "notes": "; ".join(seen["notes"]),
    }


def stamp(spec: dict) -> str:
    """Digest of the names, sizes and times of all files that a domain may be read from.

    Of times both that of the content and that of the entry, which a copy that keeps the first changes.
    """
    path, digest = _path(spec), sha256()
    # Text, not paths: of thousands of files, making and sorting those takes longer than looking at them.
    files = [f"{root}/{name}" for root, _, names in os.walk(path, followlinks=True) for name in names]
    if path.is_file():
        beside = [spec["masks"]] if spec.get("masks") else _mask_files(path)
        files = [str(path), *(str(path.parent / name) for name in beside)]
    for file in sorted(files):
        with suppress(OSError):
            about = os.stat(file)  # noqa: PTH116
            digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def content(name: str, spec: dict) -> dict:
    """What the files of a domain hold, whatever they are called and whenever they were written.

    ``digest``: of the bytes of all images and masks, in their order; ``words``: for each image one that it shares
    with its copies, and ``places`` one that it shares with itself under another name of its domain; ``passed_over``:
    the files that are. Errors: as :func:`look`.
    """
    images, labels, others = _stacks(_key(name), spec)
    digests = {stack.file: _digest(stack.file) for stack in [*images, *(labels or [])]}
    read_files = [[[digests[stack.file], len(stack.shapes)] for stack in stacks] for stacks in (images, labels or [])]
    dataset = spec.get("images") or ""
    pages = [(stack.file, f" {dataset} {number}") for stack in images for number in range(len(stack.shapes))]
    return {
        "digest": sha256(json.dumps([read_files, labels is None]).encode()).hexdigest(),
        "words": [digests[file][:16] + page for file, page in pages],
        "places": [os.path.realpath(file) + page for file, page in pages],
        "passed_over": [str(file) for file, _ in others],
    }


def parts(name: str, spec: dict, seen: dict) -> dict[str, list[int]]:
    """Image numbers, ascending, of each split of a domain whose :func:`look` is ``seen``; none for what it lacks.

    With masks, train, validation and test are what ``split`` says, and adapt is a range given or else all images that
    are not in test (all where none is left). Without masks, adapt and test are ranges given, or else all images.

    Errors: as :func:`check`.
    """
    return _check_keys(name, spec, seen["dtype"], seen["images"], seen["has_masks"])


def place(name: str, spec: dict, part: str = "") -> str:
    """Where the config gives the split of a domain, or a part of it: its own key, or the one that it inherits."""
    leaf = f".{part}" if part else ""
    own = f"config key {_key(name)}.split{leaf}"
    return f"config key generate.split{leaf}, for domain {name}" if spec.get("split_inherited") else own


def trained_on(parts: dict[str, list[int]]) -> list[int]:
    """Numbers of the images that a network trained on the domain of ``parts`` has seen: train and validation."""
    return sorted([*parts.get("train", ()), *parts.get("validation", ())])


def check_objects(name: str, spec: dict, seen: dict) -> None:
    """Errors: :class:`StudyError` where the training or validation images, of ``spec``'s split, hold no object.

    ``seen``: the :func:`look`. Without objects the validation IoU tells epochs apart by nothing.
    """
    numbers_of = parts(name, spec, seen)
    for part in ("train", "validation"):
        shares = [seen["foreground"][number] for number in numbers_of.get(part, ())]
        if shares and (max(shares) == 0 or min(shares) == 1):
            what = "no object" if max(shares) == 0 else "nothing but objects"
            raise StudyError(
                f"{place(name, spec, part)}: images {_in_words(numbers_of[part])} hold {what} in their "
                f"masks; give ranges such as `{part}: [start, stop]` of images that have some"
            )


def blocks(name: str, spec: dict, split: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """A split of domain ``name`` in series order, in blocks of one size and at most BLOCK_BYTES of pixels.

    Yields images uint8 (b, H, W), or (b, H, W, 3) where ``channels`` is 3, and masks uint8 (b, H, W), 0, 1 or
    :data:`store.IGNORED`, or None. An image above BLOCK_BYTES is a block by itself. A spec that is not yet
    :func:`settled` is, as if the domain were the only one of the study.

    Errors: :class:`StudyError` as :func:`look`, for a split that ``spec`` leaves out, and for damaged files.
    """
    if "look" not in spec:
        spec = settled({name: spec}, {name: look(name, spec)})[name]
    series, numbers_of = _checked(name, spec)
    if split not in numbers_of:
        raise StudyError(f"{place(name, spec)}: no '{split}'; add it, as a share or a range")
    channels = spec["channels"]
    for numbers in _runs(series, numbers_of[split], channels):
        images = grey.levels(series.images(numbers), spec["window"])
        read_masks = None
        if series.masks is not None:
            pairs = series.masks(numbers)
            read_masks = np.stack([masks.binary(masks.values(file, page), spec["rule"], file) for file, page in pairs])
        yield _with_channels(images, channels), read_masks


def _key(name: str) -> str:
    return f"domains.{name}"


def _path(spec: dict) -> Path:
    return Path(spec["path"]).expanduser()


def _description(series: Series) -> dict:
    return {
        "images": len(series.shapes),
        "sizes": [list(size) for size in dict.fromkeys(shape[:2] for shape in series.shapes)],
        "dtype": series.dtype.name,
        "has_masks": series.masks is not None,
        "coloured": any(len(shape) == 3 for shape in series.shapes),
    }


def _look_at_masks(name: str, spec: dict, series: Series) -> dict:
    if series.masks is None:
        return {"values": "none", "rule": None, "foreground": [], "ignored": []}
    counts = [masks.tally(masks.values(*each)) for each in series.masks(range(len(series.shapes)))]
    total = sum(counts, Counter())
    rule = masks.rule(_key(name), spec, total)
    foreground, ignored = zip(*(masks.parts(count, rule) for count in counts), strict=True)
    text = f"{masks.shares(total)}; {masks.meaning(rule)}"
    return {"values": text, "rule": rule, "foreground": list(foreground), "ignored": list(ignored)}


def _checked(name: str, spec: dict) -> tuple[Series, dict[str, list[int]]]:
    series = _series(_key(name), spec)
    return series, _check_keys(name, spec, series.dtype.name, len(series.shapes), series.masks is not None)


def _check_keys(name: str, spec: dict, dtype: str, count: int, labelled: bool) -> dict[str, list[int]]:
    """Image numbers of each split, where window and split fit a series of ``count`` images."""
    where, window = f"config key {_key(name)}.window", spec.get("window")
    if window and dtype == "uint8":
        raise StudyError(f"{where}: {spec['path']} has 8-bit images, which pass unchanged; remove the window")
    if window and not window[0] < window[1]:
        raise StudyError(f"{where}: {window} is empty; give [low, high] with low below high")
    return _parts(partial(place, name, spec), spec["split"], count, labelled)


def _series(key: str, spec: dict) -> Series:
    """The series of a domain, by the headers of its files alone."""
    images, labels, passed_over = _stacks(key, spec)
    bits = {stack.bits for stack in images}
    return Series(
        [shape for stack in images for shape in stack.shapes],
        images[0].dtype,
        partial(_images, _pages(images)),
        None if labels is None else partial(_labels, _pages(labels)),
        bits.pop() if len(bits) == 1 else None,
        _notes(images, "") + _notes(labels or [], "masks: "),
        passed_over,
    )


def _stacks(key: str, spec: dict) -> tuple[list[Stack], list[Stack] | None, list[tuple[Path, str]]]:
    """Images, masks or None, and the files passed over, with why."""
    path = _path(spec)
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder; correct the path of the domain in the config")
    request = Request(key, channel=spec.get("channel"), channels=spec["channels"])
    for_masks = request._replace(masks=True)
    passed_over: list[tuple[Path, str]] = []
    labels: list[Stack] | None = None
    if path.is_dir() and reader_of(path) is None:
        files = layout(path, key, spec.get("images"), spec.get("masks"))
        passed_over = files.passed_over
        images = [read(file, request) for file in files.images]
        labels = None if files.masks is None else [read(file, for_masks) for file in files.masks]
    elif reader_of(path) in WHOLE:
        images = [read(path, request._replace(dataset=spec.get("images")))]
        if spec.get("masks") or (arrays.has_labels(path) if path.is_dir() else arrays.mask_names(path)):
            labels = [read(path, for_masks._replace(dataset=spec.get("masks")))]
    else:
        if spec.get("images"):
            raise StudyError(f"config key {key}.images: {path.name} holds one series; remove it")
        images = [read(path, request)]
        if file := _mask_file(path, key, spec.get("masks")):
            labels = [read(file, for_masks)]
    _check_images(images)
    if labels is not None:
        _check_masks(images, labels)
    return images, labels, passed_over


def _mask_file(path: Path, key: str, name: str | None) -> Path | None:
    """The file of masks of a stack: the one named, or the one beside it called as the stack with a mask's word."""
    if name is not None:
        file = path.parent / Path(name).expanduser()
        if not file.is_file():
            raise StudyError(f"config key {key}.masks: no file '{file}'; give it relative to the folder of {path.name}")
        return file
    names = _mask_files(path)
    if len(names) > 1:
        raise StudyError(f"{path}: {names[0]} and {names[1]} may be its masks; name one by config key {key}.masks")
    return path.parent / names[0] if names else None


def _mask_files(path: Path) -> list[str]:
    return [
        file.name
        for file in sorted(path.parent.iterdir())
        if file.suffix.lower() in READERS and file != path and MASK_WORD.sub("", file.stem) == path.stem
    ]


def _check_images(stacks: list[Stack]) -> None:
    first = stacks[0]
    for stack in stacks:
        if stack.dtype.kind not in "uif":
            raise StudyError(f"{stack.file}: images of type {stack.dtype}; convert them to uint8, uint16 or float32")
        if stack.dtype != first.dtype:
            raise StudyError(f"{stack.file}: {stack.dtype}, {first.file}: {first.dtype}; convert one")


def _check_masks(images: list[Stack], labels: list[Stack]) -> None:
    for image, label in zip(images, labels, strict=True):
        if label.dtype.kind not in "buif":
            raise StudyError(f"{label.file}: masks of type {label.dtype}; convert them to integers")
        if len(label.shapes) != len(image.shapes):
            counts = f"{len(label.shapes)} masks, {image.file}: {len(image.shapes)} images"
            raise StudyError(f"{label.file}: {counts}; make them match")
        for number, (shape, other) in enumerate(zip(label.shapes, image.shapes, strict=True)):
            if shape[:2] != other[:2]:
                raise StudyError(
                    f"{label.file}: mask {number} is {shape[:2]}, the image in {image.file}: {other[:2]}; "
                    "make them match"
                )


def _notes(stacks: list[Stack], prefix: str) -> list[str]:
    """What readers say, each once, with the number of files."""
    counts = Counter(note for stack in stacks for note in stack.notes)
    return [f"{prefix}{note} ({count} files)" if count > 1 else f"{prefix}{note}" for note, count in counts.items()]


def _digest(path: Path) -> str:
    """Digest of a file, or of all files of a folder (OME-Zarr) and their places in it."""
    digest = sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(f"{file.relative_to(path)}\0".encode())
        with naming(file), file.open("rb") as opened:
            digest.update(file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _pages(stacks: list[Stack]) -> list[tuple[Stack, int]]:
    return [(stack, number) for stack in stacks for number in range(len(stack.shapes))]


def _decoded(pages: list[tuple[Stack, int]]) -> Iterator[tuple[Path, np.ndarray]]:
    """File and pixels of each page, opening a file once for a run of pages."""
    for _, group in groupby(pages, key=lambda page: id(page[0])):
        run = list(group)
        stack = run[0][0]
        for pixels in stack.pages([number for _, number in run]):
            yield stack.file, pixels


def _images(pages: list[tuple[Stack, int]], numbers: Sequence[int]) -> np.ndarray:
    return np.stack([pixels for _, pixels in _decoded([pages[number] for number in numbers])])


def _labels(pages: list[tuple[Stack, int]], numbers: Sequence[int]) -> Iterator[tuple[Path, np.ndarray]]:
    yield from _decoded([pages[number] for number in numbers])


def _parts(where: Callable[..., str], split: dict, count: int, labelled: bool) -> dict[str, list[int]]:
    """Image numbers of each split; see :func:`parts`."""
    given = {part: split[part] for part in SPLITS if part in split}
    ranges = {part: value for part, value in given.items() if not isinstance(value, int | float)}
    if ranges and len(ranges) < len(given):
        shares = [part for part in given if part not in ranges]
        raise StudyError(
            f"{where()}: shares and ranges are mixed ({_listed(shares)} and {_listed(ranges)}); give all of one kind"
        )
    if ranges:
        if "layout" in split:
            raise StudyError(f"{where('layout')}: it lays out shares, and these are ranges; remove it")
        numbers = _of_ranges(where, ranges, count)
    else:
        numbers = _of_shares(where, given, count, split.get("layout", "blocks"))
    every = list(range(count))
    if not labelled:
        return {part: numbers[part] if part in ranges else every for part in ("adapt", "test")}
    if "adapt" not in ranges:
        tested = set(numbers.get("test", ()))
        numbers["adapt"] = [number for number in every if number not in tested] or every
    return numbers


def _of_ranges(where: Callable[..., str], ranges: dict, count: int) -> dict[str, list[int]]:
    for part, (start, stop) in ranges.items():
        if not 0 <= start < stop <= count:
            raise StudyError(
                f"{where(part)}: {ranges[part]} is empty or beyond the series of {count} images; "
                "change it, or leave the split out"
            )
    # Adaptation takes no labels, so its images may be those of another split.
    scored = sorted((span, part) for part, span in ranges.items() if part != "adapt")
    for ((_, stop), part), ((start, _), other) in pairwise(scored):
        if start < stop:
            raise StudyError(f"{where()}: {part} and {other} overlap; take different images for each")
    return {part: list(range(*span)) for part, span in ranges.items()}


def _of_shares(where: Callable[..., str], shares: dict[str, float], count: int, layout: str) -> dict[str, list[int]]:
    """Image numbers of each share, without those of a split for which the series is too short."""
    if sum(shares.values()) > 1 + 1e-9:
        raise StudyError(f"{where()}: the shares sum to {sum(shares.values()):g}; lower them to 1 together at most")
    for part, share in shares.items():
        if not share:
            raise StudyError(f"{where(part)}: 0 is empty; raise it, or leave the split out")
    sizes = _sizes(shares, count)
    rest = count - sum(sizes.values())
    if layout == "spread":
        # Image k of m stands at the share (k + 1/2) / m of its split, and all in the order of these.
        places = [((k + 0.5) / size, part) for part, size in {**sizes, "rest": rest}.items() for k in range(size)]
        owners = [part for _, part in sorted(places, key=lambda place: place[0])]
    else:
        owners = [part for part, size in sizes.items() for _ in range(size)]
    return {part: [number for number, owner in enumerate(owners) if owner == part] for part in shares if sizes[part]}


def _sizes(shares: dict[str, float], count: int) -> dict[str, int]:
    """Images of each share, rounded; one at least, test first, where the series is long enough."""
    parts, values = list(shares), list(shares.values())
    edges = [round(sum(values[:number]) * count) for number in range(len(values) + 1)]
    sizes = {part: stop - start for part, (start, stop) in zip(parts, pairwise(edges), strict=True)}
    for part in [part for part in ("test", "train", "validation", "adapt") if sizes.get(part) == 0]:
        largest = max(sizes, key=lambda name: sizes[name])
        if sum(sizes.values()) == count and (sizes[largest] > 1 or part == "test"):
            sizes[largest] -= 1
        if sum(sizes.values()) < count:
            sizes[part] = 1
    return sizes


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def spans(numbers: Sequence[int]) -> list[list[int]]:
    """[start, stop) of each run of neighbours among ascending ``numbers``."""
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    spans = [[number for _, number in run] for _, run in runs]
    return [[run[0], run[-1] + 1] for run in spans]


def _in_words(numbers: Sequence[int]) -> str:
    """Ascending numbers for people: ``3 to 5, 9``."""
    return _listed(f"{start} to {stop - 1}" if stop - start > 1 else f"{start}" for start, stop in spans(numbers))


def _runs(series: Series, numbers: list[int], channels: int) -> Iterator[list[int]]:
    """``numbers`` cut where the shape changes and where a block is full, before or after conversion."""
    while numbers:
        shape = series.shapes[numbers[0]]
        rows, columns, *samples = shape
        size = rows * columns * max(channels, series.dtype.itemsize * (samples or [1])[0])
        end, full = 1, min(len(numbers), max(1, BLOCK_BYTES // size))
        while end < full and series.shapes[numbers[end]] == shape:
            end += 1
        yield numbers[:end]
        numbers = numbers[end:]


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    if channels == 1 and images.ndim == 4:
        return grey.luma(images)
    if channels == 3 and images.ndim == 3:
        return np.repeat(images[..., np.newaxis], 3, axis=-1)
    return images
