"""Model versions that were made from another: registered with how they came to be, and told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select, text

from fashion_clip.errors import UsageError
from tasks.catalog import models
from tasks.catalog.engine import one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_tuples_or_nothing
from tasks.catalog.models import ModelFacts
from tasks.catalog.retraining_tables import training_truths
from tasks.catalog.tables import UtcDateTime, model_versions


@dataclass(frozen=True)
class Made:
    """How a version came to be.

    rung: calibrate, head, lora, full, or trained for a model that was made elsewhere. parent: the version it
    was made from. facts: seed, code version, hash of the training data and figures, as JSON. truths: part ->
    ids of the truth that had that part in it.
    """

    rung: str
    parent: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    truths: Mapping[str, Sequence[int]] = field(default_factory=dict)


@outlasts_outages
def register(engine: Engine, model: ModelFacts, made: Made) -> str:
    """Registers a version; returns its name. Safe to repeat: a model that is registered stays as it is."""
    with writing(engine) as connection:
        one_at_a_time(connection)
        parent = select(model_versions.c.model_version_id).where(model_versions.c.version == made.parent)
        parent_id = None if made.parent is None else connection.execute(parent).scalar_one()
        facts = json.dumps(made.facts, ensure_ascii=False, allow_nan=False, sort_keys=True)
        version_id = models.register(connection, model, made.rung, parent_id, facts)
        rows = [(version_id, truth_id, part) for part, ids in made.truths.items() for truth_id in ids]
        insert_tuples_or_nothing(connection, training_truths, rows)
    return model.version


@dataclass(frozen=True)
class Version:
    """One row of `model_history`."""

    version: str
    rung: str
    parent: str | None
    role: str
    encoder: str
    checkpoint: str
    created_at: datetime
    promoted_at: datetime | None
    retired_at: datetime | None
    gate: str | None
    gate_told: str | None
    decision: str | None
    decided_by: str | None
    decision_reason: str | None


_TIMES = {name: UtcDateTime() for name in ("created_at", "promoted_at", "retired_at")}


@outlasts_outages
def history(engine: Engine) -> list[Version]:
    """All versions, the newest first."""
    columns = ", ".join(Version.__dataclass_fields__)
    query = text(f"SELECT {columns} FROM model_history ORDER BY created_at DESC, version").columns(**_TIMES)
    with reading(engine) as connection:
        return [Version(**row._mapping) for row in connection.execute(query)]


def find(engine: Engine, version: str) -> Version:
    """The version of that name, or the only one whose name begins or ends so.

    Raises:
        UsageError: there is none, or several.
    """
    known = history(engine)
    fitting = [one for one in known if one.version == version] or [
        one for one in known if one.version.startswith(version) or one.version.endswith(version)
    ]
    if len(fitting) == 1:
        return fitting[0]
    has = ", ".join(one.version for one in (fitting or known)[:5]) or "none"
    told = "several models are called so" if fitting else "no such model is registered"
    raise UsageError(f"{version!r}: {told}; see fashion-clip models list ({has})")


@outlasts_outages
def lineage(engine: Engine, version: str) -> list[str]:
    """The checkpoints of a version and of all it was made from, itself first."""
    query = text(
        "WITH RECURSIVE line (model_version_id, parent_id, checkpoint) AS ("
        " SELECT model_version_id, parent_id, checkpoint FROM model_versions WHERE version = :version"
        " UNION ALL SELECT m.model_version_id, m.parent_id, m.checkpoint"
        " FROM model_versions m JOIN line ON m.model_version_id = line.parent_id)"
        " SELECT checkpoint FROM line"
    )
    with reading(engine) as connection:
        return list(connection.execute(query, {"version": version}).scalars())


@outlasts_outages
def served_before(engine: Engine) -> str | None:
    """The model that was served last before the one that is served now; None if there was no other."""
    query = text(
        "SELECT m.version FROM served_log l JOIN label_sets s ON s.label_set_id = l.label_set_id"
        " JOIN model_versions m ON m.model_version_id = s.model_version_id"
        " WHERE s.model_version_id <> (SELECT n.model_version_id FROM served_label_set v"
        " JOIN label_sets n ON n.label_set_id = v.label_set_id)"
        " ORDER BY l.served_log_id DESC LIMIT 1"
    )
    with reading(engine) as connection:
        return connection.execute(query).scalar()
