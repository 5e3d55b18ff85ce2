"""Shards grow with the speed of a run, within bounds, unless somebody has chosen their size."""

import pytest

from tasks import shard_size
from tasks.shard_size import FEWEST, LAST, MOST, SHARD_S, Pace

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """To which the seconds are added that pass."""
    passed: list[float] = []
    monkeypatch.setattr(shard_size, "monotonic", lambda: sum(passed))
    return passed


@pytest.mark.parametrize(
    ("photos", "seconds", "expected"),
    [
        (256, 4.0, FEWEST),
        (256, 1.0, int(256 * SHARD_S)),
        (256, 0.1, MOST),
        (256, 0.0, MOST),
        (0, 5.0, FEWEST),
    ],
)
def test_a_shard_has_what_a_run_does_in_two_seconds(
    photos: int, seconds: float, expected: int, passes: list[float]
) -> None:
    pace = Pace()
    assert pace.shard_size() == FEWEST
    for _ in range(10):
        passes.append(seconds)
        pace.finished(photos)
        assert pace.shard_size() == expected


def test_a_run_that_becomes_slow_is_soon_done_in_small_shards(passes: list[float]) -> None:
    pace = Pace()
    for _ in range(1_000):
        passes.append(0.1)
        pace.finished(MOST)
    assert pace.shard_size() == MOST
    for _ in range(LAST):
        passes.append(12.0)
        pace.finished(MOST)
    assert pace.shard_size() == FEWEST


@pytest.mark.parametrize("chosen", [1, 4096])
def test_a_size_that_is_set_stays(chosen: int, monkeypatch: pytest.MonkeyPatch, passes: list[float]) -> None:
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", str(chosen))
    pace = Pace()
    assert pace.shard_size() == chosen
    passes.append(0.1)
    pace.finished(1_000)
    assert pace.shard_size() == chosen
