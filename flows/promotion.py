"""Puts a model in place: by relabelling where the stored vectors are its own, else by embedding anew."""

from flows.reembed_catalog import reembed_catalog
from flows.relabel_catalog import relabel_catalog
from tasks import environment, events
from tasks.catalog import models
from tasks.catalog.runs import RunSummary
from tasks.retraining import publish_promotion
from tasks.serving import require_served


def promote(model_version: str, reason: str | None = None) -> RunSummary | None:
    """Labels the catalogue with a registered model and serves that; None if it is served already.

    The labels that it has from earlier are kept, so that going back to a former model only adds what came
    since. reason: kept beside what is served from when; left out, how its labels came to be.

    Raises:
        UsageError: no such model, or it cannot be loaded.
        CatalogError: another run does the same, or another model was promoted meanwhile.
    """
    engine = environment.catalogue()
    current = require_served(engine)
    if current.model_version == model_version:
        return None
    label_set = models.label_set_for(engine, model_version, current.taxonomy)
    if label_set.encoder_id == current.encoder_id:
        return relabel_catalog(None, model_version, reason)
    return reembed_catalog(model_version, reason)


def promote_and_tell(model_version: str, why: str) -> RunSummary | None:
    """The same, with an artifact of what it changed, and an event."""
    before = require_served(environment.catalogue())
    run = promote(model_version, why)
    if run is not None:
        publish_promotion(before, why)
        events.model_promoted(model_version, why)
    return run
