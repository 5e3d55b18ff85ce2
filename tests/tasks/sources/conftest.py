"""What the tests of sources share: an environment without AWS settings, one S3 server, a data set cache."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.servers.s3 import S3Server, rclone
from tests.tasks.sources.scripted_s3 import ScriptedS3, scripted_s3
from tests.tasks.sources.stores import S3Store


@pytest.fixture(autouse=True)
def no_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own credentials are out of reach."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server of the whole session."""
    with rclone(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture(scope="session")
def s3_client(s3_server: S3Server) -> Any:
    """boto3's own client of that server, to fill it with."""
    return s3_server.client()


@pytest.fixture
def bucket(s3_server: S3Server, s3_client: Any, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty bucket of the test's own, whose server the environment names."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return S3Store(s3_client, f"bucket-{uuid4().hex}")


@pytest.fixture
def datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` prepares lies in the test's own folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[ScriptedS3]:
    """The server behind `shop`."""
    with scripted_s3() as script:
        yield script


@pytest.fixture
def shop(scripted_server: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> ScriptedS3:
    """A bucket whose server, which the environment names, does what the test says."""
    scripted_server.reset()
    for name, value in scripted_server.environment().items():
        monkeypatch.setenv(name, value)
    return scripted_server
