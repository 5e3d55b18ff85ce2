"""`fashion-clip serve`: what it refuses at once; `tests/gates/test_serve.py` has a real one."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.catalogue_fixtures import put_photos
from tests.cli.conftest import Finished


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Path:
    """All that `serve` needs, to be spoilt. Whatever it would start would be told to the terminal first."""
    put_photos(tmp_path / "photos", 0, 1)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("FASHION_CLIP_SOURCE", str(tmp_path / "photos"))
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path}/catalogue.db")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "code", "told"),
    [
        ("SOURCE", "nowhere", 2, "source 'nowhere' does not exist"),
        ("SOURCE", "", 2, "no source: give a folder of photos, or set FASHION_CLIP_SOURCE"),
        ("SOURCES", '["nowhere"]', 2, "source 'nowhere' does not exist"),
        ("DATABASE_URL", "sqlite:////nowhere/x.db", 1, "no folder '/nowhere' for the database"),
        ("TAXONOMY", "nope", 2, "taxonomy 'nope': there is no such file"),
        ("MODEL", "./nope", 2, "model './nope': no such folder"),
        ("TIMEZONE", "Mars/Base", 2, "FASHION_CLIP_TIMEZONE='Mars/Base'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    ready: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Finished],
    name: str, value: str, code: int, told: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(f"FASHION_CLIP_{name}", value)
    ended = run("serve", "--port", "1")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"fashion-clip: {told}")
    assert ended.err.count("\n") == 1


def test_a_port_in_use_is_told_before_anything_starts(ready: Path, run: Callable[..., Finished]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = run("serve", "--port", str(taken.getsockname()[1]))
    assert (ended.code, ended.out) == (2, "")
    assert "cannot be used" in ended.err
    assert "--port" in ended.err
