"""Server processes of the tests: started on loopback, awaited, and ended by their ids.

A server lives at most as long as the process that started it, even if that is killed.
"""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

# The kernel sends the death signal when the starting *thread* ends, so one that lasts starts them all.
_starter = ThreadPoolExecutor(1, thread_name_prefix="server-starter")
_SETPRIV = shutil.which("setpriv")

Command = Sequence[str | Path]


def start(
    command: Command, log: Path, privileges: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a server whose output goes to the end of `log`.

    `privileges` are options of setpriv(1), for a server that refuses to run as root.
    """
    prefix = [_SETPRIV, "--pdeathsig", "KILL", *privileges] if _SETPRIV else []
    with log.open("ab") as output:
        return _starter.submit(
            subprocess.Popen,
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        ).result()


def end(
    process: subprocess.Popen[bytes], request: signal.Signals = signal.SIGTERM, seconds: float = 10
) -> None:
    """Asks a server to end, also a stopped one, and kills it when it has not ended after `seconds`."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.send_signal(request)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float
) -> None:
    """Polls until the server is ready.

    Raises RuntimeError, with the end of the log, if it ends or is not ready in time; it is not ended here.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            state = f"ended with status {process.returncode}" if ended else f"was not ready after {seconds} s"
            raise RuntimeError(
                f"{process.args!r} {state}; {log} ends: {log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.01)


def answers(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def reserved_port() -> Iterator[int]:
    """A free port of loopback, which stays the server's own while it restarts.

    The socket here is bound and never listens: no connection and no search for a free port is given its port,
    and a server that sets SO_REUSEADDR, as all of ours do, can listen there.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
