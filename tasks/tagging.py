"""The path of a shard: photos are claimed and read, contents that are new are embedded, all are labelled."""

import hashlib
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Engine

from fashion_clip.decoders import Decoders, Pixels
from fashion_clip.errors import ImageError, SupersededError
from fashion_clip.scoring import TopLabels
from tasks.catalog import ledger
from tasks.catalog.commit import ShardResult, commit_shard, known_contents
from tasks.catalog.ledger import Claim, Claimed
from tasks.catalog.outcome import Outcome
from tasks.catalog.vectors import VECTOR
from tasks.serving import ServedModel, scored
from tasks.sources import Photo, Source

# Of photos: a batch is closed that has so many, and nothing more is read ahead while so many wait. What is on
# its way then still comes, so that a shard of nothing but the largest files may hold some times as much.
BATCH_BYTES = 64 * 1024 * 1024
READERS = 8  # photos on their way at once: a bucket answers after tens of milliseconds
DECODED_AHEAD = 1  # batches being decoded while one is in the image tower


@dataclass(frozen=True)
class Tagger:
    """What a shard needs, whichever it is. product_id: a regular expression, see `product_id_of`."""

    engine: Engine
    source: Source
    model: ServedModel
    decoders: Decoders
    product_id: str

    def product_of(self, uri: str) -> str:
        """The product that the photo of that URI shows."""
        return product_id_of(self.source.key(uri), self.product_id)


@dataclass(frozen=True)
class _Read:
    """A photo as it was read, and the sha256 of its bytes in hex."""

    photo: Photo
    digest: str


@dataclass
class _Shard:
    """What the photos have come to so far, contents by their digest.

    met: all that were looked at. embedded: float16 vectors made here. unlabelled: those, and such as the
    catalogue had, of contents that lack labels. failed: no pictures.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    embedded: dict[str, np.ndarray] = field(default_factory=dict)
    unlabelled: dict[str, np.ndarray] = field(default_factory=dict)
    failed: dict[str, ImageError] = field(default_factory=dict)


@dataclass(frozen=True)
class _Batch:
    """Photos that were read, and the pixels to come of those contents among them that are new."""

    photos: Sequence[_Read]
    decoding: Mapping[str, "Future[Pixels | ImageError]"]


def product_id_of(key: str, pattern: str) -> str:
    """The product that a photo shows: the group of `pattern` in its key; the whole key if that is empty."""
    match = re.search(pattern, key)
    return match.group(1) if match and match.group(1) else key


def tag_next(tagger: Tagger, run_id: int, size: int) -> int:
    """Claims, does and commits up to `size` photos of the run's work; returns how many were claimed.

    Raises:
        CatalogError, SourceError: the database refused, or the source is gone. The photos are given back.
    """
    claim = ledger.claim(tagger.engine, run_id, size)
    if claim.photos:
        # If another label set is served meanwhile, the photos go back on the list and are done for that one.
        with suppress(SupersededError), ledger.held(tagger.engine, claim):
            result = tag(tagger, claim)
            commit_shard(tagger.engine, run_id, claim, tagger.model.label_set, result)
    return len(claim.photos)


def tag(tagger: Tagger, claim: Claim) -> ShardResult:
    """Reads, embeds and labels the photos of a claim; what cannot be read or decoded has its reason."""
    shard = _Shard()
    shard.outcomes += [_given_up(tagger, photo) for photo in claim.photos if photo.hopeless]
    ahead: deque[_Batch] = deque()
    for photos in _read_in_batches(tagger, [photo for photo in claim.photos if not photo.hopeless], shard):
        ahead.append(_begin_decoding(tagger, photos, shard))
        if len(ahead) > DECODED_AHEAD:
            _finish(tagger, ahead.popleft(), shard)
    while ahead:
        _finish(tagger, ahead.popleft(), shard)
    return _result(tagger.model, shard)


def _given_up(tagger: Tagger, photo: Claimed) -> Outcome:
    told = f"its worker died {ledger.MAX_CLAIMS} times, the last time with this photo alone in hand"
    return _unread(tagger, photo, ImageError("worker_died", told))


def _unread(tagger: Tagger, photo: Claimed, error: ImageError) -> Outcome:
    product_id = tagger.product_of(photo.uri)
    return Outcome(photo.uri, product_id, photo.change_token, None, error.reason, error.detail, unread=True)


def _read_in_batches(tagger: Tagger, photos: Sequence[Claimed], shard: _Shard) -> Iterator[list[_Read]]:
    """Batches for the image tower, of at most about BATCH_BYTES; what cannot be read is an outcome."""
    batch: list[_Read] = []
    size = 0
    for photo, reading in _read_ahead(tagger.source, photos):
        try:
            read = reading.result()
        except ImageError as error:
            shard.outcomes.append(_unread(tagger, photo, error))
            continue
        batch.append(read)
        size += len(read.photo.data)
        if len(batch) == tagger.model.encoder.batch_size or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_ahead(source: Source, photos: Sequence[Claimed]) -> Iterator[tuple[Claimed, "Future[_Read]"]]:
    """Every photo with its reading, in order, READERS of them under way at once."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="reader") as pool:
        under_way: deque[tuple[Claimed, Future[_Read]]] = deque()
        try:
            for photo in photos:
                while len(under_way) == READERS or _waiting_bytes(under_way) > BATCH_BYTES:
                    yield under_way.popleft()
                under_way.append((photo, pool.submit(_read, source, photo.uri)))
            while under_way:
                yield under_way.popleft()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _waiting_bytes(under_way: "deque[tuple[Claimed, Future[_Read]]]") -> int:
    return sum(
        len(reading.result().photo.data)
        for _, reading in under_way
        if reading.done() and reading.exception() is None
    )


def _read(source: Source, uri: str) -> _Read:
    photo = source.read(uri)
    return _Read(photo, hashlib.sha256(photo.data).hexdigest())


def _begin_decoding(tagger: Tagger, photos: Sequence[_Read], shard: _Shard) -> _Batch:
    """Has the contents decoded that neither the catalogue nor this shard has met."""
    digests = {read.digest for read in photos} - shard.met
    shard.met |= digests
    known = known_contents(tagger.engine, tagger.model.label_set, digests)
    had = {digest: content.vector for digest, content in known.items() if content.vector is not None}
    shard.unlabelled.update({digest: had[digest] for digest in had if not known[digest].labelled})
    fresh = {read.digest: read.photo.data for read in photos if read.digest in digests - had.keys()}
    return _Batch(photos, dict(zip(fresh, tagger.decoders.begin_all(list(fresh.values())), strict=True)))


def _finish(tagger: Tagger, batch: _Batch, shard: _Shard) -> None:
    """Embeds what of a batch is new, and tells what became of each photo."""
    pixels: dict[str, Pixels] = {}
    for digest, decoding in batch.decoding.items():
        found = decoding.result()
        if isinstance(found, ImageError):
            shard.failed[digest] = found
        else:
            pixels[digest] = found
    if pixels:
        vectors = tagger.model.encoder.encode_pixels(np.stack(list(pixels.values()))).astype(VECTOR)
        embedded = dict(zip(pixels, vectors, strict=True))
        shard.embedded.update(embedded)
        shard.unlabelled.update(embedded)
    shard.outcomes += [_outcome(tagger, read, shard.failed.get(read.digest)) for read in batch.photos]


def _outcome(tagger: Tagger, read: _Read, failure: ImageError | None) -> Outcome:
    uri, change_token = read.photo.uri, read.photo.change_token
    product_id = tagger.product_of(uri)
    if failure is None:
        return Outcome(uri, product_id, change_token, read.digest)
    return Outcome(uri, product_id, change_token, None, failure.reason, failure.detail)


def _result(model: ServedModel, shard: _Shard) -> ShardResult:
    """Labels come from the float16 vectors that are stored, so that relabelling gives the same ones."""
    return ShardResult(
        shard.outcomes, shard.embedded, tuple(shard.unlabelled), _labels(model, shard.unlabelled)
    )


def _labels(model: ServedModel, vectors: Mapping[str, np.ndarray]) -> dict[str, TopLabels]:
    return scored(model.labeller, np.stack(list(vectors.values())).astype(np.float32)) if vectors else {}
