"""The labels of the catalogue as a file: CSV that a spreadsheet may open, or Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import BindParameter, Connection, Engine, Executable, Row, bindparam, text

from fashion_clip.errors import UsageError
from tasks.catalog import models
from tasks.catalog.engine import reading
from tasks.catalog.tables import UtcDateTime
from tasks.new_file import whole_file
from tasks.spreadsheet import write_csv

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


def export_labels(engine: Engine, file: Path, attributes: Sequence[str], replace: bool) -> Exported:
    """Writes the rows of `catalog_labels`, of these attributes or of all, ordered by uri and attribute.

    The file appears under its name when it is whole; an existing one stays as it is until then. All rows are
    of one moment. Memory does not grow with the catalogue.

    CSV is as `write_csv` makes it. Parquet has the texts as they are and times as timestamp[us, UTC].

    Raises:
        UsageError: see `whole_file`; or an attribute that the catalogue does not serve.
        FashionClipError: the file cannot be written.
        CatalogError: the database cannot be reached.
    """
    check_attributes(engine, attributes)
    tally = _Tally()
    with whole_file(file, SUFFIXES, replace) as stream, _labels(engine, attributes) as (columns, rows):
        _WRITERS[file.suffix.lower()](stream, columns, tally.of(rows))
    return Exported(tally.rows, tally.photos)


def check_attributes(engine: Engine, wanted: Sequence[str]) -> None:
    """Raises UsageError where the catalogue does not serve one of these attributes."""
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


_WRITERS = {".csv": write_csv, ".parquet": _write_parquet}
SUFFIXES = tuple(_WRITERS)
