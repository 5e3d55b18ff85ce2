"""What `prefect.yaml` says, and what the settings add: cron line, time zone, allowed sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml
from prefect import Flow
from prefect.events import DeploymentEventTrigger
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from tasks.deployed import source_pattern
from tasks.settings import Settings

FILE = "prefect.yaml"
_READ_FROM_SOURCES = ("source", "dataset")  # parameters that `tasks.deployed.refuse_source` checks


@dataclass(frozen=True, eq=False)
class Definition:
    """One deployment. schedules: cron, timezone, slug and active each. schema: of the form's parameters."""

    name: str
    flow_name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    pool: str
    schedules: tuple[Mapping[str, Any], ...]
    concurrency: Mapping[str, Any] | None
    schema: Mapping[str, Any]
    triggers: tuple[DeploymentEventTrigger, ...]


def definitions(chosen: Settings) -> list[Definition]:
    """All deployments, in the order of the file."""
    document = yaml.safe_load((resources.files("deployments") / FILE).read_text(encoding="utf-8"))
    return [_definition(entry, chosen) for entry in document["deployments"]]


def _definition(entry: Mapping[str, Any], chosen: Settings) -> Definition:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
    own = {"cron": chosen.cron, "timezone": chosen.timezone}
    return Definition(
        name=entry["name"],
        flow_name=flow.name,
        entrypoint=entry["entrypoint"],
        description=entry["description"],
        tags=tuple(entry["tags"]),
        pool=entry["work_pool"]["name"],
        schedules=tuple({**schedule, **own} for schedule in entry.get("schedules", ())),
        concurrency=entry.get("concurrency_limit"),
        schema=_schema(flow, source_pattern(chosen)),
        triggers=tuple(DeploymentEventTrigger(**trigger) for trigger in entry.get("triggers", ())),
    )


def _schema(flow: Flow[..., Any], pattern: str | None) -> Mapping[str, Any]:
    """The flow's, in which places are held to the configured ones, so that the form itself refuses others."""
    schema = parameter_schema(flow).model_dump()
    for name in _READ_FROM_SOURCES:
        for kind in schema["properties"].get(name, {}).get("anyOf", ()):
            if pattern is not None and kind["type"] == "string":
                kind["pattern"] = pattern
    return schema
