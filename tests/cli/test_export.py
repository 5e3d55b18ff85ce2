"""`fashion-clip export`: what it says, how it ends, and what then lies in the folder."""

import csv
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet
from sqlalchemy import Engine, text

from tasks.catalog import audit
from tasks.catalog.engine import writing
from tests.catalogue_fixtures import Tagged
from tests.cli.conftest import Finished, finished, started
from tests.tasks.test_export import COLUMNS, add_photos

Run = Callable[..., Finished]


@pytest.fixture
def export(tagged: Tagged, clean_environment: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exports the tagged catalogue from an empty working folder."""
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", str(tagged.engine.url))
    return lambda *arguments: run("export", *arguments)


def test_rows_and_photos_are_told_in_one_line(export: Run) -> None:
    ended = export("labels.csv")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "'labels.csv': 122 labels of 61 photos\n"
    with Path("labels.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 122


def test_programs_are_told_in_json(export: Run) -> None:
    ended = export("labels.parquet", "--attribute", "category", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == {"file": "labels.parquet", "rows": 61, "photos": 61}
    assert set(parquet.read_table("labels.parquet")["attribute"].to_pylist()) == {"category"}


def test_the_attribute_may_be_given_again(export: Run) -> None:
    arguments = ("--attribute", "category", "--attribute", "articleType")
    assert export("labels.csv", *arguments).out == "'labels.csv': 122 labels of 61 photos\n"


def test_an_existing_file_is_kept_until_force_is_given(export: Run) -> None:
    Path("labels.csv").write_text("mine")
    refused = export("labels.csv")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "fashion-clip: 'labels.csv' exists; give another name, or --force to replace it\n"
    assert Path("labels.csv").read_text() == "mine"
    assert export("labels.csv", "--force").code == 0
    assert Path("labels.csv").read_text().startswith('"uri","product_id",')


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["labels.xlsx"], "'labels.xlsx' has the suffix '.xlsx'; expected .csv or .parquet"),
        (["labels"], "suffix ''"),
        (["."], "is a folder"),
        (["nowhere/labels.csv"], "no folder 'nowhere' for 'labels.csv'; create it first"),
        (["labels.csv", "--attribute", "colour\n"], "no attribute 'colour\\n'; it has: "),
    ],
)
def test_wrong_use_is_2_and_one_line_and_nothing_is_written(
    export: Run, arguments: list[str], told: str
) -> None:
    ended = export(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fashion-clip: ")
    assert told in ended.err
    assert ended.err.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_no_file_is_wrong_use(export: Run) -> None:
    assert export().code == 2


def test_the_file_is_looked_at_before_the_database(
    run: Run, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "sqlite:///new.db")
    assert run("export", "labels.txt").code == 2
    assert list(Path().iterdir()) == []


def test_a_database_that_cannot_be_opened_is_1(
    run: Run, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "sqlite:////nowhere/at/all.db")
    ended = run("export", "labels.csv")
    assert (ended.code, ended.out) == (1, "")
    assert "'/nowhere/at'" in ended.err
    assert list(Path().iterdir()) == []


def test_an_empty_catalogue_is_told(catalogue: Engine, run: Run) -> None:
    ended = run("export", "labels.csv")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("'labels.csv': the header alone, there are no labels yet")
    with Path("labels.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [COLUMNS]
    told = json.loads(run("export", "labels.parquet", "--json").out)
    assert told == {"file": "labels.parquet", "rows": 0, "photos": 0}


@pytest.fixture
def drawn(tagged: Tagged) -> int:
    """3 photos, with 2 labels each, are drawn to be looked at."""
    return audit.draw(tagged.engine, tagged.run_id, 3)


def test_a_review_sheet_is_told_with_what_to_do_next(export: Run, drawn: int) -> None:
    ended = export("sheet.csv", "--review")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "'sheet.csv': 6 labels of 3 photos to look at",
        "when it is filled in: fashion-clip truth import FILE.csv",
    ]
    page = export("sheet.html", "--review", "--limit", "4", "--attribute", "category")
    assert page.out.startswith("'sheet.html': 3 labels of 3 photos to look at, 3 with their pictures\n")
    assert Path("sheet.html").read_text().startswith("<!doctype html>")
    told = json.loads(export("sheet.csv", "--review", "--limit", "1", "--force", "--json").out)
    assert told == {"file": "sheet.csv", "rows": 1, "photos": 1, "pictures": None}


def test_nothing_to_look_at_is_told(export: Run) -> None:
    ended = export("sheet.csv", "--review")
    assert (ended.code, ended.out) == (0, "'sheet.csv': nothing waits to be looked at\n")


def test_a_source_that_is_away_is_told_and_the_sheet_written(export: Run, drawn: int, tagged: Tagged) -> None:
    with writing(tagged.engine) as connection:
        for table, column in (("runs", "source"), ("photos", "uri")):
            moved = f"UPDATE {table} SET {column} = REPLACE({column}, :old, 'file:///away/')"
            connection.execute(text(moved), {"old": tagged.folder.as_uri() + "/"})
    ended = export("sheet.html", "--review")
    assert ended.code == 0
    assert ended.err == (
        "fashion-clip: no pictures from one source: source '/away' does not exist; give the folder that "
        "holds the photos\n"
    )
    assert ended.out.startswith("'sheet.html': 6 labels of 3 photos to look at, 0 with their pictures\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sheet.parquet", "--review"], "expected .csv or .html"),
        (["labels.html"], "expected .csv or .parquet"),
        (["labels.csv", "--limit", "5"], "--limit goes with --review"),
        (["sheet.csv", "--review", "--limit", "0"], ""),
        (["sheet.csv", "--review", "--attribute", "colour"], "no attribute 'colour'"),
    ],
)
def test_a_sheet_that_cannot_be_is_2_and_nothing_is_written(
    export: Run, arguments: list[str], told: str
) -> None:
    ended = export(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert list(Path().iterdir()) == []


def test_a_name_cannot_forge_a_line(export: Run) -> None:
    ended = export("a\nfashion-clip: b\u202e.csv")
    assert ended.out.count("\n") == 1
    assert "\u202e" not in ended.out


def test_the_help_tells_of_apostrophes_and_force_without_heavy_packages(clean_environment: None) -> None:
    ended = finished("export", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert ended.code == 0
    assert "apostrophe" in ended.out
    assert "--force" in ended.out
    imported = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    assert "typer" in imported
    assert not imported & {"sqlalchemy", "pyarrow", "numpy", "torch", "prefect"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ctrl_c_ends_with_130_and_leaves_no_file(
    tagged: Tagged, clean_environment: None, suffix: str, tmp_path: Path
) -> None:
    add_photos(tagged.engine, 2000)  # seconds of work: the interrupt comes in the middle
    folder = tmp_path / "out"
    folder.mkdir()
    process = started("export", folder / f"labels{suffix}", FASHION_CLIP_DATABASE_URL=str(tagged.engine.url))
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size for part in folder.iterdir()) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == f"fashion-clip: interrupted; {str(folder / f'labels{suffix}')!r} was not written\n"
    assert list(folder.iterdir()) == []
