"""Texts in CSV that a spreadsheet may open: none of them becomes a formula, and all come back unharmed."""

import csv
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from io import TextIOWrapper
from typing import Any, BinaryIO

# Those of OWASP's page on CSV injection, full-width ones and other minus signs included.
FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20\u2212\u30fc"
_BREAKS = re.compile("([;\t\r\n])")
_ADDED = re.compile(r"(\A|[;\t\r\n])'")


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


def plain(cell: str) -> str:
    """The text that `neutral` made the cell of."""
    return _ADDED.sub(r"\1", cell)


def write_csv(stream: BinaryIO, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """UTF-8 with a header, every text in quotes and `neutral`, times as ISO 8601 with microseconds."""
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
