"""What is kept of unequal draws is an equal draw of all photos, the same each time."""

import numpy as np
import pytest

from fashion_clip.even_draws import even_draws


def names(n: int) -> list[str]:
    return [f"photos/{number}.jpg" for number in range(n)]


def test_each_is_kept_with_a_probability_in_proportion_to_its_weight() -> None:
    n = 40_000
    weights = np.tile([1.0, 2.0, 5.0, 10.0], n // 4)
    kept = even_draws(names(n), np.arange(n), weights, most=10.0)
    shares = np.bincount(kept % 4, minlength=4) / (n / 4)
    assert shares == pytest.approx([0.1, 0.2, 0.5, 1.0], abs=0.02)


def test_the_plain_share_is_the_weighted_accuracy() -> None:
    """A tenth of many hard photos was drawn, and all of the few easy ones: 0.62 of all are right."""
    draws = np.random.default_rng(1)
    hard = np.arange(20_000) < 10_000
    hits = draws.random(20_000) < np.where(hard, 0.6, 0.8)
    weights = np.where(hard, 10.0, 10.0 / 9)
    kept = even_draws(names(20_000), np.arange(20_000), weights, most=10.0)
    assert hits[kept].mean() == pytest.approx(0.62, abs=0.015)
    assert hits.mean() > 0.68


def test_equal_weights_keep_one_photo_of_every_product() -> None:
    products = np.array([5, 5, 7, 5, 9, 7])
    kept = even_draws(names(6), products, np.full(6, 3.0), most=3.0)
    assert sorted(products[kept]) == [5, 7, 9]
    assert list(kept) == sorted(kept)


def test_order_and_company_do_not_matter() -> None:
    n = 300
    photos, products, weights = names(n), np.arange(n) // 2, np.arange(1.0, n + 1)
    kept = {photos[row] for row in even_draws(photos, products, weights, most=n)}
    order = np.random.default_rng(1).permutation(n)
    shuffled = [photos[row] for row in order]
    again = even_draws(shuffled, products[order], weights[order], most=n)
    assert {shuffled[row] for row in again} == kept
    half = even_draws(photos[: n // 2], products[: n // 2], weights[: n // 2], most=n)
    assert {photos[row] for row in half} == kept & set(photos[: n // 2])
    assert 0 < len(half) < n // 4


def test_none_of_none() -> None:
    assert len(even_draws([], np.array([], dtype=np.int64), np.array([]), most=1.0)) == 0


@pytest.mark.parametrize("weight", [0.0, -1.0, 2.5, float("nan")])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"at most 2\.0"):
        even_draws(names(2), np.arange(2), np.array([1.0, weight]), most=2.0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 photos, 3 products, 2 weights"):
        even_draws(names(2), np.arange(3), np.ones(2), most=1.0)
