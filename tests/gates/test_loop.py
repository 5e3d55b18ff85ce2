"""The loop closes by itself: drifted photos come, accuracy drops, a better model is trained, approved, and in
place; on a real Prefect server with its worker.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

from fashion_clip.demo import truth
from tests.catalogue_fixtures import rows
from tests.gates.drifting_shop import engine, place, up_to_a_drop
from tests.gates.served import Served, served

__all__ = ["engine", "place"]

pytestmark = pytest.mark.services

SHOWN = "SELECT uri, label FROM catalog_labels ORDER BY uri"


def the_retraining(shop: Served, *names: str) -> str:
    """The id of the one run of retrain-model that was not needless, when it is in such a state."""
    deadline = time.monotonic() + 120
    while not (found := shop.runs("retrain-model")):
        assert time.monotonic() < deadline, shop.log()
        time.sleep(0.5)
    shop.wait(found[0]["id"], *names)
    return str(found[0]["id"])


def resume(shop: Served, run_id: str) -> None:
    answer = shop.ask(
        "POST", f"/flow_runs/{run_id}/resume", {"run_input": {"approve": True, "reason": "looked at it"}}
    )
    assert answer["status"] == "ACCEPT", answer


def event_of(drop: dict[str, Any]) -> dict[str, Any]:
    """The same event once more, as a client sends it that does not know whether it arrived."""
    kept = {name: drop[name] for name in ("event", "resource", "payload")}
    return kept | {"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat()}


def test_nobody_touches_anything_but_the_approval(
    tmp_path: Path, place: dict[str, str], engine: Engine
) -> None:
    with served(tmp_path, place) as shop:
        up_to_a_drop(shop, engine)
        before = rows(engine, SHOWN)
        retraining = the_retraining(shop, "Suspended")
        [drop] = shop.wait_for_events("fashion.accuracy.dropped", 1)
        for _ in range(3):
            shop.emit(event_of(drop))
        assert rows(engine, SHOWN) == before
        [(found_at, answered_at)] = rows(engine, "SELECT found_at, answered_at FROM drop_history")
        print(f"from the drop in SQL to the retraining in SQL: {answered_at} - {found_at}")
        resume(shop, retraining)
        shop.wait(retraining, "Completed")
        for run in shop.runs("retrain-model")[1:]:
            shop.wait(run["id"], "Completed", "Cancelled")
        assert rows(engine, "SELECT outcome, drop_id FROM retrainings") == [("promoted", 1)]
        decided = "SELECT decision, decided_by FROM model_history WHERE role = 'champion'"
        assert rows(engine, decided) == [("approved", "Prefect UI")]
        after = rows(engine, SHOWN)
        known = truth()
        right = [known[uri.rpartition("/")[2]]["articleType"] == label for uri, label in after]
        assert sum(right) > 0.9 * len(right)
        assert after != before
        assert "What changed label" in shop.artifact("promotion")
        [promoted] = shop.wait_for_events("fashion.model.promoted", 1)
        assert promoted["resource"]["prefect.resource.id"].startswith("fashion.model.")
        refuses(shop)
    once = _facts(tmp_path, place, engine)
    assert once == _facts(tmp_path, place, engine)  # nothing is doubled by another start


def refuses(shop: Served) -> None:
    """What the UI's forms ask the server, which answers 409 or 422; and a run that comes past them fails."""
    for name, parameters in (
        ("retrain-model", {"rung": "ladder"}),
        ("retrain-model", {"minimum_gain": -0.1}),
        ("nightly-tagging", {"source": "/etc"}),
        ("nightly-tagging", {"accept_vanished": "perhaps"}),
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            shop.begin(name, parameters)
        assert refused.value.response.status_code in (409, 422), (name, parameters)


def _facts(folder: Path, place: dict[str, str], engine: Engine) -> dict[str, int]:
    with served(folder, place) as shop:
        kinds = ("deployments", "automations", "variables", "work_pools", "block_documents")
        counts = {kind: len(shop.ask("POST", f"/{kind}/filter", {})) for kind in kinds}
        return counts | {"schedules": len(shop.deployment("nightly-tagging")["schedules"])}
