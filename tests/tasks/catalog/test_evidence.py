"""What a retraining may learn from: photos with truth and vectors, and how each truth came to be known."""

import numpy as np
import pytest
from sqlalchemy import Engine

from fashion_clip.predictions import NONE_OF_THEM
from tasks.catalog.evidence import NOT_KNOWN, Evidence, evidence, sampled_attributes
from tasks.catalog.models import LabelSet, served
from tests.tasks.catalog.made_results import vector
from tests.tasks.catalog.made_truths import day, photo, put_draw, say, tag


@pytest.fixture
def label_set(engine: Engine) -> LabelSet:
    """Photos a and b of product p, c of its own; a was drawn, of which the category is known."""
    run_id = tag(engine, photo("a", "shoe", "p"), photo("b", "hat", "p"), photo("c", "bag"), at=day(2))
    put_draw(engine, run_id, ["a"], 0.25)
    say(engine, "a", "category", "Footwear", at=day(5))
    say(engine, "a", "articleType", "Sneakers", at=day(6))
    say(engine, "c", "category", None, at=day(4), chosen="review")
    found = served(engine)
    assert found is not None
    return found


def row_of(told: Evidence, name: str) -> int:
    return told.photos.index(f"file:///photos/{name}")


def test_each_photo_with_its_truths_and_its_vector(engine: Engine, label_set: LabelSet) -> None:
    told = evidence(engine, label_set)
    a, c = row_of(told, "a"), row_of(told, "c")
    assert len(told.photos) == 2
    assert (told.products[a], told.products[c]) == ("p", "c")
    category = told.told["category"]
    names = [label.name for label in label_set.taxonomy.attributes[0].labels]
    assert label_set.taxonomy.attributes[0].name == "category"
    assert names[category.truth[a]] == "Footwear"
    assert category.truth[c] == NONE_OF_THEM
    assert told.told["articleType"].truth[c] == NOT_KNOWN
    assert category.sampled.tolist() == [row == a for row in range(2)]
    assert category.weights[a] == 4.0
    assert told.given_at[a] == day(6).timestamp()
    np.testing.assert_array_equal(told.vectors[a], vector("shoe").astype(np.float32))


def test_only_what_was_drawn_may_judge(engine: Engine, label_set: LabelSet) -> None:
    told = evidence(engine, label_set)
    rows = np.arange(2)
    assert told.truths("category", rows, told.vectors, sampled=True).products == ("p",)
    assert set(told.truths("category", rows, told.vectors, sampled=False).products) == {"p", "c"}
    assert sampled_attributes(engine, label_set) == {"category", "articleType"}


def test_its_version_is_that_of_what_is_told(engine: Engine, label_set: LabelSet) -> None:
    told = evidence(engine, label_set)
    rows = np.arange(2)
    assert told.version(rows) == evidence(engine, label_set).version(rows[::-1])
    assert told.version(rows) != told.version(rows[:1])
    before = told.version(rows)
    say(engine, "a", "category", "Clothing", at=day(9))
    again = evidence(engine, label_set)
    assert again.version(rows) != before
    assert set(again.truth_ids(rows)) != set(told.truth_ids(rows))


def test_a_catalogue_without_truth_has_no_evidence(engine: Engine) -> None:
    tag(engine, photo("a", "shoe"), at=day(2))
    found = served(engine)
    assert found is not None
    told = evidence(engine, found)
    assert (told.photos, dict(told.told), told.vectors.shape) == ((), {}, (0, found.dimension))
    assert sampled_attributes(engine, found) == set()
