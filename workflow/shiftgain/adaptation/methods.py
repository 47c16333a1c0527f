"""Every way of adapting to unlabelled images that a config can name, each a function of its module.

A method takes ``(network, tiles)`` and returns the tensors that it would change, as
:mod:`shiftgain.adaptation.batchnorm` says. One that is only for test images as they come may return a
:data:`Mixture`, several such states with weights.
"""

from collections.abc import Callable

from shiftgain.adaptation.batchnorm import (
    batchnorm,
    decoder_only,
    encoder_only,
    mean_only,
    prior,
    standardise,
    tent,
    variance_only,
)
from shiftgain.adaptation.comparators import alpha_bn, hybrid_ttn, intent
from shiftgain.adaptation.remedies import remedy

METHODS: dict[str, Callable] = {
    "batchnorm": batchnorm,
    "mean_only": mean_only,
    "variance_only": variance_only,
    "encoder_only": encoder_only,
    "decoder_only": decoder_only,
    "prior": prior,
    "alpha_bn": alpha_bn,
    "hybrid_ttn": hybrid_ttn,
    "intent": intent,
    "standardise": standardise,
    "tent": tent,
    "remedy": remedy,
}
# Methods that compare the target with images of the source, and may leave a rule for single images beside the state.
COMPARING = {"remedy"}
