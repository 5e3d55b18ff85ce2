"""Truth that is probably wrong is listed, and left as it is."""

import json
from collections.abc import Iterator

import pytest

from fashion_clip.demo import truth
from fashion_clip.errors import UsageError
from tasks.suspicion import suspect_truths
from tasks.truth import import_truth
from tests.catalogue_fixtures import Tagged, contents_of, rows

WRONG = 6


@pytest.fixture
def told(tagged: Tagged, clean_environment: None) -> Iterator[set[str]]:
    """The truth of all photos, of which some are exchanged for another category; their names."""
    known = truth()
    names = sorted(uri.rpartition("/")[2] for (uri,) in rows(tagged.engine, "SELECT uri FROM photos"))
    names = [name for name in names if name in known]
    other = {"Clothing": "Footwear", "Footwear": "Clothing", "Accessories": "Footwear"}
    wrong = set(names[:: len(names) // WRONG][:WRONG])
    lines = [
        f"{name},{other[known[name]['category']] if name in wrong else known[name]['category']}\n"
        for name in names
    ]
    file = tagged.folder.parent / "told.csv"
    file.write_text("file,category\n" + "".join(lines))
    import_truth(tagged.engine, file, "ann", new_labels=False, dry_run=False)
    yield wrong


def test_what_was_exchanged_is_found_and_nothing_is_changed(tagged: Tagged, told: set[str]) -> None:
    before = contents_of(tagged.engine)
    found = suspect_truths(tagged.engine, limit=10)
    named = [one.uri.rpartition("/")[2] for one in found]
    assert len(told & set(named[:WRONG])) >= WRONG // 2
    assert all(one.likelier_probability > one.probability for one in found)
    assert contents_of(tagged.engine) == before
    json.dumps([vars(one) for one in found])


def test_without_truth_it_says_so(tagged: Tagged, clean_environment: None) -> None:
    with pytest.raises(UsageError, match="with less nothing can be doubted"):
        suspect_truths(tagged.engine, limit=10)
