"""Does confidence mean what it says? Accuracy beside confidence, bin by bin."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_clip.intervals import share_with_interval
from fashion_clip.metrics import calibration_error, equal_mass_bins
from fashion_clip.plots.style import BLUE, GREY, ORANGE, new_figure, plain, quiet
from fashion_clip.predictions import Predictions


def reliability(predictions: Predictions, before: Predictions | None = None) -> Figure:
    """Accuracy in bins of equal mass against their mean confidence, with 95 % intervals, above a histogram.

    Args:
        before: the same model before calibration, drawn beside.

    Raises:
        ValueError: no photos.
    """
    figure = new_figure(6.4, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="confidence = accuracy")
    if before is not None:
        _draw(upper, lower, before, ORANGE, "s", "before")
    _draw(
        upper, lower, predictions, BLUE, "o", "after" if before is not None else "bins of equally many photos"
    )
    upper.set(ylabel="share that is right (95 % interval)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    upper.legend(loc="best", frameon=False)
    lower.set(xlabel="confidence of the first label", ylabel="share of photos")
    quiet(upper)
    quiet(lower)
    figure.suptitle(_title(predictions, before))
    return figure


def _draw(upper: Axes, lower: Axes, predictions: Predictions, colour: str, marker: str, name: str) -> None:
    confidence, weights = predictions.confidence, predictions.weights
    bins = equal_mass_bins(confidence, weights)
    for position, number in enumerate(np.unique(bins)):
        rows = np.flatnonzero(bins == number)
        share = share_with_interval(predictions.hits[rows], predictions.products[rows], weights[rows])
        x = float(np.average(confidence[rows], weights=weights[rows]))
        reach = [[share.estimate - share.low], [share.high - share.estimate]]
        label = name if position == 0 else None
        upper.errorbar(
            x, share.estimate, yerr=reach, fmt=marker, color=colour, capsize=2, markersize=5, label=label
        )
    lower.hist(
        confidence,
        bins=np.linspace(0, 1, 41).tolist(),
        weights=weights / weights.sum(),
        color=colour,
        alpha=0.6,
    )


def _title(predictions: Predictions, before: Predictions | None) -> str:
    name = plain(predictions.attribute)
    error = _error(predictions)
    if before is not None:
        return f"{name}: calibration error {_error(before):.3f} before, {error:.3f} after"
    gap = float(np.average(predictions.confidence - predictions.hits, weights=predictions.weights))
    lean = "as high as accuracy" if abs(gap) < 0.01 else f"{abs(gap):.2f} too {'high' if gap > 0 else 'low'}"
    return f"{name}: confidence is {lean} on average\n(expected calibration error {error:.3f})"


def _error(predictions: Predictions) -> float:
    return calibration_error(predictions.confidence, predictions.hits, predictions.weights)
