"""Prefect's server and a worker in one terminal: started in order, watched, ended together."""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from deployments import server_api, surroundings
from deployments.processes import groups_below
from fashion_clip.checkpoint import checkpoint_folder
from fashion_clip.errors import FashionClipError, UsageError
from fashion_clip.taxonomy import load_taxonomy
from tasks import environment
from tasks.catalog.engine import connect, shown
from tasks.settings import Settings, settings

START_S = 180.0  # a server needs 15 s, and several times as long on a busy machine
END_S = 15.0  # until a process that was asked to end is killed
POLL_S = 0.1
ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 0, signal.SIGHUP: 0}  # signals and the exit codes after them
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class _Child:
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path


class _AskedToEnd(Exception):  # noqa: N818  # no error
    pass


def serve(port: int, say: Callable[[str], None]) -> int:
    """Runs until a signal; returns the exit code: 130 after Ctrl-C, 0 after SIGTERM.

    Raises:
        UsageError, SourceError, CatalogError: what would be wrong in every run; nothing was started.
        FashionClipError: a process ended by itself.
    """
    chosen = settings()
    with _alone():
        database = _refuse_what_cannot_run(chosen, port)
        with _signals() as asked:
            children = _Children(asked)
            try:
                _start(children, chosen, port, say)
                say(f"Prefect's UI: http://{surroundings.HOST}:{port}")
                say(f"the database: {database}")
                say("Ctrl-C ends it")
                children.watch()
            except _AskedToEnd:
                say("ending the runs that are under way, the worker and the server")
            finally:
                children.end(port)
            return ENDINGS[asked[0]]


def _refuse_what_cannot_run(chosen: Settings, port: int) -> str:
    """Returns the database to show; it is opened, and made where it is empty."""
    environment.source(environment.source_name(None))
    for source in chosen.sources:
        environment.source(source)
    if chosen.taxonomy:
        load_taxonomy(chosen.taxonomy)
    if chosen.model and (chosen.model[0] in ".~" or Path(chosen.model).is_absolute()):
        checkpoint_folder(chosen.model)  # a name of the hub is brought by the first run
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((surroundings.HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}; is another fashion-clip serve running? Give "
                "another one with --port"
            ) from None
    environment.catalogue()
    return shown(connect(surroundings.database_url(chosen)))


def _start(children: "_Children", chosen: Settings, port: int, say: Callable[[str], None]) -> None:
    say(f"starting Prefect's server, which takes some 15 s; its log and the worker's: {_logs()}")
    server = ("server", "start", "--host", surroundings.HOST, "--port", str(port))
    children.start("server", ("prefect", *server), surroundings.of_server(port))
    children.watch(lambda: server_api.is_healthy(port), START_S)
    of_worker = surroundings.of_worker(chosen, port)
    # In a process of its own, since Prefect reads where its server is when it is imported.
    children.run(("deployments.bootstrap",), of_worker)
    worker = ("worker", "start", "--pool", server_api.POOL, "--type", "process")
    children.start("worker", ("prefect", *worker), of_worker)


class _Children:
    """The processes that end with this one. asked: the signals that came."""

    def __init__(self, asked: list[signal.Signals]):
        self._asked = asked
        self._running: list[_Child] = []

    def start(self, name: str, module: Sequence[str], variables: Mapping[str, str]) -> None:
        """One that runs until the end, its output in a log."""
        log = _logs() / f"{name}.log"
        with log.open("wb") as output:
            process = _python(module, variables, output.fileno())
        self._running.append(_Child(name, process, log))

    def run(self, module: Sequence[str], variables: Mapping[str, str]) -> None:
        """One that is waited for, its output in the terminal. Raises SystemExit if it fails."""
        process = _python(module, variables, None)
        try:
            self.watch(lambda: process.poll() is not None, START_S)
        finally:
            process.kill()
        if process.wait():
            raise SystemExit(process.returncode)  # it has told why

    def watch(self, done: Callable[[], bool] = lambda: False, seconds: float | None = None) -> None:
        """Until it is done. Raises _AskedToEnd at a signal; FashionClipError if a process ends, or late."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not done():
            if self._asked:
                raise _AskedToEnd
            for child in self._running:
                if (code := child.process.poll()) is not None:
                    raise FashionClipError(
                        f"Prefect's {child.name} ended with {code}; see the end of {str(child.log)!r}"
                    )
            if deadline is not None and time.monotonic() > deadline:
                raise FashionClipError(f"Prefect was not ready after {seconds:.0f} s; see {str(_logs())!r}")
            time.sleep(POLL_S)

    def end(self, port: int) -> None:
        """The runs, then the last one first; each is asked, and killed with all it started if it is late.

        A second signal is for those who do not want to wait.
        """
        deadline = time.monotonic() + END_S
        with suppress(OSError, http.client.HTTPException):  # there is no server any more
            while server_api.cancel_runs(port) and time.monotonic() < deadline and len(self._asked) < 2:
                time.sleep(POLL_S)
        for child in reversed(self._running):
            # A worker starts each run in a session of its own, which would outlive it.
            started = groups_below(child.process.pid)
            child.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + END_S
            while child.process.poll() is None and time.monotonic() < deadline and len(self._asked) < 2:
                started |= groups_below(child.process.pid)
                time.sleep(POLL_S)
            for group in (child.process.pid, *started):
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            child.process.wait()


def _python(
    module: Sequence[str], variables: Mapping[str, str], output: int | None
) -> "subprocess.Popen[bytes]":
    """A module in a session of its own, so that Ctrl-C reaches only the one who ends all in order."""
    return subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
        [sys.executable, "-m", *module],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """So that nothing holds the port after `kill -9` of this process, where the kernel can see to it."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_LIBC = ctypes.CDLL(None)  # loaded before any fork


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """The signals that have come. They are noted also where Ctrl-C was to be ignored, as scripts have it.

    What is started meanwhile takes them as usual again.
    """
    asked: list[signal.Signals] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(signal.Signals(number))

    before = {number: signal.signal(number, note) for number in ENDINGS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone() -> Iterator[None]:
    """Two would share Prefect's database: each server would plan, and each worker start, the runs of both."""
    folder = _logs()
    lock = FileLock(folder / "serve.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another fashion-clip serve has its data in {str(folder.parent)!r}; end it, or set PREFECT_HOME "
            "to another folder for this one"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _logs() -> Path:
    """Below PREFECT_HOME, which is also where Prefect's database lies."""
    home = os.environ.get("PREFECT_HOME") or "~/.prefect"
    folder = Path(home).expanduser() / "fashion-clip"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
