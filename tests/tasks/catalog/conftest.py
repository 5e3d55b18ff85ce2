"""The catalogue's tests run on both databases: who takes `engine`, `blank` or `passing` runs once on each."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.catalogue_fixtures import (
    connected,
    new_database,
    passing_catalogue,
    postgres_catalogue,
    postgres_server,
    unsynced,
)
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import FaultProxy, fault_proxy
from tests.tasks.catalog.databases import DATABASES, Passing

__all__ = ["postgres_server"]


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """Which database this test runs on: all its engines do."""
    return str(request.param)


@pytest.fixture
def engine(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty catalogue of the test's own, on SQLite and on PostgreSQL."""
    if database == "postgresql":
        with postgres_catalogue(request.getfixturevalue("postgres_server")) as engine:
            yield engine
        return
    file = shutil.copy(request.getfixturevalue("empty_catalogue"), tmp_path / "catalogue.db")
    with connected(f"sqlite:///{file}") as engine:
        yield unsynced(engine)


@pytest.fixture
def blank(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of the test's own in which there is nothing, on SQLite and on PostgreSQL."""
    url = f"sqlite:///{tmp_path / 'blank.db'}"
    if database == "postgresql":
        url = new_database(request.getfixturevalue("postgres_server"))
    with connected(url) as engine:
        yield engine


@pytest.fixture(scope="module", params=DATABASES)
def passing(request: pytest.FixtureRequest) -> Iterator[Passing]:
    """Gives an empty catalogue to each of a property's many examples, on SQLite and on PostgreSQL."""
    if request.param == "postgresql":
        with postgres_catalogue(request.getfixturevalue("postgres_server")) as engine:
            yield lambda: passing_catalogue(engine)
        return
    empty: Path = request.getfixturevalue("empty_catalogue")
    yield lambda: passing_catalogue(empty)


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[FaultProxy]:
    """What stands before PostgreSQL in `far`."""
    with fault_proxy(("127.0.0.1", postgres_server.port)) as proxy:
        yield proxy


@pytest.fixture
def far(engine: Engine, proxy: FaultProxy) -> Iterator[Engine]:
    """The catalogue of `engine`, which must be on PostgreSQL, reached by way of `proxy`."""
    url = engine.url.set(port=proxy.port).render_as_string(hide_password=False)
    with connected(url) as far:
        yield far
