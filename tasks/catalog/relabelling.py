"""A label set made of stored embeddings: page by page, and served once it lacks nothing.

What is done shows in the rows themselves, so that a relabelling may end anywhere and be started again. Nights
go on labelling for the set that is served. What they add meanwhile is labelled at the end, in the transaction
that moves the pointer and in which no shard can commit, so that no set is ever served with holes.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, func, insert, select, text

from fashion_clip.errors import CatalogError
from fashion_clip.scoring import TopLabels
from tasks.catalog import models
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_tuples_or_nothing
from tasks.catalog.label_rows import label_rows
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import embeddings, labels, runs, shards
from tasks.catalog.vectors import raw_vectors

PAGE = 8_192  # contents; twice as many were no quicker

FLOW = "relabel-catalog"

Scored = Callable[[npt.NDArray[np.float32]], Mapping[str, TopLabels]]


@dataclass(frozen=True, eq=False)
class Page:
    """Contents in the order of their ids, and their vectors, float32 (len(content_ids), dimension)."""

    content_ids: list[int]
    vectors: npt.NDArray[np.float32]


@outlasts_outages
def other_run(engine: Engine, run_id: int, flow: str = FLOW) -> int | None:
    """Another run of the flow, a relabelling, that is under way: it began earlier and is alive."""
    with reading(engine) as connection:
        alive = (runs.c.status == "running") & (runs.c.alive_until >= clock(connection))
        query = select(runs.c.run_id).where(runs.c.flow == flow, runs.c.run_id < run_id, alive)
        return connection.execute(query.limit(1)).scalar()


@outlasts_outages
def embedded(engine: Engine, label_set: LabelSet) -> int:
    """How many contents have a vector of the label set's encoder."""
    query = select(func.count()).where(embeddings.c.encoder_id == label_set.encoder_id)
    with reading(engine) as connection:
        return int(connection.execute(query).scalar_one())


@outlasts_outages
def lacking(engine: Engine, label_set: LabelSet, after: int, size: int = PAGE) -> Page:
    """The next contents, after a content id, that have a vector and no labels in the set."""
    with reading(engine) as connection:
        return _lacking(connection, label_set, after, size)


_WITHOUT_LABELS = """AND NOT EXISTS (
    SELECT 1 FROM labels l WHERE l.label_set_id = :label_set_id AND l.content_id = e.content_id)"""


def _lacking(connection: Connection, label_set: LabelSet, after: int, size: int) -> Page:
    return page_of_vectors(connection, label_set, after, size, _WITHOUT_LABELS)


def page_of_vectors(
    connection: Connection, label_set: LabelSet, after: int, size: int, condition: str = ""
) -> Page:
    """The next contents, after a content id, that have a vector of the label set's encoder."""
    raw = raw_vectors(connection, "e.vector")
    query = (
        f"SELECT e.content_id, {raw.expression} FROM embeddings e"
        f" WHERE e.encoder_id = :encoder_id AND e.content_id > :after {condition}"
        " ORDER BY e.content_id LIMIT :size"
    )
    values = {"encoder_id": label_set.encoder_id, "after": after, "size": size}
    if condition:
        values["label_set_id"] = label_set.label_set_id
    rows = connection.execute(text(query), values).all()
    return Page([row[0] for row in rows], raw.matrix([row[1] for row in rows], label_set.dimension))


def write_labels(
    engine: Engine, run_id: int, label_set: LabelSet, page: Page, top: Mapping[str, TopLabels]
) -> None:
    """Commits the labels of a page, as a shard of the run."""
    _write_labels(engine, run_id, label_set, page, top, secrets.token_hex(16))


@outlasts_outages
def _write_labels(
    engine: Engine, run_id: int, label_set: LabelSet, page: Page, top: Mapping[str, TopLabels], claim: str
) -> None:
    with writing(engine) as connection:
        done = connection.execute(select(shards.c.shard_id).where(shards.c.claim == claim)).first()
        if done is None:
            _insert_labels(connection, run_id, label_set, page, top, claim)


def _insert_labels(
    connection: Connection,
    run_id: int,
    label_set: LabelSet,
    page: Page,
    top: Mapping[str, TopLabels],
    claim: str | None = None,
) -> None:
    shard = {
        "run_id": run_id,
        "committed_at": clock(connection),
        "embedded": 0,
        "tagged": len(page.content_ids),
        "quarantined": 0,
        "claim": claim,
    }
    shard_id = connection.execute(insert(shards).values(shard).returning(shards.c.shard_id)).scalar_one()
    insert_tuples_or_nothing(connection, labels, label_rows(label_set, shard_id, page.content_ids, top))


@outlasts_outages
def serve_if_whole(
    engine: Engine, run_id: int, label_set: LabelSet, champion: str, scored: Scored, reason: str
) -> bool:
    """Labels the few contents that came meanwhile and serves the set; False if they are more than a page.

    champion: the model that was served when the set was begun.

    Raises:
        CatalogError: another one is served by now.
    """
    with writing(engine) as connection:
        served_id = models.keep_served(connection, moving=True)
        if served_id == label_set.label_set_id:
            return True
        _refuse_other_model(connection, served_id, champion)
        if not label_the_rest(connection, run_id, label_set, scored):
            return False
        models.serve(connection, label_set, reason)
    return True


def label_the_rest(connection: Connection, run_id: int, label_set: LabelSet, scored: Scored) -> bool:
    """Labels the contents that lack labels before the pointer moves; False if they are more than a page."""
    page = _lacking(connection, label_set, 0, PAGE + 1)
    if len(page.content_ids) > PAGE:
        return False
    if page.content_ids:
        _insert_labels(connection, run_id, label_set, page, scored(page.vectors))
    return True


def _refuse_other_model(connection: Connection, served_id: int | None, champion: str) -> None:
    query = text(
        "SELECT m.version FROM label_sets s JOIN model_versions m ON m.model_version_id = s.model_version_id"
        " WHERE s.label_set_id = :label_set_id"
    )
    now = connection.execute(query, {"label_set_id": served_id}).scalar()
    if now != champion:
        raise CatalogError(
            f"model {now} was promoted while labels were made in place of {champion}'s; nothing was served. "
            "Relabel again: fashion-clip relabel"
        )
