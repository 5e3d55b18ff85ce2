"""Photos in a Parquet file, or in a data set in Hugging Face's form: one row a photo.

A source stands for the state in which it found the data set when it was first asked, and anew with every
listing.
"""

import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from threading import Lock

from fashion_clip.errors import ImageError, SourceError, UsageError
from fashion_clip.machine import local_path
from tasks.sources import Listed, Photo
from tasks.sources.dataset_rows import NAME_COLUMNS, Rows, rows_of_folder, rows_of_hub, rows_of_parquet
from tasks.sources.names import LONGEST_URI, decoded, encoded, lowered
from tasks.sources.ordering import in_order

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)


def parquet_file(path: Path, suffixes: frozenset[str], max_bytes: int) -> "DatasetSource":
    """The source of a Parquet file. The change token is the file's size and mtime in nanoseconds."""
    uri = f"parquet://{encoded(os.fsencode(path))}/"

    return DatasetSource(uri, lambda: rows_of_parquet(uri, path), suffixes, max_bytes)


def hub_dataset(spec: str, suffixes: frozenset[str], max_bytes: int) -> "DatasetSource":
    """The source that `hf://NAME[:SPLIT]` names.

    The change token is the data set's fingerprint, or for a local folder one of its files' sizes and mtimes.

    Raises:
        UsageError: NAME is neither a folder nor a name that the hub allows.
    """
    name, split = _name_and_split(spec)
    uri = f"hf://{encoded(os.fsencode(name))}:{split}/"

    def load() -> Rows:
        if name.startswith("/"):
            return rows_of_folder(uri, Path(name), split)
        return rows_of_hub(uri, name, split)

    return DatasetSource(uri, load, suffixes, max_bytes)


def _name_and_split(spec: str) -> tuple[str, str]:
    """The name of the hub, or the absolute path of a folder, and the split. Raises UsageError."""
    rest = spec.removeprefix("hf://")
    name, split = rest, "train"
    if ":" in rest.rpartition("/")[2] and not _is_folder(rest):
        name, _, split = rest.rpartition(":")
    if _is_folder(name):
        name = str(local_path(name).resolve())
    elif not _HUB_NAME.fullmatch(name):
        raise UsageError(
            f"source {spec!r}: {name!r} is neither a folder nor a name that the Hugging Face hub allows; "
            "expected hf://NAME or hf://NAME:SPLIT"
        )
    if not _SPLIT.fullmatch(split):
        raise UsageError(f"source {spec!r}: {split!r} is no name of a split; expected one such as train")
    return name, split


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and local_path(name).is_dir()
    except (OSError, UsageError, ValueError):
        return False


class DatasetSource:
    """The rows of a data set. A name without any suffix, such as an id, is a photo's too.

    The change token is the data set's: if it changes, all rows are read again.
    """

    def __init__(self, uri: str, load: Callable[[], Rows], suffixes: frozenset[str], max_bytes: int):
        self.uri = uri
        self.ignored = 0
        self._load = load
        self._suffixes = lowered(suffixes)
        self._max_bytes = max_bytes
        self._state: tuple[Rows, array[int]] | None = None
        self._lock = Lock()

    def listing(self) -> Iterator[Listed]:
        """See `Source`. No picture is looked at; two rows of one name are a SourceError."""
        rows, order = self._fresh_state()
        for uri, _ in self._photos(rows, order):
            yield Listed(uri, rows.token)

    def table(self) -> tuple[list[str], dict[str, list[str]]]:
        """The URIs of a listing, and what its rows hold beside pictures, as text: column -> values.

        Columns of lists and of other pictures are left out; the text is empty where there is no value.
        """
        rows, order = self._fresh_state()
        uris, numbers = [], []
        for uri, row in self._photos(rows, order):
            uris.append(uri)
            numbers.append(row)
        return uris, {column: rows.texts(column, numbers) for column in rows.values}

    def _fresh_state(self) -> "tuple[Rows, array[int]]":
        with self._lock:
            self._state = self._load_state()
            return self._state

    def _photos(self, rows: Rows, order: "array[int]") -> Iterator[tuple[str, int]]:
        """URI and number of each row that is a photo, in the order of URIs; the others are counted."""
        self.ignored = 0
        for row in order:
            name = rows.name(row)
            uri = self.uri + encoded(name.encode())
            other = PurePosixPath(name).suffix and not name.encode().lower().endswith(self._suffixes)
            if other or len(uri) > LONGEST_URI:
                self.ignored += 1
            else:
                yield uri, row

    def read(self, uri: str) -> Photo:
        """See `Source`. A path in a row is not followed: what comes from outside opens no file here."""
        with self._lock:
            rows, order = self._state = self._state or self._load_state()
        picture = rows.pictures[_row(rows, order, uri.removeprefix(self.uri))]
        data = picture["bytes"].as_buffer() if picture.is_valid else None
        if data is None:
            raise ImageError("unreadable", "the row holds no bytes; a path in it is not followed")
        if data.size > self._max_bytes:
            raise ImageError("too_large", f"{data.size} bytes, at most {self._max_bytes}")
        return Photo(uri, rows.token, data.to_pybytes())

    def _load_state(self) -> "tuple[Rows, array[int]]":
        """The rows, and their numbers in the byte order of their encoded names, 8 bytes each."""
        rows = self._load()
        if self._state is not None and self._state[0].token == rows.token:
            return rows, self._state[1]  # the names of a million rows take seconds to sort
        return rows, _sorted(self.uri, rows)

    def key(self, uri: str) -> str:
        """See `Source`."""
        return decoded(uri, self.uri)


def _sorted(uri: str, rows: Rows) -> "array[int]":
    order = array("q")
    previous = ""
    for record in in_order(_records(uri, rows)):
        name, _, row = record.partition(" ")
        if name == previous:
            raise SourceError(
                f"{uri!r}: rows {order[-1]} and {row} are both called {rows.name(int(row))!r}; names must "
                f"differ (they are taken from the first column of {', '.join(NAME_COLUMNS)} that there is)"
            )
        order.append(int(row))
        previous = name
    return order


def _records(uri: str, rows: Rows) -> Iterator[str]:
    for row, name in enumerate(rows.all_names()):
        if name is None:
            raise SourceError(f"{uri!r}: row {row} has no name; expected one in {' or '.join(NAME_COLUMNS)}")
        yield f"{encoded(name.encode())} {row}"


def _row(rows: Rows, order: "array[int]", name: str) -> int:
    """The number of the row of that encoded name. Raises ImageError if there is none."""
    at = bisect_left(order, name, key=lambda row: encoded(rows.name(row).encode()))
    if at == len(order) or encoded(rows.name(order[at]).encode()) != name:
        raise ImageError("gone", "no row has that name any more")
    return order[at]
