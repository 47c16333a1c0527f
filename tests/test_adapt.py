"""BN adaptation: what it may change, and that it is what the question defines."""

import math
import re

import pytest
import torch

from scripts.adapt import adapt
from shiftgain.adaptation import artefacts, batchnorm, methods, remedies
from shiftgain.adaptation.remedies import Reference
from shiftgain.files import store
from shiftgain.network import checkpoint, normalisation
from shiftgain.network.inference import Inputs
from shiftgain.network.tiles import tiles_of
from tests.conftest import METHODS, MODEL, delete

BRIGHT = [torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(k)) + 2 for k in range(3)]
TILES = tiles_of(BRIGHT, 2)

# method -> what it may change. Adding a method adds a line.
MAY_CHANGE = {
    "batchnorm": r".*\.(running_mean|running_var)",
    "mean_only": r".*\.running_mean",
    "variance_only": r".*\.running_var",
    "encoder_only": r"(encoder\d|bottleneck)\..*\.(running_mean|running_var)",
    "decoder_only": r"decoder\d\..*\.(running_mean|running_var)",
    "prior": r".*\.(running_mean|running_var)",
    "alpha_bn": r".*\.(running_mean|running_var)",
    # The last layers of so narrow a network have too few channels for their share of one.
    "hybrid_ttn": r"(?!decoder1).*\.(running_mean|running_var)",
    "standardise": r"input_mean|input_sd",
    "tent": r".*\.(running_mean|running_var)|.*norm\d\.(weight|bias)",
    "remedy": r".*\.(running_mean|running_var)|input_mean|input_sd",
}
SOURCE = Reference(share=0.4, image_share=0.4, contrast=3, stability=0.9, spread=0.1)


def adapted_state(method, network, tiles):
    """What ``method`` would change of ``network``."""
    if method in methods.COMPARING:
        return methods.METHODS[method](remedies.Domain(network, tiles), SOURCE)[0]
    return methods.METHODS[method](network, tiles)


class Images(list):
    """Tiles with the number of their images, as :class:`Inputs` has it."""

    count = sum(map(len, BRIGHT))


def test_every_method_is_tested():
    assert MAY_CHANGE.keys() | {"intent"} == methods.METHODS.keys()


@pytest.mark.parametrize("method", MAY_CHANGE)
def test_only_named_tensors_change(method, network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = adapted_state(method, network, Images(TILES))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    allowed = {name for name in before if re.fullmatch(MAY_CHANGE[method], name)}
    assert state.keys() == allowed
    with normalisation.adapted(network, state):
        after = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == allowed
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_first_layer_holds_the_moments_of_the_target(network):
    state = batchnorm.batchnorm(network, TILES)
    outputs = network.encoder1.conv1(torch.cat(BRIGHT))
    means, variances = outputs.mean((0, 2, 3)), outputs.var((0, 2, 3))
    torch.testing.assert_close(state["encoder1.norm1.running_mean"], means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["encoder1.norm1.running_var"], variances, rtol=1e-4, atol=1e-6)


def test_it_is_what_pytorch_does_with_everything_in_one_batch(network):
    """In training mode at momentum 1, which is momentum None after one batch."""
    state = batchnorm.batchnorm(network, tiles_of([torch.cat(BRIGHT)], 2))
    in_batches = batchnorm.batchnorm(network, TILES)
    for norm in normalisation.norm_layers(network).values():
        norm.momentum = 1.0
        norm.train()
    network(torch.cat(BRIGHT))
    torch.testing.assert_close(state, normalisation.statistics(network), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(in_batches, state, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "kinds", "layers"),
    [
        ("batchnorm", normalisation.KINDS, r".*"),
        ("mean_only", ["running_mean"], r".*"),
        ("variance_only", ["running_var"], r".*"),
        ("encoder_only", normalisation.KINDS, r"encoder|bottleneck"),
        ("decoder_only", normalisation.KINDS, r"decoder"),
    ],
)
def test_each_layer_holds_the_moments_that_it_receives_once_adapted(network, method, kinds, layers):
    """Of one batch: what a layer keeps is what reaches it through the layers before, adapted as the method says."""
    images = torch.rand(16, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + 2
    state, received = methods.METHODS[method](network, tiles_of([images], 2)), {}
    for name, norm in normalisation.norm_layers(network).items():
        norm.register_forward_pre_hook(lambda _, taken, name=name: received.update({name: taken[0]}))
    with normalisation.adapted(network, state):
        network(images)
    moments = {"running_mean": torch.mean, "running_var": torch.var}
    asked = {f"{name}.{kind}" for name in received for kind in kinds if re.match(layers, name)}
    assert state.keys() == asked
    for key in asked:
        name, _, kind = key.rpartition(".")
        # The batch is normalised by its biased variance, one part in a thousand below the one that is kept.
        torch.testing.assert_close(moments[kind](received[name], (0, 2, 3)), state[key], rtol=0.01, atol=1e-3)


def test_a_prior_goes_from_target_to_source(network):
    own, target = normalisation.statistics(network), batchnorm.batchnorm(network, TILES)
    torch.testing.assert_close(batchnorm.prior(network, TILES, weight=0), target)
    torch.testing.assert_close(batchnorm.prior(network, TILES, weight=1e9), own, rtol=1e-4, atol=1e-5)
    name = "encoder1.norm1.running_mean"
    half = batchnorm.prior(network, TILES, weight=sum(len(images) for images in BRIGHT))
    torch.testing.assert_close(half[name], (own[name] + target[name]) / 2)


def test_standardising_undoes_an_affine_change(network):
    moved = [0.5 * images + 0.3 for images in BRIGHT]
    with normalisation.adapted(network, batchnorm.standardise(network, TILES)):
        wanted = [network(images) for images in BRIGHT]
    with normalisation.adapted(network, batchnorm.standardise(network, tiles_of(moved, 2))):
        torch.testing.assert_close([network(images) for images in moved], wanted, rtol=1e-3, atol=1e-4)


def test_entropy_by_hand():
    logits = torch.tensor([0.0, 2.0, -2.0])
    p = 1 / (1 + math.exp(-2.0))
    expected = (math.log(2) - 2 * (p * math.log(p) + (1 - p) * math.log(1 - p))) / 3
    assert batchnorm.entropy(logits).item() == pytest.approx(expected, rel=1e-6)


def test_tent_makes_predictions_surer_than_batchnorm(network):
    def unsure(state):
        with normalisation.adapted(network, state):
            return sum(batchnorm.entropy(network(images)).item() for images in BRIGHT)

    plain = batchnorm.batchnorm(network, TILES)
    assert unsure(batchnorm.tent(network, TILES, steps=30, learning_rate=0.02)) < 0.9 * unsure(plain)
    still = batchnorm.tent(network, TILES, steps=1, learning_rate=1e-12)
    torch.testing.assert_close({name: still[name] for name in plain}, plain, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        again = batchnorm.tent(
            network, tiles_of([images.clone() for images in BRIGHT], 2), steps=1, learning_rate=1e-12
        )
    torch.testing.assert_close(again, still)


def test_the_statistics_of_tent_are_those_of_the_weights_that_it_moved(network):
    state = batchnorm.tent(network, TILES, steps=3, learning_rate=0.05)
    moved = {name: tensor for name, tensor in state.items() if not name.endswith(normalisation.KINDS)}
    with normalisation.adapted(network, moved):
        expected = batchnorm.batchnorm(network, TILES)
    torch.testing.assert_close({name: state[name] for name in expected}, expected)


def test_source_statistics_are_dropped(network):
    state = batchnorm.batchnorm(network, TILES)
    for norm in normalisation.norm_layers(network).values():
        norm.running_mean.fill_(123.0)
    torch.testing.assert_close(batchnorm.batchnorm(network, TILES), state)


def test_order_of_batches_does_not_matter(network):
    torch.testing.assert_close(
        batchnorm.batchnorm(network, TILES), batchnorm.batchnorm(network, TILES[::-1]), rtol=1e-4, atol=1e-5
    )


def test_positive_affine_change_of_the_input_is_undone(network):
    """Hypothesis H1: exactly for a factor; for an added value up to what the zero padding lets in from the border."""
    images = [torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    own_state = batchnorm.batchnorm(network, tiles_of(images, 2))

    def outputs(batches, state):
        with normalisation.adapted(network, state):
            return torch.cat([network(batch)[..., 32:64, 32:64] for batch in batches])

    def error_left(moved):
        own, unadapted = outputs(images, own_state), outputs(moved, own_state)
        adapted = outputs(moved, batchnorm.batchnorm(network, tiles_of(moved, 2)))
        return ((adapted - own).abs().mean() / (unadapted - own).abs().mean()).item()

    assert error_left([0.5 * batch for batch in images]) < 0.02
    assert error_left([0.5 * batch + 0.3 for batch in images]) < 0.3
    assert error_left([1 - batch for batch in images]) > 0.5


def test_stage_writes_statistics_only(tmp_path, domain_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    adapt(
        str(tmp_path / "model.h5"), str(domain_path), str(targets_path), str(tmp_path / "adapted.h5"), METHODS, 0, "cpu"
    )
    names = set(normalisation.statistics(network))
    with store.read(tmp_path / "adapted.h5") as adapted:
        assert set(adapted) == {"discs", "discs@brightness=0.2"}
        assert all(set(group["batchnorm"]) == names for group in adapted.values())


def test_a_method_may_see_few_images(tmp_path, domain_path, targets_path, network):
    """The images drawn differ between seeds, not between runs."""
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    methods = METHODS | {f"images_{n}": METHODS["batchnorm"] | {"images": n} for n in (1, 8)}

    def run(seed):
        adapt(
            str(tmp_path / "model.h5"),
            str(domain_path),
            str(targets_path),
            str(tmp_path / "a.h5"),
            methods,
            seed,
            "cpu",
        )
        with store.read(tmp_path / "a.h5") as adapted:
            return {method: checkpoint.get_tensors(group) for method, group in adapted["discs"].items()}

    one, again, other = run(1), run(1), run(2)
    name = "encoder1.norm1.running_mean"
    assert torch.equal(one["images_8"][name], one["batchnorm"][name])
    assert torch.equal(one["images_1"][name], again["images_1"][name])
    assert not torch.equal(one["images_1"][name], other["images_1"][name])


def test_neither_masks_nor_the_test_split_are_read(tmp_path, domain_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    adapt(str(tmp_path / "model.h5"), str(domain_path), str(targets_path), str(tmp_path / "with.h5"), METHODS, 0, "cpu")
    for target in ("discs", "discs@brightness=0.2"):
        delete(targets_path, f"{target}/adapt/masks", f"{target}/test")
    adapt(
        str(tmp_path / "model.h5"), str(domain_path), str(targets_path), str(tmp_path / "without.h5"), METHODS, 0, "cpu"
    )
    with store.read(tmp_path / "with.h5") as one, store.read(tmp_path / "without.h5") as other:
        for target in one:
            torch.testing.assert_close(
                checkpoint.get_tensors(one[target]["batchnorm"]),
                checkpoint.get_tensors(other[target]["batchnorm"]),
                rtol=0,
                atol=0,
            )


def test_a_source_is_known_by_training_images_that_the_seed_draws(domain_path, targets_path, network, monkeypatch):
    monkeypatch.setattr(artefacts, "REFERENCE_IMAGES", 3)
    taken, reference = [], remedies.reference
    monkeypatch.setattr(
        remedies, "reference", lambda network, images: taken.append(images) or reference(network, images)
    )
    methods = {"balanced": {"function": "remedy", "options": {"weights": "balanced"}}}
    with store.read(domain_path) as source, store.read(targets_path) as targets:
        for seed in (0, 1):
            artefacts.adapter(network, source, seed, torch.device("cpu"))(targets["discs/adapt"], methods)
            drawn = Inputs(source["train"], torch.device("cpu"), network.depth).draw(3, seed)
            assert taken[-1].split == source["train"] and list(taken[-1].chosen) == list(drawn.chosen)
    assert list(taken[0].chosen) != list(taken[1].chosen)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_agree(network):
    on_cpu = batchnorm.batchnorm(network, TILES)
    on_gpu = batchnorm.batchnorm(network.cuda(), tiles_of([images.cuda() for images in BRIGHT], 2))
    moved = {name: tensor.cpu() for name, tensor in on_gpu.items()}
    torch.testing.assert_close(moved, on_cpu, rtol=1e-2, atol=1e-3)
