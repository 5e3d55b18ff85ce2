"""A made-up catalogue of any size for the catalogue benchmarks, seeded, in the order nightly runs make it.

Six photos of ten came on the first night in the order of their uris, the others in later nights, each in that
order again; so ids grow as they do in a real catalogue. One photo of fifty has the bytes of the one before.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table as PrintedTable
from sqlalchemy import Connection, Engine, Table, insert

from tasks.catalog import tables
from tasks.catalog.engine import writing

ATTRIBUTES = {
    "masterCategory": 7,
    "subCategory": 45,
    "articleType": 143,
    "baseColour": 46,
    "gender": 5,
    "season": 4,
    "usage": 8,
}
FIRST_NIGHT_SHARE = 0.6
NIGHT_PHOTOS = 10_000
START = datetime(2026, 1, 1, 2, tzinfo=UTC)
INSERT_ROWS = 10_000

Row = dict[str, Any]


@dataclass(frozen=True)
class Catalogue:
    """One entry per photo, in order of photo_id (1, 2, ...), and how its labels are shared out in shards."""

    uris: list[str]
    products: list[str]
    content_ids: NDArray[np.int64]
    shard_ids: NDArray[np.int64]
    shard_runs: list[int]  # run_id of shard 1, 2, ...
    nights: int

    @property
    def contents(self) -> int:
        return int(self.content_ids[-1])


@dataclass(frozen=True)
class Scores:
    """The candidates of one transaction: labels, similarities, confidences, each (contents, attributes, 5).

    Integers as the catalogue stores them; -1 where an attribute has fewer labels.
    """

    content_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    similarities: NDArray[np.int64]
    confidences: NDArray[np.int64]
    decisions: NDArray[np.int64]  # (contents, attributes)


@dataclass(frozen=True)
class Took:
    """Seconds. The processor's are the ones to compare where the machine is shared."""

    clock: float
    processor: float

    def __add__(self, other: "Took") -> "Took":
        return Took(self.clock + other.clock, self.processor + other.processor)

    def __str__(self) -> str:
        digits = 0 if self.clock >= 100 else 1 if self.clock >= 10 else 2
        return f"{self.clock:.{digits}f} ({self.processor:.{digits}f})"


def make_catalogue(photos: int, shard_photos: int) -> Catalogue:
    order = np.random.default_rng(1).random(photos)
    # A product has one to three photos: uris are made in byte order, then dealt out to nights.
    views = np.arange(photos) % 2
    products = [f"{10_000_000 + 7 * (i // 2)}" for i in range(photos)]
    uris = [f"s3://catalogue/photos/{p[:4]}/{p}_{view}.jpg" for p, view in zip(products, views, strict=True)]
    first = order < FIRST_NIGHT_SHARE
    later_nights = max(1, round(photos * (1 - FIRST_NIGHT_SHARE) / NIGHT_PHOTOS))
    night = np.where(
        first, 0, 1 + ((order - FIRST_NIGHT_SHARE) / (1 - FIRST_NIGHT_SHARE) * later_nights).astype(int)
    )
    by_night = np.argsort(night, kind="stable")
    night = night[by_night]
    shard_ids, shard_runs = _shards(night, shard_photos)
    repeats = np.arange(photos) % 50 == 49
    return Catalogue(
        uris=[uris[i] for i in by_night],
        products=[products[i] for i in by_night],
        content_ids=np.cumsum(~repeats),
        shard_ids=shard_ids,
        shard_runs=shard_runs,
        nights=int(night[-1]) + 1,
    )


def _shards(night: NDArray[np.int64], shard_photos: int) -> tuple[NDArray[np.int64], list[int]]:
    """The shard_id of each photo, and the run_id of each shard; no shard reaches over two nights."""
    starts = np.r_[0, np.flatnonzero(np.diff(night)) + 1]
    within = np.arange(len(night)) - np.repeat(starts, np.diff(np.r_[starts, len(night)]))
    shard_starts = within % shard_photos == 0
    return np.cumsum(shard_starts), [int(run) + 1 for run in night[shard_starts]]


def score_stream(catalogue: Catalogue, label_set: int, batch: int) -> Iterator[Scores]:
    """Every content in order, `batch` at a time: skewed labels, confidences from sure to doubtful."""
    rng = np.random.default_rng([7, label_set])
    popularity = [
        np.log(np.random.default_rng([3, a]).permutation(1 / np.arange(1, size + 1) ** 1.2))
        for a, size in enumerate(ATTRIBUTES.values())
    ]
    for start in range(1, catalogue.contents + 1, batch):
        ids = np.arange(start, min(start + batch, catalogue.contents + 1))
        yield _scores(rng, ids, popularity)


def _scores(
    rng: np.random.Generator, ids: NDArray[np.int64], popularity: list[NDArray[np.float64]]
) -> Scores:
    shape = (len(ids), len(popularity), tables.CANDIDATES)
    labels, similarities, confidences = (np.full(shape, -1, np.int64) for _ in range(3))
    first_label = 1
    for a, prior in enumerate(popularity):
        logits = prior.astype(np.float32) + 2.5 * rng.standard_normal((len(ids), len(prior)), np.float32)
        kept = min(tables.CANDIDATES, len(prior))
        top = np.argsort(-logits, axis=1)[:, :kept]
        best = np.take_along_axis(logits, top, axis=1)
        shares = np.exp(best) / np.exp(logits).sum(axis=1, keepdims=True)
        labels[:, a, :kept] = first_label + top
        similarities[:, a, :kept] = np.rint(tables.SCORE_SCALE * (0.22 + 0.01 * best))
        confidences[:, a, :kept] = np.rint(tables.SCORE_SCALE * shares)
        first_label += len(prior)
    decisions = np.where(confidences[:, :, 0] > 0.6 * tables.SCORE_SCALE, 1, 2)
    return Scores(ids, labels, similarities, confidences, decisions)


def fill_dictionaries(connection: Connection, catalogue: Catalogue, label_sets: int) -> None:
    """Everything but labels: photos, contents, runs, shards, quarantine, models; set 1 is the served one."""
    for table, rows in _dictionary_rows(catalogue, label_sets):
        insert_rows(connection, table, rows)


def insert_rows(connection: Connection, table: Table, rows: list[Row]) -> None:
    for start in range(0, len(rows), INSERT_ROWS):
        connection.execute(insert(table), rows[start : start + INSERT_ROWS])


def copy_label_set(engine: Engine, table: Table, label_set: int, after: int, last: int) -> None:
    """The rows of label set 1 with content_id in (after, last], also as those of another set."""
    names = ", ".join(table.columns.keys()[1:])
    for start in range(after + 1, last + 1, INSERT_ROWS):
        with writing(engine) as connection:
            connection.exec_driver_sql(
                f"INSERT INTO labels SELECT {label_set}, {names} FROM labels WHERE label_set_id = 1 "
                f"AND content_id BETWEEN {start} AND {min(start + INSERT_ROWS - 1, last)} ORDER BY content_id"
            )


def _dictionary_rows(catalogue: Catalogue, label_sets: int) -> Iterator[tuple[Table, list[Row]]]:
    yield tables.runs, [_run(night, "nightly-tagging") for night in range(catalogue.nights)]
    per_shard = np.bincount(catalogue.shard_ids)[1:].tolist()
    yield (
        tables.shards,
        [
            {"shard_id": i + 1, "run_id": run, "committed_at": START + timedelta(days=run - 1, seconds=i)}
            | {"embedded": count, "tagged": count, "quarantined": 0}
            for i, (run, count) in enumerate(zip(catalogue.shard_runs, per_shard, strict=True))
        ],
    )
    yield (
        tables.contents,
        [
            {"content_id": i, "sha256": hashlib.sha256(str(i).encode()).hexdigest()}
            for i in range(1, catalogue.contents + 1)
        ],
    )
    each = zip(
        catalogue.uris,
        catalogue.products,
        catalogue.content_ids.tolist(),
        catalogue.shard_ids.tolist(),
        strict=True,
    )
    yield (
        tables.photos,
        [
            {"photo_id": i + 1, "uri": uri, "product_id": product, "change_token": f"{90_000 + i}-{i}"}
            | {"content_id": content, "shard_id": shard}
            for i, (uri, product, content, shard) in enumerate(each)
        ],
    )
    yield tables.quarantine, _quarantine(len(catalogue.uris))
    yield from _model_rows(label_sets)


def _run(night: int, flow: str) -> Row:
    started = START + timedelta(days=night)
    return {"run_id": night + 1, "flow": flow, "started_at": started, "status": "completed"}


def _quarantine(photos: int) -> list[Row]:
    reasons = ("truncated", "not_an_image", "too_many_pixels")
    return [
        {"photo_id": i + 1, "reason": reasons[i % 3], "detail": "made up", "attempts": 1 + i % 4}
        | {"first_failed_at": START, "last_failed_at": START + timedelta(days=i % 4)}
        for i in range(0, photos, 997)
    ]


def _model_rows(label_sets: int) -> Iterator[tuple[Table, list[Row]]]:
    yield (
        tables.encoders,
        [{"encoder_id": 1, "identity": "e" * 64, "dimension": 512, "created_at": START}],
    )
    numbers = range(1, label_sets + 1)
    yield (
        tables.model_versions,
        [
            {"model_version_id": i, "version": f"products-{i}", "fingerprint": f"{i:064d}"}
            | {"checkpoint": f"models/products-{i}", "encoder_id": 1, "rung": "base", "created_at": START}
            for i in numbers
        ],
    )
    yield (
        tables.taxonomies,
        [{"taxonomy_id": 1, "version": "t" * 64, "name": "products", "document": "{}", "created_at": START}],
    )
    yield (
        tables.attributes,
        [{"attribute_id": a, "name": name} for a, name in enumerate(ATTRIBUTES, start=1)],
    )
    names = [
        (a, f"{name} {k}") for a, (name, n) in enumerate(ATTRIBUTES.items(), start=1) for k in range(1, n + 1)
    ]
    yield (
        tables.label_names,
        [{"label_id": i, "attribute_id": a, "name": name} for i, (a, name) in enumerate(names, start=1)],
    )
    yield (
        tables.label_sets,
        [
            {"label_set_id": i, "model_version_id": i, "taxonomy_id": 1, "status": "complete"}
            | {"created_at": START, "completed_at": START}
            for i in numbers
        ],
    )
    yield tables.served_label_set, [{"only_row": 1, "label_set_id": 1}]
    yield (
        tables.served_log,
        [{"served_log_id": 1, "label_set_id": 1, "served_from": START, "reason": "first model"}],
    )


def timed(work: Callable[[], object], times: int = 1) -> Took:
    """The median of some runs, of the clock and of the processor."""
    runs = []
    for _ in range(times):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        runs.append((time.perf_counter() - clock, time.process_time() - processor))
    return Took(*np.median(runs, axis=0).tolist())


def database_bytes(file: Path) -> int:
    """The SQLite file and its write-ahead log."""
    return sum(part.stat().st_size for part in file.parent.glob(file.name + "*") if part.is_file())


def printed(title: str, columns: list[str], rows: list[list[str]]) -> PrintedTable:
    table = PrintedTable(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
