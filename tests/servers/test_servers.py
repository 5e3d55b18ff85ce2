"""The servers do what the tests of faults rely on."""

import hashlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.servers import processes
from tests.servers.disk import crowded_disk, failing_writes
from tests.servers.postgres import PostgresServer, debian_postgres, postgres
from tests.servers.proxy import FaultProxy, fault_proxy
from tests.servers.s3 import S3Server, rados_gateway, rclone

BODY = bytes(range(250)) * 40  # 10,000 bytes


@pytest.fixture(scope="module", params=[rclone, pytest.param(rados_gateway, marks=pytest.mark.services)])
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with request.param(tmp_path_factory.mktemp("s3") / "store") as server:
        server.client().create_bucket(Bucket="shop")
        server.client().put_object(Bucket="shop", Key="a.jpg", Body=BODY)
        yield server


def refusal(server: S3Server) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        server.client().get_object(Bucket="shop", Key="a.jpg")
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_an_etag_is_the_md5_sum_of_the_object(s3: S3Server) -> None:
    answer = s3.client().get_object(Bucket="shop", Key="a.jpg")
    assert answer["Body"].read() == BODY
    assert answer["ETag"].strip('"') == hashlib.md5(BODY).hexdigest()
    [listed] = s3.client().list_objects_v2(Bucket="shop", Prefix="a.jpg")["Contents"]
    assert listed["ETag"].strip('"') == hashlib.md5(BODY).hexdigest()


def test_a_wrong_signature_and_an_unknown_key_are_refused(s3: S3Server) -> None:
    assert refusal(replace(s3, secret_key="wrong")) == (403, "SignatureDoesNotMatch")
    assert refusal(replace(s3, access_key="AKIDNOBODY")) == (403, "InvalidAccessKeyId")


def test_nothing_is_answered_without_a_signature(s3: S3Server) -> None:
    client = s3.client()
    client.meta.events.register("choose-signer.s3", lambda **_: UNSIGNED)
    with pytest.raises(ClientError) as refused:
        client.get_object(Bucket="shop", Key="a.jpg")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)


def test_a_long_listing_comes_in_pages(s3: S3Server) -> None:
    client = s3.client()
    client.create_bucket(Bucket="many")
    keys = [f"{number:04}.jpg" for number in range(1100)]
    for key in keys:
        client.put_object(Bucket="many", Key=key, Body=b"x")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="many")
    listed = [[found["Key"] for found in page["Contents"]] for page in pages]
    assert [len(page) for page in listed] == [1000, 100]
    assert [key for page in listed for key in page] == keys


def test_the_environment_leads_boto3_to_the_server(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3", config=Config(retries={"total_max_attempts": 1}))
    assert client.get_object(Bucket="shop", Key="a.jpg")["Body"].read() == BODY


def test_rclone_serves_what_lies_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "store" / "shop").mkdir(parents=True)
    (tmp_path / "store" / "shop" / "before.jpg").write_bytes(b"before")
    with rclone(tmp_path / "store") as server:
        client = server.client()
        assert client.get_object(Bucket="shop", Key="before.jpg")["Body"].read() == b"before"
        client.put_object(Bucket="shop", Key="later.jpg", Body=b"later")
        found = client.list_objects_v2(Bucket="shop")["Contents"]
    assert [each["Key"] for each in found] == ["before.jpg", "later.jpg"]
    assert (tmp_path / "store" / "shop" / "later.jpg").read_bytes() == b"later"
    assert not processes.answers(server.port)


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from tests.servers.s3 import rclone\n"
        "with rclone(pathlib.Path(sys.argv[1])) as server: print(server.port, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as starter:
        assert starter.stdout
        port = int(starter.stdout.readline())
        assert processes.answers(port)
        starter.send_signal(signal.SIGKILL)
    for _ in range(500):
        if not processes.answers(port):
            return
        time.sleep(0.02)
    pytest.fail("the server is still there")


def test_a_server_that_ends_at_once_tells_its_log(tmp_path: Path) -> None:
    process = processes.start(["sh", "-c", "echo no such thing; exit 3"], tmp_path / "log")
    with pytest.raises(RuntimeError, match=r"ended with status 3; .* ends: no such thing"):
        processes.wait_until(lambda: False, process, tmp_path / "log", 10)


class Answers(socketserver.StreamRequestHandler):
    """Answers each line with BODY."""

    def handle(self) -> None:
        with suppress(ConnectionError):
            for _ in self.rfile:
                self.wfile.write(BODY)


@pytest.fixture(scope="module")
def target() -> Iterator[tuple[str, int]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield "127.0.0.1", server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def shared_proxy(target: tuple[str, int]) -> Iterator[FaultProxy]:
    with fault_proxy(target) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: FaultProxy) -> FaultProxy:
    shared_proxy.mode = "ok"
    return shared_proxy


class Client:
    """A connection through the proxy, kept alive."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)

    def got(self, name: str = "it", size: int = len(BODY)) -> tuple[bytes, str]:
        """What comes in answer, up to `size` bytes, and how it ends: whole, closed, reset or late."""
        received = b""
        try:
            self.socket.sendall(f"get {name}\n".encode())
            while len(received) < size:
                piece = self.socket.recv(size - len(received))
                if not piece:
                    return received, "closed"
                received += piece
        except ConnectionResetError:
            return received, "reset"
        except TimeoutError:
            return received, "late"
        return received, "whole"


WHOLE = (BODY, "whole")


def test_a_proxy_without_a_fault_changes_nothing(proxy: FaultProxy) -> None:
    client = Client(proxy)
    assert [client.got(), client.got()] == [WHOLE, WHOLE]


@pytest.mark.parametrize(("kind", "ending"), [("rst", "reset"), ("cut", "closed")])
def test_a_connection_ends_after_so_many_bytes_of_all_its_answers(
    proxy: FaultProxy, kind: str, ending: str
) -> None:
    client = Client(proxy)
    assert client.got() == WHOLE
    struck = proxy.struck
    proxy.mode = f"{kind}:14321"
    assert [client.got(), client.got()] == [WHOLE, (BODY[:4321], ending)]
    assert proxy.struck == struck + 1


def test_one_bit_is_flipped(proxy: FaultProxy) -> None:
    proxy.mode = "corrupt:7000"
    client = Client(proxy)
    received, _ = client.got()
    assert [at for at in range(len(BODY)) if received[at] != BODY[at]] == [7000]
    assert (received[7000] ^ BODY[7000]).bit_count() == 1
    assert client.got() == WHOLE


def test_a_fault_can_wait_for_a_request_and_be_limited(proxy: FaultProxy) -> None:
    proxy.mode = "corrupt:5:2 on get b"
    client = Client(proxy)
    assert [client.got(name) == WHOLE for name in ["a", "b", "a", "b", "b"]] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_text_is_heard_in_two_pieces(proxy: FaultProxy) -> None:
    proxy.mode = "rst-before:get twice"
    client = Client(proxy)
    client.socket.sendall(b"get tw")
    assert client.got("it")[1] == "whole"
    client.socket.sendall(b"get t")
    with pytest.raises(ConnectionResetError):
        client.socket.sendall(b"wice\n")
        client.socket.recv(1)


def test_a_refusing_proxy_is_like_a_server_that_is_down(proxy: FaultProxy) -> None:
    client = Client(proxy)
    assert client.got() == WHOLE
    proxy.mode = "refuse"
    assert client.got()[1] == "reset"
    with pytest.raises(ConnectionRefusedError):
        Client(proxy)
    proxy.mode = "ok"
    assert Client(proxy).got() == WHOLE


@pytest.mark.parametrize("mode", ["hang", "delay:0.6", "rate:2"])
def test_answers_come_late_until_the_mode_changes(proxy: FaultProxy, mode: str) -> None:
    proxy.mode = mode
    client = Client(proxy)
    client.socket.settimeout(0.2)
    received, ending = client.got()
    assert ending == "late"
    proxy.mode = "ok"
    client.socket.settimeout(20)
    rest, ending = client.got(size=len(BODY) - len(received))
    assert (received + rest, ending) == WHOLE


def test_a_share_of_the_connections_is_struck(proxy: FaultProxy) -> None:
    struck = proxy.struck
    proxy.mode = "rst:0@0.5"
    endings = [Client(proxy).got()[1] for _ in range(40)]
    assert 5 < endings.count("reset") < 35
    assert endings.count("reset") + endings.count("whole") == 40
    assert proxy.struck == struck + endings.count("reset")


def test_a_proxy_resets_connections_while_its_server_is_down() -> None:
    with (
        processes.reserved_port() as port,
        fault_proxy(("127.0.0.1", port)) as proxy,
        pytest.raises(ConnectionError),
    ):
        Client(proxy).socket.recv(1)


@pytest.mark.parametrize(
    "mode", ["", "rest:1", "rst", "rst:many", "ok:1", "refuse@0.5", "hang:1:1", "rst-after:"]
)
def test_an_unknown_mode_is_refused_and_the_old_one_stays(proxy: FaultProxy, mode: str) -> None:
    proxy.mode = "corrupt:1"
    with pytest.raises(ValueError, match="unknown mode"):
        proxy.mode = mode
    assert proxy.mode == "corrupt:1"
    assert Client(proxy).got() != WHOLE


def test_boto3_passes_on_a_flipped_bit_that_only_the_etag_tells(tmp_path: Path) -> None:
    (tmp_path / "store" / "shop").mkdir(parents=True)
    (tmp_path / "store" / "shop" / "a.jpg").write_bytes(BODY)
    with rclone(tmp_path / "store") as server, fault_proxy(("127.0.0.1", server.port)) as proxy:
        proxy.mode = "corrupt:5000 on GET /shop/a.jpg"
        answer = server.behind(proxy.port).client().get_object(Bucket="shop", Key="a.jpg")
        received = answer["Body"].read()
    assert len(received) == len(BODY)
    assert received != BODY
    assert answer["ETag"].strip('"') != hashlib.md5(received).hexdigest()


@pytest.fixture(scope="module", params=[postgres, pytest.param(debian_postgres, marks=pytest.mark.services)])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    starter: AbstractContextManager[PostgresServer] = request.param(tmp_path_factory.mktemp("pg") / "server")
    with starter as server:
        with connection_to(server.create_database("with_a_row")) as connection:
            connection.execute(text("CREATE TABLE things AS SELECT 1 AS thing"))
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """A database of the test's own with a table `things` of one row."""
    server.create_database("own", template="with_a_row")
    yield "own"
    server.drop_database("own")


def connection_to(url: str) -> Any:
    """A transaction on a connection of its own."""
    return engine_of(url).begin()


def engine_of(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool)


def things(server: PostgresServer, database: str) -> int:
    with connection_to(server.url(database)) as connection:
        return int(connection.execute(text("SELECT count(*) FROM things")).scalar_one())


def test_only_the_right_password_opens_the_server(server: PostgresServer, database: str) -> None:
    assert things(server, database) == 1
    with pytest.raises(OperationalError, match="password authentication failed"):
        engine_of(server.url(database, password="wrong")).connect()


def test_a_server_stops_and_starts_where_it_was(server: PostgresServer, database: str) -> None:
    server.stop()
    with pytest.raises(OperationalError, match="Connection refused"):
        engine_of(server.url(database)).connect()
    server.start()
    assert things(server, database) == 1


def test_a_killed_server_recovers_what_was_committed(server: PostgresServer, database: str) -> None:
    with connection_to(server.url(database)) as connection:
        connection.execute(text("INSERT INTO things VALUES (2)"))
    with engine_of(server.url(database)).connect() as connection:
        connection.execute(text("INSERT INTO things VALUES (3)"))
        server.kill()
        connection.invalidate()
    server.start()
    assert things(server, database) == 2
    assert "automatic recovery in progress" in (server.folder / "postgres.log").read_text()


@pytest.mark.parametrize(("moment", "rows"), [("before", 1), ("after", 2)])
def test_a_commit_that_fails_has_happened_or_not(
    server: PostgresServer, database: str, moment: str, rows: int
) -> None:
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        proxy.mode = f"rst-{moment}:COMMIT:1"
        with (
            pytest.raises(OperationalError, match="server closed the connection"),
            connection_to(server.url(database, port=proxy.port)) as connection,
        ):
            connection.execute(text("INSERT INTO things VALUES (2)"))
        assert things(server, database) == rows
        assert proxy.struck == 1
        with connection_to(server.url(database, port=proxy.port)) as connection:
            connection.execute(text("INSERT INTO things VALUES (2)"))
    assert things(server, database) == rows + 1


@pytest.mark.parametrize(("moment", "rows"), [("before", 1), ("after", 2)])
def test_so_has_a_commit_in_a_pipeline(server: PostgresServer, database: str, moment: str, rows: int) -> None:
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        proxy.mode = f"rst-{moment}:COMMIT"
        url = server.url(database, port=proxy.port).replace("+psycopg", "")
        connection = psycopg.connect(url)
        with pytest.raises(psycopg.OperationalError), connection.pipeline():
            connection.execute("INSERT INTO things VALUES (2)")
            connection.commit()
    assert things(server, database) == rows


def test_commits_are_synced(server: PostgresServer) -> None:
    with connection_to(server.url("postgres")) as connection:
        assert connection.execute(text("SHOW fsync")).scalar_one() == "on"


def test_the_locked_server_has_vectors_and_need_not_sync(tmp_path: Path) -> None:
    distance = text("SELECT '[3,4]'::vector <-> '[0,0]'::vector")
    with (
        postgres(tmp_path, fsync=False) as server,
        connection_to(server.create_database("vectors")) as connection,
    ):
        connection.execute(text("CREATE EXTENSION vector"))
        assert connection.execute(distance).scalar_one() == 5
        assert connection.execute(text("SHOW fsync")).scalar_one() == "off"
    assert not processes.answers(server.port)


@pytest.mark.services
def test_a_crowded_disk_is_soon_full_and_gone_at_the_end(tmp_path: Path) -> None:
    with crowded_disk(tmp_path / "small", 2) as folder:
        with pytest.raises(OSError, match="No space left on device"):
            (folder / "file").write_bytes(bytes(3 << 20))
        assert os.path.ismount(folder)
    assert not os.path.ismount(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.services
def test_failing_writes_reach_sqlite(tmp_path: Path) -> None:
    program = (
        "import sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('CREATE TABLE things (thing)')\n"
        "for thing in range(200): database.execute('INSERT INTO things VALUES (?)', (thing,))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "file.db")]
    failing = os.environ | failing_writes(tmp_path, 20)
    done = subprocess.run(command, env=failing, capture_output=True, text=True, check=False)
    assert "sqlite3.OperationalError: disk I/O error" in done.stderr
    command[-1] = str(tmp_path / "good.db")
    subprocess.run(command, check=True)
