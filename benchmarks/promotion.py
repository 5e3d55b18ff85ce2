"""How long until the catalogue shows a promoted head's labels, and again those from before.

    python -m benchmarks.promotion [--photos N]

The catalogue of `benchmarks.relabel`, made up: a million stored embeddings, seven attributes, 300 labels. A
version with other heads is put in place page by page, as the flow does it; then the former version, whose
labels were kept, and the other one again.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.catalog_data import timed
from benchmarks.relabel import DIMENSION, LABELS, fill, label, labeller_of, taxonomy_of
from benchmarks.report import Goal, arguments, machine, tell
from fashion_clip.labeller import Labeller
from tasks.catalog import models, relabelling, schema, versions
from tasks.catalog.engine import connect, reading
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.catalog.runs import recorded
from tasks.catalog.versions import Made
from tasks.serving import scored

MOST_ROLLBACK = 30.0


def main() -> None:
    """Prints one table."""
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000)
    options = parser.parse_args()
    count = 20_000 if options.quick else options.photos
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        engine = connect(f"sqlite:///{Path(folder) / 'promotion.db'}")
        schema.upgrade(engine)
        rows, rollback = measure(engine, count)
        engine.dispose()
    goal = Goal("rollback, seconds", f"<= {MOST_ROLLBACK:g}", f"{rollback:.1f}", rollback <= MOST_ROLLBACK)
    tell(
        f"{count:,} embeddings x 7 attributes, {LABELS} labels", ["", "seconds"], rows, [goal], options.goals
    )


def measure(engine: Engine, count: int) -> tuple[list[list[str]], float]:
    """A row a step, and the seconds of the rollback."""
    facts = ModelFacts("made/up", "tower", "text", DIMENSION, "float32", "exact")
    first = models.begin(engine, facts, taxonomy_of(LABELS))
    old, new = labeller_of(first.taxonomy, 1), labeller_of(first.taxonomy, 2)
    fill(engine, first, count)
    with recorded(engine, relabelling.FLOW, "benchmark", None) as run_id:
        label(engine, run_id, first, old)
    version = versions.register(engine, replace(facts, head="h" * 64), Made("head", facts.version))
    second = models.label_set_for(engine, version, first.taxonomy)
    promotion = timed(lambda: put_in_place(engine, second, first.model_version, new))
    assert shown(engine) == version
    rollback = timed(lambda: put_in_place(engine, first, version, old))
    assert shown(engine) == first.model_version
    again = timed(lambda: put_in_place(engine, second, first.model_version, new))
    rows = [["promotion", str(promotion)], ["rollback", str(rollback)], ["promotion again", str(again)]]
    return rows, rollback.clock


def put_in_place(engine: Engine, label_set: LabelSet, champion: str, labeller: Labeller) -> None:
    """As the flow relabel-catalog does."""
    with recorded(engine, relabelling.FLOW, "benchmark", None) as run_id:
        label(engine, run_id, label_set, labeller)
        assert relabelling.serve_if_whole(
            engine, run_id, label_set, champion, lambda vectors: scored(labeller, vectors), "benchmark"
        )


def shown(engine: Engine) -> str:
    """The model of the labels that people see."""
    with reading(engine) as connection:
        query = text("SELECT model_version FROM catalog_labels WHERE uri = 's3://shop/1.jpg' LIMIT 1")
        return str(connection.execute(query).scalar_one())


if __name__ == "__main__":
    main()
