"""Embeddings in SQL: float16, as `halfvec` where PostgreSQL has pgvector, else as little-endian bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

VECTOR = np.dtype("<f2")

# The type of the catalogue's own column: pgvector may have been installed after that was made.
_COLUMN_TYPE = (
    "SELECT t.typname, t.oid, t.typarray FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = to_regclass('embeddings') AND a.attname = 'vector'"
)


class _AsAdapted(UserDefinedType[Any]):
    """What the connection's own adapters make of a value: see `adapt_connection`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "BYTEA"


class Float16Vector(TypeDecorator[npt.NDArray[np.float16]]):
    """A float16 array (dimension,) in Python."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(_AsAdapted())
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: npt.NDArray[np.float16] | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if dialect.name == "postgresql":
            from pgvector import HalfVector

            return HalfVector(value)
        return value.astype(VECTOR).tobytes()

    def process_result_value(self, value: Any, dialect: Dialect) -> npt.NDArray[np.float16] | None:
        if value is None:
            return None
        if isinstance(value, bytes | memoryview):
            return np.frombuffer(value, VECTOR)
        vector: npt.NDArray[np.float16] = value.to_numpy().astype(VECTOR)
        return vector


@dataclass(frozen=True)
class RawVectors:
    """How a database hands out many vectors at once: an SQL expression, and what its bytes are.

    Of `halfvec` that is what pgvector sends (two 16-bit numbers, then the values, big-endian): as text each
    takes twelve times as long.
    """

    expression: str
    dtype: np.dtype[np.float16]
    header: int = 0

    def matrix(self, raw: Sequence[bytes], dimension: int) -> npt.NDArray[np.float32]:
        """float32 (len(raw), dimension)."""
        values = np.frombuffer(b"".join(raw), self.dtype).reshape(len(raw), self.header + dimension)
        return values[:, self.header :].astype(np.float32)


def raw_vectors(connection: Connection, column: str) -> RawVectors:
    """For a column of this database that is `embeddings.vector`, under whatever alias."""
    if connection.dialect.name == "postgresql":
        kind = connection.exec_driver_sql(_COLUMN_TYPE).first()
        if kind is not None and kind[0] == "halfvec":
            return RawVectors(f"halfvec_send({column})", np.dtype(">f2"), header=2)
    return RawVectors(column, VECTOR)


def adapt_connection(connection: Any, _record: object = None) -> None:
    """Teaches a psycopg connection to write vectors as the column `embeddings.vector` holds them."""
    from pgvector import HalfVector
    from pgvector.psycopg.halfvec import register_halfvec_info
    from psycopg.types import TypeInfo

    row = connection.execute(_COLUMN_TYPE).fetchone()
    connection.rollback()
    if row is not None and row[0] == "halfvec":
        register_halfvec_info(connection, TypeInfo(*row))
    else:
        connection.adapters.register_dumper(HalfVector, _bytes_dumper())


def _bytes_dumper() -> type[Any]:
    from psycopg.adapt import Dumper
    from psycopg.postgres import types
    from psycopg.pq import Format

    class BytesDumper(Dumper):
        format = Format.BINARY
        oid = types["bytea"].oid

        def dump(self, obj: Any) -> bytes:
            raw: bytes = obj.to_numpy().astype(VECTOR).tobytes()
            return raw

    return BytesDumper
