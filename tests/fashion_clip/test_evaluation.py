"""An evaluation holds all figures of all attributes, compares with another, and becomes JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fashion_clip.evaluation import compare, document, evaluate
from fashion_clip.intervals import paired_difference
from fashion_clip.metrics import measure
from tests.fashion_clip.predictions_made_up import at_random, written_out

KIND = at_random("abcd", 120)
COLOUR = at_random(["red", "blue"], 80, seed=1, attribute="colour")


def test_attributes_and_slices() -> None:
    year = {photo: str(2010 + number % 2) for number, photo in enumerate(KIND.photos[:100])}
    found = evaluate("model", "data", "0" * 64, [KIND, COLOUR], {"year": year, "shop": {}}, ["odd"])
    assert [metrics.attribute for metrics in found.attributes] == ["kind", "colour"]
    assert found.attributes[0].accuracy == measure(KIND).accuracy
    told = [(entry.attribute, entry.name, entry.value, entry.accuracy.n) for entry in found.slices]
    assert told == [
        ("kind", "year", "2010", 50),
        ("kind", "year", "2011", 50),
        ("colour", "year", "2010", 40),
        ("colour", "year", "2011", 40),
    ]
    assert found.warnings == ("odd",)
    assert found.predictions == (KIND, COLOUR)


def test_an_attribute_without_photos_is_told() -> None:
    found = evaluate("model", "data", "", [KIND.rows([]), COLOUR], {})
    assert [metrics.attribute for metrics in found.attributes] == ["colour"]
    assert found.warnings == ("No photo has truth for kind: it is left out.",)


def test_the_document_is_json_and_whole() -> None:
    year = dict.fromkeys(KIND.photos, "2012")
    found = evaluate("model", "data", "version", [KIND, COLOUR], {"year": year}, ["odd"])
    figures = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(figures) == {"model", "data", "taxonomy_version", "attributes", "slices", "warnings"}
    kind = figures["attributes"][0]
    metrics = found.attributes[0]
    assert kind["accuracy"]["low"] == metrics.accuracy.low
    assert kind["macro_f1"] == metrics.macro_f1
    assert [label["label"] for label in kind["labels"]] == list("abcd")
    counts = np.zeros((4, 4), dtype=int)
    for true, given, photos in kind["confusion"]:
        counts["abcd".index(true), "abcd".index(given)] = photos
    np.testing.assert_array_equal(counts, metrics.confusion)
    assert figures["slices"][0]["value"] == "2012"


def test_several_are_one_document_with_what_the_first_is_better_by() -> None:
    first = evaluate("first", "data", "", [KIND, COLOUR], {})
    other = evaluate("other", "data", "", [at_random("abcd", 120, seed=0, right=0.4)], {})
    told = json.loads(json.dumps(document([first, other]), allow_nan=False))
    assert told["evaluations"] == json.loads(json.dumps([first.as_dict(), other.as_dict()]))
    [difference] = told["differences"]
    assert [difference[name] for name in ("model", "other", "attribute")] == ["first", "other", "kind"]
    assert difference["estimate"] == compare(first, other)["kind"].estimate
    assert document([first])["differences"] == []


def test_a_difference_is_of_the_same_photos_in_any_order() -> None:
    other = at_random("abcd", 120, seed=0, right=0.4)
    shuffled = other.rows(np.random.default_rng(0).permutation(120))
    first = evaluate("first", "data", "", [KIND, COLOUR], {})
    found = compare(first, evaluate("other", "data", "", [shuffled], {}))
    assert set(found) == {"kind"}
    assert found["kind"] == paired_difference(KIND.hits, other.hits, KIND.products, KIND.weights)
    assert found["kind"].estimate == pytest.approx(
        np.average(KIND.hits, weights=KIND.weights) - np.average(other.hits, weights=KIND.weights)
    )


def test_other_photos_make_no_difference() -> None:
    one, two = written_out([0, 1], [0, 1], [0.5] * 2), written_out([0, 1], [0, 1], [0.5] * 2)
    elsewhere = replace(two, photos=("photos/0.jpg", "photos/9.jpg"))
    first = evaluate("first", "data", "", [one], {})
    assert compare(first, evaluate("other", "data", "", [elsewhere], {})) == {}
    assert compare(first, evaluate("other", "data", "", [two.rows([0])], {})) == {}
    assert list(compare(first, evaluate("other", "data", "", [two], {}))) == ["kind"]
