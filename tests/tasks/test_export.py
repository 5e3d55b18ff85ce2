"""Exported files: read back they are the view's rows, whatever the names; they are whole or not there."""

import csv
import re
import resource
import tracemalloc
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv
from pyarrow import parquet
from sqlalchemy import Engine, event, text, update

from fashion_clip.errors import CatalogError, FashionClipError, UsageError
from tasks.catalog.engine import reading, writing
from tasks.catalog.tables import UtcDateTime, shards
from tasks.export import Exported, export_labels
from tasks.spreadsheet import neutral, plain
from tests.catalogue_fixtures import Tagged, rows, without_root

COLUMNS = [
    *("uri", "product_id", "sha256", "attribute", "label", "similarity", "confidence", "decision"),
    *("model_version", "taxonomy_version", "run_id", "tagged_at"),
]
NUMBERS = ("similarity", "confidence", "run_id")
VIEW = "SELECT * FROM catalog_labels ORDER BY uri, attribute"
SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".parquet"])

FILE_NAMES = [
    b"'); DROP TABLE labels;--.jpg",
    b'=HYPERLINK("http://x","y").jpg',
    b"../x.jpg",
    b"two\nlines\r\n=1+2.jpg",
    b'quotes "" and , commas; =3.jpg',
    "\u202e=gpj.exe.jpg".encode(),
    b"=\xff\xfe.jpg",
    b"@SUM(1)",
    b"-2+3",
    b"\t=1",
    b"\x00=1\x00",
    b"'quoted already",
    "\uff1d1+2".encode(),
    "\u00a0+1".encode(),
    "\ufeff-1".encode(),
    "\u6708 \U0001f457".encode(),
    b"",
    b'a;"=1+2;x',
]
LABELS = ['=HYPERLINK("http://x","y")', "'90s dress", "-2+3", "a\n@b", "a, b; c"]
PLAIN = {"T-shirts", "shirt_2.jpg", "a - b", "1-2", "5'10\"", "caf\u00e9", "x = y", "a;b", ""}


def labels_of(engine: Engine) -> list[dict[str, Any]]:
    """The view's rows in the file's order, times as such."""
    with reading(engine) as connection:
        result = connection.execute(text(VIEW).columns(tagged_at=UtcDateTime()))
        return [dict(row._mapping) for row in result]


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, strict=True))


def without_apostrophe(cell: str) -> str:
    """What the documentation says to do to have a text as it was."""
    return re.sub(r"(\A|[;\t\r\n])'", r"\1", cell)


def parsed(row: dict[str, str]) -> dict[str, Any]:
    """A row of CSV as the view has it."""
    found: dict[str, Any] = {column: without_apostrophe(cell) for column, cell in row.items()}
    found |= {column: float(row[column]) for column in NUMBERS}
    return found | {"tagged_at": datetime.fromisoformat(row["tagged_at"])}


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of either kind of file as the view has them."""
    if file.suffix == ".csv":
        return [parsed(row) for row in csv_rows(file)]
    found: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return found


def begins_a_formula(cell: str) -> bool:
    """Also where a spreadsheet parts the cell, or trims what cannot be seen."""
    seen = [
        next((c for c in part if unicodedata.category(c)[0] not in "CZ" and c != '"'), "")
        for part in re.split("[;\t\r\n]", cell)
    ]
    return cell[:1] in {"\t", "\r", "\n", "\0"} or any(
        c and c in "=+-@\uff1d\uff0b\uff0d\uff20" for c in seen
    )


def is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e-\d+)?", cell) is not None


def rename_products(engine: Engine, products: Sequence[str], uris: Sequence[str] = ()) -> None:
    """Gives these product ids, and uris, to the first photos."""
    with writing(engine) as connection:
        ids = (
            connection.execute(text("SELECT photo_id FROM photos WHERE content_id IS NOT NULL"))
            .scalars()
            .all()
        )
        for photo_id, product in zip(ids, products, strict=False):
            values = {"product": product, "id": photo_id}
            connection.execute(text("UPDATE photos SET product_id = :product WHERE photo_id = :id"), values)
        for photo_id, uri in zip(ids, uris, strict=False):
            connection.execute(
                text("UPDATE photos SET uri = :uri WHERE photo_id = :id"), {"uri": uri, "id": photo_id}
            )


def rename_labels(engine: Engine, names: Sequence[str]) -> None:
    """Gives these names to the labels that are served most."""
    query = "SELECT label_1 FROM labels GROUP BY label_1 ORDER BY COUNT(*) DESC, label_1"
    with writing(engine) as connection:
        for label_id, name in zip(connection.execute(text(query)).scalars().all(), names, strict=False):
            values = {"name": name, "id": label_id}
            connection.execute(text("UPDATE label_names SET name = :name WHERE label_id = :id"), values)


def add_photos(engine: Engine, copies: int) -> None:
    """So many more photos of the same contents for each that there is."""
    query = f"""
WITH RECURSIVE copy(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copy WHERE n < {copies})
INSERT INTO photos (uri, product_id, change_token, content_id, shard_id)
SELECT p.uri || '-{copies}-' || copy.n, p.product_id, p.change_token, p.content_id, p.shard_id
FROM photos p, copy"""
    with writing(engine) as connection:
        connection.execute(text(query))


@pytest.fixture
def hostile(tagged: Tagged) -> Engine:
    """Photos of hostile names, with uris and product ids as a source makes them, and hostile labels."""
    uris = [
        f"file:///photos/{number}/" + quote_from_bytes(name, safe="")
        for number, name in enumerate(FILE_NAMES)
    ]
    products = [unquote(uri.split("/", 5)[5], errors="backslashreplace") for uri in uris]
    rename_products(tagged.engine, products, uris)
    rename_labels(tagged.engine, LABELS)
    return tagged.engine


def test_csv_is_the_view_s_rows_in_order_of_uri_and_attribute(hostile: Engine, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    on_the_second = (
        update(shards).where(shards.c.shard_id == 1).values(committed_at=datetime(2026, 1, 1, tzinfo=UTC))
    )
    with writing(hostile) as connection:
        connection.execute(on_the_second)
    done = export_labels(hostile, file, [], False)
    expected = labels_of(hostile)
    found = csv_rows(file)
    assert list(found[0]) == COLUMNS == list(expected[0])
    assert [parsed(row) for row in found] == expected
    assert done == Exported(len(expected), len({row["uri"] for row in expected}))
    assert {"=\\xff\\xfe.jpg", "two\nlines\r\n=1+2.jpg", "\x00=1\x00"} <= {
        row["product_id"] for row in expected
    }
    assert expected[0]["tagged_at"].tzinfo is UTC
    assert {row["tagged_at"][-6:] for row in found} == {"+00:00"}
    assert {len(row["tagged_at"]) for row in found} == {len("2026-01-01T02:00:00.000000+00:00")}


def test_no_text_in_csv_begins_a_formula_and_numbers_stay_numbers(hostile: Engine, tmp_path: Path) -> None:
    with writing(hostile) as connection:
        connection.execute(text("UPDATE labels SET similarity_1 = -similarity_1"))
    export_labels(hostile, tmp_path / "labels.csv", [], False)
    for row in csv_rows(tmp_path / "labels.csv"):
        assert row["similarity"].startswith("-")
        for column, cell in row.items():
            assert is_number(cell) if column in NUMBERS else not begins_a_formula(cell), (column, cell)
    cells = {cell for row in csv_rows(tmp_path / "labels.csv") for cell in row.values()}
    assert {"'-2+3", "'@SUM(1)", "''90s dress", '\'=HYPERLINK("http://x","y")', "../x.jpg"} <= cells


def test_another_reader_finds_the_same_rows(hostile: Engine, tmp_path: Path) -> None:
    """Arrow's shares no code with Python's, and guesses the types."""
    export_labels(hostile, tmp_path / "labels.csv", [], False)
    options = arrow_csv.ParseOptions(newlines_in_values=True)
    table = arrow_csv.read_csv(tmp_path / "labels.csv", parse_options=options)
    assert [str(table.schema.field(column).type) for column in NUMBERS] == ["double", "double", "int64"]
    assert pa.types.is_timestamp(table.schema.field("tagged_at").type)
    found = table.to_pylist()
    texts = [column for column in COLUMNS if column not in (*NUMBERS, "tagged_at")]
    expected = labels_of(hostile)
    assert [row | {column: without_apostrophe(row[column]) for column in texts} for row in found] == expected


def test_parquet_is_the_view_s_rows_as_they_are(hostile: Engine, tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    done = export_labels(hostile, file, [], False)
    table = parquet.read_table(file)
    expected = labels_of(hostile)
    assert table.to_pylist() == expected
    assert done == Exported(len(expected), len({row["uri"] for row in expected}))
    kinds = {
        "similarity": pa.float64(),
        "confidence": pa.float64(),
        "run_id": pa.int64(),
        "tagged_at": pa.timestamp("us", "UTC"),
    }
    assert table.schema == pa.schema([(column, kinds.get(column, pa.string())) for column in COLUMNS])


SPECIAL = "=+-@;,'\"\t\r\n\0 \u00a0\u202e\ufeff\uff1d\uff0b\uff0d\uff20"
TEXTS = st.text(st.sampled_from(SPECIAL) | st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(products=st.lists(TEXTS, min_size=1, max_size=5), label=TEXTS.filter(bool))
def test_any_names_come_back_from_csv_and_none_begins_a_formula(
    tagged: Tagged, tmp_path: Path, products: list[str], label: str
) -> None:
    rename_products(tagged.engine, products)
    rename_labels(tagged.engine, [label])
    export_labels(tagged.engine, tmp_path / "labels.csv", [], True)
    found = csv_rows(tmp_path / "labels.csv")
    assert [parsed(row) for row in found] == labels_of(tagged.engine)
    assert not [cell for row in found for cell in (row["product_id"], row["label"]) if begins_a_formula(cell)]


@given(TEXTS)
def test_what_is_made_neutral_comes_back(told: str) -> None:
    assert without_apostrophe(neutral(told)) == plain(neutral(told)) == told
    assert not begins_a_formula(neutral(told))


def test_what_no_spreadsheet_takes_for_a_formula_stays_as_it_is() -> None:
    assert {neutral(told) for told in PLAIN} == PLAIN


@SUFFIXES
def test_only_the_attributes_asked_for(tagged: Tagged, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"labels{suffix}"
    done = export_labels(tagged.engine, file, ["category"], False)
    assert done == Exported(61, 61)
    assert [row["attribute"] for row in read(file)] == 61 * ["category"]
    both = export_labels(tagged.engine, file, ["category", "articleType", "category"], True)
    assert both == export_labels(tagged.engine, file, [], True) == Exported(122, 61)


@pytest.mark.parametrize("name", ["Category", "", "category'--", "x\ny"])
def test_an_unknown_attribute_is_told_with_those_there_are(tagged: Tagged, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UsageError, match=re.escape(repr(name)) + ".* has: (articleType, category|category, articl)"
    ):
        export_labels(tagged.engine, tmp_path / "labels.csv", ["category", name], False)
    assert not (tmp_path / "labels.csv").exists()


def test_an_empty_catalogue_has_no_attribute(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'category'; it has: none, it is empty"):
        export_labels(engine, tmp_path / "labels.csv", ["category"], False)


def test_an_empty_catalogue_gives_the_header_alone(engine: Engine, tmp_path: Path) -> None:
    for name in ("labels.csv", "labels.parquet"):
        assert export_labels(engine, tmp_path / name, [], False) == Exported(0, 0)
    with (tmp_path / "labels.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [COLUMNS]
    table = parquet.read_table(tmp_path / "labels.parquet")
    assert (table.num_rows, table.column_names) == (0, COLUMNS)
    assert table.schema.field("tagged_at").type == pa.timestamp("us", "UTC")


def test_vanished_and_quarantined_photos_are_not_in_it(tagged: Tagged, tmp_path: Path) -> None:
    with writing(tagged.engine) as connection:
        connection.execute(text("UPDATE photos SET vanished_at = '2026-01-01' WHERE uri LIKE '%zz-copy.png'"))
    assert export_labels(tagged.engine, tmp_path / "labels.csv", [], False) == Exported(120, 60)


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that go to the database meanwhile, with their values."""
    seen: list[tuple[str, Any]] = []

    def see(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        seen.append((statement, values))

    event.listen(engine, "before_cursor_execute", see)
    yield seen
    event.remove(engine, "before_cursor_execute", see)


@pytest.mark.parametrize("attributes", [[], ["category"], ["category", "articleType"]])
@pytest.mark.parametrize("analysed", [False, True])
def test_sqlite_reads_a_page_by_its_photos_whatever_it_knows_of_the_tables(
    tagged: Tagged, tmp_path: Path, attributes: list[str], analysed: bool
) -> None:
    add_photos(tagged.engine, 100)
    if analysed:
        with writing(tagged.engine) as connection:
            connection.execute(text("ANALYZE"))
    with statements(tagged.engine) as seen:
        export_labels(tagged.engine, tmp_path / "labels.csv", attributes, False)
    for wanted in ("MAX(uri)", "catalog_labels"):
        statement, values = next(one for one in reversed(seen) if wanted in one[0])
        with reading(tagged.engine) as connection:
            plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, values).all()
        steps = [step[3] for step in plan]
        assert not [step for step in steps if re.match("SCAN (p|l|photos|labels)( |$)|MATERIALIZE", step)], (
            steps
        )
        if wanted == "catalog_labels":
            assert "SEARCH p USING INDEX sqlite_autoindex_photos_1 (uri=?)" in steps
            assert "SEARCH l USING PRIMARY KEY (label_set_id=? AND content_id=?)" in steps


@SUFFIXES
def test_memory_does_not_grow_with_the_catalogue(
    tagged: Tagged, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.export.PAGE", 500)
    monkeypatch.setattr("tasks.export.ROW_GROUP", 1000)

    def peak() -> int:
        tracemalloc.start()
        export_labels(tagged.engine, tmp_path / f"labels{suffix}", [], True)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak()  # what is imported and cached once
    add_photos(tagged.engine, 40)
    small = peak()
    add_photos(tagged.engine, 4)
    assert peak() < 1.2 * small


@SUFFIXES
@pytest.mark.parametrize("page", [1, 7, 62, 63])
def test_no_photo_is_lost_or_told_twice_between_pages(
    tagged: Tagged, tmp_path: Path, suffix: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 62 photos, of which one is quarantined and makes a page of one empty."""
    monkeypatch.setattr("tasks.export.PAGE", page)
    monkeypatch.setattr("tasks.export.ROW_GROUP", 7)  # parts the labels of some photos
    assert export_labels(tagged.engine, tmp_path / f"labels{suffix}", [], False) == Exported(122, 61)
    assert read(tmp_path / f"labels{suffix}") == labels_of(tagged.engine)


WRONG = [
    (".", "is a folder"),
    ("folder.csv", "is a folder"),
    ("labels", "suffix ''.* .csv or .parquet"),
    ("labels.xlsx", "'.xlsx'"),
    ("labels.csv.gz", "'.gz'"),
    ("nowhere/labels.csv", "no folder .*nowhere'"),
    ("file.csv/labels.csv", "no folder"),
    ("file.csv", "exists; .*--force"),
    ("null.csv", "no regular file"),
]


@pytest.mark.parametrize(("name", "told"), WRONG)
def test_what_cannot_be_the_file_is_refused(tagged: Tagged, tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.csv").write_text("mine")
    (tmp_path / "null.csv").symlink_to("/dev/null")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=told):
        export_labels(tagged.engine, tmp_path / name, [], False)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file.csv").read_text() == "mine"


@SUFFIXES
def test_an_existing_file_is_replaced_where_that_is_asked_for(
    tagged: Tagged, tmp_path: Path, suffix: str
) -> None:
    file, link = tmp_path / f"labels{suffix}", tmp_path / f"link{suffix}"
    file.write_text("old")
    link.symlink_to(file)
    export_labels(tagged.engine, link, [], True)
    assert link.is_symlink()
    assert b"fmnist-00066" in file.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_the_file_may_be_read_by_whom_the_umask_lets(tagged: Tagged, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    export_labels(tagged.engine, tmp_path / "Labels.CSV", [], False)
    assert (tmp_path / "Labels.CSV").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_name_may_be_as_long_as_a_name_can_be(tagged: Tagged, tmp_path: Path) -> None:
    file = tmp_path / ("x" * 251 + ".csv")
    export_labels(tagged.engine, file, [], False)
    assert file.exists()


@SUFFIXES
def test_a_failure_of_the_database_leaves_the_old_file_and_no_other(
    tagged: Tagged, tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / f"labels{suffix}").write_text("old")
    with writing(tagged.engine) as connection:
        connection.execute(
            text("UPDATE photos SET product_id = CAST(x'ff' AS TEXT) WHERE uri LIKE '%zz-copy.png'")
        )
    with pytest.raises(CatalogError, match="UTF-8"):
        export_labels(tagged.engine, folder / f"labels{suffix}", [], True)
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [(f"labels{suffix}", "old")]


@SUFFIXES
def test_a_full_disk_is_told_and_leaves_nothing(tagged: Tagged, tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files stands for it."""
    folder = tmp_path / "out"
    folder.mkdir()
    rows(tagged.engine, VIEW)  # the database's own files are there now
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(FashionClipError, match=f"cannot write .*labels{suffix}': File too large"):
            export_labels(tagged.engine, folder / f"labels{suffix}", [], False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_told(tagged: Tagged, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o555)
    rows(tagged.engine, VIEW)
    with without_root(), pytest.raises(FashionClipError, match=r"cannot write .*: Permission denied"):
        export_labels(tagged.engine, folder / "labels.csv", [], False)


def test_a_file_that_appears_meanwhile_is_not_replaced(tagged: Tagged, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"

    def appear(*_: Any) -> None:
        file.write_text("somebody else's")

    event.listen(tagged.engine, "before_cursor_execute", appear)
    with pytest.raises(UsageError, match="exists"):
        export_labels(tagged.engine, file, [], False)
    assert file.read_text() == "somebody else's"
    assert not list(tmp_path.glob(".*"))
