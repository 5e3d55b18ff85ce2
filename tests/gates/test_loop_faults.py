"""The loop completes, once, whatever is lost or killed on the way."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tasks.catalog.heartbeat import LEASE_S
from tests.catalogue_fixtures import rows
from tests.gates.drifting_shop import engine, place, up_to_a_drop
from tests.gates.served import Served, served

__all__ = ["engine", "place"]

pytestmark = pytest.mark.services

LOST = 1  # nights after the one that found the drop


def test_lost_events_a_dead_server_and_a_worker_killed_in_training(
    tmp_path: Path, place: dict[str, str], engine: Engine
) -> None:
    """Nobody hears of the drop for two nights; then Prefect's server dies, and the retraining after that."""
    place |= {"FASHION_CLIP_APPROVAL": "automatic"}
    with served(tmp_path, place | {"FASHION_CLIP_RETRAIN": "never"}) as shop:
        up_to_a_drop(shop, engine)
        for _ in range(LOST):
            shop.run("nightly-tagging")
        assert rows(engine, "SELECT COUNT(*) FROM retrainings") == [(0,)]
    with served(tmp_path, place) as shop:
        shop.run("nightly-tagging")
        assert shop.kill("prefect", "server", "start") >= 1
        assert shop.process.wait(60) == 1
        assert "Prefect's server ended" in shop.log()
    with served(tmp_path, place) as shop:
        shop.run("nightly-tagging")
        _wait_for(shop, engine, "SELECT outcome FROM retrainings", [("running",)])
        assert shop.kill("prefect", "engine")  # another night, or its double, may be there too
        time.sleep(LEASE_S + 1)
        shop.run("nightly-tagging")
        _wait_for(shop, engine, "SELECT outcome FROM retrainings", [("promoted",)])
    assert rows(engine, "SELECT COUNT(*) FROM model_history WHERE promoted_at IS NOT NULL") == [(2,)]
    assert rows(engine, "SELECT COUNT(*) FROM accuracy_drops") == [(1,)]


def _wait_for(shop: Served, engine: Engine, query: str, wanted: list[tuple[str]]) -> None:
    deadline = time.monotonic() + 300
    while (found := rows(engine, query)) != wanted:
        assert time.monotonic() < deadline, f"{found}; {shop.log()}"
        time.sleep(0.05)
