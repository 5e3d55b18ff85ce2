"""The few questions that `serve` asks its server, without Prefect's client, which takes seconds to import."""

import base64
import http.client
import json
import os
from collections.abc import Mapping
from typing import Any

from deployments.surroundings import HOST

POOL = "fashion-clip"
TIMEOUT_S = 5.0
_UNDER_WAY = ("PENDING", "RUNNING")


def is_healthy(port: int) -> bool:
    """Whether the server answers questions."""
    try:
        return _ask(port, "GET", "health") is True
    except (OSError, http.client.HTTPException):
        return False


def cancel_runs(port: int) -> int:
    """Tells the runs of the worker that are under way to end; returns how many have not ended yet.

    Raises:
        OSError, http.client.HTTPException: the server cannot be asked.
    """
    found = _runs(port, (*_UNDER_WAY, "CANCELLING"))
    for run in found:
        if run["state_type"] in _UNDER_WAY:
            state = {"type": "CANCELLING", "name": "Cancelling", "message": "fashion-clip serve was ended"}
            _ask(port, "POST", f"flow_runs/{run['id']}/set_state", {"state": state})
    return len(found)


def _runs(port: int, states: tuple[str, ...]) -> list[dict[str, Any]]:
    query = {
        "flow_runs": {"state": {"type": {"any_": states}}},
        "work_pools": {"name": {"any_": [POOL]}},
    }
    found: list[dict[str, Any]] = _ask(port, "POST", "flow_runs/filter", query)
    return found


def _ask(port: int, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The answer's JSON. Raises HTTPException where the server refuses."""
    headers = {"Content-Type": "application/json"}
    if secret := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise http.client.HTTPException(f"{path}: {answer.status}")
    try:
        return json.loads(text)
    except ValueError:
        raise http.client.HTTPException(f"{path}: no JSON") from None
