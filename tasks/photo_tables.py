"""Photos and what is told of each: class folders, a folder with a CSV file, or a data set, as one table."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fashion_clip.errors import SourceError, UsageError
from tasks import environment
from tasks.settings import settings
from tasks.sources import Source
from tasks.sources.dataset import DatasetSource
from tasks.sources.folder import FolderSource
from tasks.tagging import product_id_of

CLASS = "label"  # the column that class folders are; a data set's own may be called so too
CSV_FILES = ("labels.csv", "metadata.csv")
NAME_COLUMNS = ("filename", "file_name", "file")
PRODUCT_COLUMNS = ("product_id", "id")  # the first that there is
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test"}

_HUB_NAME = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}(:\w+(\.\w+)*)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """The photos of a source, in the order of their URIs, each with its product and columns of text.

    columns: name -> a value for each photo, empty where nothing is told. notes: what was left out, and why.
    """

    source: Source
    uris: list[str]
    products: list[str]
    columns: dict[str, list[str]]
    notes: tuple[str, ...]


def open_table(spec: str) -> PhotoTable:
    """The table of a data set; no photo is looked at.

    Args:
        spec: whatever names a source (see `tasks.sources.open_source`), or OWNER/NAME[:SPLIT] of the Hugging
            Face hub. A folder that holds labels.csv or metadata.csv is what that file says of its photos,
            which it names in the column filename, file_name or file. Of any other folder, or bucket, each
            subfolder is a class: their names are the column `label`.

    Raises:
        UsageError: there is no such data set, or it holds no photos, or neither classes nor columns.
        SourceError: it cannot be read.
    """
    source = source_of(spec)
    if isinstance(source, DatasetSource):
        try:
            return _of_dataset(source)
        except SourceError as error:
            if not _is_of_hub(spec):
                raise
            raise SourceError(f"{spec!r} is nothing that lies here, and on the hub: {error}") from error
    file = _csv_file(source)
    return _of_class_folders(source) if file is None else _of_csv(source, file)


def source_of(spec: str) -> Source:
    """The source that holds the photos that `open_table` tells of. Raises UsageError if there is none."""
    return environment.source(f"hf://{spec}" if _is_of_hub(spec) else spec)


def _is_of_hub(spec: str) -> bool:
    """True unless it begins with a folder that lies here: then it is a path, mistyped or not."""
    return _HUB_NAME.fullmatch(spec) is not None and not Path(spec.partition("/")[0]).exists()


def _of_dataset(source: DatasetSource) -> PhotoTable:
    uris, raw = source.table()
    _refuse_nothing(source, uris)
    columns = {_storable(name): [_storable(value) for value in values] for name, values in raw.items()}
    return PhotoTable(source, uris, _products(source, uris, columns), columns, ())


def _of_class_folders(source: Source) -> PhotoTable:
    """Photos beside the folders are no class's. A photo's class is the first folder on the way to it."""
    listed = [photo.uri for photo in source.listing()]
    _refuse_nothing(source, listed)
    uris = [uri for uri in listed if "/" in source.key(uri)]
    if not uris:
        raise UsageError(
            f"{source.uri!r} has no class folders: expected FOLDER/CLASS/PHOTO, or {' or '.join(CSV_FILES)} "
            "beside the photos"
        )
    classes = [source.key(uri).partition("/")[0] for uri in uris]
    if set(classes) <= SPLITS and all(source.key(uri).count("/") > 1 for uri in uris):
        raise UsageError(
            f"the folders of {source.uri!r} are splits, not classes: {', '.join(sorted(set(classes)))}; "
            "give one of them"
        )
    pattern = settings().product_id
    # Photos are often numbered from 1 in each class: of two classes they are two products.
    products = [
        f"{folder}/{product_id_of(source.key(uri), pattern)}"
        for folder, uri in zip(classes, uris, strict=True)
    ]
    loose = len(listed) - len(uris)
    notes = [f"{loose} photos lie in no class folder and are left out"] if loose else []
    return PhotoTable(source, uris, products, {CLASS: classes}, tuple(notes))


def _csv_file(source: Source) -> Path | None:
    if not isinstance(source, FolderSource):
        return None
    files = (source.folder / name for name in CSV_FILES)
    return next((file for file in files if file.is_file()), None)


def _of_csv(source: Source, file: Path) -> PhotoTable:
    """A name in the file is a photo's path below the folder, or its last part where only one photo has it."""
    header, lines = _read_csv(file)
    naming = next((name for name in NAME_COLUMNS if name in header), None)
    if naming is None:
        raise UsageError(
            f"{str(file)!r} has no column {' or '.join(NAME_COLUMNS)}; its columns are {', '.join(header)}"
        )
    uris = [photo.uri for photo in source.listing()]
    _refuse_nothing(source, uris)
    by_name = _by_name(source, uris)
    found: dict[str, list[str]] = {}
    missing = []
    for line in lines:
        name = line[header.index(naming)]
        uri = by_name.get(name)
        if uri is None:
            missing.append(name)
        elif uri in found:
            raise UsageError(f"{str(file)!r} names the photo {name!r} twice; a photo has one row")
        else:
            found[uri] = line
    kept = [uri for uri in uris if uri in found]
    columns = {
        name: [found[uri][number] for uri in kept] for number, name in enumerate(header) if name != naming
    }
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} rows of {file.name} name no photo of the folder, such as {missing[0]!r}"
        )
    if len(kept) < len(uris):
        notes.append(f"{len(uris) - len(kept)} photos have no row in {file.name} and are left out")
    return PhotoTable(source, kept, _products(source, kept, columns), columns, tuple(notes))


def _read_csv(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = [[_storable(value.strip()) for value in row] for row in csv.reader(text) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{str(file)!r} cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise UsageError(f"{str(file)!r} is empty; expected a header and a row for each photo")
    header = rows[0]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise UsageError(
                f"{str(file)!r}: row {number} has {len(row)} values, the header {len(header)}; "
                "are commas within values in quotes?"
            )
    return header, rows[1:]


def _by_name(source: Source, uris: Iterable[str]) -> dict[str, str]:
    keys = {source.key(uri): uri for uri in uris}
    last_parts = Counter(key.rpartition("/")[2] for key in keys)
    short = {key.rpartition("/")[2]: uri for key, uri in keys.items()}
    return {name: uri for name, uri in short.items() if last_parts[name] == 1} | keys


def _products(source: Source, uris: Sequence[str], columns: dict[str, list[str]]) -> list[str]:
    pattern = settings().product_id
    own = next((columns[name] for name in PRODUCT_COLUMNS if name in columns), [""] * len(uris))
    return [
        product or product_id_of(source.key(uri), pattern) for uri, product in zip(uris, own, strict=True)
    ]


def _refuse_nothing(source: Source, uris: Sequence[str]) -> None:
    if not uris:
        raise UsageError(
            f"{source.uri!r} holds no photos; files with suffixes other than those of FASHION_CLIP_SUFFIXES, "
            f"which are ignored: {source.ignored}"
        )


def _storable(text: str) -> str:
    """The text without NUL, which PostgreSQL's text cannot hold."""
    return text.replace("\0", "\\x00")
