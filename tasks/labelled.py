"""Photos whose truth is known, with the labels of a taxonomy: to evaluate a model on."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from fashion_clip.errors import UsageError
from fashion_clip.taxonomy import Attribute, Taxonomy, load_taxonomy, parse_taxonomy
from tasks.photo_tables import CLASS, PhotoTable, open_table
from tasks.settings import DEFAULT_TAXONOMY, settings
from tasks.sources import Source

NO_TRUTH = -2  # nothing is said of the photo; NONE_OF_THEM says that no label fits
NOT_KNOWN = ("", "NA")
TOLD = 3  # labels that a warning names

Truth = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """n photos of a source, each with truth in an attribute at least.

    truth: attribute -> int64 (n,), into the attribute's labels, or NO_TRUTH. products: n ids, the same where
    two photos show one product. columns: whatever else is told of the photos, name -> n texts. warnings: what
    was left out, and why.
    """

    source: Source
    taxonomy: Taxonomy
    uris: tuple[str, ...]
    products: tuple[str, ...]
    truth: Mapping[str, Truth]
    columns: Mapping[str, Sequence[str]]
    warnings: tuple[str, ...]

    def drawn(self, limit: int) -> "Labelled":
        """At most so many of the photos, drawn at random, and the same ones each time."""
        if limit >= len(self.uris):
            return self
        chosen = np.zeros(len(self.uris), dtype=bool)
        chosen[np.random.default_rng(0).choice(len(self.uris), limit, replace=False)] = True
        told = f"{limit} of {len(self.uris)} photos, drawn at random"
        return replace(_kept(self, chosen), warnings=(*self.warnings, told))


def open_labelled(spec: str, taxonomy: Taxonomy | None, attribute: str | None = None) -> Labelled:
    """The labelled photos that `spec` names; see `tasks.photo_tables.open_table`.

    Columns are truth where they are called as attributes of the taxonomy (the shipped one, or
    FASHION_CLIP_TAXONOMY, if None is given), in any case of letters. The column `label`, which class folders
    are, is truth of the attribute that is asked for, else of the one that has most of its labels; without a
    taxonomy its values are the labels themselves.

    The empty text and "NA" say nothing. What else is no label of the attribute is left out and told in
    `warnings`: no model that chooses among the labels could have said it.

    Raises:
        UsageError: no such data set or attribute, no photos, or no column that is an attribute.
        SourceError: the data set cannot be read.
    """
    table = open_table(spec)
    wanted, columns = _attributes(table, taxonomy, attribute)
    truth, warnings = {}, list(table.notes)
    for entry in wanted.attributes:
        if entry.name in columns:
            truth[entry.name], unknown = _truth(entry, table.columns[columns[entry.name]])
            warnings += _told(entry.name, unknown)
    labelled = Labelled(
        table.source, wanted, tuple(table.uris), tuple(table.products), truth, table.columns, tuple(warnings)
    )
    return _with_truth(labelled)


def _with_truth(labelled: Labelled) -> Labelled:
    known = np.any([truth != NO_TRUTH for truth in labelled.truth.values()], axis=0)
    lacking = int((~known).sum())
    if lacking == len(known):
        why = f"; {labelled.warnings[-1]}" if labelled.warnings else ""
        raise UsageError(f"no photo of {labelled.source.uri!r} has a label of the taxonomy{why}")
    told = (f"{lacking} photos have no label and are left out",) if lacking else ()
    return replace(_kept(labelled, known), warnings=(*labelled.warnings, *told))


def _kept(labelled: Labelled, rows: npt.NDArray[np.bool_]) -> Labelled:
    return replace(
        labelled,
        uris=tuple(compress(labelled.uris, rows)),
        products=tuple(compress(labelled.products, rows)),
        truth={name: truth[rows] for name, truth in labelled.truth.items()},
        columns={name: list(compress(values, rows)) for name, values in labelled.columns.items()},
    )


def _attributes(
    table: PhotoTable, taxonomy: Taxonomy | None, attribute: str | None
) -> tuple[Taxonomy, dict[str, str]]:
    """The taxonomy, and for each of its attributes that there is truth of the column that holds it."""
    own = attribute or CLASS
    default = taxonomy or load_taxonomy(settings().taxonomy or DEFAULT_TAXONOMY)
    columns = _columns(table, default)
    asked_for = attribute is not None or not columns
    if taxonomy is None and asked_for and own in table.columns and own not in columns:
        return _taxonomy_of(own, table.columns[own]), {own: own}
    if attribute is not None:
        _require_attribute(default, attribute, table)
        columns = {attribute: columns.get(attribute, CLASS)}
        if columns[attribute] not in table.columns:
            raise UsageError(_no_column(table, default))
    elif not columns:
        columns = {_best_covered(default, table): CLASS}
    return default, columns


def _columns(table: PhotoTable, taxonomy: Taxonomy) -> dict[str, str]:
    """Attribute -> the column that is called so, else one that is but for the case of letters."""
    folded = {_folded(column): column for column in table.columns}
    found = {}
    for entry in taxonomy.attributes:
        column = entry.name if entry.name in table.columns else folded.get(_folded(entry.name))
        if column is not None:
            found[entry.name] = column
    return found


def _taxonomy_of(attribute: str, values: Sequence[str]) -> Taxonomy:
    """Of the values themselves; in a prompt an underscore is a space."""
    names = sorted(set(values) - set(NOT_KNOWN))
    if not names:
        raise UsageError(f"no photo has a label: column {attribute!r} is empty")
    labels = [{"name": name, "text": name.replace("_", " ").strip() or name} for name in names]
    return parse_taxonomy({"name": "labels of the data", "attributes": {attribute: {"labels": labels}}})


def _require_attribute(taxonomy: Taxonomy, attribute: str, table: PhotoTable) -> None:
    names = [entry.name for entry in taxonomy.attributes]
    if attribute not in names:
        raise UsageError(
            f"{attribute!r} is neither an attribute of taxonomy {taxonomy.name!r}, which has "
            f"{', '.join(names)}, nor a column of the data, which has {', '.join(table.columns) or 'none'}"
        )


def _best_covered(taxonomy: Taxonomy, table: PhotoTable) -> str:
    """The attribute that knows the labels of most photos, the first of equals."""
    if CLASS not in table.columns:
        raise UsageError(_no_column(table, taxonomy))
    values = table.columns[CLASS]
    known = {entry.name: int((_truth(entry, values)[0] != NO_TRUTH).sum()) for entry in taxonomy.attributes}
    best = max(known, key=known.__getitem__)
    if not known[best]:
        found = ", ".join(map(repr, sorted(set(values))[:TOLD]))
        raise UsageError(
            f"no attribute of taxonomy {taxonomy.name!r} has labels such as {found}; without --taxonomy "
            "they are labels themselves"
        )
    return best


def _no_column(table: PhotoTable, taxonomy: Taxonomy) -> str:
    attributes = ", ".join(entry.name for entry in taxonomy.attributes)
    return (
        f"no column of {table.source.uri!r} is an attribute: its columns are "
        f"{', '.join(table.columns) or 'none'}, and taxonomy {taxonomy.name!r} has {attributes}; name a "
        "column with --attribute, or give the taxonomy that goes with the data"
    )


def _truth(attribute: Attribute, values: Sequence[str]) -> tuple[Truth, "Counter[str]"]:
    """See `Labelled.truth`, and how often what is no label of the attribute occurs."""
    exact = {label.name: number for number, label in enumerate(attribute.labels)}
    folded = {_folded(name): number for name, number in exact.items()}
    numbers = {value: exact.get(value, folded.get(_folded(value), NO_TRUTH)) for value in set(values)}
    counts = Counter(values)
    unknown = {
        value: counts[value] for value in numbers if numbers[value] == NO_TRUTH and value not in NOT_KNOWN
    }
    return np.array([numbers[value] for value in values], dtype=np.int64), Counter(unknown)


def _told(attribute: str, unknown: "Counter[str]") -> list[str]:
    if not unknown:
        return []
    frequent = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{value!r} ({count})" for value, count in frequent[:TOLD])
    others = f" and {len(frequent) - TOLD} others" if len(frequent) > TOLD else ""
    return [
        f"{attribute}: {unknown.total()} photos have labels that the taxonomy lacks and are left out: "
        f"{named}{others}"
    ]


def _folded(text: str) -> str:
    """As a taxonomy tells names apart: without regard to case, blanks and Unicode spelling."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
