"""The Prefect tasks of the nightly tagging, each a few lines over plain functions.

What a task is given is small and plain: no bytes, no file names, no secrets. The database's URL comes from
the environment of the process that runs the task.
"""

from collections.abc import Callable

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from fashion_clip.errors import CatalogError, SourceError
from tasks import environment, summary
from tasks.catalog import plan, runs
from tasks.catalog.models import served
from tasks.catalog.plan import Findings
from tasks.catalog.runs import RunSummary
from tasks.serving import begin_catalogue, check_request, load_model
from tasks.settings import settings
from tasks.tagging import tag


@task(name="scan-source", cache_policy=NO_CACHE)
def scan_source(run_id: int, source: str, accept_vanished: bool, on_listed: Callable[[int], None]) -> int:
    """Lists the source, plans what is new or changed, marks what vanished; returns how many are planned.

    Raises:
        SourceError: the source cannot be listed whole, or more photos vanished than is plausible.
    """
    engine, photos = environment.catalogue(), environment.source(source)
    findings = plan.scan(engine, run_id, photos.uri, photos.listing(), on_listed)
    runs.record_listing(engine, run_id, photos.uri, findings.listed, photos.ignored)
    if not accept_vanished:
        _refuse_implausible_loss(findings, photos.uri)
    if findings.vanished or findings.returned:
        plan.mark_presence(engine, findings)
    return findings.planned


def _refuse_implausible_loss(findings: Findings, uri: str) -> None:
    """An unmounted share must not empty a catalogue."""
    vanished, limit = len(findings.vanished), settings().max_vanished
    if vanished and (findings.listed == 0 or vanished > limit * findings.present):
        raise SourceError(
            f"{vanished} of {findings.present} photos are gone from {uri!r}, more than {limit:.0%}: nothing "
            "was marked. Is it mounted? If they are gone for good, run again with --accept-vanished"
        )


@task(name="load-model", cache_policy=NO_CACHE)
def prepare_model(model: str | None, taxonomy: str | None) -> str:
    """Loads the champion, or starts an empty catalogue with the model asked for; returns its version."""
    engine = environment.catalogue()
    label_set = served(engine) or begin_catalogue(engine, model, taxonomy)
    check_request(label_set, model, taxonomy)  # another run may have begun the catalogue meanwhile
    return load_model(label_set, model).label_set.model_version


@task(name="tag-shard", task_run_name="tag-shard-{first}", cache_policy=NO_CACHE)
def tag_shard(run_id: int, source: str, model: str | None, first: int, last: int) -> int:
    """Tags the planned photos whose work_id lies in first..last; returns how many there were."""
    engine, photos = environment.catalogue(), environment.source(source)
    label_set = served(engine)
    if label_set is None:
        raise CatalogError("the catalogue serves no label set; was its database exchanged during the run?")
    uris = plan.planned(engine, run_id, first, last)
    tag(engine, run_id, photos, load_model(label_set, model), uris, settings().product_id)
    return len(uris)


@task(name="publish-summary", cache_policy=NO_CACHE)
def publish_summary(run_id: int, source: str) -> RunSummary:
    """Writes the run's artifact for the Prefect UI; returns the run's row."""
    engine, photos = environment.catalogue(), environment.source(source)
    run, label_set = runs.summary(engine, run_id), served(engine)
    counts, sheet = [], None
    if label_set is not None and run.tagged:
        counts = summary.label_counts(engine, run_id, label_set)
        sheet = summary.unsure_sheet(photos, summary.least_sure(engine, run_id, label_set))
    create_markdown_artifact(
        summary.markdown(run, label_set, counts, sheet), key="nightly-tagging", description=photos.uri
    )
    return run
