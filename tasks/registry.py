"""The folders of model versions in MODELS_DIR, on disk or in S3: published whole, brought back verified.

In S3 a version's files lie below MODELS_DIR/VERSION/, fashion_clip.json written last; they are used through a
copy in the user's cache. Versions never change, so that a copy stays good for ever.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from fashion_clip.calibration import Calibration
from fashion_clip.errors import CheckpointError, SourceError
from fashion_clip.head_file import LearnedHeads
from fashion_clip.machine import local_path
from fashion_clip.model_folder import (
    DESCRIPTION,
    check_model_folder,
    description,
    sha256_of,
    write_model_folder,
)
from tasks.catalog.models import REGISTERED
from tasks.settings import settings
from tasks.sources.patience import Patience
from tasks.sources.s3 import bucket_and_prefix
from tasks.sources.s3_errors import Kind, S3Error, told_as_s3_errors
from tasks.sources.s3_requests import client, retried

BLOCK = 1 << 20  # bytes written at once
PATIENCE = Patience(retry_s=600)  # a model takes longer than a photo


def publish(
    version: str,
    checkpoint: Path,
    learned: LearnedHeads | None,
    calibration: Calibration | None,
    facts: Mapping[str, Any],
) -> str:
    """Writes a version's folder; returns its digest. Safe to repeat: what is there whole is left as it is.

    Raises:
        CheckpointError: another folder of that name is there, or a damaged one.
        SourceError: MODELS_DIR cannot be read or written.
    """
    folder = _local(version)
    try:
        brought = _in_s3() and not folder.exists() and _download(version, folder)
        if not folder.exists():
            write_model_folder(folder, checkpoint, learned, calibration, facts)
    except OSError as error:
        raise SourceError(
            f"cannot write the model to {str(folder)!r}: {error.strerror}; free some space or set "
            "FASHION_CLIP_MODELS_DIR"
        ) from error
    check_model_folder(folder)
    if _in_s3() and not brought:
        _upload(version, folder)
    return sha256_of(folder / DESCRIPTION)


def bring(checkpoint: str, digest: str) -> Path:
    """The folder of `registry:VERSION`, on this machine, every file of it verified once a process.

    Raises:
        CheckpointError: it is not there, or was changed since it was registered.
        SourceError: MODELS_DIR cannot be read.
    """
    return _bring(checkpoint.removeprefix(REGISTERED), digest, settings().models_dir)


@lru_cache(maxsize=16)
def _bring(version: str, digest: str, models_dir: str) -> Path:
    folder = _local(version)
    if _in_s3() and not _is_whole(folder, digest):
        shutil.rmtree(folder, ignore_errors=True)  # it is a copy
        _download(version, folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"the model {version} is registered, but is not in {models_dir!r}; put it back, or set "
            "FASHION_CLIP_MODELS_DIR to where the models lie"
        )
    check_model_folder(folder, digest)
    return folder


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        check_model_folder(folder, digest)
    except CheckpointError:
        return False
    return True


def work_folder(name: str) -> Path:
    """Where what is being made is kept on this machine; no version is called so."""
    return _local(".work") / name


def _in_s3() -> bool:
    return settings().models_dir.startswith("s3://")


def _local(version: str) -> Path:
    """Where a version's folder is on this machine. The name of a version is made of a-z, 0-9 and -."""
    chosen = settings().models_dir
    if not _in_s3():
        return local_path(chosen).resolve() / version
    bucket, prefix = bucket_and_prefix(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "fashion-clip" / "models" / f"{bucket}-{prefix.replace('/', '-')}" / version


def _key(version: str, name: str) -> tuple[str, str]:
    bucket, prefix = bucket_and_prefix(settings().models_dir)
    return bucket, f"{prefix}{version}/{name}"


def _upload(version: str, folder: Path) -> None:
    files = sorted(
        folder.iterdir(), key=lambda path: path.name == DESCRIPTION
    )  # which says that all are there
    for path in files:
        if path.is_file():
            _put(version, path)


def _put(version: str, path: Path) -> None:
    bucket, key = _key(version, path.name)

    def put() -> None:
        with path.open("rb") as file, told_as_s3_errors():
            client(PATIENCE).put_object(Bucket=bucket, Key=key, Body=file)

    _asked(put)


def _download(version: str, folder: Path) -> bool:
    """Into a folder that gets its name when all is there; False if there is no such version."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".partial-{secrets.token_hex(8)}"
    try:
        partial.mkdir()
        if not _fetch(version, DESCRIPTION, partial):
            return False
        for name in (description(partial) or {"files": {}})["files"]:
            _fetch(version, name, partial)
        with suppress(OSError):  # another process was quicker
            partial.rename(folder)
        return True
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fetch(version: str, name: str, folder: Path) -> bool:
    """Whether there is such a file."""
    bucket, key = _key(version, name)

    def get() -> None:
        with told_as_s3_errors():
            body = client(PATIENCE).get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")["Body"]
        with closing(body), (folder / name).open("wb") as file:
            while True:
                with told_as_s3_errors():  # a full disk is no fault of the bucket's
                    block = body.read(BLOCK)
                if not block:
                    return
                file.write(block)

    return _asked(get)


def _asked(request: Callable[[], None]) -> bool:
    """Whether there is what was asked for. Raises SourceError if nobody can say."""
    try:
        retried(PATIENCE, request)
    except S3Error as error:
        if error.kind is Kind.GONE:
            return False
        raise SourceError(f"cannot reach the models in {settings().models_dir!r}: {error.told}") from None
    return True
