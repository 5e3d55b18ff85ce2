"""Close watches of promotions: begun, counted on by looks, and ended, each truth counting once.

A watch is of the promotion of a challenger that passed the gate against the champion that it replaced, and
ends with whatever else is promoted. Its row remembers the truth that was looked at last, which is the fence:
of two looks at the same truth one counts it, and one that died is done again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, Select, bindparam, func, select, text, update
from sqlalchemy.orm import aliased

from fashion_clip.close_watch import WATCHED, Compared
from tasks.catalog.arrived_truth import evenly_drawn, last_truth
from tasks.catalog.close_watch_tables import close_watches
from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.models import LabelSet
from tasks.catalog.retraining_tables import gates, retrainings
from tasks.catalog.tables import label_sets, model_versions, served_log, truths
from tasks.catalog.vectors import Float16Vector

PAGE = 5_000  # photos looked up at once
LAST_LOOK = timedelta(days=1)  # after the end


@dataclass(frozen=True)
class Watch:
    """A promotion that is watched. champion: the version promoted. replaced: the one that it replaced.

    attribute: that is compared. truth_id: of the truth that was looked at last. outcome: watching, held,
    rolled_back, or ended by another promotion.
    """

    close_watch_id: int
    champion: str
    replaced: str
    attribute: str
    begun_at: datetime
    ends_at: datetime
    truth_id: int
    compared: Compared
    outcome: str

    @property
    def is_worse(self) -> bool:
        """The new champion is shown to be worse, and what it replaced is to be put back."""
        return self.outcome == "watching" and self.compared.is_worse

    @property
    def told(self) -> str:
        """One sentence for people: what the two models came to."""
        found = self.compared
        return (
            f"of {found.n} products whose truth came after the promotion, {self.replaced} alone was right "
            f"of {found.losses} in {self.attribute} and {self.champion} alone of {found.gains} "
            f"(e-value {found.e_value:.3g})"
        )


@dataclass(frozen=True, eq=False)
class NewTruth:
    """Truth of a product that came since the last look, told by one of its photos.

    label_id: the true one, None where none fits. said_id: what the champion says. vector: float16
    (dimension,), of the replaced model's encoder, None where the catalogue has none.
    """

    truth_id: int
    uri: str
    sha256: str
    label_id: int | None
    said_id: int
    vector: npt.NDArray[np.float16] | None


@outlasts_outages
def current(engine: Engine) -> Watch | None:
    """The watch of the served champion's promotion, begun if it has none; None if there is nothing to watch.

    A watch of another promotion is ended, except one whose model was shown to be worse and is replaced again:
    the process that did it died before it could say so.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        promotion = _promotion(connection)
        found = _watch(connection, _WATCHES.where(close_watches.c.outcome == "watching"))
        if found is not None and promotion is not None:
            if (found.champion, found.begun_at) == (promotion.champion, promotion.begun_at):
                if found.is_worse or clock(connection) < found.ends_at + LAST_LOOK:
                    return found
                # Whatever kept the looks from counting, such as a former model that is gone, it is over.
                _close(connection, found.close_watch_id, "held", found.told)
                return None
            if found.is_worse and promotion.champion == found.replaced:
                return found
            told = f"{promotion.champion} was put in place {promotion.begun_at:%Y-%m-%d %H:%M} UTC"
            _close(connection, found.close_watch_id, "ended", told)
        return None if promotion is None else _begun(connection, promotion)


@dataclass(frozen=True)
class _Promotion:
    champion: str
    champion_id: int
    replaced_id: int
    begun_at: datetime


def _promotion(connection: Connection) -> _Promotion | None:
    """The last move from one model to another; other labels of the same model are none."""
    query = (
        select(model_versions.c.model_version_id, model_versions.c.version, served_log.c.served_from)
        .select_from(served_log)
        .join(label_sets, label_sets.c.label_set_id == served_log.c.label_set_id)
        .join(model_versions, model_versions.c.model_version_id == label_sets.c.model_version_id)
        .order_by(served_log.c.served_log_id.desc())
    )
    later = None
    for row in connection.execute(query).all():
        if later is not None and row.model_version_id != later.model_version_id:
            return _Promotion(later.version, later.model_version_id, row.model_version_id, later.served_from)
        later = row
    return None


def _begun(connection: Connection, promotion: _Promotion) -> Watch | None:
    """The watch of a promotion that a gate allowed; None if there is none, or it was ended before."""
    query = (
        select(func.max(retrainings.c.retraining_id))
        .join(gates, gates.c.retraining_id == retrainings.c.retraining_id)
        .where(gates.c.passed == 1, gates.c.challenger_id == promotion.champion_id)
        .where(retrainings.c.champion_id == promotion.replaced_id)
    )
    retraining_id = connection.execute(query).scalar()
    ends_at = promotion.begun_at + WATCHED
    if retraining_id is None or clock(connection) >= ends_at:
        return None
    row = {
        "retraining_id": retraining_id,
        "champion_id": promotion.champion_id,
        "replaced_id": promotion.replaced_id,
        "begun_at": promotion.begun_at,
        "ends_at": ends_at,
        "truth_id": last_truth(connection, promotion.begun_at),
        "outcome": "watching",
        **_counts(Compared()),
    }
    insert_or_nothing(connection, close_watches, [row])
    mine = (close_watches.c.retraining_id == retraining_id) & (close_watches.c.outcome == "watching")
    return _watch(connection, _WATCHES.where(mine))


_NEW_PHOTOS = text(
    """
SELECT n.photo_id FROM truths n
WHERE n.truth_id > :after AND n.attribute_id = :attribute_id AND n.photo_id <> 0
UNION SELECT p.photo_id FROM truths n JOIN photos p ON p.product_id = n.product_id
WHERE n.truth_id > :after AND n.attribute_id = :attribute_id AND n.photo_id = 0"""
)
# A product counts once, by truth that is the first to be told of it in the attribute; all that came since the
# last look is first together. Photos are named, CROSS JOIN and the plus sign are there, since SQLite would
# else look through all truth there is: 2 s of 900,000 instead of 1 ms.
_NEW_TRUTH = """
SELECT t.truth_id, t.uri, t.product_id, c.sha256, t.label_id, t.inclusion_probability, h.run_id, l.label_1,
       e.vector
FROM photo_truths t
JOIN contents c ON c.content_id = t.content_id
JOIN shards h ON h.shard_id = t.shard_id
JOIN labels l ON l.label_set_id = :label_set_id AND l.content_id = t.content_id
             AND l.attribute_id = t.attribute_id
LEFT JOIN embeddings e ON e.encoder_id = :encoder_id AND e.content_id = t.content_id
WHERE t.photo_id IN :photo_ids AND t.truth_id > :after AND t.attribute_id = :attribute_id
  AND t.chosen = 'random'
  AND NOT EXISTS (SELECT 1 FROM truths o
                  WHERE o.product_id = t.product_id AND o.photo_id = 0 AND o.attribute_id = t.attribute_id
                    AND +o.truth_id <= :after)
  AND NOT EXISTS (SELECT 1 FROM photos p CROSS JOIN truths o
                  WHERE p.product_id = t.product_id AND o.product_id = '' AND o.photo_id = p.photo_id
                    AND o.attribute_id = t.attribute_id AND o.truth_id <= :after)"""


@outlasts_outages
def new_truth(
    engine: Engine, watch: Watch, served: LabelSet, replaced: LabelSet
) -> tuple[list[NewTruth], int]:
    """What has come since the last look and may count, in the order in which it came; and the last truth_id.

    Of photos that one run drew with different probabilities as many are left out as make them alike.
    """
    values = {
        "label_set_id": served.label_set_id,
        "encoder_id": replaced.encoder_id,
        "attribute_id": served.attribute_ids[watch.attribute],
        "after": watch.truth_id,
    }
    query = text(_NEW_TRUTH).bindparams(bindparam("photo_ids", expanding=True))
    typed = query.columns(vector=Float16Vector())
    rows: list[Row[Any]] = []
    with reading(engine) as connection:
        last = int(connection.execute(select(func.coalesce(func.max(truths.c.truth_id), 0))).scalar_one())
        photo_ids = sorted(connection.execute(_NEW_PHOTOS, values).scalars())
        for start in range(0, len(photo_ids), PAGE):
            page = photo_ids[start : start + PAGE]
            rows += connection.execute(typed, {**values, "photo_ids": page}).all()
    drawn = sorted(chain.from_iterable(evenly_drawn(rows)), key=lambda row: row.truth_id)
    found = [
        NewTruth(row.truth_id, row.uri, row.sha256, row.label_id, row.label_1, row.vector) for row in drawn
    ]
    return found, last


@outlasts_outages
def count(engine: Engine, watch: Watch, truth_id: int, compared: Compared) -> Watch:
    """Counts what a look found in the truth up to `truth_id`, unless another look has; returns the watch.

    One whose time is over without the new champion being shown to be worse is held.
    """
    with writing(engine) as connection:
        now = clock(connection)
        after = replace(watch, truth_id=truth_id, compared=watch.compared + compared)
        values = {"truth_id": truth_id, "looked_at": now, **_counts(after.compared)}
        if now >= watch.ends_at and not after.is_worse:
            values |= {"outcome": "held", "told": after.told, "finished_at": now}
        mine = (close_watches.c.close_watch_id == watch.close_watch_id) & (
            close_watches.c.truth_id == watch.truth_id
        )
        is_open = close_watches.c.outcome == "watching"
        connection.execute(update(close_watches).where(mine, is_open).values(values))
        return _by_id(connection, watch.close_watch_id)


@outlasts_outages
def close(engine: Engine, close_watch_id: int, outcome: str, told: str) -> Watch:
    """Ends a watch, `rolled_back` or `ended`; one that has ended stays as it is. Returns it."""
    with writing(engine) as connection:
        _close(connection, close_watch_id, outcome, told)
        return _by_id(connection, close_watch_id)


def _close(connection: Connection, close_watch_id: int, outcome: str, told: str) -> None:
    mine = (close_watches.c.close_watch_id == close_watch_id) & (close_watches.c.outcome == "watching")
    values = {"outcome": outcome, "told": told, "finished_at": clock(connection)}
    connection.execute(update(close_watches).where(mine).values(values))


def _counts(compared: Compared) -> dict[str, float]:
    return {**vars(compared), "e_value": compared.e_value}


_champions, _replaced = aliased(model_versions), aliased(model_versions)
_WATCHES = (
    select(
        close_watches,
        _champions.c.version.label("champion"),
        _replaced.c.version.label("replaced"),
        retrainings.c.attribute,
    )
    .join(retrainings, retrainings.c.retraining_id == close_watches.c.retraining_id)
    .join(_champions, _champions.c.model_version_id == close_watches.c.champion_id)
    .join(_replaced, _replaced.c.model_version_id == close_watches.c.replaced_id)
)


def _by_id(connection: Connection, close_watch_id: int) -> Watch:
    found = _watch(connection, _WATCHES.where(close_watches.c.close_watch_id == close_watch_id))
    assert found is not None
    return found


def _watch(connection: Connection, query: Select[Any]) -> Watch | None:
    row = connection.execute(query.order_by(close_watches.c.close_watch_id.desc()).limit(1)).first()
    if row is None:
        return None
    return Watch(
        row.close_watch_id, row.champion, row.replaced, row.attribute, row.begun_at, row.ends_at,
        row.truth_id, Compared(row.n, row.losses, row.gains), row.outcome,
    )  # fmt: skip
