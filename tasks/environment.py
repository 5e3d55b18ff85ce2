"""What the settings name, opened: the catalogue and the source."""

from functools import lru_cache

from sqlalchemy import Engine

from fashion_clip.errors import UsageError
from tasks.catalog import schema
from tasks.catalog.engine import connect
from tasks.settings import settings
from tasks.sources import Source, open_source


def catalogue() -> Engine:
    """The catalogue that FASHION_CLIP_DATABASE_URL names, its schema made where it is empty.

    Raises:
        UsageError, CatalogError: no such database, or one of another revision.
    """
    return _catalogue(settings().database_url.get_secret_value())


@lru_cache(maxsize=1)
def _catalogue(url: str) -> Engine:
    engine = connect(url)
    schema.require_current(engine)
    return engine


def source_name(given: str | None) -> str:
    """What to tag: as given, or FASHION_CLIP_SOURCE. Raises UsageError if there is neither."""
    name = given or settings().source
    if name is None:
        raise UsageError("no source: give a folder of photos, or set FASHION_CLIP_SOURCE")
    return name


def source(name: str) -> Source:
    """The source of that name, with the suffixes of the settings. Raises UsageError if there is none."""
    return open_source(name, settings().suffixes)
