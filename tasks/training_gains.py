"""What a training has brought: accuracy on the photos that were held out, before and after."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fashion_clip.intervals import Difference, Share, paired_difference, share_with_interval
from tasks.serving import labeller_for
from tasks.training_material import Floats, Material, Stage

if TYPE_CHECKING:
    from fashion_clip.labeller import Labeller
    from fashion_clip.model import Model

PAGE = 8_192  # photos that are scored at once


@dataclass(frozen=True)
class Gain:
    """How often an attribute's first label is right; photos of one group count as one draw."""

    attribute: str
    before: Share
    after: Share
    difference: Difference


def gains_of(stage: Stage, made: "Model", vectors: Floats) -> tuple[Gain, ...]:
    """Of each attribute that held-out photos have truth of.

    Args:
        vectors: (m, dimension), those that the trained model gives of the material's photos.
    """
    material, taxonomy = stage.material, stage.labelled.taxonomy
    before = _hits(labeller_for(stage.model, taxonomy), material, material.vectors)
    after = _hits(labeller_for(made, taxonomy), material, vectors)
    gains = []
    for name in material.truth:
        rows = material.known(name, material.parts.judge)
        if len(rows):
            old, new, groups = before[name][rows], after[name][rows], material.groups[rows]
            shares = share_with_interval(old, groups), share_with_interval(new, groups)
            gains.append(Gain(name, *shares, paired_difference(new, old, groups)))
    return tuple(gains)


def _hits(labeller: "Labeller", material: Material, vectors: Floats) -> dict[str, npt.NDArray[np.bool_]]:
    """Attribute -> bool (m,): the first label is the true one; False for photos that are not held out."""
    from fashion_clip.labeller import label

    held_out = material.parts.judge
    hits = {name: np.zeros(len(vectors), dtype=bool) for name in material.truth}
    for start in range(0, len(held_out), PAGE):
        rows = held_out[start : start + PAGE]
        top = label(labeller, vectors[rows], 1)
        for name, truth in material.truth.items():
            hits[name][rows] = top[name].index[:, 0] == truth[rows]
    return hits
