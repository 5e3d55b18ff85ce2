"""A file that is there when it is whole: an existing one stays until then, and a failure leaves nothing."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fashion_clip.errors import FashionClipError, UsageError


def check_target(file: Path, suffixes: Sequence[str], replace: bool) -> None:
    """What can be told of the file before anything is read.

    Raises:
        UsageError: a folder, another suffix than those, no such parent folder, or a file that exists and may
            not be replaced.
        FashionClipError: the folder may not be looked into.
    """
    with _reported(file):
        _check_target(file, suffixes, replace)


def _check_target(file: Path, suffixes: Sequence[str], replace: bool) -> None:
    name = repr(str(file))
    if file.is_dir():
        raise UsageError(f"{name} is a folder; give the name of a file in it")
    if file.suffix.lower() not in suffixes:
        raise UsageError(f"{name} has the suffix {file.suffix!r}; expected {' or '.join(suffixes)}")
    if not file.parent.is_dir():
        raise UsageError(f"no folder {str(file.parent)!r} for {file.name!r}; create it first")
    if file.exists() and not file.is_file():
        raise UsageError(f"{name} is no regular file; give another name")
    if file.exists() and not replace:
        raise UsageError(f"{name} exists; give another name, or --force to replace it")


@contextmanager
def whole_file(file: Path, suffixes: Sequence[str], replace: bool) -> Iterator[BinaryIO]:
    """A stream that becomes the file when the block ends; where it fails, nothing is left of it.

    Raises:
        UsageError: see `check_target`.
        FashionClipError: the file cannot be written.
    """
    target = Path(os.path.realpath(file))  # a link stays one
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    with _reported(file):
        _check_target(file, suffixes, replace)
        with part.open("xb") as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                _check_target(file, suffixes, replace)  # it may be minutes later
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise


@contextmanager
def _reported(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FashionClipError(f"cannot write {str(file)!r}: {error.strerror or error}") from error
