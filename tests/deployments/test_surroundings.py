"""What the server and the worker of `serve` find in their environment."""

import json
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from deployments import surroundings
from tasks.settings import settings

PORT = 4300

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_relative_places_become_full_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.cwd()
    (here / "clip").mkdir()
    chosen = {
        "SOURCE": "photos", "SOURCES": '["../more", "s3://shop/photos"]', "MODELS_DIR": "models",
        "TAXONOMY": "shop.toml", "MODEL": "clip", "DATABASE_URL": "sqlite:///x.db?timeout=5",
    }  # fmt: skip
    for name, value in chosen.items():
        monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    found = surroundings.of_worker(settings(), PORT)
    assert found["FASHION_CLIP_SOURCE"] == str(here / "photos")
    assert json.loads(found["FASHION_CLIP_SOURCES"]) == [str(here.parent / "more"), "s3://shop/photos"]
    assert found["FASHION_CLIP_MODELS_DIR"] == str(here / "models")
    assert found["FASHION_CLIP_TAXONOMY"] == str(here / "shop.toml")
    assert found["FASHION_CLIP_MODEL"] == str(here / "clip")
    url = make_url(found["FASHION_CLIP_DATABASE_URL"])
    assert (url.database, url.query) == (str(here / "x.db"), {"timeout": "5"})


def test_the_home_folder_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path.cwd()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "sqlite:///~/x.db")
    monkeypatch.setenv("FASHION_CLIP_TAXONOMY", "~/shop.toml")
    found = surroundings.of_worker(settings(), PORT)
    assert found["FASHION_CLIP_DATABASE_URL"] == f"sqlite:///{home}/x.db"
    assert found["FASHION_CLIP_TAXONOMY"] == str(home / "shop.toml")


def test_names_that_are_no_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {
        "SOURCE": "s3://shop/photos", "MODELS_DIR": "s3://shop/models", "TAXONOMY": "products",
        "MODEL": "owner/clip", "DATABASE_URL": "postgresql+psycopg://u:hu%2Fsh@host/x",
    }  # fmt: skip
    for name, value in chosen.items():
        monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    found = surroundings.of_worker(settings(), PORT)
    assert {name: found[f"FASHION_CLIP_{name}"] for name in chosen} == chosen


def test_what_a_file_in_the_working_folder_says_reaches_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "FASHION_CLIP_SHARD_SIZE=7\nfashion_clip_audit_photos=3\nOTHER=x\nFASHION_CLIP_SOURCE=a\n"
    )
    monkeypatch.setenv("FASHION_CLIP_SOURCE", "b")
    found = surroundings.of_worker(settings(), PORT)
    assert (found["FASHION_CLIP_SHARD_SIZE"], found["FASHION_CLIP_AUDIT_PHOTOS"]) == ("7", "3")
    assert found["FASHION_CLIP_SOURCE"] == str(Path.cwd() / "b")
    assert "OTHER" not in found


def test_a_variable_is_read_in_any_case_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("FASHION_CLIP_SHARD_SIZE=7\nFASHION_CLIP_AUDIT_PHOTOS=3\n")
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "")
    monkeypatch.setenv("fashion_clip_audit_photos", "4")
    found = surroundings.of_worker(settings(), PORT)
    assert found["FASHION_CLIP_SHARD_SIZE"] == "7"
    assert [name for name in found if "audit_photos" in name.lower()] == ["FASHION_CLIP_AUDIT_PHOTOS"]
    assert found["FASHION_CLIP_AUDIT_PHOTOS"] == "4"


def test_a_home_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    for name, value in {"SOURCE": "~/photos", "SOURCES": '["~/more"]', "MODELS_DIR": "~/models"}.items():
        monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    found = surroundings.of_worker(settings(), PORT)
    assert found["FASHION_CLIP_SOURCE"] == str(Path.cwd() / "photos")
    assert json.loads(found["FASHION_CLIP_SOURCES"]) == [str(Path.cwd() / "more")]
    assert found["FASHION_CLIP_MODELS_DIR"] == str(Path.cwd() / "models")


def test_the_server_knows_no_password_and_answers_its_own_pages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "postgresql+psycopg://u:hush@host/x")
    found = surroundings.of_server(PORT)
    assert "hush" not in repr(found)
    monkeypatch.delenv("FASHION_CLIP_DATABASE_URL")
    monkeypatch.setenv("fashion_clip_database_url", "postgresql+psycopg://u:hush@host/x")
    assert "hush" not in repr(surroundings.of_server(PORT))
    assert found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",") == [
        "http://127.0.0.1:4300", "http://localhost:4300",
    ]  # fmt: skip
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_a_login_of_the_server_is_that_of_worker_and_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    assert "PREFECT_API_AUTH_STRING" not in surroundings.of_worker(settings(), PORT)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "ann:secret")
    for found in (surroundings.of_server(PORT), surroundings.of_worker(settings(), PORT)):
        assert found["PREFECT_API_AUTH_STRING"] == found["PREFECT_SERVER_API_AUTH_STRING"] == "ann:secret"
