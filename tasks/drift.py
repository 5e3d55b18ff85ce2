"""Does an encoder still give the vectors that the catalogue holds? Asked at the start of a run.

A new library, driver or processor may change vectors with no error anywhere: labels would slowly become a
mixture of two models'. So a few fixed photos are embedded and compared with what they gave at first.
"""

import hashlib

import numpy as np
from sqlalchemy import Engine

from fashion_clip import reference_photos
from fashion_clip.decode import Limits
from fashion_clip.errors import EncoderDriftError
from fashion_clip.preprocessing import photo_pixels
from tasks.catalog.reference_vectors import remembered
from tasks.catalog.vectors import VECTOR
from tasks.serving import ServedModel

LEAST_COSINE = 0.999  # bfloat16 on another processor differs by 0.0001, another interpolation by 0.01


def refuse_drift(engine: Engine, model: ServedModel) -> None:
    """Embeds the reference photos, and remembers their vectors if this encoder is new to the catalogue.

    Raises:
        EncoderDriftError: a photo's vector and the one first made of it have a cosine under LEAST_COSINE.
    """
    photos = reference_photos.load()
    # Decoded here, and within no limits: they are our own files.
    pixels = [photo_pixels(data, model.encoder.preprocessing, Limits()) for data in photos.values()]
    vectors = model.encoder.encode_pixels(np.stack(pixels)).astype(VECTOR)
    digests = [hashlib.sha256(data).hexdigest() for data in photos.values()]
    first = remembered(engine, model.label_set.encoder_id, dict(zip(digests, vectors, strict=True)))
    for name, digest, vector in zip(photos, digests, vectors, strict=True):
        cosine = float(vector.astype(np.float32) @ first[digest].astype(np.float32))
        if not cosine >= LEAST_COSINE:  # nor if it is no number
            raise EncoderDriftError(
                f"model {model.label_set.model_version} no longer gives the vectors that this catalogue "
                f"holds: for the reference photo {name!r} their cosine is {cosine:.4f}, expected at least "
                f"{LEAST_COSINE}. A library or the hardware has changed them; nothing was embedded. Go back "
                "to what the last good run used, or embed all photos anew: fashion-clip models reembed"
            )
