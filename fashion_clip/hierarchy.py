"""Labels that can stand together: the best assignment along the taxonomy's parents, and how probable each is.

A child attribute's label must stand under the label that its parent attribute has. Attributes are taken as
independent witnesses: an assignment is as probable as the product of what each says, if it can stand, else
impossible. On a tree both the most probable assignment and the probability of each single label are exact, in
one pass up and one down (max-sum and sum-product; Pearl, Probabilistic Reasoning in Intelligent Systems,
1988, chapters 4 and 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.scoring import log_softmax
from fashion_clip.taxonomy import Attribute, Taxonomy

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SMALLEST = 1e-300  # of a sum of probabilities, beside the greatest of its row: float64 ends there


@dataclass(frozen=True, eq=False)
class Joint:
    """What goes together in each of n photos.

    index: attribute -> int (n,), its label in the most probable assignment.
    probability: attribute -> float32 (n, labels), of each label over all assignments; rows add up to 1.
    conflict: attribute -> bool (n,), true where the parent's label has no labels below it, so that whatever
        was chosen contradicts it.
    """

    index: dict[str, npt.NDArray[np.intp]]
    probability: dict[str, Floats]
    conflict: dict[str, Bools]


def best_together(log_probabilities: Mapping[str, Floats], taxonomy: Taxonomy) -> Joint:
    """The most probable labels that are consistent, and every label's probability.

    log_probabilities: attribute -> float32 (n, labels). An attribute that is left out links nothing: those
        below it are then chosen as if they had no parent.
    """
    given = [attribute for attribute in taxonomy.attributes if attribute.name in log_probabilities]
    by_name = {attribute.name: attribute for attribute in given}
    order = _parents_first(given)
    links = {
        attribute.name: allowed(attribute, by_name[attribute.parent])
        for attribute in order
        if attribute.parent in by_name
    }
    joint = Joint({}, _marginals(order, links, log_probabilities), {})
    scores = dict(log_probabilities)
    for attribute in reversed(order):
        if attribute.name in links:
            best = _best_below(scores[attribute.name], links[attribute.name])
            scores[_parent(attribute)] = scores[_parent(attribute)] + best
    for attribute in order:
        score = scores[attribute.name]
        conflict = np.zeros(len(score), dtype=bool)
        if attribute.name in links:
            below, parent = links[attribute.name], joint.index[_parent(attribute)]
            conflict = ~np.asarray(below.any(axis=1))[parent]
            score = np.where(below[parent] | conflict[:, None], score, np.float32(-np.inf))
        joint.index[attribute.name] = score.argmax(axis=1)
        joint.conflict[attribute.name] = conflict
    return joint


def _marginals(
    order: list[Attribute], links: Mapping[str, Bools], log_probabilities: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Sum-product: up with what is below each label, down with what is above and beside it."""
    # A label that allows nothing below it allows all: see `Joint.conflict`.
    open_links = {name: below | ~below.any(axis=1, keepdims=True) for name, below in links.items()}
    up = {attribute.name: log_probabilities[attribute.name].astype(np.float64) for attribute in order}
    below_of = {}
    for attribute in reversed(order):
        if attribute.name in links:
            below_of[attribute.name] = _log_sums(up[attribute.name], open_links[attribute.name].T)
            up[_parent(attribute)] = up[_parent(attribute)] + below_of[attribute.name]
    whole: dict[str, npt.NDArray[np.float64]] = {}
    for attribute in order:
        whole[attribute.name] = up[attribute.name]
        if attribute.name in links:
            above = whole[_parent(attribute)] - below_of[attribute.name]
            whole[attribute.name] = up[attribute.name] + _log_sums(above, open_links[attribute.name])
    return {name: np.exp(log_softmax(logs.astype(np.float32))) for name, logs in whole.items()}


def _log_sums(logs: npt.NDArray[np.float64], stands: Bools) -> npt.NDArray[np.float64]:
    """log(exp(logs) @ stands), (n, columns of stands), of logs (n, rows of stands)."""
    most = logs.max(axis=1, keepdims=True)
    sums = np.exp(logs - most) @ stands.astype(np.float64)
    found: npt.NDArray[np.float64] = np.log(np.maximum(sums, SMALLEST)) + most
    return found


def _parent(attribute: Attribute) -> str:
    assert attribute.parent is not None
    return attribute.parent


def allowed(child: Attribute, parent: Attribute) -> Bools:
    """bool (parent labels, child labels): which child labels may stand under which parent label."""
    return np.array(
        [
            [not label.parents or above.name in label.parents for label in child.labels]
            for above in parent.labels
        ]
    )


def _best_below(score: Floats, below: Bools) -> Floats:
    """(n, parent labels): the best that each allows; the best of all where it allows nothing."""
    best = [score[:, columns if columns.any() else slice(None)].max(axis=1) for columns in below]
    return np.stack(best, axis=1)


def _parents_first(attributes: list[Attribute]) -> list[Attribute]:
    names = {attribute.name for attribute in attributes}
    order: list[Attribute] = []
    placed: set[str] = set()
    while len(order) < len(attributes):
        for attribute in attributes:
            if attribute.name not in placed and (attribute.parent not in names or attribute.parent in placed):
                order.append(attribute)
                placed.add(attribute.name)
    return order
