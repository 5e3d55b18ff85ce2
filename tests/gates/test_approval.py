"""A person's word on a better model, given through Prefect as its UI gives it: suspended and resumed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.catalogue_fixtures import Misled, rows

pytestmark = pytest.mark.services

WAIT_S = 240

SERVE = """
from flows.retrain_model import retrain_model
retrain_model.serve(name="test")
"""


@pytest.fixture
def served(misled: Misled, prefect_api: str) -> Iterator[Misled]:
    """A process that runs the deployment's flow runs, each in a process of its own."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PREFECT_API_URL": prefect_api, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=root, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield misled
    finally:
        process.terminate()
        process.wait(30)


def client() -> Any:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def started() -> UUID:
    """A run with the parameters that a person gives in the form."""
    parameters = {"rung": "head", "reason": "by hand", "approval": "ask a person"}
    with client() as api:
        deadline = time.monotonic() + WAIT_S
        while True:
            found = api.read_deployments()
            if found:
                run = api.create_flow_run_from_deployment(found[0].id, parameters=parameters)
                return UUID(str(run.id))
            assert time.monotonic() < deadline
            time.sleep(0.5)


def wait_for(run_id: UUID, *names: str) -> str:
    deadline = time.monotonic() + WAIT_S
    with client() as api:
        while (state := api.read_flow_run(run_id).state) is None or state.name not in names:
            assert state is None or state.name not in ("Failed", "Crashed"), state.message
            assert time.monotonic() < deadline, f"it is {state}"
            time.sleep(0.5)
    return str(state.name)


def resume(run_id: UUID, approve: bool) -> None:
    with client() as api:
        answer = api.resume_flow_run(run_id, run_input={"approve": approve, "reason": "looked at it"})
        assert answer.status == "ACCEPT"


@pytest.mark.parametrize("approve", [True, False])
def test_a_word_through_the_form(served: Misled, approve: bool) -> None:
    before = rows(served.engine, "SELECT uri, label FROM catalog_labels ORDER BY uri")
    run_id = started()
    wait_for(run_id, "Suspended")
    assert rows(served.engine, "SELECT uri, label FROM catalog_labels ORDER BY uri") == before
    assert rows(served.engine, "SELECT outcome FROM retraining_history") == [("waiting",)]
    gates = rows(served.engine, "SELECT * FROM gates")
    resume(run_id, approve)
    wait_for(run_id, "Completed")
    assert rows(served.engine, "SELECT * FROM gates") == gates  # what was climbed is not climbed again
    [(decision, by, reason, role)] = rows(
        served.engine,
        "SELECT decision, decided_by, decision_reason, role FROM model_history WHERE rung = 'head'",
    )
    assert (by, reason) == ("Prefect UI", "looked at it")
    outcome = rows(served.engine, "SELECT outcome FROM retraining_history")
    after = rows(served.engine, "SELECT uri, label FROM catalog_labels ORDER BY uri")
    if approve:
        assert (decision, role, outcome) == ("approved", "champion", [("promoted",)])
        assert after != before
    else:
        assert (decision, role, outcome) == ("rejected", "rejected", [("declined",)])
        assert after == before
