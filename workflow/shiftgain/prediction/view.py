"""What a network says of some images in one state: the material that every label-free score is made of.

Images may differ in size, so that pixels come as a list of batches; :class:`View` works out what several scores
share once and keeps it. Pixels are in float32, sums in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Probabilities are kept this far from 0 and 1: the rounding of float32.
SMALLEST = 1e-7
# A share of pixels is kept this far from 0 and 1 where its logit is taken.
SMALLEST_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class View:
    """A network on the images of a domain, in one state.

    ``images`` and ``probabilities`` of the foreground: batches (n, H, W), grey level in [0, 1] and probability.
    ``rows`` (r, C) are the features that the head receives at a sample of positions, ``row_probabilities`` (r,)
    the probabilities there. ``labels``: batches of true masks, boolean (n, H, W), of a labelled source; never of a
    target. A pixel is predicted foreground where its probability exceeds ``threshold``.
    """

    images: Sequence[np.ndarray]
    probabilities: Sequence[np.ndarray]
    rows: np.ndarray
    row_probabilities: np.ndarray
    threshold: float = 0.5
    labels: Sequence[np.ndarray] | None = None

    @cached_property
    def predicted(self) -> list[np.ndarray]:
        """Predicted masks: batches, boolean (n, H, W)."""
        return [batch > self.threshold for batch in self.probabilities]

    @property
    def masks(self) -> Sequence[np.ndarray]:
        """True masks where there are any, predicted ones elsewhere."""
        return self.predicted if self.labels is None else self.labels

    @cached_property
    def grey(self) -> np.ndarray:
        """Grey levels of all pixels (p,)."""
        return flat(self.images)

    @cached_property
    def p(self) -> np.ndarray:
        """Foreground probabilities of all pixels (p,)."""
        return flat(self.probabilities).clip(SMALLEST, 1 - SMALLEST)

    @cached_property
    def logits(self) -> np.ndarray:
        """log p / (1 - p) of all pixels (p,), at most 16 in size."""
        return logit(self.p)

    @cached_property
    def foreground(self) -> np.ndarray:
        """Whether each pixel lies in :attr:`masks` (p,)."""
        return flat(self.masks)

    @cached_property
    def share(self) -> float:
        """Share of the pixels in :attr:`masks`."""
        return float(self.foreground.mean())

    @cached_property
    def predicted_flat(self) -> np.ndarray:
        """Whether each pixel is predicted foreground (p,)."""
        return self.foreground if self.labels is None else flat(self.predicted)


def flat(batches: Sequence[np.ndarray]) -> np.ndarray:
    """The pixels of all batches (p,)."""
    return np.concatenate([batch.reshape(-1) for batch in batches])


def logit(p: np.ndarray) -> np.ndarray:
    """log p / (1 - p)."""
    return np.log(p) - np.log1p(-p)


def share_logit(share: float) -> float:
    """Logit of a share of pixels, which may be 0 or 1."""
    return float(logit(np.array(share).clip(SMALLEST_SHARE, 1 - SMALLEST_SHARE)))
