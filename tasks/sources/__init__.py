"""Where photos come from. A source lists its photos in the order of their URIs and reads one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fashion_clip.errors import UsageError


@dataclass(frozen=True)
class Listed:
    """One photo as the listing saw it. `change_token` differs whenever the bytes may differ."""

    uri: str
    change_token: str


@dataclass(frozen=True)
class Photo:
    """The bytes of one photo and the change token that belongs to just these bytes."""

    uri: str
    change_token: str
    data: bytes


class Source(Protocol):
    """A folder or a bucket.

    `uri` is a prefix of the URIs of all its photos; URIs are ASCII, percent-encoded where need be, so that
    no name can forge a line of a log or upset a database. `ignored` is the number of files that the last
    complete listing left out by their suffix.
    """

    uri: str
    ignored: int

    def listing(self) -> Iterator[Listed]:
        """All photos in ascending byte order of their URIs, streamed. Raises SourceError."""
        ...

    def read(self, uri: str) -> Photo:
        """One photo. Raises ImageError if it is gone, unreadable, or no regular file."""
        ...

    def key(self, uri: str) -> str:
        """The name below the source, decoded, for product ids and messages; never used to open anything."""
        ...


def open_source(spec: str, suffixes: frozenset[str]) -> Source:
    """The source that `spec` names: at present the path of a folder.

    Raises:
        UsageError: not a folder.
    """
    from tasks.sources.folder import FolderSource

    if "://" in spec:
        raise UsageError(f"source {spec!r}: expected the path of a folder")
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"source {spec!r} {found}; give the folder that holds the photos")
    return FolderSource(folder.resolve(), suffixes)
