"""A connection that breaks at COMMIT, before the server has it or before its answer comes back."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from tasks.catalog.engine import connect, reading
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
    """Resets that struck, runs that it took, problems, seconds."""

    struck: int
    runs: int
    problems: list[str]
    seconds: float


def break_commits(server: PostgresServer, database: str, expected: Expected, resets: int) -> Outcome:
    """Runs over the folder through a proxy that breaks `resets` commits, one after the other."""
    began = time.monotonic()
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        variables = {
            "FASHION_CLIP_DATABASE_URL": server.url(database, port=proxy.port),
            "FASHION_CLIP_SHARD_SIZE": str(SHARD),
        }
        over = threading.Event()
        grows = _Grows(server.url(database))
        breaker = threading.Thread(target=break_each, args=(proxy, MODES, resets, over, grows))
        breaker.start()
        runs, code = 0, 1
        while code and runs < 10:
            code = ended(fork(lambda: run_once(str(expected.folder)), variables))
            runs += 1
        over.set()
        breaker.join()
        struck = proxy.struck
    failed = [] if code == 0 else ["no run came to its end"]
    problems = failed + audit.problems(server.url(database), expected)
    return Outcome(struck, runs, problems, time.monotonic() - began)


def break_each(
    proxy: FaultProxy, modes: Sequence[str], times: int, over: threading.Event, recovered: Callable[[], bool]
) -> None:
    """Arms the proxy with each mode in turn: anew when it has struck and what it struck has `recovered`."""
    for number in range(times):
        proxy.mode = modes[number % len(modes)]
        while proxy.struck <= number or not recovered():
            if over.wait(0.01):
                return
    proxy.mode = "ok"


class _Grows:
    """Whether another shard has been committed since the last time that one had."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._shards = 0

    def __call__(self) -> bool:
        with reading(self._engine) as connection:
            shards = connection.execute(text("SELECT COUNT(*) FROM shards")).scalar_one()
        grown, self._shards = shards > self._shards, shards
        return bool(grown)
