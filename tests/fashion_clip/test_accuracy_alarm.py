"""The alarm is what its text says: counted out night by night, beside a plain reckoning, and over years."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fashion_clip.accuracy_alarm import (
    FALLS,
    NIGHTS,
    TOTAL,
    WATCHED,
    WINDOW,
    Alarm,
    Night,
    Status,
    after,
    after_all,
    after_night,
    baseline_bound,
    begin,
    bets_against,
    has_dropped,
    held_to,
)
from fashion_clip.intervals import exact_interval

LEVEL = TOTAL / 7
SOME_NIGHTS = st.lists(
    st.integers(0, 30).flatmap(lambda n: st.builds(Night, st.just(n), st.integers(0, n))), max_size=40
)
BASELINES = st.floats(0.02, 0.995)


def capitals(level: float) -> st.SearchStrategy[tuple[float, ...]]:
    """Before an alarm."""
    part = st.floats(0, 1 / level / len(FALLS) - 0.01)
    return st.tuples(*[part] * len(FALLS))


def alarm_with(capital: Sequence[float], baseline: float = 0.9) -> Alarm:
    return replace(begin(baseline, 7), capital=tuple(capital))


@given(capitals(LEVEL), BASELINES, st.floats(0, 1), st.integers(0, 60))
@settings(deadline=None)
def test_no_bet_gains_on_average_while_accuracy_is_at_least_the_baseline(
    capital: tuple[float, ...], baseline: float, better: float, n: int
) -> None:
    """Every outcome of a night weighed with its probability."""
    alarm = alarm_with(capital, baseline)
    e_values = np.array([after(alarm, Night(n, n - wrong)).e_value for wrong in range(n + 1)])
    accuracy = baseline + better * (1 - baseline)
    mean = binom.pmf(np.arange(n + 1), n, 1 - accuracy) @ e_values
    assert mean <= (alarm.e_value + 1 / NIGHTS) * (1 + 1e-9)


@given(capitals(LEVEL), st.floats(0.5, 0.97), st.integers(1, 60))
@settings(deadline=None)
def test_at_the_baseline_nothing_is_wasted(capital: tuple[float, ...], baseline: float, n: int) -> None:
    alarm = alarm_with(capital, baseline)
    assume(alarm.e_value < 0.5 / LEVEL)  # next to an alarm the raise is stopped by MOST_RAISED
    e_values = np.array([after(alarm, Night(n, n - wrong)).e_value for wrong in range(n + 1)])
    mean = binom.pmf(np.arange(n + 1), n, 1 - baseline) @ e_values
    assert mean == pytest.approx(alarm.e_value + 1 / NIGHTS, rel=1e-6)


@given(capitals(LEVEL), BASELINES, st.integers(1, 60))
@settings(deadline=None)
def test_more_right_answers_are_less_evidence(capital: tuple[float, ...], baseline: float, n: int) -> None:
    alarm = alarm_with(capital, baseline)
    e_values = [after(alarm, Night(n, hits)).e_value for hits in range(n + 1)]
    assert all(more <= less * (1 + 1e-12) for less, more in pairwise(e_values))


def plain(baseline: float, level: float, nights: Sequence[Night]) -> float:
    """The e-value, reckoned as the text says: every bet of every night by itself, the raise by halving."""
    bets: list[tuple[float, float]] = []  # accuracy bet on, and what it has become
    total = 0.0
    for night in nights:
        bets += [(max(baseline - fall, baseline / 2), 1 / NIGHTS / len(FALLS)) for fall in FALLS]
        grown = [
            sum(
                capital * (bet / baseline) ** hits * ((1 - bet) / (1 - baseline)) ** (night.n - hits)
                for bet, capital in bets
            )
            for hits in range(night.n + 1)
        ]
        chances = binom.pmf(np.arange(night.n + 1), night.n, baseline)
        stake = sum(capital for _, capital in bets)
        low, high = 1.0, 1e9
        for _ in range(200):
            middle = (low + high) / 2
            fits = chances @ np.minimum(middle * np.array(grown), 1 / level) <= stake
            low, high = (middle, high) if fits else (low, middle)
        bets = [
            (
                bet,
                low
                * capital
                * (bet / baseline) ** night.hits
                * ((1 - bet) / (1 - baseline)) ** (night.n - night.hits),
            )
            for bet, capital in bets
        ]
        total = sum(capital for _, capital in bets)
        if total >= 1 / level:
            return 1 / level
    return total


@given(SOME_NIGHTS, st.floats(0.5, 0.97))
@settings(deadline=None, max_examples=40)
def test_the_state_is_what_every_bet_by_itself_has_become(nights: list[Night], baseline: float) -> None:
    found = after_all(begin(baseline, 7), nights).e_value
    assert found == pytest.approx(plain(baseline, LEVEL, nights), rel=1e-5)


@given(SOME_NIGHTS, BASELINES, st.integers(0, 40))
@settings(deadline=None)
def test_a_stored_state_and_the_rows_from_the_first_agree(
    nights: list[Night], baseline: float, stored: int
) -> None:
    begun = begin(baseline, 7)
    resumed = Alarm.from_json(after_all(begun, nights[:stored]).to_json())
    assert after_all(resumed, nights[stored:]) == after_all(begun, nights)


def first_years(n: int, accuracy: float, level: float, years: int, seed: int) -> float:
    """The share of years in which an alarm with the baseline 0.9 was given."""
    draws = np.random.default_rng(seed)
    capital, bets = np.zeros((years, len(FALLS))), bets_against(np.full(years, 0.9), n)
    for _ in range(NIGHTS):
        capital = after_night(capital, bets, draws.binomial(n, 1 - accuracy, years), level)
    return float(has_dropped(capital, level).mean())


@pytest.mark.parametrize("n", [3, 20, 100])
def test_false_alarms_in_a_year_are_as_rare_as_promised_and_hardly_rarer(n: int) -> None:
    years, level = 1500, 0.2
    share = first_years(n, 0.9, level, years, seed=n)
    assert binom.sf(share * years - 1, years, level) > 0.001
    assert share > level / 3


def test_above_the_baseline_false_alarms_are_rarer() -> None:
    assert first_years(20, 0.92, 0.2, 500, seed=1) < 0.02


def test_a_fall_of_ten_points_is_seen_within_a_fortnight() -> None:
    draws = np.random.default_rng(1)
    quiet = [Night(20, int(hits)) for hits in draws.binomial(20, 0.9, 60)]
    begun = after_all(begin(0.9, 7), quiet)
    assert begun.status is Status.OK
    nights = []
    for _ in range(60):
        alarm, count = begun, 0
        while alarm.status is not Status.DROPPED:
            alarm, count = after(alarm, Night(20, int(draws.binomial(20, 0.8)))), count + 1
        nights.append(count)
    assert np.median(nights) <= 14


def test_the_status_goes_from_ok_over_watch_to_dropped_and_stays() -> None:
    alarm, seen = begin(0.9, 7), []
    for _ in range(30):
        alarm = after(alarm, Night(10, 7))
        seen.append(alarm.status)
        assert (alarm.e_value >= WATCHED / LEVEL) == (alarm.status is not Status.OK)
    assert list(dict.fromkeys(seen)) == [Status.OK, Status.WATCH, Status.DROPPED]
    assert alarm.e_value == pytest.approx(1 / LEVEL)
    assert after_all(alarm, [Night(100, 100)] * 30).status is Status.DROPPED


def test_watch_passes_when_accuracy_is_back() -> None:
    watched = alarm_with((20.0, *[0.0] * (len(FALLS) - 1)))
    assert watched.status is Status.WATCH
    assert after_all(watched, [Night(50, 50)] * 10).status is Status.OK


def test_a_night_without_truth_only_begins_another_bet() -> None:
    quiet = after_all(begin(0.9, 7), [Night(0, 0)] * 100)
    assert quiet.e_value == pytest.approx(100 / NIGHTS)
    assert quiet.reading().accuracy is None
    assert after(quiet, Night(20, 15)).e_value > 10 * after(begin(0.9, 7), Night(20, 15)).e_value


@pytest.mark.parametrize("baseline", [0.05, 0.5, 0.9, 0.999])
def test_a_burst_of_any_size_is_one_night(baseline: float) -> None:
    n = 40_000
    as_it_was = after(begin(baseline, 7), Night(n, round(n * baseline)))
    assert as_it_was.status is Status.OK
    fallen = after(begin(baseline, 7), Night(n, round(n * baseline * 0.6)))
    assert fallen.e_value == pytest.approx(1 / LEVEL)


def test_the_reading_is_of_the_last_nights() -> None:
    alarm = after_all(begin(0.9, 7), [Night(20, 0), *[Night(10, 9)] * WINDOW])
    reading = alarm.reading()
    assert (reading.n, reading.accuracy) == (10 * WINDOW, 0.9)
    assert (reading.low, reading.high) == exact_interval(9 * WINDOW, 10 * WINDOW)
    assert (reading.e_value, reading.status) == (alarm.e_value, alarm.status)


def test_without_a_baseline_there_is_no_drop() -> None:
    assert after_all(begin(0.0, 1), [Night(100, 0)] * 400).status is Status.OK


@pytest.mark.parametrize(
    ("baseline", "attributes", "total"), [(1.0, 7, 0.05), (-0.1, 7, 0.05), (0.9, 0, 0.05), (0.9, 7, 1.0)]
)
def test_what_is_no_alarm_is_refused(baseline: float, attributes: int, total: float) -> None:
    with pytest.raises(ValueError, match=f"baseline {baseline}, {attributes} attributes and {total}"):
        begin(baseline, attributes, total)


@pytest.mark.parametrize(("n", "hits"), [(3, 4), (3, -1), (-1, -1)])
def test_what_is_no_night_is_refused(n: int, hits: int) -> None:
    with pytest.raises(ValueError, match=f"{hits} right of {n} truths"):
        Night(n, hits)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (450, 500), (900, 1000)])
def test_the_bound_is_scipys(hits: int, n: int) -> None:
    theirs = binomtest(hits, n, alternative="greater").proportion_ci(0.95, "exact").low
    assert baseline_bound(hits, n) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("accuracy", [0.3, 0.9, 0.99])
def test_the_bound_is_above_the_accuracy_as_rarely_as_it_says(accuracy: float) -> None:
    n = 400
    bounds = np.array([baseline_bound(hits, n) for hits in range(n + 1)])
    above = binom.pmf(np.arange(n + 1), n, accuracy)[bounds > accuracy].sum()
    assert 0.01 < above <= 0.05


@pytest.mark.parametrize("level", [0.5, 1.0])
def test_what_bounds_nothing_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level {level}"):
        baseline_bound(9, 10, level)


def test_another_baseline_keeps_what_has_been_bet_where_it_rises() -> None:
    alarm = after(begin(0.8, 7), Night(20, 11))
    higher, lower = held_to(alarm, 0.85), held_to(alarm, 0.75)
    assert (higher.baseline, higher.capital, higher.recent) == (0.85, alarm.capital, alarm.recent)
    assert (lower.baseline, lower.e_value, lower.recent) == (0.75, 0, alarm.recent)
    with pytest.raises(ValueError, match="no alarm with baseline"):
        held_to(alarm, 1.0)
