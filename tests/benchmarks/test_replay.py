"""The arithmetic of the replay: nights of a catalogue, labels that an operator adds, what nights come to."""

from pathlib import Path

import pytest

from benchmarks.replay_arms import Counted, Told, told_of
from benchmarks.replay_figures import accuracy, first_alarm, mean_error, means
from benchmarks.replay_nights import (
    FEWEST,
    Photo,
    labels_in,
    lacking,
    nights_of,
    taxonomy_of,
    write_taxonomy,
)
from fashion_clip.taxonomy import load_taxonomy

SHIRT = {
    "masterCategory": "Apparel", "subCategory": "Topwear", "articleType": "Shirts", "baseColour": "Blue",
    "gender": "Men", "season": "Fall", "usage": "Casual",
}  # fmt: skip
SCENT = SHIRT | {"masterCategory": "Personal Care", "subCategory": "Fragrance", "articleType": "Deodorant"}


def photos(year: int, count: int, truth: dict[str, str] = SHIRT) -> list[Photo]:
    return [Photo(f"{year}-{number}", year, b"", truth) for number in range(count)]


def test_each_photo_comes_once_and_each_month_ends_once() -> None:
    came = [*photos(2011, 5), *photos(2012, 25 * FEWEST + 7), *photos(2013, FEWEST + 1), *photos(2014, 3)]
    nights = nights_of(came, a_year=25, last=2014)
    assert [photo for night in nights for photo in night.photos] == came[5:]
    assert [sum(night.year == year for night in nights) for year in (2012, 2013, 2014)] == [25, 1, 1]
    assert min(len(night.photos) for night in nights if night.year == 2012) >= FEWEST
    ends = [(night.year, night.month) for night in nights if night.closes]
    assert len(set(ends)) == len(ends) == 12 + 1 + 1


def test_a_taxonomy_of_known_labels_is_read_back(tmp_path: Path) -> None:
    taxonomy = taxonomy_of(labels_in(photos(2011, 2)))
    assert load_taxonomy(write_taxonomy(taxonomy, tmp_path / "known.toml")).version == taxonomy.version
    [article] = [one for one in taxonomy.attributes if one.name == "articleType"]
    assert [(label.name, label.text, label.parents) for label in article.labels] == [
        ("Shirts", "Shirts", ("Topwear",))
    ]


def test_an_operator_adds_labels_of_which_there_is_enough_truth(tmp_path: Path) -> None:
    taxonomy = taxonomy_of(labels_in(photos(2011, 2)))
    told = photos(2017, 3, SCENT) + photos(2017, 9)
    assert lacking(told, taxonomy, at_least=4) == {}
    found = lacking(told, taxonomy, at_least=3)
    assert found == {
        "masterCategory": {"Personal Care"}, "subCategory": {"Fragrance"}, "articleType": {"Deodorant"},
    }  # fmt: skip
    more = {name: labels | found.get(name, set()) for name, labels in labels_in(photos(2011, 2)).items()}
    wider = load_taxonomy(write_taxonomy(taxonomy_of(more), tmp_path / "more.toml"))
    assert lacking(told, wider, at_least=1) == {}


def night(hits: int, events: tuple[str, ...] = (), season: int = 0, guessed: float | None = None) -> Told:
    """Of ten photos, of which eight have a label that was known."""
    counts = {
        "articleType": Counted(10, hits, 8, min(hits, 8), guessed, 2, 1),
        "season": Counted(10, season, 10, season, None, 2, 0),
    }
    return Told(2012, 1, 10, 2, counts, events, (), 1.0, 0.0)


def test_what_nights_come_to() -> None:
    told = [night(4, season=2), night(10, ("alarm", "retraining"), guessed=0.8)]
    assert accuracy(told[:1]) == pytest.approx(0.3)
    assert accuracy(told[:1], season=False) == pytest.approx(0.4)
    assert accuracy(told[1:], season=False, known=True) == pytest.approx(1.0)
    assert means(told, season=False) == pytest.approx(0.7)
    assert first_alarm(told) == 1
    assert first_alarm(told[:1]) is None
    guess, sample, count = mean_error(told)
    assert [guess, sample] == pytest.approx([0.2, 0.5])
    assert count == 1
    assert told_of(told[1].as_dict()) == told[1]
