"""Intervals for shares, such as accuracies, and for differences; photos of one product count as one draw."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Share:
    """An estimated share with its interval: 0 <= low <= estimate <= high <= 1.

    n: observations. effective_n: independent ones of equal weight that would tell as much.
    """

    estimate: float
    low: float
    high: float
    n: int
    effective_n: float


def exact_interval(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval (Biometrika 26, 1934), for whole numbers and effective ones alike.

    Raises:
        ValueError: not 0 <= successes <= n, or `level` not between 0 and 1.
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= n or not 0 < level < 1:
        raise ValueError(f"no interval at level {level} of {successes} successes in {n}")
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def share_with_interval(
    hits: npt.NDArray[np.bool_],
    products: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None = None,
    level: float = 0.95,
) -> Share:
    """The weighted share of `hits` and its interval; observations of one product count as one draw.

    The interval is Clopper and Pearson's at the effective number of draws (Korn and Graubard, Survey
    Methodology 24, 1998): exact for one observation a product and equal weights. With weights
    1 / inclusion probability the estimate is Hajek's form of Horvitz and Thompson's: unbiased but for a term
    of 1 / n.

    Args:
        hits: bool (n,).
        products: int (n,), equal where the product is.
        weights: float (n,), positive; all alike if None.

    Raises:
        ValueError: nothing to estimate from, lengths that differ, or a weight that is not positive.
    """
    w = _weights(len(hits), products, weights)
    estimate = float(np.average(hits, weights=w))
    draws = _effective_draws(w * (hits - estimate), products, w, estimate * (1 - estimate), level)
    low, high = exact_interval(estimate * draws, draws, level)
    return Share(estimate, min(low, estimate), max(high, estimate), len(hits), draws)


@dataclass(frozen=True)
class Difference:
    """How much larger one share is than another, -1..1, with its interval: low <= estimate <= high."""

    estimate: float
    low: float
    high: float
    n: int


def paired_difference(
    first: npt.NDArray[np.bool_],
    second: npt.NDArray[np.bool_],
    products: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None = None,
    level: float = 0.95,
) -> Difference:
    """The weighted share of `first` less that of `second` on the same photos, and its interval.

    Bonett and Price's interval for paired shares (Journal of Educational and Behavioral Statistics 37, 2012):
    Wald's, after one more observation was added on which only the first is right and one on which only the
    second is. Here they are products of mean weight, and the variance is that of products, with Student's t.

    Args:
        first, second: bool (n,), whether the one and the other was right of the same photo.
        products: int (n,), equal where the product is.
        weights: float (n,), positive; all alike if None.

    Raises:
        ValueError: as `share_with_interval`.
    """
    from scipy.special import stdtrit

    w = _weights(len(first), products, weights)
    change = first.astype(np.float64) - second
    estimate = float(np.average(change, weights=w))
    per_product, total = _per_product(products, w), _per_product(products, w * change)
    per_product = np.append(per_product, [per_product.mean()] * 2)
    total = np.append(total, [per_product[-1], -per_product[-1]])
    centre = total.sum() / per_product.sum()
    error = np.sqrt(np.square(total - centre * per_product).sum()) / per_product.sum()
    half = stdtrit(len(total) - 1, (1 + level) / 2) * error
    low, high = float(max(centre - half, -1)), float(min(centre + half, 1))
    return Difference(estimate, min(low, estimate), max(high, estimate), len(first))


def _weights(
    n: int, products: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    if not n:
        raise ValueError("a share of no observations")
    w = np.ones(n) if weights is None else weights
    if not n == len(products) == len(w):
        raise ValueError(f"{n} observations, {len(products)} products, {len(w)} weights")
    if not (w > 0).all():
        raise ValueError(f"weights must be positive, the smallest is {w.min()}")
    return w


def _per_product(products: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.bincount(np.unique(products, return_inverse=True)[1], weights=values)
    return sums.astype(np.float64)


def _effective_draws(
    residuals: npt.NDArray[np.float64],
    products: npt.NDArray[np.int64],
    w: npt.NDArray[np.float64],
    binomial: float,
    level: float,
) -> float:
    """The number of independent draws whose variance, `binomial` / draws, is that of weighted `residuals`.

    Kish's number, which knows the weights alone, is the most that is believed: where few errors were seen the
    variance is too small by chance (with lognormal weights an interval of 95 % held 91 % without, 97 % with).
    """
    from scipy.special import stdtrit

    per_product = _per_product(products, w)
    n = len(per_product)
    if n == 1:
        return 1.0
    kish = float(per_product.sum() ** 2 / np.square(per_product).sum())
    variance = n / (n - 1) * np.square(_per_product(products, residuals)).sum() / w.sum() ** 2
    if variance < 1e-15:
        return kish
    draws = 1 + binomial / variance  # the sample's own binomial variance is too small by 1 / draws
    # The variance itself is estimated, from as many products as there are.
    tail = (1 + level) / 2
    draws *= (stdtrit(len(residuals) - 1, tail) / stdtrit(n - 1, tail)) ** 2
    return float(min(draws, kish))
