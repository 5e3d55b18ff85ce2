"""Where photos come from. A source lists its photos in the order of their URIs and reads one at a time."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from fashion_clip.decode import MAX_BYTES
from fashion_clip.errors import UsageError
from fashion_clip.machine import local_path


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
    """A folder, a bucket, or a data set. It may be used from several threads.

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
        """One photo.

        Raises:
            ImageError: this photo only; `reason` is gone, forbidden, unreadable, not_a_file, changing
                or too_large.
            SourceError: the source as a whole cannot be read.
        """
        ...

    def key(self, uri: str) -> str:
        """The name below the source, decoded, for product ids and messages; never used to open anything."""
        ...


def open_source(spec: str, suffixes: frozenset[str], max_bytes: int = MAX_BYTES) -> Source:
    """The source that `spec` names. Nothing is asked of the network, and no photo is looked at, until then.

    Args:
        spec: the path of a folder, or of a file ending in `.parquet`; `s3://BUCKET[/PREFIX]`, whose photos
            are the objects below PREFIX/; `hf://NAME[:SPLIT]`, a data set of the Hugging Face hub or a local
            folder in its form, split `train` if none is named.
        suffixes: of photos, such as `.jpg`, in any case; files with other ones are counted as ignored.
        max_bytes: larger photos are refused before they are read.

    Raises:
        UsageError: there can be no such source.
    """
    scheme, separator, rest = spec.partition("://")
    if not separator:
        return _local(spec, suffixes, max_bytes)
    if _may_hold_credentials(rest):
        raise UsageError(
            "a source with a key or a password in it is refused, as sources are stored and shown; give "
            "s3://BUCKET/PREFIX, and the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if scheme == "s3":
        from tasks.sources.s3 import S3Source, bucket_and_prefix

        return S3Source(*bucket_and_prefix(spec), suffixes, max_bytes)
    if scheme == "hf":
        from tasks.sources.dataset import hub_dataset

        return hub_dataset(spec, suffixes, max_bytes)
    raise UsageError(
        f"source {spec!r}: expected the path of a folder or of a .parquet file, s3://BUCKET/PREFIX, "
        "or hf://NAME:SPLIT"
    )


def spec_of(uri: str) -> str:
    """What `open_source` opens the source of that URI by."""
    scheme, _, rest = uri.partition("://")
    path = os.fsdecode(unquote_to_bytes(rest))
    return path.rstrip("/") or "/" if scheme in ("file", "parquet") else f"{scheme}://{path.rstrip('/')}"


def _local(spec: str, suffixes: frozenset[str], max_bytes: int) -> Source:
    try:
        path = local_path(spec).resolve()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, UsageError, ValueError) as error:
        raise UsageError(f"source {spec!r} is no path that can be opened: {error}") from error
    if is_folder and spec:
        from tasks.sources.folder import FolderSource

        return FolderSource(path, suffixes, max_bytes)
    if is_file and path.suffix.lower() == ".parquet":
        from tasks.sources.dataset import parquet_file

        return parquet_file(path, suffixes, max_bytes)
    found = "is neither a folder nor a .parquet file" if path.exists() and spec else "does not exist"
    raise UsageError(f"source {spec!r} {found}; give the folder that holds the photos")


def _may_hold_credentials(rest: str) -> bool:
    """KEY:SECRET@BUCKET in any form; a secret may have slashes of its own."""
    authority = rest.partition("/")[0]
    return "@" in authority or (":" in authority and "@" in rest)
