"""Several runs at once over one source: they share the work, and each photo is one run's."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, text

from tasks.catalog import ledger
from tasks.catalog.engine import connect, reading
from tests.faults import audit
from tests.faults.audit import Expected
from tests.faults.counters import deadlocks
from tests.faults.forks import ended, fork
from tests.faults.worker import run_once


@dataclass(frozen=True)
class Outcome:
    """Photos tagged by each run, how often any photo was claimed by a second one, problems, seconds.

    deadlocks: as the database tells; of the runs none fails by one, as it is tried again.
    """

    tagged: list[int]
    claimed_twice: int
    deadlocks: int
    problems: list[str]
    seconds: float


def share(url: str, expected: Expected, runs: int, shard: int, claims: Path) -> Outcome:
    """`runs` runs at once; `claims` is a folder for what each claimed."""
    began = time.monotonic()
    claims.mkdir(parents=True)
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(shard)}
    pids = [fork(partial(_run_and_tell, expected, claims / str(n)), variables) for n in range(runs)]
    codes = [ended(pid) for pid in pids]
    failed = [f"{sum(code != 0 for code in codes)} of {runs} runs failed"] if any(codes) else []
    claimed = [uri for file in claims.iterdir() for uri in file.read_text().splitlines()]
    engine = connect(url)
    with reading(engine) as connection:
        tagged = list(connection.execute(text("SELECT tagged FROM run_history ORDER BY run_id")).scalars())
    met = deadlocks(engine)
    engine.dispose()
    twice = len(claimed) - len(set(claimed))
    return Outcome(tagged, twice, met, failed + audit.problems(url, expected), time.monotonic() - began)


def _run_and_tell(expected: Expected, file: Path) -> None:
    claim = ledger.claim

    def told(engine: Engine, run_id: int, size: int) -> ledger.Claim:
        found = claim(engine, run_id, size)
        with file.open("a") as out:
            out.writelines(photo.uri + "\n" for photo in found.photos)
        return found

    file.touch()
    ledger.claim = told
    run_once(str(expected.folder))
