"""From which confidence on labels are accepted, so that a promised share of them is right.

The promise: with probability `certainty` over the draw of the truth, the precision of what is accepted is at
least `precision`, on photos like those that the truth was drawn from. The thresholds tried, and their order,
come from one part of the truth; each is then tested on the other part, until the first that fails: fixed
sequence testing (Angelopoulos and others, Learn then Test, arXiv 2110.01052, section 2.3), for which no
correction is due, and which does not need precision to rise with the threshold. The test is the binomial tail
at the wrong ones among the accepted: exact where all draws weigh the same, else at their effective number.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GROWTH = 1.08  # each threshold accepts so much more than the one before

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Independent draws, a product each: float64 confidence (n,), bool hits (n,), float64 weights (n,)."""

    confidence: Floats
    hits: Bools
    weights: Floats

    def above(self, threshold: float) -> "Tally":
        """Of the draws with at least that confidence."""
        chosen = self.confidence >= threshold
        if not chosen.any():
            return Tally(0.0, 0.0)
        weights = self.weights[chosen]
        n = weights.sum() ** 2 / np.square(weights).sum()
        return Tally(float(n), float(n * np.average(~self.hits[chosen], weights=weights)))


@dataclass(frozen=True)
class Tally:
    """n draws and how many of them are wrong; with unequal weights as many as would tell as much (Kish)."""

    n: float
    wrong: float

    def p_value(self, precision: float) -> float:
        """How probable so few wrong ones are where the precision is too low by a hair: the binomial tail."""
        from scipy.special import betainc

        return float(betainc(self.n - self.wrong, self.wrong + 1, precision)) if self.n > self.wrong else 1.0


def acceptance_threshold(
    proposing: Sample, judging: Sample, precision: float, certainty: float
) -> float | None:
    """The least confidence that keeps the promise of this module; None where none can be shown to.

    Args:
        proposing, judging: disjoint draws of truth. The scores of both must come from a model, calibration
            included, that `judging` had no part in.
        precision, certainty: each between 0 and 1.
    """
    threshold = None
    for candidate in _sequence(proposing, judging, precision):
        if judging.above(candidate).p_value(precision) > 1 - certainty:
            break
        threshold = candidate
    return threshold


def _sequence(proposing: Sample, judging: Sample, precision: float) -> list[float]:
    """Thresholds from the one most likely to pass downwards. Of `judging` only its size is used."""
    ranked = np.sort(np.unique(proposing.confidence))[::-1]
    if not len(ranked):
        return []
    steps = np.arange(np.ceil(np.log(len(ranked)) / np.log(GROWTH)) + 1)
    counts = np.unique(np.minimum(np.ceil(GROWTH**steps), len(ranked)).astype(int) - 1)
    candidates = [float(value) for value in ranked[counts]]
    scale = len(judging.hits) / len(proposing.hits)
    foreseen = []
    for candidate in candidates:
        tally = proposing.above(candidate)
        # As many as the judging draws will have; half a wrong one more, since few tell little.
        foreseen.append(Tally(tally.n * scale, (tally.wrong + 0.5) * scale).p_value(precision))
    return candidates[int(np.argmin(foreseen)) :]
