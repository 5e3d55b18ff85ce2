"""What it takes to label a million stored embeddings for another taxonomy, and to preview that.

    python -m benchmarks.relabel [--photos N] [--database postgresql+psycopg://...]

The catalogue is made up: unit vectors of 512 float16, and the shipped taxonomy of products, with colours
made up until it has 300 labels, and random directions for them. It is labelled once, then previewed and
relabelled for the same labels with other directions, by the functions that the command and the flow call,
page by page. The first preview finds the file in no cache of the system's (Linux).
"""

import resource
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert, text

from benchmarks.catalog_data import Took, insert_rows, timed
from benchmarks.catalog_layouts import drop_from_cache
from benchmarks.report import Goal, arguments, machine, tell
from fashion_clip.labeller import Labeller
from fashion_clip.scoring import prompt_head
from fashion_clip.taxonomy import Label, Taxonomy, load_taxonomy
from tasks.catalog import models, relabelling, schema
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.catalog.relabel_preview import preview
from tasks.catalog.runs import recorded
from tasks.catalog.tables import contents, embeddings, photos, shards
from tasks.catalog.vectors import VECTOR
from tasks.serving import scored

DIMENSION = 512
LABELS = 300
BLOCK = 10_000
MOST_SECONDS, MOST_PREVIEW_SECONDS, MOST_MB = 300.0, 30.0, 1_000.0


def main() -> None:
    """Prints one table."""
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--database", help="an empty database instead of a SQLite file, by URL")
    options = parser.parse_args()
    count = 20_000 if options.quick else options.photos
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "relabel.db"
        engine = connect(options.database or f"sqlite:///{file}")
        schema.upgrade(engine)
        took, written = measure(engine, file, count)
        engine.dispose()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [[what, str(seconds)] for what, seconds in took.items()]
    rows += [["label rows written", f"{written:,}"], ["peak MB", f"{peak:.0f}"]]
    goals = [
        _goal("relabel, seconds", took["relabel"].clock, MOST_SECONDS),
        _goal("preview of it, seconds", took["preview, cold"].clock, MOST_PREVIEW_SECONDS),
        _goal("relabel, peak MB", peak, MOST_MB),
    ]
    attributes = len(load_taxonomy("products").attributes)
    title = f"{count:,} embeddings x {attributes} attributes, {LABELS} labels, "
    columns = ["", "seconds (of the processor)"]
    tell(title + engine.dialect.name, columns, rows, goals, options.goals)


def _goal(what: str, measured: float, most: float) -> Goal:
    return Goal(what, f"<= {most:g}", f"{measured:.0f}", measured <= most)


def measure(engine: Engine, file: Path, count: int) -> tuple[dict[str, Took], int]:
    """What each step takes, and how many rows the relabelling wrote."""
    first = models.begin(
        engine,
        ModelFacts("made/up", "tower", "text", DIMENSION, "float32", "exact"),
        taxonomy_of(LABELS),
    )
    first_labeller, other = labeller_of(first.taxonomy, 1), labeller_of(first.taxonomy, 2)
    took = {"catalogue filled": timed(lambda: fill(engine, first, count))}
    with recorded(engine, relabelling.FLOW, "benchmark", None) as run_id:
        took["first labels"] = timed(lambda: label(engine, run_id, first, first_labeller))
    if file.exists():
        drop_from_cache(file)
    for name in ("preview, cold", "preview, again"):
        took[name] = timed(lambda: preview(engine, first, other, lambda _: None))
    second = models.label_set_for(engine, first.model_version, Taxonomy("other", first.taxonomy.attributes))
    with recorded(engine, relabelling.FLOW, "benchmark", None) as run_id:
        took["relabel"] = timed(lambda: label(engine, run_id, second, other))
        took["served, commits held off meanwhile"] = timed(
            lambda: relabelling.serve_if_whole(
                engine,
                run_id,
                second,
                first.model_version,
                lambda vectors: scored(other, vectors),
                "benchmark",
            )
        )
    with reading(engine) as connection:
        query = text("SELECT COUNT(*) FROM labels WHERE label_set_id = :id")
        return took, connection.execute(query, {"id": second.label_set_id}).scalar_one()


def taxonomy_of(labels: int) -> Taxonomy:
    """The shipped taxonomy of products, with colours made up until it has that many labels."""
    taxonomy = load_taxonomy("products")
    lacking = labels - sum(len(attribute.labels) for attribute in taxonomy.attributes)
    made_up = tuple(Label(f"colour {i}", f"colour {i}") for i in range(lacking))
    return Taxonomy(
        taxonomy.name,
        tuple(
            replace(attribute, labels=attribute.labels + made_up)
            if attribute.name == "baseColour"
            else attribute
            for attribute in taxonomy.attributes
        ),
    )


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


def labeller_of(taxonomy: Taxonomy, seed: int) -> Labeller:
    """Its labels lie in random directions."""
    draw = np.random.default_rng(seed)
    heads = []
    for attribute in taxonomy.attributes:
        weights = draw.standard_normal((len(attribute.labels), DIMENSION)).astype(np.float32)
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        heads.append(prompt_head(attribute.name, [label.name for label in attribute.labels], weights, 100.0))
    return Labeller(taxonomy, tuple(heads))


def label(engine: Engine, run_id: int, label_set: LabelSet, labeller: Labeller) -> None:
    """Labels all that lacks labels, as the flow does."""
    after = 0
    while (page := relabelling.lacking(engine, label_set, after)).content_ids:
        relabelling.write_labels(engine, run_id, label_set, page, scored(labeller, page.vectors))
        after = page.content_ids[-1]


if __name__ == "__main__":
    main()
