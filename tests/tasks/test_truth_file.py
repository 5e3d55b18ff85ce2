"""Files of truth as people make them: delimiters, encodings, columns, and what is said of those of no use."""

import codecs
import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_clip.errors import FashionClipError, UsageError
from tasks.truth_file import DELIMITERS, Told, told_truths
from tests.catalogue_fixtures import without_root

ATTRIBUTES = ("category", "articleType")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "truth.csv"


def read(file: Path, content: str | bytes, attributes: Sequence[str] = ATTRIBUTES) -> list[Told]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(told_truths(file, attributes))


def short(told: Told) -> tuple[int, str, str, str]:
    return told.line, told.uri or told.file_name or told.product_id, told.attribute, told.label


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_spreadsheets_of_all_countries_are_read(file: Path, delimiter: str, end: str, mark: bytes) -> None:
    rows = [
        ["URI", " Attribute ", "Label", "By"],
        ["file:///a", "category", "Schuhe, Stiefel; und\tmehr", "Zoë"],
        ["file:///b", "articleType", 'a "quoted"', ""],
    ]
    out = StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    told = read(file, mark + out.getvalue().encode())
    assert [short(one) for one in told] == [
        (2, "file:///a", "category", "Schuhe, Stiefel; und\tmehr"),
        (3, "file:///b", "articleType", 'a "quoted"'),
    ]
    assert [one.by for one in told] == ["Zoë", ""]


@pytest.mark.parametrize(
    ("header", "role"),
    [
        *(("uri", "uri"), ("file_name", "file_name"), ("FileName", "file_name"), ("file", "file_name")),
        *(("product_id", "product_id"), ("ID", "product_id")),
    ],
)
def test_a_photo_is_named_by_any_of_these(file: Path, header: str, role: str) -> None:
    [told] = read(file, f"{header},attribute,label\nx,category,Shoes\n")
    assert getattr(told, role) == "x"


def test_in_a_review_sheet_truth_goes_before_the_model_s_label(file: Path) -> None:
    header = "uri,product_id,attribute,label,confidence,reason,inclusion_probability,link,truth,by,when\n"
    [one, other] = read(
        file, header + "u,p,category,Bags,0.5,audit,0.25,,Shoes,ann,2026-01-01\nu,p,category,Bags"
    )
    assert (one.label, one.reason, one.probability, one.when) == ("Shoes", "audit", "0.25", "2026-01-01")
    assert (other.label, other.surplus) == ("", 0)


def test_in_the_wide_form_each_attribute_is_a_column(file: Path) -> None:
    told = read(
        file, "id,ArticleType,year,category,by\n7, Sandals ,2012,Footwear,ann\n8,,2013,Footwear,ben\n"
    )
    assert [short(one) for one in told] == [
        (2, "7", "category", "Footwear"),
        (2, "7", "articleType", "Sandals"),
        (3, "8", "category", "Footwear"),
        (3, "8", "articleType", ""),
    ]
    assert [one.by for one in told] == ["ann", "ann", "ben", "ben"]


def test_lines_are_counted_as_an_editor_does(file: Path) -> None:
    told = read(file, 'id,attribute,label\n"a\nb",category,x\n\n,,\nc,category,y,,z\n')
    assert [(one.line, one.label, one.surplus) for one in told] == [(2, "x", 0), (6, "y", 2)]


XLSX = b"PK\x03\x04 a workbook"
HEADER = "id,attribute,label\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ((HEADER + "a,category,Caf\u00e9\n").encode("cp1252"), "byte 0xe9 in line 2.; in Excel save"),
        ((HEADER + "a,category,b\n").encode("utf-16"), "UTF-16 or no text.*CSV UTF-8"),
        ((HEADER + "a,category,b\n").encode("utf-16-le"), "UTF-16 or no text.*CSV UTF-8"),
        (XLSX, "workbook or an archive.*CSV UTF-8"),
        (HEADER.encode() + b"x,category,y\n" * 99 + b"\0", "NUL in line 101"),
        (HEADER.encode() + b'x,"category,y\n', "no CSV from line 2 on.*quotes"),
        (b"", "has the columns none; one that names the photo is needed: uri, file_name or product_id"),
        (b"photo,attribute,label\n", "one that names the photo is needed"),
        (b"id,attribute\n", "or one column for each attribute: category, articleType"),
        (b"id,label\n", "needed are attribute and truth"),
        (b"id,id,attribute,label\n", "two columns 'id'; leave one"),
        *(
            (f"id,attribute,label,{one}\n".encode(), f"the model's own labels.* {one!r}; a column truth")
            for one in ("confidence", "decision", "model_version", "reason")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_with_what_to_do(file: Path, content: bytes, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        read(file, content)
    assert repr(str(file)) in str(caught.value)


def test_a_file_that_is_not_there_or_may_not_be_read_is_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file '.*truth.csv'"):
        list(told_truths(file, ATTRIBUTES))
    with pytest.raises(FashionClipError, match="Is a directory"):
        list(told_truths(tmp_path, ATTRIBUTES))
    file.touch(mode=0o000)
    with without_root(), pytest.raises(FashionClipError, match="Permission denied"):
        list(told_truths(file, ATTRIBUTES))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=4), st.sampled_from(DELIMITERS))
def test_any_texts_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    out = StringIO()
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(
        [("id", "attribute", "truth"), *rows]
    )
    told = read(tmp_path_factory.mktemp("any") / "truth.csv", out.getvalue())
    stripped = [tuple(cell.strip() for cell in row) for row in rows]
    assert [(one.product_id, one.attribute, one.label) for one in told] == [
        row for row in stripped if any(row)
    ]
