"""The loop closes by itself: drifted photos come, accuracy drops, a better model is trained, approved, and in
place; on a real Prefect server with its worker, whatever is lost, doubled or killed on the way.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

from fashion_clip.demo import truth
from tasks.catalog.heartbeat import LEASE_S
from tasks.truth import import_truth
from tests.catalogue_fixtures import (
    DEMO_MODEL,
    DEMO_PHOTOS,
    connected,
    misleading_taxonomy,
    put_photos,
    rows,
    write_truth,
)
from tests.gates.served import Served, served

pytestmark = pytest.mark.services

# What the misleading prompts take for each other: photos of these have drifted, those of others have not.
DRIFTED = ("Bags", "Shirts")
SHOWN = "SELECT uri, label FROM catalog_labels ORDER BY uri"


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An empty folder of photos and the settings of a shop that looks at every new photo."""
    (tmp_path / "photos").mkdir()
    return {
        "FASHION_CLIP_DATABASE_URL": "sqlite:///catalogue.db",
        "FASHION_CLIP_SOURCE": "photos",
        "FASHION_CLIP_MODEL": DEMO_MODEL,
        "FASHION_CLIP_TAXONOMY": misleading_taxonomy(tmp_path),
        "FASHION_CLIP_CHECK_HOURS": "0",
        "FASHION_CLIP_AUDIT_PHOTOS": "300",
        "FASHION_CLIP_RUNTIME": "torch",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with connected(f"sqlite:///{tmp_path / 'catalogue.db'}") as engine:
        yield engine


def photos(drifted: bool) -> list[Path]:
    known = truth()
    return [photo for photo in DEMO_PHOTOS if (known[photo.name]["articleType"] in DRIFTED) is drifted]


def arrive(folder: Path, new: list[Path]) -> None:
    for photo in new:
        place = DEMO_PHOTOS.index(photo)
        put_photos(folder / "photos", place, place + 1)


def tell(engine: Engine, folder: Path, about: list[Path]) -> None:
    import_truth(engine, write_truth(folder / "told.csv", about), "ann", new_labels=False, dry_run=False)


def up_to_a_drop(shop: Served, engine: Engine) -> str:
    """Three nights; returns the id of the last one, which finds the drop."""
    arrive(shop.folder, photos(drifted=False))
    shop.run("nightly-tagging")
    tell(engine, shop.folder, photos(drifted=False))
    arrive(shop.folder, photos(drifted=True))
    shop.run("nightly-tagging")
    assert rows(engine, "SELECT status FROM accuracy_history ORDER BY check_id") == [("waiting",), ("ok",)]
    tell(engine, shop.folder, photos(drifted=True))
    return shop.run("nightly-tagging")


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
        for _ in range(5):
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


def test_lost_events_and_a_worker_killed_in_training(
    tmp_path: Path, place: dict[str, str], engine: Engine
) -> None:
    """Nobody hears of the drop for five nights; the sixth tells it, and the retraining is killed once."""
    place |= {"FASHION_CLIP_APPROVAL": "automatic"}
    with served(tmp_path, place | {"FASHION_CLIP_RETRAIN": "never"}) as shop:
        up_to_a_drop(shop, engine)
        for _ in range(4):
            shop.run("nightly-tagging")
        assert rows(engine, "SELECT COUNT(*) FROM retrainings") == [(0,)]
    with served(tmp_path, place) as shop:
        shop.run("nightly-tagging")
        deadline = time.monotonic() + 120
        while not rows(engine, "SELECT 1 FROM retrainings"):
            assert time.monotonic() < deadline, shop.log()
            time.sleep(0.05)
        assert shop.kill("prefect", "engine") == 1
        [killed] = shop.runs("retrain-model")
        shop.wait(killed["id"], "Crashed")
        time.sleep(LEASE_S + 1)
        shop.run("nightly-tagging")
        deadline = time.monotonic() + 300
        while rows(engine, "SELECT outcome FROM retraining_history WHERE gate = 'passed'") != [("promoted",)]:
            assert time.monotonic() < deadline, shop.log()
            time.sleep(1)
    assert rows(engine, "SELECT COUNT(*) FROM model_history WHERE promoted_at IS NOT NULL") == [(2,)]
    assert rows(engine, "SELECT COUNT(*) FROM accuracy_drops") == [(1,)]
