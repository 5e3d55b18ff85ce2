"""Labelled photos in three parts: what teaches, what tells when to stop, what is measured at the end."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fashion_clip.calibrating import Truths
from fashion_clip.errors import UsageError
from fashion_clip.splitting import Parts, groups, split
from fashion_clip.taxonomy import load_taxonomy
from tasks.labelled import NO_TRUTH, Labelled, Truth, open_labelled
from tasks.ladder import LEAST_EXAMPLES
from tasks.training_request import Request
from tasks.training_work import ReadPhotos

if TYPE_CHECKING:
    from fashion_clip.model import Model

LEAST_PHOTOS = 50  # of an attribute; about half of them teach

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Material:
    """m photos that could be read, each with truth in an attribute at least.

    truth: attribute -> int64 (m,), into its labels, or NO_TRUTH. products: m ids. groups: int64 (m,), see
    `fashion_clip.splitting.groups`. vectors: float32 (m, dimension), those of the model as it was. parts: of
    the m photos. warnings: what was left out, and why.
    """

    truth: Mapping[str, Truth]
    products: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    vectors: Floats
    parts: Parts
    warnings: tuple[str, ...]

    def known(self, attribute: str, rows: Rows) -> Rows:
        """Those of the photos whose label is known."""
        known: Rows = rows[self.truth[attribute][rows] != NO_TRUTH]
        return known

    def truths(self, attribute: str, rows: Rows, vectors: Floats) -> Truths:
        """The attribute's truth of some of the photos, with vectors (m, dimension) of any model."""
        known = self.known(attribute, rows)
        products = tuple(self.products[row] for row in known)
        return Truths(vectors[known], self.truth[attribute][known], products, np.ones(len(known)))

    @property
    def taught(self) -> list[str]:
        """The attributes with examples enough to learn from: LEAST_EXAMPLES, of two labels at least."""
        labels = {name: truth[self.known(name, self.parts.training)] for name, truth in self.truth.items()}
        return [
            name for name, told in labels.items() if len(told) >= LEAST_EXAMPLES and len(np.unique(told)) > 1
        ]


@dataclass(frozen=True, eq=False)
class Stage:
    """What every method starts from; model is the one to be bettered."""

    request: Request
    labelled: Labelled
    model: "Model"
    material: Material


def open_request(request: Request) -> Labelled:
    """The photos that are asked for.

    Raises:
        UsageError: there is no such data, too little of it, or a single label.
        TaxonomyError: no such taxonomy.
        SourceError: the data cannot be read.
    """
    taxonomy = None if request.taxonomy is None else load_taxonomy(request.taxonomy)
    labelled = open_labelled(request.dataset, taxonomy, request.attribute)
    if request.limit is not None:
        labelled = labelled.drawn(request.limit)
    _require_enough(labelled)
    return labelled


def digest_of(labelled: Labelled) -> str:
    """sha256 (64 hex digits) of the photos' names below their source, their products and their labels."""
    names = {entry.name: [label.name for label in entry.labels] for entry in labelled.taxonomy.attributes}
    digest = hashlib.sha256()
    for row, uri in enumerate(labelled.uris):
        told = {
            name: names[name][truth[row]] for name, truth in labelled.truth.items() if truth[row] != NO_TRUTH
        }
        line = [labelled.source.key(uri), labelled.products[row], told]
        digest.update(json.dumps(line, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def material_of(labelled: Labelled, read: ReadPhotos) -> Material:
    """What was read, in its parts: a group of photos, see `fashion_clip.splitting.groups`, is in one of them.

    Raises:
        UsageError: too few groups for three parts, or too few examples in any attribute.
    """
    products = tuple(labelled.products[row] for row in read.rows)
    _, contents = np.unique(np.array(read.digests), return_inverse=True)
    group = groups(products, contents.astype(np.int64), read.vectors)
    truth = {name: column[read.rows] for name, column in labelled.truth.items()}
    # No truth is newer than other truth: as good as drawn at random, by a digest of the products' ids.
    parts = split(group, np.zeros(len(group)))
    warnings = (*labelled.warnings, *read.warnings)
    material = Material(truth, products, group, read.vectors, parts, warnings)
    _require_parts(labelled.source.uri, material)
    return material


def _require_enough(labelled: Labelled) -> None:
    uri = labelled.source.uri
    told = {name: truth[truth != NO_TRUTH] for name, truth in labelled.truth.items()}
    several = {name: truth for name, truth in told.items() if len(np.unique(truth)) > 1}
    if not several:
        names = {entry.name: entry.labels for entry in labelled.taxonomy.attributes}
        attribute, truth = max(told.items(), key=lambda item: len(item[1]))
        only = names[attribute][truth[0]].name
        raise UsageError(
            f"all {len(truth)} photos of {uri!r} have the label {only!r} of {attribute!r}: there is nothing "
            "to tell apart; give photos of two labels at least"
        )
    most = max(len(truth) for truth in several.values())
    if most < LEAST_PHOTOS:
        raise UsageError(
            f"{most} photos of {uri!r} have a label: expected {LEAST_PHOTOS} at least, of which half teach "
            "and the others measure; give more photos"
        )


def _require_parts(uri: str, material: Material) -> None:
    count = len(np.unique(material.groups))
    if not all(len(rows) for rows in vars(material.parts).values()):
        raise UsageError(
            f"the {len(material.products)} photos of {uri!r} are {count} groups of one product or nearly the "
            "same picture, too few for a part that teaches, one that validates and one that is held out; "
            "give photos of more products"
        )
    if not material.taught:
        most = max(len(material.known(name, material.parts.training)) for name in material.truth)
        raise UsageError(
            f"of {uri!r} {most} photos in {count} groups would teach: expected {LEAST_EXAMPLES} at least, of "
            "two labels of an attribute; give more photos"
        )
