"""One figure per protocol: how the predictors compare, and what the rehearsed forest predicted of each pair."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shiftgain.findings.correlations import TALK
from shiftgain.prediction.assessment import INTERVALS
from shiftgain.report.panels import BLUE, GREY, ORANGE, blank, canvas

# measure -> its axis, and the range that is shown
PANELS = {
    "spearman": ("Spearman", (-1, 1)),
    "r2": ("R²", (-0.5, 1)),
    "sign_accuracy": ("right sign", (0, 1)),
    "regret": ("IoU lost (regret)", (0, None)),
}
# Single scores, and distances, that are shown beside the talk's own: the best by absolute Spearman.
BEST_PREDICTORS = 6
COLOURS = {
    "baseline": GREY,
    "score": "#56b4e9",
    "distance": "#e69f00",
    "transparent": "#009e73",
    "unfitted": "0.15",
    "learned": BLUE,
}


def predictors(judged: pd.DataFrame, predicted: pd.DataFrame | None) -> Figure:
    """``judged``: the rows of one protocol and outcome of ``predictors.csv``; ``predicted``: pairs with ``gain_iou``,
    ``tellable``, and ``predicted``, ``low`` and ``high`` of the rehearsed forest."""
    if judged.empty or predicted is None:
        return blank("this study has too few labelled groups to hold out")
    rows = chosen(judged)
    heights = [0.2 * len(rows) + 0.4, 3.8]  # inches
    figure = canvas(sum(heights))
    panels: dict[str, Axes] = figure.subplot_mosaic([list(PANELS), ["pairs", "pairs", ".", "."]], height_ratios=heights)
    for measure, (label, (low, high)) in PANELS.items():
        axes = panels[measure]
        _bars(axes, rows, measure, low, high)
        axes.set_xlabel(label)
        axes.set_yticks(range(len(rows)), [] if axes is not panels["spearman"] else rows["predictor"].map(_label))
    _scatter(panels["pairs"], predicted)
    return figure


def chosen(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows to show: constant rules, the best single scores and distances and the talk's, the models."""
    parts = [judged[judged["kind"] == "baseline"]]
    for kind in ("distance", "score"):
        of_kind = judged[judged["kind"] == kind]
        best = of_kind.sort_values("spearman", key=lambda value: -value.abs(), kind="stable").head(BEST_PREDICTORS)
        talk = of_kind[(of_kind["predictor"] == TALK) & ~of_kind.index.isin(best.index)]
        parts += [talk, best[::-1]]
    return pd.concat([*parts, judged[judged["kind"].isin(["unfitted", "transparent", "learned"])]])


def _bars(axes: Axes, rows: pd.DataFrame, measure: str, low: float, high: float | None) -> None:
    values = rows[measure].to_numpy()
    places = np.arange(len(rows))
    lengths = np.clip(values, low, np.inf)
    axes.barh(places, lengths, color=[COLOURS[kind] for kind in rows["kind"]], height=0.7)
    edges = rows[[f"{INTERVALS[measure]}_{edge}" for edge in ("low", "high")]].to_numpy().clip(low, np.inf)
    axes.hlines(places, edges[:, 0], edges[:, 1], color="black", linewidth=0.8)
    for place, value in enumerate(values):
        if np.isfinite(value):
            text = f"{value:.3f}" if measure == "regret" else f"{value:.2f}"
            axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", size=5.5)
    if measure == "sign_accuracy":
        axes.axvline(rows["base_rate"].max(), color=ORANGE, linewidth=0.8, linestyle=":")
    axes.axvline(0, color="black", linewidth=0.5)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.6, len(rows) - 0.4)


def _label(predictor: str) -> str:
    return predictor.replace("_before_relu_position", "").replace("_", " ")


def _scatter(axes: Axes, predicted: pd.DataFrame) -> None:
    true, estimates = predicted["gain_iou"].to_numpy(), predicted["predicted"].to_numpy()
    if predicted["low"].notna().any():
        intervals = axes.vlines(true, predicted["low"], predicted["high"], color=GREY, lw=0.3, alpha=0.5, zorder=0)
        # As pixels: a page holds a figure for each protocol, of as many points as there are pairs.
        intervals.set_rasterized(True)
    for tellable, colour, label in ((True, BLUE, "images can tell"), (False, ORANGE, "they cannot")):
        chosen = (predicted["tellable"] == tellable).to_numpy()
        if chosen.any():
            points = axes.scatter(true[chosen], estimates[chosen], s=5, color=colour, lw=0, alpha=0.7, label=label)
            points.set_rasterized(True)
    axes.legend(loc="lower right", frameon=False, markerscale=2)
    axes.axline((0, 0), slope=1, color="black", linewidth=0.6)
    axes.axhline(0, color="black", linewidth=0.4)
    axes.axvline(0, color="black", linewidth=0.4)
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", anchor="W")
    axes.set_xlabel("true gain of that action")
    axes.set_ylabel("gain promised for the preferred action, without labels")
    axes.set_title(f"{len(predicted)} held-out pairs and their intervals")
