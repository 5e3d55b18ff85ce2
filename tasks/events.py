"""What is told to Prefect, for automations: an event saves waiting, and SQL holds the same fact.

A lost event is told again by the next night; a doubled one is answered once.
"""

from typing import Any

from prefect.events import emit_event

from tasks.catalog.accuracy_drops import Drop
from tasks.catalog.runs import RunSummary
from tasks.run_names import plain

ACCURACY_DROPPED = "fashion.accuracy.dropped"
MODEL_PROMOTED = "fashion.model.promoted"
MODEL_REJECTED = "fashion.model.rejected"
IMAGES_QUARANTINED = "fashion.images.quarantined"
RUN_FINISHED = "fashion.run.finished"


def accuracy_dropped(model_version: str, drop: Drop) -> None:
    """A drop that a retraining has yet to answer. The payload has the parameters of retrain-model."""
    payload = {
        "drop": drop.drop_id,
        "attribute": drop.attribute,
        "reason": drop.reason,
        "accuracy": drop.accuracy,
        "baseline": drop.baseline,
        "e_value": drop.e_value,
    }
    _of_model(ACCURACY_DROPPED, model_version, payload)


def model_promoted(model_version: str, reason: str) -> None:
    """A model that is served from now on."""
    _of_model(MODEL_PROMOTED, model_version, {"reason": reason})


def model_rejected(model_version: str, reason: str) -> None:
    """A model that is not to be served: by the gate, by a person, or taken back."""
    _of_model(MODEL_REJECTED, model_version, {"reason": reason})


def run_finished(run: RunSummary) -> None:
    """A night that is over, and its photos that failed if there are some."""
    counts = {name: getattr(run, name) for name in ("listed", "known", "tagged", "quarantined", "remaining")}
    payload = {"run_id": run.run_id, "flow": run.flow, "status": run.status, **counts}
    name = plain(run.source or "none")
    resource = {"prefect.resource.id": f"fashion.source.{name}", "prefect.resource.name": name}
    if run.quarantined:
        emit_event(IMAGES_QUARANTINED, resource, payload=payload)
    emit_event(RUN_FINISHED, resource, payload=payload)


def _of_model(event: str, model_version: str, payload: dict[str, Any]) -> None:
    resource = {
        "prefect.resource.id": f"fashion.model.{model_version}",
        "prefect.resource.name": model_version,
    }
    emit_event(event, resource, payload=payload)
