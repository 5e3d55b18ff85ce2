"""How long a distant store is waited for, and how often it is asked again."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Seconds, but for `bytes_per_s`.

    One attempt ends after `answer_s` (a page of a listing after `page_s`) if it has no answer by then, and
    the body of an answer must come at `bytes_per_s` on the whole, `read_s` allowed for a start. Attempts
    follow each other after random waits that grow from `first_wait_s` to `longest_wait_s`, and none is begun
    after `retry_s`.
    """

    connect_s: float = 5
    read_s: float = 15
    answer_s: float = 20
    page_s: float = 60
    bytes_per_s: float = 32 * 1024
    retry_s: float = 60
    first_wait_s: float = 0.5
    longest_wait_s: float = 10

    def body_s(self, size: int) -> float:
        """How long a body of `size` bytes may take."""
        return self.read_s + size / self.bytes_per_s


PATIENCE = Patience()


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of `work`, which runs in a thread of its own.

    A socket's timeout starts anew with every byte, and looking up a name has none: only a second thread
    bounds the whole. One that is not done in time is left to itself; it does not keep the process alive.

    Raises:
        TimeoutError, and whatever `work` raises.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None
