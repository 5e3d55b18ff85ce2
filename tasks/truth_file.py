"""A CSV file of truth, row by row: as a review sheet comes back, or as people keep it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fashion_clip.errors import FashionClipError, UsageError

DELIMITERS = ",;\t"  # Excel's are semicolons where lists have them
_HEAD = 1024  # bytes that show whether a file is text

# What a column may be called, the first that is there is taken.
_NAMES = {
    "uri": ("uri",),
    "file_name": ("file_name", "filename", "file"),
    "product_id": ("product_id", "id"),
    "attribute": ("attribute",),
    "label": ("truth", "label"),
    "by": ("by",),
    "when": ("when",),
    "chosen": ("chosen",),
    "probability": ("inclusion_probability",),
    "reason": ("reason",),
}
# What a file has that tells of the model: an export or a review sheet. Its label is the model's own.
_OF_THE_MODEL = ("confidence", "decision", "model_version", "reason")
_TARGETS = ("uri", "file_name", "product_id")
_SAVE_AS = (
    "in Excel save it as 'CSV UTF-8 (Comma delimited)', in LibreOffice as Text CSV with Unicode (UTF-8)"
)


@dataclass(frozen=True)
class Told:
    """One truth as the file has it, texts without blanks around them; "" where there is none.

    line: in the file, from 1, the header's included. surplus: cells beyond those of the header.
    """

    line: int
    uri: str
    file_name: str
    product_id: str
    attribute: str
    label: str
    by: str
    when: str
    chosen: str
    probability: str
    reason: str
    surplus: int


def told_truths(file: Path, attributes: Sequence[str]) -> Iterator[Told]:
    """The truths of a file, streamed. In the wide form, a column an attribute, each cell is one.

    Raises:
        UsageError: there is no such file, it is no CSV in UTF-8, or its columns do not do.
    """
    name = repr(str(file))
    try:
        with file.open("rb") as stream:
            _refuse_other_encodings(name, stream)
            yield from _truths(name, stream, attributes)
    except FileNotFoundError:
        raise UsageError(f"there is no file {name}; give the CSV file that holds the truth") from None
    except OSError as error:
        raise FashionClipError(f"cannot read {name}: {error.strerror or error}") from error


def _refuse_other_encodings(name: str, stream: BinaryIO) -> None:
    head = stream.read(_HEAD)
    stream.seek(0)
    if head.startswith(b"PK\x03\x04"):
        raise UsageError(f"{name} is a workbook or an archive, and CSV is expected; {_SAVE_AS}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise UsageError(f"{name} is UTF-16 or no text, and UTF-8 is expected; {_SAVE_AS}")


def _lines(name: str, stream: BinaryIO) -> Iterator[str]:
    for number, raw in enumerate(stream, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte 0x{raw[error.start]:02x} in line {number}"
            raise UsageError(f"{name} is not UTF-8 ({byte}); {_SAVE_AS}") from None
        if "\0" in line:
            raise UsageError(f"{name} is no text: there is a NUL in line {number}; {_SAVE_AS}")
        yield line


def _truths(name: str, stream: BinaryIO, attributes: Sequence[str]) -> Iterator[Told]:
    lines = _lines(name, stream)
    header = next(lines, "")
    delimiter, names = _header(header, attributes)
    columns = _columns(name, names, attributes)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 2
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield from columns.truths(line, [cell.strip() for cell in cells])
            line = reader.line_num + 2
    except csv.Error as error:
        told = f"{name} is no CSV from line {line} on: {error}; are its quotes in pairs?"
        raise UsageError(told) from error


def _header(line: str, attributes: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter with which most columns of the header are known ones, and the columns' names."""
    known = {name for names in _NAMES.values() for name in names} | {name.casefold() for name in attributes}
    parsed = {}
    for delimiter in DELIMITERS:
        cells = next(csv.reader([line], delimiter=delimiter), [])
        parsed[delimiter] = [cell.strip().casefold() for cell in cells]
    best = max(DELIMITERS, key=lambda delimiter: len(known.intersection(parsed[delimiter])))
    return best, parsed[best]


@dataclass(frozen=True)
class _Columns:
    """Where what stands. wide: attribute -> column, in the form that has one for each; else empty."""

    count: int
    at: dict[str, int]
    wide: dict[str, int]

    def truths(self, line: int, cells: list[str]) -> Iterator[Told]:
        surplus = max(len(cells) - self.count, 0)
        cells = cells + [""] * (self.count - len(cells))
        told = {role: cells[at] for role, at in self.at.items()}
        given = {role: told.get(role, "") for role in _NAMES}
        if not self.wide:
            yield Told(line=line, surplus=surplus, **given)
        for attribute, at in self.wide.items():
            yield Told(line=line, surplus=surplus, **given | {"attribute": attribute, "label": cells[at]})


def _columns(name: str, names: Sequence[str], attributes: Sequence[str]) -> _Columns:
    at = {}
    for role, aliases in _NAMES.items():
        there = next((alias for alias in aliases if alias in names), None)
        if there is not None:
            at[role] = names.index(there)
            if names.count(there) > 1:
                raise UsageError(f"{name} has two columns {there!r}; leave one")
    of_the_model = [one for one in _OF_THE_MODEL if one in names]
    if of_the_model and "attribute" in at and "truth" not in names and "label" in names:
        raise UsageError(
            f"{name} looks like the model's own labels, since it has a column {of_the_model[0]!r}; a column "
            "truth is expected, with what people say"
        )
    wide = {}
    if "attribute" not in at:
        wide = {one: names.index(one.casefold()) for one in attributes if one.casefold() in names}
    has = f"{name} has the columns {', '.join(map(repr, names)) or 'none'}"
    if not any(role in at for role in _TARGETS):
        raise UsageError(f"{has}; one that names the photo is needed: uri, file_name or product_id")
    if not wide and not {"attribute", "label"} <= at.keys():
        raise UsageError(
            f"{has}; needed are attribute and truth (or label), or one column for each attribute: "
            f"{', '.join(attributes)}"
        )
    return _Columns(len(names), at, wide)
