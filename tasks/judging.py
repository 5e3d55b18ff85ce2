"""A challenger before the gate: what it and the champion say of the truth that judges; and how it is kept."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version as code_version
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Engine

from fashion_clip.gate import Judged, Rules, judge
from fashion_clip.labeller import Labeller, label
from fashion_clip.paired_tests import least_discordant
from fashion_clip.predictions import Predictions
from fashion_clip.scoring import Head, top_labels
from fashion_clip.verdict import Kind, Verdict
from tasks import registry
from tasks.catalog import versions
from tasks.catalog.evidence import NOT_KNOWN
from tasks.catalog.models import REGISTERED, ModelFacts
from tasks.catalog.versions import Made
from tasks.ladder import Challenger, Floats, Rows, Rung, Stage, with_kept, without_confidences
from tasks.serving import facts_of, labeller_for

if TYPE_CHECKING:
    from fashion_clip.model import Model


def judged(stage: Stage, challenger: Challenger, rules: Rules, level: float) -> Verdict:
    """The verdict on a challenger: both models on the same photos, drawn at random, that taught neither."""
    rows = np.intersect1d(stage.parts.judge, challenger.rows)
    champion = _judged(stage, stage.champion.model, stage.evidence.vectors, rows, challenger.kept_out)
    other = _judged(stage, challenger.model, challenger.vectors, rows, challenger.kept_out)
    return judge(champion, other, rules, level)


def judged_and_mended(
    stage: Stage, challenger: Challenger, rules: Rules, level: float
) -> tuple[Challenger, Verdict]:
    """The verdict; where a challenger gains but is worse elsewhere, on it without what is worse.

    An attribute that loses, the primary one aside, stays as the champion has it, if the towers are the
    champion's. Confidences that err more are left out. It is judged anew only after it has passed the test of
    a gain, so that the level holds. It may lose again by that: linked attributes choose labels together.
    """
    verdict = judged(stage, challenger, rules, level)
    losing = _failing(verdict, Kind.ATTRIBUTE, Kind.LABEL) - {rules.primary}
    if challenger.rung not in (Rung.CALIBRATE, Rung.HEAD):
        losing = frozenset()
    erring = _failing(verdict, Kind.CALIBRATION) - losing
    others = [check for check in verdict.failed if check.attribute not in losing]
    if not (losing or erring) or any(check.kind is not Kind.CALIBRATION for check in others):
        return challenger, verdict
    told = ""
    if losing:
        challenger = with_kept(challenger, stage.champion.model, losing)
        told += f"; {', '.join(sorted(losing))} would lose, and what the champion says there is kept"
    if erring:
        challenger = without_confidences(challenger, erring)
        told += f"; confidences of {', '.join(sorted(erring))} erred more and are left uncalibrated"
    verdict = judged(stage, challenger, rules, level)
    return challenger, replace(verdict, sentence=verdict.sentence + told)


def _failing(verdict: Verdict, *kinds: Kind) -> frozenset[str]:
    return frozenset(check.attribute for check in verdict.failed if check.kind in kinds)


def hopeless(stage: Stage, rules: Rules, level: float) -> Verdict | None:
    """The verdict that any challenger would get where too little truth judges; None if there is enough."""
    products = 0
    if (told := stage.evidence.told.get(rules.primary)) is not None:
        rows = stage.parts.judge
        known = told.sampled[rows] & (told.truth[rows] != NOT_KNOWN)
        products = len(np.unique(stage.groups[rows[known]]))
    if products >= least_discordant(level):
        return None
    champion = _judged(stage, stage.champion.model, stage.evidence.vectors, stage.parts.judge, {})
    return judge(champion, champion, rules, level)


def errors(stage: Stage) -> dict[str, float]:
    """Attribute -> the share of photos drawn at random, and not to judge, that the champion has wrong."""
    rows = np.setdiff1d(np.arange(len(stage.groups)), stage.parts.judge)
    found = _judged(stage, stage.champion.model, stage.evidence.vectors, rows, {}).predictions
    return {one.attribute: 1 - float(one.hits.mean()) for one in found if len(one.hits)}


def version_of(stage: Stage, challenger: Challenger) -> str:
    """The name that a challenger has or would have."""
    return _facts(stage, challenger).version


def register(engine: Engine, stage: Stage, challenger: Challenger, seed: int, keep: bool) -> str:
    """Registers a challenger; returns its name. Safe to repeat.

    keep: write its folder, before its version is; what was rejected stands in SQL alone. A calibration never
    has a folder of its own: it stands in SQL whole, beside its parent's.
    """
    label_set = stage.champion.label_set
    facts = _facts(stage, challenger)
    parts = vars(stage.parts)
    told = {
        "figures": dict(challenger.facts),
        "seed": seed,
        "code": code_version("fashion-clip-flows"),
        "truth": {name: stage.evidence.version(rows) for name, rows in parts.items() if name != "judge"},
        "photos": {name: len(rows) for name, rows in parts.items()},
        "kept_out": {name: sorted(labels) for name, labels in challenger.kept_out.items()},
    }
    if challenger.rung is not Rung.CALIBRATE:
        digest = _published(stage, challenger, facts, told) if keep else None
        facts = replace(facts, checkpoint=REGISTERED + facts.version, digest=digest)
    truths = {name: stage.evidence.truth_ids(rows) for name, rows in parts.items()}
    return versions.register(engine, facts, Made(str(challenger.rung), label_set.model_version, told, truths))


def _facts(stage: Stage, challenger: Challenger) -> ModelFacts:
    label_set = stage.champion.label_set
    return replace(facts_of(challenger.model), checkpoint=label_set.checkpoint, digest=label_set.digest)


def _published(stage: Stage, challenger: Challenger, facts: ModelFacts, told: Mapping[str, Any]) -> str:
    description = {
        "version": facts.version,
        "rung": str(challenger.rung),
        "parent": stage.champion.label_set.model_version,
        "encoder": facts.encoder_identity,
        "precision": facts.precision,
        "decode": facts.decode,
        "taxonomy": stage.champion.label_set.taxonomy.to_document(),
        "made": told,
    }
    model = challenger.model
    return registry.publish(
        facts.version, challenger.checkpoint, model.learned, model.calibration, description
    )


def _judged(
    stage: Stage, model: "Model", vectors: Floats, rows: Rows, kept_out: Mapping[str, frozenset[str]]
) -> Judged:
    labeller = labeller_for(model, stage.champion.label_set.taxonomy)
    said = label(labeller, vectors[rows])
    found = []
    for head in labeller.heads:
        if (told := stage.evidence.told.get(head.attribute)) is None:
            continue
        known = np.flatnonzero(told.sampled[rows] & (told.truth[rows] != NOT_KNOWN))
        top = said[head.attribute].rows(known)
        found.append(_predictions(stage, head, rows[known], told.truth[rows[known]], top))
    return Judged(
        tuple(found),
        tuple(_kept_out(stage, model, vectors, rows, kept_out)),
        frozenset(labeller.calibrated()),
    )


def _kept_out(
    stage: Stage, model: "Model", vectors: Floats, rows: Rows, kept_out: Mapping[str, frozenset[str]]
) -> list[Predictions]:
    """By prompts alone, among the labels that were kept out, of photos that have one of them."""
    if not kept_out:
        return []
    zero_shot: Labeller = labeller_for(
        replace(model, learned=None, calibration=None), stage.champion.label_set.taxonomy
    )
    found = []
    for head in zero_shot.heads:
        labels = [place for place, name in enumerate(head.labels) if name in kept_out.get(head.attribute, ())]
        told = stage.evidence.told.get(head.attribute)
        if told is None or len(labels) < 2:
            continue
        chosen = rows[told.sampled[rows] & np.isin(told.truth[rows], labels)]
        if not len(chosen):
            continue
        narrowed = Head(
            head.attribute, tuple(head.labels[place] for place in labels),
            head.weights[labels], head.scales[labels], head.biases[labels],
        )  # fmt: skip
        truth = np.searchsorted(labels, told.truth[chosen])
        found.append(_predictions(stage, narrowed, chosen, truth, top_labels(narrowed, vectors[chosen])))
    return found


def _predictions(stage: Stage, head: Head, rows: Rows, truth: Any, top: Any) -> Predictions:
    told = stage.evidence.told[head.attribute]
    return Predictions(
        head.attribute,
        head.labels,
        truth.astype(np.int64),
        top,
        # A photo that was exchanged has truth of two pictures.
        tuple(f"{stage.evidence.photos[row]} {stage.evidence.contents[row]}" for row in rows),
        stage.groups[rows],
        told.weights[rows],
    )
