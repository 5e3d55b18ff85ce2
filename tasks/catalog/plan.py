"""What is to be done: a listing merged with what the catalogue knows, and the list of work that remains.

Both sides come in the byte order of their URIs, so the merge holds one page of the catalogue and one batch
of findings however large either is. The catalogue is read page by page, each in a transaction of its own:
one long snapshot would keep SQLite's log from being emptied.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, case, delete, exists, null, select, update

from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import NewValues, upsert
from tasks.catalog.tables import photos, quarantine, runs, work
from tasks.sources import Listed

PAGE = 5_000


@dataclass
class Findings:
    """What one complete listing found.

    `present` counts the photos that the catalogue held as present before; `vanished` are the photo_ids of
    those the listing lacks, `had` the hashes of their change tokens (8 bytes each), and `returned` the
    photo_ids of those that came back with the bytes they had.
    """

    listed: int = 0
    planned: int = 0
    present: int = 0
    vanished: "array[int]" = field(default_factory=lambda: array("q"))
    had: "array[int]" = field(default_factory=lambda: array("q"))
    returned: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True)
class _Known:
    photo_id: int
    uri: str
    change_token: str | None
    vanished: bool
    retry_due: bool


def below(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """True for URIs that begin with `prefix`, as a range, which an index serves."""
    return (column >= prefix) & (column < _end(prefix))


def _end(prefix: str) -> str:
    """The first text after all that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def scan(
    engine: Engine, run_id: int, prefix: str, listing: Iterable[Listed], on_listed: Callable[[int], None]
) -> Findings:
    """Plans every photo of the listing that is new or changed, and finds those that vanished.

    A photo that another run planned and did not finish stays planned once, and is then wanted by both.

    Raises:
        SourceError: the listing broke off; what was planned until then stays planned.
    """
    findings = Findings()
    new: list[Listed] = []
    known = _known_photos(engine, prefix)
    row = next(known, None)
    for photo in listing:
        while row is not None and row.uri < photo.uri:
            _note_unlisted(row, findings)
            row = next(known, None)
        match = row if row is not None and row.uri == photo.uri else None
        if match is not None:
            row = next(known, None)
        if _needs_work(photo, match, findings):
            new.append(photo)
        if findings.listed % PAGE == 0:
            _plan(engine, run_id, new)
            on_listed(findings.listed)
    while row is not None:
        _note_unlisted(row, findings)
        row = next(known, None)
    _plan(engine, run_id, new)
    on_listed(findings.listed)
    return findings


def _needs_work(photo: Listed, match: _Known | None, findings: Findings) -> bool:
    findings.listed += 1
    if match is not None and not match.vanished:
        findings.present += 1
    if match is None or match.change_token != photo.change_token or match.retry_due:
        findings.planned += 1
        return True
    if match.vanished:
        findings.returned.append(match.photo_id)
    return False


def _note_unlisted(row: _Known, findings: Findings) -> None:
    if not row.vanished:
        findings.present += 1
        findings.vanished.append(row.photo_id)
        findings.had.append(hash(row.change_token))


def _plan(engine: Engine, run_id: int, listed: list[Listed]) -> None:
    if listed:
        _put_to_work(engine, run_id, listed)
        listed.clear()


@outlasts_outages
def _put_to_work(engine: Engine, run_id: int, listed: list[Listed]) -> None:
    rows = [
        {
            "uri": photo.uri,
            "change_token": photo.change_token,
            "first_run_id": run_id,
            "last_run_id": run_id,
            "claims": 0,
        }
        for photo in listed
    ]
    with writing(engine) as connection:
        # Of two runs at once, and of one that follows a dead one, both want the photo; the younger listing's
        # change token stands. If the bytes are other ones, nobody holds these yet or has died over them.
        upsert(connection, work, rows, ["uri"], _wanted_by_both)
        _drop_what_was_done_meanwhile(connection, [photo.uri for photo in listed])


def _wanted_by_both(new: NewValues) -> dict[str, ColumnElement[Any]]:
    oldest = new["first_run_id"] < work.c.first_run_id
    younger = new["last_run_id"] >= work.c.last_run_id
    changed = younger & (new["change_token"] != work.c.change_token)
    return {
        "first_run_id": case((oldest, new["first_run_id"]), else_=work.c.first_run_id),
        "last_run_id": case((younger, new["last_run_id"]), else_=work.c.last_run_id),
        "change_token": case((younger, new["change_token"]), else_=work.c.change_token),
        "claims": case((changed, 0), else_=work.c.claims),
        "owner": case((changed, null()), else_=work.c.owner),
        "leased_until": case((changed, null()), else_=work.c.leased_until),
    }


def _drop_what_was_done_meanwhile(connection: Connection, uris: list[str]) -> None:
    """Another run may have finished a photo between our look at the catalogue and our planning of it."""
    due = exists().where(
        quarantine.c.photo_id == photos.c.photo_id, quarantine.c.retry_at <= clock(connection)
    )
    done = exists().where(
        photos.c.uri == work.c.uri,
        photos.c.change_token == work.c.change_token,
        photos.c.vanished_at.is_(None),
        ~due,
    )
    connection.execute(delete(work).where(work.c.uri.in_(uris), work.c.owner.is_(None), done))


@outlasts_outages
def drop_unlisted_work(engine: Engine, run_id: int, prefix: str) -> None:
    """Takes off the list what runs that are over planned and the run's own listing, to be believed, lacks."""
    with reading(engine) as connection:
        # A run that is still under way may have listed what came to the source since this listing passed it.
        alive = (runs.c.status == "running") & (runs.c.alive_until >= clock(connection))
        listed = runs.c.run_id.between(work.c.first_run_id, work.c.last_run_id)
        stale = (work.c.last_run_id < run_id) & below(work.c.uri, prefix) & ~exists().where(listed, alive)
        if connection.execute(select(work.c.work_id).where(stale).limit(1)).first() is None:
            return
    with writing(engine) as connection:
        connection.execute(delete(work).where(stale))


def _known_photos(engine: Engine, prefix: str) -> Iterator[_Known]:
    last = prefix
    while True:
        page = _page(engine, prefix, last)
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1].uri


@outlasts_outages
def _page(engine: Engine, prefix: str, last: str) -> list[_Known]:
    columns = (
        photos.c.photo_id,
        photos.c.uri,
        photos.c.change_token,
        photos.c.vanished_at,
        quarantine.c.retry_at,
    )
    # One lower bound alone: of two SQLite takes the prefix, and reads all earlier pages again for each.
    query = (
        select(*columns)
        .select_from(photos.outerjoin(quarantine))
        .where(photos.c.uri < _end(prefix), photos.c.uri > last)
        .order_by(photos.c.uri)
        .limit(PAGE)
    )
    with reading(engine) as connection:
        now = clock(connection)
        return [
            _Known(photo_id, uri, token, vanished_at is not None, retry_at is not None and retry_at <= now)
            for photo_id, uri, token, vanished_at, retry_at in connection.execute(query)
        ]


@outlasts_outages
def mark_presence(engine: Engine, findings: Findings) -> None:
    """Takes vanished photos out of `catalog_labels`, their history kept, and puts returned ones back.

    A vanished photo that another run has committed since, with another change token, is there again.
    """
    now = datetime.now(UTC)
    with writing(engine) as connection:
        for start in range(0, len(findings.vanished), PAGE):
            part = slice(start, start + PAGE)
            had = dict(zip(findings.vanished[part], findings.had[part], strict=True))
            _set_vanished(connection, _as_they_were(connection, had), now)
        for start in range(0, len(findings.returned), PAGE):
            _set_vanished(connection, findings.returned[start : start + PAGE].tolist(), None)


def _as_they_were(connection: Connection, had: dict[int, int]) -> list[int]:
    """The photo_ids whose change tokens still have these hashes; all are locked until the commit."""
    query = select(photos.c.photo_id, photos.c.change_token).where(photos.c.photo_id.in_(list(had)))
    found = connection.execute(query.with_for_update())
    return [photo_id for photo_id, change_token in found if hash(change_token) == had[photo_id]]


def _set_vanished(connection: Connection, photo_ids: list[int], vanished_at: datetime | None) -> None:
    change = update(photos).where(photos.c.photo_id.in_(photo_ids)).values(vanished_at=vanished_at)
    connection.execute(change)
