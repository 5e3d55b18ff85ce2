"""Vectors spread over the whole catalogue, without those whose truth judges what is made of them."""

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, text

from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.models import LabelSet
from tasks.catalog.vectors import raw_vectors

_NOT_DRAWN = """NOT EXISTS (
    SELECT 1 FROM photos p WHERE p.content_id = e.content_id
        AND (EXISTS (SELECT 1 FROM audit_samples u WHERE u.photo_id = p.photo_id)
             OR EXISTS (SELECT 1 FROM truths t WHERE t.photo_id = p.photo_id AND t.chosen = 'random')
             OR EXISTS (SELECT 1 FROM truths t WHERE t.photo_id = 0 AND t.product_id = p.product_id
                                                 AND t.chosen = 'random')))"""


@outlasts_outages
def vector_sample(engine: Engine, label_set: LabelSet, count: int) -> npt.NDArray[np.float32]:
    """float32 (m, dimension): at most `count` of the label set's vectors, of photos that were not drawn.

    Content ids grow with the nights, so that every so many of them are of all nights alike.
    """
    with reading(engine) as connection:
        raw = raw_vectors(connection, "e.vector")
        last = "SELECT COALESCE(MAX(content_id), 0) FROM embeddings WHERE encoder_id = :encoder_id"
        values = {"encoder_id": label_set.encoder_id}
        step = max(connection.execute(text(last), values).scalar_one() // count, 1)
        ids = [{"id": content_id} for content_id in range(step, step * (count + 1), step)]
        query = text(
            f"SELECT {raw.expression} FROM embeddings e"
            f" WHERE e.encoder_id = :encoder_id AND e.content_id = :id AND {_NOT_DRAWN}"
        )
        found = [row[0] for each in ids for row in connection.execute(query, values | each)]
    return raw.matrix([bytes(part) for part in found], label_set.dimension)
