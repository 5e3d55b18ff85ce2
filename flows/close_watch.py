"""A promotion that turns out worse is taken back: the replaced model is served again, by itself."""

from prefect import get_run_logger

from flows.promotion import promote_and_tell
from tasks import environment, events
from tasks.catalog import close_watches, retrainings
from tasks.catalog.close_watches import Watch
from tasks.close_watch import watch_closely


def watch_promotion() -> Watch | None:
    """Looks at the champion's promotion, and puts back what it replaced if that is shown to be better.

    Returns the watch as it is then, `rolled_back` if so; None if there is nothing to watch. Safe to repeat:
    the evidence stands in SQL before anything is done about it.

    Raises:
        UsageError: the replaced model cannot be loaded any more.
        SourceError: photos have to be read, and their source as a whole cannot be.
        CatalogError: another run puts a model in place just now; the next look sees to it.
    """
    watch = watch_closely()
    if watch is None or not watch.is_worse:
        return watch
    engine, why = environment.catalogue(), f"taken back: {watch.told}"
    get_run_logger().warning("model %s is worse than %s: %s", watch.champion, watch.replaced, why)
    # A retraining that died between its promotion and its end would promote the same again.
    retrainings.close_of(engine, watch.champion, "promoted", "promoted, and taken back by the close watch")
    promote_and_tell(watch.replaced, why)
    closed = close_watches.close(engine, watch.close_watch_id, "rolled_back", watch.told)
    events.model_rejected(watch.champion, why)
    return closed
