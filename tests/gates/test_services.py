"""A night over Ceph's S3 into Debian's PostgreSQL, as a user runs it; what it says when something is wrong;
and that no secret of its environment stands anywhere afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tasks.catalog import schema
from tasks.catalog.engine import connect, reading
from tasks.catalog.tables import metadata
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, rows
from tests.servers.postgres import PostgresServer, debian_postgres
from tests.servers.s3 import S3Server, rados_gateway

pytestmark = pytest.mark.services

PASSWORD = "hush-Pg-4711"  # nothing else in this test is spelled so
PHOTOS = 40
AT_ONCE_S = 30  # of a failure that nothing can mend


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with debian_postgres(tmp_path_factory.mktemp("postgres")) as server:
        engine = connect(server.url("postgres"))
        with engine.connect() as connection:
            connection.execute(text(f"CREATE ROLE shop LOGIN CREATEDB PASSWORD '{PASSWORD}'"))
            connection.commit()
        engine.dispose()
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rados_gateway(tmp_path_factory.mktemp("ceph")) as s3:
        client = s3.client()
        for bucket in ("shop", "closed"):
            client.create_bucket(Bucket=bucket)
            for photo in DEMO_PHOTOS[:PHOTOS]:
                client.put_object(Bucket=bucket, Key=f"2026/{photo.name}", Body=photo.read_bytes())
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::closed/*",
        }
        policy = {"Version": "2012-10-17", "Statement": [deny]}
        client.put_bucket_policy(Bucket="closed", Policy=json.dumps(policy))
        yield s3


@dataclass(frozen=True)
class Finished:
    """How `fashion-clip` ended, and after how long."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Place:
    """Where the program runs: its variables, and the folder that Prefect keeps."""

    variables: dict[str, str]
    prefect: Path

    def run(self, *arguments: str) -> Finished:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=os.environ | self.variables,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def on_server(self, api: str) -> "Place":
        """The same on a Prefect server that runs already: quicker than a temporary one for each run."""
        return self.with_variables(PREFECT_API_URL=api)

    def with_variables(self, **variables: str) -> "Place":
        return replace(self, variables=self.variables | variables)


@pytest.fixture
def place(server: PostgresServer, s3: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    name = request.node.name.replace("[", "_").replace("]", "").replace(" ", "_")[-60:]
    server.create_database(name)
    administrator = connect(server.url(name))
    with administrator.connect() as connection:
        connection.execute(text("GRANT ALL ON SCHEMA public TO shop"))
        connection.commit()
    administrator.dispose()
    prefect = tmp_path / "prefect"
    variables = s3.environment() | {
        "FASHION_CLIP_DATABASE_URL": server.url(name, user="shop", password=PASSWORD),
        "PREFECT_HOME": str(prefect),
    }
    return Place(variables, prefect)


def tag(place: Place, source: str, *options: str) -> Finished:
    return place.run(*options, "tag", source, "--model", DEMO_MODEL, "--taxonomy", "demo")


def everything(engine: Engine) -> str:
    """Every row of every table, as text."""
    with reading(engine) as connection:
        return "\n".join(
            str(tuple(row))
            for table in metadata.tables
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        )


def test_a_night_leaves_labels_and_no_secret(place: Place, s3: S3Server) -> None:
    first = tag(place, "s3://shop/2026", "--debug")
    assert first.code == 0, first.err
    assert f"{PHOTOS} listed = 0 known + {PHOTOS} tagged" in first.out
    second = tag(place, "s3://shop/2026", "--debug")
    assert f"{PHOTOS} listed = {PHOTOS} known + 0 tagged" in second.out
    engine = connect(place.variables["FASHION_CLIP_DATABASE_URL"])
    [(labels, model)] = rows(engine, "SELECT COUNT(*), COUNT(DISTINCT model_version) FROM catalog_labels")
    assert (labels, model) == (2 * PHOTOS, 1)
    kept = everything(engine)
    engine.dispose()
    of_prefect = [file.read_bytes() for file in place.prefect.rglob("*") if file.is_file()]
    assert any(
        b"nightly-tagging" in file for file in of_prefect
    )  # its database, with parameters and artifacts
    for secret in (PASSWORD, s3.secret_key):
        assert secret not in first.out + first.err + second.out + second.err
        assert secret not in kept
        assert not any(secret.encode() in file for file in of_prefect)


WRONG_KEYS = {"AWS_SECRET_ACCESS_KEY": "wrong-secret-0815"}
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}


@pytest.mark.parametrize(
    ("source", "variables", "told"),
    [
        ("s3://shop", WRONG_KEYS, "AWS_SECRET_ACCESS_KEY"),
        ("s3://shop", {"AWS_ACCESS_KEY_ID": "AKIDNOBODY"}, "AWS_ACCESS_KEY_ID"),
        ("s3://shop", NO_KEYS, "credentials"),
        ("s3://no-such-bucket", {}, "no-such-bucket"),
        ("s3://closed", {}, "s3:GetObject"),
    ],
)
def test_what_cannot_be_mended_by_waiting_fails_at_once_with_one_line(
    place: Place, prefect_api: str, source: str, variables: dict[str, str], told: str
) -> None:
    done = tag(place.on_server(prefect_api).with_variables(**variables), source)
    assert done.code == 1
    assert told in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not any(secret in done.err for secret in (PASSWORD, *variables.values()) if len(secret) > 10)
    engine = connect(place.variables["FASHION_CLIP_DATABASE_URL"])
    [(status, error)] = rows(engine, "SELECT status, error FROM run_history")
    assert (status, told in error) == ("failed", True)
    assert done.seconds < AT_ONCE_S
    assert rows(engine, "SELECT * FROM photos") == []
    engine.dispose()


def test_a_wrong_password_is_told_in_one_line_and_nothing_is_tried_again(place: Place) -> None:
    url = place.variables["FASHION_CLIP_DATABASE_URL"].replace(PASSWORD, "wrong-Pg-0815")
    done = tag(place.with_variables(FASHION_CLIP_DATABASE_URL=url), "s3://shop")
    assert done.code == 1
    [line] = done.err.strip().splitlines()
    assert "password authentication failed" in line
    assert "wrong-Pg-0815" not in line
    assert done.seconds < AT_ONCE_S


def test_a_server_that_is_gone_at_the_start_is_told_in_one_line(place: Place, server: PostgresServer) -> None:
    server.stop()
    try:
        done = tag(place, "s3://shop")
    finally:
        server.start()
    assert done.code == 1
    [line] = done.err.strip().splitlines()
    assert "Connection refused" in line
    assert PASSWORD not in line
    assert done.seconds < AT_ONCE_S


def test_a_server_that_restarts_under_way_is_waited_for(
    place: Place, prefect_api: str, server: PostgresServer
) -> None:
    place = place.on_server(prefect_api)
    schema.upgrade(connect(place.variables["FASHION_CLIP_DATABASE_URL"]))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "tag", "s3://shop", "--model", DEMO_MODEL, "--taxonomy", "demo"],
        env=os.environ | place.variables | {"FASHION_CLIP_SHARD_SIZE": "2"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    engine = connect(place.variables["FASHION_CLIP_DATABASE_URL"])
    while not rows(engine, "SELECT 1 FROM shards LIMIT 1"):
        assert process.poll() is None
        time.sleep(0.05)
    engine.dispose()
    server.kill()
    time.sleep(3)
    server.start()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"{PHOTOS} listed = 0 known + {PHOTOS} tagged" in out
