"""Which images a study makes and reads, of which parameters, and what their files are called."""

from functools import cached_property

from shiftgain.domains import real
from shiftgain.study.entries import domain_spec
from shiftgain.study.jobs import Jobs
from shiftgain.study.names import DomainName, base_of, domain_of

# The draw of what is read from the user's files, the same for all seeds.
FILES = "files"


class Images(Jobs):
    """A study's images: drawn for each seed, or read from files of the user."""

    @cached_property
    def real_domains(self) -> list[str]:
        """Named domains that are read from files of the user."""
        return [name for name, entry in self.config["domains"].items() if "path" in entry]

    @cached_property
    def _real_families(self) -> set[str]:
        """Shift families of real domains alone."""
        real = set(self.real_domains)
        return {
            name
            for name, family in self.families.items()
            if all(DomainName.parse(domain).base in real for domain in family.domains)
        }

    def data_of(self, network: str, seed: int | str) -> str:
        """``DOMAIN/DRAW`` of the images that a network is trained on at a seed: what their file is called."""
        domain = DomainName.parse(network)
        return f"{domain.domain}/{self._draw(domain.base in self.real_domains, seed)}"

    def data_if_any(self, network: str, seed: int | str) -> list[str]:
        """:meth:`data_of` a network, or nothing where it has no images."""
        return [] if network in self.imageless else [self.data_of(network, seed)]

    def images_of(self, family: str, seed: int | str) -> str:
        """``FAMILY/DRAW`` of the targets that the networks of a seed meet: what their file is called."""
        return f"{family}/{self._draw(family in self._real_families, seed)}"

    def _draw(self, from_files: bool, seed: int | str) -> str:
        """Name of the images of one seed of the study: ``seedN``, or :data:`FILES`."""
        fixed = self.config["generate"]["seed"]
        return FILES if from_files else f"seed{seed if fixed is None else fixed}"

    def specs(self, names: list[str], splits: list[str], draw: str = FILES) -> dict[str, dict]:
        """Full domain name -> everything that makes ``splits`` of it. See :func:`domain_spec`.

        A synthetic domain has a ``seed`` where a ``draw`` of its images is asked for, such as ``seed0``.
        """
        seed = {} if draw == FILES else {"seed": int(draw.removeprefix("seed"))}
        specs = {name: domain_spec(self.config, name) for name in names}
        for spec in specs.values():
            if "path" not in spec:
                spec |= {"images": {split: spec["images"][split] for split in splits}} | seed
            elif "look" in spec:
                # What is passed over changes nothing of what is read.
                spec["look"] = {key: value for key, value in spec["look"].items() if key != "passed_over"}
        return specs

    def targets(self, family: str, splits: list[str], draw: str) -> dict[str, dict]:
        """The :meth:`specs` of every target of a shift family."""
        return self.specs(self.families[family].targets, splits, draw)

    @cached_property
    def pictured(self) -> list[str]:
        """Those of the :attr:`job_names` whose images the figures show: each pair at the first of its seeds."""
        return [f"{source}/seed{self.families[family].seeds[0]}/{family}" for source, family in self.pairs]

    @property
    def pictured_networks(self) -> list[str]:
        """``NETWORK/seedSEED`` of the networks of :attr:`pictured`, each once."""
        return list(dict.fromkeys(job.rpartition("/")[0] for job in self.pictured))

    @cached_property
    def pictured_images(self) -> dict[str, str]:
        """Shift family -> :meth:`images_of` it at the first of its seeds."""
        return {name: self.images_of(name, family.seeds[0]) for name, family in self.families.items()}

    @cached_property
    def pictured_data(self) -> dict[str, str]:
        """Domain that is trained on -> :meth:`data_of` it at the first seed of its networks."""
        first = {domain_of(network): seed for network, seed in reversed(self.trained)}
        return {domain: self.data_of(domain, first[domain]) for domain in self.trained_domains}

    @property
    def pictured_names(self) -> dict[str, list[str]]:
        """Role of the files that figures and atlas show -> names of its files, one for each."""
        both = dict.fromkeys(("masks", "latents"), self.pictured)
        return {"data": list(self.pictured_data), "targets": list(self.pictured_images)} | both

    @cached_property
    def readings(self) -> dict[str, dict]:
        """Real domains that the study reads: name -> entry, with what was seen of its files."""
        return {name: entry for name, entry in self.config["domains"].items() if "look" in entry}

    @cached_property
    def read_data(self) -> list[str]:
        """Names of the files of domains that are trained on and are read from the user's files."""
        return [data for name, data in self.pictured_data.items() if base_of(name) in self.readings]

    @cached_property
    def read_images(self) -> list[str]:
        """Names of the files of shift families with a target that is read from the user's files."""
        families = self.pictured_images.items()
        return [images for name, images in families if self.readings.keys() & map(base_of, self.families[name].domains)]

    @cached_property
    def passed_over(self) -> dict[str, dict]:
        """Real domain -> how many of its files were passed over, and why."""
        return {name: real.passed_over(entry) for name, entry in self.readings.items()}

    @property
    def summary(self) -> list[str]:
        """What is read of every real domain, in lines for people."""
        return [f"{name}: {line}" for name, entry in self.readings.items() for line in real.summary(entry)]
