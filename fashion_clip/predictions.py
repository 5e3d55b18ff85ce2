"""What a model said of photos whose truth is known: what every figure of an evaluation is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.scoring import TopLabels

NONE_OF_THEM = -1  # as a true label: no label of the attribute fits


@dataclass(frozen=True, eq=False)
class Predictions:
    """One attribute of n photos.

    labels: the attribute's L labels, in the order of the head.
    truth: int (n,), into `labels`, or NONE_OF_THEM.
    top: what the model said, arrays (n, k), best first, and its decisions (n,).
    photos: the n photos' URIs or names.
    products: int (n,), equal where two photos show one product.
    weights: float64 (n,), 1 / inclusion probability; ones where photos were not sampled.
    """

    attribute: str
    labels: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    top: TopLabels
    photos: tuple[str, ...]
    products: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """bool (n,): the first label is the true one."""
        right: npt.NDArray[np.bool_] = self.top.index[:, 0] == self.truth
        return right

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """float64 (n,): of the first label."""
        return self.top.confidence[:, 0].astype(np.float64)

    def rows(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> "Predictions":
        """Those of some of the photos."""
        return Predictions(
            self.attribute,
            self.labels,
            self.truth[rows],
            self.top.rows(rows),
            tuple(self.photos[row] for row in rows),
            self.products[rows],
            self.weights[rows],
        )


def product_codes(product_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """int (n,): a number for each product, the same for all its photos."""
    _, codes = np.unique(np.asarray(product_ids, dtype=str), return_inverse=True)
    return codes.astype(np.int64)
