"""What an encoder made of the reference photos when the catalogue first used it, to be compared with."""

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Engine, select

from tasks.catalog.engine import outlasts_outages, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import reference_vectors
from tasks.catalog.vectors import VECTOR


@outlasts_outages
def remembered(engine: Engine, encoder_id: int, vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The vectors that were first made of the photos, as `vectors`: sha256 -> float16 (dimension,).

    For a photo that has none yet, the one given is remembered.
    """
    rows = [
        {"encoder_id": encoder_id, "sha256": digest, "vector": vector.astype(VECTOR).tobytes()}
        for digest, vector in sorted(vectors.items())
    ]
    columns = (reference_vectors.c.sha256, reference_vectors.c.vector)
    mine = (reference_vectors.c.encoder_id == encoder_id) & reference_vectors.c.sha256.in_(list(vectors))
    with writing(engine) as connection:
        insert_or_nothing(connection, reference_vectors, rows)
        return {
            digest: np.frombuffer(raw, VECTOR)
            for digest, raw in connection.execute(select(*columns).where(mine))
        }
