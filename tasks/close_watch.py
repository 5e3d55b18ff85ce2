"""A look at a promotion: what the new champion and the one that it replaced say of truth that came since."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from prefect import task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from fashion_clip.close_watch import Compared, compare
from tasks import environment
from tasks.catalog import close_watches, models
from tasks.catalog.close_watches import NewTruth, Watch
from tasks.embedding import embed
from tasks.photo_sources import by_source
from tasks.serving import ServedModel, load_model, require_served, scored

MOST_READ = 200  # photos a look; the truth of others is left to the next one


@task(name="watch-promotion", cache_policy=NO_CACHE)
def watch_closely() -> Watch | None:
    """See `look`."""
    return look(environment.catalogue())


def look(engine: Engine) -> Watch | None:
    """Counts the truth that has come since the last look; returns the watch of the champion's promotion.

    None if there is nothing to watch: no challenger that passed the gate was promoted in the last 28 days, or
    its watch is over. The former model scores the vectors that the catalogue has of its encoder; where it has
    none, at most MOST_READ photos are read and embedded. Those that cannot be read, or show something else by
    now, do not count. It may be repeated, die anywhere, and meet another look.

    Raises:
        CheckpointError: the replaced model cannot be loaded any more.
        SourceError: photos have to be read, and their source as a whole cannot be.
    """
    watch = close_watches.current(engine)
    if watch is None or watch.is_worse:
        return watch
    served = require_served(engine)
    if served.model_version != watch.champion:  # it was promoted just now; the next look ends the watch
        return watch
    if watch.attribute not in served.attribute_ids:
        told = f"taxonomy {served.taxonomy.name} has no attribute {watch.attribute!r}"
        return close_watches.close(engine, watch.close_watch_id, "ended", told)
    former = models.label_set_for(engine, watch.replaced, served.taxonomy)
    found, last = close_watches.new_truth(engine, watch, served, former)
    found, last = _no_more_than_can_be_read(found, last)
    compared = _compared(engine, load_model(former), watch.attribute, found) if found else Compared()
    return close_watches.count(engine, watch, last, compared)


def _no_more_than_can_be_read(found: list[NewTruth], last: int) -> tuple[list[NewTruth], int]:
    """What comes before the first photo that is too many to be read; and the truth_id up to there."""
    unread = [told.truth_id for told in found if told.vector is None]
    if len(unread) <= MOST_READ:
        return found, last
    return [told for told in found if told.truth_id < unread[MOST_READ]], unread[MOST_READ] - 1


def _compared(engine: Engine, former: ServedModel, attribute: str, found: Sequence[NewTruth]) -> Compared:
    read = _embedded(engine, former, [told for told in found if told.vector is None])
    vectors = [told.vector if told.vector is not None else read.get(told.uri) for told in found]
    both = [(told, vector) for told, vector in zip(found, vectors, strict=True) if vector is not None]
    if not both:
        return Compared()
    # Of the float16 vectors that are or would be stored, as everywhere.
    top = scored(former.labeller, np.stack([vector for _, vector in both]).astype(np.float32))[attribute]
    label_ids = former.label_set.label_ids[attribute]
    said = [label_ids[place] for place in top.index[:, 0]]
    replaced = np.array([told.label_id == label_id for (told, _), label_id in zip(both, said, strict=True)])
    champion = np.array([told.label_id == told.said_id for told, _ in both])
    return compare(replaced, champion)


def _embedded(
    engine: Engine, former: ServedModel, unread: Sequence[NewTruth]
) -> dict[str, npt.NDArray[np.float16]]:
    """URI -> the former model's vector, of photos that still show what the truth is about."""
    digests = {told.uri: told.sha256 for told in unread}
    vectors: dict[str, npt.NDArray[np.float16]] = {}
    for source, uris in by_source(engine, list(digests)):
        made = embed(former.encoder, source, uris, lambda _: None)
        for row, vector in zip(made.rows, made.vectors, strict=True):
            if made.digests[uris[row]] == digests[uris[row]]:
                vectors[uris[row]] = vector
    return vectors
