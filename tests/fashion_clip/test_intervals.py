"""Intervals hold the true share as often as they say: counted out where that can be, else simulated."""

from dataclasses import astuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, t

from fashion_clip.intervals import exact_interval, paired_difference, share_with_interval


def flags(right: int, n: int) -> npt.NDArray[np.bool_]:
    return np.arange(n) < right


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (13, 20), (950, 1000), (1, 44_446)]
)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_is_scipys(successes: int, n: int, level: float) -> None:
    theirs = binomtest(successes, n).proportion_ci(level, "exact")
    assert exact_interval(successes, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_known_ends() -> None:
    assert exact_interval(0, 20)[1] == pytest.approx(1 - 0.025 ** (1 / 20))
    assert exact_interval(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert exact_interval(0, 0) == (0.0, 1.0)
    assert exact_interval(6.5, 10)[0] < 0.65 < exact_interval(6.5, 10)[1]


@pytest.mark.parametrize(("successes", "n", "level"), [(-1, 5, 0.9), (6, 5, 0.9), (1, 5, 0.0), (1, 5, 1.0)])
def test_what_is_no_share_is_refused(successes: float, n: float, level: float) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {n}"):
        exact_interval(successes, n, level)


@pytest.mark.parametrize("n", [5, 20, 60])
def test_coverage_counted_out(n: int) -> None:
    """Every outcome weighed with its probability: the interval never holds less than it says."""
    ends = np.array([exact_interval(k, n) for k in range(n + 1)])
    for share in np.linspace(0.01, 0.99, 99):
        probability = binom.pmf(np.arange(n + 1), n, share)
        assert probability[(ends[:, 0] <= share) & (share <= ends[:, 1])].sum() >= 0.95


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_one_photo_a_product_of_one_weight_is_exact(case: tuple[int, int]) -> None:
    right, n = case
    share = share_with_interval(flags(right, n), np.arange(n), np.full(n, 7.0))
    assert share.estimate == pytest.approx(right / n)
    assert share.effective_n == pytest.approx(n)
    assert (share.low, share.high) == pytest.approx(exact_interval(right, n), abs=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.floats(0.1, 50)), min_size=1, max_size=40))
def test_the_estimate_lies_in_its_interval(rows: list[tuple[bool, int, float]]) -> None:
    hits, products, weights = (np.array(column) for column in zip(*rows, strict=True))
    share = share_with_interval(hits, products, weights)
    assert 0 <= share.low <= share.estimate <= share.high <= 1
    assert share.estimate == pytest.approx((hits * weights).sum() / weights.sum())
    assert 0 < share.effective_n <= len(set(products)) + 1e-9
    assert share.n == len(rows)
    order = np.argsort(weights)
    again = share_with_interval(hits[order], products[order], weights[order])
    assert astuple(again) == pytest.approx(astuple(share), abs=1e-6)


def test_photos_of_one_product_count_as_one() -> None:
    once = share_with_interval(flags(30, 40), np.arange(40))
    repeated = share_with_interval(np.repeat(flags(30, 40), 5), np.repeat(np.arange(40), 5))
    apart = share_with_interval(np.repeat(flags(30, 40), 5), np.arange(200))
    assert repeated.effective_n <= 40 + 1e-9
    assert repeated.low <= once.low + 1e-9
    assert repeated.high >= once.high - 1e-9
    assert apart.high - apart.low < 0.6 * (repeated.high - repeated.low)


def test_effective_draws_by_hand() -> None:
    """Four products of two photos, of which 2, 1, 0 and 2 are right: residuals .75, -.25, -1.25 and .75."""
    hits = np.array([1, 1, 1, 0, 0, 0, 1, 1], dtype=bool)
    share = share_with_interval(hits, np.repeat(np.arange(4), 2))
    variance = 4 / 3 * (0.75**2 + 0.25**2 + 1.25**2 + 0.75**2) / 8**2
    draws = (1 + 5 / 8 * 3 / 8 / variance) * (t.ppf(0.975, 7) / t.ppf(0.975, 3)) ** 2
    assert share.effective_n == pytest.approx(draws)
    assert (share.low, share.high) == pytest.approx(exact_interval(5 / 8 * draws, draws))


def test_one_product_tells_next_to_nothing() -> None:
    share = share_with_interval(flags(9, 10), np.zeros(10, dtype=np.int64))
    assert (share.estimate, share.effective_n) == (0.9, 1.0)
    assert share.low < 0.05
    assert share.high == 1.0


@pytest.mark.parametrize("right", [0, 30])
def test_unequal_weights_widen_where_all_are_alike(right: int) -> None:
    weights = np.where(np.arange(30) < 3, 20.0, 1.0)
    equal, unequal = (share_with_interval(flags(right, 30), np.arange(30), w) for w in (None, weights))
    assert equal.estimate == unequal.estimate == right / 30
    assert unequal.effective_n == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert unequal.high - unequal.low > 2 * (equal.high - equal.low)


def test_one_light_error_does_not_make_it_surer_than_none() -> None:
    weights = np.exp(np.linspace(-2, 2, 50))
    none = share_with_interval(np.ones(50, dtype=bool), np.arange(50), weights)
    one = share_with_interval(np.arange(50) > 0, np.arange(50), weights)
    assert one.low < none.low


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(ValueError, match="no observations"):
        share_with_interval(flags(0, 0), np.arange(0))
    with pytest.raises(ValueError, match="3 observations, 2 products"):
        share_with_interval(flags(1, 3), np.arange(2))
    with pytest.raises(ValueError, match=r"positive, the smallest is 0\.0"):
        share_with_interval(flags(1, 2), np.arange(2), np.array([1.0, 0.0]))


def simulated_coverage(n: int, share: float, heavy: float, sigma: float) -> float:
    """How often the interval holds the truth. Photos of weight exp(normal * sigma); heavy ones are right more
    seldom by `heavy` a standard deviation, as where the odd photos are drawn with a small probability."""
    rng = np.random.default_rng(n)
    sizes = rng.normal(size=200_000)
    chance = np.clip(share - heavy * sizes, 0, 1)
    weights = np.exp(sigma * sizes)
    true = float(np.average(chance, weights=weights))
    held = 0
    for _ in range(400):
        drawn = rng.integers(0, len(sizes), n)
        found = share_with_interval(rng.random(n) < chance[drawn], np.arange(n), weights[drawn])
        held += found.low <= true <= found.high
    return held / 400


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize(("share", "heavy", "sigma"), [(0.8, 0.0, 1.0), (0.95, 0.0, 1.0), (0.85, 0.05, 0.7)])
def test_coverage_with_unequal_weights(n: int, share: float, heavy: float, sigma: float) -> None:
    assert simulated_coverage(n, share, heavy, sigma) >= 0.93


def test_a_difference_of_pairs_is_bonett_and_prices() -> None:
    """20 photos of which only the first is right, 8 of which only the second is, 100 in all."""
    first, second = flags(60, 100), (np.arange(100) >= 20) & (np.arange(100) < 68)
    found = paired_difference(first, second, np.arange(100))
    centre, spread = (21 - 9) / 102, np.sqrt(((21 + 9) / 102 - ((21 - 9) / 102) ** 2) / 102)
    assert found.estimate == pytest.approx(0.12)
    assert (found.low + found.high) / 2 == pytest.approx(centre)
    assert (found.high - found.low) / 2 == pytest.approx(1.98 * spread, rel=0.005)  # Student's, 101 degrees


def test_a_difference_turns_round_and_goes_by_product() -> None:
    rng = np.random.default_rng(0)
    first, second, weights = rng.random(60) < 0.8, rng.random(60) < 0.6, rng.uniform(1, 5, 60)
    there = paired_difference(first, second, np.arange(60), weights)
    back = paired_difference(second, first, np.arange(60), weights)
    assert (back.estimate, back.low, back.high) == pytest.approx((-there.estimate, -there.high, -there.low))
    doubled = paired_difference(
        np.repeat(first, 3), np.repeat(second, 3), np.repeat(np.arange(60), 3), np.repeat(weights, 3)
    )
    assert (doubled.low, doubled.high) == pytest.approx((there.low, there.high))


def test_models_that_never_differ_may_still_differ_elsewhere() -> None:
    found = paired_difference(flags(15, 20), flags(15, 20), np.arange(20))
    assert found.estimate == 0
    assert found.low == pytest.approx(-found.high)
    assert 0.05 < found.high < 0.25
    assert paired_difference(flags(1, 1), flags(0, 1), np.arange(1)).low >= -1


@pytest.mark.parametrize("n", [50, 200])
def test_coverage_of_a_difference(n: int) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1_500):
        luck, weights = rng.random(n), np.exp(rng.normal(0, 0.7, n))
        found = paired_difference(luck < 0.75, (luck > 0.15) & (luck < 0.8), np.arange(n), weights)
        held += found.low <= 0.10 <= found.high
    assert held / 1_500 >= 0.93
