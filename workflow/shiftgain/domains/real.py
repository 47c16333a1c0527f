"""A user's own domain, files of images and masks, brought to uint8 in splits and blocks.

``spec`` is a plain dict from the config::

    {"path": ..., "split": {"train": 0.7, "test": 0.3}, "channels": 1, "window": [low, high], ...}

``path``: a folder, laid out as :mod:`shiftgain.domains.layout` says, or a file that holds the series: HDF5, OME-Zarr,
a TIFF or MRC stack; ``~`` is the home folder. ``images`` and ``masks`` name the datasets of HDF5 or OME-Zarr, the
folders of a folder, and ``masks`` the file of masks beside a stack, where they are called otherwise. ``channel``: the
one to take of several, ``all`` for each as an image of its own, ``rgb`` for three as colours. Files are taken in the
natural order of their names (img2 before img10), and every page as an image of its own. Images may differ in size.

``split``: shares of the series for train, validation and test, and for ``adapt`` what is held back from training; or
[start, stop) image numbers from 0 for each, ``all`` for the whole series. Shares are laid out as contiguous blocks in
the order of :data:`SPLITS`, so that no split lies among the neighbours of another, or with ``layout: spread`` evenly
over the series. A split may be left out. Adaptation takes no labels: split adapt is all images but those of test,
unless it is a range; of a series without masks, adapt and test are all images, unless they are ranges. See
:func:`parts`.

``window``: stored values shown as black and white, see :mod:`shiftgain.domains.grey`; 8-bit images pass unchanged.
``channels``: 1 turns RGB into luma (ITU-R BT.601-7, 2.5.1), rounded; 3 repeats grey. It acts on 8-bit values.
``foreground``, ``background``, ``threshold``, ``ignore``: what the masks mean, see :mod:`shiftgain.domains.masks`.

All pixels of the masks, and a sample of those of other than 8-bit images, are looked at once (:func:`look`); what is
left open is asked there. :func:`settled` puts the answers into the spec, as key ``look`` and in those above.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np

from shiftgain.domains import grey, masks
from shiftgain.domains.series import Series, images_of, key_of, series_of
from shiftgain.domains.splits import in_words, split_numbers
from shiftgain.domains.stack import Stack
from shiftgain.files.errors import StudyError

BLOCK_BYTES = 2**24
# Samples of two colours up to this part of the third's are dark: the images show one stain.
LARGEST_OTHER_COLOUR = 0.05
COLOURS = ("red", "green", "blue")
# Images whose grey levels are looked at, spread over the series.
SAMPLED_IMAGES = 64


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
    return _description(series_of(key_of(spec.get("name", "NAME")), spec))


def look(name: str, spec: dict) -> dict:
    """What a domain holds, as JSON takes it: all of :func:`describe`, and

    ``passed_over``: why -> names; ``notes``: how it was read where there was a choice; ``bits``, ``low``, ``high``: of
    the stored values, None for 8 bits; ``values``: of all its masks, in words; ``rule``: see :func:`masks.rule`;
    ``foreground`` and ``ignored``: shares of the pixels of each mask, the first of those counted.

    Errors: :class:`StudyError` as :func:`check`, and where the values of the masks leave open what is foreground.
    """
    series = series_of(key_of(name), spec)
    passed_over: dict[str, list[str]] = {}
    for file, why in series.passed_over:
        passed_over.setdefault(why, []).append(file.name)
    facts = _description(series) | {"passed_over": passed_over, "notes": series.notes, "bits": series.bits}
    low = high = None
    last = len(series.shapes) - 1
    numbers = sorted({round(share * last) for share in np.linspace(0, 1, SAMPLED_IMAGES)})
    if facts["coloured"] and spec["channels"] == 1 and spec.get("channel") is None:
        _check_colours(name, spec, (series.images([number])[0] for number in numbers))
    if series.dtype != np.uint8:
        low, high = grey.range_of(series.images([number])[0] for number in numbers)
    return facts | {"low": low, "high": high} | _look_at_masks(name, spec, series)


def _check_colours(name: str, spec: dict, images: Iterator[np.ndarray]) -> None:
    """Errors: :class:`StudyError` where all that a series shows is of one primary colour, as a stain is drawn."""
    coloured = (image.reshape(-1, 3) for image in images if image.ndim == 3)
    tops = np.max([np.quantile(pixels, 1 - grey.TAIL_SHARE, axis=0) for pixels in coloured] or [[1, 1, 1]], axis=0)
    first, second = np.sort(tops)[:-3:-1]
    if first > 0 and second <= LARGEST_OTHER_COLOUR * first:
        number = int(np.argmax(tops))
        raise StudyError(
            f"{spec['path']}: its images are {COLOURS[number]} alone, of which grey is a dim shade; give config key "
            f"{key_of(name)}.channel: {number} to take its levels, or rgb for the shade"
        )


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


def image_stacks(name: str, spec: dict) -> list[Stack]:
    """The files of images of a domain, in series order; those of masks are not opened, nor need there be any.

    Errors: :class:`StudyError` naming the file.
    """
    return images_of(key_of(name), spec)[0]


def as_read(images: np.ndarray, spec: dict) -> np.ndarray:
    """Images uint8 (n, H, W), or (n, H, W, 3) where ``channels`` is 3, of stored ones, by a :func:`settled` spec."""
    return _with_channels(grey.levels(images, spec["window"]), spec["channels"])


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
    own = f"config key {key_of(name)}.split{leaf}"
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
                f"{place(name, spec, part)}: images {in_words(numbers_of[part])} hold {what} in their "
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
        read_masks = None
        if series.masks is not None:
            pairs = series.masks(numbers)
            read_masks = np.stack([masks.binary(masks.values(file, page), spec["rule"], file) for file, page in pairs])
        yield as_read(series.images(numbers), spec), read_masks


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
    rule = masks.rule(key_of(name), spec, total)
    foreground, ignored = zip(*(masks.parts(count, rule) for count in counts), strict=True)
    text = f"{masks.shares(total)}; {masks.meaning(rule)}"
    return {"values": text, "rule": rule, "foreground": list(foreground), "ignored": list(ignored)}


def _checked(name: str, spec: dict) -> tuple[Series, dict[str, list[int]]]:
    series = series_of(key_of(name), spec)
    return series, _check_keys(name, spec, series.dtype.name, len(series.shapes), series.masks is not None)


def _check_keys(name: str, spec: dict, dtype: str, count: int, labelled: bool) -> dict[str, list[int]]:
    """Image numbers of each split, where window and split fit a series of ``count`` images."""
    where, window = f"config key {key_of(name)}.window", spec.get("window")
    if window and dtype == "uint8":
        raise StudyError(f"{where}: {spec['path']} has 8-bit images, which pass unchanged; remove the window")
    if window and not window[0] < window[1]:
        raise StudyError(f"{where}: {window} is empty; give [low, high] with low below high")
    return split_numbers(partial(place, name, spec), spec["split"], count, labelled)


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
