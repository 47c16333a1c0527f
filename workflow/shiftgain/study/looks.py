"""What is seen of the user's files when a study starts: sizes, masks, grey levels, and what else holds the images."""

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

    Kept in ``<results>/looks``: the content while names, sizes and times of the files are as they were, and the look
    while the content, the entry in the config and the code are.
    """
    real_ones = {DomainName.parse(name).base for name in names}
    looks = {}
    for name in sorted(real_ones & {name for name, entry in config["domains"].items() if "path" in entry}):
        spec = domain_spec(config, name)
        entry = {key: value for key, value in spec.items() if key not in ("split", "split_inherited")}
        folder = Path(config["results"], "looks")
        try:
            read = code("generate")
            content = remembered(
                folder / f"{name}.content.json",
                [entry, identity.stamp(spec), read],
                partial(identity.content, name, spec),
            )
            key = [entry, content["digest"], content["passed_over"], read]
            look = remembered(folder / f"{name}.json", key, partial(real.look, name, spec))
            real.parts(name, spec, look)
            looks[name] = look | content | {"passed_over": look["passed_over"]}
        except StudyError as error:
            looks[name] = {"fault": str(error)}
    return looks


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
