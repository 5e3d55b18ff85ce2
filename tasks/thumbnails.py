"""Small pictures of photos, for people to look at."""

import hashlib

from PIL import Image
from sqlalchemy import Engine

from fashion_clip.decode import Limits, decode_picture
from fashion_clip.errors import ImageError, SourceError, UsageError
from tasks import environment
from tasks.catalog import runs
from tasks.settings import settings
from tasks.sources import Source, spec_of


def thumbnail(source: Source, uri: str, sha256: str, side: int) -> Image.Image | None:
    """The photo as RGB of at most side x side pixels; None if it cannot be read, or has other bytes by now.

    It is decoded in this process: only the very bytes that a decoder's process has survived, and JPEGs at a
    part of their size, as that process did.

    Raises:
        SourceError: the source as a whole cannot be read.
    """
    try:
        data = source.read(uri).data
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        picture = decode_picture(data, Limits(), side).image
    except ImageError:
        return None
    picture.thumbnail((side, side))
    return picture


class Thumbnails:
    """Of the catalogue's photos, from FASHION_CLIP_SOURCE and the sources that runs have listed.

    shown: how many there were. troubles: why a source is not asked any more.
    """

    def __init__(self, engine: Engine):
        self.shown = 0
        self.troubles: list[str] = []
        self._uris = runs.sources(engine)
        self._sources: dict[str, Source | None] = {}
        if (given := settings().source) is not None and (source := self._opened(given)) is not None:
            self._sources[source.uri] = source
            self._uris.insert(0, source.uri)

    def of(self, uri: str, sha256: str, side: int) -> Image.Image | None:
        """See `thumbnail`; None also where there is no source to read it from."""
        source_uri = next((prefix for prefix in self._uris if uri.startswith(prefix)), None)
        if source_uri is None:
            return None
        if source_uri not in self._sources:
            self._sources[source_uri] = self._opened(spec_of(source_uri))
        source = self._sources[source_uri]
        try:
            picture = None if source is None else thumbnail(source, uri, sha256, side)
        except SourceError as error:
            self._sources[source_uri] = None
            self.troubles.append(str(error))
            return None
        self.shown += picture is not None
        return picture

    def _opened(self, spec: str) -> Source | None:
        try:
            return environment.source(spec)
        except UsageError as error:
            self.troubles.append(str(error))
            return None
