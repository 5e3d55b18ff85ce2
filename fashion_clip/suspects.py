"""Truth that is probably wrong, for people to look at again: confident learning.

Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal of
Artificial Intelligence Research 70, 2021, sections 3.1 to 3.3, pruned by noise rate.
"""

import numpy as np
import numpy.typing as npt

from fashion_clip.predictions import NONE_OF_THEM

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def suspects(probabilities: Floats, truth: Ints) -> npt.NDArray[np.intp]:
    """Which photos probably show another label than the one they were given, worst first.

    From the labels that a model is confident of follows how many photos of each label show which other one;
    as many are named, those that look most like it, unless the model itself holds to the given label. Ranked
    by normalised margin: the probability of the given label less that of the best other one.

    Args:
        probabilities: (n, labels), 0..1, of a model that has not seen the photo's own truth, nor that of its
            group (`splitting.groups`): from cross-validation.
        truth: int (n,), into the labels, or NONE_OF_THEM, of which nothing can be told.
    """
    told = np.flatnonzero(truth != NONE_OF_THEM)
    probabilities, truth = probabilities[told], truth[told]
    doubted = np.zeros(len(told), dtype=bool)
    wrong = _wrong_labels(probabilities, truth)
    for given, other in zip(*np.nonzero(wrong), strict=True):
        rows = np.flatnonzero(truth == given)
        lead = probabilities[rows, other] - probabilities[rows, given]
        doubted[rows[np.argsort(-lead, kind="stable")[: wrong[given, other]]]] = True
    margin = _margins(probabilities, truth)
    found = np.flatnonzero(doubted & (margin < 0))
    worst_first: npt.NDArray[np.intp] = told[found[np.argsort(margin[found], kind="stable")]]
    return worst_first


def _wrong_labels(probabilities: Floats, truth: Ints) -> Ints:
    """int (labels, labels): how many photos with the row's label show the column's; 0 on the diagonal.

    A model is confident of a label that has at least the probability that it has on average where it was
    given: so a label of which it is seldom sure does not make wrong ones of all its photos.
    """
    labels = probabilities.shape[1]
    given = np.bincount(truth, minlength=labels)
    own = probabilities[np.arange(len(truth)), truth]
    usual = np.bincount(truth, own, labels) / np.maximum(given, 1)
    confident = (probabilities >= usual) & (given > 0)  # of a label that nobody gave nothing is usual
    sure = confident.any(axis=1)
    best = np.where(confident, probabilities, -np.inf)[sure].argmax(axis=1)
    joint = np.zeros((labels, labels))
    np.add.at(joint, (truth[sure], best), 1)
    # As if the model were as often confident of all: each row stands for the photos with its label.
    counts: Ints = np.rint(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1) * given[:, None]).astype(
        int
    )
    np.fill_diagonal(counts, 0)
    return counts


def _margins(probabilities: Floats, truth: Ints) -> Floats:
    """float (n,), -1..1; 1 where there is no other label."""
    rows = np.arange(len(truth))
    others = probabilities.copy()
    others[rows, truth] = 0
    margins: Floats = probabilities[rows, truth] - others.max(axis=1, initial=0)
    return margins
