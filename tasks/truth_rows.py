"""Rows of a file of truth, as the catalogue has what they name: photos, products, attributes and labels."""

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from fashion_clip.errors import TaxonomyError
from fashion_clip.taxonomy import parse_taxonomy
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import label_names
from tasks.catalog.truth_targets import PhotosByName, Several, Target, photos_by_uri, products
from tasks.spreadsheet import plain
from tasks.truth_file import Told

NONE = "(none)"  # as a label: none of the attribute's fits
CHOSEN = ("random", "review", "unsampled")
MOST_HINTS = 10  # labels that an unknown one may have been meant to be: each takes a millisecond
_CLOCKS_DIFFER = timedelta(days=1)  # a time without a zone may be local


class RefusedRow(Exception):  # noqa: N818 - not raised to anybody outside: refused rows are counted
    """A row that cannot be imported. kind: which count of `tasks.truth.Imported` it goes to."""

    def __init__(self, kind: str, told: str):
        super().__init__(told)
        self.kind, self.told = kind, told


class Resolver:
    """Makes rows of `staged_truths` of what a file tells, chunk by chunk. It only reads the catalogue.

    Labels that the taxonomy lacks, if they are to be kept, get numbers below zero, until `make_labels`.
    """

    def __init__(self, connection: Connection, label_set: LabelSet, by: str, now: datetime, new_labels: bool):
        self._connection = connection
        self._names = PhotosByName(connection)
        self._attributes = {name.casefold(): name for name in label_set.attribute_ids}
        self._attribute_ids = label_set.attribute_ids
        self._labels = {
            attribute.name: {
                label.name: label_id
                for label, label_id in zip(attribute.labels, label_set.label_ids[attribute.name], strict=True)
            }
            for attribute in label_set.taxonomy.attributes
        }
        self._by, self._now, self._new_labels = by, now, new_labels
        self._made: dict[int, tuple[int, str]] = {}
        self._hints = MOST_HINTS

    def rows(self, chunk: Sequence[Told]) -> Iterator[dict[str, Any] | RefusedRow]:
        """A row for each that the chunk tells, or why there is none."""
        targets = _Targets(self._connection, self._names, chunk)
        for told in chunk:
            try:
                yield self._row(told, targets)
            except RefusedRow as refused:
                yield refused

    def _row(self, told: Told, targets: "_Targets") -> dict[str, Any]:
        chosen, probability = _chosen(told)
        target = targets.of(told)
        attribute = self._attribute(told.attribute)
        return {
            **vars(target),
            "attribute_id": self._attribute_ids[attribute],
            "label_id": self._label_id(attribute, told.label),
            "chosen": chosen,
            "inclusion_probability": probability,
            "given_by": plain(told.by) or self._by,
            "given_at": self._given_at(told),
            "dated": bool(told.when),
        }

    def make_labels(self, connection: Connection) -> dict[int, int]:
        """Writes the labels that were new; the number of each in the rows -> its id."""
        made = {}
        for number, (attribute_id, name) in self._made.items():
            row = {"attribute_id": attribute_id, "name": name}
            insert_or_nothing(connection, label_names, [row])
            query = select(label_names.c.label_id).filter_by(**row)
            made[number] = int(connection.execute(query).scalar_one())
        return made

    def _attribute(self, name: str) -> str:
        # An apostrophe at the beginning may be a spreadsheet's or the name's own, here and below.
        found = self._attributes.get(plain(name).casefold()) or self._attributes.get(name.casefold())
        if found is None:
            known = ", ".join(self._attributes.values())
            raise RefusedRow("unknown_attributes", f"no attribute {name!r}; there are: {known}")
        return found

    def _label_id(self, attribute: str, name: str) -> int | None:
        known = self._labels[attribute]
        for label in (plain(name), name):
            if label == NONE:
                return None
            if label in known:
                return known[label]
        if not self._new_labels:
            raise RefusedRow(
                "unknown_labels", f"{attribute} has no label {name!r}{self._hint(attribute, name)}"
            )
        known[plain(name)] = label_id = self._new_label(attribute, plain(name))
        return label_id

    def _hint(self, attribute: str, name: str) -> str:
        self._hints -= 1
        folded = {label.casefold(): label for label in self._labels[attribute]} if self._hints >= 0 else {}
        near = difflib.get_close_matches(plain(name).casefold(), folded, n=1)
        return f"; did you mean {folded[near[0]]!r}?" if near else ""

    def _new_label(self, attribute: str, name: str) -> int:
        try:
            parse_taxonomy({"name": "new", "attributes": {attribute: {"labels": [name]}}})
        except TaxonomyError as error:
            raise RefusedRow("unusable", str(error)) from error
        number = -len(self._made) - 1
        self._made[number] = (self._attribute_ids[attribute], name)
        return number

    def _given_at(self, told: Told) -> datetime:
        if not told.when:
            return self._now
        try:
            when = datetime.fromisoformat(told.when)
            when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # the first and last days there are have no UTC everywhere
            shown = f"when {told.when!r} is no time; expected one such as 2026-11-25T14:30:00+01:00"
            raise RefusedRow("unusable", shown) from None
        if when > self._now + _CLOCKS_DIFFER:
            raise RefusedRow("unusable", f"when {told.when!r} is in the future")
        return when


class _Targets:
    """What the rows of a chunk are about, looked up all URIs at once, all names, and all products."""

    def __init__(self, connection: Connection, names: PhotosByName, chunk: Iterable[Told]):
        by_name = {told.file_name for told in chunk if told.file_name and not told.uri}
        by_id = {told.product_id for told in chunk if told.product_id and not told.file_name and not told.uri}
        self._uris = photos_by_uri(connection, {told.uri for told in chunk if told.uri})
        self._names = names.find(by_name | {plain(name) for name in by_name})
        self._products = products(connection, by_id | {plain(one) for one in by_id})

    def of(self, told: Told) -> Target:
        """The photo or product of a row. Raises RefusedRow."""
        found: Target | Several | None
        if told.uri:
            found, name = self._uris.get(told.uri), f"photo {told.uri!r}"
        elif told.file_name:
            found = self._names.get(plain(told.file_name)) or self._names.get(told.file_name)
            name = f"photo of the name {told.file_name!r}"
        elif told.product_id:
            found = self._products.get(plain(told.product_id)) or self._products.get(told.product_id)
            name = f"product {told.product_id!r}"
        else:
            raise RefusedRow("unusable", "it names no photo")
        if found is None:
            raise RefusedRow("unknown_photos", f"the catalogue has no {name}")
        if isinstance(found, Several):
            shown = f"there are {found.photos} photos of the name {told.file_name!r}; give the uri"
            raise RefusedRow("ambiguous_photos", f"{shown}, or the folders before the name too")
        return found


def _chosen(told: Told) -> tuple[str, float | None]:
    """How the photo came to be looked at, and the probability if that was at random. Raises RefusedRow."""
    if told.surplus:
        shown = f"{told.surplus} cells more than the header has; are texts with commas in quotes?"
        raise RefusedRow("unusable", shown)
    chosen = told.chosen.lower() or ("review" if told.reason else "unsampled")
    if chosen not in CHOSEN:
        raise RefusedRow("unusable", f"chosen {told.chosen!r}; expected {', '.join(CHOSEN)}")
    if chosen != "random" or not told.probability:
        return chosen, None
    try:
        probability = float(told.probability)
    except ValueError:
        probability = math.nan
    if not 0 < probability <= 1:
        shown = f"inclusion_probability {told.probability!r}; expected a number above 0, at most 1"
        raise RefusedRow("unusable", shown)
    return chosen, probability
