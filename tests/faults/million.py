"""A night with nothing new over very many files on a disk, through `fashion-clip tag` as a user calls it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from tasks.catalog.engine import connect, writing
from tasks.catalog.tables import photos, runs, shards
from tasks.settings import settings
from tasks.sources import open_source
from tests.faults.counters import count_writes, writes
from tests.faults.memory import Peak

IN_A_FOLDER = 1_000
BATCH = 10_000


@dataclass(frozen=True)
class Outcome:
    """Seconds of the whole command and of its run, peak memory, rows changed, problems."""

    seconds: float
    run_seconds: float
    peak_mb: float
    rows_changed: int
    problems: list[str]


def make_many(folder: Path, count: int) -> None:
    """`count` files on the disk. They hold nothing: none is opened."""
    for number in range(count):
        below = folder / f"{number // IN_A_FOLDER:05}"
        if number % IN_A_FOLDER == 0:
            below.mkdir(parents=True)
        os.close(os.open(below / f"{number:07}.jpg", os.O_CREAT | os.O_WRONLY))


def know_many(url: str, folder: Path, count: int) -> None:
    """Makes the catalogue know all the `count` files of the folder."""
    engine = connect(url)
    with writing(engine) as connection:
        now = datetime.now(UTC)
        run = {"flow": "nightly-tagging", "started_at": now, "finished_at": now, "status": "completed"}
        run_id = connection.execute(insert(runs).returning(runs.c.run_id), run).scalar_one()
        shard = {"run_id": run_id, "committed_at": now, "embedded": 0, "tagged": count, "quarantined": 0}
        shard |= {"newly_quarantined": 0}
        shard_id = connection.execute(insert(shards).returning(shards.c.shard_id), shard).scalar_one()
        for batch in _batches(folder):
            connection.execute(insert(photos), [row | {"shard_id": shard_id} for row in batch])
    engine.dispose()


def _batches(folder: Path) -> Iterator[list[dict[str, object]]]:
    source = open_source(str(folder), settings().suffixes)
    batch: list[dict[str, object]] = []
    for photo in source.listing():
        batch.append({"uri": photo.uri, "product_id": "p", "change_token": photo.change_token})
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def quiet_night(url: str, folder: Path, count: int) -> Outcome:
    """Tags the folder, of which everything is known. Rows changed: those of other tables than `runs`."""
    engine = connect(url)
    count_writes(engine)
    before = writes(engine)
    engine.dispose()
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "tag", str(folder)],
        env=os.environ | {"FASHION_CLIP_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = Peak(process.pid, family=False)
    out, err = process.communicate()
    seconds = time.monotonic() - began
    problems = [] if process.returncode == 0 else [f"exit {process.returncode}: {err[-300:]}"]
    if f"{count} listed = {count} known + 0 tagged" not in out:
        problems.append(out)
    took = float(out.split(" in ")[1].split(" s:")[0]) if not problems else 0.0
    changed = writes(engine) - before
    engine.dispose()
    return Outcome(seconds, took, peak.megabytes, changed, problems)
