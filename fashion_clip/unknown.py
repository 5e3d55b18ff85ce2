"""Photos unlike those of the catalogue: no product, or none that the taxonomy was made for.

The catalogue's vectors are described by a Gaussian with a few directions of its own and one variance for all
others (probabilistic PCA: Tipping and Bishop, J. R. Statist. Soc. B 61, 1999); a photo's score is its squared
Mahalanobis distance. The threshold is set on truth, as a split conformal test (Vovk and others, Algorithmic
Learning in a Random World, 2005): of products like those of the truth at most the share `FALSE_ALARMS` is
taken for unknown, whatever the shape of their scores.
"""

import base64
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COMPONENTS = 64
FALSE_ALARMS = 0.01
# Fewer cannot tell what one in a hundred looks like.
LEAST_TRUTHS = math.ceil(1 / FALSE_ALARMS) - 1
REFERENCE = 2_000  # of the catalogue's vectors: more change no score by a hundredth

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class UnknownRule:
    """mean (d,), components (k, d) with unit rows, variances (k,) along them, noise: the variance elsewhere.

    threshold: the score above which a photo is unknown.
    """

    mean: Floats
    components: Floats
    variances: Floats
    noise: float
    threshold: float

    def scores(self, vectors: Floats) -> Floats:
        """float32 (n,), the squared distances of vectors (n, d) from the catalogue's; about d on average."""
        apart = vectors - self.mean
        along = apart @ self.components.T
        rest = np.square(apart).sum(axis=1) - np.square(along).sum(axis=1)
        scores: Floats = np.square(along) @ (1 / self.variances) + rest / np.float32(self.noise)
        return scores

    def unknown(self, vectors: Floats) -> npt.NDArray[np.bool_]:
        """bool (n,)."""
        return self.scores(vectors) > np.float32(self.threshold)

    def as_dict(self) -> dict[str, object]:
        """For JSON: arrays as base64 of little-endian float32."""
        arrays = {"mean": self.mean, "components": self.components, "variances": self.variances}
        return {name: _packed(array) for name, array in arrays.items()} | {
            "noise": self.noise,
            "threshold": self.threshold,
        }


def rule_from_dict(document: dict[str, object]) -> UnknownRule:
    """What `as_dict` gave. Raises ValueError and others if it is not that."""
    mean, components, variances = (
        np.frombuffer(base64.b64decode(str(document[name])), "<f4")
        for name in ("mean", "components", "variances")
    )
    noise, threshold = (float(str(document[name])) for name in ("noise", "threshold"))
    finite = all(np.isfinite(found).all() for found in (mean, components, variances, noise, threshold))
    if not finite or noise <= 0 or (variances <= 0).any():
        raise ValueError("the rule for unknown photos must be of finite numbers, with positive variances")
    return UnknownRule(mean, components.reshape(len(variances), len(mean)), variances, noise, threshold)


def fit_unknown(reference: Floats, known: Floats) -> UnknownRule | None:
    """The rule for a catalogue; None where there is too little to make one of.

    Args:
        reference: (m, d), vectors drawn from the catalogue, at least twice as many as COMPONENTS.
        known: (n, d), vectors of what truth says are products, drawn at random and not in `reference`; at
            least LEAST_TRUTHS.
    """
    if len(known) < LEAST_TRUTHS or len(reference) < 2 * COMPONENTS:
        return None
    mean = reference.mean(axis=0)
    _, sizes, directions = np.linalg.svd(reference - mean, full_matrices=False)
    kept = min(COMPONENTS, len(mean) // 2)
    variances = np.square(sizes) / len(reference)
    noise = float(variances[kept:].sum() / (len(mean) - kept))
    rule = UnknownRule(mean, directions[:kept], variances[:kept], noise, math.inf)
    rank = math.ceil((len(known) + 1) * (1 - FALSE_ALARMS))
    threshold = float(np.sort(rule.scores(known))[min(rank, len(known)) - 1])
    return UnknownRule(mean, directions[:kept], variances[:kept], noise, threshold)


def _packed(array: Floats) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()
