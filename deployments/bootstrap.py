"""Tells a Prefect server all it has to know: pool, variables, deployments, automations. Safe to repeat.

    python -m deployments.bootstrap      against PREFECT_API_URL

What a person changed in the UI since stays: schedules, a variable's value, what is paused or disabled.
"""

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    VariableCreate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from pydantic import TypeAdapter, ValidationError

from deployments.automations import automations, put_all, save_channels
from deployments.definitions import Definition, definitions
from deployments.server_api import POOL
from fashion_clip.errors import FashionClipError, UsageError
from tasks.deployed import refuse_relative_model
from tasks.operator_variables import APPROVAL, AUDIT_PHOTOS
from tasks.settings import Settings, settings

LONGEST = 500  # characters of an answer that is shown
RUNS_AT_ONCE = 4  # a night, a retraining, and two that a person starts; each has a model in memory

# A process pool's, without the fields by which a run could ask for another command, folder or environment.
JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"env": {}, "labels": {}, "stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


@dataclass(frozen=True)
class Scheduled:
    """When a deployment runs. next: None if the schedule or the deployment is paused."""

    deployment: str
    when: str
    timezone: str
    next: datetime | None


def bootstrap(client: SyncPrefectClient, chosen: Settings) -> list[Scheduled]:
    """Makes what is missing, brings to today's code what is there; returns the schedules as they are.

    Raises:
        UsageError: a setting that cannot be used.
    """
    refuse_relative_model(chosen)
    _make_pool(client)
    _make_variable(client, APPROVAL, chosen.approval)
    _make_variable(client, AUDIT_PHOTOS, chosen.audit_photos)
    scheduled: list[Scheduled] = []
    wanted: list[AutomationCore] = []
    ids: list[UUID] = []
    for definition in definitions(chosen):
        deployment = _put_deployment(client, definition)
        ids.append(deployment.id)
        for trigger in definition.triggers:
            trigger.set_deployment_id(deployment.id)
            wanted.append(trigger.as_automation())
        scheduled += _scheduled(deployment)
    put_all(client, [*wanted, *automations(save_channels(client, chosen), ids)])
    return scheduled


def _make_pool(client: SyncPrefectClient) -> None:
    """With today's template, in which nothing can be asked of a run; the limit is the operators'."""
    try:
        found = client.read_work_pool(POOL)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=POOL,
            type="process",
            description="Runs each flow in a process of its own beside the worker.",
            base_job_template=JOB_TEMPLATE,
            concurrency_limit=RUNS_AT_ONCE,
        )
        client.create_work_pool(pool)
        return
    if found.base_job_template != JOB_TEMPLATE:
        client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=JOB_TEMPLATE))


def _make_variable(client: SyncPrefectClient, name: str, value: str | int) -> None:
    if client.read_variable_by_name(name) is None:
        client.create_variable(VariableCreate(name=name, value=value, tags=[POOL]))


def _put_deployment(client: SyncPrefectClient, wanted: Definition) -> DeploymentResponse:
    """Made anew as the file says; of one that is there only what is the code's own is changed."""
    name = f"{wanted.flow_name}/{wanted.name}"
    schema = dict(wanted.schema)
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return client.read_deployment(_create(client, wanted, schema))
    own: dict[str, Any] = {
        "entrypoint": wanted.entrypoint,
        "pull_steps": [],
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": schema,
    }
    if found.global_concurrency_limit is None:
        own |= _limit(wanted)
    if all(getattr(found, name) == value for name, value in own.items()):
        return found  # a change would also delete the runs that are planned
    client.update_deployment(found.id, DeploymentUpdate(**own))
    return client.read_deployment(found.id)


def _create(client: SyncPrefectClient, wanted: Definition, schema: dict[str, Any]) -> Any:
    return client.create_deployment(
        flow_id=client.create_flow_from_name(wanted.flow_name),
        name=wanted.name,
        entrypoint=wanted.entrypoint,
        description=wanted.description,
        tags=list(wanted.tags),
        work_pool_name=wanted.pool,
        schedules=[_schedule(**schedule) for schedule in wanted.schedules],
        pull_steps=[],
        enforce_parameter_schema=True,
        parameter_openapi_schema=schema,
        **_limit(wanted),
    )


def _limit(wanted: Definition) -> dict[str, Any]:
    """How many of its runs there may be at once, as Prefect's client takes it; nothing where all may."""
    if wanted.concurrency is None:
        return {}
    strategy = wanted.concurrency["collision_strategy"]
    options = ConcurrencyOptions(collision_strategy=strategy)
    return {"concurrency_limit": wanted.concurrency["limit"], "concurrency_options": options}


def _schedule(cron: str, timezone: str, slug: str, active: bool) -> DeploymentScheduleCreate:
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        told = error.errors(include_url=False)[0]["msg"]
        raise UsageError(f"FASHION_CLIP_CRON={cron!r}: {told}") from None
    return DeploymentScheduleCreate(schedule=schedule, active=active, slug=slug)


def _scheduled(deployment: DeploymentResponse) -> list[Scheduled]:
    runs = not deployment.paused
    return [
        Scheduled(deployment.name, *_told(schedule.schedule), _next(schedule.schedule))
        if runs and schedule.active
        else Scheduled(deployment.name, *_told(schedule.schedule), None)
        for schedule in deployment.schedules
    ]


def _told(schedule: SCHEDULE_TYPES) -> tuple[str, str]:
    """When it says, and in which time zone."""
    when = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None) or "every so often"
    return str(when), str(getattr(schedule, "timezone", None) or "UTC")


def _next(schedule: SCHEDULE_TYPES) -> datetime | None:
    """As the server's scheduler reckons it, with clocks that are set back and forward."""
    import asyncio

    from prefect.server.schemas import schedules

    of_server = TypeAdapter(schedules.SCHEDULE_TYPES).validate_python(schedule.model_dump())
    dates = asyncio.run(of_server.get_dates(1))
    return dates[0] if dates else None


def main() -> int:
    """Prints the schedules; returns the exit code, as the commands have them."""
    try:
        _refuse_no_server()
        with get_client(sync_client=True) as client:
            for one in bootstrap(client, settings()):
                print(told(one), flush=True)
    except FashionClipError as error:
        print(f"fashion-clip: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except PrefectHTTPStatusError as error:
        print(f"fashion-clip: Prefect refused: {error.response.text[:LONGEST]}", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
        print(f"fashion-clip: PREFECT_API_URL: no server can be reached: {error}", file=sys.stderr)
        return 1
    return 0


def _refuse_no_server() -> None:
    if not get_current_settings().api.url:  # Prefect would start a server that ends with this process
        raise UsageError(
            "PREFECT_API_URL is not set; expected the address of a Prefect server, such as "
            "http://prefect.example:4200/api; without one, start fashion-clip serve"
        )


def told(one: Scheduled) -> str:
    """One line about a schedule."""
    when = "paused" if one.next is None else f"next {one.next:%Y-%m-%d %H:%M}"
    return f"{one.deployment}: {when}, by {one.when!r} in time zone {one.timezone}"


if __name__ == "__main__":
    raise SystemExit(main())
