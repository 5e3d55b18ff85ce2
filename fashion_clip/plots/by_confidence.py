"""What a threshold of confidence buys: how much of what it lets through is right, and how much that is."""

import numpy as np
from matplotlib.figure import Figure

from fashion_clip.metrics import PRECISION_ASKED, coverage_at_95, coverage_curve
from fashion_clip.plots.style import BLUE, GREY, ORANGE, new_figure, percent, plain, quiet
from fashion_clip.predictions import Predictions


def by_confidence(predictions: Predictions) -> Figure:
    """Accuracy and coverage of the photos at or above each threshold, with a line at 95 %.

    Raises:
        ValueError: no photos.
    """
    confidence, hits, weights = predictions.confidence, predictions.hits, predictions.weights
    thresholds, coverage, precision = coverage_curve(confidence, hits, weights)
    covered = coverage_at_95(confidence, hits, weights)
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    # Below a threshold's own confidence, down to the next one, the same photos remain.
    axes.plot(thresholds, precision, color=BLUE, drawstyle="steps-post", label="right among them")
    axes.plot(
        thresholds,
        coverage,
        color=ORANGE,
        linestyle="--",
        drawstyle="steps-post",
        label="share of all photos",
    )
    axes.axhline(PRECISION_ASKED, color=GREY, linewidth=1, linestyle=":")
    axes.annotate("95 %", (0.01, PRECISION_ASKED), color=GREY, va="bottom", fontsize=9)
    if covered:
        threshold = float(thresholds[np.flatnonzero(np.isclose(coverage, covered))[0]])
        axes.plot([threshold], [covered], "o", color=ORANGE)
        axes.annotate(
            f"{percent(covered)} of photos\nabove {threshold:.2f}",
            (threshold, covered),
            xytext=(8 if threshold < 0.5 else -8, -20 if covered > 0.3 else 40),
            textcoords="offset points",
            ha="left" if threshold < 0.5 else "right",
            va="top",
            fontsize=9,
        )
    axes.set(
        xlabel="threshold of confidence", ylabel="share of the photos above it", xlim=(0, 1), ylim=(0, 1.02)
    )
    axes.legend(loc="lower left", frameon=False)
    quiet(axes)
    told = (
        f"the surest {percent(covered)} of photos are at least 95 % right"
        if covered
        else "no threshold keeps 95 % right"
    )
    figure.suptitle(f"{plain(predictions.attribute)}: {told}")
    return figure
