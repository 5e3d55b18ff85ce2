"""An encoder that gives other vectors than it gave is refused, before anything is embedded."""

import hashlib

import numpy as np
import pytest
from sqlalchemy import Engine, update

from fashion_clip import reference_photos
from fashion_clip.errors import EncoderDriftError
from tasks import drift, serving
from tasks.catalog.engine import writing
from tasks.catalog.tables import reference_vectors
from tasks.catalog.vectors import VECTOR
from tasks.serving import ServedModel
from tests.catalogue_fixtures import DEMO_MODEL, rows

REMEMBERED = "SELECT encoder_id, sha256, vector FROM reference_vectors ORDER BY sha256"


@pytest.fixture
def model(catalogue: Engine) -> ServedModel:
    return serving.load_model(serving.begin_catalogue(catalogue, DEMO_MODEL, "demo"))


def turned(vector: np.ndarray, cosine: float) -> np.ndarray:
    """A unit vector of that cosine to a unit vector."""
    aside = np.zeros_like(vector)
    aside[:2] = vector[1], -vector[0]
    moved: np.ndarray = cosine * vector + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)
    return moved


def set_vectors(engine: Engine, cosine: float) -> None:
    """Makes the catalogue hold other vectors for the photos than were made."""
    with writing(engine) as connection:
        for _, digest, raw in rows(engine, REMEMBERED):
            vector = turned(np.frombuffer(raw, VECTOR).astype(np.float64), cosine)
            query = update(reference_vectors).where(reference_vectors.c.sha256 == digest)
            connection.execute(query.values(vector=vector.astype(VECTOR).tobytes()))


def test_the_first_vectors_are_remembered(catalogue: Engine, model: ServedModel) -> None:
    drift.refuse_drift(catalogue, model)
    remembered = rows(catalogue, REMEMBERED)
    photos = reference_photos.load().values()
    assert [row[1] for row in remembered] == sorted(hashlib.sha256(data).hexdigest() for data in photos)
    drift.refuse_drift(catalogue, model)
    assert rows(catalogue, REMEMBERED) == remembered


@pytest.mark.parametrize("cosine", [0.9995, 1.0])
def test_what_two_processors_differ_by_is_no_drift(
    catalogue: Engine, model: ServedModel, cosine: float
) -> None:
    drift.refuse_drift(catalogue, model)
    set_vectors(catalogue, cosine)
    drift.refuse_drift(catalogue, model)


@pytest.mark.parametrize("cosine", [0.998, 0.9, 0.0])
def test_other_vectors_are_refused(catalogue: Engine, model: ServedModel, cosine: float) -> None:
    drift.refuse_drift(catalogue, model)
    set_vectors(catalogue, cosine)
    with pytest.raises(EncoderDriftError, match=r"'large.jpg'.*cosine is .*models reembed"):
        drift.refuse_drift(catalogue, model)


def test_vectors_that_are_no_numbers_are_refused(catalogue: Engine, model: ServedModel) -> None:
    drift.refuse_drift(catalogue, model)
    nothing = np.full(model.encoder.dimension, np.nan, VECTOR).tobytes()
    with writing(catalogue) as connection:
        connection.execute(update(reference_vectors).values(vector=nothing))
    with pytest.raises(EncoderDriftError):
        drift.refuse_drift(catalogue, model)
