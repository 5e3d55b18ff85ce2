"""A TCP proxy that tests put before a server to see what faults of the network do.

A mode is told in words, `KIND[:ARGUMENT[:TIMES]][@SHARE][ on TEXT]`:

| words           | what happens                                                                           |
|-----------------|----------------------------------------------------------------------------------------|
| ok              | nothing                                                                                |
| refuse          | connections under way are reset, new ones refused: the server is down                  |
| rst:N           | the connection is reset after N bytes of answers                                       |
| cut:N           | the connection is closed after N bytes of answers                                      |
| corrupt:N       | one bit of byte N of the answers is flipped                                            |
| delay:S         | each piece of the answers (at most 64 KiB) is held back for S seconds                  |
| rate:B          | the answers come at B bytes per second                                                 |
| hang            | the answers do not come until the mode changes                                         |
| rst-before:TEXT | the connection is reset when the client sends TEXT, which the server never sees        |
| busy:TEXT       | when the client sends TEXT it is answered 503 Slow Down, by HTTP, and not by the server |
| rst-after:TEXT  | the server does what TEXT asks, then the connection is reset in place of its answer    |

N counts, from 0, the bytes of all answers that a connection carries while the mode is set, headers and
earlier answers too. With ` on TEXT` the fault begins, and N counts anew, when the client sends TEXT:
`corrupt:600 on GET /shop/a.jpg`. SHARE (0 to 1) is the probability that a connection is struck, drawn with a
fixed seed: `rst:20000@0.3`. After TIMES strikes the mode does nothing more: `rst-after:COMMIT:1`. The faults
that last (delay, rate, hang) count one strike a connection. `refuse` takes none of the three.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any


class FaultProxy:
    """The proxy's port on 127.0.0.1, and its control. Usable from several threads."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lock = Lock()
        self._mode = "ok"
        self.port: int = self._answer()["port"]

    @property
    def mode(self) -> str:
        """The mode that is in force. Setting one that there is not raises ValueError and changes nothing."""
        return self._mode

    @mode.setter
    def mode(self, words: str) -> None:
        self._ask(mode=words)
        self._mode = words

    @property
    def struck(self) -> int:
        """How many faults have happened since the proxy was started, in all modes together."""
        return int(self._ask()["struck"])

    def _ask(self, **wish: str) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(wish) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fault proxy has ended")
        answer: dict[str, Any] = json.loads(line)
        if answer["error"]:
            raise ValueError(answer["error"])
        return answer


@contextmanager
def fault_proxy(target: tuple[str, int]) -> Iterator[FaultProxy]:
    """Stands before the server at `target` (host, port) in a process of its own, at first in mode ok."""
    relay = Path(__file__).with_name("fault_relay.py")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", relay, target[0], str(target[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield FaultProxy(process)
        finally:
            process.kill()
