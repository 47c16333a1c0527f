"""The config: every fault is one line that names the key and the remedy, before any job."""

import inspect
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from shiftgain.adaptation import baselines, methods
from shiftgain.files import store
from shiftgain.files.errors import StudyError
from shiftgain.prediction.predictors import PROTOCOLS
from shiftgain.study import lineage
from shiftgain.study.checks import study
from shiftgain.study.faults.schema import SCHEMA
from shiftgain.study.faults.segment import segment_faults
from shiftgain.study.given import duplicate_keys
from shiftgain.study.lineage import signatures
from shiftgain.study.names import DomainName, domain_of, full_names, target_name, variant_of

ROOT = Path(__file__).parents[1]
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
# Of one block: what a test changes in it is all there is.
DEFAULT = SHIPPED | {"pairs": SHIPPED["pairs"][:1]}


def changed(path: str, value) -> dict:
    """The default config with the value at a dotted path replaced."""
    config = deepcopy(DEFAULT)
    *parents, leaf = path.split(".")
    node = config
    for key in parents:
        node = node[int(key) if isinstance(node, list) else key]
    node[leaf] = value
    return config


# path, value, what the message must say
FAULTS = [
    ("train.epochz", 3, r"config key train: unknown key 'epochz'; did you mean 'epochs'"),
    ("trian", {}, r"config key \(top level\): unknown key 'trian'; did you mean 'train'"),
    ("train.epochs", 0, r"config key train\.epochs: 0 is less than the minimum of 1 \(passes over"),
    ("train.learning_rate", "1e-3", r"config key train\.learning_rate: '1e-3' is text to YAML; write 0\.001$"),
    ("train.learning_rate", "slow", r"config key train\.learning_rate: 'slow' is not of type 'number'"),
    ("pairs.0.sources", "home", r"config key pairs\.0\.sources: 'home' is no list; write \[home\]$"),
    ("latents.layers", "bottleneck", r"config key latents\.layers: 'bottleneck' is no list; write \[bottleneck\]$"),
    (
        "distances.names",
        "wasserstein",
        r"config key distances\.names: 'wasserstein' is no list; write \[w.*\]$",
    ),
    ("segment.targets", ["zz"], r"config key segment\.targets: 'zz' is no domain with a path; known: none$"),
    ("segment", {"targets": "away"}, r"config key segment\.targets: 'away' is no list; write \[away\]$"),
    (
        "advise.predictor",
        "nowhere.npz",
        r"config key advise\.predictor: no file 'nowhere\.npz'; name the",
    ),
    (
        "train.crop",
        [20, 64],
        r"config key train\.crop: \[20, 64\] is not a multiple of 8 .* model\.depth = 3",
    ),
    ("generate.size", [64, 60], r"config key generate\.size: \[64, 60\] is not a multiple of 8"),
    ("generate.threshold", 0.1, r"config key generate: give exactly one of 'threshold' and 'foreground'"),
    (
        "generate.foreground",
        1.5,
        r"config key generate\.foreground: 1\.5 is greater than or equal to the maximum",
    ),
    ("generate.images.adapt", 1, r"config key generate\.images\.adapt: 1 is less than the minimum of 2"),
    ("generate.channels", 2, r"config key generate\.channels: 2 is not one of \[1, 3\]"),
    ("generate.perlin.octaves", 0, r"config key generate\.perlin\.octaves: 0 is less"),
    (
        "pairs.0.targets",
        {"grid": [0.1, 1.3]},
        r"config key pairs\.0\.targets.*1\.3 is greater than the maximum of 1",
    ),
    (
        "pairs.0.targets",
        {"grid": [0.1, 0.333]},
        r"pairs\.0\.targets\.grid: 0\.333 has more than two decimals",
    ),
    ("pairs.0.sources", ["0.30-1.70"], r"domain '0\.30-1\.70': means are grey levels in \[0, 1\]"),
    ("pairs.0.sources", ["mito"], r"domain 'mito' is not known: name it under config key domains"),
    ("pairs.0.sources", ["a/../../b"], r"config key pairs\.0\.sources.*does not match"),
    ("pairs.0.sources", ["$(touch x)"], r"config key pairs\.0\.sources.*does not match"),
    (
        "pairs.0.transforms",
        {"brightnes": [0.1]},
        r"pairs\.0\.transforms\.brightnes: .*did you mean 'brightness'",
    ),
    ("pairs.0.transforms", {"noise": [-0.1]}, r"pairs\.0\.transforms\.noise: .*-0\.1"),
    (
        "pairs.0.methods",
        ["batchnrm"],
        r"pairs\.0\.methods: no such method 'batchnrm'; did you mean 'batchnorm'",
    ),
    ("pairs.0.seeds", [], r"config key pairs\.0\.seeds: \[\] should be non-empty \(of this block"),
    ("pairs.0.name", "a b", r"config key pairs\.0\.name: 'a b' does not match"),
    ("pairs", [DEFAULT["pairs"][0]] * 2, r"config key pairs: two blocks are named 'means'; rename one"),
    ("oracles", ["0.30-0.70@noise"], r"domain '0\.30-0\.70@noise': after @ comes TRANSFORM=LEVEL"),
    (
        "latents.layers",
        ["bottelneck"],
        r"latents\.layers: no such entry 'bottelneck'; did you mean 'bottleneck'",
    ),
    ("latents.layers", ["encoder4"], r"config key latents\.layers: no such entry 'encoder4'"),
    ("latents.activations", ["relu"], r"config key latents\.activations\.0: 'relu' is not one of"),
    ("distances.names", ["sliced"], r"config key distances\.names: no such entry 'sliced'"),
    ("hypotheses.judge", ["H99"], r"config key hypotheses\.judge: no such entry 'H99'"),
    ("segment.targets", ["mine"], r"config key segment\.targets: 'mine' is no domain with a path"),
    ("segment.methods", [], r"config key segment\.methods: \[\] should be non-empty"),
    ("seeds", [], r"config key seeds: \[\] should be non-empty"),
    ("seeds", [0, 0], r"config key seeds: \[0, 0\] has non-unique elements"),
    ("device", "gpu", r"config key device: 'gpu' is not one of \['auto', 'cpu', 'cuda'\]"),
    ("results", "res; rm -rf x", r"config key results: .*does not match"),
    ("domains", {"A": {"means": [0.1, 0.2]}, "a": {"means": [0.3, 0.2]}}, r"domains differ in case only"),
    ("domains", {"0.30-0.70": {"means": [0.1, 0.2]}}, r"config key domains.*does not match"),
    ("domains", {"a": {"means": [0.1, 1.2]}}, r"config key domains\.a.*1\.2 is greater than the maximum"),
    ("domains", {"a": {"means": [0.1, 0.2], "sise": [8, 8]}}, r"config key domains\.a.*'sise'"),
    ("model.depth", 0, r"config key model\.depth: 0 is less than the minimum"),
    ("train.batch", 2.5, r"config key train\.batch: 2\.5 is not of type 'integer'"),
    ("train.precision", "half", r"config key train\.precision: 'half' is not one of"),
    ("evaluate.threshold", 2, r"config key evaluate\.threshold: 2 is greater"),
    ("correlate.outcomes", ["iou_gain"], r"config key correlate\.outcomes.*'iou_gain' is not one of"),
    ("methods.few", {"function": "batchnrm"}, r"methods\.few\.function: no such 'batchnrm'; did you mean"),
    ("methods.few", {"function": "remedy", "at_test": 1}, r"methods\.few\.at_test: not with function remedy; give 'sc"),
    ("methods.few", {"function": "batchnorm", "images": 2, "at_test": 2}, r"give 'images' or 'at_test', not both"),
    ("methods.mine", {"function": "intent"}, r"methods\.mine: 'at_test' is a required property"),
    ("pairs.0.name", "`touch x`", r"config key pairs\.0\.name: '`touch x`' does not match"),
    ("pairs.0.name", "../up", r"config key pairs\.0\.name: '\.\./up' does not match"),
    ("pairs.0.targets", ["-rf"], r"config key pairs\.0\.targets.*does not match"),
    ("oracles", ["0.30-0.70@noise=x;y"], r"config key oracles.*does not match"),
    ("oracles", ["0.30-0.70@nois=0.1"], r"^transform 'nois' is not known; did you mean 'noise'"),
    ("oracles", ["0.30-0.70@noise=7"], r"^transform 'noise': level 7 is outside \[0, 1\]"),
    ("oracles", ["0.30-0.70@noise=0.10"], r"config key oracles: .*@noise=0\.10': write 0\.30-0\.70@noise=0\.1$"),
    ("oracles", ["0.30-0.70@noise=0"], r"config key oracles: domain '0\.30-0\.70@noise=0': write 0\.30-0\.70$"),
    ("oracles", ["0.30-0.70@noise=0.1000001"], r"config key oracles: .*: write 0\.30-0\.70@noise=0\.1$"),
    ("oracles", ["0.30-0.70@noise=0.1@blur=1"], r"config key oracles: .*: a name is DOMAIN, DOMAIN~VARIANT or"),
    ("pairs.0.sources", ["a@noise=0.1~wide"], r"config key pairs\.0\.sources: .*: write a~wide@noise=0\.1$"),
    ("pairs.0.targets", ["a@noise=0.10"], r"config key pairs\.0\.targets: .*: write a@noise=0\.1$"),
    ("pairs.0.targets", ["0.30-0.70@blur=1"], r"pairs\.0\.targets: .* transformed already, and foreground would"),
    (
        "pairs.0.transforms",
        {"noise": [0.1000001, 0.1000002]},
        r"config key pairs\.0\.transforms\.noise: 0\.1000001 and 0\.1000002 would both be named 0\.1; give levels six",
    ),
    ("pairs.0.transforms", {"noise": [0.1, 0.1000001]}, r"noise: 0\.1 and 0\.1000001 would both be named 0\.1"),
    ("pairs.0.transforms", {"noise": [0.1000001]}, r"noise: 0\.1000001 has more than six .* digits; write 0\.1$"),
    (
        "methods.few",
        {"function": "batchnorm", "weight": 4},
        r"^config key methods\.few\.weight: function batchnorm has no option 'weight'; it takes none$",
    ),
    (
        "methods.sure",
        {"function": "tent", "weight": 3},
        r"^config key methods\.sure\.weight: function tent has no option 'weight'; it takes steps, learning_rate$",
    ),
    (
        "baselines",
        {"mine": {"function": "ynet", "selection": "source_validation"}},
        r"^config key baselines\.mine: function ynet needs option 'reconstruction'; add it$",
    ),
    (
        "baselines.late",
        {"function": "selftraining", "start": "balanced", "selection": "target_oracle"},
        r"^config key baselines\.late\.selection: target_oracle judges epochs on images as the source's",
    ),
    (
        "methods.image",
        {"function": "remedy", "scope": "shrunk"},
        r"methods\.image: the page reads this name as \{function: remedy, scope: image\}; give the method another name",
    ),
    ("methods.turned", {"function": "remedy", "polarity": "turned", "prior": 16}, r"methods\.turned: the page reads"),
    ("methods.after", {"function": "batchnorm"}, r"config key methods\.after: tables use this name for something"),
]


def _grey(**arrays):
    return {"images": np.zeros((20, 16, 16), np.uint8)} | arrays


# what is in the file of a target, more of its entry in the config, what the message must say; None: text, no HDF5
DATA_FAULTS = [
    (None, {}, r"mine\.h5: cannot be read .*; replace"),
    ({"pictures": np.zeros(3)}, {}, r"mine\.h5: has no dataset 'images' \(only: pictures\); add"),
    ({"images": np.zeros((20, 16, 16), complex)}, {}, r"mine\.h5: images of type complex128; convert"),
    ({"images": np.zeros((16,), np.uint8)}, {}, r"mine\.h5: 'images' is \(16,\); make it"),
    ({"images": np.zeros((0, 16, 16), np.uint8)}, {}, r"mine\.h5: 'images' is \(0, 16, 16\); make it .* not empty"),
    (_grey(masks=np.zeros((19, 16, 16), np.uint8)), {}, r"mine\.h5: 19 masks, .*mine\.h5: 20 images; make"),
    (_grey(masks=np.ones((20, 16, 16))), {}, r"domains\.mine: its masks hold 1 \(100\.0 %\): say .*`background: 1`"),
    (_grey(masks=np.eye(16, dtype=np.uint8) + np.ones((20, 16, 16), np.uint8)), {}, r"such as `background: 1`$"),
    (_grey(), {"split": {"adapt": 0.7, "test": 0.7}}, r"domains\.mine\.split: the shares sum to 1\.4; lower"),
    (_grey(), {"split": {"adapt": [3, 3], "test": [5, 9]}}, r"domains\.mine\.split\.adapt: \[3, 3\] is empty"),
    (_grey(), {"split": {"adapt": [0, 10], "test": [10, 21]}}, r"split\.test: \[10, 21\] .*beyond the series of 20"),
    (
        _grey(),
        {"split": {"adapt": 0.5, "test": [10, 20]}},
        r"domains\.mine\.split: shares and ranges are mixed \(adapt and test\)",
    ),
    (_grey(), {"split": {"train": [0, 12], "test": [8, 20]}}, r"domains\.mine\.split: train and test overlap"),
    (_grey(), {"window": [0, 9]}, r"domains\.mine\.window: .*8-bit images, which pass unchanged; remove"),
    ({"images": np.zeros((20, 16, 16), np.uint16)}, {"window": [9, 9]}, r"domains\.mine\.window: \[9, 9\] is empty"),
]


@pytest.mark.parametrize(
    ("place", "fault", "message"),
    FAULTS + DATA_FAULTS,
    ids=[f"{n}-{m}"[:60] for n, (*_, m) in enumerate(FAULTS + DATA_FAULTS)],
)
def test_a_bad_input_is_one_line(place, fault, message, tmp_path):
    """``place``: a dotted key of the config that gets the value ``fault``; or datasets of a file, of which ``fault``
    is the rest of the entry."""
    if isinstance(place, str):
        config = changed(place, fault)
    else:
        if place is None:
            (tmp_path / "mine.h5").write_text("no images")
        else:
            with store.create(tmp_path / "mine.h5") as file:
                for name, array in place.items():
                    file[name] = array
        config = changed("domains", {"mine": {"path": str(tmp_path / "mine.h5")} | fault})
        config["pairs"][0]["targets"] = ["mine"]
    with pytest.raises(StudyError, match=message) as caught:
        study(config)
    starts = ("config key", "domain '", "transform '", str(tmp_path / "mine.h5: "))
    assert all(line.startswith(starts) for line in str(caught.value).splitlines())


def test_a_domain_that_no_pair_names_is_not_opened():
    study(changed("domains", {"a": {"path": "nowhere.h5"}}))


def test_missing_key_is_named():
    config = deepcopy(DEFAULT)
    del config["train"]["epochs"]
    with pytest.raises(StudyError, match=r"config key train: 'epochs' is a required property"):
        study(config)


def test_a_missing_file_is_found_before_any_job():
    config = changed("domains", {"mine": {"path": "nowhere.h5"}})
    config["pairs"][0]["targets"] = ["mine"]
    with pytest.raises(StudyError, match=r"nowhere\.h5"):
        study(config)


def test_a_source_needs_masks(tmp_path):
    with store.create(tmp_path / "mine.h5") as file:
        file["images"] = np.zeros((20, 16, 16), np.uint8)
    config = changed("domains", {"mine": {"path": str(tmp_path / "mine.h5")}})
    config["pairs"][0] |= {"targets": ["mine"], "transforms": {"identity": [0]}}
    study(config)
    for sources, oracles in ((["mine"], []), (config["pairs"][0]["sources"], ["mine"])):
        config["pairs"][0]["sources"], config["oracles"] = sources, oracles
        with pytest.raises(StudyError, match=r"domain 'mine' .*mine\.h5\) has no masks: it can be a target, not a"):
            study(config)


def test_rgb_means_need_rgb_domains():
    config = changed("domains", {"stain": {"means": [[0.5, 0.2, 0.5], [0.9, 0.8, 0.9]]}})
    config["pairs"][0]["targets"] = ["stain"]
    with pytest.raises(StudyError, match=r"domains\.stain\.means: RGB means need generate\.channels: 3"):
        study(config)


def test_a_key_that_stands_twice(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("domains:\n  mito: {path: a.h5}\n  mito: {path: b.h5}\n")
    with pytest.raises(StudyError, match=r"config\.yaml, line 3: key 'mito' stands twice"):
        duplicate_keys([path])


@pytest.mark.parametrize(
    ("transforms", "domain", "message"),
    [
        ({"hue": [0, 30]}, {"means": [0.2, 0.6]}, r"^domain 'mine' is gray, .*'hue' .* generate\.channels: 3"),
        ({"saturation": [1]}, {"path": "mine.h5"}, r"^domain 'mine' is gray, and transform 'saturation'"),
        ({"texture": [1]}, {"path": "mine.h5"}, r"^domain 'mine' is real, .*'texture' .* synthetic targets$"),
        ({"foreground": [1]}, {"means": [0.2, 0.6], "threshold": 0.1}, r"^domain 'mine' is given by 'threshold'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_a_domain_without_what_a_transform_changes_is_one_line(transforms, domain, message, channels, tmp_path):
    if "path" in domain:
        domain = {"path": str(tmp_path / "mine.h5")}
        with store.create(domain["path"]) as file:
            file["images"] = np.zeros((20, 16, 16), np.uint8)
    config = changed("domains", {"mine": domain})
    config["generate"] |= {"channels": channels}
    config["pairs"][0] |= {"targets": ["mine", "0.10-0.90"], "transforms": transforms}
    name, levels = next(iter(transforms.items()))
    with pytest.raises(StudyError, match=message) as caught:
        study(config)
    assert "\n" not in str(caught.value)
    config["pairs"][0] |= {"targets": [f"mine@{name}={levels[-1]}"], "transforms": {"identity": [0]}}
    with pytest.raises(StudyError, match=message):
        study(config)


def test_colours_may_be_a_domains_own_or_lie_in_its_file(tmp_path):
    with store.create(tmp_path / "mine.h5") as file:
        file["images"] = np.zeros((20, 16, 16, 3), np.uint8)
    stain = {"means": [[0.5, 0.2, 0.5], [0.9, 0.8, 0.9]]}
    config = changed("domains", {"stain": stain, "mine": {"path": str(tmp_path / "mine.h5")}})
    config["generate"] |= {"channels": 3}
    config["pairs"][0] |= {"targets": ["stain", "mine"], "transforms": {"hue": [30], "saturation": [-1]}}
    assert len(study(config).families["means-hue+saturation"].targets) == 4


def test_every_key_of_the_schema_is_described():
    """The schema is the manual: a leaf without a description or a meaning to look up is a hole in it."""
    schema = yaml.safe_load(SCHEMA.read_text())

    def objects(node):
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                yield node
            for child in node.values():
                yield from objects(child)
        elif isinstance(node, list):
            for child in node:
                yield from objects(child)

    assert all(node.get("additionalProperties") is False for node in objects(schema))


def test_advice_chooses_among_refreshes_of_all_images():
    """Not among published methods, refreshes of few images or of test batches, and baselines; the simpler first."""
    config = deepcopy(SHIPPED)
    config["methods"] |= {
        "few": {"function": "batchnorm", "images": 4},
        "batches": {"function": "batchnorm", "at_test": 4},
    }
    block = {"sources": ["0.30-0.70"], "targets": ["0.50-0.90"], "transforms": {"identity": [0]}}
    methods = ["turned", "intent", "few", "batches", "ynet", "alpha_bn", "balanced", "batchnorm"]
    config["pairs"] = [
        {"name": "a", "methods": methods} | block,
        {"name": "b", "methods": ["hybrid_ttn"]} | block | {"sources": ["0.70-0.30"]},
    ]
    found = study(config)
    assert found.actions("a-identity") == ["turned", "balanced", "batchnorm"] and found.actions("b-identity") == []
    assert found.order == ["batchnorm", "balanced", "turned"] and found.rehearsed == ["0.30-0.70/seed0"]
    assert found.actions_of("0.30-0.70")["turned"] == {"function": "remedy", "options": {"polarity": "turned"}}


def test_families_of_the_default_study():
    default = study(SHIPPED)
    assert {name: len(family.targets) for name, family in default.families.items()} == {
        "means-identity+foreground": 60,
        "shifts-brightness+contrast+noise": 120,
    }
    assert all(len(family.sources) >= 3 for family in default.families.values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0.30-0.70", DomainName("0.30-0.70")),
        ("mito_vnc~wide", DomainName("mito_vnc", variant="wide")),
        ("0.30-0.70@noise=0.1", DomainName("0.30-0.70", "noise", 0.1)),
        ("0.30-0.70~wide@zoom=-0.5", DomainName("0.30-0.70", "zoom", -0.5, "wide")),
        ("a@noise=1e-05", DomainName("a", "noise", 1e-5)),
        ("a@noise=0.123456", DomainName("a", "noise", 0.123456)),
    ],
)
def test_a_name_prints_as_it_was_parsed(text, name):
    assert DomainName.parse(text) == name and str(name) == text
    assert DomainName.parse(name.domain) == replace(name, variant="")
    assert domain_of(text) == name.domain and variant_of(text) == name.variant


@pytest.mark.parametrize("text", ["", "~wide", "a~", "a@", "a@noise", "a@noise=", "a@=1", "a@noise=nan", "a~b~c"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(StudyError, match=f"^domain '{text}': "):
        DomainName.parse(text)


def test_means_are_read_from_the_name_that_they_print():
    assert DomainName.of_means(0.3, 0.7) == DomainName("0.30-0.70")
    assert DomainName.parse("0.30-0.70~wide@noise=0.1").means == (0.3, 0.7)
    assert DomainName.parse("mito_vnc").means is None and DomainName.parse("0.30-0.705").means is None


def test_level_zero_of_any_transform_is_the_identity():
    assert target_name("a", "noise", 0.0) == "a" and DomainName("a").at("noise", 0) == DomainName("a")
    table = pd.DataFrame({"target": ["a", "a"], "transform": ["noise", "identity"], "level": [0.1, 0.0]})
    assert full_names(table) == ["a@noise=0.1", "a"]


def test_every_method_takes_its_own_options():
    """What the checks read of the source text is what Python says of the functions."""
    for module, name, functions in (
        ("adaptation/methods", "METHODS", methods.METHODS),
        ("adaptation/baselines", "BASELINES", baselines.BASELINES),
    ):
        read = signatures(module, name)
        assert read.keys() == functions.keys()
        for key, function in functions.items():
            arguments = inspect.signature(function).parameters.values()
            assert read[key].arguments == [argument.name for argument in arguments]
            assert read[key].required == [argument.name for argument in arguments if argument.default is argument.empty]


def test_arguments_of_every_kind_are_read_as_python_reads_them(tmp_path, monkeypatch):
    text = "def one(a, /, b, c=1, *, d, e=2): ...\n\n\nFUNCTIONS = {'one': one}\n"
    (tmp_path / "shiftgain/kinds").mkdir(parents=True)
    (tmp_path / "shiftgain/kinds/functions.py").write_text(text)
    monkeypatch.setattr(lineage, "WORKFLOW", tmp_path)
    assert signatures("kinds/functions", "FUNCTIONS") == {"one": (["a", "b", "c", "d", "e"], ["a", "b", "d"])}


def test_protocols_and_the_pairs_of_the_shipped_predictor():
    config = changed("variants", {"wide": {"model": {"width": 16}}})
    assert not study(config).asks_the_shipped_predictor
    config["pairs"][0]["sources"] = ["0.30-0.70", "0.30-0.70~wide"]
    varied = study(config)
    assert varied.asks_the_shipped_predictor
    assert varied.frozen == {
        "synthetic_to_real": {"source": [], "target": []},
        "another_width": {"source": ["0.30-0.70~wide"]},
    }
    assert varied.protocols == [*PROTOCOLS, *varied.frozen]


def test_domains_are_all_targets_and_all_that_is_trained_on():
    config = changed("oracles", ["0.20-0.40"])
    config["pairs"][0] |= {"sources": ["0.30-0.70"], "targets": ["b", "0.10-0.90"], "transforms": {"noise": [0, 0.1]}}
    config["domains"] = {"b": {"means": [0.2, 0.6]}}
    named = study(config)
    targets = ["0.10-0.90", "0.10-0.90@noise=0.1", "b", "b@noise=0.1"]
    assert named.targets_of == {"means-noise": targets}
    assert named.domains == [*targets, "0.30-0.70", "0.20-0.40"] == list(named.specs(named.domains, []))


def test_a_variant_changes_the_training_of_its_networks_only():
    config = changed("variants", {"decay": {"train": {"weight_decay": 0.1}}, "wide": {"model": {"width": 16}}})
    config["pairs"][0]["sources"] = ["0.30-0.70", "0.30-0.70~decay", "0.30-0.70~wide"]
    found = study(config)
    assert found.networks == ("0.30-0.70", "0.30-0.70~decay", "0.30-0.70~wide")
    (model, options), (_, decayed), (wide, _) = (found.training(name) for name in found.networks)
    assert decayed == options | {"weight_decay": 0.1} and wide == model | {"width": 16}
    assert found.specs(["0.30-0.70~decay"], ["test"])["0.30-0.70~decay"]["name"] == "0.30-0.70"


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("sources", r"network '0\.30-0\.70~deca': no variant 'deca' under config key variants; did you mean 'decay'"),
        ("targets", r"domain '0\.30-0\.70~deca': a variant is trained, so it can be a source, not a target"),
    ],
)
def test_variants_that_cannot_be(role, message):
    config = changed("variants", {"decay": {"train": {"weight_decay": 0.1}}})
    config["pairs"][0][role] = ["0.30-0.70~deca"]
    with pytest.raises(StudyError, match=message):
        study(config)


def test_a_block_may_have_seeds_of_its_own():
    config = changed("seeds", [0, 1, 2])
    shared = {"transforms": {"identity": [0]}, "methods": ["batchnorm"]}
    config["pairs"] = [
        {"name": "all", "sources": ["0.30-0.70"], "targets": ["0.70-0.30"]} | shared,
        {"name": "one", "sources": ["0.30-0.70", "0.50-0.30"], "targets": ["0.70-0.30"], "seeds": [2]} | shared,
    ]
    config["oracles"] = ["0.70-0.30"]
    found = study(config)
    assert found.jobs == [
        *(("0.30-0.70", seed, "all-identity") for seed in (0, 1, 2)),
        *((source, 2, "one-identity") for source in ("0.30-0.70", "0.50-0.30")),
    ]
    assert found.trained == [
        *(("0.30-0.70", seed) for seed in (0, 1, 2)),
        ("0.50-0.30", 2),
        *(("0.70-0.30", seed) for seed in (0, 1, 2)),
    ]
    assert found.networks_of("0") == ["0.30-0.70", "0.70-0.30"] and len(found.networks_of("2")) == 3
    assert found.partner("2", "one-identity") is None
    assert found.partner("2", "all-identity") == 0 and found.partner("0", "all-identity") == 1


def test_a_family_is_cut_into_jobs_and_grows_at_its_end():
    def families(grid):
        config = changed("adapt.domains_per_job", 4)
        config["pairs"][0] |= {"targets": {"grid": grid}, "transforms": {"identity": [0]}}
        return {name: family.domains for name, family in study(config).families.items()}

    small, large = families([0.1, 0.5, 0.9]), families([0.1, 0.5, 0.9, 0.3])
    assert list(small) == ["means-identity", "means-identity-1"]
    assert large["means-identity"] == small["means-identity"]
    assert sum(len(domains) for domains in large.values()) == 12


def test_a_transform_at_the_end_of_a_block_joins_the_last_job_or_starts_one():
    def families(*names):
        transforms = {name: [0.1] for name in names}
        config = changed("pairs.0.transforms", transforms)
        config["adapt"]["transforms_per_job"] = 2
        return [name.partition("-")[2] for name in study(config).families]

    assert families("noise", "blur", "gamma") == ["noise+blur", "gamma"]
    assert families("noise", "blur", "gamma", "shear") == ["noise+blur", "gamma+shear"]


def test_a_source_whose_model_is_varied_is_resized():
    config = changed("variants", {"wide": {"model": {"width": 16}}, "slow": {"train": {"learning_rate": 0.1}}})
    config["pairs"][0]["sources"] = ["0.30-0.70", "0.30-0.70~wide", "0.30-0.70~slow", "0.70-0.30~wide"]
    assert study(config).resized == ["0.30-0.70~wide", "0.70-0.30~wide"]


def test_a_variant_is_irregular_by_what_it_changes_of_the_training():
    variants = {
        "brief": {"train": {"epochs": 1}},
        "fast": {"train": {"learning_rate": 0.1, "epochs": 2}},
        "stale": {"train": {"batchnorm_momentum": 0.9}},
        "decay": {"train": {"weight_decay": 0.1, "batch": 4}},
        "wide": {"model": {"width": 16}},
    }
    assert study(changed("variants", variants)).irregular == {
        "brief": ["epochs"], "fast": ["epochs", "learning_rate"], "stale": ["batchnorm_momentum"],
    }  # fmt: skip


def test_networks_that_differ_in_weight_decay_alone():
    decay, more = {"weight_decay": 0.1}, {"weight_decay": 0.1, "epochs": 1}
    config = changed("variants", {"decay": {"train": decay}, "both": {"train": more}, "wide": {"model": {"width": 16}}})
    config["pairs"][0]["sources"] = ["0.50-0.70", "0.30-0.70", "0.50-0.70~both", "0.30-0.70~both", "0.30-0.70~wide"]
    assert study(config).decays == []
    config["pairs"][0]["sources"] += ["0.30-0.70~decay"]
    assert study(config).decays == ["0.30-0.70", "0.30-0.70~decay"]


def test_a_partner_is_another_seed_of_the_family():
    found = study(changed("seeds", [4, 2, 7]))
    family = found.pairs[0][1]
    assert [found.partner(seed, family) for seed in ("4", "2", "7")] == [2, 4, 4]


def test_specs_hold_what_makes_the_domain():
    config = changed("domains", {"fine": {"means": [0.2, 0.6], "perlin": {"scale": 8}, "threshold": 0.1}})
    config["pairs"][0] |= {"targets": ["fine", "0.10-0.90"], "transforms": {"noise": [0, 0.1]}}
    specs = study(config).targets("means-noise", ["adapt", "test"], "seed3")
    assert list(specs) == ["fine", "fine@noise=0.1", "0.10-0.90", "0.10-0.90@noise=0.1"]
    fine = specs["fine@noise=0.1"]
    assert fine["name"] == "fine" and fine["transform"] == "noise" and fine["level"] == 0.1
    assert fine["perlin"] == DEFAULT["generate"]["perlin"] | {"scale": 8}
    assert fine["threshold"] == 0.1 and "foreground" not in fine
    assert fine["images"] == {split: DEFAULT["generate"]["images"][split] for split in ("adapt", "test")}
    assert specs["0.10-0.90"]["means"] == [0.1, 0.9] and specs["0.10-0.90"]["foreground"] == 0.35
    assert {spec["seed"] for spec in specs.values()} == {3} and {spec["masks"] for spec in specs.values()} == {"own"}


def test_masks_are_shared_where_the_study_or_a_domain_says_so():
    config = changed("domains", {"alone": {"means": [0.2, 0.6]}, "pair": {"means": [0.3, 0.7], "masks": "shared"}})
    config["pairs"][0] |= {"targets": ["alone", "pair", "0.10-0.90"], "transforms": {"identity": [0]}}

    def masks(config: dict) -> list[str]:
        return [spec["masks"] for spec in study(config).targets("means-identity", ["test"], "seed0").values()]

    assert masks(config) == ["own", "shared", "own"]
    config["generate"]["masks"] = "shared"
    config["domains"]["alone"]["masks"] = "own"
    assert masks(config) == ["own", "shared", "shared"]


@pytest.mark.parametrize(("fixed", "draws"), [(None, ["seed2", "seed5"]), (7, ["seed7", "seed7"])])
def test_seeds_draw_images_of_their_own_unless_the_seed_of_the_images_is_given(fixed, draws):
    config = changed("generate.seed", fixed)
    config["seeds"] = [2, 5]
    config["variants"] = {"decay": {"train": {"weight_decay": 0.1}}}
    config["pairs"][0] |= {"sources": ["0.30-0.70~decay"], "targets": ["0.10-0.90"], "transforms": {"noise": [0.1]}}
    found = study(config)
    assert [found.data_of("0.30-0.70~decay", seed) for seed in (2, "5")] == [f"0.30-0.70/{draw}" for draw in draws]
    assert [found.images_of("means-noise", seed) for seed in (2, "5")] == [f"means-noise/{draw}" for draw in draws]
    assert found.pictured == ["0.30-0.70~decay/seed2/means-noise"]
    assert found.pictured_images == {"means-noise": f"means-noise/{draws[0]}"}
    assert found.pictured_data == {"0.30-0.70": f"0.30-0.70/{draws[0]}"}


def test_files_of_the_user_are_stored_once_whatever_the_seeds(tmp_path):
    with store.create(tmp_path / "mine.h5") as file:
        store.put(file, "images", np.arange(20, dtype=np.uint8).repeat(16 * 16).reshape(20, 16, 16))
        store.put(file, "masks", np.eye(16, dtype=np.uint8)[np.newaxis].repeat(20, axis=0))
    config = changed("domains", {"mine": {"path": str(tmp_path / "mine.h5")}})
    config["seeds"] = [0, 1, 2]
    block = config["pairs"][0] | {"sources": ["mine", "0.30-0.70"], "transforms": {"identity": [0], "blur": [1]}}
    config["pairs"] = [block | {"targets": ["mine"]}, block | {"name": "both", "targets": ["mine", "0.30-0.70"]}]
    found = study(config)
    assert {found.data_of("mine", seed) for seed in (0, 1, 2)} == {"mine/files"}
    assert {found.images_of("means-identity+blur", seed) for seed in (0, 1, 2)} == {"means-identity+blur/files"}
    assert found.images_of("both-identity+blur", 1) == "both-identity+blur/seed1", "one of the two is drawn"
    specs = found.targets("both-identity+blur", ["test"], "seed1")
    assert specs["0.30-0.70"]["seed"] == 1 and "seed" not in specs["mine"]
    assert "seed" not in found.specs(["0.30-0.70"], [])["0.30-0.70"], "tables say the same of all draws"


@pytest.mark.parametrize("overlay", sorted((ROOT / "workflow" / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_overlays_fit_the_schema(overlay, monkeypatch):
    from snakemake.utils import update_config

    monkeypatch.chdir(ROOT)
    config = deepcopy(DEFAULT)
    whole = overlay.with_name(f"{overlay.stem.partition('_')[0]}.yaml")
    for path in dict.fromkeys([whole, overlay]):
        update_config(config, yaml.safe_load(path.read_text()))
    try:
        study(config)
    except StudyError as error:
        if "no such file" not in str(error) and "does not exist" not in str(error):
            raise
        pytest.skip("the overlay names data that this machine does not have")


@pytest.mark.parametrize(("methods", "asked", "faults"), [
    (["balanced"], ["advised"], 1), (["batchnorm"], ["advised"], 0), (["balanced"], ["source"], 0),
])  # fmt: skip
def test_masks_as_advised_are_of_one_block(methods, asked, faults):
    block = {"name": "a", "sources": ["home"], "targets": ["away"], "methods": ["batchnorm"]}
    config = {
        "domains": {"home": {"path": "h"}, "away": {"path": "a"}},
        "methods": {"balanced": {}},
        "pairs": [block, block | {"name": "b", "methods": methods}],
        "segment": {"targets": ["away"], "methods": asked, "unknown": "expected"},
    }
    said = list(segment_faults(config))
    assert len(said) == faults and all("'a' and 'b' both take 'home' to 'away'" in line for line in said)
