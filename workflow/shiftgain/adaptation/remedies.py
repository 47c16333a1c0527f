"""Refreshed statistics under the conditions that plain refreshing needs, each mended without labels or training.

One channel of an image is m + y D + s e, with y = 1 in the share pi of its pixels that are foreground. Refreshing takes
the mean m + pi D and the variance s^2 + pi (1 - pi) D^2 from the target, and the source's decision carries over if the
target is one domain, keeps the sign of D, keeps pi, and keeps D / s. Where one of the first three is not so, statistics
of something else make it so. The input's standardisation is the first of the layers, so that a positive affine change
of the target changes nothing.

- ``scope``: the whole ``domain``, each ``image``, or ``shrunk`` from the image's towards the domain's, by that part
  of the spread between images which the source's images have as well;
- ``weights``: ``plain``, or ``balanced``, positions weighted so that foreground and background, by the network's own
  prediction, have their shares in the source: a fixed point of prediction and statistics;
- ``polarity``: ``kept``, or ``turned``, the network sees negatives, or ``told``, turned where by the vote of its images
  the target then looks more like the source (:func:`told_polarity`);
- ``prior``: a number of images that stand behind those seen: the source's statistics behind a domain's, the domain's
  behind an image's (Schneider et al. 2020, arXiv:2006.16971, equation 1).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import copysign, log
from statistics import NormalDist, median

import torch
from torch import Tensor
from torch.nn import functional

from shiftgain.adaptation.statistics import (
    INPUT,
    SETTLED_MOVEMENT,
    Gathered,
    Mix,
    Moments,
    gather,
    movement,
    settle,
    target_alone,
)
from shiftgain.network import inference
from shiftgain.network.inference import Inputs, input_moments
from shiftgain.network.normalisation import State, norm_layers
from shiftgain.network.tiles import Tile
from shiftgain.network.unet import UNet

# A share of foreground is taken to be no nearer to 0 or 1: below, weights would be those of a few uncertain pixels.
SMALLEST_SHARE = 0.005
# Passes in which prediction and weights find their fixed point where all images pass together; most settle in 7 to 9.
BALANCING_PASSES = 12
# Grey levels are averaged over squares of this side, px, before contrast is measured: single pixels are mostly noise.
WINDOW = 5
# Of images of one grey level each: they have no contrast and no spread.
SMALLEST_VARIANCE = 1e-12
SMALLEST_SPREAD = 1e-12
# Where polarities are compared by logarithms: contrast that is none, or of the wrong sign, and stability that is none.
NO_CONTRAST = 1e-3
NO_STABILITY = 1e-2
# Part of the contrast of a prediction by which balancing may lower it: right fixed points raise it, or leave it. Of
# objects bright and dim they find the dim ones as well, which lowers it, by no more than the second part, and makes
# them surer, their stability larger by more than this.
LARGEST_LOSS, LARGEST_LOSS_OF_SURER = 0.05, 0.3
CLEARLY_SURER = 0.05
# Part of the source's own contrast that an image must show to be given statistics of its own.
SMALLEST_CONTRAST = 0.5
# A foreground probability this near to 0 or 1 is sure.
DOUBT = 0.1
# Part of the stability usual in the source that an image must show as well. Images whose objects were painted out show
# less as a rule, those with objects more; a higher part would leave dim images without.
SMALLEST_STABILITY = 0.8

# The fixed point of a domain is sought on so many pixels first, of no fewer images than these, and then on all.
SKETCH_PIXELS = 2**20
SKETCH_IMAGES = 8
# Passes that follow at most where all images pass together, so that nothing is left of which images were sketched: of
# unlike exposure they are far from the rest. In tiles, a layer settles after those before it, whatever the start.
SKETCHED_PASSES = 16

Images = Iterable[Tile]


@dataclass(frozen=True)
class Reference:
    """What refreshing says of the source's own images, without their masks: what a target is compared with.

    ``share``: mean foreground probability of the images refreshed together, as a domain is; ``image_share``: mean
    foreground probability of the images refreshed one by one, and ``contrast``, ``stability``: medians of
    :func:`contrast` and :func:`stability` over images refreshed one by one; ``spread``: :func:`spread`.
    """

    share: float
    image_share: float
    contrast: float
    stability: float
    spread: float


@dataclass(frozen=True)
class Own:
    """How an image gets statistics of its own: ``part`` of them are, the rest are the domain's.

    ``share``, ``contrast`` and ``stability``: of the :class:`Reference`, the share its ``image_share``; ``weights`` and
    ``polarity``: of the remedy.
    """

    part: float
    share: float
    contrast: float
    stability: float
    weights: str
    polarity: str


def reference(network: UNet, images: Inputs) -> Reference:
    """The :class:`Reference` of a source by ``images`` of its own."""
    alone = [refreshed(network, tiles).probabilities for tiles in images.each()]
    contrasts = [contrast(tiles, found) for tiles, found in zip(images.each(), alone, strict=True)]
    return Reference(
        share=mean_probability(Domain(network, images).refreshed().probabilities),
        image_share=mean_probability([p for found in alone for p in found]),
        contrast=median(contrasts),
        stability=median(map(stability, alone)),
        spread=spread(images),
    )


@dataclass(frozen=True)
class Domain:
    """Images of a target under refreshed statistics of ``network``; remedies share them, and each is gathered once.

    So is ``told``, what :func:`told_polarity` says beside a source.
    """

    network: UNet
    images: Inputs
    gathered: dict[tuple, Gathered] = field(default_factory=dict)
    told: dict[Reference, str] = field(default_factory=dict)

    def refreshed(
        self, share: float = 0.5, weights: str = "plain", polarity: str = "kept", prior: float = 0
    ) -> Gathered:
        """:func:`refreshed`, towards the source by ``prior`` images; ``balanced`` starts where some of them end."""
        key = (share if weights == "balanced" else None, weights, polarity, prior)
        if key not in self.gathered:
            mix = towards_source(prior / (prior + self.images.count))
            start = plain = None
            if weights == "balanced":
                plain = self.refreshed(share, "plain", polarity, prior)
                if sketch := self._sketch():
                    start = refreshed(self.network, sketch, share, weights, polarity, mix).biased
            self.gathered[key] = refreshed(self.network, self.images, share, weights, polarity, mix, plain, start)
        return self.gathered[key]

    def _sketch(self) -> Inputs | None:
        """Some of the images, spread over all; None where those would be most of them."""
        n = max(SKETCH_IMAGES, SKETCH_PIXELS * self.images.count // self.images.size)
        return self.images.spread(n) if 2 * n <= self.images.count else None


def remedy(
    domain: Domain,
    source: Reference,
    scope: str = "domain",
    weights: str = "plain",
    polarity: str = "kept",
    prior: float = 0,
) -> tuple[State, Own | None]:
    """Statistics of the whole domain, and how an image gets its own where it does.

    The options are described in the module.
    """
    if polarity == "told":
        if source not in domain.told:
            domain.told[source] = told_polarity(domain, source)
        polarity = domain.told[source]
    state = domain.refreshed(source.share, weights, polarity, prior).state
    if scope == "domain":
        return state, None
    part = 1.0 if scope == "image" else max(0.0, 1 - source.spread / max(spread(domain.images), SMALLEST_SPREAD))
    usual = source.image_share, source.contrast, source.stability
    return state, Own(part / (1 + prior), *usual, weights, polarity)


def told_polarity(domain: Domain, source: Reference) -> str:
    """``turned`` where more than half of the votes say so, else ``kept``: each image has two, by :func:`likeness`.

    One sign alone is deceived: grey levels by objects finer than :data:`WINDOW`, such as vessels, or by other things as
    dark as they, such as membranes beside mitochondria; stability where both polarities give a sure prediction. Images
    vote because statistics of all of them together leave those of unlike exposure in doubt, in either polarity. A shift
    of the share across one half may look like a flip: then nothing in the images tells which of the two it is.
    """
    votes: list[bool] = []
    for tiles in domain.images.each():
        kept, turned = (likeness(domain.network, tiles, source, polarity) for polarity in ("kept", "turned"))
        votes += [other > one for one, other in zip(kept, turned, strict=True)]
    return "turned" if 2 * sum(votes) > len(votes) else "kept"


def likeness(network: UNet, tiles: Images, source: Reference, polarity: str) -> tuple[float, float]:
    """log c - abs(logit pi_t - logit pi_s), and -abs(log s_t - log s_s): how like the source an image looks, refreshed.

    c: :func:`contrast`, with the sign of the source's; pi: mean probability; s: :func:`stability`. Turned the wrong
    way, a network calls foreground what does not stand out, or the background, whose share is unlike the source's, and
    is less sure of it, or surer, than at home.
    """
    found = refreshed(network, tiles, polarity=polarity).probabilities
    stands_out = max(signed_contrast(tiles, found, source.contrast, polarity), NO_CONTRAST)
    sure, usual = (log(max(number, NO_STABILITY)) for number in (stability(found), source.stability))
    share = logit(mean_probability(found)) - logit(source.image_share)
    return log(stands_out) - abs(share), -abs(sure - usual)


def of_image(network: UNet, tiles: Images, own: Own) -> State:
    """Statistics of one image, for a ``network`` that has those of its domain; none where it shows no objects.

    Without objects an image's own statistics would make some of its noise, faint ones, in doubt all over. It shows
    objects where those found by its own statistics stand out from its background by :data:`SMALLEST_CONTRAST` of what
    is usual in the source, or by more than two parts of a Gaussian do, and their :func:`stability` is at least
    :data:`SMALLEST_STABILITY` of what is usual there, or the domain's statistics find no fewer and are no refuge.
    """
    if not own.part:
        return {}
    found = refreshed(network, tiles, own.share, own.weights, own.polarity, towards_source(1 - own.part))
    enough = min(SMALLEST_CONTRAST * abs(own.contrast), split_contrast(mean_probability(found.probabilities)))
    stands_out = signed_contrast(tiles, found.probabilities, own.contrast, own.polarity)
    if stands_out < enough:
        return {}
    if stability(found.probabilities) >= SMALLEST_STABILITY * own.stability:
        return found.state
    of_domain = [inference.probabilities(network, tile) for tile in tiles]
    return found.state if called_foreground(of_domain) >= called_foreground(found.probabilities) else {}


def refreshed(
    network: UNet,
    tiles: Images,
    share: float = 0.5,
    weights: str = "plain",
    polarity: str = "kept",
    mix: Mix = target_alone,
    plain: Gathered | None = None,
    start: State | None = None,
) -> Gathered:
    """Statistics of all normalisations of ``network``, its input's included, over all of ``tiles`` together.

    ``share``: of the foreground in the source, which ``balanced`` weights give the target too. Their fixed point is
    sought from ``plain``, the statistics without weights, taken here where they are not given, or from the prediction
    under the statistics ``start``. Where :func:`contrast` at the fixed point is smaller than without weights by more
    than :data:`LARGEST_LOSS` of it, prediction and weights have led each other astray: the plain statistics are kept.
    It may be smaller by :data:`LARGEST_LOSS_OF_SURER` where :func:`stability` is larger by :data:`CLEARLY_SURER`.
    """
    layers, turned = [INPUT, *norm_layers(network)], polarity == "turned"
    plain = plain or settle(network, tiles, layers, mix, turned)
    if weights == "plain":
        return plain
    together = len(plain.probabilities) == 1
    before, probabilities = plain.biased, plain.probabilities
    if start is not None:
        before, probabilities = start, gather(network, tiles, layers, mix, start, turned=turned).probabilities
    once = BALANCING_PASSES if start is None else SKETCHED_PASSES
    for _ in range(once if together else 2 * len(layers)):
        weighting = balancing(probabilities, share)
        gathered = gather(network, tiles, layers, mix, None if together else before, weighting, turned)
        moved = movement(before, gathered.biased)
        before, probabilities = gathered.biased, gathered.probabilities
        if moved <= SETTLED_MOVEMENT:
            break
    stands_out, stood_out = (abs(contrast(tiles, found.probabilities)) for found in (gathered, plain))
    surer = stability(gathered.probabilities) - stability(plain.probabilities) > CLEARLY_SURER
    loss = LARGEST_LOSS_OF_SURER if surer else LARGEST_LOSS
    return gathered if stands_out >= (1 - loss) * stood_out else plain


def balancing(probabilities: list[Tensor], share: float) -> list[Tensor]:
    """w = p pi_s / pi_t + (1 - p) (1 - pi_s) / (1 - pi_t): weights of positions, pi_s ``share``, pi_t the mean of p."""
    target = inside(mean_probability(probabilities))
    foreground, background = share / target, (1 - share) / (1 - target)
    return [p.float() * (foreground - background) + background for p in probabilities]


def mean_probability(probabilities: list[Tensor]) -> float:
    """Mean over all pixels."""
    return sum(float(p.sum(dtype=torch.float64)) for p in probabilities) / sum(p.numel() for p in probabilities)


def called_foreground(probabilities: list[Tensor]) -> int:
    """#{p > 1/2}: pixels of the mask."""
    return sum(int((p > 0.5).sum()) for p in probabilities)


def stability(probabilities: list[Tensor]) -> float:
    """#{p > 1 - d} / #{p > d}, d :data:`DOUBT`: what surely is foreground, of what may be; 0 where nothing may be.

    The stability score of Kirillov et al. 2023 (arXiv:2304.02643), the IoU of a mask at a high and at a low threshold.
    """
    sure, possible = (sum(int((p > least).sum()) for p in probabilities) for least in (1 - DOUBT, DOUBT))
    return sure / possible if possible else 0.0


def towards_source(part: float) -> Mix:
    """A mix of ``part`` source and the rest target, in mean and variance."""

    def mix(source: Moments, target: Moments) -> Moments:
        return torch.lerp(target[0], source[0], part), torch.lerp(target[1], source[1], part)

    return mix if part else target_alone


def contrast(tiles: Images, probabilities: list[Tensor]) -> float:
    """(m_1 - m_0) / s: mean grey level of the foreground less that of the background, in deviations within the two.

    Pixels belong to the foreground by their probability; grey levels are means over :data:`WINDOW` px squared. Zero
    where either class is empty.
    """
    sums = torch.zeros(2, 3, dtype=torch.float64)
    for tile, p in zip(tiles, probabilities, strict=True):
        grey = tile.images.mean(1, keepdim=True)
        grey = functional.avg_pool2d(grey, WINDOW, 1, WINDOW // 2, count_include_pad=False)[:, 0, *tile.core].double()
        classes = torch.stack([1 - p.double(), p.double()]).flatten(1)
        sums += (classes @ torch.stack([grey**power for power in range(3)]).flatten(1).T).cpu()
    count, first, second = sums.T
    if count.min() < 1:
        return 0.0
    means = first / count
    within = (second - count * means**2).sum() / count.sum()
    return float((means[1] - means[0]) / within.clamp(min=SMALLEST_VARIANCE).sqrt())


def signed_contrast(tiles: Images, probabilities: list[Tensor], source_contrast: float, polarity: str) -> float:
    """:func:`contrast`, positive where objects are to their background what they are in the source."""
    sign = copysign(1, source_contrast) * (-1 if polarity == "turned" else 1)
    return sign * contrast(tiles, probabilities)


def logit(share: float) -> float:
    """log(q / (1 - q)), q being :func:`inside` of ``share``."""
    q = inside(share)
    return log(q / (1 - q))


def inside(share: float) -> float:
    """``share``, no nearer to 0 or 1 than :data:`SMALLEST_SHARE`."""
    return min(max(share, SMALLEST_SHARE), 1 - SMALLEST_SHARE)


def split_contrast(share: float) -> float:
    """phi(z) / (q (1 - q)) / sqrt(1 - phi(z)^2 / (q (1 - q))): :func:`contrast` of a Gaussian's uppermost ``share`` q.

    From 2.4, near 0.1, over 2.65 at one half to 3 for the rarest: so much do two parts of one class of pixels differ.
    """
    normal = NormalDist()
    q = inside(share)
    density, both = normal.pdf(normal.inv_cdf(q)), q * (1 - q)
    return density / both / (1 - density**2 / both) ** 0.5


def spread(images: Inputs) -> float:
    """var(m) / mean(s^2) + var(log s) over images of mean m and deviation s, mean over channels.

    Zero where all images have one exposure and one content.
    """
    moments = [input_moments(tiles) for tiles in images.each()]
    means, deviations = (torch.stack(part).flatten(1).double() for part in zip(*moments, strict=True))
    relative = means.var(0, correction=0) / deviations.square().mean(0) + deviations.log().var(0, correction=0)
    return float(relative.mean())
