"""From truth in the catalogue to a calibrated model version."""

from dataclasses import dataclass, replace

from sqlalchemy import Engine

from fashion_clip.calibrating import LEAST_TRUTHS, Truths, calibrate
from fashion_clip.calibration import Calibration
from fashion_clip.errors import UsageError
from fashion_clip.unknown import REFERENCE
from tasks.catalog import versions
from tasks.catalog.truths import truth_vectors
from tasks.catalog.vector_sample import vector_sample
from tasks.catalog.versions import Made
from tasks.serving import ServedModel, facts_of


@dataclass(frozen=True)
class Fitted:
    """A calibration of the champion. truths: attribute -> products of sampled truth there are."""

    calibration: Calibration
    truths: dict[str, int]


def fit(engine: Engine, model: ServedModel, precision: float, certainty: float) -> Fitted:
    """A calibration from all truth that was drawn at random.

    Raises:
        UsageError: there is too little of it for every attribute.
    """
    found = {
        name: Truths(told.vectors, told.truth, told.product_ids, told.weights)
        for name, told in truth_vectors(engine, model.label_set, sampled_only=True).items()
    }
    truths = {
        attribute.name: len(set(found[attribute.name].products)) if attribute.name in found else 0
        for attribute in model.label_set.taxonomy.attributes
    }
    reference = vector_sample(engine, model.label_set, REFERENCE)
    calibration = calibrate(model.labeller, found, reference, precision, certainty)
    if not calibration.attributes:
        most = max(truths, key=lambda name: truths[name])
        raise UsageError(
            f"too little truth to calibrate: attribute {most!r} has that of {truths[most]} products drawn at "
            f"random, and at least {LEAST_TRUTHS} are needed. Look at the audit sample (fashion-clip export "
            "review.html --review, then fashion-clip truth import FILE), or import truth of a sample of your "
            "own, with the columns chosen and inclusion_probability"
        )
    return Fitted(calibration, truths)


def register(engine: Engine, model: ServedModel, calibration: Calibration) -> str:
    """Registers the champion with that calibration as a model version; returns its name. Safe to repeat."""
    served = model.label_set
    facts = replace(
        facts_of(replace(model.model, calibration=calibration)),
        checkpoint=served.checkpoint,
        digest=served.digest,
    )
    return versions.register(engine, facts, Made("calibrate", served.model_version))
