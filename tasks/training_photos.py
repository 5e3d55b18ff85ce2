"""The pixels of photos with truth, decoded once into a file that training reads from."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from fashion_clip.decoders import Pixels
from fashion_clip.errors import ImageError
from fashion_clip.preprocessing import Preprocessing
from tasks import environment
from tasks.catalog.evidence import Evidence
from tasks.embedding import photo_batches
from tasks.photo_sources import by_source
from tasks.progress import Progress
from tasks.sources import Source

BATCH = 64  # photos that are read ahead at once


@dataclass(frozen=True, eq=False)
class PhotoPixels:
    """pixels: uint8 (m, height, width, 3), mapped from a file. rows: int (m,), whose they are."""

    pixels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.intp]


def photo_pixels_of(
    engine: Engine,
    told: Evidence,
    rows: npt.NDArray[np.intp],
    preprocessing: Preprocessing,
    folder: Path,
    progress: Progress,
) -> PhotoPixels:
    """Those of some photos that still show what the truth is about, or as an earlier call left them.

    Raises:
        SourceError: a source as a whole cannot be read, or no run has listed it.
    """
    done, file = folder / "rows.json", folder / "pixels.npy"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        read = _decoded(engine, told, rows, preprocessing, file, progress)
        partial = folder / "rows.json.partial"
        partial.write_text(json.dumps(read), encoding="utf-8")
        partial.replace(done)
    read = json.loads(done.read_text(encoding="utf-8"))
    return PhotoPixels(np.load(file, mmap_mode="r")[: len(read)], np.array(read, dtype=np.intp))


def _decoded(
    engine: Engine,
    told: Evidence,
    rows: npt.NDArray[np.intp],
    preprocessing: Preprocessing,
    file: Path,
    progress: Progress,
) -> list[int]:
    """Writes the pixels of all that can be read one after another; returns whose they are."""
    height, width = preprocessing.output_size
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(len(rows), height, width, 3))
    rows_of: dict[str, list[int]] = {}
    for row in rows.tolist():
        rows_of.setdefault(told.photos[row], []).append(row)
    read: list[int] = []
    progress.started(len(rows_of))
    for source, uris in by_source(engine, list(rows_of)):
        for uri, digest, decoded in _read(source, uris, preprocessing, progress):
            for row in rows_of[uri]:
                if told.digests[row] == digest:
                    pixels[len(read)] = decoded
                    read.append(row)
    pixels.flush()
    return read


def _read(
    source: Source, uris: Sequence[str], preprocessing: Preprocessing, progress: Progress
) -> Iterator[tuple[str, str, Pixels]]:
    decoders = environment.decoders(preprocessing)
    for batch in photo_batches(source, decoders, uris, BATCH):
        for number, reading in batch:
            try:
                read = reading.result()
            except ImageError:  # it is in quarantine, or will be
                continue
            yield uris[number], read.digest, read.pixels
        progress.advanced(len(batch))
