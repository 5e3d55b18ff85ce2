"""When a run is over, which epoch was best, and that JSON keeps all of it."""

import json

from fashion_clip.finetuning.history import History, ZeroShot, parse_history


def history(means: list[float], steps: int) -> History:
    epochs = tuple(ZeroShot({"a": mean - 0.1, "b": mean + 0.1}, None, 0) for mean in means)
    return History(10, (0.5,) * steps, epochs)


def test_figures_are_due_before_and_after_each_epoch() -> None:
    assert history([], 0).to_measure
    assert not history([0.5], 9).to_measure
    assert history([0.5], 10).to_measure
    assert not history([0.5, 0.5], 10).to_measure


def test_a_run_ends_with_its_epochs_or_its_patience() -> None:
    assert not history([0.5, 0.6], 10).over(epochs=2, patience=1)
    assert history([0.5, 0.6, 0.7], 20).over(epochs=2, patience=1)
    assert not history([0.5, 0.6], 20).over(epochs=2, patience=1)  # the last figures are wanting
    assert history([0.5, 0.6, 0.6], 20).over(epochs=9, patience=1)
    assert not history([0.5, 0.6, 0.6], 20).over(epochs=9, patience=2)
    assert history([0.5, 0.4, 0.3], 20).over(epochs=9, patience=2)


def test_the_first_of_equals_is_best() -> None:
    assert history([0.5, 0.7, 0.7, 0.6], 30).best == 1
    assert history([0.5, 0.4], 10).best == 0


def test_json_keeps_all_of_it() -> None:
    run = History(7, (0.25, 1 / 3), (ZeroShot({"a": 2 / 3}, 0.125, 8), ZeroShot({"a": 0.5}, None, 0)))
    assert parse_history(json.loads(json.dumps(run.to_document()))) == run
