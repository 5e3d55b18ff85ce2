"""One model on one set of photos with truth: all its figures together, and as a plain document."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fashion_clip.intervals import Difference, paired_difference
from fashion_clip.metrics import AttributeMetrics, measure
from fashion_clip.predictions import Predictions
from fashion_clip.slices import Slice, slices


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found. attributes and predictions have the same order.

    model, data: how they are told apart by people. warnings: sentences that readers must know.
    """

    model: str
    data: str
    taxonomy_version: str
    attributes: tuple[AttributeMetrics, ...]
    slices: tuple[Slice, ...]
    predictions: tuple[Predictions, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All figures as dicts, lists, texts and finite numbers, for JSON; the predictions are left out.

        `confusion` has a row for each pair of labels that occurs: true label, given label, photos.
        """
        return {
            "model": self.model,
            "data": self.data,
            "taxonomy_version": self.taxonomy_version,
            "attributes": [_attribute(metrics) for metrics in self.attributes],
            "slices": [asdict(entry) for entry in self.slices],
            "warnings": list(self.warnings),
        }


def evaluate(
    model: str,
    data: str,
    taxonomy_version: str,
    predictions: Sequence[Predictions],
    columns: Mapping[str, Mapping[str, str]],
    warnings: Sequence[str] = (),
) -> Evaluation:
    """Measures each attribute, in whole and in slices; one without photos is left out, with a warning.

    Args:
        columns: name of a slice -> photo -> value; photos that it lacks are in no slice of that name.
    """
    measured = [entry for entry in predictions if entry.photos]
    unmeasured = [
        f"No photo has truth for {entry.attribute}: it is left out."
        for entry in predictions
        if not entry.photos
    ]
    return Evaluation(
        model=model,
        data=data,
        taxonomy_version=taxonomy_version,
        attributes=tuple(measure(entry) for entry in measured),
        slices=tuple(
            found
            for entry in measured
            for name, of_photo in columns.items()
            for found in slices(entry, name, [of_photo.get(photo, "") for photo in entry.photos])
        ),
        predictions=tuple(measured),
        warnings=(*warnings, *unmeasured),
    )


def document(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """All figures of evaluations, the first one in question, and how it differs from the others; for JSON."""
    first, *others = evaluations
    differences = [
        {"model": first.model, "other": other.model, "attribute": attribute, **asdict(found)}
        for other in others
        for attribute, found in compare(first, other).items()
    ]
    return {"evaluations": [one.as_dict() for one in evaluations], "differences": differences}


def compare(first: Evaluation, other: Evaluation) -> dict[str, Difference]:
    """By attribute, how much more accurate the first is, where both were measured on the same photos."""
    of_other = {entry.attribute: entry for entry in other.predictions}
    found = {}
    for entry in first.predictions:
        beside = of_other.get(entry.attribute)
        if beside is None or sorted(beside.photos) != sorted(entry.photos):
            continue
        row = {photo: number for number, photo in enumerate(beside.photos)}
        hits = beside.hits[[row[photo] for photo in entry.photos]]
        found[entry.attribute] = paired_difference(entry.hits, hits, entry.products, entry.weights)
    return found


def _attribute(metrics: AttributeMetrics) -> dict[str, Any]:
    names = [label.label for label in metrics.labels]
    pairs = np.argwhere(metrics.confusion)
    figures = {
        name: value
        for name, value in vars(metrics).items()
        if name not in ("accuracy", "labels", "confusion")
    }
    return figures | {
        "accuracy": asdict(metrics.accuracy),
        "labels": [asdict(label) for label in metrics.labels],
        "confusion": [
            [names[true], names[given], int(metrics.confusion[true, given])] for true, given in pairs
        ],
    }
