"""What Prefect does by itself: ends runs that died without a word, and tells people what they should know."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import (
    AutomationCore,
    EventTrigger,
    Posture,
    TriggerTypes,
)
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from pydantic import SecretStr

from deployments.email_block import SmtpEmail, mail_url
from fashion_clip.errors import UsageError
from tasks.settings import Settings

MISSED_HEARTBEATS = 3
USUAL_HEARTBEAT_S = 180  # Prefect's own, where nothing is set
PREFIX = "fashion-clip"  # of the names of automations and blocks
FLOWS = (
    "nightly-tagging",
    "check-accuracy",
    "evaluate-model",
    "retrain-model",
    "relabel-catalog",
    "reembed-catalog",
)
_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
# A person's runs too, which have no deployment.
_FLOWS = ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)})


def automations(channels: Sequence[UUID], deployments: Sequence[UUID]) -> list[AutomationCore]:
    """All of them. channels: the blocks that notifications are sent through; none, then nobody is told.

    deployments: whose runs they look after. Others on the server may have another heartbeat.
    """
    ours = _runs_of(deployments)
    told = [_notification(name, trigger, channels) for name, trigger in _reasons(ours).items() if channels]
    return [_zombies(ours), *told]


def _runs_of(deployments: Sequence[UUID]) -> ResourceSpecification:
    """What events of their runs are related to; a heartbeat tells a deployment's id and not its name."""
    ids = [f"prefect.deployment.{deployment}" for deployment in deployments]
    return ResourceSpecification({"prefect.resource.role": "deployment", "prefect.resource.id": ids})


def _zombies(ours: ResourceSpecification) -> AutomationCore:
    """A run that had a heartbeat and has none any more: its process and its worker are gone."""
    every = get_current_settings().flows.heartbeat_frequency or USUAL_HEARTBEAT_S
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},
        match=_RUNS,
        match_related=ours,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=MISSED_HEARTBEATS * every),
    )
    return AutomationCore(
        name=f"{PREFIX}: end runs whose process is gone",
        description=f"A run without a heartbeat for {MISSED_HEARTBEATS * every} s becomes Crashed.",
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: its process is gone")],
    )


def _reasons(ours: ResourceSpecification) -> Mapping[str, tuple[TriggerTypes, str, str]]:
    """Name of the automation -> when, subject and text, in Jinja; an event's values are never markup here."""
    run = "{{ flow_run.name }} of {{ flow.name }}: {{ flow_run | ui_url }}"
    reason = "{{ event.payload.reason }}"
    return {
        "a run failed": (
            _of_runs(_FLOWS, "Failed", "Crashed"),
            "{{ flow.name }} {{ flow_run.state.name }}",
            "{{ flow_run.state.message }}\n" + run,
        ),
        "a better model waits": (
            _of_runs(ours, "Suspended"),
            "A better model waits for your word",
            "Look at it and press Resume, or fashion-clip models approve.\n" + run,
        ),
        "a better model still waits": (
            _still_waiting(ours),
            "A better model still waits for your word",
            "Look at it and press Resume, or fashion-clip models reject.\n" + run,
        ),
        "accuracy fell": (_of_events("fashion.accuracy.dropped"), "Accuracy fell", reason),
        "a model was promoted": (
            _of_events("fashion.model.promoted"),
            "Promoted: {{ event.resource.id }}",
            reason,
        ),
        "a model was rejected": (
            _of_events("fashion.model.rejected"),
            "Rejected: {{ event.resource.id }}",
            reason,
        ),
    }


def _of_events(name: str) -> EventTrigger:
    return EventTrigger(expect={name}, posture=Posture.Reactive, threshold=1, within=timedelta(0))


def _of_runs(whose: ResourceSpecification, *states: str) -> EventTrigger:
    """A run entered one of the states."""
    return EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match=_RUNS,
        match_related=whose,
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )


def _still_waiting(ours: ResourceSpecification) -> EventTrigger:
    """A day after a run was suspended, if nothing has happened to it since."""
    return EventTrigger(
        after={"prefect.flow-run.Suspended"},
        expect={"prefect.flow-run.*"},
        match=_RUNS,
        match_related=ours,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(days=1),
    )


def _notification(name: str, told: tuple[TriggerTypes, str, str], channels: Sequence[UUID]) -> AutomationCore:
    trigger, subject, body = told
    actions = [
        SendNotification(block_document_id=channel, subject=subject, body=body) for channel in channels
    ]
    return AutomationCore(name=f"{PREFIX}: {name}", trigger=trigger, actions=list(actions))


def save_channels(client: SyncPrefectClient, chosen: Settings) -> list[UUID]:
    """Writes the blocks that notifications go through, encrypted in Prefect's database; returns their ids.

    What is configured no more is deleted, with its secret.

    Raises:
        UsageError: recipients without a server, or a server that cannot be one.
    """
    slack, email = chosen.slack_webhook, None
    if chosen.notify_email is not None:
        if chosen.smtp_url is None:
            raise UsageError(
                "FASHION_CLIP_NOTIFY_EMAIL names people, but FASHION_CLIP_SMTP_URL no server to send mail; "
                "expected smtp://USER:PASSWORD@HOST:PORT"
            )
        email = SecretStr(mail_url(chosen.smtp_url.get_secret_value(), chosen.notify_email))
    saved = [_channel(client, SlackWebhook, slack), _channel(client, SmtpEmail, email)]
    return [channel for channel in saved if channel is not None]


def _channel(
    client: SyncPrefectClient, block: type[SlackWebhook] | type[SmtpEmail], url: SecretStr | None
) -> UUID | None:
    if url is not None:
        saved = block(url=url).save(PREFIX, overwrite=True)
        assert isinstance(saved, UUID)  # outside of a running loop it is no coroutine
        return saved
    with suppress(ObjectNotFound):
        client.delete_block_document(
            client.read_block_document_by_name(PREFIX, block.get_block_type_slug()).id
        )
    return None


def put_all(client: SyncPrefectClient, wanted: Sequence[AutomationCore]) -> None:
    """Puts all of them, and deletes those of the same prefix that are wanted no more."""
    for automation in wanted:
        put(client, automation)
    names = {automation.name for automation in wanted}
    for found in client.read_automations():
        if found.name.startswith(f"{PREFIX}: ") and found.name not in names:
            client.delete_automation(found.id)


def put(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Makes the automation of that name, or changes it to what is wanted; disabled, it stays so."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return
    current, *doubled = found
    for other in doubled:
        client.delete_automation(other.id)
    if _definition(current) != _definition(wanted):  # else its counts of events would begin anew
        changed = AutomationCore(**_definition(wanted), enabled=current.enabled, tags=current.tags)
        client.update_automation(current.id, changed)


def _definition(automation: AutomationCore) -> dict[str, Any]:
    """What is the code's own; the rest is the operators', and the owner cannot be changed.

    Not as JSON, where the events that a trigger expects would be a list in the order of a set: in any order.
    """
    return automation.model_dump(include={"name", "description", "trigger", "actions"})
