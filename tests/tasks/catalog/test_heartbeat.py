"""Beats come while a block runs, whatever the database says to them, and none comes after it."""

import threading

import pytest

from fashion_clip.errors import CatalogAwayError, CatalogError
from tasks.catalog import heartbeat
from tasks.catalog.heartbeat import LEASE_S, RENEWED_EVERY_S, beating


class Beats:
    """Counts beats, of which the first ones may be refused."""

    def __init__(self, refused: int = 0, error: CatalogError | None = None) -> None:
        self.count = 0
        self._refused = refused
        self._error = error
        self._beaten = threading.Condition()

    def __call__(self) -> None:
        with self._beaten:
            self.count += 1
            self._beaten.notify()
            if self.count <= self._refused and self._error:
                raise self._error

    def wait_for(self, count: int) -> None:
        with self._beaten:
            assert self._beaten.wait_for(lambda: self.count >= count, timeout=30)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.001)


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_several_beats_fit_into_a_lease() -> None:
    assert 3 * RENEWED_EVERY_S <= LEASE_S


def test_beats_come_while_the_block_runs_and_no_longer() -> None:
    beats = Beats()
    with beating(beats):
        assert running() == ["heartbeat"]
        beats.wait_for(3)
    assert running() == []


def test_a_short_block_needs_no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 3600.0)
    beats = Beats()
    with beating(beats):
        pass
    assert beats.count == 0
    assert running() == []


@pytest.mark.parametrize("error", [CatalogError("refused"), CatalogAwayError("away")])
def test_a_beat_that_is_refused_is_left_to_the_next(error: CatalogError) -> None:
    beats = Beats(refused=2, error=error)
    with beating(beats):
        beats.wait_for(5)


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_beats_end_with_a_block_that_fails(error: BaseException) -> None:
    with pytest.raises(type(error)), beating(Beats()):
        raise error
    assert running() == []


def test_blocks_beat_each_for_themselves() -> None:
    one, other = Beats(), Beats()
    with beating(one):
        with beating(other):
            one.wait_for(2)
            other.wait_for(2)
        ended = other.count
        one.wait_for(one.count + 3)
    assert other.count == ended
