"""A local folder of photos, its subfolders included; symbolic links are not followed."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

from fashion_clip.decode import MAX_BYTES
from fashion_clip.errors import ImageError, SourceError
from tasks.sources import Listed, Photo


class FolderSource:
    """Photos below one folder. The change token is size and mtime in nanoseconds.

    A photo that is exchanged for one of the same size and the very same mtime is not seen to change.
    """

    def __init__(self, folder: Path, suffixes: frozenset[str]):
        self.folder = folder
        self.uri = "file://" + quote_from_bytes(os.fsencode(folder)).rstrip("/") + "/"
        self.ignored = 0
        self._suffixes = tuple(os.fsencode(suffix.lower()) for suffix in suffixes)

    def listing(self) -> Iterator[Listed]:
        """See `Source`. A folder that cannot be listed ends the listing: it would not be complete."""
        self.ignored = 0
        yield from self._below(os.fsencode(self.folder), self.uri)

    def _below(self, folder: bytes, prefix: str) -> Iterator[Listed]:
        try:
            with os.scandir(folder) as entries:
                found = sorted(self._candidate(entry, prefix) for entry in entries)
        except FileNotFoundError:
            if prefix != self.uri:
                return  # removed since the folder above it was read
            raise SourceError(f"folder {prefix!r} is gone; is it mounted?") from None
        except OSError as error:
            raise SourceError(f"cannot list folder {prefix!r}: {error.strerror}") from error
        for uri, path, is_folder in found:
            if is_folder:
                yield from self._below(path, uri)
            elif not path.lower().endswith(self._suffixes):
                self.ignored += 1
            else:
                yield from self._listed(path, uri)

    @staticmethod
    def _candidate(entry: os.DirEntry[bytes], prefix: str) -> tuple[str, bytes, bool]:
        # With its slash a folder sorts among the files as the URIs below it do: "a-b.jpg" < "a/x.jpg".
        is_folder = entry.is_dir(follow_symlinks=False)
        return prefix + quote_from_bytes(entry.name, safe="") + "/" * is_folder, entry.path, is_folder

    @staticmethod
    def _listed(path: bytes, uri: str) -> Iterator[Listed]:
        try:
            yield Listed(uri, _token(os.lstat(path)))
        except FileNotFoundError:
            return  # removed since its folder was read
        except OSError as error:
            raise SourceError(f"cannot look at {uri!r}: {error.strerror}") from error

    def read(self, uri: str) -> Photo:
        """See `Source`. The token is taken from the open file, and again after: both must agree."""
        path = os.fsencode("/") + unquote_to_bytes(uri.removeprefix("file:///"))
        try:
            descriptor = _open_regular_file(path)
            with os.fdopen(descriptor, "rb") as file:
                before = os.fstat(descriptor)
                if before.st_size > MAX_BYTES:
                    raise ImageError("too_large", f"{before.st_size} bytes, at most {MAX_BYTES}")
                data = file.read()
                after = os.fstat(descriptor)
        except FileNotFoundError:
            raise ImageError("gone", "removed after it was listed") from None
        except OSError as error:
            raise ImageError("unreadable", str(error.strerror)) from error
        if _token(after) != _token(before) or len(data) != before.st_size:
            raise ImageError("changing", "written to while it was read; it is tried again next time")
        return Photo(uri, _token(before), data)

    def key(self, uri: str) -> str:
        """See `Source`."""
        return unquote(uri.removeprefix(self.uri), errors="backslashreplace")


def _open_regular_file(path: bytes) -> int:
    """A file descriptor. Raises ImageError for a link, a folder or a device; OSError."""
    try:
        # O_NONBLOCK: a FIFO opens at once and is refused below instead of blocking for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ImageError("not_a_file", "a symbolic link; expected a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageError("not_a_file", "expected a regular file")
    return descriptor


def _token(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"
