"""The rungs of retraining that need no photo: a calibration refitted, or heads learned on stored embeddings.

Each rung makes a challenger from the same stage: the champion, the truth there is, and its three parts. The
rungs that move the towers stand in `tower_rungs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from fashion_clip.calibrating import calibrate
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.splitting import Parts, groups, split
from fashion_clip.unknown import REFERENCE
from tasks.catalog import versions
from tasks.catalog.evidence import Evidence, evidence
from tasks.catalog.vector_sample import vector_sample
from tasks.serving import ServedModel, labeller_for

if TYPE_CHECKING:
    from fashion_clip.model import Model

LEAST_EXAMPLES = 20  # photos with a label, for an attribute to be learned
PRECISION, CERTAINTY = 0.95, 0.9  # promised of accepted labels where the champion promises nothing

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


class Rung(StrEnum):
    """From the cheapest to the dearest."""

    CALIBRATE = "calibrate"
    HEAD = "head"
    LORA = "lora"
    FULL = "full"


@dataclass(frozen=True, eq=False)
class Stage:
    """What every rung starts from.

    groups: int64 (n,), equal where photos may not be on two sides. parts: of the evidence's n photos.
    reference: float32 (m, dimension), vectors spread over the catalogue, of photos that judge nothing.
    """

    champion: ServedModel
    evidence: Evidence
    groups: npt.NDArray[np.int64]
    parts: Parts
    reference: Floats


@dataclass(frozen=True, eq=False)
class Challenger:
    """What a rung made.

    checkpoint: the folder whose weights are the model's. vectors: float32 (n, dimension) of the evidence's n
    photos. rows: those of them that have a vector. facts: figures of how it was made, as JSON. kept_out:
    attribute -> labels that its towers were not trained on.
    """

    rung: Rung
    model: "Model"
    checkpoint: Path
    vectors: Floats
    rows: Rows
    facts: Mapping[str, Any]
    kept_out: Mapping[str, frozenset[str]] = field(default_factory=dict)


def stage(engine: Engine, champion: ServedModel) -> Stage:
    """All truth of photos that are embedded, and its parts: what taught the champion judges nothing."""
    told = evidence(engine, champion.label_set)
    group = groups(told.products, told.contents, told.vectors)
    uris, products = versions.taught_by(engine, champion.label_set.model_version)
    taught = [
        uri in uris or product in products for uri, product in zip(told.photos, told.products, strict=True)
    ]
    parts = split(group, told.given_at)
    known = np.isin(group[parts.judge], group[np.flatnonzero(taught)])
    parts = replace(parts, judge=parts.judge[~known])
    return Stage(champion, told, group, parts, vector_sample(engine, champion.label_set, REFERENCE))


def recalibrated(stage: Stage) -> Challenger:
    """The champion with a calibration of today's truth, all but that which judges."""
    rows = np.sort(np.concatenate([stage.parts.training, stage.parts.validation]))
    vectors = stage.evidence.vectors
    model = with_calibration(stage, stage.champion.model, vectors, rows, stage.reference)
    return _same_towers(stage, Rung.CALIBRATE, model, {})


def with_heads(stage: Stage, kept: frozenset[str] = frozenset()) -> Challenger:
    """The champion's towers with heads learned anew, calibrated on the truth that validates.

    kept: attributes that keep the champion's heads; their confidences are calibrated anew all the same.
    """
    champion = stage.champion.model
    model = learned(stage, champion, stage.evidence.vectors, stage.parts.training, kept)
    calibrated = with_calibration(
        stage, model, stage.evidence.vectors, stage.parts.validation, stage.reference
    )
    facts = {
        head.attribute: {
            "labels with examples": len(head.labels),
            "held to prompts": head.prompt_share,
            "penalty": head.penalty,
        }
        for head in (model.learned.heads if model.learned else ())
        if head.attribute not in kept
    }
    told = {"heads": facts} | ({"kept": sorted(kept)} if kept else {})
    return _same_towers(stage, Rung.HEAD, calibrated, told)


def learned(
    stage: Stage, model: "Model", vectors: Floats, rows: Rows, kept: frozenset[str] = frozenset()
) -> "Model":
    """With heads learned from some of the photos; an attribute with too few examples keeps what it had.

    kept: attributes that keep it in any case.
    """
    from fashion_clip.head_file import LearnedHeads
    from fashion_clip.heads import fit_head
    from fashion_clip.scoring import zero_shot_heads

    heads = {head.attribute: head for head in (model.learned.heads if model.learned else ())}
    for prompts in zero_shot_heads(model.encoder, stage.champion.label_set.taxonomy):
        if prompts.attribute not in stage.evidence.told or prompts.attribute in kept:
            continue
        truths = stage.evidence.truths(prompts.attribute, rows, vectors, False, stage.groups)
        labels = truths.truth[truths.truth != NONE_OF_THEM]
        if len(labels) >= LEAST_EXAMPLES and len(np.unique(labels)) > 1:
            heads[prompts.attribute] = fit_head(prompts, truths)
    ordered = tuple(heads[name] for name in sorted(heads))
    return replace(model, learned=LearnedHeads(ordered) if ordered else None, calibration=None)


def with_calibration(stage: Stage, model: "Model", vectors: Floats, rows: Rows, reference: Floats) -> "Model":
    """Calibrated on what was drawn at random of some of the photos; attributes with too little stay out."""
    label_set = stage.champion.label_set
    before = label_set.calibration
    found = calibrate(
        labeller_for(replace(model, calibration=None), label_set.taxonomy),
        {name: stage.evidence.truths(name, rows, vectors, sampled=True) for name in stage.evidence.told},
        reference,
        before.precision if before else PRECISION,
        before.certainty if before else CERTAINTY,
    )
    return replace(model, calibration=found if found.attributes else None)


def without_confidences(challenger: Challenger, attributes: frozenset[str]) -> Challenger:
    """The same with attributes uncalibrated: nothing of them is accepted until truth calibrates them anew."""
    calibration = challenger.model.calibration
    assert calibration is not None
    kept = {name: entry for name, entry in calibration.attributes.items() if name not in attributes}
    model = replace(challenger.model, calibration=replace(calibration, attributes=kept) if kept else None)
    facts = {**challenger.facts, "uncalibrated": sorted(attributes)}
    return replace(challenger, model=model, facts=facts)


def _same_towers(stage: Stage, rung: Rung, model: "Model", facts: Mapping[str, Any]) -> Challenger:
    vectors = stage.evidence.vectors
    return Challenger(rung, model, model.encoder.folder, vectors, np.arange(len(vectors)), facts)
