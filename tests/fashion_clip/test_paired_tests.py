"""The tests of pairs are as exact as they say: beside scipy's, beside their definition, and counted out."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial

from fashion_clip.paired_tests import (
    Pairs,
    count_coins,
    count_pairs,
    difference_intervals,
    holm,
    least_discordant,
    loss_beyond,
    sign_test,
)

PAIRS = st.integers(1, 80).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda losses: st.integers(0, n - losses).map(lambda gains: Pairs(n, losses, gains))
    )
)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_sign_test_is_scipys(wins: int, defeats: int) -> None:
    if wins + defeats == 0:
        assert sign_test(0, 0) == 1
        return
    expected = binomtest(wins, wins + defeats, 0.5, alternative="greater").pvalue
    assert sign_test(wins, defeats) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.floats(1e-9, 0.99))
def test_the_least_number_of_wins_is_just_enough(level: float) -> None:
    needed = least_discordant(level)
    assert sign_test(needed, 0) <= level * (1 + 1e-8)
    assert needed == 1 or sign_test(needed - 1, 0) > level


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.floats(0.1, 1000))
def test_equal_weights_count(rows: list[tuple[bool, bool]], weight: float) -> None:
    champion, challenger = np.array(rows).T
    found = count_pairs(champion, challenger, np.full(len(rows), weight))
    assert found.n == pytest.approx(len(rows))
    assert found.losses == pytest.approx(np.count_nonzero(champion & ~challenger))
    assert found.gains == pytest.approx(np.count_nonzero(challenger & ~champion))
    coins = count_coins(champion, challenger, np.full(len(rows), weight))
    assert (coins.losses, coins.gains) == pytest.approx((found.losses, found.gains))


def test_with_weights_what_gains_on_light_draws_alone_is_seldom_taken_for_better() -> None:
    """One half of the draws gains; the other, of which each stands for three times as many, loses as much."""
    draws, n, rounds = np.random.default_rng(0), 500, 400
    weighted = unweighted = 0
    for _ in range(rounds):
        weights = draws.choice([1.0, 3.0], n)
        lean = np.where(weights == 1, 0.05, -0.05 / 3)
        luck = draws.random(n)
        gains, losses = luck < 0.05 + lean, luck > 0.95 + lean
        for equal in (False, True):
            coins = count_coins(losses, gains, np.ones(n) if equal else weights)
            better = sign_test(coins.gains, coins.losses) <= 0.05
            unweighted += equal and better
            weighted += not equal and better
    # At 5 % exactly, more of them would be taken for better once in ten thousand times.
    assert weighted <= binom.ppf(1 - 1e-4, rounds, 0.05) < unweighted / 4


@pytest.mark.parametrize("level", [0.05, 0.0076, 0.002])
def test_few_heavy_discordant_draws_are_few_coins(level: float) -> None:
    """Of 1,000 draws ten weigh 100 each and mostly tell two equal models apart; the others seldom do."""
    draws, rounds = np.random.default_rng(0), 4_000
    weights = np.repeat([1.0, 100.0], [990, 10])
    better = of_all = 0
    for _ in range(rounds):
        apart = draws.random(1_000) < np.where(weights > 1, 0.8, 0.02)
        gains = draws.random(1_000) < 0.5
        losses, gains = apart & ~gains, apart & gains
        coins, pairs = count_coins(losses, gains, weights), count_pairs(losses, gains, weights)
        better += sign_test(coins.gains, coins.losses) <= level
        of_all += sign_test(pairs.gains, pairs.losses) <= level
    # At the level exactly, more of them would be taken for better once in a thousand times.
    assert better <= binom.ppf(0.999, rounds, level) < of_all


def test_weights_by_hand() -> None:
    champion, challenger = np.array([True, False, True, False]), np.array([False, True, True, True])
    found = count_pairs(champion, challenger, np.array([4.0, 1.0, 1.0, 2.0]))
    draws = 64 / 22
    assert (found.n, found.losses, found.gains) == pytest.approx((draws, draws * 4 / 8, draws * 3 / 8))
    assert found.difference == pytest.approx(-1 / 8)
    coins = count_coins(champion, challenger, np.array([4.0, 1.0, 1.0, 2.0]))
    assert (coins.losses, coins.gains) == pytest.approx((49 / 21 * 4 / 7, 49 / 21 * 3 / 7))
    assert count_coins(champion, champion, np.ones(4)).discordant == 0
    with pytest.raises(ValueError, match="no draws"):
        count_pairs(champion[:0], challenger[:0], np.array([]))


@given(PAIRS, st.floats(-0.9, 0.9), st.floats(0.001, 0.2))
def test_the_interval_ends_where_the_loss_is_no_longer_shown(
    pairs: Pairs, margin: float, tail: float
) -> None:
    [(_, high)] = difference_intervals([pairs], 1 - 2 * tail)
    [p_value] = loss_beyond([pairs], margin)
    assert 0 <= p_value <= 1
    if abs(-high - margin) > 1e-6:
        assert (-high > margin) == (p_value <= tail)


@given(PAIRS.filter(lambda pairs: pairs.gains < pairs.n))
def test_what_is_lost_shows_no_larger_loss(pairs: Pairs) -> None:
    assert loss_beyond([pairs], -pairs.difference) == pytest.approx([1.0])


def test_a_loss_by_hand() -> None:
    """Two of three draws are lost: against a tenth a loss wins 9 / 11 of a bet, and no loss costs 1 / 11."""
    bets = np.arange(1, 21) / 20
    capital = np.mean((1 + bets * 9 / 11) ** 2 * (1 - bets / 11))
    assert loss_beyond([Pairs(3, 2, 0)], 0.1) == pytest.approx([1 / capital])
    assert loss_beyond([], 0.1) == []
    assert difference_intervals([], 0.95) == []


def outcomes(n: int) -> Iterator[Pairs]:
    for losses in range(n + 1):
        for gains in range(n - losses + 1):
            yield Pairs(n, losses, gains)


@pytest.mark.parametrize("n", [6, 15, 25])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.3])
def test_no_loss_is_shown_too_often_counted_out(n: int, margin: float) -> None:
    """Every outcome weighed with its probability where the loss is just the margin."""
    found = list(outcomes(n))
    p_values = np.array(loss_beyond(found, margin))
    counts = np.array([(pairs.losses, pairs.gains, n - pairs.losses - pairs.gains) for pairs in found])
    shown = 0.0
    for gains in np.linspace(0, (1 - margin) / 2, 7):
        probability = multinomial.pmf(counts, n, [gains + margin, gains, 1 - margin - 2 * gains])
        for level in (0.01, 0.05, 0.2):
            assert probability[p_values <= level].sum() <= level
        shown = max(shown, probability[p_values <= 0.2].sum())
    assert shown > 0.01


@pytest.mark.parametrize("n", [1, 8, 20])
def test_the_interval_covers_counted_out(n: int) -> None:
    found = list(outcomes(n))
    ends = np.array(difference_intervals(found, 0.9))
    counts = np.array([(pairs.losses, pairs.gains, n - pairs.losses - pairs.gains) for pairs in found])
    for losses, gains in [(0.1, 0.1), (0.4, 0.1), (0.0, 0.7), (0.5, 0.5)]:
        probability = multinomial.pmf(counts, n, [losses, gains, 1 - losses - gains])
        difference = gains - losses
        assert probability[(ends[:, 0] <= difference) & (difference <= ends[:, 1])].sum() >= 0.9


@given(PAIRS)
def test_the_interval_mirrors(pairs: Pairs) -> None:
    [(low, high)] = difference_intervals([pairs], 0.95)
    assert -1 <= low <= pairs.difference <= high <= 1
    [mirrored] = difference_intervals([Pairs(pairs.n, pairs.gains, pairs.losses)], 0.95)
    assert mirrored == pytest.approx((-high, -low))


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_closed_bonferroni(p_values: list[float]) -> None:
    """The adjusted value of one is the largest that Bonferroni gives any set of hypotheses which it is in."""
    numbers = range(len(p_values))
    sets = [chosen for size in numbers for chosen in combinations(numbers, size + 1)]
    expected = [
        max(
            min(1.0, len(chosen) * min(p_values[one] for one in chosen))
            for chosen in sets
            if number in chosen
        )
        for number in numbers
    ]
    assert holm(p_values) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(one >= own for one, own in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values)
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
