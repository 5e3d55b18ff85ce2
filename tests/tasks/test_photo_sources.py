"""A photo's source is opened again by the listing that it came from."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from fashion_clip.errors import SourceError
from tasks import environment
from tasks.catalog.runs import record_listing
from tasks.photo_sources import by_source
from tests.catalogue_fixtures import new_run, put_photos

pytestmark = pytest.mark.usefixtures("clean_environment")


def listed(engine: Engine, folder: Path) -> str:
    """A source that a run has listed; its URI."""
    uri = environment.source(str(folder)).uri
    record_listing(engine, new_run(engine), uri, 0, 0)
    return uri


def test_photos_come_with_their_sources(engine: Engine, tmp_path: Path) -> None:
    photos = {name: put_photos(tmp_path / name, 0, 3) for name in ("summer 2012", "winter")}
    uris = {name: listed(engine, tmp_path / name) for name in photos}
    wanted = [uris[name] + photo.name for photo in photos["winter"] for name in photos]
    found = {source.uri: names for source, names in by_source(engine, wanted)}
    assert found == {uri: [uri + photo.name for photo in photos[name]] for name, uri in uris.items()}
    for source, names in by_source(engine, wanted):
        assert source.read(names[0]).data == photos["winter"][0].read_bytes()


def test_of_two_sources_one_in_the_other_either_will_do(engine: Engine, tmp_path: Path) -> None:
    put_photos(tmp_path / "photos" / "inner", 0, 1)
    inner, outer = listed(engine, tmp_path / "photos" / "inner"), listed(engine, tmp_path / "photos")
    [photo] = environment.source(str(tmp_path / "photos" / "inner")).listing()
    [(source, uris)] = by_source(engine, [photo.uri])
    assert source.uri in (inner, outer)
    assert source.read(uris[0]).data


def test_a_source_that_is_gone_is_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    uri = listed(engine, tmp_path / "photos")
    (tmp_path / "photos").rmdir()
    environment._source.cache_clear()
    with pytest.raises(SourceError, match="Is it mounted"):
        list(by_source(engine, [uri + "a.png"]))


def test_a_photo_of_no_source_is_told(engine: Engine) -> None:
    with pytest.raises(SourceError, match=r"no run has listed a source of the photo 's3://elsewhere/a.png'"):
        list(by_source(engine, ["s3://elsewhere/a.png"]))
