"""The path of a shard: bytes are read, contents that are new are embedded, all of them are labelled."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Engine

from fashion_clip.decode import decode_image
from fashion_clip.errors import ImageError
from fashion_clip.scoring import TopLabels, top_labels
from tasks.catalog.commit import VECTOR, Counts, Outcome, ShardResult, commit_shard, known_contents
from tasks.catalog.tables import CANDIDATES
from tasks.serving import ServedModel
from tasks.sources import Photo, Source

BATCH = 32  # photos in memory, and through the tower, at once; more were no quicker


@dataclass(frozen=True)
class _Read:
    """A photo as it was read, and the sha256 of its bytes in hex."""

    photo: Photo
    product_id: str
    digest: str


@dataclass
class _Shard:
    """What the photos have come to so far. unlabelled: float16 vectors of contents that lack labels."""

    outcomes: list[Outcome] = field(default_factory=list)
    embedded: dict[str, np.ndarray] = field(default_factory=dict)
    unlabelled: dict[str, np.ndarray] = field(default_factory=dict)


def product_id_of(key: str, pattern: str) -> str:
    """The product that a photo shows: the group of `pattern` in its key; the whole key if that is empty."""
    match = re.search(pattern, key)
    return match.group(1) if match and match.group(1) else key


def tag(
    engine: Engine, run_id: int, source: Source, model: ServedModel, uris: Sequence[str], product_id: str
) -> Counts:
    """Reads, embeds, labels and commits photos; what cannot be read or decoded goes to quarantine.

    Raises:
        CatalogError: the database refused; nothing of these photos was written.
    """
    shard = _Shard()
    for start in range(0, len(uris), BATCH):
        batch = _read(source, uris[start : start + BATCH], product_id, shard)
        failures = _embed(engine, model, batch, shard)
        shard.outcomes += [_outcome(read, failures.get(read.digest)) for read in batch]
    return commit_shard(engine, run_id, model.label_set, _result(model, shard))


def _read(source: Source, uris: Sequence[str], pattern: str, shard: _Shard) -> list[_Read]:
    batch = []
    for uri in uris:
        product_id = product_id_of(source.key(uri), pattern)
        try:
            photo = source.read(uri)
        except ImageError as error:
            shard.outcomes.append(Outcome(uri, product_id, None, None, error.reason, error.detail))
        else:
            batch.append(_Read(photo, product_id, hashlib.sha256(photo.data).hexdigest()))
    return batch


def _embed(
    engine: Engine, model: ServedModel, batch: Sequence[_Read], shard: _Shard
) -> dict[str, ImageError]:
    """Embeds contents that neither the catalogue nor this shard has; returns those that are no picture."""
    known = known_contents(engine, model.label_set, {read.digest for read in batch})
    shard.unlabelled.update(
        {
            digest: content.vector
            for digest, content in known.items()
            if content.vector is not None and not content.labelled
        }
    )
    pixels: dict[str, np.ndarray] = {}
    failures: dict[str, ImageError] = {}
    for read in batch:
        met = read.digest in known and known[read.digest].vector is not None
        if met or read.digest in shard.embedded or read.digest in pixels:
            continue
        try:
            pixels[read.digest] = model.encoder.preprocessing.pixels(decode_image(read.photo.data))
        except ImageError as error:
            failures[read.digest] = error
    if pixels:
        vectors = model.encoder.encode_pixels(np.stack(list(pixels.values()))).astype(VECTOR)
        fresh = dict(zip(pixels, vectors, strict=True))
        shard.embedded.update(fresh)
        shard.unlabelled.update(fresh)
    return failures


def _outcome(read: _Read, failure: ImageError | None) -> Outcome:
    photo = read.photo
    if failure is None:
        return Outcome(photo.uri, read.product_id, photo.change_token, read.digest)
    # Too little memory is this machine's fault, not the picture's: without a change token it is tried again.
    change_token = None if failure.reason == "out_of_memory" else photo.change_token
    return Outcome(photo.uri, read.product_id, change_token, None, failure.reason, failure.detail)


def _result(model: ServedModel, shard: _Shard) -> ShardResult:
    """Labels come from the float16 vectors that are stored, so that relabelling gives the same ones."""
    return ShardResult(
        shard.outcomes, shard.embedded, tuple(shard.unlabelled), _labels(model, shard.unlabelled)
    )


def _labels(model: ServedModel, vectors: Mapping[str, np.ndarray]) -> dict[str, TopLabels]:
    if not vectors:
        return {}
    matrix = np.stack(list(vectors.values())).astype(np.float32)
    return {head.attribute: top_labels(head, matrix, CANDIDATES) for head in model.heads}
