"""Settings: a value that cannot be used names its variable, and the password stays a secret."""

from pathlib import Path

import pytest

from fashion_clip.errors import UsageError
from tasks.settings import settings

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_the_defaults_need_no_environment() -> None:
    found = settings()
    assert found.database_url.get_secret_value() == "sqlite:///fashion_clip.db"
    assert (found.source, found.model, found.taxonomy) == (None, None, None)
    assert {".jpg", ".png", ".webp"} <= found.suffixes


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SHARD_SIZE", "0", "greater than or equal to 1"),
        ("SHARD_SIZE", "4097", "less than or equal to 4096"),
        ("SHARD_SIZE", "many", "integer"),
        ("AUDIT_PHOTOS", "-1", "greater than or equal to 0"),
        ("MAX_VANISHED", "-0.1", "greater than or equal to 0"),
        ("MAX_VANISHED", "10", "less than or equal to 1"),
        ("MAX_VANISHED", "nan", "less than or equal to 1"),
        ("PRODUCT_ID", "(", "not a regular expression"),
        ("PRODUCT_ID", "[^/]*$", "exactly one group"),
        ("PRODUCT_ID", "(a)(b)", "has 2"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    with pytest.raises(UsageError) as caught:
        settings()
    message = str(caught.value)
    assert message.startswith(f"FASHION_CLIP_{name}={value!r}: ")
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["SUFFIXES", "SOURCES", "RUNGS"])
@pytest.mark.parametrize("value", [".jpg,.png", "{}", "[", '"'])
def test_lists_that_are_none_are_told_too(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    with pytest.raises(UsageError, match=f"FASHION_CLIP_{name}"):
        settings()


@pytest.mark.parametrize("value", ["[]", '["ladder"]'])
def test_rungs_are_some_of_the_ladders(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_RUNGS", value)
    with pytest.raises(UsageError, match="FASHION_CLIP_RUNGS"):
        settings()


def test_suffixes_are_a_json_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_SUFFIXES", '[".jpg", ".PNG"]')
    assert settings().suffixes == {".jpg", ".PNG"}


@pytest.mark.parametrize("name", ["SOURCE", "MODEL", "TAXONOMY"])
def test_an_empty_variable_is_as_good_as_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty source would be the working folder, and an empty model the folder's checkpoint."""
    monkeypatch.setenv(f"FASHION_CLIP_{name}", "")
    assert getattr(settings(), name.lower()) is None


def test_a_file_in_the_working_folder_is_read_and_the_environment_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("FASHION_CLIP_SOURCE=from-file\nFASHION_CLIP_MODEL=from-file\nOTHER=x\n")
    monkeypatch.setenv("FASHION_CLIP_MODEL", "from-environment")
    assert (settings().source, settings().model) == ("from-file", "from-environment")


def test_settings_are_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "7")
    assert settings().shard_size == 7
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "8")
    assert settings().shard_size == 8


def test_the_password_is_not_in_what_settings_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "postgresql+psycopg://u:hush@host/x")
    found = settings()
    for shown in (repr(found), str(found), found.model_dump_json(), repr(found.model_dump())):
        assert "hush" not in shown
        assert "SecretStr" in repr(found)


def test_the_password_is_not_in_the_error_about_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "postgresql+psycopg://u:hush@host/x")
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "0")
    with pytest.raises(UsageError) as caught:
        settings()
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # pydantic's error quotes the values it was given
