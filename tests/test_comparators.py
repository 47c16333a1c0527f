"""The published methods beside the remedies: their formulas by hand, and a mixture of predictions in the stages."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from scripts.adapt import adapt
from scripts.evaluate import evaluate
from shiftgain.adaptation import batchnorm
from shiftgain.adaptation.comparators import (
    alpha_bn,
    balanced_entropy,
    hybrid_ttn,
    intent,
    least_moved,
    weights_by_entropy,
)
from shiftgain.files import store
from shiftgain.network import checkpoint
from shiftgain.network.inference import predict
from shiftgain.network.normalisation import KINDS, adapted, norm_layers, statistics
from shiftgain.network.tiles import tiles_of
from tests.conftest import METHODS, MODEL, delete, discs

CPU = torch.device("cpu")
IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) + 1
TILES = tiles_of([IMAGES], 2)
INTENT = {"function": "intent", "options": {}, "at_test": 1}


def test_alpha_is_the_part_of_the_source(network):
    own = {name: tensor.clone() for name, tensor in statistics(network).items()}
    torch.testing.assert_close(alpha_bn(network, TILES, alpha=0), batchnorm.batchnorm(network, TILES))
    torch.testing.assert_close(alpha_bn(network, TILES, alpha=1), own)
    (first, *_), target = norm_layers(network), batchnorm.batchnorm(network, TILES)
    for kind in KINDS:
        name = f"{first}.{kind}"
        quarter = alpha_bn(network, TILES, alpha=0.25)[name]
        torch.testing.assert_close(quarter, 0.25 * own[name] + 0.75 * target[name])


def test_channels_that_move_least_by_hand():
    """Squared distances 1, 4, 1 + 9 and 0 + 1: of deviations, not of variances."""
    source = torch.tensor([0.0, 0.0, 1.0, 3.0]), torch.tensor([4.0, 1.0, 1.0, 100.0])
    target = torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor([4.0, 1.0, 16.0, 121.0])
    mean, variance = least_moved(2)(source, target)
    assert mean.tolist() == [1, 0, 1, 3] and variance.tolist() == [4, 1, 1, 121]


def test_hybrid_refreshes_all_of_the_first_layer_none_of_the_last_and_a_falling_part_between(network):
    own, state = statistics(network), hybrid_ttn(network, TILES)
    parts = []
    for name in norm_layers(network):
        mean, variance = (f"{name}.{kind}" for kind in KINDS)
        moved = state.get(mean, own[mean]) != own[mean]
        assert torch.equal(moved, state.get(variance, own[variance]) != own[variance])
        parts.append(int(moved.sum()))
    widths = [norm.num_features for norm in norm_layers(network).values()]
    assert widths == [4, 4, 8, 8, 16, 16, 8, 8, 4, 4]
    assert parts == [4, 3, 6, 5, 8, 7, 2, 1, 0, 0]


def test_a_layer_of_hybrid_holds_what_it_receives_through_the_layers_before(network):
    state, received = hybrid_ttn(network, TILES), {}
    for name, norm in norm_layers(network).items():
        norm.register_forward_pre_hook(lambda _, taken, name=name: received.update({name: taken[0]}))
    with adapted(network, state):
        network(IMAGES)
    own = statistics(network)
    for name in ("encoder2.norm2", "bottleneck.norm1"):
        key = f"{name}.running_mean"
        moved = state[key] != own[key]
        torch.testing.assert_close(received[name].mean((0, 2, 3))[moved], state[key][moved], rtol=0.01, atol=1e-3)


def test_balanced_entropy_by_hand(network):
    """Both classes count alike, however few their pixels; one that is empty does not count."""
    with torch.inference_mode():
        logits = network(IMAGES).flatten()
    p = torch.sigmoid(logits.double())
    entropy = -p * p.log() - (1 - p) * (1 - p).log()
    found = p >= 0.5
    assert 0.02 < found.double().mean() < 0.98
    expected = (entropy[found].mean() + entropy[~found].mean()) / 2
    assert balanced_entropy(network, TILES, {}) == pytest.approx(expected.item(), rel=1e-5)
    nothing = {"head.bias": network.head.bias - 100}
    assert balanced_entropy(network, TILES, nothing) == pytest.approx(0, abs=1e-6)


def test_weights_by_hand():
    e = np.exp([1, 0, 0.75])
    assert weights_by_entropy([0.2, 0.6, 0.3]) == pytest.approx(list(e / e.sum()))
    assert weights_by_entropy([0.4, 0.4]) == [0.5, 0.5]


def test_intent_goes_from_source_to_target(network):
    own = {name: tensor.clone() for name, tensor in statistics(network).items()}
    target = batchnorm.batchnorm(network, TILES)
    weights, states = zip(*intent(network, TILES, steps=4), strict=True)
    assert sum(weights) == pytest.approx(1) and len(states) == 5
    torch.testing.assert_close(states[0], own)
    torch.testing.assert_close(states[4], target)
    torch.testing.assert_close(states[1], {name: 0.75 * own[name] + 0.25 * target[name] for name in own})
    assert weights == pytest.approx(weights_by_entropy([balanced_entropy(network, TILES, state) for state in states]))
    assert all(torch.equal(own[name], tensor) for name, tensor in statistics(network).items())


def test_predictions_are_averaged_not_statistics(network):
    """Of two states of the head alone, whose mean state would say something else."""
    images = discs(3, 16, 0)[0]
    mixture = [(0.3, {"head.bias": network.head.bias - 2}), (0.7, {"head.bias": network.head.bias + 1})]
    with h5py.File("mixture", "w", driver="core", backing_store=False) as file:
        store.append(file.create_group("test"), images, None)
        ((predicted, _),) = predict(network, file["test"], 0.5, CPU, lambda *_: mixture)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).unsqueeze(1) / 255)[:, 0]
    expected = 0.3 * torch.sigmoid(logits - 2) + 0.7 * torch.sigmoid(logits + 1) > 0.5
    assert np.array_equal(predicted, expected.numpy())
    assert not torch.equal(expected, logits + 0.1 > 0)


def test_the_stages_take_each_test_image_by_itself_and_no_other(tmp_path, domain_path, targets_path, network):
    checkpoint.save(tmp_path / "model.h5", network, MODEL, {})
    delete(targets_path, *(f"{target}/adapt/masks" for target in ("discs", "discs@brightness=0.2")))
    paths = [str(tmp_path / name) for name in ("model.h5", "discs.h5", "targets.h5", "adapted.h5")]
    adapt(*paths, METHODS | {"intent": INTENT}, 0, "cpu")
    evaluate(
        *(str(tmp_path / name) for name in ("model.h5", "targets.h5", "adapted.h5", "scores.csv", "masks.h5")),
        source="dark", seed=3, threshold=0.5, examples=3, device="cpu",
    )  # fmt: skip
    assert list(pd.read_csv(tmp_path / "scores.csv")["method"]) == ["source", "batchnorm", "intent"] * 2
    with store.read(targets_path) as targets, store.read(tmp_path / "masks.h5") as masks:
        images = targets["discs/test/images"][:3]
        for image, mask in zip(images, masks["discs/intent"][...], strict=True):
            batch = torch.from_numpy(image)[None, None] / 255
            mixture = intent(network, tiles_of([batch], 2))
            p = torch.zeros(16, 16)
            for weight, state in mixture:
                with adapted(network, state), torch.inference_mode():
                    p += weight * torch.sigmoid(network(batch)[0, 0])
            assert np.array_equal(mask, (p > 0.5).numpy())
