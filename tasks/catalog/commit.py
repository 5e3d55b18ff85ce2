"""One shard's results into the catalogue: whole, in one transaction, or nothing of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from fashion_clip.scoring import TopLabels
from tasks.catalog.engine import reading, writing
from tasks.catalog.inserts import insert_or_nothing, insert_tuples_or_nothing, upsert
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import (
    CANDIDATES,
    SCORE_SCALE,
    contents,
    embeddings,
    labels,
    photo_past_contents,
    photos,
    quarantine,
    shards,
    work,
)

UNCALIBRATED = 0
VECTOR = np.dtype("<f2")  # how embeddings are stored

PhotoRow = Row[*tuple[Any, ...]]


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: it shows the content `sha256`, or it failed for a `reason`.

    change_token is that of the bytes that were read; None if none could be.
    """

    uri: str
    product_id: str
    change_token: str | None
    sha256: str | None = None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class ShardResult:
    """All that one transaction writes.

    embedded: sha256 -> float16 vector (dimension,) of contents that went through the image tower.
    labelled: sha256 of the contents that `top` has rows for, in the order of its rows.
    top: attribute -> the best labels, arrays of shape (len(labelled), k).
    """

    outcomes: Sequence[Outcome]
    embedded: Mapping[str, np.ndarray]
    labelled: Sequence[str]
    top: Mapping[str, TopLabels]


@dataclass(frozen=True)
class Counts:
    """What a shard added to its run."""

    embedded: int
    tagged: int
    quarantined: int


@dataclass(frozen=True)
class KnownContent:
    """What the catalogue has of a content: its float16 vector for the encoder, and whether it is labelled."""

    vector: np.ndarray | None
    labelled: bool


def known_contents(engine: Engine, label_set: LabelSet, digests: Iterable[str]) -> dict[str, KnownContent]:
    """The contents among `digests` (sha256 hex) that the catalogue has met, by digest."""
    some_label = (
        select(labels.c.content_id)
        .where(labels.c.label_set_id == label_set.label_set_id, labels.c.content_id == contents.c.content_id)
        .exists()
    )
    vectors = (embeddings.c.content_id == contents.c.content_id) & (
        embeddings.c.encoder_id == label_set.encoder_id
    )
    query = (
        select(contents.c.sha256, embeddings.c.vector, some_label)
        .select_from(contents.outerjoin(embeddings, vectors))
        .where(contents.c.sha256.in_(list(digests)))
    )
    with reading(engine) as connection:
        return {
            sha256: KnownContent(None if vector is None else np.frombuffer(vector, VECTOR), labelled)
            for sha256, vector, labelled in connection.execute(query)
        }


def commit_shard(engine: Engine, run_id: int, label_set: LabelSet, result: ShardResult) -> Counts:
    """Writes the result; photos that another run finished meanwhile are left as they are.

    Raises:
        CatalogError: the database refused; nothing was written.
    """
    now = datetime.now(UTC)
    with writing(engine) as connection:
        finished = _take_off_work(connection, run_id, [outcome.uri for outcome in result.outcomes])
        outcomes = [outcome for outcome in result.outcomes if outcome.uri in finished]
        content_ids = _content_ids(connection, outcomes, result)
        embedded = _write_embeddings(connection, label_set, result.embedded, content_ids)
        before = _photos_before(connection, finished)
        counts = _counts(outcomes, embedded, before, content_ids)
        row = {"run_id": run_id, "committed_at": now, **vars(counts)}
        shard_id = connection.execute(insert(shards).values(row).returning(shards.c.shard_id)).scalar_one()
        _write_labels(connection, label_set, shard_id, result, content_ids)
        _write_photos(connection, shard_id, now, outcomes, before, content_ids)
        _write_quarantine(connection, now, outcomes)
    return counts


def _take_off_work(connection: Connection, run_id: int, uris: list[str]) -> set[str]:
    # Whoever takes a photo off the list commits it: two runs at once never count one photo twice. What a
    # later run has planned anew is left to it, as the bytes may be other ones now.
    query = delete(work).where(work.c.uri.in_(uris), work.c.run_id == run_id).returning(work.c.uri)
    return set(connection.execute(query).scalars())


def _content_ids(connection: Connection, outcomes: list[Outcome], result: ShardResult) -> dict[str, int]:
    digests = {outcome.sha256 for outcome in outcomes if outcome.sha256}
    digests.update(result.embedded, result.labelled)
    # In order: ids then grow as the photos do, and transactions at once cannot lock each other out.
    insert_or_nothing(connection, contents, [{"sha256": digest} for digest in sorted(digests)])
    query = select(contents.c.sha256, contents.c.content_id).where(contents.c.sha256.in_(digests))
    return dict(connection.execute(query).all())


def _write_embeddings(
    connection: Connection,
    label_set: LabelSet,
    embedded: Mapping[str, np.ndarray],
    content_ids: dict[str, int],
) -> int:
    rows = [
        {
            "encoder_id": label_set.encoder_id,
            "content_id": content_ids[digest],
            "vector": vector.astype(VECTOR).tobytes(),
        }
        for digest, vector in embedded.items()
    ]
    return insert_or_nothing(connection, embeddings, rows)


def _photos_before(connection: Connection, uris: Iterable[str]) -> dict[str, PhotoRow]:
    rows = connection.execute(select(photos).where(photos.c.uri.in_(list(uris)))).all()
    return {row.uri: row for row in rows}


def _shows_the_same(outcome: Outcome, before: Mapping[str, PhotoRow], content_ids: dict[str, int]) -> bool:
    """True if the photo was there with these very bytes: a new mtime, say, and no new picture."""
    return (
        outcome.sha256 is not None
        and outcome.uri in before
        and before[outcome.uri].content_id == content_ids[outcome.sha256]
    )


def _counts(
    outcomes: list[Outcome], embedded: int, before: Mapping[str, PhotoRow], content_ids: dict[str, int]
) -> Counts:
    tagged = [
        outcome
        for outcome in outcomes
        if outcome.sha256 and not _shows_the_same(outcome, before, content_ids)
    ]
    quarantined = [outcome for outcome in outcomes if outcome.reason]
    return Counts(embedded, len(tagged), len(quarantined))


def _write_labels(
    connection: Connection,
    label_set: LabelSet,
    shard_id: int,
    result: ShardResult,
    content_ids: dict[str, int],
) -> None:
    ids = [content_ids[digest] for digest in result.labelled]
    packed = {attribute: pack(top, label_set.label_ids[attribute]) for attribute, top in result.top.items()}
    rows = [
        (
            label_set.label_set_id,
            content_id,
            label_set.attribute_ids[attribute],
            shard_id,
            UNCALIBRATED,
            *candidates[position],
        )
        for position, content_id in enumerate(ids)
        for attribute, candidates in packed.items()
    ]
    insert_tuples_or_nothing(connection, labels, rows)


def pack(top: TopLabels, label_ids: Sequence[int]) -> list[list[int | None]]:
    """A photo's candidate columns in the order of the labels table; scores in units of 1 / SCORE_SCALE."""
    similarity, confidence = (
        np.rint(score * SCORE_SCALE).astype(int) for score in (top.similarity, top.confidence)
    )
    columns = np.stack([np.asarray(label_ids)[top.index], similarity, confidence], axis=-1)
    count, given = top.index.shape
    missing = [None] * (3 * (CANDIDATES - given))
    return [[*row, *missing] for row in columns.reshape(count, 3 * given).tolist()]


def _write_photos(
    connection: Connection,
    shard_id: int,
    now: datetime,
    outcomes: list[Outcome],
    before: Mapping[str, PhotoRow],
    content_ids: dict[str, int],
) -> None:
    rows = []
    for outcome in outcomes:
        was = before.get(outcome.uri)
        row: dict[str, Any] = {"uri": outcome.uri, "product_id": outcome.product_id, "vanished_at": None}
        if outcome.change_token is None:  # no byte was read: what the photo showed before stands
            row |= _unread(was, shard_id)
        elif was is not None and _shows_the_same(outcome, before, content_ids):
            row |= {
                "change_token": outcome.change_token,
                "content_id": was.content_id,
                "shard_id": was.shard_id,
            }
        else:
            _remember_content(connection, was, now)
            content_id = content_ids[outcome.sha256] if outcome.sha256 else None
            row |= {"change_token": outcome.change_token, "content_id": content_id, "shard_id": shard_id}
        rows.append(row)
    changes = ["product_id", "change_token", "content_id", "shard_id", "vanished_at"]
    upsert(connection, photos, rows, ["uri"], changes)


def _unread(was: PhotoRow | None, shard_id: int) -> dict[str, Any]:
    if was is None:
        return {"change_token": None, "content_id": None, "shard_id": shard_id}
    # Without a change token the next scan plans the photo again.
    return {"change_token": None, "content_id": was.content_id, "shard_id": was.shard_id}


def _remember_content(connection: Connection, was: PhotoRow | None, now: datetime) -> None:
    if was is not None and was.content_id is not None:
        past = {
            "photo_id": was.photo_id,
            "shard_id": was.shard_id,
            "content_id": was.content_id,
            "replaced_at": was.vanished_at or now,
        }
        connection.execute(insert(photo_past_contents).values(past))


def _write_quarantine(connection: Connection, now: datetime, outcomes: list[Outcome]) -> None:
    uris = [outcome.uri for outcome in outcomes]
    query = select(photos.c.uri, photos.c.photo_id).where(photos.c.uri.in_(uris))
    photo_ids = dict(connection.execute(query).all())
    cured = [photo_ids[outcome.uri] for outcome in outcomes if not outcome.reason]
    connection.execute(delete(quarantine).where(quarantine.c.photo_id.in_(cured)))
    failed = {photo_ids[outcome.uri]: outcome for outcome in outcomes if outcome.reason}
    again = update(quarantine).where(quarantine.c.photo_id.in_(list(failed)))
    connection.execute(again.values(attempts=quarantine.c.attempts + 1))
    rows = [
        {
            "photo_id": photo_id,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "attempts": 1,
            "first_failed_at": now,
            "last_failed_at": now,
        }
        for photo_id, outcome in failed.items()
    ]
    upsert(connection, quarantine, rows, ["photo_id"], ["reason", "detail", "last_failed_at"])
