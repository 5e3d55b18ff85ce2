"""What must be true of a catalogue after whatever happened to it: the problems found, none if all is well."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from tasks.catalog.engine import connect, reading
from tests.faults.photos import Made

NEAR = 0.0002  # of scores: vectors are float16, and the last bit depends on the batch that a photo was in

# The same twice, where the schema says it cannot be: asked of the rows, not of the schema.
DOUBLES = {
    "photos": "uri",
    "contents": "sha256",
    "embeddings": "encoder_id, content_id",
    "labels": "label_set_id, content_id, attribute_id",
    "quarantine": "photo_id",
}
# label_set_id says nothing where two sets never meet; of each photo and attribute one label is shown.
SHOWN_TWICE = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM catalog_labels GROUP BY uri, attribute HAVING COUNT(*) > 1) d"
)

Labels = dict[tuple[str, str], tuple[str, float]]


@dataclass(frozen=True)
class Expected:
    """A folder of photos with what is in it, and the labels of an undisturbed run: (name, attribute) ->."""

    folder: Path
    made: Made
    labels: Labels


def labels_of(engine: Engine) -> Labels:
    """(file name, attribute) -> label and similarity."""
    query = text("SELECT uri, attribute, label, similarity FROM catalog_labels")
    with reading(engine) as connection:
        rows = connection.execute(query)
        return {(uri.rpartition("/")[2], attribute): (label, s) for uri, attribute, label, s in rows}


def problems(url: str, expected: Expected, given_up: int = 0) -> list[str]:
    """Photos lost, rows doubled, labels wrong, counts that do not add up, a database that is damaged.

    given_up: photos that were rightly committed twice, the first time as lost, the second time as cured.
    """
    engine = connect(url)
    try:
        return [
            *doubled(engine),
            *committed_twice(engine, expected.made.photos + given_up),
            *unaccounted(engine, expected.made),
            *wrong_labels(engine, expected.labels),
            *other_bytes(engine, expected.folder),
            *runs_that_do_not_add_up(engine),
            *damage(engine),
        ]
    finally:
        engine.dispose()


def doubled(engine: Engine) -> list[str]:
    """Rows that stand twice under one natural key."""
    found = [
        f"{count} double rows in {table}"
        for table, key in DOUBLES.items()
        if (count := _number(engine, _count_doubles(table, key)))
    ]
    shown = _number(engine, SHOWN_TWICE)
    return found + ([f"{shown} photos are shown with two labels"] if shown else [])


def _count_doubles(table: str, key: str) -> str:
    return f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} GROUP BY {key} HAVING COUNT(*) > 1) d"


def committed_twice(engine: Engine, photos: int) -> list[str]:
    """Photos whose results came in more or less than once, which no key would show: of all `photos` are."""
    committed = _number(engine, "SELECT SUM(photos) FROM shards")
    return [f"{committed} photos committed, expected {photos}"] if committed != photos else []


def unaccounted(engine: Engine, made: Made) -> list[str]:
    """Photos that are neither labelled nor in quarantine, and counts that say otherwise than the rows."""
    counts = {
        "photos labelled": ("SELECT COUNT(DISTINCT uri) FROM catalog_labels", made.photos - made.broken),
        "photos in quarantine": ("SELECT COUNT(*) FROM quarantined_images", made.broken),
        "photos counted as tagged": ("SELECT SUM(tagged) FROM run_history", made.photos - made.broken),
        "contents counted as embedded": ("SELECT SUM(embedded) FROM run_history", made.contents),
        "vectors": ("SELECT COUNT(*) FROM embeddings", made.contents),
        "photos that failed twice": ("SELECT COUNT(*) FROM quarantine WHERE attempts <> 1", 0),
        "photos left over": ("SELECT COUNT(*) FROM work", 0),
    }
    found = []
    for name, (query, expected) in counts.items():
        if (number := _number(engine, query)) != expected:
            found.append(f"{number} {name}, expected {expected}")
    return found


def wrong_labels(engine: Engine, expected: Labels) -> list[str]:
    """Labels that an undisturbed run does not give."""
    found = labels_of(engine)
    wrong = [
        key
        for key, (label, similarity) in expected.items()
        if key not in found or found[key][0] != label or abs(found[key][1] - similarity) > NEAR
    ]
    return [f"{len(wrong)} labels are wrong or missing, such as {wrong[0]}"] if wrong else []


def other_bytes(engine: Engine, folder: Path) -> list[str]:
    """Photos whose labels belong to other bytes than the file holds now."""
    query = text("SELECT DISTINCT uri, sha256 FROM catalog_labels")
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    stale = [
        uri
        for uri, sha256 in rows
        if hashlib.sha256((folder / uri.rpartition("/")[2]).read_bytes()).hexdigest() != sha256
    ]
    return [f"{len(stale)} photos have the labels of other bytes, such as {stale[0]}"] if stale else []


def runs_that_do_not_add_up(engine: Engine) -> list[str]:
    """Runs that are over and whose counts are not listed = known + tagged + quarantined + remaining."""
    query = (
        "SELECT COUNT(*) FROM run_history WHERE known IS NOT NULL"
        " AND (listed <> known + tagged + quarantined + remaining OR known < 0)"
    )
    count = _number(engine, query)
    return [f"{count} runs whose counts do not add up"] if count else []


def damage(engine: Engine) -> list[str]:
    """What the database itself says of its files."""
    if engine.dialect.name == "sqlite":
        checks = ("PRAGMA integrity_check", "PRAGMA foreign_key_check")
        with reading(engine) as connection:
            said = [tuple(row) for check in checks for row in connection.execute(text(check))]
        return [] if said == [("ok",)] else [f"SQLite finds {said[:3]}"]
    with reading(engine) as connection:
        connection.execute(text("SET statement_timeout = '60s'"))
        for table in DOUBLES:  # every page is read and its checksum checked
            connection.execute(text(f"SELECT COUNT(*) FROM {table} t WHERE t IS NOT NULL"))
    return []


def _number(engine: Engine, query: str) -> int:
    with reading(engine) as connection:
        return int(connection.execute(text(query)).scalar() or 0)
