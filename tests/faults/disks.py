"""A disk that is full in the middle of a run, and one whose writes fail: what was acknowledged is there, and
the next run completes.

Acknowledged is what a run was told to be committed. It notes this in a file on another disk.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from fashion_clip.errors import CatalogError
from tasks import tagging
from tasks.catalog import schema
from tasks.catalog.commit import NOTHING, Counts, ShardResult
from tasks.catalog.engine import connect, reading
from tasks.catalog.ledger import Claim
from tasks.catalog.models import LabelSet
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
    """Runs that failed on the way, photos acknowledged by then, problems after the run that completed."""

    failures: int
    acknowledged: int
    problems: list[str]


def fill_the_disk(kind: str, folder: Path, expected: Expected, notes: Path) -> Outcome:
    """The disk is filled when the run has done a part of its work; when there is room again comes another."""
    notes.touch()
    with crowded_disk(folder, DISK_MB[kind]) as disk, databases(kind, disk) as made:
        url = made.new("crowded")
        variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}
        engine = connect(url)
        schema.upgrade(engine)
        engine.dispose()
        filler = disk / "filler"
        pid = fork(lambda: _run_and_note(str(expected.folder), notes), variables)
        while _committed(url) < expected.made.photos // 5:
            time.sleep(0.01)
        _fill(filler)
        failed = ended(pid) != 0
        filler.unlink()
        if made.server and not made.server.running():
            made.server.start()
        problems = _lost(url, notes)
        code = ended(fork(lambda: run_once(str(expected.folder)), variables))
        problems += audit.problems(url, expected)
    if not failed:
        problems.append("the disk was never full")
    return _outcome(int(failed), notes, code, problems)


def _outcome(failures: int, notes: Path, last_code: int, problems: list[str]) -> Outcome:
    acknowledged = len(_noted(notes))
    if not acknowledged:
        problems.append("nothing was acknowledged")
    if last_code:
        problems.append("the run after it failed")
    return Outcome(failures, acknowledged, problems)


def _run_and_note(spec: str, notes: Path) -> None:
    """One run that writes the URIs of each shard to `notes` when its commit has returned."""
    module: Any = tagging
    commit_shard = module.commit_shard

    def noting(engine: Engine, run_id: int, claim: Claim, label_set: LabelSet, result: ShardResult) -> Counts:
        counts: Counts = commit_shard(engine, run_id, claim, label_set, result)
        if counts != NOTHING:
            with notes.open("a") as out:
                out.writelines(outcome.uri + "\n" for outcome in result.outcomes)
        return counts

    module.commit_shard = noting
    run_once(spec)


def _noted(notes: Path) -> set[str]:
    return set(notes.read_text().splitlines())


def _lost(url: str, notes: Path) -> list[str]:
    engine = connect(url)
    with reading(engine) as connection:
        there = set(connection.execute(text("SELECT uri FROM photos")).scalars())
    engine.dispose()
    lost = _noted(notes) - there
    return [f"{len(lost)} photos that were acknowledged are gone"] if lost else []


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
    notes = folder / "acknowledged"
    notes.touch()
    command = [sys.executable, "-m", "tests.faults.disks", str(expected.folder), str(notes)]
    failures, problems = 0, []
    for _ in range(trials):
        done = subprocess.run(command, env=failing, check=False, capture_output=True, text=True)
        failures += done.returncode != 0
        if done.returncode and "disk I/O error" not in done.stderr:
            problems.append(f"a run ended by something else: {done.stderr[-300:]!r}")
        problems += _lost(url, notes)
    code = ended(fork(lambda: run_once(str(expected.folder)), variables))
    problems += audit.problems(url, expected)
    if not failures:
        problems.append("no write failed")
    return _outcome(failures, notes, code, problems)


def fail_server(
    server: PostgresServer, database: str, expected: Expected, trials: int, one_in: int, notes: Path
) -> Outcome:
    """PostgreSQL whose writes fail at random, which it answers by errors and by dying; then a sound disk."""
    url = server.url(database)
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}
    notes.touch()
    failures, problems = 0, []
    for _ in range(trials):
        server.stop()
        failures += _start_on_failing_disk(server, failing_writes(server.folder, one_in))
        run = fork(lambda: _run_and_note(str(expected.folder), notes), variables)
        failures += _ended_under_care(run, server) != 0
        server.kill()
        server.start()
        problems += _lost(url, notes)
    code = ended(fork(lambda: run_once(str(expected.folder)), variables))
    problems += audit.problems(url, expected)
    if not re.search("Input/output error", (server.folder / "postgres.log").read_text()):
        problems.append("no write failed")
    return _outcome(failures, notes, code, problems)


def _start_on_failing_disk(server: PostgresServer, failing: Mapping[str, str]) -> int:
    """How many starts the disk prevented before one stood. Raises RuntimeError if none of ten does."""
    for prevented in range(10):
        try:
            server.start(failing)
        except RuntimeError:
            if server.running():
                server.kill()
        else:
            return prevented
    raise RuntimeError("no start of ten stood on the failing disk; make it fail less often")


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
    _run_and_note(sys.argv[1], Path(sys.argv[2]))
