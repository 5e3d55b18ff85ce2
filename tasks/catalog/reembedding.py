"""A label set of another encoder: the catalogue embedded anew in shards, and served once it lacks nothing.

What is done shows in the rows, as in `relabelling`: a content has a vector of the encoder or not. Nights go
on with the encoder that is served, and what they add is embedded in another round, until in the transaction
that moves the pointer no photo is left to be.

A photo that cannot be read any more, or shows something else by now, gives no vector of its content. It loses
its change token, so that the next scan has it read again: the night then tags what it shows, quarantines it,
or finds it gone. A few such photos do not keep a model from being served.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, insert, select, text, update

from fashion_clip.errors import CatalogError, QuarantineError
from fashion_clip.scoring import TopLabels
from tasks.catalog import models, relabelling
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing, insert_tuples_or_nothing
from tasks.catalog.label_rows import label_rows
from tasks.catalog.models import LabelSet
from tasks.catalog.relabelling import Scored
from tasks.catalog.tables import embeddings, labels, photos, shards

FLOW = "reembed-catalog"

MOST_LOST = 0.01  # of the present photos, of which a label set that is served may know nothing
FEW_LOST = 3  # fewer never matter, however small the catalogue is
BEGINNING = 2**62  # after all photos
PAGE = 4_096  # photos looked through at once


@dataclass(frozen=True)
class Waiting:
    """A photo whose content, sha256 in hex, has no vector of the encoder."""

    photo_id: int
    uri: str
    content_id: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Reembedded:
    """What some photos came to.

    done: those whose contents have the `vectors`, float16 (len(done), dimension), and labels by attribute in
    `top`, arrays (len(done), k). lost: those that could not be read, or show another content by now.
    """

    done: Sequence[Waiting]
    vectors: npt.NDArray[np.float16]
    top: Mapping[str, TopLabels]
    lost: Sequence[Waiting] = ()


# Photos in quarantine, or without a change token, are nights' to read again.
_GOOD = """{0}.change_token IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.photo_id = {0}.photo_id)"""
_WITHOUT_VECTOR = """p.content_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM embeddings e WHERE e.encoder_id = :encoder_id AND e.content_id = p.content_id)"""
_TO_DO = f"p.vanished_at IS NULL AND {_GOOD.format('p')} AND {_WITHOUT_VECTOR}"

_END_OF_PAGE = text(
    "SELECT MIN(photo_id) FROM"
    " (SELECT photo_id FROM photos WHERE photo_id < :before ORDER BY photo_id DESC LIMIT :page) d"
)
_PAGE = text(
    "SELECT p.photo_id, p.uri, p.content_id, c.sha256 FROM photos p"
    " JOIN contents c ON c.content_id = p.content_id"
    f" WHERE p.photo_id >= :last AND p.photo_id < :before AND {_TO_DO} AND NOT EXISTS ("
    " SELECT 1 FROM photos n WHERE n.content_id = p.content_id AND n.photo_id > p.photo_id"
    f" AND n.vanished_at IS NULL AND {_GOOD.format('n')}) ORDER BY p.photo_id DESC"
)


@outlasts_outages
def contents_to_do(engine: Engine, label_set: LabelSet) -> int:
    """How many contents are to be embedded."""
    query = text(f"SELECT COUNT(DISTINCT p.content_id) FROM photos p WHERE {_TO_DO}")
    with reading(engine) as connection:
        return int(connection.execute(query, {"encoder_id": label_set.encoder_id}).scalar_one())


@outlasts_outages
def to_do(engine: Engine, label_set: LabelSet, before: int, size: int) -> list[Waiting]:
    """The newest photos before a photo_id that are to be embedded, one a content, newest first."""
    found: list[Waiting] = []
    values = {"encoder_id": label_set.encoder_id}
    with reading(engine) as connection:
        # Bounded by key: with a LIMIT alone PostgreSQL joins whole tables for every few hundred photos.
        while len(found) < size:
            last = connection.execute(_END_OF_PAGE, {"before": before, "page": PAGE}).scalar()
            if last is None:
                break
            rows = connection.execute(_PAGE, {**values, "before": before, "last": last})
            found += [Waiting(*row) for row in rows]
            before = last
    return found[:size]


def commit(engine: Engine, run_id: int, label_set: LabelSet, made: Reembedded) -> None:
    """Commits vectors and labels as a shard of the run, and has lost photos read again by the next scan."""
    _commit(engine, run_id, label_set, made, secrets.token_hex(16))


@outlasts_outages
def _commit(engine: Engine, run_id: int, label_set: LabelSet, made: Reembedded, claim: str) -> None:
    with writing(engine) as connection:
        done = connection.execute(select(shards.c.shard_id).where(shards.c.claim == claim)).first()
        if done is None:
            _insert(connection, run_id, label_set, made, claim)
            _read_again(connection, made.lost)


def _insert(connection: Connection, run_id: int, label_set: LabelSet, made: Reembedded, claim: str) -> None:
    content_ids = [photo.content_id for photo in made.done]
    rows = [
        {"encoder_id": label_set.encoder_id, "content_id": content_id, "vector": vector}
        for content_id, vector in sorted(zip(content_ids, made.vectors, strict=True), key=lambda row: row[0])
    ]
    shard = {
        "run_id": run_id,
        "committed_at": clock(connection),
        "embedded": insert_or_nothing(connection, embeddings, rows),
        "tagged": len(content_ids),
        "quarantined": 0,
        "claim": claim,
    }
    shard_id = connection.execute(insert(shards).values(shard).returning(shards.c.shard_id)).scalar_one()
    insert_tuples_or_nothing(connection, labels, label_rows(label_set, shard_id, content_ids, made.top))


def _read_again(connection: Connection, lost: Sequence[Waiting]) -> None:
    """For the next scan, whatever it lists, they have changed; unless a night has been there meanwhile."""
    for photo in sorted(lost, key=lambda photo: photo.photo_id):
        same = (photos.c.photo_id == photo.photo_id) & (photos.c.content_id == photo.content_id)
        connection.execute(update(photos).where(same).values(change_token=None))


@outlasts_outages
def refuse_losses(engine: Engine, label_set: LabelSet) -> None:
    """Raises QuarantineError if the set would be served without labels of too many photos."""
    with reading(engine) as connection:
        _refuse_losses(connection, label_set)


def _refuse_losses(connection: Connection, label_set: LabelSet) -> int:
    """How many present photos have no vector and cannot be asked for it."""
    present = "FROM photos p WHERE p.vanished_at IS NULL AND p.content_id IS NOT NULL"
    lost_ones = f"{present} AND NOT ({_GOOD.format('p')}) AND {_WITHOUT_VECTOR}"
    values = {"encoder_id": label_set.encoder_id}
    lost = int(connection.execute(text(f"SELECT COUNT(*) {lost_ones}"), values).scalar_one())
    if lost < FEW_LOST:
        return lost
    all_present = int(connection.execute(text(f"SELECT COUNT(*) {present}")).scalar_one())
    if lost > MOST_LOST * all_present:
        raise QuarantineError(
            f"{lost} of {all_present} photos cannot be read any more or have changed, more than "
            f"{MOST_LOST:.0%}: model {label_set.model_version} is not served; what was embedded is kept. Is "
            "the source mounted? Tag it, so that the catalogue knows what it holds, and go on: "
            f"fashion-clip models reembed {label_set.model_version}"
        )
    return lost


@outlasts_outages
def serve_if_whole(
    engine: Engine, run_id: int, label_set: LabelSet, served_before: int, scored: Scored, reason: str
) -> int | None:
    """Serves the set if no photo is to be embedded; returns how many photos it lacks, or None if some are.

    None also if more than a page of contents have a vector and no labels.

    served_before: the id of the label set that was served when this one was begun.

    Raises:
        CatalogError: another one is served by now.
        QuarantineError: it lacks too many photos.
    """
    with writing(engine) as connection:
        served_id = models.keep_served(connection, moving=True)
        if served_id == label_set.label_set_id:
            return 0
        _refuse_another_served(served_id, served_before, label_set)
        if _some_are_to_do(connection, label_set):
            return None
        lost = _refuse_losses(connection, label_set)
        if not relabelling.label_the_rest(connection, run_id, label_set, scored):
            return None
        _read_again_if_they_return(connection, label_set)
        models.serve(connection, label_set, reason)
    return lost


def _refuse_another_served(served_id: int | None, served_before: int, label_set: LabelSet) -> None:
    if served_id != served_before:
        raise CatalogError(
            f"other labels were served while photos were embedded for {label_set.model_version}, which would "
            "undo that; nothing was served. What is embedded is kept; go on: fashion-clip models reembed "
            f"{label_set.model_version}"
        )


def _some_are_to_do(connection: Connection, label_set: LabelSet) -> bool:
    query = text(f"SELECT 1 FROM photos p WHERE {_TO_DO} LIMIT 1")
    return connection.execute(query, {"encoder_id": label_set.encoder_id}).first() is not None


def _read_again_if_they_return(connection: Connection, label_set: LabelSet) -> None:
    """A photo that is away, and comes back with the bytes it had, would not be read, and have no labels."""
    query = text(
        f"UPDATE photos AS p SET change_token = NULL WHERE {_GOOD.format('p')} AND {_WITHOUT_VECTOR}"
    )
    connection.execute(query, {"encoder_id": label_set.encoder_id})
