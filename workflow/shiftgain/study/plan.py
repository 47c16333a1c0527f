"""A study: the config spelled out into jobs, images and methods, and what is said about it in the end.

Read while Snakemake parses the workflow: it must not import torch. A config becomes one through
:func:`shiftgain.study.checks.study`, which finds its faults first.
"""

from functools import cached_property
from itertools import product
from typing import NamedTuple

from shiftgain.study.images import Images
from shiftgain.study.lineage import catalogue, registry
from shiftgain.study.methods import Methods
from shiftgain.study.names import domain_of, variant_of

# Options of training that make a network irregular: too brief, too fast, with stale statistics.
IRREGULARITIES = {"epochs", "learning_rate", "batchnorm_momentum"}


class Segmented(NamedTuple):
    """Masks of every image of a target by one source and one ``action``, a method or ``advised``, at a seed."""

    target: str
    source: str
    action: str
    family: str
    seed: int

    @property
    def folder(self) -> str:
        """``TARGET/SOURCE/ACTION``: what its folder is called."""
        return f"{self.target}/{self.source}/{self.action}"


class Study(Images, Methods):
    """A checked config, spelled out: what rules ask for paths and parameters."""

    @cached_property
    def segmented(self) -> dict[str, Segmented]:
        """Folder -> the masks to be written, of each source and target that config key segment names."""
        entry = self.config["segment"]
        chosen = self.real_domains if entry["targets"] == "all" else entry["targets"]
        found: dict[str, Segmented] = {}
        for source, name in self.all_pairs:
            family = self.families[name]
            for target, action in product([target for target in family.targets if target in chosen], entry["methods"]):
                each = Segmented(target, source, action, name, family.seeds[0])
                if action in ("advised", "source", *family.methods):
                    found.setdefault(each.folder, each)
        return found

    def segmented_as(self, wildcards) -> Segmented:
        """The entry of :attr:`segmented` of a job."""
        return self.segmented[f"{wildcards.target}/{wildcards.source}/{wildcards.action}"]

    @property
    def judged(self) -> dict[str, dict]:
        """Hypotheses that get a verdict, in their own order: name -> entry of ``workflow/hypotheses.yaml``."""
        names = self.config["hypotheses"]["judge"]
        return {name: entry for name, entry in catalogue("hypotheses").items() if names == "all" or name in names}

    @property
    def irregular(self) -> dict[str, list[str]]:
        """Variant -> what it changes of how long, how fast and with what momentum of the statistics one trains."""
        changed = {
            name: sorted(IRREGULARITIES & entry.get("train", {}).keys())
            for name, entry in self.config["variants"].items()
        }
        return {name: options for name, options in changed.items() if options}

    @property
    def decays(self) -> list[str]:
        """Sources of one domain whose networks differ in weight decay alone; none where there are no two."""
        variants = self.config["variants"]
        plain = [source for source, _ in self.pairs if not variant_of(source)]
        for domain in dict.fromkeys(plain):
            others = [
                source
                for source in dict.fromkeys(source for source, _ in self.pairs)
                if domain_of(source) == domain
                and variants.get(variant_of(source), {}).get("train", {}).keys() == {"weight_decay"}
            ]
            if others:
                return [domain, *others]
        return []

    @property
    def remedies(self) -> list[str]:
        """Methods that are remedies by their function, in the order of the config."""
        return [name for name, entry in self.config["methods"].items() if entry.get("function") == "remedy"]

    @property
    def resized(self) -> list[str]:
        """Sources whose network has a variant of the model, such as another width."""
        variants = self.config["variants"]
        return [name for name in self.networks if "model" in variants.get(variant_of(name), {})]

    @cached_property
    def frozen(self) -> dict[str, dict[str, list[str]]]:
        """Protocol -> role -> names: the pairs on which the shipped predictor is judged as it is.

        A role that is missing takes all names.
        """
        real = {"source": self.real_domains, "target": self.real_domains}
        return {"synthetic_to_real": real, "another_width": {"source": self.resized}}

    @property
    def asks_the_shipped_predictor(self) -> bool:
        """Whether any protocol of :attr:`frozen` names pairs of this study."""
        return any(names for roles in self.frozen.values() for names in roles.values())

    @cached_property
    def protocols(self) -> list[str]:
        """All protocols by which predictors are judged."""
        return [*registry("prediction/predictors", "PROTOCOLS"), *self.frozen]
