"""Truth that is probably wrong, for people to look at again. Nothing is dropped or changed."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Engine

from fashion_clip.errors import UsageError
from fashion_clip.heads import fit_head, out_of_fold
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.splitting import groups
from fashion_clip.suspects import suspects
from tasks.catalog.evidence import NOT_KNOWN, evidence
from tasks.ladder import LEAST_EXAMPLES
from tasks.serving import load_model, require_served


@dataclass(frozen=True)
class Suspect:
    """A photo whose truth a model doubts that was not taught it. Probabilities are 0..1."""

    uri: str
    attribute: str
    truth: str
    probability: float
    likelier: str
    likelier_probability: float


def suspect_truths(engine: Engine, limit: int) -> list[Suspect]:
    """At most `limit` of each attribute, the worst first.

    Raises:
        UsageError: the catalogue is empty, or no attribute has truth enough to doubt any of it.
    """
    from fashion_clip.scoring import zero_shot_heads

    model = load_model(require_served(engine))
    told = evidence(engine, model.label_set)
    group = groups(told.products, told.contents, told.vectors)
    found: list[Suspect] = []
    doubted = 0
    for prompts in zero_shot_heads(model.encoder, model.label_set.taxonomy):
        if prompts.attribute not in told.told:
            continue
        truth = told.told[prompts.attribute].truth
        rows = np.flatnonzero((truth != NOT_KNOWN) & (truth != NONE_OF_THEM))
        if len(rows) < LEAST_EXAMPLES:
            continue
        doubted += 1
        truths = told.truths(prompts.attribute, rows, told.vectors, False, group)
        probabilities = out_of_fold(prompts, truths, fit_head(prompts, truths)).astype(np.float64)
        for place in suspects(probabilities, truths.truth)[:limit]:
            given, best = truths.truth[place], int(probabilities[place].argmax())
            found.append(
                Suspect(
                    told.photos[rows[place]],
                    prompts.attribute,
                    prompts.labels[given],
                    float(probabilities[place, given]),
                    prompts.labels[best],
                    float(probabilities[place, best]),
                )
            )
    if not doubted:
        raise UsageError(
            f"no attribute has truth of {LEAST_EXAMPLES} photos with a label, and with less nothing can be "
            "doubted: fashion-clip truth import FILE"
        )
    return found
