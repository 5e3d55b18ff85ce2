"""How many photos a shard has: what one lease, one transaction and one Prefect task take on."""

from tasks.settings import settings

FEWEST, MOST = 256, 1_024
SHARD_S = 2.0  # Prefect takes 0.02 s for a task


def photos_a_shard(photos: int = 0, seconds: float = 0.0) -> int:
    """How many the next shard has, after a run has done so many photos in so many seconds.

    As many as it does in SHARD_S, between FEWEST and MOST: what is quick pays for few tasks, and what is slow
    loses little with a worker that is killed. FASHION_CLIP_SHARD_SIZE, where it is set, is not changed.
    """
    chosen = settings().shard_size
    if chosen is not None:
        return chosen
    return max(FEWEST, min(MOST, int(photos * SHARD_S / seconds))) if photos else FEWEST
