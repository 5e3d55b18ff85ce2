"""The labels of the catalogue as a file: CSV that a spreadsheet may open, or Parquet."""

import csv
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import BindParameter, Connection, Engine, Executable, Row, bindparam, text

from fashion_clip.errors import FashionClipError, UsageError
from tasks.catalog import models
from tasks.catalog.engine import reading
from tasks.catalog.tables import UtcDateTime

PAGE = 2_000  # photos whose labels are read at once
ROW_GROUP = 20_000  # rows of Parquet

# The columns of the view that are no text, with their types in Parquet.
NUMBERS = {"similarity": "float64", "confidence": "float64", "run_id": "int64"}
TIME = "tagged_at"

# Page by page: asked for all at once, a database may sort every row, as its statistics are just then. A page
# is told twice, since PostgreSQL begins with the photos of a range and SQLite with those of a list; else they
# begin with all labels, for each page anew. COALESCE keeps SQLite from beginning with the attributes.
_LAST_OF_PAGE = text(
    "SELECT MAX(uri) FROM (SELECT uri FROM photos WHERE uri > :after ORDER BY uri LIMIT :photos) p"
)
_ON_PAGE = "uri > :after AND uri <= :last"
_LABELS = (
    f"SELECT * FROM catalog_labels WHERE {_ON_PAGE} AND uri IN (SELECT uri FROM photos WHERE {_ON_PAGE})"
)
_OF_ATTRIBUTES = " AND COALESCE(attribute, '') IN :attributes"
_IN_ORDER = " ORDER BY uri, attribute"
_SEVERAL: BindParameter[Sequence[str]] = bindparam("attributes", expanding=True)

Rows = Iterator[Row[Any]]


@dataclass(frozen=True)
class Exported:
    """What was written: rows are labels, a photo has one per attribute."""

    rows: int
    photos: int


def check_target(file: Path, replace: bool) -> None:
    """What can be told of the file before anything is read.

    Raises:
        UsageError: a folder, another suffix than .csv and .parquet, no such parent folder, or a file that
            exists and may not be replaced.
        FashionClipError: the folder may not be looked into.
    """
    with _reported(file):
        _check_target(file, replace)


def _check_target(file: Path, replace: bool) -> None:
    name = repr(str(file))
    if file.is_dir():
        raise UsageError(f"{name} is a folder; give the name of a file in it")
    if file.suffix.lower() not in _WRITERS:
        raise UsageError(f"{name} has the suffix {file.suffix!r}; expected {' or '.join(_WRITERS)}")
    if not file.parent.is_dir():
        raise UsageError(f"no folder {str(file.parent)!r} for {file.name!r}; create it first")
    if file.exists() and not file.is_file():
        raise UsageError(f"{name} is no regular file; give another name")
    if file.exists() and not replace:
        raise UsageError(f"{name} exists; give another name, or --force to replace it")


def export_labels(engine: Engine, file: Path, attributes: Sequence[str], replace: bool) -> Exported:
    """Writes the rows of `catalog_labels`, of these attributes or of all, ordered by uri and attribute.

    The file appears under its name when it is whole; an existing one stays as it is until then. All rows are
    of one moment. Memory does not grow with the catalogue.

    CSV is UTF-8 with a header, every text in quotes, times as ISO 8601 with microseconds in UTC, and texts as
    `neutral` makes them. Parquet has the texts as they are and times as timestamp[us, UTC].

    Raises:
        UsageError: see `check_target`; or an attribute that the catalogue does not serve.
        FashionClipError: the file cannot be written.
        CatalogError: the database cannot be reached.
    """
    _check_attributes(engine, attributes)
    tally = _Tally()
    with _whole(file, replace) as stream, _labels(engine, attributes) as (columns, rows):
        _WRITERS[file.suffix.lower()](stream, columns, tally.of(rows))
    return Exported(tally.rows, tally.photos)


def _check_attributes(engine: Engine, wanted: Sequence[str]) -> None:
    if not wanted:
        return
    served = models.served(engine)
    known = [] if served is None else [attribute.name for attribute in served.taxonomy.attributes]
    for name in wanted:
        if name not in known:
            told = ", ".join(known) or "none, it is empty"
            raise UsageError(f"the catalogue has no attribute {name!r}; it has: {told}")


@contextmanager
def _labels(engine: Engine, attributes: Sequence[str]) -> Iterator[tuple[list[str], Rows]]:
    """The names of the columns, and the rows, which are read while they are taken."""
    query, values = text(_LABELS + _IN_ORDER), {}
    if attributes:
        query = text(_LABELS + _OF_ATTRIBUTES + _IN_ORDER)
        query, values = query.bindparams(_SEVERAL), {"attributes": attributes}
    typed = query.columns(**{TIME: UtcDateTime()})
    with reading(engine) as connection:
        nothing = connection.execute(typed, {"after": "", "last": ""} | values)
        yield list(nothing.keys()), _paged(connection, typed, values)


def _paged(connection: Connection, query: Executable, values: Mapping[str, Any]) -> Rows:
    after = ""
    while last := connection.execute(_LAST_OF_PAGE, {"after": after, "photos": PAGE}).scalar():
        yield from connection.execute(query, {"after": after, "last": last, **values}).all()
        after = last


class _Tally:
    """Counts what passes, in order of uri."""

    def __init__(self) -> None:
        self.rows = 0
        self.photos = 0

    def of(self, rows: Rows) -> Rows:
        uri = None
        for row in rows:
            self.rows += 1
            self.photos += row.uri != uri
            uri = row.uri
            yield row


@contextmanager
def _whole(file: Path, replace: bool) -> Iterator[BinaryIO]:
    """A stream that becomes the file when the block ends; where it fails, nothing is left of it."""
    target = Path(os.path.realpath(file))  # a link stays one
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    with _reported(file):
        _check_target(file, replace)
        with part.open("xb") as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                _check_target(file, replace)  # it may be minutes later
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


def _write_csv(stream: BinaryIO, columns: list[str], rows: Rows) -> None:
    lines = TextIOWrapper(stream, encoding="utf-8", newline="")
    # Quotes around all texts: LibreOffice also parts cells at a semicolon that stands outside of quotes.
    writer = csv.writer(lines, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    lines.detach()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return neutral(value)
    # Always with microseconds: some readers take the first row's form for all.
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


# Those of OWASP's page on CSV injection, full-width ones and other minus signs included.
FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20\u2212\u30fc"
_BREAKS = re.compile("([;\t\r\n])")


def neutral(told: str) -> str:
    """The text with an apostrophe before whatever a spreadsheet would take for a formula.

    That is a text that begins with one of `FORMULA`, after what may be trimmed: blanks, marks that cannot be
    seen, quotes. Tab, line break and NUL at the beginning count as well, and an apostrophe, so that each one
    there was added. What follows a semicolon, tab or line break inside the text is looked at likewise: Excel
    starts a cell there in countries whose lists have semicolons. Whoever removes one apostrophe at the
    beginning, and one after each of these, has the text as it was.
    """
    if told[:1].isascii() and told[:1].isalnum() and not _BREAKS.search(told):  # nearly all
        return told
    parts = _BREAKS.split(told)  # texts, with the breaks between them
    parts[::2] = ["'" + part if _is_taken(part) else part for part in parts[::2]]
    return ("'" if told.startswith(("\t", "\r", "\n")) else "") + "".join(parts)


def _is_taken(part: str) -> bool:
    seen = next((character for character in part if character.isprintable() and character not in ' "'), "")
    return part.startswith(("'", "\0")) or (seen != "" and seen in FORMULA)


def _write_parquet(stream: BinaryIO, columns: list[str], rows: Rows) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(column, _arrow_type(column)) for column in columns])
    with parquet.ParquetWriter(stream, schema) as writer:
        while (group := _next_group(rows, schema)).num_rows:
            writer.write_table(group)


def _next_group(rows: Rows, schema: Any) -> Any:
    """A table of the next rows, which without rows is the end."""
    import pyarrow as pa

    taken = list(islice(rows, ROW_GROUP))
    columns = [pa.array([row[i] for row in taken], kind) for i, kind in enumerate(schema.types)]
    return pa.table(columns, schema=schema)


def _arrow_type(column: str) -> Any:
    import pyarrow as pa

    return pa.timestamp("us", "UTC") if column == TIME else pa.type_for_alias(NUMBERS.get(column, "string"))


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}
