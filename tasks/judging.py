"""A challenger before the gate: what it and the champion say of the truth that judges; and how it is kept."""

from collections.abc import Mapping, Sequence
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
from fashion_clip.verdict import Check, Kind, Verdict, reasons
from tasks import registry
from tasks.catalog import versions
from tasks.catalog.evidence import NOT_KNOWN
from tasks.catalog.models import REGISTERED, ModelFacts
from tasks.catalog.versions import Made
from tasks.ladder import Challenger, Floats, Rows, Rung, Stage, with_heads, without_confidences
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
    """The verdict; where a challenger gains but is worse elsewhere, on it without what can be given up.

    Those are new heads of the head rung for attributes that lose, and confidences that err more. It is judged
    again without them. The level holds: nothing is given up before the gain has passed its test, heads only
    of attributes that are not linked to the primary one, so that this says the same as before, and
    confidences of linked attributes all or none, so that there is one other model at most that could pass by
    chance.
    """
    verdict, told = judged(stage, challenger, rules, level), ""
    if losing := _losing(stage, challenger, rules, verdict):
        why = reasons([check for check in verdict.failed if check.kind is not Kind.CALIBRATION], level)
        told += f"; judged with the champion's heads for {', '.join(sorted(losing))}, since {why}"
        challenger = with_heads(stage, kept=losing)
        verdict = judged(stage, challenger, rules, level)
    if erring := _erring(stage, challenger, verdict):
        why = reasons(verdict.failed, level)
        told += f"; judged without confidences of {', '.join(sorted(erring))}, since {why}"
        challenger = without_confidences(challenger, erring)
        verdict = judged(stage, challenger, rules, level)
    return challenger, replace(verdict, sentence=verdict.sentence + told)


def _losing(stage: Stage, challenger: Challenger, rules: Rules, verdict: Verdict) -> frozenset[str]:
    """The attributes that lose, with those linked to them; none if the primary one is among them."""
    if challenger.rung is not Rung.HEAD or not _gained(verdict):
        return frozenset()
    losing = _linked(stage, [check for check in verdict.failed if check.kind is not Kind.CALIBRATION])
    return frozenset() if rules.primary in losing else losing


def _erring(stage: Stage, challenger: Challenger, verdict: Verdict) -> frozenset[str]:
    """The attributes whose confidences are to go, where nothing but confidences speaks against it.

    With those linked to them: a threshold holds for labels that were chosen together.
    """
    calibration = challenger.model.calibration
    only = all(check.kind is Kind.CALIBRATION for check in verdict.failed)
    if calibration is None or not only or not _gained(verdict):
        return frozenset()
    return _linked(stage, verdict.failed) & calibration.attributes.keys()


def _linked(stage: Stage, checks: Sequence[Check]) -> frozenset[str]:
    """The attributes that checks are of, with those linked to them."""
    linked = stage.champion.label_set.taxonomy.linked
    return frozenset(name for check in checks for name in linked(check.attribute))


def _gained(verdict: Verdict) -> bool:
    return any(check.passed for check in verdict.of(Kind.GAIN))


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
