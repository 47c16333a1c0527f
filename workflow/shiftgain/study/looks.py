"""What is seen of the user's files when a study starts: sizes, masks, grey levels, and what else holds the images."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from shiftgain.domains import identity, real, splits
from shiftgain.files.errors import StudyError
from shiftgain.files.memory import remembered
from shiftgain.study.entries import domain_spec
from shiftgain.study.lineage import code
from shiftgain.study.names import DomainName


def looked_at(config: dict, names: Iterable[str]) -> dict[str, dict]:
    """:func:`real.look` at every real domain among ``names``, and :func:`identity.content` of it, or its ``fault``.

    ``words``: for each image one that it shares with its copies, of :func:`identity.words` where an image of another
    domain has as many rows and columns. Nothing else is decoded for them: elsewhere an image is a copy of nothing but
    itself, as is one without any contrast.

    Kept in ``<results>/looks``: the content while names, sizes and times of the files are as they were, and the look
    and the words while the content, the entry in the config and the code are.
    """
    real_ones = {DomainName.parse(name).base for name in names}
    folder, read = Path(config["results"], "looks"), code("generate")
    looks, keys = {}, {}
    for name in sorted(real_ones & {name for name, entry in config["domains"].items() if "path" in entry}):
        spec = domain_spec(config, name)
        entry = {key: value for key, value in spec.items() if key not in ("split", "split_inherited")}
        try:
            content = remembered(
                folder / f"{name}.content.json",
                [entry, identity.stamp(spec), read],
                partial(identity.content, name, spec),
            )
            keys[name] = [entry, content["digest"], content["passed_over"], read]
            look = remembered(folder / f"{name}.json", keys[name], partial(real.look, name, spec))
            real.parts(name, spec, look)
            looks[name] = look | content | {"words": content["places"], "passed_over": look["passed_over"]}
        except StudyError as error:
            looks[name] = {"fault": str(error)}
    for name in _of_one_size(looks):
        learn = partial(identity.words, name, domain_spec(config, name))
        try:
            words = remembered(folder / f"{name}.words.json", keys[name], learn)["words"]
            both = zip(words, looks[name]["places"], strict=True)
            looks[name]["words"] = [word or place for word, place in both]
        except StudyError as error:
            looks[name] = {"fault": str(error)}
    return looks


def _of_one_size(looks: dict[str, dict]) -> list[str]:
    """Domains with an image that has as many rows and columns as one of another domain."""
    sizes = {name: {tuple(size) for size in look.get("sizes", ())} for name, look in looks.items()}
    counts = Counter(size for found in sizes.values() for size in found)
    return [name for name, found in sizes.items() if any(counts[size] > 1 for size in found)]


def seen_in_training(config: dict, looks: dict[str, dict]) -> dict[str, dict[str, list[list[int]]]]:
    """Of each real domain: domain -> [start, stop) of the images that a network trained on that domain has seen.

    The domain itself is among them, and so is any other that holds its images under another name.
    """
    trained = {}
    for name, look in looks.items():
        seen = real.trained_on(real.parts(name, domain_spec(config, name), look))
        trained[name] = {look["words"][number] for number in seen}
    return {
        name: {
            other: spans
            for other, words in trained.items()
            if (spans := splits.spans([number for number, word in enumerate(look["words"]) if word in words]))
        }
        for name, look in looks.items()
    }
