"""A connection that breaks at COMMIT, before the server has it or before its answer comes back.

A commit whose answer is lost is asked for again, and must find itself done.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from tasks.catalog import commit
from tasks.catalog.commit import Counts
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.ledger import Claim
from tests.faults import audit
from tests.faults.audit import Expected
from tests.faults.forks import ended, fork
from tests.faults.worker import run_once
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import FaultProxy, fault_proxy

SHARD = 4
# With the NUL that ends a statement: a staging table is made ON COMMIT DELETE ROWS.
MODES = ("rst-after:COMMIT\0:1", "rst-before:COMMIT\0:1")


@dataclass(frozen=True)
class Outcome:
    """Resets that struck, shards that a second try found committed, runs that it took, problems, seconds."""

    struck: int
    found_done: int
    runs: int
    problems: list[str]
    seconds: float


def break_commits(
    server: PostgresServer, database: str, expected: Expected, resets: int, folder: Path, keyed: bool = True
) -> Outcome:
    """Runs over the photos through a proxy that breaks `resets` commits, one after the other.

    `folder` is for what the runs tell. keyed=False takes out what makes a commit find itself done, in the
    database and in the runs, to show that the harness would see it missing.
    """
    began = time.monotonic()
    told = folder / f"{database}-found-done"
    told.touch()
    if not keyed:
        _drop_key(server.url(database))
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        variables = {
            "FASHION_CLIP_DATABASE_URL": server.url(database, port=proxy.port),
            "FASHION_CLIP_SHARD_SIZE": str(SHARD),
        }
        over = threading.Event()
        ripe = _Ripe(server.url(database))
        breaker = threading.Thread(target=break_each, args=(proxy, MODES, resets, over, ripe))
        breaker.start()
        runs, code = 0, 1
        while code and runs < 10:
            code = ended(fork(lambda: _run_and_tell(expected, told, keyed), variables))
            runs += 1
        over.set()
        breaker.join()
        struck = proxy.struck
    failed = [] if code == 0 else ["no run came to its end"]
    problems = failed + audit.problems(server.url(database), expected)
    found_done = len(set(told.read_text().splitlines()))
    return Outcome(struck, found_done, runs, problems, time.monotonic() - began)


def _drop_key(url: str) -> None:
    engine = connect(url)
    with writing(engine) as connection:
        connection.execute(text("DROP INDEX uq_shards_claim"))
    engine.dispose()


def _run_and_tell(expected: Expected, told: Path, keyed: bool) -> None:
    committed_before, take_off_work = commit._committed_before, commit._take_off_work

    def telling(connection: Connection, claim: Claim) -> Counts | None:
        counts = committed_before(connection, claim)
        if counts is not None:
            with told.open("a") as out:
                out.write(claim.owner + "\n")
        return counts if keyed else None

    def taking_all(connection: Connection, claim: Claim, uris: list[str]) -> set[str]:
        take_off_work(connection, claim, uris)
        return set(uris)

    commit._committed_before = telling
    if not keyed:
        commit._take_off_work = taking_all
    run_once(str(expected.folder))


def break_each(
    proxy: FaultProxy, modes: Sequence[str], times: int, over: threading.Event, recovered: Callable[[], bool]
) -> None:
    """Arms the proxy with each mode in turn: anew when it has struck and what it struck has `recovered`."""
    for number in range(times):
        proxy.mode = modes[number % len(modes)]
        while proxy.struck <= number or not recovered():
            if over.wait(0.003):
                return
    proxy.mode = "ok"


class _Ripe:
    """Whether the next reset may come: another shard has been committed since the last one.

    For two of four the next shard is in hand by then, so that its commit is struck and not its claim's.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._shards = 0
        self._resets = 0

    def __call__(self) -> bool:
        with reading(self._engine) as connection:
            shards = connection.execute(text("SELECT COUNT(*) FROM shards")).scalar_one()
            held = connection.execute(text("SELECT COUNT(*) FROM work WHERE owner IS NOT NULL")).scalar_one()
        if shards == self._shards or (self._resets % 4 < 2 and not held):
            return False
        self._shards = shards
        self._resets += 1
        return True
