"""Progress: a bar on a terminal, lines of log elsewhere."""

import logging
import os
import pty
import sys
import time
from contextlib import suppress

import pytest

from tasks import progress

LOGGER = logging.getLogger("test_progress")


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER.name]


def everything_written_to(terminal: int) -> str:
    """What stands in a terminal whose other end is closed."""
    parts = []
    with suppress(OSError):  # Linux's way to tell that the other end is closed and all is read
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def test_without_a_terminal_the_start_and_the_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress.shown(LOGGER, "evaluating") as shown:
        shown.listed(5_000)
        shown.started(3)
        shown.advanced(2)
        shown.advanced(1)
    told = messages(caplog)
    assert told[0] == "evaluating 3 photos"
    assert told[1].startswith("3 of 3 photos, ")
    assert told[1].endswith(" photos/s")
    assert len(told) == 2


def test_a_long_run_tells_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.01)
    with progress.shown(LOGGER) as shown:
        for photos in (5_000, 10_000):
            time.sleep(0.02)
            shown.listed(photos)
        shown.started(100)
        time.sleep(0.02)
        shown.advanced(40)
        shown.advanced(1)
    told = messages(caplog)
    assert told[:3] == ["listed 5000 photos", "listed 10000 photos", "tagging 100 photos"]
    assert told[3].startswith("40 of 100 photos")
    assert len(told) == 4


def test_on_a_terminal_there_is_a_bar_and_no_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        with progress.shown(LOGGER) as shown:
            shown.listed(20)
            shown.started(40)
            shown.advanced(30)
            shown.advanced(10)
    drawn = everything_written_to(ours)
    assert "tagging" in drawn
    assert "40/40" in drawn
    assert messages(caplog) == []
