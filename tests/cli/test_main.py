"""The program as a whole: its help is quick, its errors are one line, its exit codes tell what to do."""

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from tests.cli.conftest import Finished, finished

COMMANDS = (
    ("classify", "--image-path"),
    ("tag", "--accept-vanished"),
    ("runs", "--limit"),
    ("train", "--output-model-path"),
    ("retrain", "--dry-run"),
    ("check", "--json"),
    ("serve", "--port"),
    ("models", "promote"),
    ("models approve", "--reason"),
    ("quarantine", "list"),
    ("quarantine list", "--reason"),
    ("quarantine retry", "--all"),
    ("evaluate", "--dataset"),
    ("export", "--attribute"),
    ("export", "--review"),
    ("truth", "import"),
    ("truth import", "--dry-run"),
    ("db", "upgrade"),
    ("db upgrade", "revision"),
    ("demo", "--folder"),
)

HELP = """
import json, sys
sys.argv[1:] = {arguments}
from cli.main import main
try:
    main()
except SystemExit as end:
    heavy = ("torch", "transformers", "prefect", "sqlalchemy", "pandas", "PIL", "numpy")
    print(json.dumps([end.code, [name for name in heavy if name in sys.modules]]))
"""

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.mark.parametrize(("command", "told"), [("", "classify"), *COMMANDS])
def test_every_command_has_a_help(run: Callable[..., Finished], command: str, told: str) -> None:
    ended = run(*command.split(), "--help")
    assert ended.code == 0
    assert "Usage: " in ended.out
    assert told in ended.out
    assert ended.err == ""


def test_help_is_told_without_any_heavy_package() -> None:
    """All commands in one process: what none of them imports, each does without."""
    for arguments in (["--help"], ["classify", "--help"], ["tag", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", HELP.format(arguments=arguments)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["nonsense"], ["tag", "--nonsense"], ["runs", "--limit", "0"]]
)
def test_wrong_use_is_2(run: Callable[..., Finished], arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert "Traceback" not in ended.err


def test_a_setting_that_cannot_be_is_told_in_one_line() -> None:
    ended = finished("runs", FASHION_CLIP_SHARD_SIZE="none")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("fashion-clip: FASHION_CLIP_SHARD_SIZE='none': ")
    assert ended.err.count("\n") == 1


def test_a_database_that_cannot_be_opened_is_1_and_one_line(
    run: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "sqlite:////nowhere/at/all.db")
    ended = run("runs")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "fashion-clip: no folder '/nowhere/at' for the database; create it first\n"


def test_debug_shows_where_an_error_comes_from() -> None:
    ended = finished("--debug", "runs", FASHION_CLIP_DATABASE_URL="sqlite:////nowhere/at/all.db")
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "CatalogError: no folder '/nowhere/at'" in ended.err


URLS_WITH_A_PASSWORD = (
    "mysql://u:hush@host/x",
    "postgresql+psycopg://u:hush@127.0.0.1:1/x",
    "no url, and hush",
)


@pytest.mark.parametrize("url", URLS_WITH_A_PASSWORD)
def test_a_password_is_not_told_in_an_error_nor_in_its_traceback(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", url)
    monkeypatch.setattr(sys, "argv", ["fashion-clip", "--debug", "runs"])
    with pytest.raises(Exception, match="") as caught:
        main()
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_postgresql_that_is_not_there_is_one_line(
    run: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", URLS_WITH_A_PASSWORD[1])
    ended = run("runs")
    assert ended.code in (1, 2)
    assert ended.err.startswith("fashion-clip: ")
    assert ended.err.count("\n") == 1
