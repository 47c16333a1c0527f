"""Scores of how little a prediction changes: under noise, and under statistics half-way back to the source's."""

from shiftgain.prediction.view import View


def consistency(source: View, state: View) -> float:
    """:attr:`View.consistency`: IoU of the predictions with and without noise on the images.

    Consistency under perturbation ranks networks on unlabelled images (CRank, Talks et al. 2025, arXiv:2503.00450).
    """
    return state.consistency


def consistency_change(source: View, state: View) -> float:
    """:func:`consistency` minus that on the source."""
    return state.consistency - source.consistency


def path_agreement(source: View, state: View) -> float:
    """:attr:`View.path_agreement`: IoU with the prediction half-way between the source's statistics and these.

    InTEnt averages predictions along that path (Dong et al. 2024, arXiv:2402.09604); where they agree, the choice of
    statistics does not matter.
    """
    return state.path_agreement


def moved(source: View, state: View) -> float:
    """Root mean square over channels of (m - m_s) / s_s: how far the statistics are from the source's."""
    return state.moved


def off_refresh(source: View, state: View) -> float:
    """:func:`moved`, from the statistics of a plain refresh of the same images."""
    return state.off_refresh


def own_part(source: View, state: View) -> float:
    """Of the statistics, the part that is of each image by itself."""
    return state.own_part


def turned(source: View, state: View) -> float:
    """1 where the network sees negatives."""
    return float(state.turned)
