"""Leases: what a live process keeps renewing, so that what a dead one held is free soon after."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from fashion_clip.errors import CatalogError

LEASE_S = 60.0
RENEWED_EVERY_S = 15.0


def lease_end(now: datetime) -> datetime:
    """When a lease that is given or renewed `now` ends."""
    return now + timedelta(seconds=LEASE_S)


@contextmanager
def beating(beat: Callable[[], object]) -> Iterator[None]:
    """Calls `beat` every RENEWED_EVERY_S from a thread of its own while the block runs.

    A beat that the database refuses is left to the next one; if none gets through the lease ends, and the
    fence at the commit decides.
    """
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(RENEWED_EVERY_S):
            with suppress(CatalogError):
                beat()

    thread = threading.Thread(target=keep_beating, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
