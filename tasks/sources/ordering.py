"""Any number of records in order, on flat memory."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

from fashion_clip.errors import SourceError

CHUNK_BYTES = 16 * 1024 * 1024  # of records in memory: about 100,000 of 100 characters
MOST_RUNS = 64  # files open at once
_OVERHEAD = 57  # bytes that a str takes in a list beside its characters


def in_order(records: Iterable[str]) -> Iterator[str]:
    """The records in byte order.

    A record is a line of ASCII text without control characters: a URI, or a URI, a space and what belongs to
    it. As no URI holds a space or less, the order of such records is the order of their URIs.

    Up to CHUNK_BYTES are sorted in memory; beyond that sorted runs lie in temporary files that have no name,
    so that they are gone with the process whatever ends it.

    Raises:
        SourceError: the temporary files cannot be written.
    """
    runs: list[IO[str]] = []
    held: list[str] = []
    size = 0
    try:
        for record in records:
            held.append(record + "\n")
            size += len(record) + _OVERHEAD
            if size >= CHUNK_BYTES:
                held.sort()
                runs.append(_written(held))
                held, size = [], 0
                if len(runs) == MOST_RUNS:
                    runs = [_merged(runs)]
        held.sort()
        for line in heapq.merge(*runs, held):
            yield line[:-1]
    except OSError as error:
        raise SourceError(
            f"cannot sort the listing in {tempfile.gettempdir()!r}: {error.strerror}; "
            "free some space there or name another folder in TMPDIR"
        ) from error
    finally:
        _close(runs)


def _merged(runs: list[IO[str]]) -> IO[str]:
    merged = _written(heapq.merge(*runs))
    _close(runs)
    return merged


def _written(lines: Iterable[str]) -> IO[str]:
    file = tempfile.TemporaryFile("w+", encoding="ascii", newline="\n")  # noqa: SIM115 (`in_order` closes it)
    file.writelines(lines)
    file.seek(0)
    return file


def _close(runs: list[IO[str]]) -> None:
    for run in runs:
        run.close()
