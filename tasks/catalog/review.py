"""What waits for a person to look at: rows of `review_queue`, and the labels that the model was weighing."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, Engine, bindparam, text

from tasks.catalog.engine import outlasts_outages, reading

PAGE = 500  # photos whose candidates are read at once


@dataclass(frozen=True)
class Queued:
    """One row of `review_queue`. inclusion_probability: of a photo that the audit drew, else None."""

    uri: str
    product_id: str
    attribute: str
    label: str
    confidence: float
    reason: str
    inclusion_probability: float | None


@dataclass(frozen=True)
class Candidates:
    """The best labels of a photo and attribute, each with its confidence; sha256 of what the photo shows."""

    sha256: str
    labels: tuple[tuple[str, float], ...]


_COLUMNS = ", ".join(Queued.__dataclass_fields__)
_SEVERAL: BindParameter[Sequence[str]] = bindparam("attributes", expanding=True)


@outlasts_outages
def queued(engine: Engine, attributes: Sequence[str], limit: int) -> list[Queued]:
    """The first of the queue: the audit sample, conflicts, the unknown, the uncertain from the least sure up.

    The audit sample comes in an order that has nothing to do with what the photos show: if it is looked at in
    part, that part is a random one too.

    attributes: only these; all if empty.
    """
    wanted = "attribute IN :attributes AND " if attributes else ""
    order = "CASE reason WHEN 'conflict' THEN 1 WHEN 'unknown' THEN 2 ELSE 3 END, confidence, uri, attribute"
    audit = text(f"SELECT {_COLUMNS} FROM review_queue WHERE {wanted}reason = 'audit'")
    others = text(
        f"SELECT {_COLUMNS} FROM review_queue WHERE {wanted}reason <> 'audit' ORDER BY {order} LIMIT :limit"
    )
    with reading(engine) as connection:
        values = {"attributes": attributes} if attributes else {}
        if attributes:
            audit, others = audit.bindparams(_SEVERAL), others.bindparams(_SEVERAL)
        drawn = [Queued(*row) for row in connection.execute(audit, values)]
        drawn = sorted(drawn, key=lambda row: (_lot(row.uri), row.attribute))[:limit]
        rest = connection.execute(others, {"limit": limit - len(drawn), **values})
        return drawn + [Queued(*row) for row in rest]


def _lot(uri: str) -> bytes:
    return hashlib.blake2b(uri.encode(), digest_size=16).digest()


@outlasts_outages
def candidates(engine: Engine, uris: Collection[str]) -> dict[tuple[str, str], Candidates]:
    """(uri, attribute) -> what the served label set weighs."""
    query = text(
        "SELECT uri, attribute, sha256, label, confidence FROM label_candidates WHERE uri IN :uris"
        " ORDER BY uri, attribute, rank"
    ).bindparams(bindparam("uris", expanding=True))
    ordered = sorted(set(uris))
    found: dict[tuple[str, str], Candidates] = {}
    with reading(engine) as connection:
        for start in range(0, len(ordered), PAGE):
            rows = connection.execute(query, {"uris": ordered[start : start + PAGE]})
            for uri, attribute, sha256, label, confidence in rows:
                before = found.get((uri, attribute), Candidates(sha256, ()))
                found[uri, attribute] = Candidates(sha256, (*before.labels, (label, confidence)))
    return found
