"""What labels are guessed to be worth: the mean confidence of a run's photos, and how far off it was."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from fashion_clip.calibration import AttributeCalibration, Calibration, attribute_version
from tasks.catalog import estimates
from tasks.catalog.models import LabelSet
from tests.catalogue_fixtures import rows
from tests.tasks.catalog.made_results import DEMO, FACTS, begun
from tests.tasks.catalog.made_truths import photo, put_draw, say, tag

CATEGORY = "category"


@pytest.fixture
def calibrated(engine: Engine) -> LabelSet:
    """Of a model whose confidences in the category alone are calibrated."""
    attribute = next(one for one in DEMO.attributes if one.name == CATEGORY)
    entry = AttributeCalibration(
        attribute_version(DEMO, attribute), 1.0, (), 1.0, 0.0, 0.5, 100, 0.1, 0.1, 0.5
    )
    return begun(engine, replace(FACTS, calibration=Calibration(0.95, 0.9, "t", 0.5, {CATEGORY: entry})))


def confidences(engine: Engine, run_id: int) -> list[float]:
    found = rows(
        engine,
        "SELECT confidence FROM catalog_labels WHERE attribute = 'category' AND run_id = :run_id",
        run_id=run_id,
    )
    return [confidence for (confidence,) in found]


def test_the_guess_is_the_mean_of_the_runs_photos(engine: Engine, calibrated: LabelSet) -> None:
    tag(engine, photo("before", "sock"))
    run_id = tag(engine, photo("a", "shoe"), photo("b", "hat"), photo("c", "shoe"))
    [found] = estimates.record(engine, run_id, calibrated)
    assert (found.attribute, found.photos) == (CATEGORY, 3)
    assert found.estimated_accuracy == pytest.approx(sum(confidences(engine, run_id)) / 3, abs=1e-4)
    assert estimates.record(engine, run_id, calibrated) == [found]
    assert rows(engine, "SELECT COUNT(*) FROM run_estimates") == [(1,)]


def test_a_run_without_photos_and_a_model_without_calibration_are_not_guessed_at(engine: Engine) -> None:
    label_set = begun(engine)
    run_id = tag(engine, photo("a", "shoe"))
    assert estimates.record(engine, run_id, label_set) == []
    assert rows(engine, "SELECT COUNT(*) FROM run_estimates") == [(0,)]


def test_of_many_photos_some_are_looked_at(
    engine: Engine, calibrated: LabelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "ENOUGH", 3)
    run_id = tag(engine, *(photo(str(number), "shoe") for number in range(9)))
    [found] = estimates.record(engine, run_id, calibrated)
    assert 0 < found.photos <= 3
    assert found.estimated_accuracy == pytest.approx(confidences(engine, run_id)[0], abs=1e-4)


def test_how_far_off_it_was_is_a_row_once_truth_has_come(engine: Engine, calibrated: LabelSet) -> None:
    run_id = tag(engine, photo("a", "shoe"), photo("b", "shoe"), photo("c", "shoe"))
    [found] = estimates.record(engine, run_id, calibrated)
    history = "SELECT run_id, attribute, truths, accuracy, error FROM estimate_history"
    assert rows(engine, history) == [(run_id, CATEGORY, None, None, None)]
    put_draw(engine, run_id, ["a", "b"], 0.5)
    [(label,)] = rows(engine, "SELECT DISTINCT label FROM catalog_labels WHERE attribute = 'category'")
    say(engine, "a", CATEGORY, label)
    say(engine, "b", CATEGORY, None)
    say(engine, "c", CATEGORY, None)  # nobody drew it
    [row] = rows(engine, history)
    assert row[:4] == (run_id, CATEGORY, 2, 0.5)
    assert row[4] == pytest.approx(found.estimated_accuracy - 0.5)
