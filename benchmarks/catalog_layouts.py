"""Which physical layout should labels have? The same million photos in each, on SQLite.

    python -m benchmarks.catalog_layouts [--photos N] [--layouts A,D] [--folder DIR]

Three label sets are written: the first through SQLAlchemy as the flow does, a tenth of the second by the
driver's own executemany (its limit, stated for the whole), and the rest copied within the database. Then the
heaviest questions are asked through a `catalog_labels` view over that layout.
"""

import argparse
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    insert,
)

from benchmarks.catalog_data import (
    ATTRIBUTES,
    Catalogue,
    Scores,
    Took,
    copy_label_set,
    database_bytes,
    fill_dictionaries,
    make_catalogue,
    printed,
    score_stream,
    timed,
)
from tasks.catalog import tables
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.tables import CANDIDATES, SCORE_SCALE
from tasks.catalog.view_terms import DECISION
from tasks.catalog.views import LATER_SHARD

LABEL_SETS = 3
SLOTS = range(1, len(ATTRIBUTES) + 1)
CANDIDATE_PARTS = ("label", "similarity", "confidence")

_OF_CONTENT = "JOIN labels l ON l.label_set_id = v.label_set_id AND l.content_id = p.content_id"

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    name: str
    what: str
    table: Table
    rows: Callable[[int, int, Scores], list[Values]]  # (label set, shard, scores) -> rows in key order
    joined: str = _OF_CONTENT
    attribute: str = "l.attribute_id"
    label: str = "l.label_1"
    similarity: str = "l.similarity_1"
    confidence: str = "l.confidence_1"
    decision: str = DECISION
    scan: str = "SELECT content_id, attribute_id, label_1, confidence_1 FROM labels WHERE label_set_id = 2"
    scan_order: str = "ORDER BY content_id, attribute_id"

    def view(self) -> str:
        return f"""
        CREATE VIEW catalog_labels AS
        SELECT p.uri, p.product_id, c.sha256, a.name AS attribute, n.name AS label,
               {self.similarity} / {SCORE_SCALE}.0 AS similarity,
               {self.confidence} / {SCORE_SCALE}.0 AS confidence, {self.decision} AS decision,
               m.version AS model_version, t.version AS taxonomy_version,
               h.run_id, h.committed_at AS tagged_at
        FROM served_label_set v
        LEFT JOIN label_sets s ON s.label_set_id = v.label_set_id
        LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id
        LEFT JOIN taxonomies t ON t.taxonomy_id = s.taxonomy_id
        JOIN photos p ON p.vanished_at IS NULL
        {self.joined}
        LEFT JOIN contents c ON c.content_id = p.content_id
        LEFT JOIN attributes a ON a.attribute_id = {self.attribute}
        LEFT JOIN label_names n ON n.label_id = {self.label}
        LEFT JOIN shards h ON h.shard_id = {LATER_SHARD}"""


def _key(*names: str) -> list[Column[int]]:
    return [Column(name, Integer, primary_key=True, autoincrement=False) for name in names]


def _said() -> list[Column[int]]:
    return [Column("shard_id", Integer, nullable=False), Column("decision", SmallInteger, nullable=False)]


def _numbers(names: Iterable[str]) -> list[Column[int]]:
    return [Column(name, Integer) for name in names]


def _ranked(ranks: Iterable[int]) -> list[str]:
    return [f"{part}_{rank}" for rank in ranks for part in CANDIDATE_PARTS]


def _table(*columns: Any, rowid: bool = False) -> Table:
    return Table("labels", MetaData(), *columns, sqlite_with_rowid=rowid)


def _flat(scores: Scores) -> list[list[list[int | None]]]:
    """[content][attribute] -> label, similarity, confidence of rank 1, of rank 2, ...; None where absent."""
    parts = np.stack([scores.labels, scores.similarities, scores.confidences], axis=-1)
    flat = parts.reshape(*parts.shape[:2], -1).astype(object)
    flat[flat == -1] = None
    return cast(list[list[list[int | None]]], flat.tolist())


def _each(scores: Scores) -> Iterable[tuple[int, int, int, list[int | None]]]:
    """(content_id, attribute_id, decision, the 15 numbers), in key order."""
    decisions = scores.decisions.tolist()
    for content_id, said, attributes in zip(
        scores.content_ids.tolist(), decisions, _flat(scores), strict=True
    ):
        for attribute_id, (decision, numbers) in enumerate(zip(said, attributes, strict=True), start=1):
            yield content_id, attribute_id, decision, numbers


def _attribute_rows(label_set: int, shard: int, scores: Scores) -> list[Values]:
    return [(label_set, c, a, shard, decision, *numbers) for c, a, decision, numbers in _each(scores)]


def _first_and_json_rows(label_set: int, shard: int, scores: Scores) -> list[Values]:
    return [
        (label_set, c, a, shard, decision, *numbers[:3], _compact([x for x in numbers[3:] if x is not None]))
        for c, a, decision, numbers in _each(scores)
    ]


def _candidate_rows(label_set: int, shard: int, scores: Scores) -> list[Values]:
    return [
        (label_set, c, a, 1 + i // 3, shard, decision, *numbers[i : i + 3])
        for c, a, decision, numbers in _each(scores)
        for i in range(0, len(numbers), 3)
        if numbers[i] is not None
    ]


def _json_rows(label_set: int, shard: int, scores: Scores) -> list[Values]:
    packed: dict[int, dict[int, list[int]]] = {}
    for c, a, decision, numbers in _each(scores):
        packed.setdefault(c, {})[a] = [decision, *(x for x in numbers if x is not None)]
    return [(label_set, c, shard, _compact(said)) for c, said in packed.items()]


def _slot_rows(label_set: int, shard: int, scores: Scores) -> list[Values]:
    rows: dict[int, list[int | None]] = {}
    for c, a, decision, numbers in _each(scores):
        rows.setdefault(c, []).extend([a, decision, *numbers])
    return [(label_set, c, shard, *numbers) for c, numbers in rows.items()]


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _by_slot(column: str) -> str:
    return "CASE i.slot " + " ".join(f"WHEN {k} THEN l.s{k}_{column}" for k in SLOTS) + " END"


def _from_json(position: int) -> str:
    # json_each of an object and ->> with a position are the same in SQLite and in PostgreSQL.
    return f"CAST(j.value ->> {position} AS INTEGER)"


def _worded(decision: str) -> str:
    return DECISION.replace("l.decision", decision)


_ATTRIBUTE_COLUMNS = ("label_set_id", "content_id", "attribute_id")
_OF_SET = "WHERE label_set_id = 2"

LAYOUTS = (
    Layout(
        "A",
        "a row per attribute, by key",
        _table(*_key(*_ATTRIBUTE_COLUMNS), *_said(), *_numbers(_ranked(range(1, CANDIDATES + 1)))),
        _attribute_rows,
    ),
    Layout(
        "A2",
        "the same with rowid and index",
        _table(
            *_numbers(_ATTRIBUTE_COLUMNS),
            *_said(),
            *_numbers(_ranked(range(1, CANDIDATES + 1))),
            UniqueConstraint(*_ATTRIBUTE_COLUMNS),
            rowid=True,
        ),
        _attribute_rows,
    ),
    Layout(
        "B",
        "a row per content, JSON",
        _table(*_key(*_ATTRIBUTE_COLUMNS[:2]), _said()[0], Column("packed", Text, nullable=False)),
        _json_rows,
        joined=_OF_CONTENT + " CROSS JOIN json_each(l.packed) j",
        attribute="CAST(j.key AS INTEGER)",
        label=_from_json(1),
        similarity=_from_json(2),
        confidence=_from_json(3),
        decision=_worded(_from_json(0)),
        scan=f"SELECT content_id, packed FROM labels {_OF_SET}",
        scan_order="ORDER BY content_id",
    ),
    Layout(
        "B2",
        "a row per content, 7 slots",
        _table(
            *_key(*_ATTRIBUTE_COLUMNS[:2]),
            _said()[0],
            *_numbers(
                f"s{k}_{column}"
                for k in SLOTS
                for column in ("attribute_id", "decision", *_ranked(range(1, CANDIDATES + 1)))
            ),
        ),
        _slot_rows,
        joined=_OF_CONTENT
        + " CROSS JOIN ("
        + " UNION ALL ".join(f"SELECT {k} AS slot" for k in SLOTS)
        + ") i",
        attribute=_by_slot("attribute_id"),
        label=_by_slot("label_1"),
        similarity=_by_slot("similarity_1"),
        confidence=_by_slot("confidence_1"),
        decision=_worded(f"({_by_slot('decision')})"),
        scan="SELECT content_id, "
        + ", ".join(f"s{k}_attribute_id, s{k}_label_1, s{k}_confidence_1" for k in SLOTS)
        + f" FROM labels {_OF_SET}",
        scan_order="ORDER BY content_id",
    ),
    Layout(
        "C",
        "a row per candidate, by key",
        _table(*_key(*_ATTRIBUTE_COLUMNS, "rank"), *_said(), *_numbers(CANDIDATE_PARTS)),
        _candidate_rows,
        joined=_OF_CONTENT + " AND l.rank = 1",
        label="l.label",
        similarity="l.similarity",
        confidence="l.confidence",
        scan=f"SELECT content_id, attribute_id, label, confidence FROM labels {_OF_SET} AND rank = 1",
    ),
    Layout(
        "D",
        "as A, ranks 2-5 in JSON",
        _table(
            *_key(*_ATTRIBUTE_COLUMNS),
            *_said(),
            *_numbers(_ranked([1])),
            Column("others", Text, nullable=False),
        ),
        _first_and_json_rows,
    ),
)

COUNTS = "SELECT attribute, label, COUNT(*) FROM catalog_labels GROUP BY attribute, label"
BY_URI = "SELECT attribute, label, confidence, model_version, tagged_at FROM catalog_labels WHERE uri = ?"
COLUMNS = [
    "layout",
    "B/photo+set",
    "GB, 3 sets",
    "write s",
    "driver s",
    "by uri ms",
    "p99 ms",
    "cold ms",
]
COLUMNS += ["counts s", "served ms", "scan s"]


def measure(layout: Layout, base: Path, catalogue: Catalogue, shard_photos: int) -> list[str]:
    """One line of the table: what `layout` costs."""
    file = base.with_name(f"layout_{layout.name}.db")
    shutil.copy(base, file)
    engine = connect(f"sqlite:///{file}")
    with writing(engine) as connection:
        layout.table.create(connection)
        connection.exec_driver_sql(layout.view())
    shards = -(-catalogue.contents // shard_photos)
    some = max(1, shards // 10)
    written = _write(engine, layout, score_stream(catalogue, 1, shard_photos), 1, _through_sqlalchemy)
    tenth = islice(score_stream(catalogue, 2, shard_photos), some)
    tenth_took = _write(engine, layout, tenth, 2, _by_driver)
    driver = Took(tenth_took.clock * shards / some, tenth_took.processor * shards / some)
    copy_label_set(engine, layout.table, 2, some * shard_photos, catalogue.contents)
    copy_label_set(engine, layout.table, 3, 0, catalogue.contents)
    engine.dispose()
    size = database_bytes(file)
    per_photo = (size - base.stat().st_size) / LABEL_SETS / catalogue.contents
    uris = [catalogue.uris[i] for i in np.random.default_rng(11).integers(0, len(catalogue.uris), 1000)]
    cold, _ = _by_uri_ms(file, uris[:200], cold=True)
    warm, p99 = _by_uri_ms(file, uris, cold=False)
    with reading(connect(f"sqlite:///{file}")) as connection:
        counts = timed(lambda: connection.exec_driver_sql(COUNTS).all(), 3)
    moved = timed(lambda: _move_served_set(file), 3)
    scanned = timed(lambda: _scan(file, layout), 3)
    file.unlink()
    return [
        f"{layout.name}: {layout.what}",
        f"{per_photo:.0f}",
        f"{size / 1e9:.2f}",
        str(written),
        str(driver),
        f"{warm:.2f}",
        f"{p99:.2f}",
        f"{cold:.1f}",
        str(counts),
        f"{moved.clock * 1e3:.0f}",
        str(scanned),
    ]


Insert = Callable[[Engine, Table, list[Values]], None]


def _write(engine: Engine, layout: Layout, stream: Iterable[Scores], label_set: int, put: Insert) -> Took:
    """What it takes to make the rows and commit them, a transaction per shard; not: to make up the scores."""
    total = Took(0, 0)
    for shard, scores in enumerate(stream, start=1):
        total += timed(lambda: put(engine, layout.table, layout.rows(label_set, shard, scores)))  # noqa: B023
    return total


def _through_sqlalchemy(engine: Engine, table: Table, rows: list[Values]) -> None:
    names = list(table.columns.keys())
    with writing(engine) as connection:
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])


def _by_driver(engine: Engine, table: Table, rows: list[Values]) -> None:
    marks = ", ".join("?" * len(table.columns))
    names = ", ".join(table.columns.keys())
    with writing(engine) as connection:
        cursor = connection.connection.cursor()
        cursor.executemany(f"INSERT INTO labels ({names}) VALUES ({marks})", rows)
        cursor.close()


def _by_uri_ms(file: Path, uris: list[str], *, cold: bool) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds. Cold: no cache holds any of the file before each query."""
    times = []
    connection = _opened(file)
    for uri in uris:
        if cold:
            connection.close()
            drop_from_cache(file)
            connection = _opened(file)
        times.append(1e3 * timed(lambda: connection.execute(BY_URI, (uri,)).fetchall()).clock)  # noqa: B023
    connection.close()
    return float(np.median(times)), float(np.quantile(times, 0.99))


def drop_from_cache(file: Path) -> None:
    """Asks the kernel to forget its copy of the file's pages (Linux; elsewhere nothing happens)."""
    import os

    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    return connection


def _move_served_set(file: Path) -> None:
    engine = connect(f"sqlite:///{file}")
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE served_label_set SET label_set_id = 1 + label_set_id % 3")
        connection.exec_driver_sql(BY_URI, ("",)).all()
    engine.dispose()


def _scan(file: Path, layout: Layout) -> None:
    """What a preview of a relabelling reads: the first label of every content and attribute, in key order."""
    with reading(connect(f"sqlite:///{file}")) as connection:
        result = connection.exec_driver_sql(f"{layout.scan} {layout.scan_order}")
        for rows in result.partitions(10_000):
            if layout.name == "B":
                for row in rows:
                    json.loads(row[1])


def _prepare(base: Path, catalogue: Catalogue) -> None:
    engine = connect(f"sqlite:///{base}")
    with writing(engine) as connection:
        tables.metadata.create_all(
            connection, [t for t in tables.metadata.sorted_tables if t is not tables.labels]
        )
        fill_dictionaries(connection, catalogue, LABEL_SETS)
    engine.dispose()


def embedding_lines(folder: Path, vectors: int) -> list[list[str]]:
    """The two ways to keep `vectors` embeddings of 512 float16: what they take."""
    lines = []
    for rowid, what in ((True, "rowid and index of the key"), (False, "WITHOUT ROWID")):
        file = folder / f"embeddings_{rowid}.db"
        engine = connect(f"sqlite:///{file}")
        key = [
            Column(n, Integer, primary_key=True, autoincrement=False) for n in ("encoder_id", "content_id")
        ]
        table = Table("embeddings", MetaData(), *key, Column("vector", LargeBinary), sqlite_with_rowid=rowid)
        with writing(engine) as connection:
            table.create(connection)
        written = timed(lambda: _write_vectors(engine, table, vectors))  # noqa: B023
        engine.dispose()
        drop_from_cache(file)
        cold = timed(lambda: _scan_vectors(file))  # noqa: B023
        warm = timed(lambda: _scan_vectors(file), 3)  # noqa: B023
        size = f"{database_bytes(file) / vectors:.0f}"
        lines.append([what, size, str(written), str(cold), str(warm)])
        file.unlink()
    return lines


def _write_vectors(engine: Engine, table: Table, vectors: int) -> None:
    rng = np.random.default_rng(5)
    for start in range(0, vectors, 512):
        block = rng.standard_normal((min(512, vectors - start), 512), np.float32).astype("<f2")
        rows = [
            {"encoder_id": 1, "content_id": start + i, "vector": vector.tobytes()}
            for i, vector in enumerate(block, start=1)
        ]
        with writing(engine) as connection:
            connection.execute(insert(table), rows)


def _scan_vectors(file: Path) -> None:
    with reading(connect(f"sqlite:///{file}")) as connection:
        result = connection.exec_driver_sql(
            "SELECT content_id, vector FROM embeddings WHERE encoder_id = 1 ORDER BY content_id"
        )
        for rows in result.partitions(4096):
            np.frombuffer(b"".join(row[1] for row in rows), "<f2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--shard", type=int, default=512, help="photos a transaction")
    parser.add_argument("--layouts", default=",".join(layout.name for layout in LAYOUTS))
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the databases are put (default: a temporary one)")
    arguments = parser.parse_args()
    console = Console(width=170)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        catalogue = make_catalogue(arguments.photos, arguments.shard)
        base = Path(folder) / "base.db"
        _prepare(base, catalogue)
        lines = []
        for layout in LAYOUTS:
            if layout.name in arguments.layouts.split(","):
                lines.append(measure(layout, base, catalogue, arguments.shard))
                console.print(*lines[-1], sep=" | ", soft_wrap=True, highlight=False)
        stored = embedding_lines(Path(folder), arguments.vectors)
    title = f"{arguments.photos:,} photos x {len(ATTRIBUTES)} attributes x {LABEL_SETS} label sets, SQLite "
    title += f"{sqlite3.sqlite_version}, {arguments.shard} photos a transaction; seconds (of the processor)"
    console.print(printed(title, COLUMNS, lines))
    title = f"{arguments.vectors:,} embeddings of 512 float16; seconds (of the processor)"
    console.print(printed(title, ["layout", "B/vector", "write", "cold scan", "scan in order"], stored))


if __name__ == "__main__":
    main()
