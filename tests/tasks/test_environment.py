"""What the settings name, opened."""

from pathlib import Path

import pytest
from sqlalchemy import inspect

from fashion_clip.errors import CatalogError, UsageError
from tasks import environment
from tasks.catalog.views import VIEWS

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_a_catalogue_is_made_where_there_is_none_and_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path}/made.db")
    engine = environment.catalogue()
    assert set(inspect(engine).get_view_names()) == set(VIEWS)
    assert environment.catalogue() is engine


def test_another_url_is_another_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = []
    for name in ("one.db", "two.db"):
        monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path / name}")
        engines.append(environment.catalogue())
    assert [Path(str(engine.url.database)).name for engine in engines] == ["one.db", "two.db"]


def test_a_catalogue_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path}/nowhere/x.db")
    with pytest.raises(CatalogError, match="nowhere"):
        environment.catalogue()


def test_a_source_is_the_one_given_or_the_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="FASHION_CLIP_SOURCE"):
        environment.source_name(None)
    monkeypatch.setenv("FASHION_CLIP_SOURCE", "set")
    assert environment.source_name(None) == "set"
    assert environment.source_name("given") == "given"


def test_a_source_has_the_suffixes_that_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.xyz"):
        (tmp_path / name).touch()
    monkeypatch.setenv("FASHION_CLIP_SUFFIXES", '[".XYZ"]')
    source = environment.source(str(tmp_path))
    assert [source.key(photo.uri) for photo in source.listing()] == ["b.xyz"]
