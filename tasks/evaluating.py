"""What models say of labelled photos, measured. Needs no database."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_clip.errors import SourceError, UsageError
from fashion_clip.evaluation import Evaluation, evaluate
from fashion_clip.predictions import Predictions, product_codes
from fashion_clip.scoring import TopLabels
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.embedding import Embedded, embed
from tasks.labelled import NO_TRUTH, Labelled, open_labelled
from tasks.progress import Progress
from tasks.serving import facts_of, labeller_for, load_chosen_model, scored
from tasks.thumbnails import thumbnail

if TYPE_CHECKING:
    from fashion_clip.model import Model

USUAL_SLICES = ("gender", "year", "source")  # made without being asked for, where there are such columns
MOST_VALUES = 200  # of a slice
LONGEST_VALUE = 200  # characters, as of a label: it is a key in SQL
PAGE = 8_192  # photos that are scored at once
THUMBNAIL = 224  # pixels of a picture's longer side


@dataclass(frozen=True)
class Wanted:
    """What to measure, and on what.

    dataset: see `open_labelled`; None is the truth of the catalogue. models: hub names or folders to compare
    on a data set; none is that of the settings. taxonomy: a shipped name or a TOML file. slices: columns to
    tell accuracy apart by, beside USUAL_SLICES. limit: photos at most, drawn at random.

    Raises:
        UsageError: what goes with a data set is given without one.
    """

    dataset: str | None = None
    models: tuple[str, ...] = ()
    taxonomy: str | None = None
    attribute: str | None = None
    slices: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.dataset is None and (self.models or self.taxonomy or self.attribute or self.limit):
            raise UsageError("a model, taxonomy, attribute or limit goes with a data set: give --dataset too")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Evaluations of the same photos, that of the model in question first.

    vectors: gives photo -> unit vector, float32 (dimension,), of the first model's encoder; of a catalogue's
    photos, those that a report's map shows. picture: gives a photo as a thumbnail, or None where it cannot be
    shown.
    """

    evaluations: tuple[Evaluation, ...]
    taxonomy: Taxonomy
    vectors: Callable[[], dict[str, npt.NDArray[np.float32]]]
    picture: Callable[[str], Image.Image | None]

    def first_parents(self) -> dict[str, dict[str, str]]:
        """Attribute -> label -> its first label in the parent attribute, for attributes that have one."""
        return {
            attribute.name: {label.name: label.parents[0] for label in attribute.labels if label.parents}
            for attribute in self.taxonomy.attributes
            if attribute.parent is not None
        }


def evaluate_data(wanted: Wanted, progress: Progress) -> Evaluated:
    """Measures models on a data set, all on the same photos: those that could be read and decoded.

    Raises:
        UsageError: no such data, or nothing in it to measure by; a column that is not there, or too fine; a
            model given twice.
        CheckpointError, TaxonomyError: either cannot be loaded.
        SourceError: the data cannot be read, or none of its photos.
    """
    assert wanted.dataset is not None
    taxonomy = None if wanted.taxonomy is None else load_taxonomy(wanted.taxonomy)
    labelled = open_labelled(wanted.dataset, taxonomy, wanted.attribute)
    columns = _columns(labelled, wanted.slices)
    if wanted.limit is not None:
        labelled = labelled.drawn(wanted.limit)
    models = _load(wanted.models or (None,))
    progress.started(len(labelled.uris) * len(models))
    embedded = [
        embed(model.encoder, labelled.source, labelled.uris, progress.advanced) for model in models.values()
    ]
    rows = reduce(np.intersect1d, [entry.rows for entry in embedded])
    warnings = [*labelled.warnings, *_failures(labelled, embedded, rows)]
    found = [
        evaluate(
            version,
            labelled.source.uri,
            labelled.taxonomy.version,
            _predictions(labelled, model, entry, rows),
            columns,
            warnings,
        )
        for (version, model), entry in zip(models.items(), embedded, strict=True)
    ]
    return _shown(labelled, found, embedded[0])


def _shown(labelled: Labelled, found: Sequence[Evaluation], embedded: Embedded) -> Evaluated:
    def vectors() -> dict[str, npt.NDArray[np.float32]]:
        photos = (labelled.uris[row] for row in embedded.rows)
        return dict(zip(photos, embedded.vectors.astype(np.float32), strict=True))

    def picture(uri: str) -> Image.Image | None:
        with suppress(SourceError):
            return thumbnail(labelled.source, uri, embedded.digests[uri], THUMBNAIL)
        return None

    return Evaluated(tuple(found), labelled.taxonomy, vectors, picture)


def _load(models: Sequence[str | None]) -> "dict[str, Model]":
    """By the name of the version, in the order given."""
    loaded: dict[str, Model] = {}
    met: set[str] = set()
    for model in models:
        found = load_chosen_model(model)
        facts = facts_of(found)
        if facts.fingerprint in met:
            raise UsageError(f"{model!r} has the weights of a model that was given before; give each once")
        met.add(facts.fingerprint)
        loaded[facts.version] = found
    return loaded


def _failures(labelled: Labelled, embedded: Sequence[Embedded], rows: npt.NDArray[np.intp]) -> list[str]:
    """A sentence on the photos that are left out, if any are. Raises SourceError if all are."""
    failed = {uri: error.reason for entry in embedded for uri, error in entry.failed.items()}
    if not failed:
        return []
    example = {reason: uri for uri, reason in failed.items()}
    counts = sorted(Counter(failed.values()).items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{count} {reason} (such as {example[reason]!r})" for reason, count in counts)
    if not len(rows):
        raise SourceError(f"none of the {len(labelled.uris)} photos could be read and decoded: {told}")
    return [f"{len(failed)} photos could not be read or decoded and are left out: {told}"]


def _predictions(
    labelled: Labelled, model: "Model", embedded: Embedded, rows: npt.NDArray[np.intp]
) -> list[Predictions]:
    """Of each attribute, on those of the photos `rows` that have truth in it."""
    vectors = embedded.vectors[np.isin(embedded.rows, rows)]
    top = _scored(model, labelled.taxonomy, vectors)
    products = product_codes(labelled.products)
    said = []
    for attribute in labelled.taxonomy.attributes:
        if attribute.name not in labelled.truth:
            continue
        truth = labelled.truth[attribute.name][rows]
        known = np.flatnonzero(truth != NO_TRUTH)
        said.append(
            Predictions(
                attribute.name,
                tuple(label.name for label in attribute.labels),
                truth[known],
                top[attribute.name].rows(known),
                tuple(labelled.uris[row] for row in rows[known]),
                products[rows[known]],
                np.ones(len(known)),
            )
        )
    return said


def _scored(model: "Model", taxonomy: Taxonomy, vectors: npt.NDArray[np.float16]) -> dict[str, TopLabels]:
    labeller = labeller_for(model, taxonomy)
    parts = [
        scored(labeller, vectors[start : start + PAGE].astype(np.float32))
        for start in range(0, len(vectors), PAGE)
    ]
    return {
        name: TopLabels(
            *(
                np.concatenate([getattr(part[name], field) for part in parts])
                for field in TopLabels.__dataclass_fields__
            )
        )
        for name in parts[0]
    }


def _columns(labelled: Labelled, asked: Sequence[str]) -> dict[str, dict[str, str]]:
    """Slice -> photo -> value. Raises UsageError for a column that is not there, or is too fine."""
    has = labelled.columns
    chosen = [name for name in USUAL_SLICES if name in has and _unfit(has[name]) is None]
    for name in asked:
        if name not in has:
            raise UsageError(f"no column {name!r} to slice by; the data has {', '.join(has) or 'none'}")
        if (unfit := _unfit(has[name])) is not None:
            raise UsageError(f"column {name!r} cannot be sliced by: {unfit}")
    return {
        name: dict(zip(labelled.uris, has[name], strict=True)) for name in dict.fromkeys([*chosen, *asked])
    }


def _unfit(column: Sequence[str]) -> str | None:
    """Why a column makes no slices; None if it does."""
    values = set(column)
    if len(values) > MOST_VALUES:
        return f"it has {len(values)} values, and a slice has {MOST_VALUES} at most"
    longest = max(values, key=len, default="")
    if len(longest) > LONGEST_VALUE:
        begins = f"{len(longest)} characters, which begins with {longest[:40]!r}"
        return f"it has a value of {begins}; a value has {LONGEST_VALUE} at most"
    return None
