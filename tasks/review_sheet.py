"""A review sheet: what people are to look at, as CSV for a spreadsheet or as a page with pictures."""

import base64
import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import Engine

from tasks.catalog import review
from tasks.catalog.models import LabelSet
from tasks.catalog.review import Candidates, Queued
from tasks.export import check_attributes
from tasks.new_file import whole_file
from tasks.serving import require_served
from tasks.sources.names import decoded
from tasks.spreadsheet import neutral, write_csv
from tasks.thumbnails import Thumbnails
from tasks.truth_rows import NONE

SUFFIXES = (".csv", ".html")
SIDE = 256  # pixels of a thumbnail's longer side
COLUMNS = (*Queued.__dataclass_fields__, "link")
_TEMPLATE = Path(__file__).with_name("review_sheet.html")


@dataclass(frozen=True)
class Sheet:
    """What was written: rows are labels to look at, pictures the photos that the page shows; None in CSV.

    missing: why there are pictures that could not be shown, as far as it lies at their sources.
    """

    rows: int
    photos: int
    pictures: int | None
    missing: tuple[str, ...]


def write_sheet(engine: Engine, file: Path, attributes: Sequence[str], limit: int, replace: bool) -> Sheet:
    """Writes the first `limit` rows of the review queue, of these attributes or of all: see `review.queued`.

    CSV has the queue's columns, a link where the photo has an address that can be opened, and an empty column
    truth. The page is one file that needs no network: it saves what people answer as such a CSV, which
    `tasks.truth` imports. The file appears under its name when it is whole.

    Raises:
        UsageError: see `whole_file`; or the catalogue is empty, or does not serve an attribute.
        FashionClipError: the file cannot be written.
        CatalogError: the database cannot be reached.
    """
    label_set = require_served(engine)
    check_attributes(engine, attributes)
    rows = review.queued(engine, attributes, limit)
    photos = len({row.uri for row in rows})
    with whole_file(file, SUFFIXES, replace) as stream:
        if file.suffix.lower() == ".csv":
            write_csv(stream, (*COLUMNS, "truth"), ((*_cells(row), "") for row in rows))
            return Sheet(len(rows), photos, None, ())
        thumbnails = Thumbnails(engine)
        page = _page(label_set, rows, review.candidates(engine, {row.uri for row in rows}), thumbnails.of)
        stream.write(page.encode())
    return Sheet(len(rows), photos, thumbnails.shown, tuple(thumbnails.troubles))


def _cells(row: Queued) -> Sequence[Any]:
    return (*vars(row).values(), _link(row.uri))


def _link(uri: str) -> str:
    """An address that a browser opens, or nothing."""
    return uri if uri.startswith(("file://", "http://", "https://")) else ""


def _page(
    label_set: LabelSet,
    rows: Sequence[Queued],
    candidates: dict[tuple[str, str], Candidates],
    picture: Callable[[str, str, int], Image.Image | None],
) -> str:
    labels = {one.name: [label.name for label in one.labels] for one in label_set.taxonomy.attributes}
    asked: dict[str, list[Queued]] = {}
    for row in rows:
        if (row.uri, row.attribute) in candidates:  # the photo may have vanished meanwhile
            asked.setdefault(row.uri, []).append(row)
    sheet = {
        "none": NONE,
        "header": ",".join(COLUMNS),
        "attributes": {name: labels[name] for name in dict.fromkeys(row.attribute for row in rows)},
        "cells": {name: _csv([name]) for name in {NONE}.union(*labels.values())},
        "photos": [_photo(asked[uri], candidates, picture) for uri in asked],
    }
    # The same rows make the same sheet, whose answers a browser still has.
    told = json.dumps([vars(row) for row in rows]).encode()
    sheet["id"] = hashlib.sha256(told).hexdigest()[:12]
    return _TEMPLATE.read_text(encoding="utf-8").replace("__SHEET__", _embedded(sheet))


def _photo(
    rows: Sequence[Queued],
    candidates: dict[tuple[str, str], Candidates],
    picture: Callable[[str, str, int], Image.Image | None],
) -> dict[str, Any]:
    first = rows[0]
    shown = picture(first.uri, candidates[first.uri, first.attribute].sha256, SIDE)
    return {
        "uri": first.uri,
        "name": decoded(first.uri.rpartition("/")[2], ""),
        "product": first.product_id,
        "link": _link(first.uri),
        "picture": None if shown is None else _data_address(shown),
        "questions": [
            {
                "attribute": row.attribute,
                "why": f"{row.reason}, {row.confidence:.0%} sure",
                "cells": _csv(_cells(row)),
                "candidates": [
                    (label, f"{confidence:.0%}")
                    for label, confidence in candidates[row.uri, row.attribute].labels
                ],
            }
            for row in rows
        ],
    }


def _data_address(picture: Image.Image) -> str:
    out = BytesIO()
    picture.save(out, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _csv(cells: Iterable[Any]) -> str:
    """Cells as they stand in a line of the CSV, so that the page need not know how."""
    line = StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="")
    writer.writerow([neutral(cell) if isinstance(cell, str) else cell for cell in cells])
    return line.getvalue()


def _embedded(value: Any) -> str:
    """JSON inside of a script element, which nothing in it can end."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
