"""What the tests of flows share."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.catalogue_fixtures import (
    _misled_files,
    catalogue,
    clean_environment,
    empty_catalogue,
    engine,
    misled,
    model_copy,
    other_model,
    postgres_catalogue,
    postgres_server,
    prefect_api,
)
from tests.servers.postgres import PostgresServer

__all__ = [
    "_misled_files",
    "catalogue",
    "clean_environment",
    "empty_catalogue",
    "engine",
    "misled",
    "model_copy",
    "other_model",
    "postgres_server",
    "prefect_api",
]


@pytest.fixture
def postgres_engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    """An empty catalogue on PostgreSQL."""
    with postgres_catalogue(postgres_server) as engine:
        yield engine
