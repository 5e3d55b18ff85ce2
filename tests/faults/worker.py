"""One run over a source, without Prefect: the flow's own steps in order, and where it may meet its fate."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

from tasks import environment, nightly, tagging
from tasks.catalog import heartbeat, ledger, runs
from tasks.shard_size import Pace
from tests.catalogue_fixtures import DEMO_MODEL

POINTS = ("after claim", "mid-inference", "before commit", "during commit", "at COMMIT", "after commit")


@dataclass(frozen=True)
class Fate:
    """The signal that a worker sends itself at the n-th time (from 0) that it comes to a point."""

    point: str
    passes: int
    signal: int = signal.SIGKILL


def run_once(spec: str, accept_vanished: bool = False) -> None:
    """One run to its end. Errors are those of the flow."""
    engine = environment.catalogue()
    with runs.recorded(engine, "nightly-tagging", spec, None) as run_id:
        if nightly.scan_source.fn(run_id, spec, accept_vanished, lambda photos: None):
            nightly.prepare_model.fn(DEMO_MODEL, "demo")
            pace = Pace()
            while ledger.left(engine, run_id).photos:
                photos = nightly.tag_shard.fn(run_id, spec, None, pace.shard_size())
                pace.finished(photos)
                if not photos:
                    time.sleep(0.05)


def shorten_leases(seconds: float) -> None:
    """So that a harness need not wait a minute for what a dead worker held."""
    heartbeat.LEASE_S, heartbeat.RENEWED_EVERY_S = seconds, seconds / 4


def await_fate(fate: Fate) -> None:
    """Puts the signal in this process's way. Meant for a process that is given up to it."""
    strike = _countdown(fate)
    if fate.point == "after claim":
        _after(ledger, "claim", strike)
    elif fate.point == "mid-inference":
        _before(tagging, "_finish", strike)
    elif fate.point == "before commit":
        _before(tagging, "commit_shard", strike)
    elif fate.point == "after commit":
        _after(tagging, "commit_shard", strike)
    elif fate.point == "during commit":
        event.listen(Engine, "before_cursor_execute", lambda *call: _if_photos(call[2], strike))
    else:
        _at_commit(strike)


def _countdown(fate: Fate) -> Callable[[], None]:
    left = [fate.passes]

    def strike() -> None:
        left[0] -= 1
        if left[0] == -1:
            os.kill(os.getpid(), fate.signal)

    return strike


def _before(owner: Any, name: str, strike: Callable[[], None]) -> None:
    original = getattr(owner, name)

    def stricken(*args: Any, **kwargs: Any) -> Any:
        strike()
        return original(*args, **kwargs)

    setattr(owner, name, stricken)


def _after(owner: Any, name: str, strike: Callable[[], None]) -> None:
    original = getattr(owner, name)

    def stricken(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        strike()
        return result

    setattr(owner, name, stricken)


def _if_photos(statement: str, strike: Callable[[], None]) -> bool:
    """In the middle of a shard's rows: its labels are written, its photos are not."""
    writes = statement.startswith("INSERT INTO photos")
    if writes:
        strike()
    return writes


def _at_commit(strike: Callable[[], None]) -> None:
    """All rows of a shard are written, and COMMIT is about to be sent."""
    writing_photos: list[bool] = []
    event.listen(
        Engine,
        "before_cursor_execute",
        lambda *call: writing_photos.append(True) if call[2].startswith("INSERT INTO photos") else None,
    )

    def committing(_: object) -> None:
        if writing_photos:
            writing_photos.clear()
            strike()

    event.listen(Engine, "commit", committing)
