"""Each remedy mends the condition that it is for, and what plain refreshing does remains where nothing is broken."""

from dataclasses import replace
from functools import partial
from itertools import count

import h5py
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from scripts.adapt import adapt
from shiftgain.adaptation import artefacts, remedies, statistics
from shiftgain.adaptation.remedies import Own, contrast, reference, refreshed, remedy, split_contrast, spread, stability
from shiftgain.files import store
from shiftgain.network import checkpoint
from shiftgain.network.inference import Inputs, predict
from shiftgain.network.normalisation import adapted
from shiftgain.network.tiles import tiles_of
from shiftgain.network.unet import UNet
from tests.conftest import MODEL, delete, discs

CPU = torch.device("cpu")
SIZE = 32
OPTIONS = [
    {"scope": scope, "weights": weights, "polarity": polarity}
    for scope in ("domain", "image", "shrunk")
    for weights in ("plain", "balanced")
    for polarity in ("kept", "turned")
]


@pytest.fixture(scope="module")
def trained():
    """A U-Net that finds bright discs on darker ground: IoU above 0.9 on such images."""
    torch.manual_seed(0)
    network = UNet(**MODEL).to(memory_format=torch.channels_last).train()
    images, masks = discs(64, SIZE, 0)
    x, y = torch.from_numpy(images).unsqueeze(1) / 255, torch.from_numpy(masks).float().unsqueeze(1)
    network.input_mean.fill_(x.mean())
    network.input_sd.fill_(x.std())
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(120):
        batch = slice(16 * (step % 4), 16 * (step % 4) + 16)
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(network(x[batch]), y[batch]).backward()
        optimiser.step()
    return network.requires_grad_(False).eval()


# Names of files in memory: those of domains that are gone may still be open.
NUMBERS = count()


class Domain:
    """Images in memory as the stages have them in files."""

    def __init__(self, images: np.ndarray, masks: np.ndarray):
        self.file = h5py.File(str(next(NUMBERS)), "w", driver="core", backing_store=False)
        self.split = self.file.create_group("adapt")
        store.append(self.split, images, masks)
        self.inputs = Inputs(self.split, CPU, MODEL["depth"])


def domain(n: int = 12, seed: int = 1, **means) -> Domain:
    return Domain(*discs(n, SIZE, seed, **means))


def grey(values: np.ndarray) -> np.ndarray:
    return np.round(values).clip(0, 255).astype(np.uint8)


def small_discs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs on a ground twice as wide as theirs: a quarter of the foreground share."""
    rng = np.random.default_rng(seed)
    images = np.round(255 * (0.3 + rng.normal(0, 0.05, (n, SIZE, SIZE))).clip(0, 1)).astype(np.uint8)
    masks = np.zeros_like(images)
    inner, inner_masks = discs(n, SIZE // 2, seed)
    images[:, : SIZE // 2, : SIZE // 2], masks[:, : SIZE // 2, : SIZE // 2] = inner, inner_masks
    return images, masks


def iou(network, target: Domain, state, own: Own | None) -> float:
    how = {} if own is None else {"adapt": lambda n, tiles: remedies.of_image(n, tiles, own), "at_most": 1}
    with adapted(network, state):
        pairs = [(p, t == 1) for p, t in predict(network, target.split, 0.5, CPU, **how)]
    return sum((p & t).sum() for p, t in pairs) / max(1, sum((p | t).sum() for p, t in pairs))


def masks_of(network, target: Domain, **options) -> np.ndarray:
    state, own = remedied(network, target, **options)
    how = {} if own is None else {"adapt": lambda n, tiles: remedies.of_image(n, tiles, own), "at_most": 1}
    with adapted(network, state):
        return np.concatenate([p for p, _ in predict(network, target.split, 0.5, CPU, **how)])


def source(network):
    return reference(network, domain(seed=7).inputs)


def remedied(network, target: Domain, **options):
    return remedy(remedies.Domain(network, target.inputs), source(network), **options)


def scored(network, target: Domain, **options) -> float:
    return iou(network, target, *remedied(network, target, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options.values()))
def test_a_positive_affine_change_of_the_target_changes_nothing(trained, options):
    images, masks = discs(6, SIZE, 3)
    darker = grey(images * 0.5 + 20)
    again = grey((darker.astype(float) - 20) / 0.5)
    first, second = (masks_of(trained, Domain(part, masks), **options) for part in (darker, again))
    assert (first != second).mean() < 0.002


def test_at_home_no_remedy_does_harm(trained):
    home = domain()
    kept = iou(trained, home, {}, None)
    assert kept > 0.9
    for options in OPTIONS:
        if options["polarity"] == "kept":
            assert scored(trained, home, **options) > kept - 0.02, options


def test_balanced_mends_a_shift_of_the_share(trained):
    target = Domain(*small_discs(12, 4))
    plain, balanced = (scored(trained, target, weights=weights) for weights in ("plain", "balanced"))
    assert balanced > 0.9 > plain + 0.1


@pytest.mark.parametrize(
    ("contrasts", "stabilities", "taken"),
    [
        ((-2.9, -3.0), (0.7, 0.7), True),
        ((-2.8, -3.0), (0.7, 0.7), False),
        ((2.8, 3.0), (0.76, 0.7), True),
        ((2.8, 3.0), (0.74, 0.7), False),
        ((2.0, 3.0), (1.0, 0.7), False),
        ((3.1, 3.0), (0.4, 0.7), True),
    ],
)
def test_a_fixed_point_is_taken_that_stands_out_as_much_or_nearly_and_is_surer(
    trained, monkeypatch, contrasts, stabilities, taken
):
    """Contrast and stability: of the fixed point, and without weights."""
    target = Domain(*small_discs(12, 4))
    plain = refreshed(trained, target.inputs)
    of = {id(plain.probabilities): 1}
    monkeypatch.setattr(remedies, "contrast", lambda _, found: contrasts[of.get(id(found), 0)])
    monkeypatch.setattr(remedies, "stability", lambda found: stabilities[of.get(id(found), 0)])
    found = refreshed(trained, target.inputs, 0.16, "balanced", plain=plain)
    assert (found is not plain) == taken


def test_balanced_with_the_share_of_the_source_is_plain(trained):
    tiles = list(domain().inputs)
    plain = refreshed(trained, tiles)
    share = remedies.mean_probability(plain.probabilities)
    balanced = refreshed(trained, tiles, share, "balanced")
    torch.testing.assert_close(balanced.state, plain.state, rtol=1e-3, atol=1e-4)


def test_images_without_objects_leave_balanced_where_it_was(trained):
    images, masks = discs(8, SIZE, 5)
    rng = np.random.default_rng(0)
    empty = grey(255 * (0.3 + rng.normal(0, 0.05, (24, SIZE, SIZE))))
    mixed = Domain(np.concatenate([images, empty]), np.concatenate([masks, np.zeros_like(empty)]))
    alone = Domain(images, masks)
    states = [remedied(trained, part, weights="balanced")[0] for part in (alone, mixed)]
    assert iou(trained, alone, states[1], None) > iou(trained, alone, states[0], None) - 0.05
    plain = remedied(trained, mixed)[0]
    assert iou(trained, alone, plain, None) < iou(trained, alone, states[1], None) - 0.05


def test_a_fixed_point_sought_on_some_images_first_is_that_of_all(trained, monkeypatch):
    """Of forty images ten are a sketch: fewer passes over all of them, and the same statistics."""
    target, share = Domain(*small_discs(40, 4)), source(trained).share
    monkeypatch.setattr(remedies, "SKETCH_PIXELS", 10 * SIZE * SIZE)
    sketched = remedies.Domain(trained, target.inputs)
    assert list(sketched._sketch().chosen[[0, 1, -1]]) == [0, 4, 39] and sketched._sketch().count == 10
    found = sketched.refreshed(share, "balanced")
    alone = refreshed(trained, target.inputs, share, "balanced")
    assert statistics.movement(alone.biased, found.biased) < 5 * statistics.SETTLED_MOVEMENT
    assert sketched.refreshed(share, "balanced") is found
    monkeypatch.setattr(remedies, "SKETCH_PIXELS", 21 * SIZE * SIZE)
    assert remedies.Domain(trained, target.inputs)._sketch() is None


def test_a_sketch_leaves_no_trace_of_the_order_of_the_images(trained, monkeypatch):
    """Images of unlike exposure: which of them are sketched depends on their order, where it ends does not."""
    images, masks = small_discs(40, 4)
    images = grey(images * np.random.default_rng(0).uniform(0.3, 1, 40)[:, None, None])
    monkeypatch.setattr(remedies, "SKETCH_PIXELS", 10 * SIZE * SIZE)
    share, found = source(trained).share, []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(40)
        target = Domain(images[order], masks[order])
        found.append(remedies.Domain(trained, target.inputs).refreshed(share, "balanced").biased)
    assert max(statistics.movement(found[0], other) for other in found[1:]) < 5 * statistics.SETTLED_MOVEMENT


def test_turned_on_a_negative_is_plain_on_the_original(trained):
    images, masks = discs(6, SIZE, 3)
    plain = masks_of(trained, Domain(images, masks))
    turned = masks_of(trained, Domain(255 - images, masks), polarity="turned")
    assert (plain != turned).mean() < 0.001
    assert scored(trained, Domain(255 - images, masks)) < 0.1


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 1.0])
def test_so_it_is_where_an_image_has_part_of_its_own_statistics(trained, part):
    images, masks = discs(8, SIZE, 6)
    images = grey(images * np.linspace(0.4, 1, 8)[:, None, None])
    found = []
    for polarity, shown in (("kept", images), ("turned", 255 - images)):
        target = Domain(shown, masks)
        state, own = remedied(trained, target, scope="image", polarity=polarity)
        how = {"adapt": partial(remedies.of_image, own=replace(own, part=part)), "at_most": 1}
        with adapted(trained, state):
            found.append(np.concatenate([mask for mask, _ in predict(trained, target.split, 0.5, CPU, **how)]))
    assert (found[0] != found[1]).mean() < 0.001 and found[0].any()


def test_images_of_unlike_exposure_need_statistics_of_their_own(trained):
    images, masks = discs(8, SIZE, 6)
    gains = np.array([0.25, 1, 0.3, 0.9, 0.35, 1, 0.25, 0.8])[:, None, None]
    target = Domain(grey(images * gains), masks)
    assert scored(trained, target, scope="image") > 0.9 > scored(trained, target) + 0.1
    assert scored(trained, target, scope="shrunk") > scored(trained, target) + 0.1


def test_an_image_without_objects_gets_none(trained):
    """Statistics of its own would make some of its noise; such an image is left to those of the domain."""
    images, masks = discs(8, SIZE, 6)
    empty = grey(255 * (0.3 + np.random.default_rng(0).normal(0, 0.05, (1, SIZE, SIZE))))
    target = Domain(np.concatenate([images, empty]), np.concatenate([masks, np.zeros_like(empty)]))
    for weights in ("plain", "balanced"):
        found = masks_of(trained, target, scope="image", weights=weights)
        assert found[-1].mean() < 0.01
        assert all(part.any() for part in found[:-1])
    tiles = tiles_of([torch.from_numpy(empty).unsqueeze(1) / 255], MODEL["depth"])
    assert remedies.mean_probability(refreshed(trained, tiles).probabilities) > 0.1


def test_an_image_whose_objects_are_in_doubt_gets_none(trained):
    """Where the source's own contrast is low, grain stands out enough; what is found of it is in doubt."""
    home = source(trained)
    own = Own(1.0, home.image_share, contrast=1.0, stability=home.stability, weights="plain", polarity="kept")
    grain = gaussian_filter(np.random.default_rng(0).normal(size=(SIZE, SIZE)), 1)
    images = np.stack([grey(255 * (0.3 + 0.1 * grain / grain.std())), discs(1, SIZE, 6)[0][0]])
    empty, full = (tiles_of([torch.from_numpy(image[None, None]) / 255], MODEL["depth"]) for image in images)
    assert remedies.of_image(trained, empty, own) == {}
    assert remedies.of_image(trained, full, own) and remedies.of_image(trained, empty, replace(own, stability=0.0))


def test_objects_in_doubt_are_taken_where_the_statistics_of_the_domain_find_no_fewer(trained):
    """Where the domain's statistics call all of an image objects, they are no refuge from what is in doubt."""
    home, grain = source(trained), gaussian_filter(np.random.default_rng(0).normal(size=(1, SIZE, SIZE)), 1)
    own = Own(1.0, home.image_share, contrast=1.0, stability=home.stability, weights="plain", polarity="kept")
    tiles = tiles_of([torch.from_numpy(grey(255 * (0.3 + 0.1 * grain / grain.std()))).unsqueeze(1) / 255], 2)
    bright = refreshed(trained, tiles_of([torch.full((1, 1, SIZE, SIZE), 0.1)], 2)).state
    with adapted(trained, bright):
        overrun = remedies.of_image(trained, tiles, own)
    assert remedies.of_image(trained, tiles, own) == {} != overrun
    torch.testing.assert_close(overrun, refreshed(trained, tiles, home.image_share, "plain").state)
    faint = replace(own, contrast=20.0)
    with adapted(trained, bright):
        assert remedies.of_image(trained, tiles, faint) == {}, "what does not stand out is none of its objects"


def test_shrunk_goes_from_domain_to_image(trained):
    even = domain()
    images, masks = discs(8, SIZE, 6)
    uneven = Domain(grey(images * np.linspace(0.05, 1, 8)[:, None, None]), masks)
    parts = [remedied(trained, part, scope="shrunk")[1].part for part in (even, uneven)]
    assert parts[0] < 0.5 < 0.9 < parts[1] <= 1


def test_the_polarity_is_told_from_the_images_where_both_signs_say_so(trained):
    images, masks = discs(8, SIZE, 6)
    home, flipped = (remedies.Domain(trained, Domain(part, masks).inputs) for part in (images, 255 - images))
    known = source(trained)
    assert remedies.told_polarity(home, known) == "kept" and remedies.told_polarity(flipped, known) == "turned"
    found = [refreshed(trained, tiles).probabilities for tiles in flipped.images.each()]
    unlike = replace(known, contrast=-known.contrast, image_share=np.mean([*map(remedies.mean_probability, found)]))
    assert remedies.told_polarity(flipped, unlike) == "kept", "stability alone"
    unsure = np.median([*map(stability, found)])
    assert unsure < known.stability - 0.05
    assert remedies.told_polarity(flipped, replace(known, stability=unsure)) == "kept", "grey levels alone"
    assert scored(trained, Domain(255 - images, masks), polarity="told") > 0.9


@pytest.mark.parametrize(("n_flipped", "told"), [(3, "kept"), (4, "kept"), (5, "turned")])
def test_every_image_has_a_vote_on_the_polarity(trained, n_flipped, told):
    images, masks = discs(8, SIZE, 6)
    images = np.where(np.arange(8)[:, None, None] < n_flipped, 255 - images, images)
    target, known = remedies.Domain(trained, Domain(images, masks).inputs), source(trained)
    assert remedies.told_polarity(target, known) == told
    state, _ = remedy(target, known, polarity="told")
    torch.testing.assert_close(state, target.refreshed(polarity=told).state)
    assert target.told == {known: told}


def test_a_target_is_compared_with_the_source_refreshed_as_a_domain_is(trained):
    known, images = source(trained), domain(seed=7).inputs
    assert known.share == remedies.mean_probability(remedies.Domain(trained, images).refreshed().probabilities)
    alone = [refreshed(trained, tiles).probabilities for tiles in images.each()]
    assert known.image_share == pytest.approx(np.mean([*map(remedies.mean_probability, alone)])) != known.share
    assert known.stability == np.median([*map(stability, alone)]) < 1


def test_likeness_by_hand(trained):
    (tiles,) = Domain(255 - discs(1, SIZE, 6)[0], discs(1, SIZE, 6)[1]).inputs.each()
    known = replace(source(trained), image_share=0.3, stability=0.5)
    found = refreshed(trained, tiles, polarity="turned").probabilities
    p = torch.cat([part.flatten() for part in found]).double()
    share, sure = float(p.mean()), float((p > 0.9).sum() / (p > 0.1).sum())
    stands_out = -contrast(tiles, found)
    expected = np.log(stands_out) - abs(np.log(share / (1 - share)) - np.log(0.3 / 0.7)), -abs(np.log(sure / 0.5))
    assert stands_out > 0
    assert remedies.likeness(trained, tiles, known, "turned") == pytest.approx(expected, rel=1e-3)


def test_a_prior_goes_from_target_to_source(trained):
    target = domain(foreground=0.9, background=0.5)
    own = {name: tensor for name, tensor in trained.state_dict().items() if "running" in name or "input" in name}
    own = {name: tensor for name, tensor in own.items() if "tracked" not in name}
    far, near = (remedied(trained, target, prior=prior)[0] for prior in (1e9, 1e-9))
    torch.testing.assert_close({name: far[name] for name in own}, own, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(near, remedied(trained, target)[0], rtol=1e-4, atol=1e-5)


def test_a_prior_of_images_stands_behind_an_image(trained):
    parts = [remedied(trained, domain(4), scope="image", prior=n)[1].part for n in (0, 3)]
    assert parts == [1, 1 / 4]


def test_an_image_is_compared_with_images_of_the_source_and_a_domain_with_all_of_them(trained):
    target, home = (
        domain(4),
        remedies.Reference(share=0.2, image_share=0.4, contrast=3, stability=0.9, spread=0.1),
    )
    state, own = remedy(remedies.Domain(trained, target.inputs), home, scope="image", weights="balanced")
    assert own.share == 0.4
    torch.testing.assert_close(state, refreshed(trained, target.inputs, 0.2, "balanced").state)


def test_contrast_by_hand():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 16:] = 1
    image += 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    (tile,) = tiles_of([image], 0)
    half = torch.zeros(1, 32, 32)
    half[..., 16:] = 1
    smooth = functional.avg_pool2d(image, 5, 1, 2, count_include_pad=False)[0, 0]
    left, right = smooth[:, :16], smooth[:, 16:]
    within = (left.var(correction=0) / 2 + right.var(correction=0) / 2).sqrt()
    assert contrast([tile], [half]) == pytest.approx(((right.mean() - left.mean()) / within).item(), rel=1e-4)
    assert contrast([tile], [1 - half]) == pytest.approx(-contrast([tile], [half]))
    assert contrast([tile], [0 * half]) == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_contrast_of_the_parts_of_a_gaussian(share):
    values = np.sort(np.random.default_rng(0).standard_normal(200_000))
    low, high = np.split(values, [round(len(values) * (1 - share))])
    within = ((1 - share) * low.var() + share * high.var()) ** 0.5
    assert split_contrast(share) == pytest.approx((high.mean() - low.mean()) / within, rel=0.01)


def test_stability_by_hand():
    parts = [torch.tensor([[[0.95, 0.92, 0.7, 0.5, 0.05]]]), torch.tensor([[[0.2, 0.99]]])]
    assert stability(parts) == 3 / 6, "over all parts of an image"
    assert stability([torch.full((1, 2, 2), 0.05)]) == 0, "nothing may be foreground"


def test_spread_by_hand():
    images = np.stack(
        [np.tile(np.array([mean - sd, mean + sd], np.uint8), (8, 4)) for mean, sd in ((60, 10), (100, 40))]
    )
    means, deviations = np.array([60, 100]), np.array([10, 40])
    expected = means.var() / (deviations**2).mean() + np.log(deviations).var()
    assert spread(Domain(images, np.zeros_like(images)).inputs) == pytest.approx(expected, rel=1e-5)


def test_stage_keeps_what_is_to_be_done_for_each_image(tmp_path, trained, domain_path, targets_path):
    """And reads neither masks nor the test split, of the source or of the target."""
    checkpoint.save(tmp_path / "model.h5", trained, MODEL, {})
    methods = {"image_balanced": {"function": "remedy", "options": {"scope": "image", "weights": "balanced"}}}
    paths = [str(path) for path in (tmp_path / "model.h5", domain_path, targets_path, tmp_path / "adapted.h5")]
    delete(domain_path, "validation", "adapt", "test", "train/masks")
    for target in ("discs", "discs@brightness=0.2"):
        delete(targets_path, f"{target}/adapt/masks", f"{target}/test")
    adapt(*paths, methods, 0, "cpu")
    with store.read(tmp_path / "adapted.h5") as adapted_file:
        group = adapted_file["discs/image_balanced"]
        state, how = artefacts.kept(group, trained)
        assert state.keys() >= {"input_mean", "encoder1.norm1.running_mean"}
        assert how["at_most"] == 1
        assert how["adapt"].keywords["own"].weights == "balanced"
