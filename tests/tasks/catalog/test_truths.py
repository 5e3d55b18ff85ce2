"""Truth: what counts of it, which label it is counted for, what goes to review, what models are fitted to."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert, text, update

from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scoring import Decision
from tasks.catalog import truths
from tasks.catalog.engine import reading, writing
from tasks.catalog.models import LabelSet, label_set_for, served
from tasks.catalog.tables import labels, photos, runs, served_label_set, served_log
from tasks.catalog.truth_reach import Reach, reach
from tests.catalogue_fixtures import rows
from tests.tasks.catalog.databases import ON_SQLITE
from tests.tasks.catalog.made_results import DEMO, broken, top, vector
from tests.tasks.catalog.made_truths import (
    CONTENTS,
    day,
    decide,
    label_id,
    photo,
    photo_id,
    put_draw,
    say,
    tag,
    vanish,
)

CATEGORY = "category"


@pytest.fixture
def tagged(engine: Engine) -> Engine:
    """Photos a and b of product p, c and d of their own; d never was a picture."""
    outcomes = [
        photo("a", "shoe", "p"),
        photo("b", "hat", "p"),
        photo("c", "bag"),
        broken("file:///photos/d"),
    ]
    tag(engine, *outcomes, at=day(2))
    return engine


def label_set_of(engine: Engine) -> LabelSet:
    found = served(engine)
    assert found is not None
    return found


def true_of(engine: Engine, attribute: str = CATEGORY) -> dict[str, Any]:
    """Photo -> the label that counts as true."""
    found = rows(
        engine,
        "SELECT uri, truth FROM photo_truths WHERE attribute = :attribute",
        attribute=attribute,
    )
    assert len(found) == len(dict(found))  # one row a photo and attribute
    return {uri.rpartition("/")[2]: name for uri, name in found}


def sampled(engine: Engine) -> dict[str, Any]:
    found = rows(
        engine,
        "SELECT uri, chosen, inclusion_probability FROM photo_truths",
    )
    return {uri.rpartition("/")[2]: (chosen, probability) for uri, chosen, probability in found}


# What counts as true ----------------------------------------------------------------------------------------


def test_truth_of_a_product_holds_for_all_its_photos(tagged: Engine) -> None:
    say(tagged, "product:p", CATEGORY, "Footwear")
    assert true_of(tagged) == {"a": "Footwear", "b": "Footwear"}
    assert true_of(tagged, "articleType") == {}


def test_a_photo_s_own_truth_goes_before_its_product_s_even_if_it_is_older(tagged: Engine) -> None:
    say(tagged, "b", CATEGORY, "Clothing", at=day(4))
    say(tagged, "product:p", CATEGORY, "Footwear", at=day(9))
    say(tagged, "product:p", "articleType", "Sneakers", at=day(9))
    assert true_of(tagged) == {"a": "Footwear", "b": "Clothing"}
    assert true_of(tagged, "articleType") == {"a": "Sneakers", "b": "Sneakers"}


@pytest.mark.parametrize("target", ["c", "product:c"])
def test_what_was_said_last_counts_in_whatever_order_it_came(tagged: Engine, target: str) -> None:
    say(tagged, target, CATEGORY, "Clothing", at=day(9), by="zoe")
    say(tagged, target, CATEGORY, "Footwear", at=day(4))
    assert true_of(tagged) == {"c": "Clothing"}
    say(tagged, target, CATEGORY, None, at=day(9), by="ben")  # of one time, what came last
    assert true_of(tagged) == {"c": None}


def test_a_photo_that_comes_later_has_its_product_s_truth(tagged: Engine) -> None:
    say(tagged, "product:p", CATEGORY, "Footwear")
    tag(tagged, photo("late", "coat", "p"))
    assert true_of(tagged) == dict.fromkeys(("a", "b", "late"), "Footwear")


def test_a_photo_s_truth_stays_with_it_when_its_product_is_called_otherwise(tagged: Engine) -> None:
    say(tagged, "a", CATEGORY, "Accessories")
    say(tagged, "product:p", CATEGORY, "Footwear")
    with writing(tagged) as connection:
        renamed = update(photos).where(photos.c.photo_id == photo_id(tagged, "a"))
        connection.execute(renamed.values(product_id="q"))
    assert true_of(tagged) == {"a": "Accessories", "b": "Footwear"}


def test_a_drawn_photo_tells_of_others_whoever_asked_for_its_truth(tagged: Engine) -> None:
    say(tagged, "product:p", CATEGORY, "Footwear")
    say(tagged, "c", CATEGORY, "Footwear", chosen="random", probability=0.5)
    put_draw(tagged, 1, ["a"], 0.2)
    unsampled = ("unsampled", None)
    assert sampled(tagged) == {"a": ("random", 0.2), "b": unsampled, "c": ("random", 0.5)}
    put_draw(tagged, tag(tagged, photo("a", "coat", "p")), ["a", "c"], 0.25)
    assert sampled(tagged) == {"a": ("random", 0.25), "b": unsampled, "c": ("random", 0.5)}


# Which label it is counted for ------------------------------------------------------------------------------


def serve_another(engine: Engine, at: datetime) -> None:
    """From then on a set is served whose labels of every content are the last ones of the taxonomy."""
    old = label_set_of(engine)
    other = label_set_for(engine, old.model_version, type(DEMO)("other", DEMO.attributes))
    names = [column.name for column in labels.columns if column.name != "label_set_id"]
    last = other.label_ids[CATEGORY][-1]
    with writing(engine) as connection:
        columns = ", ".join(names)
        copied = f"INSERT INTO labels (label_set_id, {columns}) SELECT :new, {columns} FROM labels"
        connection.execute(text(f"{copied} WHERE label_set_id = :old"), {"new": other.label_set_id, "old": 1})
        its = (labels.c.label_set_id == other.label_set_id) & (
            labels.c.attribute_id == other.attribute_ids[CATEGORY]
        )
        connection.execute(update(labels).where(its).values(label_1=last))
        connection.execute(update(served_log).where(served_log.c.served_to.is_(None)).values(served_to=at))
        connection.execute(
            insert(served_log).values(label_set_id=other.label_set_id, served_from=at, reason="other")
        )
        connection.execute(update(served_label_set).values(label_set_id=other.label_set_id))


def verdict_taxonomies(engine: Engine) -> dict[str, str]:
    """Photo -> which set's label its truth is counted for: `demo` or `other`."""
    found = rows(
        engine,
        "SELECT v.uri, t.name FROM truth_verdicts v JOIN taxonomies t ON t.version = v.taxonomy_version",
    )
    return {uri.rpartition("/")[2]: name for uri, name in found}


def test_late_truth_is_counted_for_the_set_that_was_served_when_it_was_given(tagged: Engine) -> None:
    serve_another(tagged, day(10))
    with writing(tagged) as connection:  # the log began before the photos came
        connection.execute(
            update(served_log).where(served_log.c.label_set_id == 1).values(served_from=day(1))
        )
    say(tagged, "a", CATEGORY, "Footwear", at=day(5))
    say(tagged, "b", CATEGORY, "Footwear", at=day(15))
    say(tagged, "c", CATEGORY, "Footwear", at=day(10))
    assert verdict_taxonomies(tagged) == {"a": DEMO.name, "b": "other", "c": "other"}


def test_truth_that_was_there_before_the_photo_is_counted_for_its_first_label(tagged: Engine) -> None:
    say(tagged, "c", CATEGORY, "Footwear", at=day(1))
    say(tagged, "product:late", CATEGORY, "Footwear", at=day(1))
    serve_another(tagged, day(10))
    tag(tagged, photo("late", "shoe"), at=day(12))
    assert verdict_taxonomies(tagged) == {"c": DEMO.name, "late": "other"}


def test_truth_is_counted_for_the_picture_that_the_photo_showed_then(tagged: Engine) -> None:
    def verdict() -> list[tuple[Any, ...]]:
        return rows(tagged, "SELECT label, similarity, correct FROM truth_verdicts")

    [shoe] = rows(
        tagged, "SELECT label, similarity FROM catalog_labels WHERE uri LIKE '%/a' AND attribute = 'category'"
    )
    tag(tagged, photo("a", "coat", "p"), at=day(12))
    with writing(tagged) as connection:
        connection.execute(text("UPDATE photo_past_contents SET replaced_at = :at").bindparams(at=day(12)))
    [coat] = rows(
        tagged, "SELECT label, similarity FROM catalog_labels WHERE uri LIKE '%/a' AND attribute = 'category'"
    )
    assert coat != shoe
    say(tagged, "a", CATEGORY, shoe[0], at=day(5))
    assert verdict() == [(*shoe, 1)]
    say(tagged, "a", CATEGORY, coat[0], at=day(13))
    assert verdict() == [(*coat, 1)]
    say(tagged, "a", CATEGORY, None, at=day(14))
    assert verdict() == [(*coat, 0)]


def test_verdicts_say_what_was_right(tagged: Engine) -> None:
    [(label,)] = rows(
        tagged, "SELECT label FROM catalog_labels WHERE uri LIKE '%/a' AND attribute = 'category'"
    )
    say(tagged, "product:p", CATEGORY, label, by="ben", chosen="random", probability=0.5)
    found = rows(
        tagged,
        "SELECT uri, product_id, attribute, truth, label, correct, decision, chosen,"
        " inclusion_probability, given_by FROM truth_verdicts ORDER BY uri",
    )
    assert found[0] == (
        "file:///photos/a",
        "p",
        CATEGORY,
        label,
        label,
        1,
        "uncalibrated",
        "random",
        0.5,
        "ben",
    )
    assert [row[5] for row in found] == [1, int(found[1][4] == label)]


# What goes to review ----------------------------------------------------------------------------------------


def queue(engine: Engine) -> set[tuple[Any, ...]]:
    found = rows(engine, "SELECT uri, attribute, reason, inclusion_probability FROM review_queue")
    assert len(found) == len({row[:2] for row in found})  # a label is asked for once
    return {(uri.rpartition("/")[2], *rest) for uri, *rest in found}


def test_the_queue_holds_what_is_uncertain_and_what_was_drawn_each_with_its_reason(tagged: Engine) -> None:
    assert queue(tagged) == set()
    decide(tagged, "a", CATEGORY, Decision.UNCERTAIN)
    decide(tagged, "b", CATEGORY, Decision.UNKNOWN)
    decide(tagged, "b", "articleType", Decision.CONFLICT)
    decide(tagged, "c", "articleType", Decision.CONFLICT)
    decide(tagged, "a", "articleType", Decision.ACCEPTED)
    put_draw(tagged, 1, ["c"], 0.25)
    asked = {
        ("a", CATEGORY, "uncertain", None),
        ("b", CATEGORY, "unknown", None),
        ("b", "articleType", "conflict", None),
        ("c", CATEGORY, "audit", 0.25),
        ("c", "articleType", "audit", 0.25),
    }
    assert queue(tagged) == asked
    [row] = rows(
        tagged, "SELECT uri, product_id, label, confidence FROM review_queue WHERE reason = 'uncertain'"
    )
    assert [row] == rows(
        tagged,
        "SELECT uri, product_id, label, confidence FROM catalog_labels"
        " WHERE uri LIKE '%/a' AND attribute = 'category'",
    )
    say(tagged, "product:p", CATEGORY, "Footwear")
    say(tagged, "c", CATEGORY, "Footwear")
    assert queue(tagged) == {row for row in asked if row[1] != CATEGORY}
    vanish(tagged, "c")
    assert queue(tagged) == {("b", "articleType", "conflict", None)}


def test_two_photos_of_one_content_are_both_asked_for_and_one_of_two_draws_counts(tagged: Engine) -> None:
    tag(tagged, photo("twin", "bag"))
    decide(tagged, "c", CATEGORY, Decision.UNCERTAIN)
    assert {row[0] for row in queue(tagged)} == {"c", "twin"}
    put_draw(tagged, 1, ["twin"], 0.5)
    put_draw(tagged, 2, ["twin"], 0.25)
    assert {row for row in queue(tagged) if row[1] == CATEGORY} == {
        ("c", CATEGORY, "uncertain", None),
        ("twin", CATEGORY, "audit", 0.25),
    }


@pytest.mark.parametrize("target", ["c", "product:c"])
def test_people_who_differ_are_asked_again_until_two_agree(tagged: Engine, target: str) -> None:
    disputed = {("c", CATEGORY, "conflict", None)}
    say(tagged, target, CATEGORY, "Footwear", by="ann", at=day(4))
    say(tagged, target, CATEGORY, "Clothing", by="ann", at=day(5))  # she may change her mind
    assert queue(tagged) == set()
    say(tagged, target, CATEGORY, "Footwear", by="ben", at=day(6))
    assert queue(tagged) == disputed
    say(tagged, target, CATEGORY, None, by="cho", at=day(7))
    assert queue(tagged) == disputed
    say(tagged, target, CATEGORY, "Clothing", by="dan", at=day(8))
    assert queue(tagged) == set()
    assert true_of(tagged) == {"c": "Clothing"}


def test_who_was_asked_first_may_come_round(tagged: Engine) -> None:
    say(tagged, "c", CATEGORY, "Footwear", by="ann", at=day(4))
    say(tagged, "c", CATEGORY, "Clothing", by="ben", at=day(5))
    say(tagged, "c", CATEGORY, "Clothing", by="ann", at=day(6))
    assert queue(tagged) == set()


def test_an_exception_from_its_product_is_no_dispute(tagged: Engine) -> None:
    say(tagged, "product:p", CATEGORY, "Footwear", by="ann")
    say(tagged, "a", CATEGORY, "Clothing", by="ben")
    assert queue(tagged) == set()


@ON_SQLITE
@pytest.mark.parametrize("analysed", [False, True])
def test_sqlite_begins_with_truth_and_draws_and_not_with_all_photos(tagged: Engine, analysed: bool) -> None:
    tag(tagged, *(photo(f"more{number}", "sock") for number in range(300)))
    say(tagged, "product:p", CATEGORY, "Footwear")
    say(tagged, "c", CATEGORY, "Footwear")
    put_draw(tagged, 1, ["a", "more5"], 0.5)
    with writing(tagged) as connection:
        if analysed:
            connection.execute(text("ANALYZE"))
    for query in ("photo_truths", "truth_verdicts", "truth_verdicts WHERE uri = 'file:///photos/a'"):
        with reading(tagged) as connection:
            steps = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN SELECT * FROM {query}"))]
        assert not [step for step in steps if step.split()[:2] in (["SCAN", "p"], ["SCAN", "l"])], steps


# A picture that is exchanged --------------------------------------------------------------------------------


def fitted_to(engine: Engine) -> dict[str, str]:
    """Photo -> what the picture showed whose vector models are fitted to; and verdicts tell of the same."""
    label_set = label_set_of(engine)
    found = truths.truth_vectors(engine, label_set, sampled_only=False).get(CATEGORY)
    if found is None:
        assert truths.verdicts(engine, label_set) == {}
        return {}
    said = truths.verdicts(engine, label_set)[CATEGORY]
    words = {vector(word).astype(np.float32).tobytes(): word for word in CONTENTS.values()}
    shown = {uri[-1]: words[row.tobytes()] for uri, row in zip(found.photos, found.vectors, strict=True)}
    for uri, index in zip(said.photos, said.top.index, strict=True):
        assert np.array_equal(index, top([shown[uri[-1]]])[CATEGORY].index[0])
    assert {uri[-1] for uri in said.photos} == set(shown)
    return shown


def test_truth_is_of_the_picture_that_was_shown_when_it_was_given(tagged: Engine) -> None:
    for name in "abc":
        say(tagged, name, CATEGORY, "Footwear", at=day(5))
    tag(tagged, photo("a", "coat", "p"), photo("b", "sock", "p"), at=day(10))
    tag(tagged, photo("a", "belt", "p"), at=day(20))
    assert fitted_to(tagged) == {"a": "shoe", "b": "hat", "c": "bag"}
    say(tagged, "a", CATEGORY, "Clothing", at=day(12))
    say(tagged, "b", CATEGORY, "Clothing", at=day(12))
    assert fitted_to(tagged) == {"a": "coat", "b": "sock", "c": "bag"}
    say(tagged, "a", CATEGORY, "Accessories", at=day(20))
    assert fitted_to(tagged) == {"a": "belt", "b": "sock", "c": "bag"}


def test_truth_that_was_known_beforehand_is_of_the_first_picture(tagged: Engine) -> None:
    say(tagged, "c", CATEGORY, "Footwear", at=day(1))
    assert fitted_to(tagged) == {"c": "bag"}
    tag(tagged, photo("c", "coat"), at=day(10))
    tag(tagged, photo("d", "ring"), at=day(10))  # a picture for the first time
    say(tagged, "d", CATEGORY, "Footwear", at=day(5))
    assert fitted_to(tagged) == {"c": "bag", "d": "ring"}


def test_what_was_seen_of_a_photo_before_it_vanished_counts_until_it_shows_another_picture(
    tagged: Engine,
) -> None:
    with writing(tagged) as connection:
        gone = update(photos).where(photos.c.photo_id == photo_id(tagged, "c"))
        connection.execute(gone.values(vanished_at=day(4)))
    say(tagged, "c", CATEGORY, "Footwear", at=day(6))
    tag(tagged, photo("c", "coat"), at=day(10))
    assert fitted_to(tagged) == {"c": "bag"}
    tag(tagged, broken("file:///photos/c"), at=day(14))
    assert fitted_to(tagged) == {"c": "bag"}
    say(tagged, "c", CATEGORY, "Footwear", at=day(16))
    assert fitted_to(tagged) == {}


def test_truth_of_a_product_is_of_the_picture_that_is_there_now(tagged: Engine) -> None:
    say(tagged, "product:p", CATEGORY, "Footwear", at=day(5))
    tag(tagged, photo("a", "coat", "p"), at=day(10))
    assert fitted_to(tagged) == {"a": "coat", "b": "hat"}
    assert queue(tagged) == set()


def test_a_draw_ends_with_the_picture_that_was_drawn(tagged: Engine) -> None:
    put_draw(tagged, 1, ["a", "c"], 0.25)
    say(tagged, "a", CATEGORY, "Footwear", at=day(5))
    tag(tagged, photo("a", "coat", "p"), photo("c", "sock"), at=day(10))
    assert sampled(tagged) == {"a": ("random", 0.25)}  # of the picture that was drawn
    decide(tagged, "c", CATEGORY, Decision.UNCERTAIN)
    assert queue(tagged) == {("c", CATEGORY, "uncertain", None)}
    say(tagged, "a", CATEGORY, "Clothing", at=day(12))
    say(tagged, "c", CATEGORY, "Clothing", at=day(12))
    assert sampled(tagged) == dict.fromkeys("ac", ("unsampled", None))


def test_a_photo_that_shows_another_picture_is_asked_for_again(tagged: Engine) -> None:
    decide(tagged, "c", CATEGORY, Decision.UNCERTAIN)
    put_draw(tagged, 1, ["a"], 0.25)
    for name, attribute in (("a", CATEGORY), ("a", "articleType"), ("c", CATEGORY)):
        say(tagged, name, attribute, None, at=day(5))
    assert queue(tagged) == set()
    run_id = tag(tagged, photo("a", "coat", "p"), photo("c", "sock"), at=day(10))
    put_draw(tagged, run_id, ["a"], 0.5)
    decide(tagged, "c", CATEGORY, Decision.UNCERTAIN)
    again = {
        ("a", CATEGORY, "audit", 0.5),
        ("a", "articleType", "audit", 0.5),
        ("c", CATEGORY, "uncertain", None),
    }
    assert queue(tagged) == again
    say(tagged, "a", CATEGORY, "Clothing", at=day(12))
    say(tagged, "c", CATEGORY, "Clothing", at=day(12))
    assert queue(tagged) == {("a", "articleType", "audit", 0.5)}


def test_people_who_saw_different_pictures_do_not_differ(tagged: Engine) -> None:
    say(tagged, "c", CATEGORY, "Footwear", by="ann", at=day(5))
    tag(tagged, photo("c", "coat"), at=day(10))
    say(tagged, "c", CATEGORY, "Clothing", by="ben", at=day(12))
    assert queue(tagged) == set()
    say(tagged, "c", CATEGORY, "Footwear", by="cho", at=day(13))
    assert queue(tagged) == {("c", CATEGORY, "conflict", None)}


# How far random truth reaches -------------------------------------------------------------------------------


def test_random_truth_reaches_the_runs_that_were_drawn_from(tagged: Engine) -> None:
    assert reach(tagged) == Reach(3, 0, None)  # d is no picture
    run_id = tag(tagged, *(photo(f"new{number}", "sock") for number in range(4)))
    put_draw(tagged, run_id, ["new1"], 0.25)
    with writing(tagged) as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(started_at=day(9)))
    assert reach(tagged) == Reach(7, 4, day(9))
    vanish(tagged, "new1")
    assert reach(tagged) == Reach(6, 3, day(9))
    say(tagged, "c", CATEGORY, "Footwear", chosen="random", probability=0.5)  # a draw of one's own
    assert reach(tagged).reached == 6


# What models are measured by and fitted to ------------------------------------------------------------------


def test_verdicts_are_what_the_label_set_says_now(tagged: Engine) -> None:
    label_set = label_set_of(tagged)
    say(tagged, "product:p", CATEGORY, "Footwear")
    say(tagged, "c", CATEGORY, None, chosen="random", probability=0.25)
    vanish(tagged, "c")
    decide(tagged, "b", CATEGORY, Decision.UNCERTAIN)
    found = truths.verdicts(tagged, label_set)
    assert list(found) == [CATEGORY]
    one = found[CATEGORY]
    assert one.labels == tuple(label.name for label in DEMO.attributes[0].labels)
    assert one.photos == tuple(f"file:///photos/{name}" for name in "abc")
    assert one.products.tolist() == [1, 1, 0]
    assert one.truth.tolist() == [one.labels.index("Footwear")] * 2 + [NONE_OF_THEM]
    assert one.weights.tolist() == [1, 1, 4]
    assert one.top.decision.tolist() == [0, Decision.UNCERTAIN, 0]
    with writing(tagged) as connection:
        connection.execute(text("UPDATE photos SET vanished_at = NULL"))
    shown = rows(
        tagged,
        "SELECT label, similarity, confidence FROM label_candidates WHERE attribute = 'category'"
        " ORDER BY uri, rank",
    )
    kept = one.top.index.shape[1]
    assert kept == min(5, len(one.labels))
    assert [one.labels[index] for index in one.top.index.ravel()] == [label for label, *_ in shown]
    assert one.top.similarity.ravel().tolist() == pytest.approx([row[1] for row in shown])
    assert one.top.confidence.ravel().tolist() == pytest.approx([row[2] for row in shown])


def test_truth_that_the_taxonomy_has_no_label_for_is_none_of_them(tagged: Engine) -> None:
    label_set = label_set_of(tagged)
    with writing(tagged) as connection:
        connection.execute(text("INSERT INTO label_names (attribute_id, name) VALUES (1, 'Hats')"))
    say(tagged, "c", CATEGORY, None)
    with writing(tagged) as connection:
        newest = "(SELECT MAX(label_id) FROM label_names)"
        connection.execute(text(f"UPDATE truths SET label_id = {newest}"))
    [one] = truths.verdicts(tagged, label_set).values()
    assert one.truth.tolist() == [NONE_OF_THEM]
    assert label_id(label_set, CATEGORY, one.labels[0]) == label_set.label_ids[CATEGORY][0]


def test_vectors_go_with_their_truth(tagged: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.catalog.truths.PAGE", 2)
    label_set = label_set_of(tagged)
    say(tagged, "product:p", CATEGORY, "Footwear")
    say(tagged, "c", CATEGORY, "Accessories", chosen="random", probability=0.5)
    say(tagged, "c", "articleType", "Bags")
    say(tagged, "product:d", CATEGORY, "Footwear")  # it never was a picture
    found = truths.truth_vectors(tagged, label_set, sampled_only=False)
    assert list(found) == [CATEGORY, "articleType"] or list(found) == ["articleType", CATEGORY]
    one = found[CATEGORY]
    assert one.vectors.dtype == np.float32
    told = {
        uri[-1]: rest
        for uri, *rest in zip(one.photos, one.product_ids, one.weights, one.vectors, strict=True)
    }
    expected = {"a": ("p", 1, "shoe"), "b": ("p", 1, "hat"), "c": ("c", 2, "bag")}
    assert set(told) == set(expected)
    for name, (product, weight, word) in expected.items():
        assert told[name][:2] == [product, weight]
        assert np.array_equal(told[name][2], vector(word))
    assert np.array_equal(found["articleType"].vectors, vector("bag")[None])
    [only] = truths.truth_vectors(tagged, label_set, sampled_only=True).values()
    assert (only.photos, only.vectors.shape) == (("file:///photos/c",), (1, 4))


def test_attributes_of_the_same_photos_share_their_vectors(tagged: Engine) -> None:
    for attribute in (CATEGORY, "articleType"):
        say(tagged, "product:p", attribute, None)
    one, other = truths.truth_vectors(tagged, label_set_of(tagged), sampled_only=False).values()
    assert np.shares_memory(one.vectors, other.vectors)
    tag(tagged, photo("twin", "hat", "p"))
    one, other = truths.truth_vectors(tagged, label_set_of(tagged), sampled_only=False).values()
    assert one.photos == other.photos
    assert np.array_equal(one.vectors[one.photos.index("file:///photos/twin")], vector("hat"))
    assert len(one.vectors) == 3


def test_without_truth_there_is_nothing(tagged: Engine) -> None:
    label_set = label_set_of(tagged)
    assert truths.verdicts(tagged, label_set) == {}
    assert truths.truth_vectors(tagged, label_set, sampled_only=False) == {}
    assert rows(tagged, "SELECT * FROM truth_verdicts") == []
