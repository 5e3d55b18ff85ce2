"""The work folder of a training: whose it is, and the photos that were read into it; a kill loses neither.

    run.json       what was asked, so that no other training goes on with it
    photos.txt     a line for each photo: `read` and the sha256 of its bytes, or `failed` and why
    vectors.bin    of each photo that was read, its vector, float16
    pixels.bin     and its pixels, uint8, where towers are trained

A photo's line is written when the rest of it is on the disk.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fashion_clip.decoders import Pixels
from fashion_clip.errors import FashionClipError, ImageError, SourceError, UsageError
from tasks import environment
from tasks.catalog.vectors import VECTOR
from tasks.embedding import Read, photo_batches
from tasks.labelled import Labelled
from tasks.progress import Progress
from tasks.training_request import Request

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder

RUN, LINES, VECTORS, PIXELS, LOCK = "run.json", "photos.txt", "vectors.bin", "pixels.bin", "lock"
READ, FAILED = "read", "failed"


@dataclass(frozen=True, eq=False)
class ReadPhotos:
    """What became of n photos, m of which were read.

    rows: int (m,), which, ascending. digests: m sha256 of their bytes. vectors: float32 (m, dimension), unit
    rows that were rounded to float16. warnings: a sentence on the others, if there are any.
    """

    rows: npt.NDArray[np.intp]
    digests: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    warnings: tuple[str, ...]


def check_work(work: Path, asked: Mapping[str, Any]) -> None:
    """Raises UsageError where the folder holds another training's work, or something else altogether."""
    try:
        begun = json.loads((work / RUN).read_text(encoding="utf-8"))
        other = [name for name, value in asked.items() if begun.get(name, value) != value]
    except FileNotFoundError:
        if (work.is_dir() and not any(work.iterdir())) or not os.path.lexists(work):
            return
        raise UsageError(
            f"{str(work)!r} is where the work is kept, and holds something else; move it, or give another "
            "--output-model-path"
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{str(work / RUN)!r} cannot be read ({error}); delete {str(work)!r}") from error
    if other:
        told = ", ".join(f"{name} {_shown(begun[name])} instead of {_shown(asked[name])}" for name in other)
        raise UsageError(
            f"{str(work)!r} holds a training that was begun with {told}; give the same to go on with it, "
            "delete that folder to begin anew, or give another --output-model-path"
        )


@contextmanager
def claimed(work: Path, asked: Mapping[str, Any]) -> Iterator[None]:
    """Makes the folder this training's for a block; it goes when the block ends, and stays when it fails.

    Raises:
        UsageError: see `check_work`; or the same training runs already.
        FashionClipError: a file cannot be written, in the block or here.
    """
    from filelock import FileLock, Timeout

    check_work(work, asked)
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / LOCK, timeout=0):
            if not (work / RUN).exists():
                partial = work / f"{RUN}.partial"
                partial.write_text(json.dumps(asked, indent=2), encoding="utf-8")
                partial.replace(work / RUN)
            yield
            shutil.rmtree(work)
    except Timeout:
        raise UsageError(f"another training is under way in {str(work)!r}; wait for it, or end it") from None
    except OSError as error:
        raise FashionClipError(
            f"cannot write {error.filename or str(work)!r}: {error.strerror or error}; what was done is kept "
            f"in {str(work)!r}, and the same command goes on"
        ) from error


def read_photos(request: Request, labelled: Labelled, encoder: "ClipEncoder", progress: Progress) -> None:
    """Reads, decodes and embeds the photos that an earlier call has not; one that cannot be is told.

    Raises:
        SourceError: the source as a whole cannot be read.
        UsageError: what an earlier call has left is damaged.
    """
    work, uris = request.work, labelled.uris
    height, width = encoder.preprocessing.output_size
    sizes = {VECTORS: encoder.dimension * VECTOR.itemsize, PIXELS: height * width * 3 * request.tunes}
    done = _settled(work, sizes)
    if done == len(uris):
        return
    progress.started(len(uris) - done)
    decoders = environment.decoders(encoder.preprocessing)
    for batch in photo_batches(labelled.source, decoders, uris[done:], encoder.batch_size):
        lines, pixels = _outcomes([reading for _, reading in batch])
        if len(pixels):
            _append(work / VECTORS, encoder.encode_pixels(pixels).astype(VECTOR).tobytes())
        if len(pixels) and request.tunes:
            _append(work / PIXELS, pixels.tobytes())
        _append(work / LINES, "".join(lines).encode())
        progress.advanced(len(batch))


def what_was_read(work: Path) -> ReadPhotos:
    """All that `read_photos` has written. Raises SourceError if no photo could be read."""
    lines = [line.split() for line in (work / LINES).read_text().splitlines()]
    rows = np.array([row for row, (what, _) in enumerate(lines) if what == READ], dtype=np.intp)
    digests = tuple(told for what, told in lines if what == READ)
    failed = Counter(told for what, told in lines if what == FAILED)
    if not len(rows):
        raise SourceError(f"none of the {len(lines)} photos could be read and decoded: {_counts(failed)}")
    vectors = np.fromfile(work / VECTORS, VECTOR).reshape(len(rows), -1)
    told = f"{failed.total()} photos could not be read or decoded and are left out: {_counts(failed)}"
    return ReadPhotos(rows, digests, vectors.astype(np.float32), (told,) if failed else ())


def mapped_pixels(file: Path, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 (m, height, width, 3): the pixels in a file, which are read when they are looked at."""
    return np.memmap(file, np.uint8, "r").reshape(-1, *size, 3)


def _settled(work: Path, sizes: Mapping[str, int]) -> int:
    """How many photos have a line; what a killed run has written of later ones is cut off."""
    path = work / LINES
    path.touch()
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    os.truncate(path, sum(map(len, lines)))
    read = sum(line.startswith(READ) for line in lines)
    for name, size in sizes.items():
        (work / name).touch()
        if (work / name).stat().st_size < read * size:
            raise UsageError(f"{str(work / name)!r} is damaged; delete {str(work)!r} and train anew")
        os.truncate(work / name, read * size)
    return len(lines)


def _outcomes(readings: "Sequence[Future[Read]]") -> tuple[list[str], npt.NDArray[np.uint8]]:
    """A line for each photo, and the pixels of those that could be read: uint8 (m, height, width, 3)."""
    lines: list[str] = []
    pixels: list[Pixels] = []
    for reading in readings:
        try:
            read = reading.result()
        except ImageError as error:
            lines.append(f"{FAILED} {error.reason}\n")
            continue
        lines.append(f"{READ} {read.digest}\n")
        pixels.append(read.pixels)
    return lines, np.stack(pixels) if pixels else np.empty((0, 0, 0, 3), dtype=np.uint8)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _counts(failed: "Counter[str]") -> str:
    return ", ".join(f"{count} {reason}" for reason, count in failed.most_common())


def _shown(value: object) -> str:
    """Digests are told by their beginning."""
    text = repr(value)
    return f"{text[:12]}...'" if len(text) > 60 and text.isascii() else text
