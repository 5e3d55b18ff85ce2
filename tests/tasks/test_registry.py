"""Model folders in MODELS_DIR, on disk and in a real S3 server: whole, verified, refused when changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import CheckpointError, SourceError
from fashion_clip.model_folder import DESCRIPTION
from tasks import registry
from tests.tasks.sources.conftest import bucket, no_aws_settings, s3_client, s3_server
from tests.tasks.sources.stores import S3Store

__all__ = ["bucket", "no_aws_settings", "s3_client", "s3_server"]

VERSION = "demo-0123456789"


@pytest.fixture(autouse=True)
def forgotten(clean_environment: None) -> Iterator[None]:
    registry._bring.cache_clear()
    yield
    registry._bring.cache_clear()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


def publish() -> str:
    return registry.publish(VERSION, MODEL_DIR, None, None, {"rung": "trained"})


def test_what_is_published_is_brought_back(models: Path) -> None:
    digest = publish()
    assert registry.bring(f"registry:{VERSION}", digest) == models / VERSION
    assert publish() == digest


def test_a_version_that_is_gone_or_another_is_told(models: Path) -> None:
    digest = publish()
    with pytest.raises(CheckpointError, match="was changed since the model was registered"):
        registry.bring(f"registry:{VERSION}", "0" * 64)
    registry._bring.cache_clear()
    (models / VERSION).rename(models / "elsewhere")
    with pytest.raises(CheckpointError, match="is registered, but is not in"):
        registry.bring(f"registry:{VERSION}", digest)


def test_a_damaged_folder_is_not_taken_for_what_is_published(models: Path) -> None:
    publish()
    (models / VERSION / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="was changed since the model was made"):
        publish()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(SourceError, match="set FASHION_CLIP_MODELS_DIR"):
        publish()


def test_through_s3(bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", f"s3://{bucket.bucket}/models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    digest = publish()
    registry._bring.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))  # another machine
    folder = registry.bring(f"registry:{VERSION}", digest)
    assert tmp_path / "there" in folder.parents
    assert (folder / DESCRIPTION).is_file()
    registry._bring.cache_clear()
    with pytest.raises(CheckpointError, match="is not in 's3://"):
        registry.bring("registry:nobody-0000000000", digest)
    (folder / "config.json").write_text("{}")  # a copy that was damaged is fetched again
    assert registry.bring(f"registry:{VERSION}", digest) == folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third"))
    assert registry.publish(VERSION, MODEL_DIR, None, None, {"rung": "other"}) == digest
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    registry._bring.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fourth"))
    with pytest.raises(SourceError, match="cannot reach the models"):
        registry.bring(f"registry:{VERSION}", digest)
