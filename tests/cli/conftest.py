"""What the tests of the command line share."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.main import main
from tests.catalogue_fixtures import (
    _misled_files,
    _tagged_files,
    catalogue,
    clean_environment,
    empty_catalogue,
    engine,
    misled,
    other_model,
    prefect_api,
    tagged,
)

__all__ = [
    "_misled_files",
    "_tagged_files",
    "catalogue",
    "clean_environment",
    "empty_catalogue",
    "engine",
    "misled",
    "other_model",
    "prefect_api",
    "tagged",
]

PROGRAM = [sys.executable, "-m", "cli.main"]


@dataclass(frozen=True)
class Finished:
    """How the program ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Runs `fashion-clip` with these arguments in this process, where models stay loaded."""

    def run_here(*arguments: str | Path) -> Finished:
        monkeypatch.setattr(sys, "argv", ["fashion-clip", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Finished(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return run_here


def started(*arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
    """The program in a process of its own."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "100"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*arguments: str | Path, **environment: str) -> Finished:
    """As `started`, and waits for its end."""
    process = started(*arguments, **environment)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()  # where it has not ended
    return Finished(process.returncode, out, err)
