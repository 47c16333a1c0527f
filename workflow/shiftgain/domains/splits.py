"""Which images of a series belong to which split: shares laid out over it, or ranges of image numbers.

``split`` is a dict: split -> share of the series, or [start, stop) image numbers from 0, or ``all``; ``layout``
(``blocks`` or ``spread``) says how shares lie. ``where`` gives the config key of a split, for messages.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise

from shiftgain.files.errors import StudyError

SPLITS = ("train", "validation", "adapt", "test")
# In place of a range: the whole series.
ALL = "all"
# A layout in which every split is all images: of the domain of a network that is not trained here.
SHARED = "shared"


def split_numbers(where: Callable[..., str], split: dict, count: int, labelled: bool) -> dict[str, list[int]]:
    """Split -> numbers of its images among ``count``, as :func:`shiftgain.domains.real.parts` describes ``split``.

    ``where``: how a fault names a key of the split; ``labelled``: whether the domain has masks.
    """
    if split.get("layout") == SHARED:
        return {part: list(range(count)) for part in SPLITS}
    given: dict = {part: [0, count] if split[part] == ALL else split[part] for part in SPLITS if part in split}
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


def in_words(numbers: Sequence[int]) -> str:
    """Ascending numbers for people: ``3 to 5, 9``."""
    return _listed(f"{start} to {stop - 1}" if stop - start > 1 else f"{start}" for start, stop in spans(numbers))
