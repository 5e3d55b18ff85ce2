"""How many photos a shard has: what one lease, one transaction and one Prefect task take on."""

from collections import deque
from time import monotonic

from tasks.settings import settings

FEWEST, MOST = 256, 1_024
SHARD_S = 2.0  # from one shard's end to the next one's; Prefect takes some 0.015 s for a task
LAST = 4  # shards that tell how quick a run is: what begins to be slow is soon done in small ones


class Pace:
    """How quickly a run does its photos, from which follows how many the next shard has.

    As many as the run does in SHARD_S, between FEWEST and MOST: what is quick pays for few tasks, and what is
    slow loses little with a worker that is killed. FASHION_CLIP_SHARD_SIZE, where it is set, is not changed.
    Threads may share it.
    """

    def __init__(self) -> None:
        self._ends = deque([(monotonic(), 0)], maxlen=LAST + 1)

    def finished(self, photos: int) -> None:
        """A shard of so many photos has ended."""
        self._ends.append((monotonic(), photos))

    def shard_size(self) -> int:
        """Of the next shard, in photos."""
        chosen = settings().shard_size
        if chosen is not None:
            return chosen
        (began, _), *ends = list(self._ends)
        if not ends:
            return FEWEST
        a_second = sum(photos for _, photos in ends) / max(ends[-1][0] - began, 1e-9)
        return int(min(MOST, max(FEWEST, a_second * SHARD_S)))
