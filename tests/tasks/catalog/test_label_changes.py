"""What a promotion changed, counted over the pictures of both label sets."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from tasks import promotion_artifact
from tasks.catalog import label_changes, models, versions
from tasks.catalog.engine import writing
from tasks.catalog.label_changes import Change, Changes
from tasks.catalog.models import LabelSet, served
from tasks.catalog.versions import Made
from tests.catalogue_fixtures import rows
from tests.tasks.catalog.made_results import DEMO, FACTS
from tests.tasks.catalog.made_truths import photo, tag

COLUMNS = ", ".join(
    f"{name}_{rank}" for rank in range(1, 6) for name in ("label", "similarity", "confidence")
)


@pytest.fixture
def both(engine: Engine) -> tuple[LabelSet, LabelSet]:
    """Two label sets of three pictures; of one the category is another in the second."""
    tag(engine, photo("a", "shoe"), photo("b", "hat"), photo("c", "bag"))
    before = served(engine)
    assert before is not None
    facts = replace(FACTS, checkpoint="registry:made", head="h" * 64, digest="d" * 64)
    version = versions.register(engine, facts, Made("head", before.model_version, {}, {}))
    now = models.label_set_for(engine, version, DEMO)
    with writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO labels (label_set_id, content_id, attribute_id, shard_id, decision,"
                f" {COLUMNS}) SELECT :now, content_id, attribute_id, shard_id, decision, {COLUMNS}"
                " FROM labels WHERE label_set_id = :before"
            ),
            {"now": now.label_set_id, "before": before.label_set_id},
        )
        connection.execute(
            text(
                "UPDATE labels SET label_1 = label_2, label_2 = label_1 WHERE label_set_id = :now"
                " AND content_id = 1 AND attribute_id = :attribute_id"
            ),
            {"now": now.label_set_id, "attribute_id": now.attribute_ids["category"]},
        )
    return before, now


def test_changes_are_counted_with_their_names(engine: Engine, both: tuple[LabelSet, LabelSet]) -> None:
    found = label_changes.between(engine, *both)
    assert found.pictures == 3
    assert found.shares == {"category": pytest.approx(1 / 3), "articleType": 0}
    [(had, has)] = rows(
        engine,
        "SELECT x.name, y.name FROM labels l JOIN label_names x ON x.label_id = l.label_1"
        " JOIN label_names y ON y.label_id = l.label_2 WHERE l.content_id = 1 AND l.label_set_id = :before"
        " AND l.attribute_id = :attribute_id",
        before=both[0].label_set_id,
        attribute_id=both[0].attribute_ids["category"],
    )
    assert found.most == (Change("category", had, has, 1),)
    text = promotion_artifact.markdown("old", "new", "better | much", found)
    assert f"| category | {had} | {has} | 1 |" in text
    assert "better \\| much" in text
    assert "| category | 33.3% |" in text


def test_of_many_pictures_some_are_looked_at(
    engine: Engine, both: tuple[LabelSet, LabelSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_changes, "LOOKED_AT", 2)
    found = label_changes.between(engine, *both)
    assert (found.pictures, found.most) == (1, ())


def test_the_same_set_has_no_changes(engine: Engine, both: tuple[LabelSet, LabelSet]) -> None:
    found = label_changes.between(engine, both[0], both[0])
    assert (set(found.shares.values()), found.most) == ({0.0}, ())
    assert "before | now" not in promotion_artifact.markdown("old", "new", "why", Changes(0, {}, ()))
