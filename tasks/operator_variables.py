"""What operators turn in Prefect's UI: Variables, which come before the settings of the same meaning."""

from typing import Literal

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectHTTPStatusError

from fashion_clip.errors import UsageError
from tasks.settings import settings

APPROVAL = "fashion_clip_approval"
AUDIT_PHOTOS = "fashion_clip_audit_photos"

ApprovalBy = Literal["ask", "automatic"]
_AWAY = 500  # HTTP statuses from here on say that the server cannot answer, not that the question is wrong


def approval() -> ApprovalBy:
    """Who puts a model in place that was proved to be better: `ask` a person, or `automatic`.

    Raises:
        UsageError: the variable has another value.
    """
    value = _value(APPROVAL, away="ask")  # to wait loses nothing
    if value is None:
        return settings().approval
    if value not in ("ask", "automatic"):
        raise _refused(APPROVAL, value, '"ask" or "automatic"')
    return value


def audit_photos() -> int:
    """How many new photos of a night are drawn at random, 0 or more.

    Raises:
        UsageError: the variable has another value.
    """
    value = _value(AUDIT_PHOTOS)
    if value is None:
        return settings().audit_photos
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _refused(AUDIT_PHOTOS, value, "a whole number from 0 on, without quotes")
    return value


def _value(name: str, away: object = None) -> object:
    """A variable's value; None outside of runs and where there is none; `away` if the server is that."""
    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return None  # asking would start a server
    import httpx

    try:
        with get_client(sync_client=True) as client:
            variable = client.read_variable_by_name(name)
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code < _AWAY:
            raise
        told = "Prefect cannot be asked for the variable %s (%s): %s is taken"
        get_run_logger().warning(told, name, type(error).__name__, "the setting" if away is None else away)
        return away
    return None if variable is None else variable.value


def _refused(name: str, value: object, expected: str) -> UsageError:
    return UsageError(
        f"the Prefect variable {name} is {value!r}: expected {expected}; change or delete it under Variables "
        "in Prefect's UI"
    )
