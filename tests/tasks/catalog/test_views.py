"""What people query: each view against a small catalogue whose story is known."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text, update

from tasks.catalog import tables
from tasks.catalog.engine import writing
from tests.catalogue_fixtures import Tagged, rows
from tests.tasks.catalog.databases import moments
from tests.tasks.catalog.made_results import digest


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


@pytest.fixture
def story(engine: Engine) -> Engine:
    """Model one is served from day 1, model two, whose first labels were made on day 15, from day 20.

    Photo a shows a shoe from day 2 and a hat from day 10; photo b shows the shoe from day 3 and vanishes on
    day 25; photo c is tagged on day 21; d and e never were a picture, and e vanishes too.
    """

    statements: list[tuple[str, list[tuple[Any, ...]]]] = [
        ("encoders", [(1, "e1", 4, day(1), "float32", "exact", 1)]),
        (
            "model_versions",
            [
                (1, "one", "f1", "c1", 1, "zero-shot", None, day(1), None, None, None, None),
                (2, "two", "f2", "c2", 1, "head", 1, day(12), None, None, None, None),
                (3, "three", "f3", "c3", 1, "head", 1, day(13), None, None, None, None),
            ],
        ),
        ("taxonomies", [(1, "v1", "t", "{}", day(1))]),
        (
            "label_sets",
            [
                (1, 1, 1, "complete", day(1), day(1)),
                (2, 2, 1, "complete", day(12), day(16)),
                (3, 3, 1, "building", day(13), None),
            ],
        ),
        ("served_label_set", [(1, 2)]),
        ("served_log", [(1, 1, day(1), day(20), "first"), (2, 2, day(20), None, "better")]),
        ("attributes", [(1, "kind")]),
        ("label_names", [(number, 1, f"L{number}") for number in range(1, 8)]),
        (
            "runs",
            [
                (
                    number,
                    "nightly-tagging",
                    "s",
                    day(1),
                    None,
                    "completed",
                    9,
                    1,
                    2,
                    3,
                    None,
                    None,
                    None,
                    None,
                )
                for number in range(1, 6)
            ],
        ),
        (
            "shards",
            [
                (1, 1, day(2), 1, 1, 0, 0, 1, None),
                (2, 1, day(3), 0, 1, 2, 2, 3, None),
                (3, 2, day(10), 1, 1, 0, 0, 1, None),
                (4, 3, day(15), 0, 0, 0, 0, 0, None),
                (5, 4, day(21), 1, 1, 0, 0, 1, None),
            ],
        ),
        ("contents", [(1, digest("shoe")), (2, digest("hat")), (3, digest("bag"))]),
        (
            "photos",
            [
                (1, "a", "pa", "t", 2, 3, None),
                (2, "b", "pb", "t", 1, 2, day(25)),
                (3, "c", "pc", "t", 3, 5, None),
                (4, "d", "pd", "t", None, 5, None),
                (5, "e", "pe", "t", None, 5, day(25)),
            ],
        ),
        ("photo_past_contents", [(1, 1, 1, day(10))]),
        (
            "quarantine",
            [(4, "broken", "d", 2, day(3), day(4), None), (5, "broken", "d", 1, day(3), day(3), None)],
        ),
        (
            "labels",
            [
                packed(1, 1, shard=1, labels=(1, 2)),
                packed(1, 2, shard=3, labels=(2, 1)),
                packed(2, 1, shard=4, labels=(3, 4)),
                packed(2, 2, shard=4, labels=(4, 3, 5, 6, 7), decision=1),
                packed(2, 3, shard=5, labels=(5,), decision=2),
                packed(3, 1, shard=4, labels=(7,)),
            ],
        ),
    ]
    with writing(engine) as connection:
        for name, made in statements:
            table = tables.metadata.tables[name]
            columns = table.columns.keys()
            connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in made])
    return engine


def packed(
    label_set: int, content: int, shard: int, labels: tuple[int, ...], decision: int = 0
) -> tuple[Any, ...]:
    scores: list[tuple[int | None, ...]] = [
        (label, 3000 - rank, 9000 - 1000 * rank) for rank, label in enumerate(labels)
    ]
    scores += [(None, None, None)] * (5 - len(labels))
    return (label_set, content, 1, shard, decision, *(value for triple in scores for value in triple))


def test_catalog_labels_shows_the_served_set_of_what_is_present(story: Engine) -> None:
    found = moments(
        story,
        "SELECT uri, product_id, sha256, attribute, label, similarity, confidence, decision, model_version,"
        " taxonomy_version, run_id, tagged_at FROM catalog_labels ORDER BY uri",
        "tagged_at",
    )
    assert found == [
        ("a", "pa", digest("hat"), "kind", "L4", 0.3, 0.9, "accepted", "two", "v1", 3, day(15)),
        ("c", "pc", digest("bag"), "kind", "L5", 0.3, 0.9, "review", "two", "v1", 4, day(21)),
    ]


def test_label_candidates_unpacks_every_rank_there_is(story: Engine) -> None:
    found = rows(
        story, "SELECT uri, rank, label, similarity, confidence FROM label_candidates ORDER BY uri, rank"
    )
    assert found == [
        ("a", 1, "L4", 0.3, 0.9),
        ("a", 2, "L3", 0.2999, 0.8),
        ("a", 3, "L5", 0.2998, 0.7),
        ("a", 4, "L6", 0.2997, 0.6),
        ("a", 5, "L7", 0.2996, 0.5),
        ("c", 1, "L5", 0.3, 0.9),
    ]


def test_label_counts_counts_the_photos_that_are_shown(story: Engine, tagged: Tagged) -> None:
    counts = "SELECT attribute, label, photos FROM label_counts ORDER BY 1, 2"
    assert rows(story, counts) == [("kind", "L4", 1), ("kind", "L5", 1)]
    shown = "SELECT attribute, label, COUNT(*) FROM catalog_labels GROUP BY attribute, label ORDER BY 1, 2"
    assert rows(tagged.engine, counts) == rows(tagged.engine, shown)


def test_label_history_tells_what_was_served_and_when(story: Engine) -> None:
    found = moments(
        story,
        "SELECT uri, label, model_version, tagged_at, served_from, served_to FROM label_history"
        " ORDER BY uri, served_from",
        "tagged_at",
        "served_from",
        "served_to",
    )
    assert found == [
        ("a", "L1", "one", day(2), day(2), day(10)),
        ("a", "L2", "one", day(10), day(10), day(20)),
        ("a", "L4", "two", day(15), day(20), None),
        ("b", "L1", "one", day(3), day(3), day(20)),
        ("b", "L3", "two", day(15), day(20), day(25)),
        ("c", "L5", "two", day(21), day(21), None),
    ]


def test_what_is_quarantined_is_shown_while_it_is_there(story: Engine) -> None:
    assert rows(story, "SELECT uri, reason, attempts FROM quarantined_images") == [("d", "broken", 2)]


def test_model_history_tells_each_model_s_part(story: Engine) -> None:
    found = moments(
        story,
        "SELECT version, encoder, rung, parent, role, promoted_at, retired_at FROM model_history ORDER BY 1",
        "promoted_at",
        "retired_at",
    )
    assert found == [
        ("one", "e1", "zero-shot", None, "archived", day(1), day(20)),
        ("three", "e1", "head", "one", "challenger", None, None),
        ("two", "e1", "head", "one", "champion", day(20), None),
    ]


def test_a_model_that_came_back_is_champion_since_its_first_day(story: Engine) -> None:
    log = tables.served_log
    back = {"served_log_id": 3, "label_set_id": 1, "served_from": day(22), "reason": "rollback"}
    with writing(story) as connection:
        connection.execute(update(log).where(log.c.served_log_id == 2).values(served_to=day(22)))
        connection.execute(insert(log), back)
        connection.execute(text("UPDATE served_label_set SET label_set_id = 1"))
    query = "SELECT version, role, promoted_at, retired_at FROM model_history ORDER BY 1"
    found = moments(story, query, "promoted_at", "retired_at")
    assert found[0] == ("one", "champion", day(1), None)
    assert found[2] == ("two", "archived", day(20), day(22))
    query = "SELECT label, served_from, served_to FROM label_history WHERE uri = 'a' ORDER BY 2"
    of_a = moments(story, query, "served_from", "served_to")
    assert of_a == [
        ("L1", day(2), day(10)),
        ("L2", day(10), day(20)),
        ("L4", day(20), day(22)),
        ("L2", day(22), None),
    ]


def test_run_history_adds_up_the_shards_of_a_run(story: Engine) -> None:
    found = rows(story, "SELECT run_id, embedded, tagged, quarantined FROM run_history ORDER BY 1")
    assert found == [(1, 1, 2, 2), (2, 1, 1, 0), (3, 0, 0, 0), (4, 1, 1, 0), (5, 0, 0, 0)]


def test_no_set_is_served_and_nothing_is_shown(story: Engine) -> None:
    with writing(story) as connection:
        connection.execute(text("DELETE FROM served_label_set"))
    assert rows(story, "SELECT * FROM catalog_labels") == []
    assert rows(story, "SELECT * FROM label_candidates") == []
    assert rows(story, "SELECT * FROM label_counts") == []
    assert {role for (role,) in rows(story, "SELECT role FROM model_history")} == {"archived", "challenger"}


def test_every_photo_of_a_real_run_has_a_label_and_its_candidates(tagged: Tagged) -> None:
    attributes = tagged.label_set.taxonomy.attributes
    photos = len(list(tagged.folder.glob("*.png")))
    assert rows(tagged.engine, "SELECT COUNT(*), COUNT(DISTINCT uri) FROM catalog_labels") == [
        (photos * len(attributes), photos)
    ]
    for attribute in attributes:
        ranks = rows(
            tagged.engine,
            "SELECT rank, COUNT(*), MIN(confidence) >= 0, MAX(confidence) <= 1, MIN(similarity) >= -1,"
            " MAX(similarity) <= 1 FROM label_candidates WHERE attribute = :name GROUP BY rank ORDER BY rank",
            name=attribute.name,
        )
        assert ranks == [(rank, photos, 1, 1, 1, 1) for rank in range(1, min(5, len(attribute.labels)) + 1)]
    [(other_order,)] = rows(
        tagged.engine,
        "SELECT COUNT(*) FROM label_candidates one JOIN label_candidates next ON next.uri = one.uri"
        " AND next.attribute = one.attribute AND next.rank = one.rank + 1"
        " WHERE next.confidence > one.confidence OR next.similarity > one.similarity"
        " OR next.label = one.label",
    )
    assert other_order == 0
    [(differing,)] = rows(
        tagged.engine,
        "SELECT COUNT(*) FROM catalog_labels l JOIN label_candidates c ON c.uri = l.uri"
        " AND c.attribute = l.attribute AND c.rank = 1"
        " WHERE c.label <> l.label OR c.confidence <> l.confidence OR c.similarity <> l.similarity",
    )
    assert differing == 0
    now = rows(tagged.engine, "SELECT uri, attribute, label, tagged_at FROM catalog_labels ORDER BY 1, 2")
    ever = rows(
        tagged.engine,
        "SELECT uri, attribute, label, served_from FROM label_history WHERE served_to IS NULL ORDER BY 1, 2",
    )
    assert now == ever
