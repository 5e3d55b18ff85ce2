"""Workers that sleep past their lease with a shard in hand: others do their photos, which have changed."""

import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text, update

from tasks.catalog import commit
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.tables import work
from tests.faults import audit
from tests.faults.audit import Expected
from tests.faults.forks import ended, fork, stopped
from tests.faults.photos import changed
from tests.faults.worker import Fate, await_fate, run_once

SHARD = 8


@dataclass(frozen=True)
class Outcome:
    """Workers that slept, photos in their hands, how many of their late writes came through, problems."""

    slept: int
    in_hand: int
    written: int
    problems: list[str]


def wake_the_dead(url: str, expected: Expected, zombies: int, fenced: bool = True) -> Outcome:
    """Stops workers just before their commit, changes their photos, lets others finish, and wakes them.

    fenced=False takes the fence out of the sleepers, to show that the harness would see it missing.
    """
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}
    sleepers = [fork(lambda: _sleeper(expected, fenced), variables) for _ in range(zombies)]
    slept = [pid for pid in sleepers if stopped(pid, 60)]
    held = _held(url)
    changed(expected.folder, sorted(uri.rpartition("/")[2] for uri in held), seed=1)
    _end_leases(url)
    assert ended(fork(lambda: _finish(expected), variables)) == 0
    before = _photos(url)
    for pid in slept:
        os.kill(pid, signal.SIGCONT)
    codes = [ended(pid) for pid in slept]
    after = _photos(url)
    written = sum(after[uri] != before[uri] for uri in held)
    engine = connect(url)
    found = [f"only {len(slept)} of {zombies} workers slept"] if len(slept) < zombies else []
    found += [] if held else ["no sleeper had a photo in hand"]
    found += [f"woken workers ended with {codes}"] if any(codes) else []
    found += audit.other_bytes(engine, expected.folder) + audit.doubled(engine)
    found += audit.committed_twice(engine, expected.made.photos)
    found += audit.runs_that_do_not_add_up(engine)
    engine.dispose()
    return Outcome(len(slept), len(held), written, found)


def _sleeper(expected: Expected, fenced: bool) -> None:
    if not fenced:
        commit._take_off_work = _take_whatever_it_is
    await_fate(Fate("before commit", 0, signal.SIGSTOP))
    run_once(str(expected.folder))


def _take_whatever_it_is(connection: Connection, claim: object, uris: list[str]) -> set[str]:
    return set(uris)


def _finish(expected: Expected) -> None:
    run_once(str(expected.folder))


def _held(url: str) -> list[str]:
    engine = connect(url)
    with reading(engine) as connection:
        held = list(connection.execute(text("SELECT uri FROM work WHERE owner IS NOT NULL")).scalars())
    engine.dispose()
    return held


def _end_leases(url: str) -> None:
    """As if they had slept for a minute."""
    engine = connect(url)
    with writing(engine) as connection:
        connection.execute(update(work).values(leased_until=datetime.now(UTC) - timedelta(seconds=1)))
    engine.dispose()


def _photos(url: str) -> dict[str, Any]:
    engine = connect(url)
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT uri, change_token, content_id, shard_id FROM photos"))
        found = {uri: tuple(rest) for uri, *rest in rows}
    engine.dispose()
    return found
