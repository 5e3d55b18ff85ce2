"""Truth into the catalogue: rows are staged in a temporary table, and what becomes of each is settled in SQL.

Millions of rows are compared with each other and with what the catalogue has by a few statements. Staging
writes nothing that others see, so that nobody is kept waiting by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    insert,
    text,
)

from tasks.catalog.tables import UtcDateTime
from tasks.catalog.truth_views import shard_shown

_KEY = ("product_id", "photo_id", "attribute_id")

# dated: the row itself says when. shard_id: which bound the picture that the row is about, see shard_shown.
staged_truths = Table(
    "staged_truths",
    MetaData(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("line", Integer),
    Column("product_id", Text),
    Column("photo_id", Integer),
    Column("product", Text),
    Column("attribute_id", Integer),
    Column("label_id", Integer),
    Column("chosen", Text),
    Column("inclusion_probability", Double),
    Column("given_by", Text),
    Column("given_at", UtcDateTime),
    Column("dated", Boolean),
    Column("shard_id", Integer),
    Column("fate", Text),
    Column("conflicts", Integer, server_default="0"),
    Index("ix_staged_truths", *_KEY, "given_by", "given_at"),
    prefixes=["TEMPORARY"],
)


@dataclass(frozen=True)
class Fates:
    """What became of staged rows. conflicts: imported ones, while another label was or is said too."""

    imported: int
    unchanged: int
    repeated: int
    contradictory: int
    unsampled: int
    conflicts: int


@dataclass(frozen=True)
class Conflict:
    """A new row, and another label that is or was said. Labels are None where no label fits."""

    line: int
    label: str | None
    other: str | None
    other_by: str


def begin_staging(connection: Connection) -> None:
    """Makes the temporary table, which goes with the connection."""
    staged_truths.create(connection)


def stage(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows, numbered in the order in which they were given."""
    if rows:
        connection.execute(insert(staged_truths), rows)


def _same(one: str, other: str, *more: str) -> str:
    return " AND ".join(f"{one}.{column} = {other}.{column}" for column in (*_KEY, *more))


def _label(alias: str) -> str:
    return f"COALESCE({alias}.label_id, 0)"


def _later(alias: str) -> str:
    """The same giver says something of the same later than this row of `truths`."""
    same = _same("z", alias, "given_by")
    return f"EXISTS (SELECT 1 FROM truths z WHERE {same} AND z.given_at > {alias}.given_at)"


def _same_picture(alias: str) -> str:
    """A row of `truths` is about the same picture as the staged one; of a product, about all its photos."""
    return f"(s.photo_id = 0 OR {shard_shown(alias + '.photo_id', alias + '.given_at')} = s.shard_id)"


_OTHERWISE = f"""SELECT 1 FROM {{table}} o
WHERE {_same("o", "s", "given_by", "given_at")} AND {_label("o")} <> {_label("s")}"""

# Without a time a row says again what its giver said last. With one, its giver may have come round to it.
_SAID_ALREADY = f"""SELECT 1 FROM truths t
WHERE {_same("t", "s", "given_by")} AND {_label("t")} = {_label("s")}
  AND (t.given_at = s.given_at OR (NOT s.dated AND NOT {_later("t")} AND {_same_picture("t")}
       AND (s.inclusion_probability IS NULL OR t.inclusion_probability IS NOT NULL)))"""

# A draw is of a picture: it ends when the photo shows another.
_DRAWN = f"""COALESCE(
    (SELECT a.inclusion_probability FROM audit_samples a
     WHERE a.photo_id = s.photo_id
       AND a.run_id = (SELECT h.run_id FROM shards h WHERE h.shard_id = s.shard_id)),
    (SELECT t.inclusion_probability FROM truths t
     WHERE t.product_id = s.product_id AND t.photo_id = s.photo_id AND t.attribute_id = s.attribute_id
       AND t.chosen = 'random' AND {_same_picture("t")} ORDER BY t.given_at DESC, t.truth_id DESC LIMIT 1),
    (SELECT t.inclusion_probability FROM truths t
     WHERE t.product_id = s.product AND t.photo_id = 0 AND t.attribute_id = s.attribute_id
       AND t.chosen = 'random' ORDER BY t.given_at DESC, t.truth_id DESC LIMIT 1))"""
# The row's own probability is the file's. Of two draws the likelier one counts: see truth_views.
_PROBABILITY = f"""CASE WHEN s.inclusion_probability >= COALESCE({_DRAWN}, 0) THEN s.inclusion_probability
    ELSE {_DRAWN} END"""

_CLASHING = f"{_same('o', 's')} AND {_label('o')} <> {_label('s')}"
_CLASHING_TRUTH = f"{_CLASHING} AND NOT {_later('o')} AND {_same_picture('o')}"
_CLASHING_ROW = (
    f"{_CLASHING} AND o.fate = 'new' AND o.number < s.number AND (s.photo_id = 0 OR o.shard_id = s.shard_id)"
)

# In this order, each for the rows that have no fate yet.
_SETTLING = (
    f"UPDATE staged_truths AS s SET shard_id = {shard_shown('s.photo_id', 's.given_at')} WHERE photo_id <> 0",
    f"""UPDATE staged_truths AS s SET fate = 'contradictory'
    WHERE EXISTS ({_OTHERWISE.format(table="staged_truths")})
       OR EXISTS ({_OTHERWISE.format(table="truths")})""",
    f"""UPDATE staged_truths AS s SET fate = 'repeated'
    WHERE fate IS NULL AND EXISTS (SELECT 1 FROM staged_truths o
        WHERE {_same("o", "s", "given_by", "given_at")} AND o.number < s.number)""",
    f"""UPDATE staged_truths AS s SET fate = 'unchanged'
    WHERE fate IS NULL AND EXISTS ({_SAID_ALREADY})""",
    f"""UPDATE staged_truths AS s SET inclusion_probability = {_PROBABILITY} WHERE fate IS NULL""",
    """UPDATE staged_truths SET fate = 'unsampled'
    WHERE fate IS NULL AND chosen = 'random' AND inclusion_probability IS NULL""",
    "UPDATE staged_truths SET fate = 'new' WHERE fate IS NULL",
    f"""UPDATE staged_truths AS s SET conflicts = 1
    WHERE fate = 'new' AND (EXISTS (SELECT 1 FROM truths o WHERE {_CLASHING_TRUTH})
                            OR EXISTS (SELECT 1 FROM staged_truths o WHERE {_CLASHING_ROW}))""",
)

_INSERT = """
INSERT INTO truths (product_id, photo_id, attribute_id, label_id, chosen, inclusion_probability, given_by,
                    given_at, imported_at)
SELECT product_id, photo_id, attribute_id, label_id,
       CASE WHEN inclusion_probability IS NULL THEN chosen ELSE 'random' END, inclusion_probability,
       given_by, given_at, :now
FROM staged_truths WHERE fate = 'new' ORDER BY number"""


def settle(connection: Connection, new_labels: Mapping[int, int]) -> Fates:
    """Decides what becomes of every staged row, once; nothing is imported yet.

    How a photo was chosen: by the audit if that drew it; else at random if an earlier truth of it, or of its
    product, was; else as the row says. A row that tells of a likelier draw is believed.

    new_labels: what rows were staged with as label_id -> the id that the label has.
    """
    for placeholder, label_id in new_labels.items():
        values = {"label_id": label_id, "placeholder": placeholder}
        change = "UPDATE staged_truths SET label_id = :label_id WHERE label_id = :placeholder"
        connection.execute(text(change), values)
    for statement in _SETTLING:
        connection.execute(text(statement))
    query = text("SELECT fate, COUNT(*), SUM(conflicts) FROM staged_truths GROUP BY fate")
    counts = {fate: (count, conflicts) for fate, count, conflicts in connection.execute(query)}
    of = {fate: count for fate, (count, _) in counts.items()}
    names = ("unchanged", "repeated", "contradictory", "unsampled")
    imported, conflicts = counts.get("new", (0, 0))
    return Fates(imported=imported, conflicts=int(conflicts), **{name: of.get(name, 0) for name in names})


def import_settled(connection: Connection, now: datetime) -> None:
    """Writes the new ones among the settled rows."""
    connection.execute(text(_INSERT).bindparams(bindparam("now", now, UtcDateTime)))


def lines_of(connection: Connection, fate: str, limit: int) -> list[int]:
    """The first lines of that fate."""
    query = text("SELECT line FROM staged_truths WHERE fate = :fate ORDER BY number LIMIT :limit")
    return list(connection.execute(query, {"fate": fate, "limit": limit}).scalars())


def conflicts(connection: Connection, limit: int) -> list[Conflict]:
    """The first conflicts of settled rows that are not imported yet."""
    found = []
    for table, clash in (("truths", _CLASHING_TRUTH), ("staged_truths", _CLASHING_ROW)):
        query = text(
            f"SELECT s.line, n.name, m.name, o.given_by FROM staged_truths s JOIN {table} o ON {clash}"
            " LEFT JOIN label_names n ON n.label_id = s.label_id"
            " LEFT JOIN label_names m ON m.label_id = o.label_id"
            " WHERE s.fate = 'new' ORDER BY s.number LIMIT :limit"
        )
        found += [Conflict(*row) for row in connection.execute(query, {"limit": limit})]
    return sorted(found, key=lambda conflict: conflict.line)[:limit]
