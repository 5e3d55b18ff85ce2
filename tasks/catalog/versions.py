"""Model versions that were made from another: registered with how they came to be, and told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select, text, update

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
    """Registers a version; returns its name, that of its first registration. Safe to repeat."""
    with writing(engine) as connection:
        one_at_a_time(connection)
        parent = select(model_versions.c.model_version_id).where(model_versions.c.version == made.parent)
        parent_id = None if made.parent is None else connection.execute(parent).scalar_one()
        facts = json.dumps(made.facts, ensure_ascii=False, allow_nan=False, sort_keys=True)
        version_id = models.register(connection, model, made.rung, parent_id, facts)
        mine = model_versions.c.model_version_id == version_id
        if model.digest is not None:  # it may have been rejected, and not kept, before
            kept = {"digest": model.digest, "checkpoint": model.checkpoint}
            without = model_versions.c.digest.is_(None) & model_versions.c.head.is_not(None)
            connection.execute(update(model_versions).where(mine, without).values(kept))
        rows = [(version_id, truth_id, part) for part, ids in made.truths.items() for truth_id in ids]
        insert_tuples_or_nothing(connection, training_truths, rows)
        return str(connection.execute(select(model_versions.c.version).where(mine)).scalar_one())


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
def of_fingerprint(engine: Engine, fingerprint: str) -> str | None:
    """The version that gives just these answers, whatever it is called; None if there is none."""
    query = select(model_versions.c.version).where(model_versions.c.fingerprint == fingerprint)
    with reading(engine) as connection:
        return connection.execute(query).scalar()


@outlasts_outages
def ever_served(engine: Engine) -> set[str]:
    """The checkpoints of all versions that were served at some time."""
    query = text(
        "SELECT DISTINCT m.checkpoint FROM served_log l"
        " JOIN label_sets s ON s.label_set_id = l.label_set_id"
        " JOIN model_versions m ON m.model_version_id = s.model_version_id"
    )
    with reading(engine) as connection:
        return set(connection.execute(query).scalars())


@outlasts_outages
def served_before(engine: Engine) -> str | None:
    """The model to go back to: that served before the present one was promoted; None if there was none.

    A way back is no promotion: after it, one goes back further.
    """
    query = text(
        "SELECT m.version FROM served_log l JOIN label_sets s ON s.label_set_id = l.label_set_id"
        " JOIN model_versions m ON m.model_version_id = s.model_version_id ORDER BY l.served_log_id"
    )
    way: list[str] = []
    with reading(engine) as connection:
        for version in connection.execute(query).scalars():
            if way[-2:-1] == [version]:
                way.pop()
            elif way[-1:] != [version]:
                way.append(version)
    return way[-2] if len(way) > 1 else None


@outlasts_outages
def taught_by(engine: Engine, version: str) -> tuple[set[str], set[str]]:
    """URIs of the photos, and ids of the products, whose truth had a part in making a version or its parents.

    Truth that judged them has none.
    """
    query = text(
        "WITH RECURSIVE line (model_version_id, parent_id) AS ("
        " SELECT model_version_id, parent_id FROM model_versions WHERE version = :version"
        " UNION ALL SELECT m.model_version_id, m.parent_id"
        " FROM model_versions m JOIN line ON m.model_version_id = line.parent_id)"
        " SELECT DISTINCT p.uri, t.product_id FROM line"
        " JOIN training_truths u ON u.model_version_id = line.model_version_id AND u.part <> 'judge'"
        " JOIN truths t ON t.truth_id = u.truth_id LEFT JOIN photos p ON p.photo_id = t.photo_id"
    )
    with reading(engine) as connection:
        rows = connection.execute(query, {"version": version}).all()
    return {uri for uri, _ in rows if uri is not None}, {product for _, product in rows if product}
