"""The alarm of unknown photos: no bet gains on average, deliveries do not alarm, more unknown photos do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from fashion_clip.intervals import exact_interval
from fashion_clip.unknown_share import LEVEL, NIGHTS, OF_REFERENCE, STAKES, UnknownShare, after, begin

CAPITALS = st.tuples(*[st.floats(0, 1 / LEVEL / len(STAKES) - 0.01)] * len(STAKES))


def test_the_bound_of_the_reference_is_clopper_and_pearsons() -> None:
    most = begin(20, 2000).most
    assert most == exact_interval(20, 2000, 0.98)[1]
    assert binom.cdf(20, 2000, most) == pytest.approx(OF_REFERENCE)


# scipy's binom.pmf overflows at shares such as 1e-308.
@given(CAPITALS, st.floats(0.001, 0.9), st.just(0.0) | st.floats(1e-12, 1), st.integers(1, 80))
@settings(deadline=None)
def test_no_bet_gains_on_average(capital: tuple[float, ...], most: float, less: float, n: int) -> None:
    """Of independent photos, and of a night that is all unknown or not at all."""
    state = UnknownShare(most, capital=capital)
    found = np.array([after(state, unknown, n).e_value for unknown in range(n + 1)])
    allowed = (state.e_value + 1 / NIGHTS) * (1 + 1e-9)
    share = most * less
    assert binom.pmf(np.arange(n + 1), n, share) @ found <= allowed
    assert share * found[-1] + (1 - share) * found[0] <= allowed


def test_a_night_is_reckoned_as_the_text_says() -> None:
    state = after(UnknownShare(0.02, capital=(1.0, 2.0, 0.5)), 5, 100)
    new = 1 / NIGHTS / len(STAKES)
    wanted = [
        (held + new) * (1 + stake / 0.02 * 0.03) for held, stake in zip((1, 2, 0.5), STAKES, strict=True)
    ]
    assert state.capital == pytest.approx(wanted)
    assert not state.drifted


def test_nights_all_of_one_delivery_alarm_as_rarely_as_promised() -> None:
    draws, years, alarms = np.random.default_rng(1), 200, 0
    for _ in range(years):
        state = UnknownShare(0.02)
        for unknown in draws.random(NIGHTS) < 0.02:
            state = after(state, 100 * int(unknown), 100)
        alarms += state.drifted
    assert binom.sf(alarms - 1, years, LEVEL) > 0.001


def test_more_unknown_photos_are_seen_within_weeks_and_the_alarm_stays() -> None:
    state, nights = begin(20, 2000), 0
    while not state.drifted:
        state, nights = after(state, 8, 100), nights + 1
        assert nights < 21
    assert state.e_value == pytest.approx(1 / LEVEL)
    assert after(state, 0, 1000).drifted


def test_a_night_without_photos_only_begins_another_bet() -> None:
    state = after(begin(0, 500), 0, 0)
    assert state.e_value == pytest.approx(1 / NIGHTS)
    assert not state.drifted


def test_a_stored_state_is_equal() -> None:
    state = after(begin(3, 700), 4, 90)
    assert UnknownShare.from_json(state.to_json()) == state


@pytest.mark.parametrize(("unknown", "n"), [(1, 0), (-1, 5), (5, 5), (0, 0)])
def test_what_is_no_reference_is_refused(unknown: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{unknown} unknown photos of {n} are no reference"):
        begin(unknown, n)


@pytest.mark.parametrize(("unknown", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_what_is_no_night_is_refused(unknown: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{unknown} unknown photos of {n} are no night"):
        after(begin(1, 100), unknown, n)
