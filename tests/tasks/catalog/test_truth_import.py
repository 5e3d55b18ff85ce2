"""Truth from a file into the catalogue: what is matched, kept and refused, and that nothing comes twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from fashion_clip.errors import UsageError
from tasks.catalog.engine import writing
from tasks.spreadsheet import write_csv
from tasks.truth import Imported, import_truth
from tests.catalogue_fixtures import connected, contents_of, rows
from tests.tasks.catalog.databases import ON_SQLITE, moments
from tests.tasks.catalog.made_truths import day, photo, photo_id, put_draw, say, tag, vanish

Import = Callable[..., Imported]


@pytest.fixture
def tagged(engine: Engine) -> Engine:
    """Photos a and b of product p, others of their own; two are called shoe.jpg."""
    names = ("x/shoe.jpg", "y/shoe.jpg", "x/only.jpg")
    tag(
        engine,
        photo("a", "shoe", "p"),
        photo("b", "hat", "p"),
        photo("c", "bag"),
        *(photo(n, "coat") for n in names),
    )
    return engine


@pytest.fixture
def given(tagged: Engine, tmp_path: Path) -> Import:
    """Imports a CSV of this text, in which `u:NAME` is the URI of the photo of that name."""

    def given(content: str, by: str = "me", new_labels: bool = False, dry_run: bool = False) -> Imported:
        file = tmp_path / "truth.csv"
        file.write_text(content.replace("u:", "file:///photos/"))
        return import_truth(tagged, file, by, new_labels, dry_run)

    return given


def counts(done: Imported) -> dict[str, int]:
    found = {name: count for name, count in vars(done).items() if name != "problems" and count}
    kept = done.imported + done.unchanged + done.repeated + done.skipped + done.refused
    assert done.rows == kept
    return found


def truths(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(
        engine,
        "SELECT COALESCE(p.uri, 'product ' || t.product_id), a.name, n.name, t.given_by, t.chosen,"
        " t.inclusion_probability FROM truths t JOIN attributes a USING (attribute_id)"
        " LEFT JOIN photos p ON p.photo_id = t.photo_id LEFT JOIN label_names n ON n.label_id = t.label_id"
        " ORDER BY t.given_at, t.truth_id",
    )


URI = "uri,attribute,label\n"


def test_photos_are_named_by_uri_file_name_or_product(tagged: Engine, given: Import) -> None:
    content = """uri,file_name,product_id,attribute,truth
u:a,,,category,Footwear
,x/shoe.jpg,,category,Footwear
,./y/shoe.jpg,p,category,Clothing
,/photos/x/only.jpg,,category,Clothing
,only.jpg,,articleType,Coats
,,p,articleType,Sneakers
u:b,nothing,nowhere,category,(none)
"""
    assert counts(given(content)) == {"rows": 7, "imported": 7}
    photos = "file:///photos/"
    plain = ("me", "unsampled", None)
    assert truths(tagged) == [
        (photos + "a", "category", "Footwear", *plain),
        (photos + "x/shoe.jpg", "category", "Footwear", *plain),
        (photos + "y/shoe.jpg", "category", "Clothing", *plain),
        (photos + "x/only.jpg", "category", "Clothing", *plain),
        (photos + "x/only.jpg", "articleType", "Coats", *plain),
        ("product p", "articleType", "Sneakers", *plain),
        (photos + "b", "category", None, *plain),
    ]
    assert rows(tagged, "SELECT DISTINCT product_id FROM truths WHERE photo_id <> 0") == [("",)]


def test_the_same_file_again_changes_nothing(tagged: Engine, given: Import) -> None:
    content = "id,category,articleType\np,Footwear,Sneakers\nc,(none),\n"
    assert counts(given(content)) == {"rows": 4, "imported": 3, "skipped": 1}
    before = contents_of(tagged)
    assert counts(given(content)) == {"rows": 4, "unchanged": 3, "skipped": 1}
    assert counts(given(content, dry_run=True)) == {"rows": 4, "unchanged": 3, "skipped": 1}
    assert contents_of(tagged) == before


def test_a_dry_run_counts_and_leaves_all_as_it_is(tagged: Engine, given: Import) -> None:
    before = contents_of(tagged)
    content = (
        "id,attribute,label\np,category,Footwear\nc,category,Hats of a new kind\nnone,category,Footwear\n"
    )
    told = given(content, new_labels=True, dry_run=True)
    assert contents_of(tagged) == before
    assert given(content, new_labels=True) == told
    assert counts(told) == {"rows": 3, "imported": 2, "unknown_photos": 1}
    with tagged.connect() as connection:  # nothing is left of the temporary tables
        for name in ("staged_truths", "photo_names"):
            with pytest.raises(Exception, match=name):
                connection.execute(text(f"SELECT * FROM {name}"))
            connection.rollback()


@pytest.mark.parametrize(
    ("row", "kind", "told"),
    [
        (
            "u:nowhere,,,category,Footwear",
            "unknown_photos",
            "the catalogue has no photo 'file:///photos/nowhere'",
        ),
        (",nowhere.jpg,,category,Footwear", "unknown_photos", "no photo of the name 'nowhere.jpg'"),
        (",%25_only.jpg,,category,Footwear", "unknown_photos", "no photo of the name"),
        (",z/only.jpg,,category,Footwear", "unknown_photos", "no photo of the name"),
        (",,nowhere,category,Footwear", "unknown_photos", "no product 'nowhere'"),
        (",shoe.jpg,,category,Footwear", "ambiguous_photos", "there are 2 photos of the name 'shoe.jpg'"),
        (",,,category,Footwear", "unusable", "it names no photo"),
        ("u:a,,,kind,Footwear", "unknown_attributes", "no attribute 'kind'; there are: "),
        (
            "u:a,,,category,footwear",
            "unknown_labels",
            "category has no label 'footwear'; did you mean 'Footwear'?",
        ),
        ("u:a,,,category,Fotwear", "unknown_labels", "did you mean 'Footwear'?"),
        ("u:a,,,category,Zzz", "unknown_labels", "category has no label 'Zzz'"),
        ("u:a,,,category,Sneakers", "unknown_labels", "category has no label 'Sneakers'"),
    ],
)
def test_what_cannot_be_matched_is_told_by_line_and_the_rest_imported(
    tagged: Engine, given: Import, row: str, kind: str, told: str
) -> None:
    done = given(f"uri,file_name,product_id,attribute,label\n{row}\nu:c,,,category,Clothing\n")
    assert counts(done) == {"rows": 2, "imported": 1, kind: 1}
    [problem] = done.problems
    assert problem.line == 2
    assert told in problem.told
    assert len(truths(tagged)) == 1


@pytest.mark.parametrize(
    ("columns", "cells", "told"),
    [
        ("when", "03.11.2026", "when '03.11.2026' is no time"),
        ("when", "2199-01-01", "is in the future"),
        ("when", "0001-01-01T00:00:00+01:00", "when '0001-01-01T00:00:00+01:00' is no time"),
        ("chosen", "some", "chosen 'some'; expected random, review, unsampled"),
        ("chosen,inclusion_probability", "random,0", "inclusion_probability '0'; expected a number above 0"),
        ("chosen,inclusion_probability", "random,1.5", "'1.5'"),
        ("chosen,inclusion_probability", "random,nan", "'nan'"),
        ("chosen,inclusion_probability", "random,many", "'many'"),
        ("chosen,inclusion_probability", "random,", "random needs an inclusion_probability"),
        ("by", "me,too", "1 cells more than the header has"),
    ],
)
def test_values_that_cannot_be_are_refused(
    tagged: Engine, given: Import, columns: str, cells: str, told: str
) -> None:
    done = given(f"uri,attribute,label,{columns}\nu:c,category,Clothing,{cells}\n")
    assert counts(done) == {"rows": 1, "unusable": 1}
    assert told in done.problems[0].told
    assert truths(tagged) == []


def test_of_photos_of_one_name_the_one_that_is_there_is_meant(tagged: Engine, given: Import) -> None:
    vanish(tagged, "y/shoe.jpg")
    vanish(tagged, "x/only.jpg")
    content = "file,attribute,label\nshoe.jpg,category,Footwear\nonly.jpg,category,Clothing\n"
    assert counts(given(content)) == {"rows": 2, "imported": 2}
    assert [row[0][-10:] for row in truths(tagged)] == ["x/shoe.jpg", "x/only.jpg"]


def test_double_rows_count_once_and_contradictions_not_at_all(tagged: Engine, given: Import) -> None:
    content = """uri,product_id,attribute,label,by
u:a,,category,Footwear,ann
u:a,,category,Footwear,ann
u:b,,category,Footwear,ann
u:b,,category,Clothing,ann
u:b,,category,Footwear,ann
u:c,,category,Footwear,
u:c,,category,(none),
u:c,,category,Clothing,ben
,p,category,Clothing,ann
"""
    done = given(content)
    assert counts(done) == {"rows": 9, "imported": 3, "repeated": 1, "contradictory": 5}
    assert [problem.line for problem in done.problems] == [4, 5, 6, 7, 8]
    assert all("says two things" in problem.told for problem in done.problems)
    assert [row[:4] for row in truths(tagged)] == [
        ("file:///photos/a", "category", "Footwear", "ann"),
        ("file:///photos/c", "category", "Clothing", "ben"),
        ("product p", "category", "Clothing", "ann"),
    ]
    assert counts(given(content)) == {"rows": 9, "unchanged": 3, "repeated": 1, "contradictory": 5}


def test_other_labels_are_kept_and_told_and_the_last_counts(tagged: Engine, given: Import) -> None:
    given(URI + "u:c,category,Clothing\n", by="ann")
    done = given(URI + "u:c,category,Footwear\n", by="ben")
    assert counts(done) == {"rows": 1, "imported": 1, "conflicts": 1}
    assert [(p.line, p.told) for p in done.problems] == [
        (2, "'Footwear', and 'ann' says 'Clothing'; kept, the later counts")
    ]
    assert counts(given(URI + "u:c,category,(none)\n", by="ann")) == {
        "rows": 1,
        "imported": 1,
        "conflicts": 1,
    }
    assert [row[2] for row in truths(tagged)] == ["Clothing", "Footwear", None]
    assert rows(tagged, "SELECT COUNT(*), COUNT(label_id) FROM photo_truths") == [(1, 0)]
    assert counts(given(URI + "u:c,category,Footwear\n", by="cho")) == {
        "rows": 1,
        "imported": 1,
        "conflicts": 1,
    }
    agreed = given(URI + "u:c,category,Footwear\n", by="ann")  # with all but herself
    assert counts(agreed) == {"rows": 1, "imported": 1, "conflicts": 1}


def test_two_people_may_differ_in_one_file(given: Import) -> None:
    done = given("uri,attribute,label,by\nu:c,category,Clothing,ann\nu:c,category,Footwear,ben\n")
    assert counts(done) == {"rows": 2, "imported": 2, "conflicts": 1}
    assert [problem.line for problem in done.problems] == [3]


def test_a_file_that_says_when_is_a_history(tagged: Engine, given: Import) -> None:
    header = "uri,attribute,label,by,when\n"
    content = (
        header
        + """u:c,category,Clothing,ann,2026-01-05T10:00:00+02:00
u:c,category,Footwear,ann,2026-01-06
u:c,category,Clothing,ann,2026-01-07T00:00:00Z
"""
    )
    assert counts(given(content)) == {"rows": 3, "imported": 3, "conflicts": 2}
    told = moments(tagged, "SELECT given_at FROM truths ORDER BY truth_id", "given_at")
    assert told == [
        (datetime(2026, 1, 5, 8, tzinfo=UTC),),
        (datetime(2026, 1, 6, tzinfo=UTC),),
        (datetime(2026, 1, 7, tzinfo=UTC),),
    ]
    before = contents_of(tagged)
    assert counts(given(content)) == {"rows": 3, "unchanged": 3}
    assert counts(given(header + "u:c,category,(none),ann,2026-01-06\n")) == {"rows": 1, "contradictory": 1}
    assert contents_of(tagged) == before
    soon = datetime.now(UTC) + timedelta(hours=2)  # a clock that is ahead, or local time
    assert given(header + f"u:b,category,Clothing,ann,{soon.isoformat()}\n").imported == 1


def test_who_comes_round_to_an_old_answer_at_another_time_settles_it(tagged: Engine, given: Import) -> None:
    header = "uri,attribute,truth,by,when\n"
    given(header + "u:c,category,Footwear,ann,2026-01-01\nu:c,category,Clothing,ben,2026-01-02\n")
    assert rows(tagged, "SELECT reason FROM review_queue") == [("conflict",)]
    again = header + "u:c,category,Footwear,ben,2026-01-03\nu:c,category,Footwear,ann,2026-01-04\n"
    assert counts(given(again)) == {"rows": 2, "imported": 2, "conflicts": 2}
    assert rows(tagged, "SELECT truth, given_by FROM photo_truths") == [("Footwear", "ann")]
    assert rows(tagged, "SELECT reason FROM review_queue") == []
    assert counts(given(again)) == {"rows": 2, "unchanged": 2}


def test_without_a_time_the_same_again_is_news_of_another_picture(tagged: Engine, given: Import) -> None:
    content = URI + "u:a,category,Footwear\n"
    given(content)
    tag(tagged, photo("a", "coat", "p"))
    assert counts(given(content)) == {"rows": 1, "imported": 1}
    assert counts(given(content)) == {"rows": 1, "unchanged": 1}
    tag(tagged, photo("a", "sock", "p"))
    assert counts(given(URI + "u:a,category,Clothing\n", by="ben")) == {"rows": 1, "imported": 1}


def test_labels_for_a_taxonomy_to_come_are_kept_where_that_is_asked_for(
    tagged: Engine, given: Import
) -> None:
    content = URI + "u:a,category,Homeware\nu:b,category,Homeware\nu:c,category,two\u2028lines\n"
    assert counts(given(content)) == {"rows": 3, "unknown_labels": 3}
    done = given(content, new_labels=True)
    assert counts(done) == {"rows": 3, "imported": 2, "unusable": 1}
    assert [row[2] for row in truths(tagged)] == ["Homeware", "Homeware"]
    assert counts(given(content, new_labels=True)) == {"rows": 3, "unchanged": 2, "unusable": 1}
    more = URI + "u:a,articleType,Homeware\nu:c,category,Homeware\nu:b,articleType,Lamps\n"
    assert counts(given(more, new_labels=True)) == {"rows": 3, "imported": 3}
    assert [row[:3] for row in truths(tagged)][2:] == [
        ("file:///photos/a", "articleType", "Homeware"),
        ("file:///photos/c", "category", "Homeware"),
        ("file:///photos/b", "articleType", "Lamps"),
    ]
    [(names,)] = rows(tagged, "SELECT COUNT(*) FROM label_names WHERE name IN ('Homeware', 'Lamps')")
    assert names == 3


# How a photo was chosen -------------------------------------------------------------------------------------


def chosen(engine: Engine) -> list[tuple[str, float | None]]:
    return [row[4:] for row in truths(engine)]


def test_the_file_says_how_photos_were_chosen(tagged: Engine, given: Import) -> None:
    content = """uri,attribute,truth,chosen,inclusion_probability,reason
u:a,category,Footwear,Random,0.25,
u:b,category,Footwear,review,0.25,
u:c,category,Footwear,,0.25,
u:a,articleType,Sneakers,,,uncertain
"""
    assert given(content).imported == 4
    assert chosen(tagged) == [("random", 0.25), ("review", None), ("unsampled", None), ("review", None)]


def test_what_the_audit_drew_is_random_whatever_the_file_says(tagged: Engine, given: Import) -> None:
    put_draw(tagged, 1, ["a", "c"], 0.2)
    put_draw(tagged, tag(tagged, photo("c", "sock")), ["c"], 0.4)
    content = "uri,product_id,attribute,label,chosen,inclusion_probability\n"
    content += "u:a,,category,Footwear,random,\nu:c,,category,Footwear,random,0.3\n,p,category,Footwear,,\n"
    assert counts(given(content)) == {"rows": 3, "imported": 3}
    assert chosen(tagged) == [("random", 0.2), ("random", 0.4), ("unsampled", None)]


def test_a_likelier_draw_than_the_audit_s_is_believed(tagged: Engine, given: Import) -> None:
    put_draw(tagged, 1, ["a"], 0.2)
    content = "uri,attribute,label,chosen,inclusion_probability\n"
    given(content + "u:a,category,Footwear,random,1\nu:c,category,Footwear,random,1\n")
    assert chosen(tagged) == [("random", 1.0), ("random", 1.0)]


def test_what_was_random_once_stays_so(tagged: Engine, given: Import) -> None:
    say(tagged, "c", "category", "Footwear", by="ann", chosen="random", probability=0.5)
    say(tagged, "product:p", "category", "Footwear", by="ann", chosen="random", probability=0.25)
    content = URI + "u:c,category,Clothing\nu:c,articleType,Coats\nu:a,category,Clothing\n"
    assert given(content, by="ben").imported == 3
    assert chosen(tagged)[2:] == [("random", 0.5), ("unsampled", None), ("random", 0.25)]


def test_what_was_random_of_another_picture_is_so_no_more(tagged: Engine, given: Import) -> None:
    put_draw(tagged, 1, ["a"], 0.2)
    say(tagged, "c", "category", "Footwear", at=day(5), chosen="random", probability=0.5)
    tag(tagged, photo("a", "coat", "p"), photo("c", "sock"), at=day(10))
    header = "uri,attribute,truth,when\n"
    dated = "{0},category,Clothing,2026-03-{1}\n"
    content = header + "".join(dated.format(uri, at) for uri in ("u:a", "u:c") for at in ("06", "12"))
    with writing(tagged) as connection:  # they were tagged just now
        connection.execute(text("UPDATE shards SET committed_at = :at WHERE run_id = 1"), {"at": day(2)})
    assert given(content).imported == 4
    said = rows(
        tagged,
        "SELECT p.uri, t.inclusion_probability FROM truths t JOIN photos p USING (photo_id)"
        " WHERE given_by = 'me' ORDER BY p.uri, t.given_at",
    )
    assert [(uri[-1], share) for uri, share in said] == [("a", 0.2), ("a", None), ("c", 0.5), ("c", None)]


def test_who_forgot_the_columns_may_give_the_file_again_with_them(tagged: Engine, given: Import) -> None:
    given(URI + "u:c,category,Clothing\n")
    content = "uri,attribute,label,chosen,inclusion_probability\nu:c,category,Clothing,random,0.5\n"
    assert counts(given(content)) == {"rows": 1, "imported": 1}
    assert counts(given(content)) == {"rows": 1, "unchanged": 1}
    assert rows(tagged, "SELECT chosen, inclusion_probability FROM photo_truths") == [("random", 0.5)]


# Names and numbers ------------------------------------------------------------------------------------------


def test_apostrophes_of_our_own_files_are_taken_away_and_those_of_names_are_not(
    tagged: Engine, given: Import, tmp_path: Path
) -> None:
    product, label = "=1+1; @x", "'90s dress"
    with writing(tagged) as connection:
        values = {"product": product, "id": photo_id(tagged, "c")}
        connection.execute(text("UPDATE photos SET product_id = :product WHERE photo_id = :id"), values)
        connection.execute(
            text("INSERT INTO label_names (attribute_id, name) VALUES (1, :label)"), {"label": label}
        )
    with (tmp_path / "ours.csv").open("wb") as stream:
        write_csv(stream, ("product_id", "attribute", "truth", "by"), [(product, "category", label, "-me-")])
    done = import_truth(tagged, tmp_path / "ours.csv", "me", True, False)
    assert counts(done) == {"rows": 1, "imported": 1}
    by_hand = given(f'id,attribute,truth\n"{product}",category,"{label}"\n', by="-me-", new_labels=True)
    assert by_hand.unchanged + by_hand.conflicts == 1
    assert truths(tagged)[0][:4] == (f"product {product}", "category", label, "-me-")


def test_chunks_are_one_file(tagged: Engine, given: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (
        "file,attribute,label\nonly.jpg,category,Clothing\na,category,Footwear\nonly.jpg,category,Footwear\n"
    )
    content += "a,category,Footwear\nb,category,Footwear\nnone,category,Footwear\n"
    once = given(content, dry_run=True)
    monkeypatch.setattr("tasks.truth.CHUNK", 2)
    assert given(content) == once
    assert counts(once) == {"rows": 6, "imported": 2, "repeated": 1, "contradictory": 2, "unknown_photos": 1}


def test_only_the_first_problems_are_kept_in_order_of_their_lines(given: Import) -> None:
    lines = [f"u:none{number},category,Footwear" for number in range(30)]
    lines[3:5] = ["u:a,category,Footwear", "u:a,category,Clothing"]
    done = given(URI + "\n".join(lines))
    assert [problem.line for problem in done.problems] == list(range(2, 12))
    assert "says two things" in done.problems[3].told
    assert counts(done) == {"rows": 30, "unknown_photos": 28, "contradictory": 2}


def test_a_file_of_no_use_leaves_all_as_it_was(
    tagged: Engine, given: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.truth.CHUNK", 1)
    before = contents_of(tagged)
    with pytest.raises(UsageError, match="no CSV from line 4 on"):
        given(URI + 'u:a,category,Footwear\nu:b,category,Footwear\nu:c,"category\n')
    assert contents_of(tagged) == before
    assert given(URI + "u:a,category,Footwear\n").imported == 1


@ON_SQLITE
def test_nobody_waits_while_a_file_is_read_and_looked_up(tagged: Engine, given: Import) -> None:
    """Another program writes at the last moment before the rows are settled."""
    written: list[str] = []

    def write(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if "staged_truths" in statement and not statement.startswith("UPDATE") and not written:
            with connected(str(tagged.url)) as other, other.connect() as writer:
                writer.exec_driver_sql("PRAGMA busy_timeout = 0")
                writer.exec_driver_sql("UPDATE photos SET change_token = 'other'")
                writer.commit()
            written.append(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.truth.CHUNK", 1)
        event.listen(tagged, "after_cursor_execute", write)
        done = given(
            "file,attribute,label\nc,category,Clothing\na,category,Hats of a new kind\n", new_labels=True
        )
    assert counts(done) == {"rows": 2, "imported": 2}
    assert len(written) == 1
    assert rows(tagged, "SELECT DISTINCT change_token FROM photos") == [("other",)]


def test_an_empty_catalogue_takes_no_truth(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the catalogue is empty"):
        import_truth(engine, tmp_path / "truth.csv", "me", False, False)
