"""What is done about a shift: adaptation methods, those that advice chooses from, and baselines that train."""

from collections.abc import Callable
from functools import cached_property

from shiftgain.study.entries import baseline_entry, baseline_of, baseline_options, method_entry, method_options
from shiftgain.study.jobs import Jobs
from shiftgain.study.names import PLAIN, domain_of

# Functions of methods that advice chooses from; others are there to be compared with.
ACTIONS = (PLAIN, "remedy")


class Methods(Jobs):
    """A study's methods, by shift family and by source."""

    def methods(self, family: str) -> dict[str, dict]:
        """Adaptation methods of a shift family: name -> :meth:`method`."""
        methods = {}
        for name in self.families[family].methods:
            if baseline_of(name) in self.config["baselines"]:
                continue
            methods[name] = self.method(name)
        return methods

    def method(self, name: str) -> dict:
        """``function``, ``options``, and ``images`` or ``at_test`` of an adaptation method."""
        entry = method_entry(self.config["methods"], name)
        options = method_options(entry)
        return {key: value for key, value in entry.items() if key not in options} | {"options": options}

    def actions(self, family: str) -> list[str]:
        """Methods of a shift family that advice chooses from: plain refreshing and the remedies, of all images."""
        return [name for name in self.families[family].methods if self._is_action(name)]

    def actions_of(self, source: str) -> dict[str, dict]:
        """The :meth:`actions` of all shift families that a source meets: name -> :meth:`method`."""
        met = [family for one, family in self.pairs if one == source]
        return {name: self.method(name) for family in met for name in self.actions(family)}

    @cached_property
    def order(self) -> list[str]:
        """All actions of the study, the simpler first: a plain refresh, then in the order of the config."""
        met = {name for family in self.families for name in self.actions(family)}
        return [name for name in dict.fromkeys([*ACTIONS, *self.config["methods"]]) if name in met]

    def _is_action(self, name: str) -> bool:
        entry = {} if baseline_of(name) in self.config["baselines"] else method_entry(self.config["methods"], name)
        return entry.get("function") in ACTIONS and not {"images", "at_test"} & entry.keys()

    @cached_property
    def rehearsed(self) -> list[str]:
        """``NETWORK/seedSEED`` of the networks that are rehearsed: every source that has an action to choose."""
        networks = [f"{source}/seed{seed}" for source, seed, family in self.jobs if self.actions(family)]
        return list(dict.fromkeys(networks))

    def baseline(self, name: str) -> dict:
        """``function``, ``selection``, ``options`` of a baseline; a variant has the rest from its function's entry.

        And ``start``, a :meth:`method`, where it goes on from the source's network as that adapts it.
        """
        entry = baseline_entry(self.config["baselines"], name)
        start = {"start": self.method(entry["start"])} if "start" in entry else {}
        options = baseline_options(entry)
        return {"function": entry["function"], "selection": entry["selection"], "options": options} | start

    def of_start(self, path: str) -> Callable:
        """Input function: ``path``, of the network that a baseline goes on from; nothing for random weights."""
        return lambda wildcards: path.format(**wildcards) if "start" in self.baseline(wildcards.method) else []

    def baselines(self, source: str, family: str) -> list[tuple[str, str]]:
        """(target, baseline) of the networks trained for one source towards a shift family; none towards itself."""
        entry = self.families[family]
        names = [name for name in self.config["baselines"] if name in map(baseline_of, entry.methods)]
        return [(target, name) for target in entry.targets if target != domain_of(source) for name in names]

    @cached_property
    def trainings(self) -> list[tuple[str, str, str, int]]:
        """(baseline, source, target, seed) of the whole study, each once."""
        trainings = (
            (name, source, target, seed)
            for source, seed, family in self.jobs
            for target, name in self.baselines(source, family)
        )
        return list(dict.fromkeys(trainings))

    def partner(self, seed: str, family: str) -> int | None:
        """Seed of the network whose predictions one of ``seed`` is compared with: the first other; None without."""
        return next((number for number in self.families[family].seeds if str(number) != seed), None)

    def of_partner(self, path: str) -> Callable:
        """Input function: ``path``, with ``{partner}``, of the :meth:`partner` of a job; nothing for a job without."""

        def files(wildcards) -> list | str:
            seed = self.partner(wildcards.seed, wildcards.family)
            return [] if seed is None else path.format(partner=seed, **wildcards)

        return files
