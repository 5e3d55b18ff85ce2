"""How S3 is asked: one client for all threads, one policy of asking again, and a bound on every answer."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from threading import Event, Timer
from typing import Any, TypeVar

from tasks.sources.patience import Patience
from tasks.sources.s3_errors import CorruptBytesError, Kind, S3Error, told_as_wrong_settings

CONNECTIONS = 16  # that all sources of a process have together
CORRUPT_ATTEMPTS = 5

T = TypeVar("T")


def client(patience: Patience) -> Any:
    """boto3's client, made once for these AWS_ variables. Raises S3Error."""
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _client(patience, settings)


@lru_cache(maxsize=4)
def _client(patience: Patience, settings: tuple[tuple[str, str], ...]) -> Any:
    from boto3.session import Session
    from botocore.config import Config

    own_server = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} & dict(settings).keys()
    config = Config(
        connect_timeout=patience.connect_s,
        read_timeout=patience.read_s,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 1},  # `retried` is the one policy
        response_checksum_validation="when_supported",
        # Only Amazon has a host name for every bucket.
        s3={"addressing_style": "path" if own_server else "auto"},
    )
    with told_as_wrong_settings():
        return Session().client("s3", config=config)


def retried(patience: Patience, attempt: Callable[[], T]) -> T:
    """The result of `attempt`, repeated while its errors are passing ones. Raises the last S3Error."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay
    from tenacity import wait_random_exponential as random_wait

    too_late = stop_before_delay(patience.retry_s)

    def is_passing(error: BaseException) -> bool:
        return isinstance(error, S3Error) and error.kind is Kind.PASSING

    def is_enough(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        corrupt = isinstance(error, CorruptBytesError) and state.attempt_number >= CORRUPT_ATTEMPTS
        return corrupt or too_late(state)

    retrying = Retrying(
        retry=retry_if_exception(is_passing),
        wait=random_wait(multiplier=patience.first_wait_s, max=patience.longest_wait_s),
        stop=is_enough,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except S3Error as error:
        if error.kind is Kind.OF_SOURCE:
            _client.cache_clear()  # it keeps the credentials it was made with
        raise


def body_within(seconds: float, body: Any, connection: Any) -> bytes:
    """The whole body of an answer, its length and checksum verified by botocore.

    The connection is shut down after `seconds`: its own timeout starts anew with every byte.

    Raises:
        TimeoutError, and what botocore and urllib3 raise.
    """
    late = Event()

    def shut_down() -> None:
        late.set()
        with suppress(Exception):  # the body has just ended, and its connection is another's
            connection.shutdown()

    watch = Timer(seconds, shut_down)
    watch.daemon = True
    watch.start()
    try:
        data: bytes = body.read()
        return data
    except Exception:
        if late.is_set():
            raise TimeoutError(f"not whole within {seconds:.3g} s") from None
        raise
    finally:
        watch.cancel()
