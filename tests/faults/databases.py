"""The databases that the harness makes: SQLite files and databases of a PostgreSQL server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.postgres import PostgresServer, debian_postgres, postgres

SERVERS = {"postgresql": postgres, "debian": debian_postgres}


@dataclass(frozen=True)
class Databases:
    """Where new databases come from. server: None for SQLite."""

    kind: str
    new: Callable[[str], str]
    server: PostgresServer | None


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Databases]:
    """Of a kind: sqlite, postgresql (the locked one, with pgvector) or debian (Debian's, without)."""
    if kind == "sqlite":
        folder.mkdir(parents=True, exist_ok=True)
        yield Databases(kind, lambda name: f"sqlite:///{folder / name}.db", None)
        return
    with SERVERS[kind](folder / "server") as server:
        yield Databases(kind, server.create_database, server)
