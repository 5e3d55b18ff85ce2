"""Every night: find what is new, embed and label it in shards, check accuracy, tell what was done."""

import time
from collections import deque
from contextlib import suppress
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from fashion_clip.errors import QuarantineError
from flows.check_accuracy import answer_drop, check
from tasks import deployed, environment, operator_variables, run_names
from tasks.catalog import ledger, runs
from tasks.catalog.models import served
from tasks.catalog.runs import RunSummary
from tasks.events import run_finished
from tasks.nightly import (
    draw_audit_sample,
    prepare_model,
    publish_summary,
    refuse_too_many_failures,
    scan_source,
    tag_shard,
)
from tasks.progress import Progress, shown
from tasks.serving import check_request
from tasks.settings import settings
from tasks.shard_size import Pace

AT_ONCE = 2  # shards: one decodes while the other is in the image tower
POLL_S = 2.0  # between two looks at what others hold
STANDSTILL_S = 900.0  # after which a run ends although photos remain


@flow(
    name="nightly-tagging",
    flow_run_name=run_names.nightly,
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]  # Prefect's own is too narrow
)
def nightly_tagging(
    source: Annotated[str | None, Field(max_length=1000)] = None,
    model: Annotated[str | None, Field(max_length=500)] = None,
    taxonomy: Annotated[str | None, Field(max_length=500)] = None,
    accept_vanished: bool = False,
) -> RunSummary:
    """Tags the new and changed photos of a source and writes labels and scores to the catalogue.

    Args:
        source: a folder, s3://bucket/prefix, a Parquet file or hf://name; FASHION_CLIP_SOURCE if left out.
            What Prefect's UI starts reads that, and FASHION_CLIP_SOURCES.
        model: hub name or folder of a CLIP checkpoint, for an empty catalogue; its champion otherwise.
        taxonomy: a shipped taxonomy's name or a TOML file, likewise.
        accept_vanished: believe the listing even if much is gone from the source.
    """
    deployed.check(sources=[source], models=[model], taxonomy=taxonomy)
    engine, spec = environment.catalogue(), environment.source_name(source)
    environment.source(spec)  # what is none is refused before it is written down: it may hold a password
    audit_photos, checked = operator_variables.audit_photos(), None
    try:
        with runs.recorded(engine, "nightly-tagging", spec, flow_run.id) as run_id:
            model, taxonomy = model or settings().model, taxonomy or settings().taxonomy
            if (champion := served(engine)) is not None:
                check_request(engine, champion, model, taxonomy)
            with shown(get_run_logger()) as progress:
                planned = scan_source(run_id, spec, accept_vanished, progress.listed)
                if planned:
                    version = prepare_model(model, taxonomy)
                    get_run_logger().info("run %d, model %s: %d photos", run_id, version, planned)
                    progress.started(planned)
                    _tag_all(run_id, spec, model, progress)
            checked = check(run_id) if served(engine) else None
            refuse_too_many_failures(run_id)
            draw_audit_sample(run_id, audit_photos, more=checked is not None and bool(checked.drifted))
    except QuarantineError:
        with suppress(Exception):  # nothing may hide why the run failed
            run_finished(publish_summary(run_id, spec))
            if checked is not None:
                answer_drop(checked)
        raise
    run = publish_summary(run_id, spec)
    run_finished(run)
    if checked is not None:
        answer_drop(checked)
    return run


def _tag_all(run_id: int, source: str, model: str | None, progress: Progress) -> None:
    """Until nothing of the run's work is left: what others hold is waited for, and taken over if they die."""
    fewest, since = None, time.monotonic()
    while (left := ledger.left(environment.catalogue(), run_id)).photos:
        if left.free and _tag_free(run_id, source, model, progress):
            continue
        if left.photos != fewest:
            fewest, since = left.photos, time.monotonic()
        elif time.monotonic() - since > STANDSTILL_S:
            get_run_logger().warning("%d photos are held by other runs and get no fewer", left.photos)
            return
        time.sleep(POLL_S)


def _tag_free(run_id: int, source: str, model: str | None, progress: Progress) -> int:
    """One task a shard, a few at a time, until one finds nothing to claim; returns how many were claimed.

    The first failure ends the run.
    """
    in_flight: deque[PrefectFuture[int]] = deque()
    claimed, photos, pace = 1, 0, Pace()
    try:
        while claimed:
            while len(in_flight) <= AT_ONCE:
                in_flight.append(tag_shard.submit(run_id, source, model, pace.shard_size()))
            photos += (claimed := _finish_first(in_flight, progress))
            pace.finished(claimed)
        while in_flight:
            photos += _finish_first(in_flight, progress)
    finally:
        wait(list(in_flight))  # the run's counts are taken when nothing of it is under way any more
    return photos


def _finish_first(in_flight: "deque[PrefectFuture[int]]", progress: Progress) -> int:
    photos = in_flight[0].result()
    in_flight.popleft()
    if photos:
        progress.advanced(photos)
    return photos
