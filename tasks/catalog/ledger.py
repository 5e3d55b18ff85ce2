"""The ledger of work: who may do what, for how long, and what a dead worker leaves behind.

A worker *claims* some photos with a lease, does them outside any transaction, and takes them off the list in
the transaction that commits their rows (`commit`), if they are still its own. Each claim draws an owner of
its own, 128 random bits, which is the fence: a worker that slept past its lease finds its photos taken and
writes nothing of them. So a worker may die anywhere and leaves nothing to clean.

A photo that kills its worker takes others of its claim with it. So photos that were claimed before are
claimed again in small numbers, after all fresh ones, and in the end alone; who then dies once more is given
up: after MAX_CLAIMS the claim comes marked as hopeless, and the photo goes to quarantine unopened.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, Select, Update, func, or_, select, update

from fashion_clip.errors import CatalogError
from tasks.catalog import heartbeat
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.tables import runs, work

AGAIN = (16, 1)  # photos claimed at once that a worker died over once, twice or more
MAX_CLAIMS = 1 + len(AGAIN)


@dataclass(frozen=True)
class Claimed:
    """One photo to do. change_token is the listing's; hopeless if too many workers died over it."""

    work_id: int
    uri: str
    change_token: str
    hopeless: bool


@dataclass(frozen=True)
class Claim:
    """Photos that are one worker's to do while its lease lasts; in the order of their planning."""

    owner: str
    photos: tuple[Claimed, ...]


def wanted_by(connection: Connection, run_id: int) -> ColumnElement[bool]:
    """Work that a run's own listing of its source found to be done.

    Runs between the first and the last that listed a photo as to be done did so too, if it lies in their
    source: only a photo that vanishes and comes back between overlapping scans is counted wrongly.
    """
    source = connection.execute(select(runs.c.source).where(runs.c.run_id == run_id)).scalar_one() or ""
    # Told so that no index of URIs can serve it: work is taken in the order of another one.
    in_source = func.substr(work.c.uri, 1, len(source)) == source
    return (work.c.first_run_id <= run_id) & (work.c.last_run_id >= run_id) & in_source


def claim(engine: Engine, run_id: int, size: int) -> Claim:
    """Takes up to `size` photos of the run's work that nobody holds; none if there are none now."""
    return _claim(engine, run_id, size, secrets.token_hex(16))


@outlasts_outages
def _claim(engine: Engine, run_id: int, size: int, owner: str) -> Claim:
    """What stands under this owner: taken now, or by a try whose answer was lost."""
    columns = (work.c.work_id, work.c.uri, work.c.change_token, work.c.claims)
    with writing(engine) as connection:
        rows = connection.execute(select(*columns).where(work.c.owner == owner)).all()
        if not rows and (query := _taking(connection, run_id, size, owner)) is not None:
            rows = connection.execute(query.returning(*columns)).all()
    return Claim(
        owner, tuple(Claimed(key, uri, token, n > MAX_CLAIMS) for key, uri, token, n in sorted(rows))
    )


def _taking(connection: Connection, run_id: int, size: int, owner: str) -> Update | None:
    now = clock(connection)
    free = wanted_by(connection, run_id) & _is_free(now)
    alike = (work.c.last_run_id, work.c.claims)
    next_in_turn = select(*alike).where(free).order_by(*alike, work.c.work_id).limit(1)
    first = connection.execute(next_in_turn).first()
    if first is None:
        return None
    count = size if first.claims == 0 else min(size, AGAIN[min(first.claims, len(AGAIN)) - 1])
    # Only those like the first: an index then gives them in order, and nothing need be sorted.
    like_it = (work.c.last_run_id == first.last_run_id) & (work.c.claims == first.claims)
    chosen = select(work.c.work_id).where(free, like_it).order_by(work.c.work_id).limit(count)
    # As a CTE: PostgreSQL may run a subquery more than once, and then lock more rows than its limit.
    ids = select(_unlocked(connection, chosen).cte("chosen").c.work_id)
    query = update(work).where(work.c.work_id.in_(ids))
    return query.values(owner=owner, leased_until=heartbeat.lease_end(now), claims=work.c.claims + 1)


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(work.c.leased_until.is_(None), work.c.leased_until < now)


def _unlocked(connection: Connection, chosen: Select[int]) -> Select[int]:
    # SQLite has one writer at a time, and no row locks to skip.
    return chosen.with_for_update(skip_locked=True) if connection.dialect.name == "postgresql" else chosen


@contextmanager
def held(engine: Engine, claim: Claim) -> Iterator[None]:
    """Renews the claim's lease while the block runs; gives the photos back if the block fails.

    What fails in the open (a source or database that is gone, Ctrl-C) is no photo's fault: it does not count
    as a claim that a worker died over.
    """
    try:
        with heartbeat.beating(lambda: renew(engine, claim)):
            yield
    except BaseException:
        release(engine, claim)
        raise


def renew(engine: Engine, claim: Claim) -> int:
    """Prolongs the lease to a whole one from now; returns how many photos are still the claim's."""
    with writing(engine) as connection:
        query = update(work).where(work.c.owner == claim.owner)
        return connection.execute(query.values(leased_until=heartbeat.lease_end(clock(connection)))).rowcount


def release(engine: Engine, claim: Claim) -> None:
    """Gives back what of the claim is still its own; if the database is away, the lease's end does so."""
    with suppress(CatalogError), writing(engine) as connection:
        query = update(work).where(work.c.owner == claim.owner)
        connection.execute(query.values(owner=None, leased_until=None, claims=work.c.claims - 1))


@dataclass(frozen=True)
class Left:
    """Photos of a run's work that are not done: all of them, and those that nobody holds."""

    photos: int
    free: int


@outlasts_outages
def left(engine: Engine, run_id: int) -> Left:
    """What remains of the run's work."""
    with reading(engine) as connection:
        return left_of(connection, run_id)


def left_of(connection: Connection, run_id: int) -> Left:
    """As `left`, in the transaction of the connection."""
    free = func.count().filter(_is_free(clock(connection)))
    photos, unheld = connection.execute(select(func.count(), free).where(wanted_by(connection, run_id))).one()
    return Left(photos, unheld)
