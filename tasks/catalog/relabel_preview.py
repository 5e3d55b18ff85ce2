"""What a relabelling would change: the labels that are served against those that would be."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, select, text

from fashion_clip.labeller import Labeller, label
from fashion_clip.scoring import Decision, Head
from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.models import LabelSet
from tasks.catalog.relabelling import PAGE, Page, page_of_vectors
from tasks.catalog.tables import contents, photos

MOST_SHOWN = 10  # changes of an attribute, the most frequent first

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """Pictures whose label would change so, and the photo of one of them."""

    before: str
    after: str
    pictures: int
    example_uri: str | None


@dataclass(frozen=True)
class AttributePreview:
    """pictures: that have a label of the attribute now. changes: the MOST_SHOWN most frequent.

    accepted: pictures whose label is accepted now; accepted_then: whose label would be.
    """

    attribute: str
    pictures: int
    changed: int
    accepted: int
    accepted_then: int
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Preview:
    """pictures: all that would be labelled. new, dropped: attributes that one of the taxonomies lacks."""

    pictures: int
    attributes: tuple[AttributePreview, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class _Tally:
    """Of one attribute: (label_id before, place in the head after) -> pictures, and the first of them."""

    pictures: int = 0
    accepted: int = 0
    accepted_then: int = 0
    pairs: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def add(self, content_ids: Ints, before: Ints, after: Ints) -> None:
        """Pictures whose label would be another one."""
        width = int(after.max(initial=0)) + 1
        codes, first, counts = np.unique(before * width + after, return_index=True, return_counts=True)
        for code, content_id, count in zip(
            codes.tolist(), content_ids[first].tolist(), counts.tolist(), strict=True
        ):
            self.pairs.setdefault(divmod(code, width), [0, content_id])[0] += count


def preview(engine: Engine, current: LabelSet, labeller: Labeller, on_page: Callable[[int], None]) -> Preview:
    """Labels all stored vectors in another way and compares that with what is served.

    on_page is told how many pictures each page had.
    """
    names = {label_id: name for name, label_id in _names(current)}
    shared = [head for head in labeller.heads if head.attribute in current.attribute_ids]
    tallies = {head.attribute: _Tally() for head in shared}
    pictures = 0
    for page, served in _pages(engine, current):
        pictures += len(page.content_ids)
        ids, top = np.asarray(page.content_ids), label(labeller, page.vectors, k=1)
        for head in shared:
            mine = served[served[:, 1] == current.attribute_ids[head.attribute]]
            content_ids, before = mine[:, 0], mine[:, 2]
            rows = np.searchsorted(ids, content_ids)
            after = top[head.attribute].index[rows, 0].astype(np.int64)
            changed = _differ(names, head, before, after)
            tally = tallies[head.attribute]
            tally.pictures += len(content_ids)
            tally.accepted += int(np.count_nonzero(mine[:, 3] == Decision.ACCEPTED))
            tally.accepted_then += int(
                np.count_nonzero(top[head.attribute].decision[rows] == Decision.ACCEPTED)
            )
            tally.add(content_ids[changed], before[changed], after[changed])
        on_page(len(page.content_ids))
    now, then = set(current.attribute_ids), {head.attribute for head in labeller.heads}
    return Preview(
        pictures,
        tuple(_told(engine, names, head, tallies[head.attribute]) for head in shared),
        tuple(sorted(then - now)),
        tuple(sorted(now - then)),
    )


def _names(label_set: LabelSet) -> Iterator[tuple[str, int]]:
    for attribute in label_set.taxonomy.attributes:
        ids = label_set.label_ids[attribute.name]
        yield from zip((label.name for label in attribute.labels), ids, strict=True)


def _pages(engine: Engine, current: LabelSet) -> Iterator[tuple[Page, Ints]]:
    after = 0
    while True:
        page, served = _page(engine, current, after)
        if not page.content_ids:
            return
        yield page, served
        after = page.content_ids[-1]


@outlasts_outages
def _page(engine: Engine, current: LabelSet, after: int) -> tuple[Page, Ints]:
    """A page of vectors, and the served labels: (content_id, attribute_id, label_id, decision) a row."""
    query = text(
        "SELECT content_id, attribute_id, label_1, decision FROM labels WHERE label_set_id = :label_set_id"
        " AND content_id > :after AND content_id <= :last ORDER BY content_id, attribute_id"
    )
    with reading(engine) as connection:
        page = page_of_vectors(connection, current, after, PAGE)
        last = page.content_ids[-1] if page.content_ids else after
        values = {"label_set_id": current.label_set_id, "after": after, "last": last}
        served = np.fromiter(chain.from_iterable(connection.execute(query, values)), np.int64)
    return page, served.reshape(-1, 4)


def _differ(names: dict[int, str], head: Head, before: Ints, after: Ints) -> npt.NDArray[np.bool_]:
    """By name: a label keeps its number across taxonomies, but not its place in them."""
    place = {name: index for index, name in enumerate(head.labels)}
    distinct, where = np.unique(before, return_inverse=True)
    places = np.array([place.get(names[label_id], -1) for label_id in distinct.tolist()], dtype=np.int64)
    differ: npt.NDArray[np.bool_] = places[where] != after
    return differ


def _told(engine: Engine, names: dict[int, str], head: Head, tally: _Tally) -> AttributePreview:
    ranked = sorted(tally.pairs.items(), key=lambda item: (-item[1][0], item[0]))
    changes = tuple(
        Change(names[before], head.labels[after], count, _a_photo_of(engine, content_id))
        for (before, after), (count, content_id) in ranked[:MOST_SHOWN]
    )
    return AttributePreview(
        head.attribute,
        tally.pictures,
        sum(count for count, _ in tally.pairs.values()),
        tally.accepted,
        tally.accepted_then,
        changes,
    )


@outlasts_outages
def _a_photo_of(engine: Engine, content_id: int) -> str | None:
    """A present photo that shows a content; None if all have vanished."""
    shows = (photos.c.content_id == content_id) & photos.c.vanished_at.is_(None)
    query = select(photos.c.uri).join(contents).where(shows).order_by(photos.c.uri).limit(1)
    with reading(engine) as connection:
        return connection.execute(query).scalar()
