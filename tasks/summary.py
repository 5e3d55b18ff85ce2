"""A run's artifact in the Prefect UI: counts, label distribution, the photos it was least sure of."""

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine, text

from fashion_clip.contact_sheet import TILE, contact_sheet
from fashion_clip.errors import SourceError
from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.models import LabelSet
from tasks.catalog.runs import RunSummary
from tasks.catalog.tables import SCORE_SCALE
from tasks.sources import Source
from tasks.thumbnails import thumbnail

LEAST_SURE = 12
TOP_LABELS = 8


@dataclass(frozen=True)
class LabelCount:
    """How many photos a run tagged with a label."""

    attribute: str
    label: str
    photos: int


@dataclass(frozen=True)
class Unsure:
    """A photo with the content and the label it was given; confidence 0-1."""

    uri: str
    sha256: str
    label: str
    confidence: float


# Both queries begin at the run's own shards: their cost grows with the night, not with the catalogue. CROSS
# JOIN holds SQLite to that order; left free it begins with all labels of the set.
_OF_RUN = """
FROM shards h CROSS JOIN photos p CROSS JOIN labels l
LEFT JOIN contents c ON c.content_id = p.content_id
LEFT JOIN label_names n ON n.label_id = l.label_1
LEFT JOIN attributes a ON a.attribute_id = l.attribute_id
WHERE h.run_id = :run_id AND p.shard_id = h.shard_id
  AND l.label_set_id = :label_set_id AND l.content_id = p.content_id"""


@outlasts_outages
def label_counts(engine: Engine, run_id: int, label_set: LabelSet) -> list[LabelCount]:
    """Photos per attribute and label among those that the run tagged, most frequent first."""
    query = text(
        f"SELECT a.name, n.name, COUNT(*) {_OF_RUN} GROUP BY a.name, n.name ORDER BY COUNT(*) DESC, n.name"
    )
    with reading(engine) as connection:
        rows = connection.execute(query, {"run_id": run_id, "label_set_id": label_set.label_set_id})
        return [LabelCount(*row) for row in rows]


@outlasts_outages
def least_sure(engine: Engine, run_id: int, label_set: LabelSet) -> list[Unsure]:
    """The run's photos with the lowest confidence in the taxonomy's first attribute, lowest first."""
    attribute_id = label_set.attribute_ids[label_set.taxonomy.attributes[0].name]
    query = text(
        f"SELECT p.uri, c.sha256, n.name, l.confidence_1 {_OF_RUN} AND l.attribute_id = :attribute_id"
        f" ORDER BY l.confidence_1, p.uri LIMIT {LEAST_SURE}"
    )
    values = {
        "run_id": run_id,
        "label_set_id": label_set.label_set_id,
        "attribute_id": attribute_id,
    }
    with reading(engine) as connection:
        return [
            Unsure(uri, sha256, label, confidence / SCORE_SCALE)
            for uri, sha256, label, confidence in connection.execute(query, values)
        ]


def unsure_sheet(source: Source, unsure: Sequence[Unsure]) -> bytes | None:
    """A contact sheet of them as a JPEG; None if there are none, or none can be read any more."""
    tiles = []
    with suppress(SourceError):
        for photo in unsure:
            picture = thumbnail(source, photo.uri, photo.sha256, TILE)
            if picture is not None:
                caption = (photo.label, f"{photo.confidence:.0%} sure", source.key(photo.uri))
                tiles.append((picture, caption))
    return contact_sheet(tiles) if tiles else None


def markdown(
    run: RunSummary,
    brief: str,
    label_set: LabelSet | None,
    counts: Sequence[LabelCount],
    sheet: bytes | None,
) -> str:
    """The artifact's text; the contact sheet stands in it as a data: address. brief: what comes first."""
    parts = [_counts_table(run), brief]
    if label_set is not None:
        parts.append(f"Model `{label_set.model_version}`, taxonomy `{label_set.taxonomy.name}`.")
        parts += [_distribution(attribute.name, counts) for attribute in label_set.taxonomy.attributes]
    if sheet is not None:
        parts.append("## Least sure photos")
        parts.append(f"![least sure photos](data:image/jpeg;base64,{base64.b64encode(sheet).decode()})")
    return "\n\n".join(part for part in parts if part)


def _counts_table(run: RunSummary) -> str:
    columns = ("listed", "known", "embedded", "tagged", "quarantined", "remaining", "ignored")
    values = [str(getattr(run, column)) for column in columns]
    return "\n".join(
        (
            f"# Run {run.run_id}: {run.status}",
            "",
            "| " + " | ".join(columns) + " |",
            "|" + "---:|" * len(columns),
            "| " + " | ".join(values) + " |",
        )
    )


def _distribution(attribute: str, counts: Sequence[LabelCount]) -> str:
    found = [count for count in counts if count.attribute == attribute]
    if not found:
        return ""
    rows = [f"| {cell(count.label)} | {count.photos} |" for count in found[:TOP_LABELS]]
    rest = sum(count.photos for count in found[TOP_LABELS:])
    if rest:
        others = len(found) - TOP_LABELS
        rows.append(f"| {others} other {'label' if others == 1 else 'labels'} | {rest} |")
    return "\n".join((f"## {cell(attribute)}", "", "| label | photos |", "|---|---:|", *rows))


def cell(name: str) -> str:
    """A name from outside as plain text in a Markdown table."""
    escaped = "".join("\\" + c if c in "\\`*_[]()<>#!|~" else c for c in name)
    return " ".join(escaped.split())
