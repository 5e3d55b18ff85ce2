"""Workers as forks of one process that has loaded the model: hundreds of them in minutes."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from tests.catalogue_fixtures import DEMO_MODEL


def load_once() -> None:
    """Loads the model where forks find it, by torch in one thread: a fork has no threads but its own."""
    import torch

    torch.set_num_threads(1)
    os.environ |= {"FASHION_CLIP_RUNTIME": "torch", "FASHION_CLIP_PRECISION": "float32"}
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = (
        "1"  # a fork that loads another model may start no threads for it
    )
    from fashion_clip.taxonomy import load_taxonomy
    from tasks import serving

    encoder = serving.load_chosen_model(DEMO_MODEL).encoder
    serving._heads(encoder, None, load_taxonomy("demo"))


def fork(body: Callable[[], None], variables: Mapping[str, str]) -> int:
    """The pid of a child that runs `body` with those variables; it ends with 0, or 1 on an error."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(variables)
        body()
        code = 0
    except BaseException as error:
        if os.environ.get("FAULTS_DEBUG"):
            traceback.print_exc()
        else:
            print(f"    a worker ended: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Waits for a child; its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ended_within(pid: int, seconds: float) -> int:
    """As `ended`; a child that takes longer is killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return ended(pid)


def stopped(pid: int, seconds: float) -> bool:
    """Waits until a child has stopped itself; False if it ended instead. TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if found:
            return os.WIFSTOPPED(status)
        time.sleep(0.01)
    raise TimeoutError(f"process {pid} neither stopped nor ended within {seconds} s")
