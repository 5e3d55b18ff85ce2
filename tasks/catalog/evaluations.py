"""Evaluations in SQL: written once for a run, and shown by evaluation_history, label_ and slice_accuracy."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, select, text

from fashion_clip.evaluation import Evaluation
from tasks.catalog.engine import outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import (
    evaluation_attributes,
    evaluation_labels,
    evaluation_slices,
    evaluations,
    truths,
)

PAGE = 5_000  # rows fetched at once


@outlasts_outages
def record(engine: Engine, run_id: int, found: Sequence[Evaluation]) -> None:
    """Writes what a run found, all of it or nothing. Safe to repeat: a run has one evaluation a model."""
    with writing(engine) as connection:
        for evaluation in found:
            _record(connection, run_id, evaluation)


def _record(connection: Connection, run_id: int, evaluation: Evaluation) -> None:
    key = {"run_id": run_id, "model": evaluation.model}
    row = {
        **key,
        "evaluated_at": datetime.now(UTC),
        "data": evaluation.data,
        "taxonomy_version": evaluation.taxonomy_version,
        "document": json.dumps(evaluation.as_dict(), ensure_ascii=False, allow_nan=False),
    }
    insert_or_nothing(connection, evaluations, [row])
    query = select(evaluations.c.evaluation_id).filter_by(**key)
    evaluation_id = {"evaluation_id": connection.execute(query).scalar_one()}
    for table, rows in (
        (evaluation_attributes, _attributes(evaluation)),
        (evaluation_labels, _labels(evaluation)),
        (evaluation_slices, _slices(evaluation)),
    ):
        insert_or_nothing(connection, table, [evaluation_id | row for row in rows])


def _attributes(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {
            "attribute": metrics.attribute,
            "n": metrics.n,
            "accuracy": metrics.accuracy.estimate,
            "ci_low": metrics.accuracy.low,
            "ci_high": metrics.accuracy.high,
            "top5": metrics.top5,
            "macro_f1": metrics.macro_f1,
            "weighted_f1": metrics.weighted_f1,
            "calibration_error": metrics.calibration_error,
            "coverage_at_95": metrics.coverage_at_95,
        }
        for metrics in evaluation.attributes
    ]


def _labels(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Of labels that are true or were given somewhere."""
    return [
        {
            "attribute": metrics.attribute,
            "label": label.label,
            "support": label.support,
            "predicted": label.predicted,
            "precision": label.precision,
            "recall": label.recall,
            "f1": label.f1,
        }
        for metrics in evaluation.attributes
        for label in metrics.labels
        if label.support or label.predicted
    ]


def _slices(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {
            "attribute": part.attribute,
            "slice": part.name,
            "value": part.value,
            "n": part.accuracy.n,
            "accuracy": part.accuracy.estimate,
            "ci_low": part.accuracy.low,
            "ci_high": part.accuracy.high,
        }
        for part in evaluation.slices
    ]


@dataclass(frozen=True)
class Told:
    """What people say of photos: attribute -> URI -> label, or how the truth came to be given.

    labels: without photos that no label fits. digests: URI -> sha256 of the picture that the truth is about.
    products: URI -> product id.
    """

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    chosen: dict[str, dict[str, str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    products: dict[str, str] = field(default_factory=dict)


@outlasts_outages
def has_truth(engine: Engine) -> bool:
    """True where anybody ever said anything of a photo or product."""
    with reading(engine) as connection:
        return connection.execute(select(truths.c.truth_id).limit(1)).first() is not None


@outlasts_outages
def told(engine: Engine) -> Told:
    """All truth that counts, photo by photo."""
    query = text(
        "SELECT t.uri, t.product_id, c.sha256, t.attribute, t.truth, t.chosen FROM photo_truths t"
        " LEFT JOIN contents c ON c.content_id = t.content_id"
    )
    found = Told()
    with reading(engine) as connection:
        for row in connection.execution_options(yield_per=PAGE).execute(query):
            uri = sys.intern(row.uri)  # one string for all attributes, as in `truths`
            found.chosen.setdefault(row.attribute, {})[uri] = sys.intern(row.chosen)
            found.digests[uri] = row.sha256
            found.products[uri] = sys.intern(row.product_id)
            if row.truth is not None:
                found.labels.setdefault(row.attribute, {})[uri] = sys.intern(row.truth)
    return found
