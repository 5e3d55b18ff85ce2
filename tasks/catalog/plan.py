"""What is to be done: a listing merged with what the catalogue knows, and the list of work that remains.

Both sides come in the byte order of their URIs, so the merge holds one page of the catalogue and one batch
of findings however large either is. The catalogue is read page by page, each in a transaction of its own:
one long snapshot would keep SQLite's log from being emptied.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, select, update

from tasks.catalog.engine import reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import photos, work
from tasks.sources import Listed

PAGE = 5_000


@dataclass
class Findings:
    """What one complete listing found.

    `present` counts the photos that the catalogue held as present before; `vanished` are the photo_ids of
    those the listing lacks (8 bytes each), `returned` of those that came back with the bytes they had.
    """

    listed: int = 0
    planned: int = 0
    present: int = 0
    vanished: "array[int]" = field(default_factory=lambda: array("q"))
    returned: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True)
class _Known:
    photo_id: int
    uri: str
    change_token: str | None
    vanished: bool


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

    Planning is insert-or-nothing: a photo that an earlier run planned and did not finish stays planned once;
    one that an earlier run planned and this listing lacks is taken off the list of work.

    Raises:
        SourceError: the listing broke off; what was planned until then stays planned.
    """
    findings = Findings()
    new: list[str] = []
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
            new.append(photo.uri)
        if findings.listed % PAGE == 0:
            _plan(engine, run_id, new)
            on_listed(findings.listed)
    while row is not None:
        _note_unlisted(row, findings)
        row = next(known, None)
    _plan(engine, run_id, new)
    _drop_unlisted_work(engine, run_id, prefix)
    on_listed(findings.listed)
    return findings


def _needs_work(photo: Listed, match: _Known | None, findings: Findings) -> bool:
    findings.listed += 1
    if match is not None and not match.vanished:
        findings.present += 1
    if match is None or match.change_token != photo.change_token:
        findings.planned += 1
        return True
    if match.vanished:
        findings.returned.append(match.photo_id)
    return False


def _note_unlisted(row: _Known, findings: Findings) -> None:
    if not row.vanished:
        findings.present += 1
        findings.vanished.append(row.photo_id)


def _plan(engine: Engine, run_id: int, uris: list[str]) -> None:
    if uris:
        with writing(engine) as connection:
            insert_or_nothing(connection, work, [{"uri": uri, "run_id": run_id} for uri in uris])
            # Only ever to a later run: of two scans at once the older must not undo what the younger found.
            older = work.c.uri.in_(uris) & (work.c.run_id < run_id)
            connection.execute(update(work).where(older).values(run_id=run_id))
        uris.clear()


def _drop_unlisted_work(engine: Engine, run_id: int, prefix: str) -> None:
    stale = (work.c.run_id < run_id) & below(work.c.uri, prefix)
    with reading(engine) as connection:
        if connection.execute(select(work.c.work_id).where(stale).limit(1)).first() is None:
            return
    with writing(engine) as connection:
        connection.execute(delete(work).where(stale))


def _known_photos(engine: Engine, prefix: str) -> Iterator[_Known]:
    columns = (photos.c.photo_id, photos.c.uri, photos.c.change_token, photos.c.vanished_at)
    # One lower bound alone: of two SQLite takes the prefix, and reads all earlier pages again for each.
    query = select(*columns).where(photos.c.uri < _end(prefix)).order_by(photos.c.uri).limit(PAGE)
    last = prefix
    while True:
        with reading(engine) as connection:
            page = connection.execute(query.where(photos.c.uri > last)).all()
        for photo_id, uri, change_token, vanished_at in page:
            yield _Known(photo_id, uri, change_token, vanished_at is not None)
        if len(page) < PAGE:
            return
        last = page[-1].uri


def mark_presence(engine: Engine, findings: Findings) -> None:
    """Takes vanished photos out of `catalog_labels`, their history kept, and puts returned ones back."""
    now = datetime.now(UTC)
    with writing(engine) as connection:
        for photo_ids, vanished_at in ((findings.vanished, now), (findings.returned, None)):
            for start in range(0, len(photo_ids), PAGE):
                page = photo_ids[start : start + PAGE].tolist()
                change = update(photos).where(photos.c.photo_id.in_(page)).values(vanished_at=vanished_at)
                connection.execute(change)


def remaining(connection: Connection, run_id: int) -> int:
    """Number of photos that a run planned and that are not done, nor planned by a later run as well."""
    query = select(func.count()).select_from(work).where(work.c.run_id == run_id)
    return int(connection.execute(query).scalar_one())


def shards(engine: Engine, run_id: int, size: int) -> Iterator[tuple[int, int]]:
    """A run's work in ranges (first work_id, last work_id) of at most `size` photos."""
    last = 0
    while True:
        query = select(work.c.work_id).where(work.c.run_id == run_id, work.c.work_id > last)
        with reading(engine) as connection:
            ids = connection.execute(query.order_by(work.c.work_id).limit(size)).scalars().all()
        if not ids:
            return
        yield ids[0], ids[-1]
        last = ids[-1]


def planned(engine: Engine, run_id: int, first: int, last: int) -> list[str]:
    """URIs of a run's work whose work_id lies in first..last and that are not done, in order."""
    query = select(work.c.uri).where(work.c.work_id.between(first, last), work.c.run_id == run_id)
    with reading(engine) as connection:
        return list(connection.execute(query.order_by(work.c.work_id)).scalars())
