"""A photo that kills whoever takes it up: it costs a few runs a shard each, and no other photo."""

import os
import signal
from dataclasses import dataclass

from sqlalchemy import text

from tasks import tagging
from tasks.catalog.engine import connect, reading
from tasks.sources import Source
from tests.faults.audit import Expected
from tests.faults.forks import ended, fork
from tests.faults.worker import run_once, shorten_leases

LEASE_S = 0.5
MOST_RUNS = 10


@dataclass(frozen=True)
class Outcome:
    """Runs that died, photos tagged in the end, the reason that the poison is in quarantine for, problems."""

    died: int
    tagged: int
    reason: str
    problems: list[str]


def swallow(url: str, expected: Expected, shard: int) -> Outcome:
    """Run after run over a folder one of whose photos kills its reader, until a run comes to its end."""
    poison = sorted(file.name for file in expected.folder.iterdir())[shard // 2]
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(shard)}
    died = 0
    while died < MOST_RUNS and ended(fork(lambda: _poisoned(expected, poison), variables)) != 0:
        died += 1
    engine = connect(url)
    with reading(engine) as connection:
        tagged = connection.execute(text("SELECT COUNT(DISTINCT uri) FROM catalog_labels")).scalar_one()
        query = text("SELECT uri, reason FROM quarantined_images WHERE reason = 'worker_died'")
        given_up = connection.execute(query).all()
    engine.dispose()
    problems = []
    if died == MOST_RUNS:
        problems.append(f"it still kills the {MOST_RUNS}th run")
    if [uri.rpartition("/")[2] for uri, _ in given_up] != [poison]:
        problems.append(f"given up are {given_up}, expected {poison}")
    if tagged != (wanted := expected.made.photos - expected.made.broken - 1):
        problems.append(f"{tagged} photos tagged, expected {wanted}")
    return Outcome(died, tagged, given_up[0][1] if given_up else "", problems)


def _poisoned(expected: Expected, poison: str) -> None:
    shorten_leases(LEASE_S)
    read = tagging._read

    def deadly(source: Source, uri: str) -> tagging._Read:
        if uri.endswith(poison):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(source, uri)

    tagging._read = deadly
    run_once(str(expected.folder))
