"""How fine-tuning went: the loss of each step above, what validation said of each epoch below."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_clip.finetuning.history import History
from fashion_clip.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    new_figure,
    percent,
    plain,
    quiet,
)  # fmt: skip

_COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW)


def training_curves(history: History) -> Figure:
    """Loss by step with its mean over a tenth of an epoch, and zero-shot accuracy by epoch and attribute.

    Raises:
        ValueError: no figures on validation.
    """
    figure = new_figure(7.2, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    _draw_losses(upper, history)
    _draw_accuracy(lower, history)
    quiet(upper)
    quiet(lower)
    before, best = history.epochs[0].mean, history.epochs[history.best].mean
    told = (
        f"epoch {history.best} is best: {percent(before)} right by prompts before, {percent(best)} after"
        if history.best
        else f"no epoch is better than before: {percent(before)} right by prompts"
    )
    figure.suptitle(told)
    return figure


def _draw_losses(axes: Axes, history: History) -> None:
    losses = np.array(history.losses)
    epochs = np.arange(1, len(losses) + 1) / history.steps_per_epoch
    axes.plot(epochs, losses, color=LIGHT, linewidth=0.8)
    window = max(1, history.steps_per_epoch // 10)
    if len(losses) >= window:
        mean = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(epochs[window - 1 :], mean, color=BLUE)
    axes.set_ylabel("contrastive loss")


def _draw_accuracy(axes: Axes, history: History) -> None:
    numbers = range(len(history.epochs))
    for place, attribute in enumerate(history.epochs[0].accuracy):
        values = [figures.accuracy[attribute] for figures in history.epochs]
        colour = _COLOURS[place % len(_COLOURS)]
        axes.plot(
            numbers, values, color=colour, marker="o", markersize=3, linewidth=1, label=plain(attribute)
        )
    means = [figures.mean for figures in history.epochs]
    axes.plot(numbers, means, color=BLACK, marker="o", markersize=4, linewidth=2, label="mean")
    kept_out = [figures.kept_out for figures in history.epochs if figures.kept_out is not None]
    if len(kept_out) == len(history.epochs):
        axes.plot(numbers, kept_out, color=GREY, linestyle="--", linewidth=1.5, label="kept-out labels")
    axes.axvline(history.best, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="epoch", ylabel="accuracy by prompts, validation", ylim=(0, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
