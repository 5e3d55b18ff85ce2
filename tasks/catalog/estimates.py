"""What a run's labels are guessed to be worth before any truth has come: the mean calibrated confidence.

Of calibrated confidences (Guo, Pleiss, Sun and Weinberger, ICML 2017) the mean is the accuracy, where photos
are like those that the calibration was fitted to. `estimate_history` shows how far off it was once truth has
come.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from tasks.catalog.accuracy_tables import run_estimates
from tasks.catalog.engine import outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import SCORE_SCALE

ENOUGH = 10_000  # photos of a run that are looked at: every k-th of more

# Begins at the run's own shards: the cost grows with the night, not with the catalogue.
_OF_RUN = "FROM shards h CROSS JOIN photos p WHERE h.run_id = :run_id AND p.shard_id = h.shard_id"
_PHOTOS = text(f"SELECT COUNT(*) {_OF_RUN} AND p.content_id IS NOT NULL")
_MEANS = text(
    """SELECT l.attribute_id, COUNT(*) AS photos, AVG(l.confidence_1) AS mean
FROM shards h CROSS JOIN photos p CROSS JOIN labels l
WHERE h.run_id = :run_id AND p.shard_id = h.shard_id AND p.content_id IS NOT NULL AND p.photo_id % :k = 0
  AND l.label_set_id = :label_set_id AND l.content_id = p.content_id
GROUP BY l.attribute_id"""
)


@dataclass(frozen=True)
class Estimate:
    """estimated_accuracy: 0..1, the mean confidence over so many photos."""

    attribute: str
    photos: int
    estimated_accuracy: float


@outlasts_outages
def record(engine: Engine, run_id: int, label_set: LabelSet) -> list[Estimate]:
    """Writes the estimates of a run's labels, of the attributes that are calibrated; safe to repeat."""
    calibrated = {
        label_set.attribute_ids[attribute.name]: attribute.name
        for attribute in label_set.taxonomy.attributes
        if label_set.calibration and label_set.calibration.of(label_set.taxonomy, attribute) is not None
    }
    if not calibrated:
        return []
    with reading(engine) as connection:
        photos = int(connection.execute(_PHOTOS, {"run_id": run_id}).scalar_one())
        values = {"run_id": run_id, "k": 1 + photos // ENOUGH, "label_set_id": label_set.label_set_id}
        rows = connection.execute(_MEANS, values).all()
    found = {
        attribute_id: Estimate(calibrated[attribute_id], photos, float(mean) / SCORE_SCALE)
        for attribute_id, photos, mean in rows
        if attribute_id in calibrated
    }
    written = [
        {
            "run_id": run_id,
            "attribute_id": attribute_id,
            "label_set_id": label_set.label_set_id,
            "photos": one.photos,
            "estimated_accuracy": one.estimated_accuracy,
        }
        for attribute_id, one in found.items()
    ]
    with writing(engine) as connection:
        insert_or_nothing(connection, run_estimates, written)
    return list(found.values())
