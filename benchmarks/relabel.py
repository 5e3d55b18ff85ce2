"""What it takes to label a million stored embeddings for another taxonomy, and to preview that.

    python -m benchmarks.relabel [--photos N] [--folder DIR] [--database postgresql+psycopg://...]

The catalogue is made up: unit vectors of 512 float16, and the shipped taxonomy of products with random
directions for its labels. It is labelled once, then previewed and relabelled for the same labels with other
directions, by the functions that the command and the flow call, page by page. The first preview finds the
file in no cache of the system's (Linux).
"""

import argparse
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from sqlalchemy import Engine, insert, text

from benchmarks.catalog_data import insert_rows, printed, timed
from benchmarks.catalog_layouts import drop_from_cache
from fashion_clip.scoring import Head
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.catalog import models, relabelling, schema
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.catalog.relabel_preview import preview
from tasks.catalog.runs import recorded
from tasks.catalog.tables import contents, embeddings, photos, shards
from tasks.catalog.vectors import VECTOR
from tasks.serving import scored

DIMENSION = 512
BLOCK = 10_000
GOALS = {"relabel": 300.0, "preview": 30.0, "peak MB": 1_000.0}


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the database is put (default: a temporary folder)")
    parser.add_argument("--database", help="an empty database instead, by URL")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        file = Path(folder) / "relabel.db"
        engine = connect(arguments.database or f"sqlite:///{file}")
        schema.upgrade(engine)
        rows = measure(engine, file, arguments.photos)
        engine.dispose()
    taxonomy = load_taxonomy("products")
    labels = sum(len(attribute.labels) for attribute in taxonomy.attributes)
    title = f"{arguments.photos:,} embeddings x {len(taxonomy.attributes)} attributes, {labels} labels, "
    Console(width=110).print(printed(title + engine.dialect.name, ["what", "measured", "goal"], rows))


def measure(engine: Engine, file: Path, count: int) -> list[list[str]]:
    """(what, measured, goal), seconds with those of the processor in brackets."""
    first = models.begin(
        engine,
        ModelFacts("made/up", "tower", "text", DIMENSION, "float32", "exact"),
        load_taxonomy("products"),
    )
    rows = [["catalogue filled", str(timed(lambda: fill(engine, first, count))), ""]]
    with _run(engine) as run_id:
        heads = heads_of(first.taxonomy, 1)
        rows.append(["first labels", str(timed(lambda: label(engine, run_id, first, heads))), ""])
    other = heads_of(first.taxonomy, 2)
    if file.exists():
        drop_from_cache(file)
    for name in ("preview, cold", "preview, again"):
        took = timed(lambda: preview(engine, first, other, lambda _: None))
        rows.append([name, str(took), f"{GOALS['preview']:g}"])
    second = models.label_set_for(engine, first, renamed(first.taxonomy))
    with _run(engine) as run_id:
        took = timed(lambda: label(engine, run_id, second, other))
        rows.append(["relabel", str(took), f"{GOALS['relabel']:g}"])
        served = timed(
            lambda: relabelling.serve_if_whole(engine, run_id, second, lambda v: scored(other, v), "bench")
        )
    rows.append(["served, all commits held off meanwhile", str(served), ""])
    with reading(engine) as connection:
        count_rows = text("SELECT COUNT(*) FROM labels WHERE label_set_id = :id")
        written = connection.execute(count_rows, {"id": second.label_set_id}).scalar_one()
    rows.append(["label rows written", f"{written:,}", ""])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*rows, ["peak MB", f"{peak:.0f}", f"{GOALS['peak MB']:g}"]]


def fill(engine: Engine, label_set: LabelSet, count: int) -> None:
    """`count` contents with a random vector and a photo each."""
    draw = np.random.default_rng(5)
    with writing(engine) as connection:
        run = "INSERT INTO runs (run_id, flow, started_at, status) VALUES (1, 'made up', :now, 'completed')"
        connection.execute(text(run), {"now": "2026-01-01 00:00:00"})
        shard = {"shard_id": 1, "run_id": 1, "committed_at": text("'2026-01-01 00:00:00'")}
        connection.execute(insert(shards).values(shard | {"embedded": 0, "tagged": 0, "quarantined": 0}))
    for start in range(1, count + 1, BLOCK):
        ids = range(start, min(start + BLOCK, count + 1))
        vectors = draw.standard_normal((len(ids), DIMENSION), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with writing(engine) as connection:
            insert_rows(connection, contents, [{"content_id": i, "sha256": f"{i:064x}"} for i in ids])
            insert_rows(
                connection,
                embeddings,
                [
                    {"encoder_id": label_set.encoder_id, "content_id": i, "vector": vector}
                    for i, vector in zip(ids, vectors.astype(VECTOR), strict=True)
                ],
            )
            insert_rows(
                connection,
                photos,
                [
                    {"uri": f"s3://shop/{i}.jpg", "product_id": str(i), "content_id": i, "shard_id": 1}
                    for i in ids
                ],
            )


def heads_of(taxonomy: Taxonomy, seed: int) -> list[Head]:
    """Heads whose labels lie in random directions."""
    draw = np.random.default_rng(seed)
    heads = []
    for attribute in taxonomy.attributes:
        weights = draw.standard_normal((len(attribute.labels), DIMENSION)).astype(np.float32)
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        heads.append(Head(attribute.name, tuple(label.name for label in attribute.labels), weights, 100.0))
    return heads


def renamed(taxonomy: Taxonomy) -> Taxonomy:
    """The same labels as another version."""
    return Taxonomy(name="other", attributes=taxonomy.attributes)


def label(engine: Engine, run_id: int, label_set: LabelSet, heads: list[Head]) -> None:
    """Labels all that lacks labels, as the flow does."""
    after = 0
    while (page := relabelling.lacking(engine, label_set, after)).content_ids:
        relabelling.write_labels(engine, run_id, label_set, page, scored(heads, page.vectors))
        after = page.content_ids[-1]


@contextmanager
def _run(engine: Engine) -> Iterator[int]:
    with recorded(engine, relabelling.FLOW, "benchmark", None) as run_id:
        yield run_id


if __name__ == "__main__":
    main()
