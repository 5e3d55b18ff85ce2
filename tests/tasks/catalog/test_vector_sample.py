"""A sample of vectors is spread over all nights, leaves out what judges, and is what is stored."""

import numpy as np
from sqlalchemy import Engine

from tasks.catalog.models import served
from tasks.catalog.vector_sample import vector_sample
from tests.tasks.catalog.made_results import begun, vector
from tests.tasks.catalog.made_truths import CONTENTS, photo, say, tag

WORDS = list(CONTENTS.values())


def tagged_words(engine: Engine) -> None:
    tag(engine, *(photo(f"{word}.jpg", word) for word in WORDS))


def sample(engine: Engine, count: int) -> list[list[float]]:
    label_set = served(engine)
    assert label_set is not None
    return sorted(vector_sample(engine, label_set, count).tolist())


def stored(*words: str) -> list[list[float]]:
    return sorted(vector(word).astype(np.float32).tolist() for word in words)


def test_all_of_them_where_there_are_few(engine: Engine) -> None:
    tagged_words(engine)
    assert sample(engine, 1000) == stored(*WORDS)


def test_every_so_many_where_there_are_more(engine: Engine) -> None:
    tagged_words(engine)
    assert len(sample(engine, 2)) == 2
    assert len(sample(engine, 3)) == 3


def test_what_was_drawn_at_random_is_left_out(engine: Engine) -> None:
    tagged_words(engine)
    say(engine, "shoe.jpg", "category", "Footwear", chosen="random", probability=0.5)
    say(engine, "product:hat.jpg", "category", "Accessories", chosen="random", probability=0.5)
    say(engine, "bag.jpg", "category", "Accessories")
    assert sample(engine, 1000) == stored(*(word for word in WORDS if word not in ("shoe", "hat")))


def test_an_empty_catalogue_has_none(engine: Engine) -> None:
    assert vector_sample(engine, begun(engine), 10).shape == (0, 4)
