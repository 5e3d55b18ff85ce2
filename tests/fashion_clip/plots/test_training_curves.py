"""The curves of a run hold its numbers, and the title its finding."""

import numpy as np

from fashion_clip.finetuning.history import History, ZeroShot
from fashion_clip.plots.style import to_png
from fashion_clip.plots.training_curves import training_curves


def history(means: list[float], kept_out: float | None = 0.5) -> History:
    epochs = tuple(ZeroShot({"kind": mean, "_$colour$": mean}, kept_out, 60) for mean in means)
    losses = tuple(float(loss) for loss in np.linspace(2, 1, 20 * (len(means) - 1)))
    return History(20, losses, epochs)


def test_lines_hold_losses_and_figures() -> None:
    run = history([0.5, 0.7, 0.6])
    upper, lower = training_curves(run).axes
    steps, mean = (line.get_xydata() for line in upper.lines)
    np.testing.assert_allclose(np.asarray(steps)[:, 1], run.losses)
    assert np.asarray(steps)[-1, 0] == np.asarray(mean)[-1, 0] == 2
    assert np.asarray(mean)[-1, 1] == np.mean(run.losses[-2:])
    lines = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in lower.lines}
    assert lines["kind"] == lines["mean"] == [0.5, 0.7, 0.6]
    assert lines["kept-out labels"] == [0.5] * 3


def test_the_title_says_which_epoch_is_best() -> None:
    assert "epoch 1 is best: 50 % right by prompts before, 70 % after" in str(
        training_curves(history([0.5, 0.7, 0.6])).get_suptitle()
    )
    assert "no epoch is better than before: 50 %" in training_curves(history([0.5, 0.4])).get_suptitle()


def test_runs_without_steps_or_kept_out_labels_are_drawn() -> None:
    figure = training_curves(history([0.5], kept_out=None))
    labels = {line.get_label() for line in figure.axes[1].lines}
    assert "kept-out labels" not in labels
    assert to_png(figure).startswith(b"\x89PNG")
