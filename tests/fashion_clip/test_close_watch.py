"""The close watch is what its text says: counted out beside a plain reckoning, and over many watches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, binom

from fashion_clip.close_watch import LEVEL, PRIOR, WATCHED, Compared, compare

COUNTS = st.integers(0, 60)


@given(COUNTS, COUNTS)
@settings(deadline=None)
def test_the_e_value_is_the_mean_of_all_bets(losses: int, gains: int) -> None:
    """Drawn from the upper half of the Beta distribution, by numerical integration."""

    def bet(p: float) -> float:
        return float(2 * beta.pdf(p, PRIOR, PRIOR) * (2 * p) ** losses * (2 * (1 - p)) ** gains)

    expected = quad(bet, 0.5, 1)[0]
    assert Compared(losses + gains, losses, gains).e_value == pytest.approx(expected, rel=1e-5)


@given(COUNTS, COUNTS, st.integers(0, 30), st.floats(1e-9, 0.5))
@settings(deadline=None)
def test_no_bet_gains_on_average_while_the_new_one_is_no_worse(
    losses: int, gains: int, more: int, share: float
) -> None:
    """Every outcome of the next products weighed with its probability; at most half are losses."""
    before = Compared(losses + gains, losses, gains)
    after = [(before + Compared(more, lost, more - lost)).e_value for lost in range(more + 1)]
    assert binom.pmf(np.arange(more + 1), more, share) @ after <= before.e_value * (1 + 1e-9)


def test_with_as_many_of_both_kinds_a_coin_is_a_fair_game() -> None:
    before = Compared(20, 7, 4)
    after = [(before + one).e_value for one in (Compared(1, 1, 0), Compared(1, 0, 1))]
    assert np.mean(after) == pytest.approx(before.e_value)


def test_it_begins_at_one_and_counts_only_what_tells_the_two_apart() -> None:
    assert Compared().e_value == pytest.approx(1)
    assert Compared(1000, 5, 3).e_value == Compared(8, 5, 3).e_value
    assert not Compared(7, 7, 0).is_worse
    assert Compared(8, 8, 0).is_worse  # eight in a row are enough
    assert not Compared(40, 20, 20).is_worse


@pytest.mark.parametrize(("losses", "gains"), [(0, 100_000), (100_000, 0), (10**6, 10**6)])
def test_it_stays_a_number_whatever_has_come(losses: int, gains: int) -> None:
    found = Compared(losses + gains, losses, gains)
    assert 0 <= found.e_value < np.inf
    assert found.is_worse == (gains == 0)


@pytest.mark.parametrize(
    ("discordant", "lost", "least", "most"),
    [(0.1, 0.0, 0, LEVEL), (0.3, 0.0, 0, LEVEL), (0.1, 0.05, 0.8, 1), (0.2, 0.1, 0.95, 1)],
)
def test_over_many_watches(discordant: float, lost: float, least: float, most: float) -> None:
    """With 20 truths a night: how many models are taken back that are as good, and that are worse."""
    watches, nights = 2000, WATCHED.days
    draws = np.random.default_rng(7)
    apart = draws.binomial(20, discordant, (watches, nights))
    losses = draws.binomial(apart, 0.5 + lost / discordant / 2).cumsum(axis=1)
    gains = apart.cumsum(axis=1) - losses
    known: dict[tuple[int, int], bool] = {}
    for pair in {*zip(losses.ravel().tolist(), gains.ravel().tolist(), strict=True)}:
        known[pair] = Compared(sum(pair), *pair).is_worse
    taken_back = [
        any(known[pair] for pair in zip(*watch, strict=True))
        for watch in zip(losses.tolist(), gains.tolist(), strict=True)
    ]
    assert least <= np.mean(taken_back) <= most


def test_pairs_are_counted() -> None:
    replaced = np.array([True, True, False, False, True])
    champion = np.array([True, False, True, False, False])
    assert compare(replaced, champion) == Compared(5, 2, 1)
    assert compare(replaced[:0], champion[:0]) == Compared()
    assert compare(replaced, champion) + Compared(3, 0, 1) == Compared(8, 2, 2)


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, -1, 1), (2, 1, -1)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="losses and"):
        Compared(*counts)


def test_models_on_different_products_are_refused() -> None:
    with pytest.raises(ValueError, match="same products"):
        compare(np.ones(2, dtype=bool), np.ones(3, dtype=bool))
