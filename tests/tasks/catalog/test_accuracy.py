"""Looks at accuracy: what counts, once, whatever comes when; drops, and the one answer that each gets."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert, text, update

from tasks.catalog import accuracy, accuracy_drops, models, retrainings, versions
from tasks.catalog.accuracy import AttributeReading, Check, Rules
from tasks.catalog.arrived_truth import COUNTED_A_DAY
from tasks.catalog.engine import clock, writing
from tasks.catalog.models import LabelSet, served
from tasks.catalog.retrainings import Asked, Closed, Retraining
from tasks.catalog.tables import audit_samples, served_label_set, served_log, truths
from tasks.catalog.versions import Made
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.made_results import DEMO, FACTS
from tests.tasks.catalog.made_truths import day, photo, photo_id, say, tag

NIGHT = 12  # photos
RULES = Rules(baseline=2 * NIGHT, apart=timedelta())


@pytest.fixture(autouse=True)
def _one_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "MOST_BASELINE", RULES.baseline)


def label_set_of(engine: Engine) -> LabelSet:
    found = served(engine)
    assert found is not None
    return found


def tonight(engine: Engine, night: int, photos: int = NIGHT) -> list[str]:
    """A run that tags photos of the same content, each a product of its own, and draws all of them."""
    names = [f"{night:03}-{number:03}" for number in range(photos)]
    run_id = tag(engine, *(photo(name, "shoe") for name in names), at=day(night % 27 + 1))
    with writing(engine) as connection:
        drawn = {"run_id": run_id, "inclusion_probability": 0.5, "drawn_at": clock(connection)}
        connection.execute(
            insert(audit_samples), [drawn | {"photo_id": photo_id(engine, name)} for name in names]
        )
    return names


def tell(
    engine: Engine, names: Sequence[str], right: int, attribute: str = "category", by: str = "ann"
) -> None:
    """Truth of the photos, now: the served label is right of the first ones."""
    label_set = label_set_of(engine)
    [(said, attribute_id)] = set(
        rows(
            engine,
            "SELECT l.label_1, l.attribute_id FROM labels l JOIN attributes a ON a.attribute_id ="
            " l.attribute_id WHERE a.name = :name AND l.label_set_id = :label_set_id",
            name=attribute,
            label_set_id=label_set.label_set_id,
        )
    )
    other = next(one for one in label_set.label_ids[attribute] if one != said)
    with writing(engine) as connection:
        now = clock(connection)
        connection.execute(
            insert(truths),
            [
                {
                    "product_id": "", "photo_id": photo_id(engine, name), "attribute_id": attribute_id,
                    "label_id": said if place < right else other, "chosen": "unsampled", "given_by": by,
                    "given_at": now, "imported_at": now,
                }
                for place, name in enumerate(names)
            ],
        )  # fmt: skip


def look(engine: Engine, rules: Rules = RULES) -> Check:
    return accuracy.look(engine, new_run(engine), label_set_of(engine), rules)


def category(check: Check) -> AttributeReading:
    return next(one for one in check.readings if one.attribute == "category")


def a_night(engine: Engine, night: int, right: int) -> AttributeReading:
    tell(engine, tonight(engine, night), right)
    return category(look(engine))


@pytest.fixture
def watched(engine: Engine) -> Engine:
    """A catalogue with a baseline from two nights of which all but one photo were right."""
    assert a_night(engine, 1, NIGHT).status == "waiting"
    found = a_night(engine, 2, NIGHT - 1)
    assert (found.status, found.baseline_n, found.baseline_hits) == ("ok", 2 * NIGHT, 2 * NIGHT - 1)
    return engine


def test_the_baseline_comes_first_and_is_a_lower_bound(watched: Engine) -> None:
    [(baseline, status)] = rows(
        watched,
        "SELECT baseline, status FROM accuracy_history WHERE attribute = 'category' AND check_id = 2",
    )
    assert baseline == pytest.approx(0.8173, abs=0.0005)  # Clopper and Pearson, 23 of 24, one-sided 95 %
    assert status == "ok"
    [(other,)] = rows(watched, "SELECT DISTINCT status FROM accuracy_history WHERE attribute <> 'category'")
    assert other == "waiting"


def test_the_baseline_is_made_anew_of_twice_as_much_truth(
    watched: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "MOST_BASELINE", 4 * NIGHT)
    assert a_night(watched, 3, NIGHT).baseline_n == 2 * NIGHT
    found = a_night(watched, 4, NIGHT)
    assert (found.status, found.baseline_n, found.baseline_hits) == ("ok", 4 * NIGHT, 4 * NIGHT - 1)
    assert found.baseline == pytest.approx(0.9047, abs=0.0005)  # Clopper and Pearson, 47 of 48
    for night in range(5, 10):
        assert a_night(watched, night, NIGHT).baseline_n == 4 * NIGHT


def test_truth_counts_once_whatever_is_said_of_it_later(watched: Engine) -> None:
    names = tonight(watched, 3)
    tell(watched, names, NIGHT)
    assert category(look(watched)).counted == NIGHT
    assert category(look(watched)).counted == 0
    tell(watched, names, 0, by="bea")
    found = category(look(watched))
    assert (found.counted, found.accuracy) == (0, 1.0)


def test_truth_may_come_late_in_a_burst_and_for_old_photos(watched: Engine) -> None:
    old = [tonight(watched, night) for night in (3, 4, 5)]
    assert category(look(watched)).counted == 0
    for names in old:
        tell(watched, names, NIGHT)
    assert category(look(watched)).counted == 3 * NIGHT


def test_of_a_day_only_so_many_count_at_one_look(watched: Engine) -> None:
    tell(watched, tonight(watched, 3, photos=COUNTED_A_DAY + 5), right=COUNTED_A_DAY + 5)
    assert category(look(watched)).counted == COUNTED_A_DAY


def test_truth_that_was_there_before_its_photo_was_drawn_counts(watched: Engine) -> None:
    run_id = tag(watched, photo("late", "shoe"))
    tell(watched, ["late"], right=1)
    assert category(look(watched)).counted == 0  # nobody drew it
    with writing(watched) as connection:
        drawn = {"run_id": run_id, "inclusion_probability": 1.0, "drawn_at": clock(connection)}
        connection.execute(insert(audit_samples), [drawn | {"photo_id": photo_id(watched, "late")}])
    assert category(look(watched)).counted == 1
    assert category(look(watched)).counted == 0


def test_only_truth_that_was_drawn_counts_and_a_product_once(watched: Engine) -> None:
    names = tonight(watched, 3)
    tag(watched, photo("undrawn", "shoe"), photo("twin", "shoe", product=names[0]))
    tell(watched, [*names, "undrawn", "twin"], NIGHT)
    assert category(look(watched)).counted == NIGHT


def test_what_no_label_fits_is_wrong(watched: Engine) -> None:
    names = tonight(watched, 3)
    for name in names:
        say(watched, name, "category", None)
    found = category(look(watched))
    assert (found.counted, found.hits) == (NIGHT, 0)


def test_a_look_too_soon_counts_nothing_and_writes_nothing(watched: Engine) -> None:
    tell(watched, tonight(watched, 3), right=0)
    soon = look(watched, Rules(RULES.baseline, timedelta(hours=12)))
    assert (soon.number, soon.fresh) == (2, False)
    assert category(look(watched)).counted == NIGHT


def test_a_look_that_is_repeated_finds_what_it_wrote(watched: Engine) -> None:
    """As after a connection that broke at COMMIT."""
    tell(watched, tonight(watched, 3), right=NIGHT)
    run_id = new_run(watched)
    first, again = (accuracy.look(watched, run_id, label_set_of(watched), RULES) for _ in range(2))
    assert first == again
    assert rows(watched, "SELECT COUNT(*) FROM accuracy_checks") == [(3,)]


def dropped(engine: Engine) -> None:
    night = 3
    while a_night(engine, night, right=2).status != "dropped":
        night += 1
        assert night < 10


def test_a_drop_is_written_once_and_waits_for_an_answer(watched: Engine) -> None:
    dropped(watched)
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    assert drop.attribute == "category"
    assert drop.reason.startswith("category: ")
    assert "it was at least 81.7%" in drop.reason
    assert category(look(watched)).status == "dropped"
    assert accuracy_drops.unanswered(watched, label_set_of(watched)) == drop
    assert rows(watched, "SELECT attribute, outcome FROM drop_history") == [("category", None)]


def retrain(engine: Engine, drop_id: int, flow_run: str) -> Retraining | Closed:
    asked = Asked("auto", "category", 0.0, "a drop", drop_id)
    version = label_set_of(engine).model_version
    return retrainings.begin(engine, new_run(engine), version, asked, None, flow_run)


def test_twenty_events_of_a_drop_make_one_retraining(watched: Engine) -> None:
    dropped(watched)
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    first = retrain(watched, drop.drop_id, "f0")
    assert isinstance(first, Retraining)
    assert accuracy_drops.unanswered(watched, label_set_of(watched)) is None
    for number in range(1, 20):
        found = retrain(watched, drop.drop_id, f"f{number}")
        assert found == Closed("answered", f"retraining 1 is the answer to drop {drop.drop_id}")
    assert retrain(watched, drop.drop_id, "f0") == first  # resumed
    retrainings.close(watched, first.retraining_id, "rejected", "no better")
    assert retrain(watched, drop.drop_id, "f20") == Closed(
        "answered", f"retraining 1 is the answer to drop {drop.drop_id}"
    )
    assert rows(watched, "SELECT COUNT(*) FROM retrainings") == [(1,)]


def test_a_retraining_that_died_is_no_answer(watched: Engine) -> None:
    dropped(watched)
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    first = retrain(watched, drop.drop_id, "f0")
    with writing(watched) as connection:
        connection.execute(text("UPDATE runs SET alive_until = NULL"))
    assert accuracy_drops.unanswered(watched, label_set_of(watched)) == drop
    assert retrain(watched, drop.drop_id, "f1") == first


def test_what_did_not_help_is_tried_again_with_twice_the_truth(watched: Engine) -> None:
    dropped(watched)
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    first = retrain(watched, drop.drop_id, "f0")
    assert isinstance(first, Retraining)
    retrainings.close(watched, first.retraining_id, "rejected", "no better")
    [(truths_then,)] = rows(watched, "SELECT truths FROM accuracy_drops")
    night, counted = 20, truths_then
    while counted < 2 * truths_then:
        assert accuracy_drops.unanswered(watched, label_set_of(watched)) is None
        counted, night = counted + a_night(watched, night, right=2).counted, night + 1
    again = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert again is not None and again.drop_id != drop.drop_id


def test_each_attribute_has_its_own_drop_and_answer(watched: Engine) -> None:
    for night in (3, 4):
        tell(watched, tonight(watched, night), NIGHT, "articleType")
        look(watched)
    dropped(watched)
    first = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert first is not None
    tried = retrain(watched, first.drop_id, "f0")
    assert isinstance(tried, Retraining)
    retrainings.close(watched, tried.retraining_id, "rejected", "no better")
    for night in range(11, 18):
        tell(watched, tonight(watched, night), 1, "articleType")
        look(watched)
    second = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert second is not None
    assert (second.attribute, second.drop_id) == ("articleType", first.drop_id + 1)


def test_a_drift_of_photos_is_a_drop_that_keeps_none_of_accuracy_back(watched: Engine) -> None:
    check = look(watched)
    for _ in range(2):
        accuracy_drops.record_drift(watched, label_set_of(watched), check.check_id, "other photos")
    assert rows(watched, "SELECT kind, attribute, reason FROM drop_history") == [
        ("photos", "category", "other photos")
    ]
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    tried = retrain(watched, drop.drop_id, "f0")
    assert isinstance(tried, Retraining)
    retrainings.close(watched, tried.retraining_id, "rejected", "nothing of it is known yet")
    dropped(watched)
    assert rows(watched, "SELECT kind FROM drop_history ORDER BY drop_id") == [("photos",), ("accuracy",)]


def test_what_waits_too_long_for_a_word_is_no_answer(watched: Engine) -> None:
    dropped(watched)
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    first = retrain(watched, drop.drop_id, "f0")
    assert isinstance(first, Retraining)
    retrainings.wait(watched, first.retraining_id)
    assert accuracy_drops.unanswered(watched, label_set_of(watched)) is None
    with writing(watched) as connection:
        connection.exec_driver_sql("UPDATE retrainings SET started_at = '2026-03-01 00:00:00.000000'")
        connection.exec_driver_sql("UPDATE runs SET alive_until = NULL")  # it is suspended
    assert accuracy_drops.unanswered(watched, label_set_of(watched)) == drop
    again = retrain(watched, drop.drop_id, "f1")
    assert isinstance(again, Retraining)
    assert again.retraining_id != first.retraining_id


def serve_another(engine: Engine) -> None:
    """Another model is put in place, whose labels are the same."""
    now = datetime.now(UTC)
    before = label_set_of(engine)
    facts = replace(FACTS, checkpoint="registry:made", head="h" * 64, digest="d" * 64)
    version = versions.register(engine, facts, Made("head", before.model_version, {}, {}))
    other = models.label_set_for(engine, version, DEMO).label_set_id
    with writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO labels SELECT :other, content_id, attribute_id, shard_id, decision, "
                + ", ".join(
                    f"{name}_{rank}" for rank in range(1, 6) for name in ("label", "similarity", "confidence")
                )
                + " FROM labels WHERE label_set_id = :before"
            ),
            {"other": other, "before": before.label_set_id},
        )
        connection.execute(update(served_log).values(served_to=now))
        row = {"label_set_id": other, "served_from": now, "reason": "a test"}
        connection.execute(insert(served_log).values(row))
        connection.execute(update(served_label_set).values(label_set_id=other))


def test_a_new_champion_begins_anew_with_what_comes_from_then_on(watched: Engine) -> None:
    known, later = tonight(watched, 3), tonight(watched, 4)
    tell(watched, known, NIGHT)
    serve_another(watched)
    tell(watched, known, 0, by="bea")  # its truth may have taught the new one
    tell(watched, later, NIGHT)  # old photos, whose truth is new
    found = category(look(watched))
    assert (found.status, found.baseline_n, found.baseline_hits) == ("waiting", NIGHT, NIGHT)
    drops = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drops is None


def test_a_late_event_of_a_model_that_is_gone_asks_for_nothing(watched: Engine) -> None:
    dropped(watched)
    drop = accuracy_drops.unanswered(watched, label_set_of(watched))
    assert drop is not None
    serve_another(watched)
    assert retrain(watched, drop.drop_id, "f0") == Closed(
        "answered", f"the model that drop {drop.drop_id} is of is not served any more"
    )
    assert retrain(watched, 99, "f1") == Closed("answered", "this catalogue knows no drop 99")
