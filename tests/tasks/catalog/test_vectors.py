"""Embeddings: the same float16 bits come back from SQLite, from pgvector and from PostgreSQL's bytes."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sqlalchemy import Engine, insert, select
from sqlalchemy.engine import make_url

from tasks.catalog import schema
from tasks.catalog.commit import Counts, commit_shard, known_contents
from tasks.catalog.engine import reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import contents, embeddings, encoders
from tasks.catalog.vectors import VECTOR
from tests.catalogue_fixtures import (
    connected,
    new_database,
    new_run,
    passing_catalogue,
    postgres_catalogue,
    rows,
)
from tests.servers.postgres import PASSWORD, PostgresServer
from tests.tasks.catalog.databases import ON_POSTGRESQL, ON_SQLITE, Passing, run
from tests.tasks.catalog.made_results import begun, claim_of, digest, result, shows, vector

A, B = "file:///photos/a.jpg", "file:///photos/b.jpg"
MADE = datetime(2026, 1, 1, tzinfo=UTC)

# Every finite float16: PostgreSQL has no vectors with others, and an encoder gives none.
BITS = st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7C00 != 0x7C00)
SPECIAL = st.sampled_from([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF])
VECTORS = arrays.arrays(np.uint16, st.integers(1, 40), elements=st.one_of(SPECIAL, BITS)).map(
    lambda bits: bits.view(VECTOR)
)

COLUMN = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
    " WHERE attrelid = 'embeddings'::regclass AND attname = 'vector'"
)
EXTENSIONS = "SELECT extname FROM pg_extension WHERE extname = 'vector'"


@contextmanager
def clerks_database(server: PostgresServer) -> Iterator[tuple[Engine, Engine]]:
    """A blank database for somebody who may make tables in it and no extension; and for its superuser."""
    url, role = make_url(new_database(server)), f"clerk_{secrets.token_hex(8)}"
    with connected(url.render_as_string(hide_password=False)) as superuser:
        run(
            superuser,
            f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'",
            f"GRANT CREATE ON SCHEMA public TO {role}",
        )
        with connected(url.set(username=role).render_as_string(hide_password=False)) as clerk:
            yield clerk, superuser


@pytest.fixture(scope="module", params=["sqlite", "halfvec", "bytea"])
def kept(request: pytest.FixtureRequest) -> Iterator[Passing]:
    """An empty catalogue for each of many examples, for each way in which vectors are kept."""
    if request.param == "sqlite":
        empty: Path = request.getfixturevalue("empty_catalogue")
        yield lambda: passing_catalogue(empty)
    elif request.param == "halfvec":
        with postgres_catalogue(request.getfixturevalue("postgres_server")) as engine:
            yield lambda: passing_catalogue(engine)
    else:
        with clerks_database(request.getfixturevalue("postgres_server")) as (clerk, _):
            schema.upgrade(clerk)
            yield lambda: passing_catalogue(clerk)


def put(engine: Engine, vectors: Sequence[npt.NDArray[np.float16]]) -> None:
    """The embeddings of contents 1, 2, ..."""
    encoder = {"encoder_id": 1, "identity": "e", "dimension": 1, "created_at": MADE}
    with writing(engine) as connection:
        connection.execute(insert(encoders), encoder)
        ids = range(1, 1 + len(vectors))
        connection.execute(insert(contents), [{"content_id": i, "sha256": f"{i}"} for i in ids])
        made = [{"encoder_id": 1, "content_id": i, "vector": v} for i, v in zip(ids, vectors, strict=True)]
        assert insert_or_nothing(connection, embeddings, made) == len(vectors)


def got(engine: Engine) -> list[npt.NDArray[np.float16]]:
    with reading(engine) as connection:
        query = select(embeddings.c.vector).order_by(embeddings.c.content_id)
        return [found for (found,) in connection.execute(query)]


@settings(max_examples=40, deadline=None)
@given(vectors=st.lists(VECTORS, min_size=1, max_size=20))
def test_the_bits_that_go_in_come_out(kept: Passing, vectors: list[npt.NDArray[np.float16]]) -> None:
    with kept() as engine:
        put(engine, vectors)
        found = got(engine)
        assert [(one.dtype, one.shape) for one in found] == [(VECTOR, one.shape) for one in vectors]
        assert [one.tobytes() for one in found] == [one.tobytes() for one in vectors]


def test_a_shard_s_vectors_are_known_again(kept: Passing) -> None:
    with kept() as engine:
        label_set, run_id = begun(engine), new_run(engine)
        claim = claim_of(engine, run_id, [A, B])
        shard = result([shows(A, "shoe"), shows(B, "hat")], ["shoe", "hat"])
        assert commit_shard(engine, run_id, claim, label_set, shard) == Counts(2, 2, 0)
        known = known_contents(engine, label_set, [digest("shoe"), digest("hat")])
        for word in ("shoe", "hat"):
            found = known[digest(word)].vector
            assert found is not None
            assert found.dtype == VECTOR
            assert found.tobytes() == vector(word).tobytes()


@ON_POSTGRESQL
def test_postgresql_keeps_vectors_as_halfvec_where_it_has_pgvector(engine: Engine) -> None:
    assert rows(engine, COLUMN) == [("halfvec",)]
    put(engine, [np.array([3, 4], VECTOR), np.array([0, 1], VECTOR)])
    nearest = "SELECT content_id FROM embeddings ORDER BY vector <=> '[1,9]' LIMIT 1"
    assert rows(engine, nearest) == [(2,)]  # as pgvector itself understands them


def test_postgresql_keeps_bytes_where_the_user_may_not_install_pgvector(
    postgres_server: PostgresServer,
) -> None:
    with clerks_database(postgres_server) as (clerk, _):
        assert schema.upgrade(clerk) == (None, schema.head())
        assert rows(clerk, EXTENSIONS) == []
        assert rows(clerk, COLUMN) == [("bytea",)]
        put(clerk, [np.array([1, -2], VECTOR)])
        assert rows(clerk, "SELECT vector FROM embeddings") == [(bytes.fromhex("003c00c0"),)]


def test_bytes_stay_bytes_when_pgvector_comes_later(postgres_server: PostgresServer) -> None:
    with clerks_database(postgres_server) as (clerk, superuser):
        schema.upgrade(clerk)
        before = np.array([1, -2], VECTOR)
        put(clerk, [before])
        run(superuser, "CREATE EXTENSION vector")
        clerk.dispose()
        schema.upgrade(clerk)
        assert rows(clerk, COLUMN) == [("bytea",)]
        later = np.array([0.5], VECTOR)
        with writing(clerk) as connection:
            connection.execute(insert(contents), {"content_id": 2, "sha256": "2"})
            connection.execute(insert(embeddings), {"encoder_id": 1, "content_id": 2, "vector": later})
        assert [found.tobytes() for found in got(clerk)] == [before.tobytes(), later.tobytes()]


@ON_SQLITE
def test_sqlite_keeps_the_bytes_of_little_endian_halves(engine: Engine) -> None:
    put(engine, [np.array([1, -2], ">f2")])
    assert rows(engine, "SELECT vector FROM embeddings") == [(bytes.fromhex("003c00c0"),)]


def test_the_engine_that_made_the_catalogue_writes_vectors_at_once(postgres_server: PostgresServer) -> None:
    """Its first connection was made when there was no column of vectors yet."""
    with connected(new_database(postgres_server)) as engine:
        schema.require_current(engine)
        put(engine, [np.array([1, -2], VECTOR)])
        assert rows(engine, COLUMN) == [("halfvec",)]
        assert [found.tobytes() for found in got(engine)] == [bytes.fromhex("003c00c0")]
