"""Photos of a source to vectors, without a catalogue: read, decoded and embedded, a few batches at a time."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fashion_clip.decoders import Decoders, Pixels
from fashion_clip.errors import ImageError
from fashion_clip.machine import usable_cores
from tasks import environment
from tasks.catalog.vectors import VECTOR
from tasks.sources import Source
from tasks.tagging import READERS

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder

AHEAD = 2  # batches being read and decoded while one is in the image tower


@dataclass(frozen=True, eq=False)
class Embedded:
    """What became of n photos.

    rows: int (m,), which of them have a vector, ascending. vectors: float16 (m, dimension), unit vectors
    rounded as a catalogue rounds them. digests: URI -> sha256 of the bytes, for those. failed: URI -> why.
    """

    rows: npt.NDArray[np.intp]
    vectors: npt.NDArray[np.float16]
    digests: Mapping[str, str]
    failed: Mapping[str, ImageError]


@dataclass(frozen=True)
class Read:
    """A photo on its way: the sha256 of its bytes, and its pixels."""

    digest: str
    pixels: Pixels


def embed(
    encoder: "ClipEncoder", source: Source, uris: Sequence[str], on_done: Callable[[int], None]
) -> Embedded:
    """Embeds photos; one that cannot be read or decoded is told and stops nothing. Pictures are not kept.

    Args:
        on_done: is told how many more photos are done, vectors or not.

    Raises:
        SourceError: the source as a whole cannot be read.
    """
    decoders = environment.decoders(encoder.preprocessing)
    rows: list[int] = []
    parts = [np.empty((0, encoder.dimension), dtype=VECTOR)]
    digests: dict[str, str] = {}
    failed: dict[str, ImageError] = {}
    for batch in photo_batches(source, decoders, uris, encoder.batch_size):
        pixels = []
        for row, reading in batch:
            try:
                read = reading.result()
            except ImageError as error:
                failed[uris[row]] = ImageError(error.reason, error.detail)  # without frames that hold bytes
                continue
            rows.append(row)
            pixels.append(read.pixels)
            digests[uris[row]] = read.digest
        if pixels:
            parts.append(encoder.encode_pixels(np.stack(pixels)).astype(VECTOR))
        on_done(len(batch))
    return Embedded(np.array(rows, dtype=np.intp), np.concatenate(parts), digests, failed)


def photo_batches(
    source: Source, decoders: Decoders, uris: Sequence[str], size: int
) -> "Iterator[list[tuple[int, Future[Read]]]]":
    """The photos' numbers and readings, `size` at a time and in order, AHEAD more of them under way."""
    with ThreadPoolExecutor(READERS + usable_cores(), thread_name_prefix="reader") as pool:
        ahead: deque[list[tuple[int, Future[Read]]]] = deque()
        try:
            for first in range(0, len(uris), size):
                numbers = range(first, min(first + size, len(uris)))
                ahead.append([(row, pool.submit(_read, source, decoders, uris[row])) for row in numbers])
                if len(ahead) > AHEAD:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(source: Source, decoders: Decoders, uri: str) -> Read:
    data = source.read(uri).data
    return Read(hashlib.sha256(data).hexdigest(), decoders.decode(data))
