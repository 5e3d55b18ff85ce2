"""The deployments as the file has them: entry points that load anywhere, typed triggers, own times."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.definitions import FILE, definitions
from fashion_clip.errors import UsageError
from tasks.settings import Settings, settings

ROOT = Path(__file__).parents[2]
NAMES = ["nightly-tagging", "evaluate-model", "retrain-model", "relabel-catalog"]

pytestmark = pytest.mark.usefixtures("clean_environment")


def properties(chosen: Settings, name: str) -> Any:
    """The fields of a deployment's form."""
    [found] = [one for one in definitions(chosen) if one.name == name]
    return found.schema["properties"]


def test_every_deployment_is_named_as_its_flow_and_told_of() -> None:
    found = definitions(Settings())
    assert [(one.name, one.flow_name) for one in found] == [(name, name) for name in NAMES]
    assert all(one.description and "fashion-clip" in one.tags and one.pool == "fashion-clip" for one in found)


def test_only_the_night_has_a_schedule_and_never_runs_twice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_CRON", "30 4 * * 1-5")
    monkeypatch.setenv("FASHION_CLIP_TIMEZONE", "Europe/Berlin")
    night, *others = definitions(settings())
    expected = {"slug": "nightly", "cron": "30 4 * * 1-5", "timezone": "Europe/Berlin", "active": True}
    assert night.schedules == (expected,)
    assert night.concurrency == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert not any(one.schedules for one in others)


@pytest.mark.parametrize(("name", "value"), [("CRON", "every night"), ("TIMEZONE", "Mars/Base")])
def test_times_that_cannot_be_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    with pytest.raises(UsageError, match=f"FASHION_CLIP_{name}"):
        settings()


def test_a_drop_starts_a_retraining_with_a_number_that_is_one() -> None:
    [trigger] = [trigger for one in definitions(Settings()) for trigger in one.triggers]
    assert trigger.expect == {"fashion.accuracy.dropped"}
    assert trigger.model_dump(mode="json")["match"] == {"prefect.resource.id": "fashion.model.*"}
    assert trigger.parameters is not None
    assert set(trigger.parameters) == {"drop", "reason", "attribute"}
    assert trigger.parameters["drop"]["__prefect_kind"] == "json"
    assert set(trigger.parameters) <= set(properties(Settings(), "retrain-model"))


def test_every_field_of_a_form_is_told_of() -> None:
    for one in definitions(Settings()):
        for name, field in one.schema["properties"].items():
            assert field.get("description"), f"{one.name}: {name}"


def test_a_form_refuses_sources_that_are_not_configured() -> None:
    inside = Settings(source="/data/photos")
    for deployment, field in (("nightly-tagging", "source"), ("evaluate-model", "dataset")):
        text, nothing = properties(inside, deployment)[field]["anyOf"]
        assert text["pattern"] == r"^(?!.*(^|/)\.\.(/|$))(/data/photos(/.*)?)$"
        assert nothing == {"type": "null"}
        assert "pattern" not in properties(Settings(), deployment)[field]["anyOf"][0]


def test_the_file_names_no_path_of_a_machine() -> None:
    text = (ROOT / "deployments" / FILE).read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert document["pull"] == []
    for entry in document["deployments"]:
        module, _, name = entry["entrypoint"].rpartition(".")
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
        assert name.isidentifier()
    assert str(ROOT) not in text
