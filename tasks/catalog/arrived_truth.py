"""The truth that has come since the last look at a label set, as draws that may count against it.

A product counts once for a label set, by one photo, whenever its truth came and whatever is said of it later.
It does not count if its truth and a photo of it were both there before the set was served: that truth may
have made or chosen it. Of the photos of one run the draws are made equally likely
(`fashion_clip.even_draws`); runs of other sizes need not be: what is asked is whether the champion is right
of what comes, night by night.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Double, Integer, Row, Text, bindparam, select, text

from fashion_clip.even_draws import even_draws
from fashion_clip.predictions import product_codes
from tasks.catalog.accuracy_tables import counted_truths
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import UtcDateTime, truths

# Of photos that were tagged on one day, whichever runs did, at one look. Photos of a night have much in
# common: with a hundred of them a night that is harder than others made false alarms in 17 % of years
# (benchmarks.alarms).
COUNTED_A_DAY = 20
PAGE = 500  # photos, products asked for at once
_ALWAYS = datetime(1, 1, 2, tzinfo=UTC)
_MARGIN = timedelta(hours=1)  # between the clocks of a draw and a look; what comes twice counts once


@dataclass(frozen=True)
class Arrived:
    """Truth of an attribute that came since the last look, a product each.

    n, hits: all of it. of_night, hits_of_night: at most COUNTED_A_DAY of the photos of each day.
    """

    n: int = 0
    hits: int = 0
    of_night: int = 0
    hits_of_night: int = 0


def arrived(
    connection: Connection, label_set_id: int, check_id: int, last: tuple[int, datetime] | None
) -> dict[int, Arrived]:
    """attribute_id -> the truth that counts; it is marked as counted by the check.

    last: up to which truth_id the look before counted, and when that was; None at the first look.
    """
    served_from = _served_from(connection, label_set_id)
    after, since = last or (last_truth(connection, served_from), served_from)
    values = {"label_set_id": label_set_id, "served_from": served_from}
    photo_ids = sorted(
        connection.execute(_NEW_PHOTOS, {"after": after, "drawn_after": since - _MARGIN}).scalars()
    )
    rows: list[Row[Any]] = []
    for start in range(0, len(photo_ids), PAGE):
        page = photo_ids[start : start + PAGE]
        rows += connection.execute(_ARRIVED, values | {"photo_ids": page}).all()
    by_attribute: dict[int, list[Row[Any]]] = {}
    for row in rows:
        by_attribute.setdefault(row.attribute_id, []).append(row)
    found = {}
    for attribute_id, of_attribute in by_attribute.items():
        new = _new_products(connection, label_set_id, check_id, attribute_id, of_attribute)
        found[attribute_id] = _counted(new)
    return found


def _served_from(connection: Connection, label_set_id: int) -> datetime:
    """When a set was last put in place of another; the first one of a catalogue was chosen by no truth."""
    query = text(
        "SELECT MAX(g.served_from) AS served_from FROM served_log g WHERE g.label_set_id = :label_set_id"
        " AND g.served_log_id > (SELECT MIN(served_log_id) FROM served_log)"
    ).columns(served_from=UtcDateTime)
    found: datetime | None = connection.execute(query, {"label_set_id": label_set_id}).scalar()
    return found or _ALWAYS


def last_truth(connection: Connection, until: datetime) -> int:
    """The id of the truth that came last by then, 0 if none had: ids are drawn one import at a time."""
    query = select(truths.c.truth_id).where(truths.c.imported_at <= until)
    return connection.execute(query.order_by(truths.c.truth_id.desc()).limit(1)).scalar() or 0


# Photos of which truth came since, and photos that were drawn since, whose truth may have been there.
_NEW_PHOTOS = text(
    """
SELECT n.photo_id FROM truths n WHERE n.truth_id > :after AND n.photo_id <> 0
UNION SELECT p.photo_id FROM truths n JOIN photos p ON p.product_id = n.product_id
WHERE n.truth_id > :after AND n.photo_id = 0
UNION SELECT u.photo_id FROM audit_samples u WHERE u.drawn_at > :drawn_after"""
).bindparams(bindparam("drawn_after", type_=UtcDateTime))
# Photos are named, and CROSS JOIN is there, since SQLite would else look through all truth there is.
_ARRIVED = text(
    """
SELECT t.attribute_id, t.uri, t.product_id, t.label_id, t.inclusion_probability, h.run_id, h.committed_at,
       l.label_1
FROM photo_truths t
JOIN shards h ON h.shard_id = t.shard_id
JOIN labels l ON l.label_set_id = :label_set_id AND l.content_id = t.content_id
             AND l.attribute_id = t.attribute_id
WHERE t.photo_id IN :photo_ids AND t.chosen = 'random'
  AND (NOT EXISTS (SELECT 1 FROM truths o WHERE o.product_id = t.product_id AND o.photo_id = 0
                   AND o.attribute_id = t.attribute_id AND o.imported_at <= :served_from)
       AND NOT EXISTS (SELECT 1 FROM photos p CROSS JOIN truths o
                       WHERE p.product_id = t.product_id AND o.product_id = '' AND o.photo_id = p.photo_id
                         AND o.attribute_id = t.attribute_id AND o.imported_at <= :served_from)
       OR NOT EXISTS (SELECT 1 FROM photos p JOIN shards s ON s.shard_id = p.shard_id
                      WHERE p.product_id = t.product_id AND s.committed_at <= :served_from))"""
).bindparams(bindparam("photo_ids", expanding=True), bindparam("served_from", type_=UtcDateTime)).columns(
    attribute_id=Integer, uri=Text, product_id=Text, label_id=Integer, inclusion_probability=Double,
    run_id=Integer, committed_at=UtcDateTime, label_1=Integer,
)  # fmt: skip


def _new_products(
    connection: Connection, label_set_id: int, check_id: int, attribute_id: int, rows: list[Row[Any]]
) -> list[Row[Any]]:
    """The rows of products that have not counted yet; they have from now on."""
    key = {"label_set_id": label_set_id, "attribute_id": attribute_id}
    query = text(
        "SELECT product_id FROM counted_truths WHERE label_set_id = :label_set_id"
        " AND attribute_id = :attribute_id AND product_id IN :products"
    ).bindparams(bindparam("products", expanding=True))
    products = sorted({row.product_id for row in rows})
    known: set[str] = set()
    for start in range(0, len(products), PAGE):
        page = products[start : start + PAGE]
        known |= set(connection.execute(query, key | {"products": page}).scalars())
    new = [product for product in products if product not in known]
    marks = [key | {"product_id": product, "check_id": check_id} for product in new]
    insert_or_nothing(connection, counted_truths, marks)
    return [row for row in rows if row.product_id not in known]


def _counted(rows: list[Row[Any]]) -> Arrived:
    by_day: dict[date, list[bool]] = {}
    for drawn in evenly_drawn(rows):
        for row in drawn:
            right = row.label_id is not None and row.label_id == row.label_1
            by_day.setdefault(row.committed_at.date(), []).append(right)
    every = [right for of_day in by_day.values() for right in of_day]
    of_night = [right for of_day in by_day.values() for right in of_day[:COUNTED_A_DAY]]
    return Arrived(len(every), sum(every), len(of_night), sum(of_night))


def evenly_drawn(rows: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """Of each run the rows that are as likely to be there as any other, in an order that chance made.

    A row has a uri, product_id, run_id and inclusion_probability. A product has one row: of several runs the
    first one's counts.
    """
    by_run: dict[int, list[Row[Any]]] = {}
    for row in sorted(rows, key=lambda row: hashlib.sha256(row.uri.encode(errors="surrogatepass")).digest()):
        by_run.setdefault(row.run_id, []).append(row)
    seen: set[str] = set()
    for _, of_run in sorted(by_run.items()):
        new = [row for row in of_run if row.product_id not in seen]
        seen |= {row.product_id for row in new}
        if new:
            weights = np.array([1 / row.inclusion_probability for row in new])
            products = product_codes([row.product_id for row in new])
            # All that a run drew has one weight; of the draws of the shop itself only these are known.
            places = even_draws([row.uri for row in new], products, weights, weights.max())
            yield [new[place] for place in places]
