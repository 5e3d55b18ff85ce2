"""Truth that was drawn with different probabilities, made draws of equal probability, a product each."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def even_draws(
    photos: Sequence[str],
    products: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    most: float,
) -> npt.NDArray[np.intp]:
    """The rows that count, ascending: each with probability weight / `most` (von Neumann's rejection).

    Of a product the photo with the least digest speaks. What is kept is as good as drawn with one
    probability, 1 / `most`, from all photos, so that its plain share of hits has the weighted accuracy as its
    mean, and a test that is exact for equal weights stays so. It costs truth: of n is left n times the mean
    weight over `most`. Chance is a digest of the photo's name, so that the same rows are kept each time.

    Args:
        photos: (n,), different names.
        products: int (n,), equal where the product is.
        weights: float64 (n,), positive, 1 / inclusion probability.
        most: the largest weight of all photos from which truth was asked for, whether or not it has come: a
            weight that is the largest only of what came would depend on the truth.

    Raises:
        ValueError: lengths that differ, a weight that is not positive or above `most`.
    """
    if not len(photos) == len(products) == len(weights):
        raise ValueError(f"{len(photos)} photos, {len(products)} products, {len(weights)} weights")
    if not ((weights > 0) & (weights <= most)).all():
        raise ValueError(f"weights {weights.min()} to {weights.max()} are not above 0 and at most {most}")
    order = sorted(range(len(photos)), key=lambda row: _digest("photo of a product", photos[row]))
    first = np.unique(products[order], return_index=True)[1]
    rows = np.sort(np.array(order, dtype=np.intp)[first])
    kept = [row for row in rows if _share("even draw", photos[row]) * most < weights[row]]
    return np.array(kept, dtype=np.intp)


def _digest(purpose: str, photo: str) -> bytes:
    """Another one for each purpose, since audits and calibration draw by digests too."""
    return hashlib.sha256(f"{purpose}\n{photo}".encode(errors="surrogatepass")).digest()


def _share(purpose: str, photo: str) -> float:
    return int.from_bytes(_digest(purpose, photo)[:8]) / 2**64
