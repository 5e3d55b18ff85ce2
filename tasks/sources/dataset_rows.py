"""The rows of a data set, as `datasets` loads them: into an Arrow table in its cache, mapped into memory."""

import glob
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fashion_clip.errors import SourceError

NAME_COLUMNS = ("filename", "file_name", "id")  # the first that there is; else the number of the row
_NAME_TYPES = re.compile(r"string|large_string|string_view|u?int\d+")


@dataclass(frozen=True)
class Rows:
    """A data set in one state: chunked Arrow columns of struct<bytes, path> and, if any, of names.

    values: the columns that hold one plain value a row, by name. classes: what the numbers of some of them
    stand for.
    """

    pictures: Any
    names: Any
    token: str
    values: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def name(self, row: int) -> str:
        """What the photo in that row is called."""
        return str(row if self.names is None else self.names[row].as_py())

    def all_names(self) -> Iterator[str | None]:
        """In the order of the rows; None where there is none."""
        if self.names is None:
            yield from map(str, range(len(self.pictures)))
            return
        for chunk in self.names.chunks:
            for name in chunk.to_pylist():
                yield None if name in (None, "") else str(name)

    def texts(self, column: str, rows: Sequence[int]) -> list[str]:
        """What some rows hold in a column of `values`; the empty text where there is nothing."""
        values = self.values[column].take(rows).to_pylist()
        classes = self.classes.get(column)
        return [_text(value, classes) for value in values]


def _text(value: object, classes: Sequence[str] | None) -> str:
    if value is None or value != value:  # a missing number is often stored as NaN
        return ""
    if classes is not None and isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with a gap is stored as floats
    return str(value)


def rows_of_hub(uri: str, name: str, split: str) -> Rows:
    """A data set of the hub; its token is its fingerprint. Raises SourceError."""
    with _told_as_source_errors(uri):
        dataset = _datasets().load_dataset(name, split=split)
    return _rows(uri, dataset, dataset._fingerprint)


def rows_of_folder(uri: str, folder: Path, split: str) -> Rows:
    """A data set that lies in a folder in the hub's form. Raises SourceError."""
    return _rows_of_files(uri, folder, str(folder), split=split)


def rows_of_parquet(uri: str, file: Path) -> Rows:
    """A Parquet file. While it is copied, three times its largest row group lies in memory.

    Raises:
        SourceError: it is no Parquet file, has no pictures, or is being written to.
    """
    from pyarrow import parquet

    token = _files_token(file)
    with _told_as_source_errors(uri):
        if parquet.read_metadata(file).num_rows == 0:  # datasets refuses it
            return Rows((), None, token)
    # What looks like a pattern is a name.
    return _rows_of_files(uri, file, "parquet", data_files=glob.escape(str(file)), split="train")


def _rows_of_files(uri: str, path: Path, *what: str, **how: str) -> Rows:
    """`what` and `how` are load_dataset's. The token tells the state of the files.

    It names datasets' copy as well, since datasets itself takes a folder with a README for unchanged; copies
    of earlier states are deleted.
    """
    token = _files_token(path)
    copies = Path(_datasets().config.HF_DATASETS_CACHE) / "fashion-clip-flows" / _short_hash(uri)
    with _told_as_source_errors(uri):
        dataset = _datasets().load_dataset(*what, **how, cache_dir=str(copies / token))
    if _files_token(path) != token:
        raise SourceError(f"{str(path)!r} was written to while it was read; run again when it is whole")
    for copy in copies.iterdir():
        if copy.name != token:
            shutil.rmtree(copy, ignore_errors=True)  # what is still mapped stays until it is let go
    return _rows(uri, dataset, token)


def _files_token(path: Path) -> str:
    """Changes with the size or mtime of a file, or of any file in a folder. Raises SourceError."""
    try:
        if path.is_file():
            status = path.stat()
            return f"{status.st_size}-{status.st_mtime_ns}"
        files = [(file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file()]
    except OSError as error:
        raise SourceError(f"cannot look at {str(path)!r}: {error.strerror}; is it mounted?") from error
    if not files:
        raise SourceError(f"{str(path)!r} is gone or empty; is it mounted?")
    return _short_hash("\n".join(f"{file!s} {status.st_size} {status.st_mtime_ns}" for file, status in files))


def _short_hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


@contextmanager
def _told_as_source_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Every exception: pyarrow, fsspec, the hub's client and datasets itself each have their own.
        cause = error.__cause__ or error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise SourceError(f"cannot load {uri!r} as a data set: {lines[0][:300]}") from error


def _datasets() -> Any:
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is told by the error
    return datasets


def _rows(uri: str, dataset: Any, token: str) -> Rows:
    """The columns that matter. Raises SourceError if none holds pictures."""
    features = dataset.features
    column = _picture_column(uri, features)
    pictures = dataset.select_columns([column]).cast_column(column, _datasets().Image(decode=False))
    named = [name for name in NAME_COLUMNS if _can_be_name(features.get(name))]
    names = dataset.data.column(named[0]) if named else None
    classes = {name: feature.names for name, feature in features.items() if hasattr(feature, "names")}
    values = {name: dataset.data.column(name) for name in features if _is_plain(features[name])}
    return Rows(pictures.data.column(column), names, token, values, classes)


def _picture_column(uri: str, features: dict[str, Any]) -> str:
    """The column of pictures: of datasets' own type, else struct<bytes, ...>, else plain bytes."""
    from datasets import Image, Value

    kinds: tuple[Callable[[Any], bool], ...] = (
        lambda feature: isinstance(feature, Image),
        lambda feature: isinstance(feature, dict) and "bytes" in feature,
        lambda feature: isinstance(feature, Value) and feature.dtype in ("binary", "large_binary"),
    )
    for is_kind in kinds:
        found = [name for name, feature in features.items() if is_kind(feature)]
        if len(found) == 1 or "image" in found:
            return "image" if "image" in found else found[0]
        if found:
            raise SourceError(f"{uri!r}: of the columns {found} one must be called 'image'")
    raise SourceError(f"{uri!r}: no column holds pictures, of {list(features)}; expected struct<bytes, path>")


def _is_plain(feature: Any) -> bool:
    from datasets import ClassLabel, Value

    return isinstance(feature, ClassLabel | Value) and "binary" not in feature.dtype


def _can_be_name(feature: Any) -> bool:
    return _NAME_TYPES.fullmatch(str(getattr(feature, "dtype", ""))) is not None
