"""A Prefect server told what it has to know: once is as good as twice, and what people changed stays."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleUpdate,
    DeploymentUpdate,
    VariableUpdate,
    WorkPoolUpdate,
)
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Pending, Running, Suspended
from pydantic import SecretStr

from deployments.automations import put
from deployments.bootstrap import Scheduled, bootstrap, main, told
from deployments.server_api import POOL
from fashion_clip.errors import UsageError
from tasks.operator_variables import APPROVAL, AUDIT_PHOTOS
from tasks.settings import Settings

NIGHT = "nightly-tagging/nightly-tagging"
DROP = "fashion-clip: retrain on drop"
SHOP = Settings(source="/data/photos", audit_photos=7, timezone="Asia/Tokyo", cron="5 4 * * *")
TOLD = SHOP.model_copy(update={"slack_webhook": SecretStr("json://127.0.0.1:1/hook")})

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    """Of a server that knows nothing, before and after: other tests use it too."""
    with get_client(sync_client=True) as client:
        yield client
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)
        for automation in client.read_automations():
            client.delete_automation(automation.id)
        for block in client.read_block_documents():
            client.delete_block_document(block.id)
        for name in (APPROVAL, AUDIT_PHOTOS):
            with suppress(ObjectNotFound):
                client.delete_variable_by_name(name)
        with suppress(ObjectNotFound):
            client.delete_work_pool(POOL)


def state(client: SyncPrefectClient) -> dict[str, Any]:
    """All that bootstrap makes, without the times of changes."""
    ours = {"created", "updated", "last_polled", "status", "global_concurrency_limit"}
    deployments = client.read_deployments()
    return {
        "deployments": [one.model_dump(mode="json", exclude=ours | {"schedules"}) for one in deployments],
        "schedules": [
            schedule.model_dump(mode="json", exclude=ours)
            for one in deployments
            for schedule in one.schedules
        ],
        "automations": [one.model_dump() for one in client.read_automations()],
        "variables": [client.read_variable_by_name(name) for name in (APPROVAL, AUDIT_PHOTOS)],
        "blocks": sorted(str(one.id) for one in client.read_block_documents()),
        "pool": client.read_work_pool(POOL).model_dump(mode="json", exclude=ours),
    }


def test_once_is_as_good_as_twice(client: SyncPrefectClient) -> None:
    [night] = bootstrap(client, TOLD)
    made = state(client)
    assert [len(made[name]) for name in ("deployments", "schedules", "automations")] == [4, 1, 8]
    assert [variable.value for variable in made["variables"]] == ["ask", 7]
    assert bootstrap(client, TOLD) == [night]
    assert state(client) == made
    assert (night.deployment, night.when, night.timezone) == ("nightly-tagging", "5 4 * * *", "Asia/Tokyo")
    assert night.next is not None
    assert f"{night.next:%H:%M %z}" == "04:05 +0900"
    assert told(night).endswith("04:05, by '5 4 * * *' in time zone Asia/Tokyo")


def test_the_second_time_nothing_is_changed(client: SyncPrefectClient) -> None:
    """A change of a deployment deletes its planned runs, one of an automation what it has counted."""
    bootstrap(client, TOLD)
    asked = methods_asked(client)
    bootstrap(client, TOLD)
    assert "GET" in asked
    assert not {"PATCH", "PUT", "DELETE"} & set(asked)


def methods_asked(client: SyncPrefectClient) -> list[str]:
    """To which the method of each request is added from now on."""
    asked: list[str] = []
    client._client.event_hooks["request"].append(lambda request: asked.append(request.method))
    return asked


def test_the_order_in_which_a_trigger_names_its_events_is_no_change(client: SyncPrefectClient) -> None:
    names = [f"event {number}" for number in range(100)]  # so many that some of their hashes collide
    one, other = (
        AutomationCore(
            name="any",
            trigger=EventTrigger(expect=set(expected), posture=Posture.Reactive, threshold=1),
            actions=[DoNothing()],
        )
        for expected in (names, names[::-1])
    )
    assert one.model_dump_json() != other.model_dump_json()
    put(client, one)
    asked = methods_asked(client)
    put(client, other)
    assert "POST" in asked
    assert "PUT" not in asked


def test_what_is_the_codes_own_is_set_back(client: SyncPrefectClient) -> None:
    bootstrap(client, TOLD)
    made = state(client)
    night = client.read_deployment_by_name(NIGHT)
    change = DeploymentUpdate(enforce_parameter_schema=False, concurrency_limit=None)
    client.update_deployment(night.id, change)
    assert client.read_deployment_by_name(NIGHT).global_concurrency_limit is None
    usual = client.read_work_pool(POOL).base_job_template
    wide = {**usual, "variables": {"type": "object", "properties": {"command": {"type": "string"}}}}
    client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=wide))
    bootstrap(client, TOLD)
    assert state(client) == made
    limit = client.read_deployment_by_name(NIGHT).global_concurrency_limit
    assert limit is not None
    assert limit.limit == 1


def test_of_somebodys_automations_none_is_touched(client: SyncPrefectClient) -> None:
    bootstrap(client, SHOP)
    [ours] = client.read_automations_by_name(DROP)
    parts = {"description", "trigger", "actions", "tags"}
    own = AutomationCore(name="retrain-on-drop", **ours.model_dump(mode="json", include=parts))
    made = client.create_automation(own)
    bootstrap(client, TOLD)
    assert client.read_automation(made) is not None
    assert [one.id for one in client.read_automations_by_name(DROP)] == [ours.id]


def test_only_runs_of_our_deployments_are_ended(client: SyncPrefectClient) -> None:
    """`tests.gates.test_serve` holds this against the events of a real run."""
    bootstrap(client, TOLD)
    wanted = {f"prefect.deployment.{one.id}" for one in client.read_deployments()}
    looked_after = {"end runs whose process is gone", "a better model waits", "a better model still waits"}
    found = [one for one in client.read_automations() if one.name.partition(": ")[2] in looked_after]
    assert len(found) == len(looked_after)
    for automation in found:
        related = automation.model_dump(mode="json")["trigger"]["match_related"]
        assert set(related.pop("prefect.resource.id")) == wanted
        assert related == {"prefect.resource.role": "deployment"}


def test_one_retraining_at_a_time_and_none_waits_for_one_that_is_suspended(client: SyncPrefectClient) -> None:
    bootstrap(client, SHOP)
    deployment = client.read_deployment_by_name("retrain-model/retrain-model")
    first, second = (client.create_flow_run_from_deployment(deployment.id).id for _ in range(2))

    def after(run_id: UUID, wanted: State[None]) -> str | None:
        state = client.set_flow_run_state(run_id, wanted).state
        return None if state is None else state.name

    assert [after(first, Pending()), after(first, Running())] == ["Pending", "Running"]
    assert after(second, Pending()) == "AwaitingConcurrencySlot"
    assert after(first, Suspended(timeout_seconds=60)) == "Suspended"
    assert after(second, Pending()) == "Pending"
    assert client.resume_flow_run(first).status == SetStateStatus.ACCEPT
    assert after(first, Pending()) == "AwaitingConcurrencySlot"
    assert after(second, Completed()) == "Completed"
    assert after(first, Pending()) == "Pending"


def test_what_people_changed_stays(client: SyncPrefectClient) -> None:
    bootstrap(client, TOLD)
    night = client.read_deployment_by_name(NIGHT)
    own = DeploymentScheduleUpdate(active=False, schedule=CronSchedule(cron="0 9 * * *", timezone="UTC"))
    client.update_deployment_schedule(night.id, night.schedules[0].id, own.active, own.schedule)
    client.update_variable(VariableUpdate(name=AUDIT_PHOTOS, value=3))
    client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=1))
    for automation in client.read_automations():
        parts = {"name", "description", "trigger", "actions", "tags"}
        changed = AutomationCore(**automation.model_dump(mode="json", include=parts), enabled=False)
        client.update_automation(automation.id, changed)
    before = state(client)
    # A heartbeat of another length is a change of the code's own: it arrives, and the automation stays off.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}):
        assert bootstrap(client, TOLD) == [Scheduled("nightly-tagging", "0 9 * * *", "UTC", None)]
    after = state(client)
    assert [after[name] for name in before if name != "automations"] == [
        before[name] for name in before if name != "automations"
    ]
    assert not any(automation["enabled"] for automation in after["automations"])
    [zombies] = [one for one in after["automations"] if "process is gone" in one["name"]]
    assert zombies["trigger"]["within"] == timedelta(seconds=180)


def test_what_is_configured_no_more_is_gone_with_its_secret(client: SyncPrefectClient) -> None:
    before = {block.id for block in client.read_block_documents()}
    bootstrap(client, TOLD)
    assert len({block.id for block in client.read_block_documents()} - before) == 1
    bootstrap(client, SHOP)
    assert {block.id for block in client.read_block_documents()} == before
    names = {automation.name for automation in client.read_automations()}
    assert names == {DROP, "fashion-clip: end runs whose process is gone"}


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        (NIGHT, {"source": "/etc"}, "source"),
        (NIGHT, {"source": "/data/photos/../x"}, "source"),
        ("evaluate-model/evaluate-model", {"dataset": "/etc"}, "dataset"),
        ("evaluate-model/evaluate-model", {"limit": 0}, "limit"),
        ("retrain-model/retrain-model", {"rung": "none"}, "rung"),
        ("retrain-model/retrain-model", {"minimum_gain": -0.1}, "minimum_gain"),
    ],
)
def test_the_form_refuses_what_a_run_would(
    client: SyncPrefectClient, name: str, parameters: dict[str, object], field: str
) -> None:
    bootstrap(client, SHOP)
    deployment = client.read_deployment_by_name(name)
    with pytest.raises(PrefectHTTPStatusError, match="409") as refused:
        client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    assert f"field '{field}'" in refused.value.response.text


@pytest.mark.parametrize("variables", [{"command": "true"}, {"working_dir": "/"}, {"env": {"X": "y"}}])
def test_a_run_has_no_command_folder_or_environment_of_its_own(
    client: SyncPrefectClient, variables: dict[str, object]
) -> None:
    bootstrap(client, SHOP)
    night = client.read_deployment_by_name(NIGHT)
    with pytest.raises(PrefectHTTPStatusError, match="422"):
        client.create_flow_run_from_deployment(night.id, job_variables=variables)


def test_settings_that_cannot_be_are_told(client: SyncPrefectClient) -> None:
    with pytest.raises(UsageError, match="FASHION_CLIP_CRON='61 2 "):
        bootstrap(client, SHOP.model_copy(update={"cron": "61 2 * * *"}))
    with pytest.raises(UsageError, match="FASHION_CLIP_SMTP_URL"):
        bootstrap(client, SHOP.model_copy(update={"notify_email": "ann@shop.example"}))
    Path("our/clip").mkdir(parents=True)
    with pytest.raises(UsageError, match="FASHION_CLIP_MODEL names 'our/clip', which is relative"):
        bootstrap(client, SHOP.model_copy(update={"model": "our/clip"}))


@pytest.mark.parametrize(
    ("url", "code", "expected"),
    [
        (None, 2, "fashion-clip: PREFECT_API_URL is not set"),
        ("http://127.0.0.1:1/api", 1, "fashion-clip: PREFECT_API_URL: no server can be reached"),
    ],
)
def test_without_a_server_one_line_tells_so(
    capsys: pytest.CaptureFixture[str], url: str | None, code: int, expected: str
) -> None:
    with temporary_settings({PREFECT_API_URL: url}):
        assert main() == code
    err = capsys.readouterr().err
    assert err.startswith(expected)
    assert err.count("\n") == 1
