"""A promotion is watched once, each truth counts once, and whatever else is promoted ends the watch."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text, update

from fashion_clip.close_watch import WATCHED, Compared
from fashion_clip.verdict import Verdict
from tasks.catalog import close_watches, models, retrainings, verdicts, versions
from tasks.catalog.close_watch_tables import close_watches as table
from tasks.catalog.close_watches import NewTruth, Watch
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.catalog.retrainings import Asked, Retraining
from tasks.catalog.tables import served_log, truths
from tasks.catalog.versions import Made
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.databases import ON_SQLITE
from tests.tasks.catalog.made_results import DEMO, FACTS, begun
from tests.tasks.catalog.made_truths import photo, put_draw, say, tag

ATTRIBUTE = "articleType"
WORSE = Compared(20, 12, 0)


def made(engine: Engine, parent: str, head: str) -> str:
    facts = ModelFacts(
        "registry:made", FACTS.encoder_identity, FACTS.text_identity, FACTS.dimension, FACTS.precision,
        FACTS.decode, head=head * 64, digest="d" * 64,
    )  # fmt: skip
    return versions.register(engine, facts, Made("head", parent))


def serve(engine: Engine, version: str) -> LabelSet:
    label_set = models.label_set_for(engine, version, DEMO)
    with writing(engine) as connection:
        models.keep_served(connection, moving=True)
        models.serve(connection, label_set, "a test")
    return label_set


def passed(engine: Engine, champion: str, challenger: str) -> None:
    """A retraining whose challenger passed the gate and was promoted."""
    asked = Asked("head", ATTRIBUTE, 0.0, "a test")
    attempt = retrainings.begin(engine, new_run(engine), champion, asked, None, None)
    assert isinstance(attempt, Retraining)
    verdicts.record_gate(engine, attempt.retraining_id, "head", challenger, Verdict(True, "better", 0.01, ()))
    retrainings.close(engine, attempt.retraining_id, "promoted", "better")


class Promoted:
    """A catalogue in which `new` was promoted after `old`, by a retraining."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.old = begun(engine)
        tag(engine, photo("before.jpg", "shoe"))
        self.new = made(engine, self.old.model_version, "h")
        passed(engine, self.old.model_version, self.new)
        self.served = serve(engine, self.new)

    def watch(self) -> Watch:
        found = close_watches.current(self.engine)
        assert found is not None
        return found

    def new_truth(self, watch: Watch) -> tuple[list[NewTruth], int]:
        return close_watches.new_truth(self.engine, watch, self.served, self.old)

    def names(self, watch: Watch) -> list[str]:
        return [told.uri.rpartition("/")[2] for told in self.new_truth(watch)[0]]

    def say(self, target: str, label: str | None = "Bags", chosen: str = "random") -> None:
        probability = 0.5 if chosen == "random" else None
        say(self.engine, target, ATTRIBUTE, label, chosen=chosen, probability=probability)

    def outcome(self) -> tuple[str, str]:
        [found] = rows(self.engine, "SELECT outcome, told FROM close_watch_history")
        return found[0], found[1]


@pytest.fixture
def promoted(engine: Engine) -> Promoted:
    return Promoted(engine)


def test_a_promotion_by_a_retraining_is_watched_for_28_days(promoted: Promoted) -> None:
    watch = promoted.watch()
    assert (watch.champion, watch.replaced) == (promoted.new, promoted.old.model_version)
    assert (watch.attribute, watch.outcome, watch.compared) == (ATTRIBUTE, "watching", Compared())
    assert watch.ends_at - watch.begun_at == WATCHED == timedelta(days=28)
    assert promoted.watch() == watch
    assert rows(promoted.engine, "SELECT COUNT(*) FROM close_watches") == [(1,)]


def test_what_no_gate_allowed_is_not_watched(engine: Engine) -> None:
    assert close_watches.current(engine) is None
    old = begun(engine)
    assert close_watches.current(engine) is None
    serve(engine, made(engine, old.model_version, "h"))
    assert close_watches.current(engine) is None


def test_a_promotion_of_long_ago_is_not_watched(promoted: Promoted) -> None:
    with writing(promoted.engine) as connection:
        connection.execute(update(served_log).values(served_from=datetime(2020, 1, 1, tzinfo=UTC)))
    assert close_watches.current(promoted.engine) is None


def test_only_what_is_new_and_drawn_counts_and_a_product_once(promoted: Promoted) -> None:
    engine = promoted.engine
    promoted.say("before.jpg")
    watch = promoted.watch()
    pictures = [
        photo("a1.jpg", "shoe", "a"), photo("a2.jpg", "hat", "a"), photo("b1.jpg", "bag", "b"),
        photo("b2.jpg", "coat", "b"), photo("c.jpg", "sock", "c"), photo("d.jpg", "belt", "before.jpg"),
        photo("e.jpg", "ring", "e"),
    ]  # fmt: skip
    tag(engine, *pictures)
    assert promoted.names(watch) == []
    promoted.say("product:a")
    promoted.say("b1.jpg")
    promoted.say("c.jpg", chosen="review")
    promoted.say("d.jpg")  # its product had truth before the promotion
    promoted.say("e.jpg", None)
    found, last = promoted.new_truth(watch)
    names = [told.uri.rpartition("/")[2] for told in found]
    assert names[0] in ("a1.jpg", "a2.jpg")
    assert names[1:] == ["b1.jpg", "e.jpg"]
    assert found[2].label_id is None
    assert all(told.vector is not None and told.vector.shape == (FACTS.dimension,) for told in found)
    watch = close_watches.count(engine, watch, last, Compared(3, 1, 0))
    assert (watch.truth_id, watch.compared) == (last, Compared(3, 1, 0))
    assert promoted.names(watch) == []
    promoted.say("b2.jpg")  # another photo of a product that counted
    say(engine, "e.jpg", ATTRIBUTE, "Bags", by="ben", chosen="random", probability=0.5)
    assert promoted.names(watch) == []


def test_what_was_imported_before_the_promotion_never_counts(promoted: Promoted) -> None:
    """Also if the first look comes after a while: truth is told apart by when it was imported."""
    tag(promoted.engine, photo("a.jpg", "hat"), photo("b.jpg", "bag"))
    promoted.say("a.jpg")
    promoted.say("b.jpg")
    later = datetime.now(UTC) + timedelta(minutes=1)
    with writing(promoted.engine) as connection:
        last = connection.execute(text("SELECT MAX(truth_id) FROM truths")).scalar_one()
        connection.execute(update(truths).where(truths.c.truth_id == last).values(imported_at=later))
    assert promoted.names(promoted.watch()) == ["b.jpg"]


def test_of_one_run_unequal_draws_are_made_equal(promoted: Promoted) -> None:
    engine, watch = promoted.engine, promoted.watch()
    words = ("hat", "bag", "coat", "sock")
    often = tag(engine, *(photo(f"{word}.jpg", word) for word in words))
    put_draw(engine, often, ["hat.jpg"], 0.001)
    put_draw(engine, often, ["bag.jpg", "coat.jpg", "sock.jpg"], 1.0)
    for word in words:
        promoted.say(f"{word}.jpg", chosen="unsampled")
    assert promoted.names(watch) == ["hat.jpg"]


def test_of_two_looks_at_the_same_truth_one_counts(promoted: Promoted) -> None:
    watch = promoted.watch()
    first = close_watches.count(promoted.engine, watch, 7, Compared(5, 2, 1))
    assert close_watches.count(promoted.engine, watch, 7, Compared(5, 2, 1)) == first
    assert close_watches.count(promoted.engine, watch, 9, Compared(6, 3, 1)) == first
    again = close_watches.count(promoted.engine, first, 9, Compared(1, 0, 1))
    assert (again.truth_id, again.compared) == (9, Compared(6, 2, 2))
    found = rows(promoted.engine, "SELECT n, losses, gains, e_value FROM close_watch_history")
    assert found == [(6, 2, 2, pytest.approx(Compared(6, 2, 2).e_value))]


def test_it_is_held_when_its_time_is_over(promoted: Promoted) -> None:
    watch = promoted.watch()
    with writing(promoted.engine) as connection:
        connection.execute(update(table).values(ends_at=datetime.now(UTC)))
    watch = close_watches.count(promoted.engine, promoted.watch(), watch.truth_id, Compared(4, 1, 2))
    assert watch.outcome == "held"
    assert promoted.outcome()[1].startswith(
        f"of 4 products whose truth came after the promotion, {watch.replaced}"
    )
    assert close_watches.current(promoted.engine) is None
    assert verdicts.refusal(promoted.engine, promoted.new) is None


def test_evidence_at_the_end_of_its_time_still_counts(promoted: Promoted) -> None:
    promoted.watch()
    with writing(promoted.engine) as connection:
        connection.execute(update(table).values(ends_at=datetime.now(UTC)))
    watch = close_watches.count(promoted.engine, promoted.watch(), 1, WORSE)
    assert (watch.outcome, watch.is_worse) == ("watching", True)


def test_whatever_a_person_promotes_ends_it(promoted: Promoted) -> None:
    promoted.watch()
    serve(promoted.engine, promoted.old.model_version)
    assert close_watches.current(promoted.engine) is None
    outcome, told = promoted.outcome()
    assert outcome == "ended"
    assert told.startswith(f"{promoted.old.model_version} was put in place")
    serve(promoted.engine, promoted.new)  # by a person, who knows better
    assert close_watches.current(promoted.engine) is None


def test_a_promotion_taken_back_and_made_again_between_two_looks_ends_it(promoted: Promoted) -> None:
    promoted.watch()
    serve(promoted.engine, promoted.old.model_version)
    serve(promoted.engine, promoted.new)
    assert close_watches.current(promoted.engine) is None
    assert promoted.outcome()[0] == "ended"


def test_the_next_promotion_has_its_own(promoted: Promoted) -> None:
    first = promoted.watch()
    next_one = made(promoted.engine, promoted.new, "i")
    passed(promoted.engine, promoted.new, next_one)
    serve(promoted.engine, next_one)
    second = promoted.watch()
    assert (second.champion, second.replaced) == (next_one, promoted.new)
    assert second.close_watch_id != first.close_watch_id
    assert rows(promoted.engine, "SELECT outcome FROM close_watches ORDER BY close_watch_id") == [
        ("ended",),
        ("watching",),
    ]


def test_other_labels_of_the_same_model_go_on_with_it(promoted: Promoted) -> None:
    watch = promoted.watch()
    serve(promoted.engine, promoted.new)  # as for another taxonomy
    assert promoted.watch() == watch


def test_what_is_shown_to_be_worse_is_refused_by_name(promoted: Promoted) -> None:
    """From the moment of the evidence on, whatever becomes of the way back."""
    engine = promoted.engine
    assert verdicts.refusal(engine, promoted.new) is None
    watch = close_watches.count(engine, promoted.watch(), 1, WORSE)
    assert watch.is_worse
    no = verdicts.refusal(engine, promoted.new)
    assert no is not None
    assert (no.approved, no.decided_by) == (False, "the close watch")
    # The process dies after the way back, and before it says so.
    serve(engine, promoted.old.model_version)
    assert promoted.watch() == watch
    assert promoted.watch().is_worse
    closed = close_watches.close(engine, watch.close_watch_id, "rolled_back", watch.told)
    assert (closed.outcome, closed.is_worse) == ("rolled_back", False)
    assert close_watches.close(engine, watch.close_watch_id, "ended", "late") == closed
    no = verdicts.refusal(engine, promoted.new)
    assert no is not None
    assert no.reason == watch.told
    assert verdicts.refusal(engine, promoted.old.model_version) is None


def old_truths(engine: Engine, attribute_id: int, count: int) -> None:
    """Half of them of photos and half of products."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    row: dict[str, object] = {"attribute_id": attribute_id, "label_id": None, "chosen": "unsampled"}
    row |= {"given_by": "ann", "given_at": at, "imported_at": at}
    of_photos = [{**row, "product_id": "", "photo_id": 10_000 + number} for number in range(count // 2)]
    of_products = [{**row, "product_id": f"p{number}", "photo_id": 0} for number in range(count // 2)]
    with writing(engine) as connection:
        connection.execute(insert(truths), of_photos + of_products)


@ON_SQLITE
@pytest.mark.parametrize("of_product", [True, False])
def test_old_truth_costs_a_look_nothing(engine: Engine, of_product: bool) -> None:
    """Counted in hundreds of steps of SQLite's machine: two thousand old truths are to add none."""
    attribute_id = begun(engine).attribute_ids[ATTRIBUTE]
    old_truths(engine, attribute_id, 2000)
    promoted = Promoted(engine)
    watch = promoted.watch()
    tag(engine, photo("a.jpg", "hat"), photo("b.jpg", "bag"))
    for name in ("a.jpg", "b.jpg"):
        promoted.say(f"product:{name}" if of_product else name)
    steps = []

    def count(connection: Any, _: object) -> None:
        connection.set_progress_handler(lambda: steps.append(1), 100)

    engine.dispose()
    event.listen(engine, "connect", count)
    assert len(promoted.new_truth(watch)[0]) == 2
    assert 0 < len(steps) < 20
