"""A disk that is full in the middle of a run, and one whose writes fail: what was committed is there, and the
next run completes."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from fashion_clip.errors import CatalogError
from tasks.catalog import schema
from tasks.catalog.engine import connect, reading
from tests.faults import audit
from tests.faults.audit import Expected
from tests.faults.databases import databases
from tests.faults.forks import ended, fork
from tests.faults.worker import run_once
from tests.servers.disk import crowded_disk, failing_writes
from tests.servers.postgres import PostgresServer

SHARD = 8
DISK_MB = {"sqlite": 16, "postgresql": 160, "debian": 160}


@dataclass(frozen=True)
class Outcome:
    """Runs that failed on the way, photos committed by then, problems after the run that completed."""

    failures: int
    committed: int
    problems: list[str]


def fill_the_disk(kind: str, folder: Path, expected: Expected) -> Outcome:
    """The disk is filled when the run has done a part of its work; when there is room again comes another."""
    with crowded_disk(folder, DISK_MB[kind]) as disk, databases(kind, disk) as made:
        url = made.new("crowded")
        variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}
        engine = connect(url)
        schema.upgrade(engine)
        engine.dispose()
        filler = disk / "filler"
        pid = fork(lambda: run_once(str(expected.folder)), variables)
        while _committed(url) < expected.made.photos // 5:
            time.sleep(0.01)
        _fill(filler)
        failed = ended(pid) != 0
        filler.unlink()
        if made.server and not made.server.running():
            made.server.start()
        committed = _committed(url)
        code = ended(fork(lambda: run_once(str(expected.folder)), variables))
        problems = audit.problems(url, expected)
    if not failed:
        problems.append("the disk was never full")
    if code:
        problems.append("the run after it failed")
    return Outcome(int(failed), committed, problems)


def _fill(filler: Path) -> None:
    """Until nothing more goes onto the disk."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def _committed(url: str) -> int:
    engine = connect(url)
    try:
        with reading(engine) as connection:
            return int(connection.execute(text("SELECT COUNT(*) FROM photos")).scalar_one())
    except CatalogError:  # not even the tables could be made
        return 0
    finally:
        engine.dispose()


def fail_writes(url: str, expected: Expected, trials: int, one_in: int, folder: Path) -> Outcome:
    """SQLite whose writes fail at random, in processes of their own; then an undisturbed run."""
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}
    failing = os.environ | variables | failing_writes(folder, one_in)
    command = [sys.executable, "-m", "tests.faults.disks", str(expected.folder)]
    failures, problems = 0, []
    for _ in range(trials):
        done = subprocess.run(command, env=failing, check=False, capture_output=True, text=True)
        failures += done.returncode != 0
        if done.returncode and "disk I/O error" not in done.stderr:
            problems.append(f"a run ended by something else: {done.stderr[-300:]!r}")
    committed = _committed(url)
    code = ended(fork(lambda: run_once(str(expected.folder)), variables))
    problems += audit.problems(url, expected)
    if not failures:
        problems.append("no write failed")
    if code:
        problems.append("the run after it failed")
    return Outcome(failures, committed, problems)


def fail_server(server: PostgresServer, database: str, expected: Expected, one_in: int) -> Outcome:
    """PostgreSQL whose writes fail at random, which it answers by errors and by dying; then a sound disk."""
    url = server.url(database)
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}
    server.stop()
    server.start(failing_writes(server.folder, one_in))
    failed = _ended_under_care(fork(lambda: run_once(str(expected.folder)), variables), server) != 0
    server.kill()
    server.start()
    committed = _committed(url)
    code = ended(fork(lambda: run_once(str(expected.folder)), variables))
    problems = audit.problems(url, expected)
    if not re.search("Input/output error", (server.folder / "postgres.log").read_text()):
        problems.append("no write failed")
    if code:
        problems.append("the run after it failed")
    return Outcome(int(failed), committed, problems)


def _ended_under_care(pid: int, server: PostgresServer) -> int:
    """Waits for a child; a server that dies meanwhile is started again, now on a sound disk."""
    with ThreadPoolExecutor(1) as waiter:
        worker = waiter.submit(ended, pid)
        while not worker.done():
            if not server.running():
                server.start()
            time.sleep(0.1)
    return worker.result()


if __name__ == "__main__":
    run_once(sys.argv[1])
