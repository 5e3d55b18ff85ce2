"""The Prefect tasks of the nightly tagging, each a few lines over plain functions.

What a task is given is small: no bytes, no file names, no secrets. The database's URL comes from
the environment of the process that runs the task.
"""

from collections.abc import Callable

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from fashion_clip.errors import CatalogError, QuarantineError, SourceError
from tasks import environment, morning, summary
from tasks.catalog import audit, plan, runs
from tasks.catalog.models import served
from tasks.catalog.plan import Findings
from tasks.catalog.runs import RunSummary
from tasks.drift import refuse_drift
from tasks.serving import begin_catalogue, check_request, load_model
from tasks.settings import settings
from tasks.tagging import Tagger, tag_next

MORE = 3
FEW_FAILURES = 3  # fewer never fail a run, however short it is


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
    plan.drop_unlisted_work(engine, run_id, photos.uri)
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
    """Loads the champion, or starts an empty catalogue with the model asked for; returns its version.

    Raises:
        EncoderDriftError: it gives other vectors here than those that the catalogue holds.
    """
    engine = environment.catalogue()
    label_set = served(engine) or begin_catalogue(engine, model, taxonomy)
    check_request(engine, label_set, model, taxonomy)  # another run may have begun the catalogue meanwhile
    loaded = load_model(label_set, model)
    refuse_drift(engine, loaded)
    return loaded.label_set.model_version


@task(name="tag-shard", cache_policy=NO_CACHE)
def tag_shard(run_id: int, source: str, model: str | None, size: int) -> int:
    """Claims and tags up to `size` photos of the run's work; returns how many there were to claim."""
    engine = environment.catalogue()
    label_set = served(engine)
    if label_set is None:
        raise CatalogError("the catalogue serves no label set; was its database exchanged during the run?")
    loaded = load_model(label_set, model)
    decoders = environment.decoders(loaded.encoder.preprocessing)
    tagger = Tagger(engine, environment.source(source), loaded, decoders, settings().product_id)
    return tag_next(tagger, run_id, size)


@task(name="draw-audit-sample", cache_policy=NO_CACHE)
def draw_audit_sample(run_id: int, photos: int, more: bool) -> int:
    """Draws photos of the run for people to look at, MORE times as many after a drift; returns how many."""
    return audit.draw(environment.catalogue(), run_id, photos * (MORE if more else 1))


def refuse_too_many_failures(run_id: int) -> None:
    """Raises QuarantineError where a feed is broken rather than a photo or two; what was done is kept."""
    handled, limit = runs.handled(environment.catalogue(), run_id), settings().max_quarantined
    failed = handled.newly_quarantined
    if failed >= FEW_FAILURES and failed > limit * handled.photos:
        raise QuarantineError(
            f"{failed} of {handled.photos} photos went to quarantine, more than {limit:.0%}; the others are "
            "tagged. See why: fashion-clip quarantine list; try again: fashion-clip quarantine retry"
        )


@task(name="publish-summary", cache_policy=NO_CACHE)
def publish_summary(run_id: int, source: str) -> RunSummary:
    """Writes the run's artifact for the Prefect UI; returns the run's row."""
    engine, photos = environment.catalogue(), environment.source(source)
    run, label_set = runs.summary(engine, run_id), served(engine)
    counts, sheet = [], None
    if label_set is not None and run.tagged:
        counts = summary.label_counts(engine, run_id, label_set)
        sheet = summary.unsure_sheet(photos, summary.least_sure(engine, run_id, label_set))
    brief = morning.brief(run, morning.waiting(engine, run_id))
    text = summary.markdown(run, brief, label_set, counts, sheet)
    create_markdown_artifact(text, key="nightly-tagging", description=photos.uri)
    return run
