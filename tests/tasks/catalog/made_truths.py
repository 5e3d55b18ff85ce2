"""Photos, draws and truths put into a catalogue by hand, for tests of what is made of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Engine, insert, select, update

from tasks.catalog.commit import commit_shard
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet, served
from tasks.catalog.outcome import Outcome
from tasks.catalog.tables import audit_samples, labels, photos, shards, truths
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.made_results import begun, claim_of, result, shows


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


def photo(name: str, content: str, product: str | None = None) -> Outcome:
    """A photo that shows a content, of the product that is called like it or of another."""
    shown = shows(f"file:///photos/{name}", content)
    return shown if product is None else replace(shown, product_id=product)


def tag(engine: Engine, *outcomes: Outcome, at: datetime | None = None) -> int:
    """A run that tags these photos in one shard, committed at that time; returns its run_id."""
    label_set = served(engine) or begun(engine)
    run_id = new_run(engine)
    known = {sha256 for (sha256,) in rows(engine, "SELECT sha256 FROM contents")}
    new = {outcome.sha256: outcome for outcome in outcomes if outcome.sha256 and outcome.sha256 not in known}
    claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
    made = result(outcomes, [CONTENTS[sha256] for sha256 in new])
    commit_shard(engine, run_id, claim, label_set, made)
    if at is not None:
        with writing(engine) as connection:
            connection.execute(update(shards).where(shards.c.run_id == run_id).values(committed_at=at))
    return run_id


CONTENTS = {shows("", word).sha256: word for word in ("shoe", "hat", "bag", "coat", "sock", "belt", "ring")}


def say(
    engine: Engine,
    target: str,
    attribute: str,
    label: str | None,
    by: str = "ann",
    at: datetime | None = None,
    chosen: str = "unsampled",
    probability: float | None = None,
) -> None:
    """A truth of a photo, by its name, or of a product, as `product:ID`."""
    label_set = served(engine)
    assert label_set is not None
    product = target.removeprefix("product:") if target.startswith("product:") else ""
    values = {
        "product_id": product,
        "photo_id": 0 if product else photo_id(engine, target),
        "attribute_id": label_set.attribute_ids[attribute],
        "label_id": None if label is None else label_id(label_set, attribute, label),
        "chosen": chosen,
        "inclusion_probability": probability,
        "given_by": by,
        "given_at": at or day(20),
        "imported_at": day(28),
    }
    with writing(engine) as connection:
        connection.execute(insert(truths), values)


def photo_id(engine: Engine, name: str) -> int:
    [(found,)] = rows(engine, "SELECT photo_id FROM photos WHERE uri = :uri", uri=f"file:///photos/{name}")
    return int(found)


def label_id(label_set: LabelSet, attribute: str, label: str) -> int:
    labels = next(one.labels for one in label_set.taxonomy.attributes if one.name == attribute)
    return label_set.label_ids[attribute][[one.name for one in labels].index(label)]


def put_draw(engine: Engine, run_id: int, names: Sequence[str], probability: float) -> None:
    """As if the run had drawn these photos."""
    drawn = [
        {"photo_id": photo_id(engine, name), "run_id": run_id, "inclusion_probability": probability}
        for name in names
    ]
    with writing(engine) as connection:
        connection.execute(insert(audit_samples), [one | {"drawn_at": day(3)} for one in drawn])


def vanish(engine: Engine, name: str) -> None:
    with writing(engine) as connection:
        gone = update(photos).where(photos.c.photo_id == photo_id(engine, name))
        connection.execute(gone.values(vanished_at=day(27)))


def decide(engine: Engine, name: str, attribute: str, decision: int) -> None:
    """Gives the photo's label of the attribute that decision."""
    label_set = served(engine)
    assert label_set is not None
    content = select(photos.c.content_id).where(photos.c.photo_id == photo_id(engine, name)).scalar_subquery()
    its = (labels.c.content_id == content) & (labels.c.attribute_id == label_set.attribute_ids[attribute])
    with writing(engine) as connection:
        connection.execute(update(labels).where(its).values(decision=decision))
