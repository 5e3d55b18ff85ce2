"""Review sheets: what is on them, that no name can harm who opens them, and that they come back whole."""

import base64
import csv
import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from fashion_clip.errors import UsageError
from tasks.catalog import audit, review
from tasks.catalog.engine import writing
from tasks.review_sheet import SIDE, Sheet, write_sheet
from tasks.spreadsheet import plain
from tasks.truth import import_truth
from tests.catalogue_fixtures import Tagged, rows
from tests.tasks.test_export import FILE_NAMES, begins_a_formula, rename_labels, rename_products

COLUMNS = [
    *("uri", "product_id", "attribute", "label", "confidence", "reason", "inclusion_probability"),
    *("link", "truth"),
]

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def queued(tagged: Tagged) -> Tagged:
    """4 of 61 photos are drawn; of others' pictures 6 are uncertain, 2 unknown, and 1 conflicts."""
    audit.draw(tagged.engine, tagged.run_id, 4)
    for decision, count in ((2, 6), (3, 2), (4, 1)):
        unsure = (
            "SELECT MIN(l.content_id) FROM labels l WHERE l.decision = 0 AND l.content_id NOT IN ("
            "SELECT p.content_id FROM photos p JOIN audit_samples u USING (photo_id))"
        )
        for _ in range(count):
            with writing(tagged.engine) as connection:
                [[content]] = connection.execute(text(unsure))
                change = (
                    f"UPDATE labels SET decision = {decision} WHERE content_id = :id AND attribute_id = 1"
                )
                connection.execute(text(change), {"id": content})
                connection.execute(
                    text("UPDATE labels SET decision = 1 WHERE content_id = :id AND attribute_id = 2"),
                    {"id": content},
                )
    return tagged


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, strict=True))


def embedded(file: Path) -> Any:
    page = file.read_text(encoding="utf-8")
    [data] = re.findall(r'<script id="sheet" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


def on_page(file: Path) -> list[dict[str, str]]:
    """The rows of a page as its script would save them, without answers."""
    sheet = embedded(file)
    lines = [sheet["header"], *(q["cells"] for photo in sheet["photos"] for q in photo["questions"])]
    return list(csv.DictReader(lines, strict=True))


def test_the_audit_comes_first_then_what_is_most_worth_a_look(queued: Tagged, tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    done = write_sheet(queued.engine, file, [], 200, False)
    found = csv_rows(file)
    assert list(found[0]) == COLUMNS
    photos = len({row["uri"] for row in found})
    assert done == Sheet(len(found), photos, None, ())
    reasons = [row["reason"] for row in found]
    assert reasons[:8] == ["audit"] * 8
    assert set(reasons[8:]) == {"conflict", "unknown", "uncertain"}
    assert reasons == sorted(reasons, key=["audit", "conflict", "unknown", "uncertain"].index)
    unsure = [float(row["confidence"]) for row in found if row["reason"] == "uncertain"]
    assert unsure == sorted(unsure)
    assert {row["inclusion_probability"] for row in found} == {"", str(4 / 61)}
    assert {row["truth"] for row in found} == {""}
    assert all(row["link"] == row["uri"] for row in found)
    queue = rows(queued.engine, "SELECT uri, attribute, label FROM review_queue")
    assert sorted((row["uri"], row["attribute"], row["label"]) for row in found) == sorted(queue)


def test_the_audit_is_asked_for_photo_by_photo_and_in_no_order_that_means_anything(tagged: Tagged) -> None:
    """Else the first few, which may be all that anybody looks at, would be more alike than others."""
    audit.draw(tagged.engine, tagged.run_id, 30)
    uris = [row.uri for row in review.queued(tagged.engine, [], 200)]
    assert uris[::2] == uris[1::2]
    assert uris != sorted(uris)


def test_a_sheet_may_be_short_and_of_some_attributes(queued: Tagged, tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    write_sheet(queued.engine, file, [], 200, False)
    whole = csv_rows(file)
    for limit in (1, 8, 10):
        assert write_sheet(queued.engine, file, [], limit, True).rows == limit
        assert csv_rows(file) == whole[:limit]
    write_sheet(queued.engine, file, ["category"], 200, True)
    assert csv_rows(file) == [row for row in whole if row["attribute"] == "category"]
    with pytest.raises(UsageError, match="no attribute 'colour'"):
        write_sheet(queued.engine, file, ["colour"], 200, True)


def test_only_what_such_a_file_can_be_is_written(tagged: Tagged, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.parquet'; expected \.csv or \.html"):
        write_sheet(tagged.engine, tmp_path / "sheet.parquet", [], 200, False)
    (tmp_path / "sheet.csv").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        write_sheet(tagged.engine, tmp_path / "sheet.csv", [], 200, False)
    with pytest.raises(UsageError, match="the catalogue is empty"):
        write_sheet(engine, tmp_path / "other.csv", [], 200, False)
    assert write_sheet(tagged.engine, tmp_path / "empty.html", [], 200, False) == Sheet(0, 0, 0, ())
    assert embedded(tmp_path / "empty.html")["photos"] == []


def test_the_page_has_a_picture_of_each_photo_and_what_the_model_weighed(
    queued: Tagged, tmp_path: Path
) -> None:
    file = tmp_path / "sheet.html"
    done = write_sheet(queued.engine, file, [], 200, False)
    sheet = embedded(file)
    assert done == Sheet(len(on_page(file)), len(sheet["photos"]), len(sheet["photos"]), ())
    assert set(sheet["attributes"]) == set(queued.label_set.attribute_ids)
    labels = [label.name for label in queued.label_set.taxonomy.attributes[0].labels]
    assert sheet["attributes"]["category"] == labels
    for photo in sheet["photos"]:
        picture = base64.b64decode(photo["picture"].removeprefix("data:image/jpeg;base64,"))
        assert max(Image.open(BytesIO(picture)).size) <= SIDE
        for question in photo["questions"]:
            [row] = csv.DictReader([sheet["header"], question["cells"]])
            best = rows(
                queued.engine,
                "SELECT label FROM label_candidates WHERE uri = :uri AND attribute = :attribute"
                " ORDER BY rank",
                uri=row["uri"],
                attribute=row["attribute"],
            )
            assert [label for label, _ in question["candidates"]] == [label for (label,) in best]
            assert row["label"] == best[0][0]
    write_sheet(queued.engine, tmp_path / "sheet.csv", [], 200, False)
    assert [row | {"truth": ""} for row in on_page(file)] == csv_rows(tmp_path / "sheet.csv")
    page = file.read_text()
    assert not re.search(
        r"""(src|href)\s*=\s*["']|@import|url\(|https?://""", page.split('<script id="sheet"')[0]
    )


def test_the_same_rows_make_the_same_sheet_and_others_another(queued: Tagged, tmp_path: Path) -> None:
    def sheet_id(limit: int) -> str:
        write_sheet(queued.engine, tmp_path / "sheet.html", [], limit, True)
        return str(embedded(tmp_path / "sheet.html")["id"])

    assert sheet_id(9) == sheet_id(9) != sheet_id(8)


def test_photos_that_cannot_be_shown_are_asked_for_all_the_same(
    queued: Tagged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One changed, one gone; then the whole source moved, and then it is back under FASHION_CLIP_SOURCE."""
    folder = Path(shutil.copytree(queued.folder, tmp_path / "photos"))
    old, new = queued.folder.as_uri(), folder.as_uri()
    with writing(queued.engine) as connection:
        connection.execute(text("UPDATE photos SET uri = REPLACE(uri, :old, :new)"), {"old": old, "new": new})
    file = tmp_path / "sheet.html"
    names = sorted({row.uri for row in review.queued(queued.engine, [], 200)})
    changed, gone = (folder / name.rpartition("/")[2] for name in names[:2])
    shutil.copy(folder / names[2].rpartition("/")[2], changed)
    gone.unlink()
    assert write_sheet(queued.engine, file, [], 200, False).pictures == 0  # no run has listed this folder
    monkeypatch.setenv("FASHION_CLIP_SOURCE", str(folder))
    done = write_sheet(queued.engine, file, [], 200, True)
    assert (done.photos, done.pictures, done.missing) == (len(names), len(names) - 2, ())
    assert {photo["uri"] for photo in embedded(file)["photos"] if not photo["picture"]} == set(names[:2])
    monkeypatch.delenv("FASHION_CLIP_SOURCE")
    with writing(queued.engine) as connection:
        connection.execute(text("UPDATE runs SET source = :new"), {"new": new + "/"})
    assert write_sheet(queued.engine, file, [], 200, True).pictures == len(names) - 2
    shutil.rmtree(folder)
    done = write_sheet(queued.engine, file, [], 200, True)
    assert (done.rows, done.pictures, len(done.missing)) == (len(on_page(file)), 0, 1)
    assert "gone" in done.missing[0] or "does not exist" in done.missing[0]


HOSTILE = [
    "</script><script>alert(1)</script>",
    '" onerror="alert(1)',
    "<!--",
    "=1+2",
    "'90s dress",
    "a, b; c",
]


def test_no_name_can_end_the_script_or_become_a_formula(queued: Tagged, tmp_path: Path) -> None:
    products = [
        *HOSTILE,
        *(name.decode(errors="backslashreplace").replace("\0", "\\x00") for name in FILE_NAMES),
    ]
    rename_products(queued.engine, products * 3)
    rename_labels(queued.engine, HOSTILE)
    with writing(queued.engine) as connection:  # which the taxonomy has too
        document = connection.execute(text("SELECT document FROM taxonomies")).scalar_one()
        for label_id, name in connection.execute(text("SELECT label_id, name FROM label_names")).all():
            old = _old_name(queued, label_id)
            document = document.replace(json.dumps(old), json.dumps(name))
        connection.execute(text("UPDATE taxonomies SET document = :d"), {"d": document})
    table, page = tmp_path / "sheet.csv", tmp_path / "sheet.html"
    write_sheet(queued.engine, table, [], 200, False)
    write_sheet(queued.engine, page, [], 200, False)
    found = csv_rows(table)
    assert [row | {"truth": ""} for row in on_page(page)] == found
    for row in found:
        for column in ("uri", "product_id", "attribute", "label", "link"):
            assert not begins_a_formula(row[column])
    told = {(row["uri"], plain(row["product_id"]), plain(row["label"])) for row in found}
    assert told == set(rows(queued.engine, "SELECT uri, product_id, label FROM review_queue"))
    assert {product for _, product, _ in told} & set(HOSTILE)
    assert page.read_text().count("</script>") == 2
    assert page.read_text().count("<script") == 2
    assert all(not begins_a_formula(next(csv.reader([cell]))[0]) for cell in embedded(page)["cells"].values())


def _old_name(tagged: Tagged, label_id: int) -> str:
    for attribute in tagged.label_set.taxonomy.attributes:
        ids = tagged.label_set.label_ids[attribute.name]
        if label_id in ids:
            return attribute.labels[ids.index(label_id)].name
    raise AssertionError(label_id)


def test_a_sheet_that_was_filled_in_comes_back_whole_and_only_once(tagged: Tagged, tmp_path: Path) -> None:
    """50 rows of a sheet in the way of a spreadsheet of a country with semicolons."""
    audit.draw(tagged.engine, tagged.run_id, 30)
    file = tmp_path / "sheet.csv"
    assert write_sheet(tagged.engine, file, [], 200, False).rows == 60
    filled = csv_rows(file)
    for number, row in enumerate(filled[:50]):
        row["truth"] = "(none)" if number % 10 == 9 else row["label"]
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter=";")
        writer.writeheader()
        writer.writerows(filled)
    done = import_truth(tagged.engine, file, "ann", False, False)
    assert (done.rows, done.imported, done.skipped, done.refused) == (60, 50, 10, 0)
    assert rows(tagged.engine, "SELECT COUNT(*), COUNT(label_id) FROM truths") == [(50, 45)]
    assert rows(tagged.engine, "SELECT DISTINCT chosen, given_by FROM truths") == [("random", "ann")]
    again = import_truth(tagged.engine, file, "ann", False, False)
    assert (again.imported, again.unchanged) == (0, 50)
    assert rows(tagged.engine, "SELECT COUNT(*) FROM truths") == [(50,)]
    assert rows(tagged.engine, "SELECT COUNT(*), SUM(correct) FROM truth_verdicts") == [(50, 45)]
    assert write_sheet(tagged.engine, file, [], 200, True).rows == 10
