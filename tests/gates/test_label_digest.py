"""The gate's digest tells any change of labels, photos, vectors and contents, and no other."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tasks.catalog.engine import writing
from tests.catalogue_fixtures import Tagged, new_run
from tests.gates.label_digest import label_digest


def digest_of(tagged: Tagged) -> str:
    return label_digest(Path(str(tagged.engine.url.database)))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE labels SET confidence_2 = confidence_2 + 1 WHERE content_id = 7 AND attribute_id = 1",
        "UPDATE photos SET vanished_at = '2026-01-01' WHERE photo_id = 3",
        "UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE content_id = 5",
        "UPDATE contents SET sha256 = 'x' WHERE content_id = 60",
        "DELETE FROM labels WHERE content_id = 60 AND attribute_id = 2",
    ],
)
def test_any_change_is_seen(tagged: Tagged, change: str) -> None:
    before = digest_of(tagged)
    assert digest_of(tagged) == before
    with writing(tagged.engine) as connection:
        assert connection.execute(text(change)).rowcount == 1
    assert digest_of(tagged) != before


def test_a_run_that_found_nothing_is_no_change(tagged: Tagged) -> None:
    before = digest_of(tagged)
    new_run(tagged.engine)
    assert digest_of(tagged) == before


def test_the_program_prints_the_digest_alone(tagged: Tagged) -> None:
    command = [sys.executable, "-m", "tests.gates.label_digest", str(tagged.engine.url.database)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == digest_of(tagged) + "\n"
    assert len(done.stdout) == 65


def test_a_database_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        label_digest(tmp_path / "nowhere.db")
    assert list(tmp_path.iterdir()) == []
