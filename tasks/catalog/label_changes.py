"""What a promotion changed: labels of the set that was served before against those that are served now."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.models import LabelSet

LOOKED_AT = 50_000  # pictures at most: every k-th of more
SHOWN = 12


@dataclass(frozen=True)
class Change:
    """Of the pictures that were looked at, so many had one label and have another one."""

    attribute: str
    before: str
    after: str
    pictures: int


@dataclass(frozen=True)
class Changes:
    """shares: attribute -> the share, 0..1, of pictures with another label. most: the most frequent ones."""

    pictures: int
    shares: dict[str, float]
    most: tuple[Change, ...]


_OF_BOTH = """
FROM contents c CROSS JOIN labels b
JOIN labels n ON n.label_set_id = :now AND n.content_id = b.content_id AND n.attribute_id = b.attribute_id
JOIN attributes a ON a.attribute_id = b.attribute_id"""
_NAMES = "JOIN label_names x ON x.label_id = b.label_1 JOIN label_names y ON y.label_id = n.label_1"
_THESE = " WHERE c.content_id % :k = 0 AND b.label_set_id = :before AND b.content_id = c.content_id"


@outlasts_outages
def between(engine: Engine, before: LabelSet, now: LabelSet) -> Changes:
    """Compares two label sets; the same one, or sets without an attribute in common, have no changes."""
    shares = text(
        "SELECT a.name, COUNT(*) AS pictures,"
        " SUM(CASE WHEN n.label_1 <> b.label_1 THEN 1 ELSE 0 END) AS other"
        f"{_OF_BOTH}{_THESE} GROUP BY a.name"
    )
    most = text(
        f"SELECT a.name, x.name AS had, y.name AS has, COUNT(*) AS pictures {_OF_BOTH} {_NAMES} {_THESE}"
        " AND n.label_1 <> b.label_1 GROUP BY a.name, x.name, y.name"
        f" ORDER BY COUNT(*) DESC, a.name, x.name, y.name LIMIT {SHOWN}"
    )
    with reading(engine) as connection:
        contents = int(connection.execute(text("SELECT COUNT(*) FROM contents")).scalar_one())
        values = {
            "before": before.label_set_id,
            "now": now.label_set_id,
            "k": 1 + contents // LOOKED_AT,
        }
        counted = connection.execute(shares, values).all()
        changes = tuple(Change(*row) for row in connection.execute(most, values))
    return Changes(
        max((int(row.pictures) for row in counted), default=0),
        {row.name: int(row.other) / int(row.pictures) for row in counted},
        changes,
    )
