"""Accuracy in parts of the data."""

import numpy as np
import pytest

from fashion_clip.intervals import exact_interval, share_with_interval
from fashion_clip.slices import slices
from tests.fashion_clip.predictions_made_up import at_random, written_out


def test_each_value_has_its_photos() -> None:
    predictions = written_out([0, 0, 1, 1, 2], [0, 1, 1, 1, 2], [0.9] * 5)
    women, men = slices(predictions, "gender", ["women", "women", "men", "men", ""])[::-1]
    assert [(found.attribute, found.name, found.value) for found in (women, men)] == [
        ("kind", "gender", "women"),
        ("kind", "gender", "men"),
    ]
    assert (women.accuracy.estimate, women.accuracy.n) == (0.5, 2)
    assert (men.accuracy.estimate, men.accuracy.n) == (1.0, 2)
    assert (men.accuracy.low, men.accuracy.high) == pytest.approx(exact_interval(2, 2))


def test_a_slice_goes_by_product_and_weight() -> None:
    predictions = at_random("abc", 200)
    values = ["left" if number % 3 else "right" for number in range(200)]
    for found in slices(predictions, "side", values):
        rows = np.flatnonzero([value == found.value for value in values])
        kept = predictions.rows(rows)
        assert found.accuracy == share_with_interval(kept.hits, kept.products, kept.weights)


def test_a_column_without_values_has_no_slices() -> None:
    assert slices(written_out([0], [0], [0.5]), "year", [""]) == []


def test_values_that_differ_in_what_cannot_be_seen_are_parted() -> None:
    found = slices(written_out([0, 0], [0, 1], [0.5] * 2), "source", ["a", "a\x00"])
    assert [(part.value, part.accuracy.estimate) for part in found] == [("a", 1.0), ("a\x00", 0.0)]


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values of 'year' for 2 photos"):
        slices(written_out([0, 1], [0, 1], [0.5, 0.5]), "year", ["2012"])
