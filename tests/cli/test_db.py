"""`fashion-clip db upgrade`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from tasks.catalog import schema
from tasks.catalog.engine import connect, writing
from tasks.catalog.tables import metadata
from tests.cli.conftest import Finished

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    return tmp_path / "shop.db"


def test_an_upgrade_creates_and_then_finds_nothing_to_do(file: Path, run: Callable[..., Finished]) -> None:
    first = run("db", "upgrade")
    assert (first.code, first.err) == (0, "")
    assert first.out == f"sqlite:///{file}: from revision none to {schema.head()}\n"
    assert set(metadata.tables) < set(inspect(connect(f"sqlite:///{file}")).get_table_names())
    second = run("db", "upgrade")
    assert (second.code, second.out) == (0, f"sqlite:///{file}: at revision {schema.head()} already\n")


def test_a_database_of_a_newer_program_is_an_error_of_one_line(
    file: Path, run: Callable[..., Finished]
) -> None:
    run("db", "upgrade")
    with writing(connect(f"sqlite:///{file}")) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for command in (["runs"], ["db", "upgrade"]):
        ended = run(*command)
        assert (ended.code, ended.out) == (1, "")
        assert "revision 9999" in ended.err
        assert "newer" in ended.err
        assert ended.err.count("\n") == 1
