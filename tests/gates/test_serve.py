"""`fashion-clip serve`, a real one: what it tells, what its runs may do, and who looks after them."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tasks.catalog.engine import connect
from tests.catalogue_fixtures import DEMO_MODEL, put_photos, rows
from tests.cli.conftest import finished
from tests.gates.served import Served, served

pytestmark = pytest.mark.services

WAIT_S = 120


@dataclass(frozen=True)
class Shop:
    """A served shop of three photos. posted: what its webhook was told."""

    served: Served
    posted: list[str]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    posted: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path_factory.mktemp("served")
    put_photos(folder / "photos", 0, 3)
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    settings = {
        "FASHION_CLIP_DATABASE_URL": "sqlite:///catalogue.db",
        "FASHION_CLIP_SOURCE": "photos",
        "FASHION_CLIP_MODEL": DEMO_MODEL,
        "FASHION_CLIP_TAXONOMY": "demo",
        "FASHION_CLIP_TIMEZONE": "Europe/Berlin",
        "FASHION_CLIP_RUNTIME": "torch",
        # What Apprise posts as JSON, in the place of Slack's address.
        "FASHION_CLIP_SLACK_WEBHOOK": f"json://127.0.0.1:{hook.server_port}/",
    }
    with served(folder, settings) as running:
        yield Shop(running, posted)
    assert running.process.returncode == 130
    hook.shutdown()
    hook.server_close()


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def begun(running: Served, parameters: dict[str, object]) -> str:
    """A run of the nightly tagging. Prefect on SQLite answers 503 now and then, to be asked again."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return running.begin("nightly-tagging", parameters)
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_it_tells_where_everything_is(shop: Shop) -> None:
    told = shop.served.log()
    assert f"http://127.0.0.1:{shop.served.port}\n" in told
    assert f"sqlite:///{shop.served.folder}/catalogue.db" in told
    assert "02:00, by '0 2 * * *' in time zone Europe/Berlin" in told


def test_a_run_that_the_ui_starts_labels_the_photos(shop: Shop) -> None:
    shop.served.wait(begun(shop.served, {}), "Completed")
    engine = connect(f"sqlite:///{shop.served.folder}/catalogue.db")
    assert rows(engine, "SELECT COUNT(DISTINCT uri), COUNT(*) FROM catalog_labels") == [(3, 6)]
    engine.dispose()


def test_the_scheduler_plans_the_nights(shop: Shop) -> None:
    """Prefect's own does not with SQLAlchemy 2.1: see `deployments.in_server`."""
    body = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    eventually(lambda: shop.served.ask("POST", "/flow_runs/filter", body))
    assert all(run["auto_scheduled"] for run in shop.served.ask("POST", "/flow_runs/filter", body))


def test_a_run_that_asks_for_more_fails_and_people_are_told(shop: Shop) -> None:
    run_id = begun(shop.served, {"taxonomy": "/etc/passwd"})
    assert shop.served.wait(run_id, "Failed") == "Failed"
    assert (
        "'/etc/passwd' is no taxonomy that runs of deployments may read"
        in shop.served.state(run_id)["message"]
    )
    eventually(lambda: any("nightly-tagging Failed" in text and run_id in text for text in shop.posted))


@pytest.mark.usefixtures("clean_environment")
def test_a_second_one_with_the_same_data_is_refused(shop: Shop) -> None:
    ended = finished(
        "serve", "--port", "1",
        PREFECT_HOME=str(shop.served.folder / "prefect"),
        FASHION_CLIP_SOURCE=str(shop.served.folder / "photos"),
        FASHION_CLIP_DATABASE_URL=f"sqlite:///{shop.served.folder}/catalogue.db",
    )  # fmt: skip
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fashion-clip: another fashion-clip serve has its data in ")
    assert "PREFECT_HOME" in ended.err
    assert ended.err.count("\n") == 1


def test_a_run_is_looked_after_and_one_of_others_is_not(shop: Shop) -> None:
    """By what a real run's events are related to."""
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

    shop.served.wait(begun(shop.served, {}), "Completed")
    found = shop.served.ask("POST", "/automations/filter", {})
    [zombies] = [one for one in found if "process is gone" in one["name"]]
    trigger = EventTrigger.model_validate(zombies["trigger"])
    for name in ("prefect.flow-run.heartbeat", "prefect.flow-run.Completed"):
        event = ReceivedEvent.model_validate(shop.served.wait_for_events(name, 1)[0])
        assert trigger.covers_resources(event.resource, event.related)
        others = [one for one in event.related if one.role != "deployment"]
        assert others
        assert not trigger.covers_resources(event.resource, others)


def test_a_page_of_another_site_is_not_answered(shop: Shop) -> None:
    url = f"http://127.0.0.1:{shop.served.port}/api/version"
    for origin, allowed in ((f"http://127.0.0.1:{shop.served.port}", True), ("http://evil.example", False)):
        answer = httpx.get(url, headers={"Origin": origin})
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
