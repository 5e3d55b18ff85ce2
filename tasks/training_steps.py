"""How far fine-tuning is: a bar where somebody looks at a terminal, a line of log now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger
from typing import Any

from tasks.progress import LOG_EVERY_S

Steps = Callable[[int, int, float], None]


@contextmanager
def steps_shown(log: Logger) -> Iterator[Steps]:
    """What is to be told of every step: its number, the number of all steps, and its loss."""
    if not sys.stderr.isatty():
        yield _Lines(log)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fine-tuning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Any):
        self._bar = bar
        self._task = bar.add_task("", total=None, loss="")

    def __call__(self, step: int, steps: int, loss: float) -> None:
        self._bar.update(self._task, completed=step, total=steps, loss=f"{loss:.3f}")


class _Lines:
    def __init__(self, log: Logger):
        self._log = log
        self._told = 0.0

    def __call__(self, step: int, steps: int, loss: float) -> None:
        if time.monotonic() - self._told > LOG_EVERY_S or step == steps:
            self._told = time.monotonic()
            self._log.info("fine-tuning: step %d of at most %d, loss %.3f", step, steps, loss)
