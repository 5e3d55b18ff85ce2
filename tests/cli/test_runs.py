"""`fashion-clip runs`."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from fashion_clip.errors import SourceError
from tasks.catalog.engine import writing
from tasks.catalog.runs import recorded, summary
from tests.catalogue_fixtures import Tagged, new_run
from tests.cli.conftest import Finished

Run = Callable[..., Finished]


def test_no_runs_tells_how_to_start_one(catalogue: Engine, run: Run) -> None:
    ended = run("runs")
    assert (ended.code, ended.err) == (0, "")
    assert "fashion-clip tag FOLDER" in ended.out
    assert json.loads(run("runs", "--json").out) == []


@pytest.fixture
def catalogue_of_runs(tagged: Tagged, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A run that was completed, one that failed, one under way."""
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", str(tagged.engine.url))
    with pytest.raises(SourceError), recorded(tagged.engine, "nightly-tagging", "photos", None):
        raise SourceError("cannot list folder [red]'x'")
    new_run(tagged.engine)
    return tagged.engine


def test_runs_are_told_newest_first_with_the_reason_of_a_failure(catalogue_of_runs: Engine, run: Run) -> None:
    ended = run("runs")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert "status" in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["3", "2", "1"]
    assert "running" in lines[1]
    assert "failed" in lines[2]
    completed = lines[3].split()
    assert "completed" in completed
    assert completed[-5:] == ["62", "60", "61", "1", "0"]
    assert lines[4] == "run 2: cannot list folder [red]'x'"


def test_the_json_is_the_rows_of_run_history(catalogue_of_runs: Engine, run: Run) -> None:
    told = json.loads(run("runs", "--json").out)
    assert [row["run_id"] for row in told] == [3, 2, 1]
    row = summary(catalogue_of_runs, 1)
    assert told[2].keys() >= row.as_dict().keys()
    assert datetime.fromisoformat(told[2]["started_at"]) == row.started_at
    assert (told[2]["listed"], told[2]["tagged"], told[0]["finished_at"]) == (62, 61, None)


def test_as_many_as_asked_for(catalogue_of_runs: Engine, run: Run) -> None:
    assert [row["run_id"] for row in json.loads(run("runs", "--json", "--limit", "2").out)] == [3, 2]


def test_an_error_cannot_forge_a_run(catalogue_of_runs: Engine, run: Run, tmp_path: Path) -> None:
    with writing(catalogue_of_runs) as connection:
        connection.execute(
            text("UPDATE runs SET error = 'ValueError: a\nrun 9: all is well' WHERE run_id = 2")
        )
    assert not [line for line in run("runs").out.splitlines() if line.startswith("run 9")]
