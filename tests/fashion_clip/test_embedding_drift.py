"""The test of nights is exact, sees what has moved, and takes nothing else for it."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from fashion_clip.embedding_drift import (
    LEAST_LOTS,
    LEAST_PHOTOS,
    LEVEL,
    LONGEST,
    LOTS,
    MOST_PHOTOS,
    WINDOWS,
    Drift,
    Night,
    Reference,
    look,
    night_from_json,
    night_of,
    reference_of,
)

Vectors = npt.NDArray[np.float32]
Draws = np.random.Generator

SHORT = min(WINDOWS)
D = 16


def photos(count: int, draws: Draws, towards: float = 0.0, delivery: float = 0.0) -> Vectors:
    """Unit rows (count, D) about a common direction, moved along another one and by a delivery's own."""
    vectors = draws.normal(0, 0.3, (count, D)) + delivery * draws.normal(0, 0.3, D)
    vectors[:, 0] += 1
    vectors[:, 1] += towards
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def ids(count: int, of: str = "p") -> list[str]:
    return [f"{of}{number}" for number in range(count)]


def a_night(draws: Draws, count: int = MOST_PHOTOS, towards: float = 0.0, delivery: float = 0.0) -> Night:
    return night_of(ids(count), photos(count, draws, towards, delivery))


def a_reference(draws: Draws, delivery: float = 0.0) -> Reference:
    """Of LOTS nights."""
    vectors = np.concatenate([photos(MOST_PHOTOS, draws, delivery=delivery) for _ in range(LOTS)])
    found = reference_of(ids(len(vectors)), vectors, np.repeat(np.arange(LOTS), MOST_PHOTOS))
    assert found is not None
    return found


@pytest.mark.parametrize("delivery", [0.0, 1.0])
def test_p_values_are_as_small_as_they_say_however_much_a_night_has_in_common(delivery: float) -> None:
    draws, trials, level = np.random.default_rng(1), 150, 0.1
    small = 0
    for _ in range(trials):
        lots = np.stack([photos(5, draws, delivery=delivery).mean(axis=0) for _ in range(LOTS + SHORT)])
        nights = [Night(5, mean) for mean in lots[LOTS:]]
        small += look(Reference(lots[:LOTS], 5), nights).p_value / len(WINDOWS) <= level
    assert binom.sf(small - 1, trials, level) > 0.001
    assert small > trials * level / 5


@pytest.mark.parametrize(
    ("delivery", "of_window", "towards", "seed", "larger"), [(0.0, 1.0, 0.2, 9, 1), (1.0, 0.0, 0.4, 8, 0)]
)
def test_a_p_value_is_the_share_of_all_choices_of_nights(
    delivery: float, of_window: float, towards: float, seed: int, larger: int
) -> None:
    """Beside a plain reckoning of every choice, by either distance; random choices come near it.

    A window of deliveries is far out by the plain distance, one of alike nights by the studentised one.
    """
    draws = np.random.default_rng(seed)
    alike = [photos(5, draws, delivery=delivery).mean(axis=0) for _ in range(8)]
    moved = [photos(5, draws, towards=towards, delivery=of_window).mean(axis=0) for _ in range(SHORT)]
    lots = np.stack(alike + moved)

    def distances(window: tuple[int, ...]) -> tuple[float, float]:
        sides = lots[list(window)], np.delete(lots, window, axis=0)
        apart = np.square(sides[0].mean(axis=0) - sides[1].mean(axis=0)).sum()
        chance = sum(np.var(side, axis=0, ddof=1).sum() / len(side) for side in sides)
        return float(apart), float(apart / chance)

    own = distances(tuple(range(8, 8 + SHORT)))
    found = np.array([distances(window) for window in combinations(range(8 + SHORT), SHORT)])
    shares = (found >= np.array(own) - 1e-9).mean(axis=0)
    assert 0.1 < shares.max() < 0.2
    assert shares[larger] > 1.7 * shares[1 - larger]
    told = look(Reference(lots[:8], 5), [Night(5, mean) for mean in lots[8:]]).p_value / len(WINDOWS)
    assert told == pytest.approx(shares.max(), rel=0.3)


def test_what_has_moved_is_seen_after_the_shortest_window_and_never_in_one_night() -> None:
    draws = np.random.default_rng(3)
    reference = a_reference(draws)
    nights = [a_night(draws, towards=1.0) for _ in range(SHORT)]
    told = [look(reference, nights[: count + 1]) for count in range(SHORT)]
    assert [drift.drifted for drift in told] == [False] * (SHORT - 1) + [True]
    assert told[0] == Drift(MOST_PHOTOS, 0, None, 1.0, False)
    last = told[-1]
    assert last.lots == SHORT
    assert last.statistic is not None
    assert last.statistic > WINDOWS[SHORT]
    assert last.p_value <= LEVEL


def test_a_smaller_move_is_seen_in_the_longest_window() -> None:
    draws = np.random.default_rng(4)
    reference = a_reference(draws)
    found = look(reference, [a_night(draws, towards=0.37) for _ in range(LONGEST)])
    assert (found.drifted, found.lots) == (True, LONGEST)


def test_a_move_that_is_sure_but_small_is_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(5)
    reference, nights = a_reference(draws), [a_night(draws, towards=0.2) for _ in range(LONGEST)]
    found = look(reference, nights)
    assert not found.drifted
    assert found.statistic is not None
    assert 0 < found.statistic < WINDOWS[LONGEST]
    monkeypatch.setattr("fashion_clip.embedding_drift.WINDOWS", dict.fromkeys(WINDOWS, 0.0))
    assert look(reference, nights).drifted


@pytest.mark.parametrize("delivery", [0.0, 2.0])
def test_quiet_nights_do_not_alarm(delivery: float) -> None:
    draws = np.random.default_rng(6)
    reference = a_reference(draws, delivery)
    nights = [a_night(draws, delivery=delivery) for _ in range(2 * LONGEST)]
    told = [look(reference, nights[: count + 1]) for count in range(len(nights))]
    assert not any(drift.drifted for drift in told)
    assert min(drift.p_value for drift in told) < 1


def test_deliveries_do_not_alarm_where_the_reference_knew_of_none() -> None:
    draws = np.random.default_rng(7)
    vectors = np.concatenate([photos(MOST_PHOTOS, draws, delivery=1.0) for _ in range(LOTS)])
    reference = reference_of(ids(len(vectors)), vectors)
    assert reference is not None
    nights = [a_night(draws, delivery=1.0) for _ in range(2 * LONGEST)]
    assert not any(look(reference, nights[: count + 1]).drifted for count in range(len(nights)))


def test_the_same_nights_tell_the_same_stored_ones_too_and_older_ones_nothing() -> None:
    draws = np.random.default_rng(8)
    reference = a_reference(draws)
    nights = [a_night(draws, towards=0.3) for _ in range(LONGEST + 3)]
    stored = [night_from_json(night.to_json()) for night in nights]
    assert look(reference, nights) == look(reference, stored) == look(reference, nights[3:])


def test_a_night_without_photos_is_no_look_and_counts_for_none() -> None:
    draws = np.random.default_rng(9)
    reference, empty = a_reference(draws), night_of([], np.empty((0, D), dtype=np.float32))
    nights = [a_night(draws, towards=1.0) for _ in range(SHORT)]
    assert look(reference, [*nights, empty]) == Drift(0, 0, None, 1.0, False)
    assert look(reference, [empty, *nights[:3], empty, *nights[3:]]) == look(reference, nights)


def test_small_nights_are_put_together() -> None:
    draws = np.random.default_rng(10)
    reference = a_reference(draws)
    nights = [a_night(draws, MOST_PHOTOS // 5, towards=1.0) for _ in range(5 * SHORT)]
    assert look(reference, nights[1:]).lots == 0
    assert look(reference, nights).drifted


def test_photos_of_one_product_and_near_duplicates_count_once() -> None:
    draws = np.random.default_rng(11)
    vectors = photos(6, draws)
    night = night_of(["a", "a", "b", "c", "d", "e"], np.concatenate([vectors[:5], vectors[4:5]]))
    assert night.n == 4
    np.testing.assert_allclose(night.mean, vectors[[0, 2, 3, 4]].mean(axis=0), rtol=1e-6)


def test_a_reference_needs_enough_photos_that_differ() -> None:
    least = LOTS * LEAST_PHOTOS
    vectors = photos(least, np.random.default_rng(12))
    found = reference_of(ids(least), vectors)
    assert found is not None
    assert (found.lots.shape, found.photos) == ((LOTS, D), LEAST_PHOTOS)
    assert reference_of(["one", *ids(least - 1)], np.concatenate([vectors[:1], vectors[:-1]])) is None


def test_a_reference_of_nights_is_of_the_last_ones_and_few_nights_are_none() -> None:
    draws = np.random.default_rng(13)
    nights = np.repeat(np.arange(LOTS + 5), 10)
    vectors = np.concatenate([photos(10, draws, towards=night >= 5) for night in range(LOTS + 5)])
    found = reference_of(ids(len(vectors)), vectors, nights)
    assert found is not None
    assert found.lots.shape == (LOTS, D)
    assert found.lots[:, 1].min() > 0.3
    few = reference_of(ids(len(vectors)), vectors, nights % (LEAST_LOTS - 1))
    assert few is not None
    assert len(few.lots) == LOTS


@pytest.mark.parametrize(
    ("products", "vectors", "message"),
    [
        (ids(2), np.ones((3, D), dtype=np.float32) / 4, r"2 products and vectors of shape \(3, 16\)"),
        (ids(D), np.ones(D, dtype=np.float32), r"16 products and vectors of shape \(16,\)"),
        (ids(1), np.ones((1, D), dtype=np.float32), "vector 0 has the length 4"),
        (ids(1), np.full((1, D), np.nan, dtype=np.float32), "vector 0 has the length nan"),
    ],
)
def test_what_are_no_vectors_is_refused(products: list[str], vectors: Vectors, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        night_of(products, vectors)
    with pytest.raises(ValueError, match=message):
        reference_of(products, vectors)


def test_what_does_not_fit_the_reference_is_refused() -> None:
    draws = np.random.default_rng(14)
    reference = a_reference(draws)
    with pytest.raises(ValueError, match="no night to look at"):
        look(reference, [])
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(16,\)"):
        look(reference, [a_night(draws), Night(1, np.ones(3, dtype=np.float32))])
    with pytest.raises(ValueError, match=r"nights of shape \(1,\) for 2 vectors"):
        reference_of(ids(2), photos(2, draws), np.zeros(1, dtype=np.int64))
