"""`fashion-clip demo`: three nights of a small catalogue, with the embedded model, offline."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import print_table
from cli.runs import print_runs
from cli.tag import print_summary, run_tagging
from fashion_clip import demo as embedded

if TYPE_CHECKING:
    from sqlalchemy import Engine

NIGHTS = 3

QUERIES = {
    "How many photos have each label?": """
SELECT label, photos
FROM label_counts
WHERE attribute = 'articleType'
ORDER BY photos DESC, label""",
    "Which photos is the model least sure of?": """
SELECT uri, label, similarity, confidence
FROM catalog_labels
WHERE attribute = 'articleType'
ORDER BY confidence, uri
LIMIT 5""",
    "What else could the least sure photo show?": """
SELECT rank, label, similarity, confidence
FROM label_candidates
WHERE attribute = 'articleType' AND uri = (
    SELECT uri FROM catalog_labels WHERE attribute = 'articleType' ORDER BY confidence, uri LIMIT 1)
ORDER BY rank""",
}


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the demo's photos and database go.")] = Path("demo"),
) -> None:
    """Tag 300 Fashion-MNIST pictures in three nights and show what stands in SQL then."""
    folder = folder.resolve()
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    _use_own_database(folder)
    nights = [files for files in _nights() if not all((photos / file.name).exists() for file in files)]
    for number, files in enumerate(nights or [[]], start=NIGHTS - len(nights) + 1):
        for file in files:
            shutil.copyfile(file, photos / file.name)
        print(f"night {number}: {len(files)} new photos" if files else "another night: no new photos")
        run = run_tagging(str(photos), str(embedded.MODEL_DIR), "demo", False, debug=bool(context.obj))
        print_summary(run)
    _show_catalogue(folder)


def _use_own_database(folder: Path) -> None:
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(folder / "demo.db"))  # whatever the folder's name has in it
    os.environ["FASHION_CLIP_DATABASE_URL"] = url.render_as_string()
    # So that every machine shows the README's scores.
    os.environ |= {"FASHION_CLIP_PRECISION": "float32", "FASHION_CLIP_DECODE": "exact"}
    # Prefect's history of the demo lies beside the database, unless a server was chosen.
    if "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_HOME", str(folder / "prefect"))


def _nights() -> list[list[Path]]:
    files = sorted(embedded.PHOTOS_DIR.glob("*.png"))
    size = -(-len(files) // NIGHTS)
    return [files[start : start + size] for start in range(0, len(files), size)]


def _show_catalogue(folder: Path) -> None:
    from tasks.catalog.runs import history
    from tasks.environment import catalogue

    engine = catalogue()
    _show_samples(engine)
    _show_accuracy(engine)
    print("\nThe run history (fashion-clip runs, or SELECT * FROM run_history):")
    print_runs(history(engine, limit=5))
    for question, query in QUERIES.items():
        print(f"\n{question}\n{query.strip()}")
        print_table(*ask(engine, query))
    print(f"\nThe database: {folder / 'demo.db'}")
    print(f"Ask it more, for example: sqlite3 {folder / 'demo.db'} 'SELECT * FROM catalog_labels LIMIT 5'")


def ask(engine: "Engine", query: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """The columns and rows of a query, as `print_table` takes them."""
    from sqlalchemy import text

    from tasks.catalog.engine import reading

    with reading(engine) as connection:
        result = connection.execute(text(query))
        return list(result.keys()), [tuple(row) for row in result]


def _show_samples(engine: "Engine") -> None:
    query = """
SELECT uri, attribute, label, similarity, confidence FROM catalog_labels
WHERE product_id IN (SELECT product_id FROM catalog_labels GROUP BY product_id ORDER BY product_id LIMIT 6)
ORDER BY uri, attribute"""
    truth = embedded.truth()
    rows = []
    for uri, attribute, label, similarity, confidence in ask(engine, query)[1]:
        name = uri.rpartition("/")[2]
        true = truth.get(name, {}).get(attribute)
        rows.append((name, attribute, label, true, similarity, confidence))
    print("\nSome labels, with the truth that came with the pictures:")
    print_table(("photo", "attribute", "label", "truth", "similarity", "confidence"), rows)


def _show_accuracy(engine: "Engine") -> None:
    truth = embedded.truth()
    right: dict[str, list[bool]] = {}
    for uri, attribute, label in ask(engine, "SELECT uri, attribute, label FROM catalog_labels")[1]:
        name = uri.rpartition("/")[2]
        if name in truth:  # not a photo that the user put there
            right.setdefault(attribute, []).append(truth[name][attribute] == label)
    print("\nAccuracy against the truth (the model was trained on these kinds of garment, not these photos):")
    rows = [(name, len(hits), f"{sum(hits) / len(hits):.1%}") for name, hits in sorted(right.items())]
    print_table(("attribute", "photos", "accuracy"), rows)
