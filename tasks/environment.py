"""What the settings name, opened: the catalogue, the source, the decoders."""

from functools import lru_cache

from sqlalchemy import Engine

from fashion_clip.decode import Limits
from fashion_clip.decoders import Decoders
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import Preprocessing
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


def taxonomy_name(given: str | None) -> str:
    """What to label for: as given, or FASHION_CLIP_TAXONOMY. Raises UsageError if there is neither."""
    name = given or settings().taxonomy
    if name is None:
        raise UsageError("no taxonomy: give --taxonomy FILE, or set FASHION_CLIP_TAXONOMY")
    return name


def source(name: str) -> Source:
    """The source of that name, with the limits of the settings. Raises UsageError if there is none."""
    chosen = settings()
    return _source(name, chosen.suffixes, chosen.max_bytes)


@lru_cache(maxsize=2)
def _source(name: str, suffixes: frozenset[str], max_bytes: int) -> Source:
    return open_source(name, suffixes, max_bytes)


def decoders(preprocessing: Preprocessing) -> Decoders:
    """The processes that decode photos for this one, with the limits of the settings."""
    chosen = settings()
    return _decoders(preprocessing, Limits(chosen.max_bytes, chosen.max_pixels), chosen.decode_seconds)


@lru_cache(maxsize=1)
def _decoders(preprocessing: Preprocessing, limits: Limits, seconds: float) -> Decoders:
    return Decoders(preprocessing, limits, seconds)
