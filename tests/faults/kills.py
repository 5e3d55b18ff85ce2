"""Workers killed with -9, at random moments and at named points, often enough; then a clean run."""

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from tasks.catalog import quarantine
from tasks.catalog.engine import connect
from tests.faults import audit
from tests.faults.audit import Expected
from tests.faults.forks import ended, fork
from tests.faults.worker import POINTS, Fate, await_fate, run_once, shorten_leases

LEASE_S = 1.0
SHARD = 8
AT_ONCE = 2  # workers; a killed one is followed by the next
LONGEST_LIFE_S = 1.0  # of a worker that is killed at a random moment


@dataclass(frozen=True)
class Outcome:
    """Kills that struck, by point; problems found; photos that were given up on the way; seconds."""

    kills: dict[str, int]
    problems: list[str]
    given_up: int
    seconds: float


def kill_workers(url: str, expected: Expected, kills: int, seed: int = 0) -> Outcome:
    """Kills `kills` workers over the folder, lets one finish, and tells what is wrong then."""
    began = time.monotonic()
    draw = random.Random(seed)
    variables = _variables(url)
    points = cycle((*POINTS, "random moment"))
    struck: Counter[str] = Counter()
    under_way: dict[int, str] = {}
    errors = 0
    while struck.total() < kills:
        while len(under_way) < AT_ONCE:
            point = next(points)
            pid = fork(partial(_doomed, expected, point, draw.randrange(2)), variables)
            under_way[pid] = point
            if point == "random moment":
                _kill_later(pid, draw.uniform(0.05, LONGEST_LIFE_S))
        pid, status = os.wait()
        if pid not in under_way:  # the timer of a random kill
            continue
        point = under_way.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        struck[point] += code == -signal.SIGKILL
        errors += code not in (0, -signal.SIGKILL)
        if code == 0 and _all_done(url):
            break
    for pid in under_way:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    given_up = _finish(url, expected, variables)
    problems = [f"{errors} workers ended with an error"] if errors else []
    problems += [f"no worker was killed {point}" for point in POINTS if not struck[point]]
    problems += audit.problems(url, expected, given_up)
    return Outcome(dict(struck), problems, given_up, time.monotonic() - began)


def _variables(url: str) -> dict[str, str]:
    return {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_SHARD_SIZE": str(SHARD)}


def _doomed(expected: Expected, point: str, passes: int) -> None:
    shorten_leases(LEASE_S)
    if point in POINTS:
        await_fate(Fate(point, passes))
    run_once(str(expected.folder))


def _kill_later(pid: int, seconds: float) -> None:
    """A child of its own kills it: this process waits for whoever ends first."""
    if os.fork():
        return
    time.sleep(seconds)
    try:
        os.kill(pid, signal.SIGKILL)
    finally:
        os._exit(0)


def _all_done(url: str) -> bool:
    engine = connect(url)
    try:
        return bool(audit._number(engine, "SELECT COUNT(*) FROM photos")) and not audit._number(
            engine, "SELECT COUNT(*) FROM work"
        )
    finally:
        engine.dispose()


def _finish(url: str, expected: Expected, variables: dict[str, str]) -> int:
    """Undisturbed runs until all is done; returns how many photos had been given up and are cured now."""
    assert ended(fork(lambda: run_once(str(expected.folder)), variables)) == 0
    engine = connect(url)
    given_up = quarantine.retry(engine, quarantine.Chosen(reason="worker_died"))
    engine.dispose()
    if given_up:
        assert ended(fork(lambda: run_once(str(expected.folder)), variables)) == 0
    return given_up
