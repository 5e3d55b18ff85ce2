"""S3 servers for the tests, with real signatures: rclone in a tenth of a second, Ceph for all that S3 has."""

import os
import re
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.servers import ceph, processes

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """Where a server answers (http://127.0.0.1:PORT) and the one key pair that it knows."""

    endpoint: str
    access_key: str
    secret_key: str

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self.endpoint.rpartition(":")[2])

    def behind(self, port: int) -> "S3Server":
        """The same server, reached by a proxy's port."""
        return replace(self, endpoint=f"http://127.0.0.1:{port}")

    def environment(self) -> dict[str, str]:
        """The variables by which boto3, or a process that uses it, finds this server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A boto3 client with the server's keys; it addresses buckets in the path."""
        from boto3.session import Session
        from botocore.config import Config

        return Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}),
        )


@contextmanager
def rclone(folder: Path) -> Iterator[S3Server]:
    """Serves `folder`: each folder in it is a bucket. Put files there before the start, later use S3 only.

    Signatures are checked and ETags are MD5 sums. It ignores If-Match and conditional puts, knows neither
    versions nor policies, and answers a request without a signature with 400: `rados_gateway` does better.
    Raises RuntimeError if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    log.write_text("")  # of an earlier start, with another address
    server = S3Server("", "AKIDTEST", "SECRETTEST123")
    command: list[str | Path] = [
        Path(sysconfig.get_path("scripts"), "rclone"), "serve", "s3", "--addr", "127.0.0.1:0",
        "--auth-key", f"{server.access_key},{server.secret_key}", folder,
    ]  # fmt: skip
    without_the_users = os.environ | {"RCLONE_CONFIG": ""}
    process = processes.start(command, log, environment=without_the_users)
    try:
        processes.wait_until(lambda: _ADDRESS.search(log.read_text()) is not None, process, log, 10)
        yield S3Server(_ADDRESS.findall(log.read_text())[-1], server.access_key, server.secret_key)
    finally:
        processes.end(process)


@contextmanager
def rados_gateway(folder: Path) -> Iterator[S3Server]:
    """Serves S3 by a Ceph RADOS Gateway over a store in memory: versions, policies, conditional requests too.

    It is up in two seconds. Raises RuntimeError if Ceph is not installed or does not start.
    """
    with ceph.cluster(folder) as configuration, processes.reserved_port() as port:
        server = S3Server(f"http://127.0.0.1:{port}", "AKIDTEST", "SECRETTEST123")
        gateway = ("-n", "client.rgw", f"--rgw-frontends=beast endpoint=127.0.0.1:{port}")
        with ceph.daemon("radosgw", configuration, *gateway) as process:
            keys = (f"--access-key={server.access_key}", f"--secret-key={server.secret_key}")
            ceph.run(
                "radosgw-admin", configuration, "user", "create", "--uid=test", "--display-name=test", *keys
            )
            log = configuration.with_name("radosgw.log")
            processes.wait_until(lambda: processes.answers(port), process, log, 60)
            yield server
