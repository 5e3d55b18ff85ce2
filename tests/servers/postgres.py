"""PostgreSQL servers for the tests: the locked one with pgvector, and Debian's without. Up in half a second.

Both are reached by TCP on 127.0.0.1 with a password (SCRAM), and can be restarted and killed in the middle.
"""

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import URL

from tests.servers import processes

SUPERUSER = "postgres"
PASSWORD = "correct-horse"
# PostgreSQL refuses to run as root. As nobody with this one capability it still reaches what only root may
# read, access(2) included: a checkout below /root, and pytest's folders.
_AS_NOBODY = (
    "--securebits=+no_setuid_fixup", "--reuid=65534", "--regid=65534", "--clear-groups",
    "--inh-caps=+dac_override", "--ambient-caps=+dac_override",
)  # fmt: skip


@dataclass
class PostgresServer:
    """A server whose data and log lie in `folder`; it keeps its port through restarts."""

    binaries: Path
    folder: Path
    port: int
    fsync: bool
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def url(
        self, database: str, user: str | None = None, password: str | None = None, port: int | None = None
    ) -> str:
        """SQLAlchemy's address of a database, as the superuser unless told otherwise; `port` is a proxy's."""
        url = URL.create(
            "postgresql+psycopg",
            username=user or SUPERUSER,
            password=password or PASSWORD,
            host="127.0.0.1",
            port=port or self.port,
            database=database,
        )
        return url.render_as_string(hide_password=False)

    def create_database(self, name: str, template: str = "template1") -> str:
        """The address of a new database, a copy of another one to which nobody may be connected."""
        self._execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, if there is one, and whatever connections it has."""
        self._execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Starts the stopped or killed server, with those variables beside its own environment's.

        It returns when the server answers. Raises RuntimeError if it does not.
        """
        assert self._process is None or self._process.poll() is not None, "it is running"
        log = self.folder / "postgres.log"
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
        }
        command: list[str | Path] = [self.binaries / "postgres", "-D", self._data]
        command += [f"--{name}={value}" for name, value in options.items()]
        environment = os.environ | (variables or {})
        self._process = processes.start(command, log, privileges=_privileges(), environment=environment)
        processes.wait_until(self._ready, self._process, log, 60)

    def running(self) -> bool:
        """False also if it ended by itself, as for want of disk."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ends the server in order: transactions under way are rolled back, connections closed."""
        assert self._process
        processes.end(self._process, signal.SIGINT, seconds=30)

    def kill(self) -> None:
        """Kills all its processes at once, so that the next start has to recover from the log."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)  # it starts no other process from here on
        backends = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for backend in backends:
            with suppress(psutil.NoSuchProcess):  # it has noticed
                backend.kill()
        while not all(map(_has_ended, backends)):
            time.sleep(0.01)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _ready(self) -> bool:
        """By asking it: where the disk fails, its postmaster.pid may not say so."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: Composed) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )


def _has_ended(process: psutil.Process) -> bool:
    """Also one whose parent, which was killed, has not asked after it: init takes seconds to."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def postgres(folder: Path, fsync: bool = True) -> Iterator[PostgresServer]:
    """PostgreSQL 18 with pgvector, from the lock.

    Without `fsync` it is quicker and outlives its own death by `kill` as well, only not the machine's.
    """
    package = importlib.util.find_spec("pgserver")  # importing it would make folders and locks of its own
    assert package and package.origin
    with _served(Path(package.origin).parent / "pginstall" / "bin", folder, fsync) as server:
        yield server


@contextmanager
def debian_postgres(folder: Path, fsync: bool = True) -> Iterator[PostgresServer]:
    """The newest PostgreSQL that Debian's packages have installed (15 on bookworm), without pgvector."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not installed:
        raise RuntimeError(
            "no /usr/lib/postgresql/*/bin: run .ci/install_services (apt-get install postgresql)"
        )
    with _served(installed[-1], folder, fsync) as server:
        yield server


@contextmanager
def _served(binaries: Path, folder: Path, fsync: bool) -> Iterator[PostgresServer]:
    folder.mkdir(parents=True, exist_ok=True)
    with processes.reserved_port() as port:
        server = PostgresServer(binaries, folder, port, fsync)
        _make_cluster(server)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _make_cluster(server: PostgresServer) -> None:
    """Runs initdb. Raises RuntimeError with what it said if it fails."""
    password, log = server.folder / "password", server.folder / "initdb.log"
    password.write_text(PASSWORD)
    command: list[str | Path] = [
        server.binaries / "initdb", "--pgdata", server.folder / "data", "--username", SUPERUSER,
        "--auth=scram-sha-256", "--pwfile", password, "--no-locale", "--encoding=UTF8", "--no-sync",
    ]  # fmt: skip
    process = processes.start(command, log, privileges=_privileges())
    try:
        if process.wait(60):
            raise RuntimeError(f"initdb failed: {log.read_text()}")
    finally:
        processes.end(process)


def _privileges() -> tuple[str, ...]:
    return _AS_NOBODY if os.geteuid() == 0 else ()
