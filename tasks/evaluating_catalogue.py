"""What the labels that a catalogue serves are worth, by what people said of its photos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from fashion_clip.calibration import is_fitting
from fashion_clip.errors import UsageError
from fashion_clip.evaluation import evaluate
from fashion_clip.predictions import Predictions
from fashion_clip.slices import slices as slices_of
from tasks.catalog import evaluations
from tasks.catalog.commit import known_contents
from tasks.catalog.evaluations import Told
from tasks.catalog.models import LabelSet
from tasks.catalog.truth_reach import Reach, reach
from tasks.catalog.truths import verdicts
from tasks.evaluating import THUMBNAIL, USUAL_SLICES, Evaluated
from tasks.serving import require_served
from tasks.thumbnails import Thumbnails

DATA = "truth of the catalogue"  # as the name of the data
ENOUGH = 0.95  # of the present photos, for the random truth to tell of the catalogue without more words
CHOSEN = "chosen"  # the slice by how truth came to be given


def evaluate_catalogue(engine: Engine, slices: Sequence[str]) -> Evaluated:
    """Measures the served labels on all truth there is; no photo is opened.

    Where truth was drawn at random, the figures come from that alone, weighted so that they tell of all
    photos of the runs that were drawn from; otherwise from all truth, which a warning says. Photos that were
    tagged before there was an audit, or without one, are of no such run: a warning says which share of the
    catalogue's present photos is, where it is under ENOUGH. What was drawn, what the review queue brought and
    what came unasked stand beside each other in the slice `chosen`.

    Args:
        slices: attributes whose truth accuracy is told apart by, beside USUAL_SLICES.

    Raises:
        UsageError: the catalogue is empty, or there is no truth, none of such an attribute, or none but what
            the champion's calibration was fitted to.
    """
    require_truth(engine)
    label_set = require_served(engine)
    every = verdicts(engine, label_set)
    if not every:
        raise UsageError(
            "no photo with truth has labels of the served set: bring truth of photos that are tagged"
        )
    told = evaluations.told(engine)
    every, left_out = _not_fitted(label_set, every, told.products)
    columns = _columns(told, slices)
    measured, warnings = _most_telling(every, told.chosen)
    warnings += left_out
    if any("random" in of_photo.values() for of_photo in told.chosen.values()):
        warnings += _unreached(reach(engine))
    found = evaluate(label_set.model_version, DATA, label_set.taxonomy.version, measured, columns, warnings)
    chosen = [
        part
        for said in every.values()
        for part in slices_of(said, CHOSEN, [told.chosen[said.attribute].get(uri, "") for uri in said.photos])
    ]

    def vectors() -> dict[str, npt.NDArray[np.float32]]:
        from fashion_clip.report import photos_on_map

        digests = {uri: told.digests[uri] for uri in photos_on_map(found) if uri in told.digests}
        known = known_contents(engine, label_set, set(digests.values()))
        return {
            uri: vector.astype(np.float32)
            for uri, digest in digests.items()
            if (vector := known[digest].vector) is not None
        }

    thumbnails = Thumbnails(engine)
    return Evaluated(
        (replace(found, slices=(*chosen, *found.slices)),),
        label_set.taxonomy,
        vectors,
        lambda uri: thumbnails.of(uri, told.digests[uri], THUMBNAIL),
    )


def require_truth(engine: Engine) -> None:
    """Raises UsageError where there can be nothing to measure by."""
    require_served(engine)
    if not evaluations.has_truth(engine):
        raise UsageError(
            "no photo of the catalogue has truth: bring some with fashion-clip truth import FILE, or measure "
            "on a data set with --dataset"
        )


def _not_fitted(
    label_set: LabelSet, every: Mapping[str, Predictions], products: Mapping[str, str]
) -> tuple[dict[str, Predictions], list[str]]:
    """Without the products that the champion's calibration is fitted to: their truth cannot judge it."""
    calibration = label_set.calibration
    if calibration is None:
        return dict(every), []
    kept, warnings = {}, []
    for attribute in label_set.taxonomy.attributes:
        said = every.get(attribute.name)
        if said is None:
            continue
        rows = np.arange(len(said.photos))
        if calibration.of(label_set.taxonomy, attribute) is not None:
            fitted = [is_fitting(products[uri], calibration.fitting) for uri in said.photos]
            rows = np.flatnonzero(~np.array(fitted, dtype=bool))
        if len(rows) < len(said.photos):
            warnings.append(
                f"{attribute.name}: {len(said.photos) - len(rows)} of {len(said.photos)} photos with truth "
                "are left out, of the products that confidences are fitted to"
            )
        if len(rows):
            kept[attribute.name] = said.rows(rows)
    if not kept:
        raise UsageError(
            "all truth is of products that the champion's confidences are fitted to, and cannot judge them: "
            "bring truth of more products with fashion-clip truth import FILE"
        )
    return kept, warnings


def _most_telling(
    every: Mapping[str, Predictions], chosen: Mapping[str, Mapping[str, str]]
) -> tuple[list[Predictions], list[str]]:
    """Of each attribute what was drawn at random if anything was, and what has to be said of that."""
    measured, warnings = [], []
    for name, said in every.items():
        of_photo = chosen.get(name, {})
        drawn = [row for row, uri in enumerate(said.photos) if of_photo.get(uri) == "random"]
        if not drawn:
            measured.append(said)
            warnings.append(
                f"{name}: none of its {len(said.photos)} photos with truth was drawn at random, so that the "
                "figures are theirs alone and not the catalogue's"
            )
            continue
        measured.append(said.rows(drawn) if len(drawn) < len(said.photos) else said)
        if len(drawn) < len(said.photos):
            warnings.append(
                f"{name}: measured on the {len(drawn)} photos that were drawn at random; those that "
                f"were not, {len(said.photos) - len(drawn)}, stand in the slice {CHOSEN!r} alone"
            )
    return measured, warnings


def _unreached(reach: Reach) -> list[str]:
    """A sentence on the photos that the random truth does not tell of, if they are many."""
    if reach.reached >= ENOUGH * reach.photos:
        return []
    if reach.since is None:
        runs = "of photos that are gone"
    else:
        runs = f"those of runs since {reach.since:%Y-%m-%d} that were drawn from"
    return [
        f"the random truth tells of {math.floor(100 * reach.reached / reach.photos)} % of the catalogue's "
        f"photos: {runs}"
    ]


def _columns(told: Told, asked: Sequence[str]) -> dict[str, dict[str, str]]:
    names = [name for name in asked if name != CHOSEN]
    for name in names:
        if name not in told.labels:
            raise UsageError(
                f"no truth of an attribute {name!r} to slice by; there is some of {', '.join(told.labels)}"
            )
    usual = [name for name in USUAL_SLICES if name in told.labels]
    return {name: told.labels[name] for name in dict.fromkeys([*usual, *names])}
