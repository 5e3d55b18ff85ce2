"""The README's queries on a catalogue of a million photos, with the tables and views that ship.

    python -m benchmarks.catalog_at_scale [--photos N] [--folder DIR] [--database postgresql+psycopg://...]

Prints what it takes to write a label set, each query's time and plan, and the size on disk. A database given
by `--database` must be empty, and is left as it is filled.
"""

import argparse
import re
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sqlalchemy import Connection, Engine, insert, text

from benchmarks.catalog_data import (
    ATTRIBUTES,
    START,
    Catalogue,
    Scores,
    Took,
    copy_label_set,
    fill_dictionaries,
    make_catalogue,
    printed,
    score_stream,
    timed,
)
from tasks.catalog import tables
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.inserts import insert_tuples_or_nothing
from tasks.catalog.views import VIEWS

MEGABYTE = 1e6


@dataclass(frozen=True)
class Query:
    title: str
    sql: str
    goal_s: float | None = None


BY_URI = Query(
    "labels of one photo",
    "SELECT attribute, label, similarity, confidence, decision, model_version, tagged_at\n"
    "FROM catalog_labels WHERE uri = :uri",
    0.1,
)
OTHER_QUERIES = (
    Query(
        "products whose photos disagree",
        "SELECT product_id, MIN(label), MAX(label) FROM catalog_labels WHERE attribute = 'masterCategory'\n"
        "GROUP BY product_id HAVING MIN(label) <> MAX(label)",
    ),
    Query(
        "quarantine by reason",
        "SELECT reason, COUNT(*) FROM quarantined_images GROUP BY reason",
    ),
)
# What stands in the README is about the demo: here are the like of it in the made-up catalogue.
FROM_DEMO = {"'category'": "'masterCategory'", "'fmnist-00066'": "'10000070'"}
GOALS_S = {"How many photos have each label": 10.0}


def readme_queries() -> list[Query]:
    """The README's SQL, each with the line above it as its title."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    found = re.findall(r"([^\n]+):\n\n```sql\n(.+?)```", readme, re.DOTALL)
    queries = []
    for above, sql in found:
        for demo, here in FROM_DEMO.items():
            sql = sql.replace(demo, here)
        queries.append(Query(above, sql.strip(), GOALS_S.get(above)))
    return queries


def create(engine: Engine) -> None:
    with writing(engine) as connection:
        tables.metadata.create_all(connection)
        for name, select in VIEWS.items():
            connection.execute(text(f"CREATE VIEW {name} AS {select}"))


def write_label_set(engine: Engine, catalogue: Catalogue, shard_photos: int) -> Took:
    """What it takes to make the rows of set 1 and to commit them shard by shard."""
    first_photos = np.unique(catalogue.content_ids, return_index=True)[1]
    content_shards = catalogue.shard_ids[first_photos].tolist()
    total = Took(0, 0)
    for scores in score_stream(catalogue, 1, shard_photos):
        total += timed(lambda: _commit(engine, content_shards, scores))  # noqa: B023
    return total


def _commit(engine: Engine, content_shards: list[int], scores: Scores) -> None:
    with writing(engine) as connection:
        insert_tuples_or_nothing(connection, tables.labels, _label_rows(1, content_shards, scores))


def _label_rows(label_set: int, content_shards: list[int], scores: Scores) -> list[tuple[Any, ...]]:
    parts = np.stack([scores.labels, scores.similarities, scores.confidences], axis=-1)
    flat = parts.reshape(*parts.shape[:2], -1).astype(object)
    flat[flat == -1] = None
    return [
        (label_set, content_id, a, content_shards[content_id - 1], decision, *row)
        for content_id, decisions, rows in zip(
            scores.content_ids.tolist(), scores.decisions.tolist(), flat.tolist(), strict=True
        )
        for a, (decision, row) in enumerate(zip(decisions, rows, strict=True), start=1)
    ]


def move_served_set(engine: Engine, label_set: int) -> None:
    """Serves another set, logged, and reads one photo through the view."""
    with writing(engine) as connection:
        now = START + timedelta(days=1000 + label_set)
        connection.execute(tables.served_label_set.update().values(label_set_id=label_set))
        open_rows = tables.served_log.c.served_to.is_(None)
        connection.execute(tables.served_log.update().where(open_rows).values(served_to=now))
        row = {"label_set_id": label_set, "served_from": now, "reason": "benchmark"}
        connection.execute(insert(tables.served_log), row)
    with reading(engine) as connection:
        connection.execute(text(BY_URI.sql), {"uri": "s3://none"}).all()


def by_uri_ms(connection: Connection, uris: Sequence[str]) -> tuple[float, float]:
    statement = text(BY_URI.sql)
    times = [1e3 * timed(lambda: connection.execute(statement, {"uri": uri}).all()).clock for uri in uris]  # noqa: B023
    return float(np.median(times)), float(np.quantile(times, 0.99))


def plan(connection: Connection, query: Query, uri: str) -> str:
    """The database's own account of how it answers, indented by depth."""
    values = {"uri": uri} if ":uri" in query.sql else {}
    if connection.dialect.name == "postgresql":
        return "\n".join(row[0] for row in connection.execute(text("EXPLAIN " + query.sql), values))
    depth = {0: -1}
    lines = []
    for number, parent, _, detail in connection.execute(text("EXPLAIN QUERY PLAN " + query.sql), values):
        depth[number] = depth[parent] + 1
        lines.append("  " * depth[number] + detail)
    return "\n".join(lines)


def sizes(connection: Connection) -> list[list[str]]:
    """Megabytes of each large table, its indexes included, and of all."""
    if connection.dialect.name == "postgresql":
        statement = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'p') "
        statement += "AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC"
    else:
        statement = (
            "SELECT m.tbl_name, SUM(d.pgsize) FROM dbstat d JOIN sqlite_schema m ON m.name = d.name "
            "WHERE d.aggregate = TRUE GROUP BY 1 ORDER BY 2 DESC"
        )
    rows: list[tuple[str, Any]] = [(name, size) for name, size in connection.execute(text(statement))]
    rows.append(("all", sum(size for _, size in rows)))
    return [[name, f"{float(size) / MEGABYTE:,.0f}"] for name, size in rows if size > MEGABYTE]


def measure(engine: Engine, photos: int, label_sets: int, shard_photos: int, console: Console) -> None:
    catalogue = make_catalogue(photos, shard_photos)
    create(engine)
    with writing(engine) as connection:
        fill_dictionaries(connection, catalogue, label_sets)
    written = write_label_set(engine, catalogue, shard_photos)
    rows = [["one label set written", str(written), "180"]]
    for label_set in range(2, label_sets + 1):
        copy_label_set(engine, tables.labels, label_set, 0, catalogue.contents)
    with writing(engine) as connection:
        rows.append(["ANALYZE", str(timed(lambda: connection.execute(text("ANALYZE")))), ""])
    sets = iter([*range(2, label_sets + 1), 1])
    rows.append(
        ["served set moved", str(timed(lambda: move_served_set(engine, next(sets)), label_sets)), "1"]
    )
    uris = [catalogue.uris[i] for i in np.random.default_rng(11).integers(0, photos, 1000)]
    plans = []
    with reading(engine) as connection:
        median, p99 = by_uri_ms(connection, uris)
        rows.append([BY_URI.title, f"{median / 1e3:.4f}, p99 {p99 / 1e3:.4f}", "0.1"])
        plans.append(f"[bold]{BY_URI.title}[/bold]\n{plan(connection, BY_URI, uris[0])}")
        for query in (*readme_queries(), *OTHER_QUERIES):
            took = timed(lambda: connection.execute(text(query.sql)).all(), 3)  # noqa: B023
            rows.append([query.title, str(took), f"{query.goal_s:g}" if query.goal_s else ""])
            plans.append(f"[bold]{query.title}[/bold]\n{plan(connection, query, uris[0])}")
        space = sizes(connection)
    for text_of_plan in plans:
        console.print(text_of_plan, soft_wrap=True, highlight=False)
    title = f"{photos:,} photos x {len(ATTRIBUTES)} attributes x {label_sets} label sets, "
    title += f"{engine.dialect.name}, {shard_photos} photos a transaction (medians of 3)"
    console.print(printed(title, ["what", "seconds (processor)", "goal"], rows))
    console.print(printed("Size, indexes included", ["table", "MB"], space))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--label-sets", type=int, default=3)
    parser.add_argument("--shard", type=int, default=512, help="photos a transaction")
    parser.add_argument("--folder", type=Path, help="where the database is put (default: a temporary folder)")
    parser.add_argument("--database", help="an empty database instead, by URL")
    arguments = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        url = arguments.database or f"sqlite:///{folder}/catalog.db"
        console.print(f"SQLite {sqlite3.sqlite_version}" if url.startswith("sqlite") else "PostgreSQL")
        engine = connect(url)
        measure(engine, arguments.photos, arguments.label_sets, arguments.shard, console)
        engine.dispose()


if __name__ == "__main__":
    main()
