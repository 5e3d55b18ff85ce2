"""Every night: find what is new, embed and label it in shards, tell what was done."""

from collections import deque

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.catalog import plan, runs
from tasks.catalog.models import served
from tasks.catalog.runs import RunSummary
from tasks.environment import catalogue, source_name
from tasks.nightly import prepare_model, publish_summary, scan_source, tag_shard
from tasks.progress import Progress, shown
from tasks.serving import check_request
from tasks.settings import settings

AT_ONCE = 2  # shards: one decodes while the other is in the image tower


@flow(
    name="nightly-tagging",
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]  # Prefect's own is too narrow
)
def nightly_tagging(
    source: str | None = None,
    model: str | None = None,
    taxonomy: str | None = None,
    accept_vanished: bool = False,
) -> RunSummary:
    """Tags the new and changed photos of a source and writes labels and scores to the catalogue.

    Args:
        source: folder of photos; FASHION_CLIP_SOURCE if left out.
        model: hub name or folder of a CLIP checkpoint, for an empty catalogue; its champion otherwise.
        taxonomy: a shipped taxonomy's name or a TOML file, likewise.
        accept_vanished: believe the listing even if much is gone from the source.
    """
    engine = catalogue()
    spec = source_name(source)
    with runs.recorded(engine, "nightly-tagging", spec, flow_run.id) as run_id:
        model, taxonomy = model or settings().model, taxonomy or settings().taxonomy
        if (champion := served(engine)) is not None:
            check_request(champion, model, taxonomy)
        with shown(get_run_logger()) as progress:
            planned = scan_source(run_id, spec, accept_vanished, progress.listed)
            if planned:
                prepare_model(model, taxonomy)
                progress.started(planned)
                _tag_all(run_id, spec, model, progress)
    return publish_summary(run_id, spec)


def _tag_all(run_id: int, source: str, model: str | None, progress: Progress) -> None:
    """One task a shard, a few at a time: what waits costs no memory, and the first failure ends the run."""
    in_flight: deque[PrefectFuture[int]] = deque()
    try:
        for first, last in plan.shards(catalogue(), run_id, settings().shard_size):
            in_flight.append(tag_shard.submit(run_id, source, model, first, last))
            if len(in_flight) > AT_ONCE:
                progress.advanced(in_flight[0].result())
                in_flight.popleft()
        for shard in in_flight:
            progress.advanced(shard.result())
    finally:
        wait(list(in_flight))  # the run's counts are taken when nothing of it is under way any more
