"""Accuracy in parts of the data: by gender, by year, by source."""

from collections.abc import Sequence
from dataclasses import dataclass

from fashion_clip.intervals import Share, share_with_interval
from fashion_clip.predictions import Predictions


@dataclass(frozen=True)
class Slice:
    """The accuracy of one attribute among the photos whose column `name` has this value."""

    attribute: str
    name: str
    value: str
    accuracy: Share


def slices(predictions: Predictions, name: str, values: Sequence[str]) -> list[Slice]:
    """The accuracy among the photos of each value, in order of the values.

    Args:
        name: of the column.
        values: one for each photo; photos of an empty one are left out.

    Raises:
        ValueError: another number of values than of photos.
    """
    if len(values) != len(predictions.photos):
        raise ValueError(f"{len(values)} values of {name!r} for {len(predictions.photos)} photos")
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(value, []).append(row)
    return [_slice(predictions, name, value, rows[value]) for value in sorted(rows) if value]


def _slice(predictions: Predictions, name: str, value: str, rows: list[int]) -> Slice:
    accuracy = share_with_interval(
        predictions.hits[rows], predictions.products[rows], predictions.weights[rows]
    )
    return Slice(predictions.attribute, name, value, accuracy)
