"""A local folder of photos, its subfolders included; symbolic links are not followed.

Every folder on the way from the source's own to a photo is opened by its name in the one above it, without
following links: a folder that is exchanged for a link between two steps leads nowhere.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from fashion_clip.errors import ImageError, SourceError
from tasks.sources import Listed, Photo
from tasks.sources.names import LONGEST_URI, decoded, encoded, lowered
from tasks.sources.ordering import in_order

MOST_LEVELS = 250  # each is an open descriptor while it is listed
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: a FIFO opens at once and is refused below instead of blocking for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_LONGER_A_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class _Level:
    """A folder that is being listed: open, its URI, and what is still to come of its names, encoded."""

    descriptor: int
    uri: str
    names: Iterator[str]


class FolderSource:
    """Photos below one folder. The change token is size and mtime in nanoseconds.

    A photo that is exchanged for one of the same size and the very same mtime is not seen to change. Paths
    whose URI would have more than LONGEST_URI characters, or in more than MOST_LEVELS folders, are ignored.
    """

    def __init__(self, folder: Path, suffixes: frozenset[str], max_bytes: int):
        self.folder = folder
        self.uri = "file://" + encoded(os.fsencode(folder)).rstrip("/") + "/"
        self.ignored = 0
        self._suffixes = lowered(suffixes)
        self._max_bytes = max_bytes

    def listing(self) -> Iterator[Listed]:
        """See `Source`. A folder that cannot be listed ends the listing: it would not be complete."""
        self.ignored = 0
        levels = [self._level(self._open_root(), self.uri)]
        try:
            while levels:
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    os.close(levels.pop().descriptor)
                elif len(level.uri) + len(name) > LONGEST_URI or len(levels) > MOST_LEVELS:
                    self.ignored += 1
                elif name.endswith("/"):
                    levels += self._below(level, name)
                else:
                    yield from self._listed(level, name)
        finally:
            for level in levels:
                os.close(level.descriptor)

    def _open_root(self) -> int:
        try:
            return os.open(self.folder, _FOLDER)
        except OSError as error:
            if error.errno in _NO_LONGER_A_FOLDER:
                raise SourceError(f"folder {self.uri!r} is gone; is it mounted?") from None
            raise SourceError(f"cannot open folder {self.uri!r}: {error.strerror}") from error

    def _below(self, level: _Level, name: str) -> Iterator[_Level]:
        try:
            descriptor = os.open(_raw(name[:-1]), _FOLDER, dir_fd=level.descriptor)
        except OSError as error:
            if error.errno in _NO_LONGER_A_FOLDER:
                return  # removed or exchanged since the folder above it was read
            raise SourceError(f"cannot list folder {level.uri + name!r}: {error.strerror}") from error
        yield self._level(descriptor, level.uri + name)

    def _level(self, descriptor: int, uri: str) -> _Level:
        return _Level(descriptor, uri, in_order(self._names(descriptor, uri)))

    def _names(self, descriptor: int, uri: str) -> Iterator[str]:
        # With its slash a folder sorts among the files as the URIs below it do: "a-b.jpg" < "a/x.jpg".
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        yield encoded(name) + "/"
                    elif name.lower().endswith(self._suffixes):
                        yield encoded(name)
                    else:
                        self.ignored += 1
        except OSError as error:
            raise SourceError(f"cannot list folder {uri!r}: {error.strerror}") from error

    @staticmethod
    def _listed(level: _Level, name: str) -> Iterator[Listed]:
        try:
            status = os.stat(_raw(name), dir_fd=level.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return  # removed since its folder was read
        except OSError as error:
            raise SourceError(f"cannot look at {level.uri + name!r}: {error.strerror}") from error
        yield Listed(level.uri + name, _token(status))

    def read(self, uri: str) -> Photo:
        """See `Source`. The token is taken from the open file, and again after: both must agree."""
        root = self._open_root()
        try:
            descriptor = _open_regular_file(root, _path(uri, self.uri))
            with os.fdopen(descriptor, "rb") as file:
                before = os.fstat(descriptor)
                if before.st_size > self._max_bytes:
                    raise ImageError("too_large", f"{before.st_size} bytes, at most {self._max_bytes}")
                data = file.read(before.st_size + 1)
                after = os.fstat(descriptor)
        except FileNotFoundError:
            raise ImageError("gone", "removed after it was listed") from None
        except OSError as error:
            raise ImageError("unreadable", str(error.strerror)) from error
        finally:
            os.close(root)
        if _token(after) != _token(before) or len(data) != before.st_size:
            raise ImageError("changing", "written to while it was read; it is tried again next time")
        return Photo(uri, _token(before), data)

    def key(self, uri: str) -> str:
        """See `Source`."""
        return decoded(uri, self.uri)


def _raw(name: str) -> bytes:
    return unquote_to_bytes(name)


def _path(uri: str, prefix: str) -> list[bytes]:
    """The names that lead from the folder to the photo. Raises ImageError if they would lead elsewhere."""
    names = [_raw(name) for name in uri.removeprefix(prefix).split("/")]
    odd = any(name in (b"", b".", b"..") or b"/" in name or b"\0" in name for name in names)
    if odd or not uri.startswith(prefix):
        raise ImageError("not_a_file", f"expected the URI of a file below {prefix!r}")
    return names


def _open_regular_file(root: int, path: list[bytes]) -> int:
    """A file descriptor. Raises ImageError for a link, a folder or a device; OSError."""
    folder = os.dup(root)
    try:
        for name in path[:-1]:
            deeper = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        descriptor = os.open(path[-1], _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise ImageError("not_a_file", "a link, below a link, or a socket; expected a file") from None
        raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageError("not_a_file", "expected a regular file")
    return descriptor


def _token(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"
