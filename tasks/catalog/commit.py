"""What a claim came to, into the catalogue: whole, in one transaction, or nothing of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, delete, insert, select, update

from fashion_clip.errors import SupersededError
from fashion_clip.scoring import TopLabels
from tasks.catalog import models
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing, insert_tuples_or_nothing, upsert
from tasks.catalog.label_rows import label_rows
from tasks.catalog.ledger import Claim
from tasks.catalog.models import LabelSet
from tasks.catalog.outcome import Outcome, PhotoRow
from tasks.catalog.quarantine import write_quarantine
from tasks.catalog.runs import take_up_again
from tasks.catalog.tables import (
    contents,
    embeddings,
    labels,
    photo_past_contents,
    photos,
    shards,
    work,
)


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
    """What a shard added to its run. newly_quarantined: those that had not failed with these bytes before."""

    embedded: int
    tagged: int
    quarantined: int
    newly_quarantined: int = 0


NOTHING = Counts(0, 0, 0)


@dataclass(frozen=True)
class KnownContent:
    """What the catalogue has of a content: its float16 vector for the encoder, and whether it is labelled."""

    vector: np.ndarray | None
    labelled: bool


@outlasts_outages
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
            sha256: KnownContent(vector, labelled) for sha256, vector, labelled in connection.execute(query)
        }


@outlasts_outages
def commit_shard(
    engine: Engine, run_id: int, claim: Claim, label_set: LabelSet, result: ShardResult
) -> Counts:
    """Writes what of the result is still the claim's; photos that another worker took are left to it.

    Safe to repeat: if the connection broke at the commit and the rows are there, their counts are returned.

    Raises:
        SupersededError: another label set is served meanwhile; nothing was written.
        CatalogError: the database refused; nothing was written.
    """
    with writing(engine) as connection:
        now = clock(connection)
        committed = _committed_before(connection, claim)
        if committed is not None:
            return committed
        if models.keep_served(connection) != label_set.label_set_id:
            raise SupersededError(f"label set {label_set.label_set_id} is served no more")
        finished = _take_off_work(connection, claim, [outcome.uri for outcome in result.outcomes])
        if not finished:
            return NOTHING
        mine = _only(result, finished)
        content_ids = _content_ids(connection, mine)
        embedded = _write_embeddings(connection, label_set, mine.embedded, content_ids)
        before = _photos_before(connection, finished)
        shard_id = _new_shard(connection, run_id, claim, now)
        labelled = [content_ids[digest] for digest in mine.labelled]
        insert_tuples_or_nothing(connection, labels, label_rows(label_set, shard_id, labelled, mine.top))
        _write_photos(connection, shard_id, now, mine.outcomes, before, content_ids)
        anew = write_quarantine(connection, now, mine.outcomes, before)
        counts = _counts(mine.outcomes, embedded, before, content_ids, anew)
        values = {**vars(counts), "photos": len(mine.outcomes)}
        connection.execute(update(shards).where(shards.c.shard_id == shard_id).values(values))
        take_up_again(connection, run_id)
    return counts


def _committed_before(connection: Connection, claim: Claim) -> Counts | None:
    columns = (shards.c[field.name] for field in fields(Counts))
    row = connection.execute(select(*columns).where(shards.c.claim == claim.owner)).first()
    return None if row is None else Counts(*row)


def _take_off_work(connection: Connection, claim: Claim, uris: list[str]) -> set[str]:
    # The fence. Whoever takes a photo off the list commits it, and nobody can who lost it to another claim.
    query = delete(work).where(work.c.uri.in_(uris), work.c.owner == claim.owner).returning(work.c.uri)
    return set(connection.execute(query).scalars())


def _only(result: ShardResult, finished: set[str]) -> ShardResult:
    """The part of the result that the photos `finished` need."""
    outcomes = [outcome for outcome in result.outcomes if outcome.uri in finished]
    digests = {outcome.sha256 for outcome in outcomes}
    rows = [row for row, digest in enumerate(result.labelled) if digest in digests]
    return ShardResult(
        outcomes,
        {digest: vector for digest, vector in result.embedded.items() if digest in digests},
        [result.labelled[row] for row in rows],
        {attribute: top.rows(rows) for attribute, top in result.top.items()},
    )


def _new_shard(connection: Connection, run_id: int, claim: Claim, now: datetime) -> int:
    row = {"run_id": run_id, "committed_at": now, "claim": claim.owner, **vars(NOTHING)}
    return int(connection.execute(insert(shards).values(row).returning(shards.c.shard_id)).scalar_one())


def _content_ids(connection: Connection, result: ShardResult) -> dict[str, int]:
    digests = {outcome.sha256 for outcome in result.outcomes if outcome.sha256}
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
            "vector": vector,
        }
        for digest, vector in sorted(embedded.items())
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
    outcomes: Sequence[Outcome],
    embedded: int,
    before: Mapping[str, PhotoRow],
    content_ids: dict[str, int],
    newly_quarantined: int,
) -> Counts:
    tagged = [
        outcome
        for outcome in outcomes
        if outcome.sha256 and not _shows_the_same(outcome, before, content_ids)
    ]
    quarantined = [outcome for outcome in outcomes if outcome.reason]
    return Counts(embedded, len(tagged), len(quarantined), newly_quarantined)


def _write_photos(
    connection: Connection,
    shard_id: int,
    now: datetime,
    outcomes: Sequence[Outcome],
    before: Mapping[str, PhotoRow],
    content_ids: dict[str, int],
) -> None:
    rows = []
    for outcome in outcomes:
        was = before.get(outcome.uri)
        row: dict[str, Any] = {"uri": outcome.uri, "product_id": outcome.product_id, "vanished_at": None}
        row["change_token"] = outcome.change_token
        if was is not None and (outcome.unread or _shows_the_same(outcome, before, content_ids)):
            # What the photo showed before stands.
            row |= {"content_id": was.content_id, "shard_id": was.shard_id}
        else:
            _remember_content(connection, was, now)
            content_id = content_ids[outcome.sha256] if outcome.sha256 else None
            row |= {"content_id": content_id, "shard_id": shard_id}
        rows.append(row)
    changes = ["product_id", "change_token", "content_id", "shard_id", "vanished_at"]
    upsert(connection, photos, rows, ["uri"], changes)


def _remember_content(connection: Connection, was: PhotoRow | None, now: datetime) -> None:
    if was is not None and was.content_id is not None:
        past = {
            "photo_id": was.photo_id,
            "shard_id": was.shard_id,
            "content_id": was.content_id,
            "replaced_at": was.vanished_at or now,
        }
        connection.execute(insert(photo_past_contents).values(past))
