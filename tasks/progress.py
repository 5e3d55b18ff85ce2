"""How far a run is: a bar where somebody looks at a terminal, a line of log now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger, LoggerAdapter
from typing import Any, Protocol

LOG_EVERY_S = 30.0


class Progress(Protocol):
    """Told of every step; `total` is the number of photos there are to do."""

    def listed(self, photos: int) -> None: ...

    def started(self, total: int) -> None: ...

    def advanced(self, photos: int) -> None: ...


@contextmanager
def shown(logger: "Logger | LoggerAdapter[Any]", doing: str = "tagging") -> Iterator[Progress]:
    """A progress bar on stderr if that is a terminal, otherwise lines to `logger`."""
    if not sys.stderr.isatty():
        yield _Lines(logger, doing)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar, doing)


class _Rate:
    """Photos a second since the start."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.done = 0
        self.total = 0

    def __str__(self) -> str:
        return f"{self.done / max(time.monotonic() - self.began, 1e-9):.0f} photos/s"


class _Bar:
    def __init__(self, bar: Any, doing: str):
        self._bar = bar
        self._doing = doing
        self._task = bar.add_task("listing photos", total=None, rate="")
        self._rate = _Rate()

    def listed(self, photos: int) -> None:
        self._bar.update(self._task, completed=photos)

    def started(self, total: int) -> None:
        self._rate = _Rate()
        self._bar.reset(self._task, description=self._doing, total=total, completed=0, rate="")

    def advanced(self, photos: int) -> None:
        self._rate.done += photos
        self._bar.update(self._task, completed=self._rate.done, rate=str(self._rate))


class _Lines:
    def __init__(self, logger: "Logger | LoggerAdapter[Any]", doing: str):
        self._logger = logger
        self._doing = doing
        self._rate = _Rate()
        self._told = time.monotonic()

    def listed(self, photos: int) -> None:
        if time.monotonic() - self._told > LOG_EVERY_S:
            self._told = time.monotonic()
            self._logger.info("listed %d photos", photos)

    def started(self, total: int) -> None:
        self._rate = _Rate()
        self._rate.total = total
        self._logger.info("%s %d photos", self._doing, total)

    def advanced(self, photos: int) -> None:
        self._rate.done += photos
        if time.monotonic() - self._told > LOG_EVERY_S or self._rate.done == self._rate.total:
            self._told = time.monotonic()
            self._logger.info("%d of %d photos, %s", self._rate.done, self._rate.total, self._rate)
