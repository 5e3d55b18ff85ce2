"""How much memory a process takes."""

import threading
import time
from collections.abc import Iterator

import psutil

SAMPLES_PER_S = 50


class Peak:
    """The most megabytes that a process held, or it and all below it together, sampled from a thread."""

    def __init__(self, pid: int, family: bool) -> None:
        self.megabytes = 0.0
        self._root = psutil.Process(pid)
        self._family = family
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        try:
            while self._root.status() != psutil.STATUS_ZOMBIE:
                self.megabytes = max(self.megabytes, sum(self._held()) / 1e6)
                time.sleep(1 / SAMPLES_PER_S)
        except psutil.NoSuchProcess:
            return

    def _held(self) -> Iterator[int]:
        yield self._root.memory_info().rss
        for process in self._root.children(recursive=True) if self._family else ():
            try:
                # Between fork and exec a child is its parent's memory, which would count twice.
                if process.cmdline() != self._root.cmdline():
                    yield process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
