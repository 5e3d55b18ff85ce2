"""From a photo's URI back to the source that it was listed by."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Engine

from fashion_clip.errors import SourceError, UsageError
from tasks import environment
from tasks.catalog import runs
from tasks.sources import Source, spec_of


def by_source(engine: Engine, uris: Sequence[str]) -> Iterator[tuple[Source, list[str]]]:
    """The photos of each source, of those that runs have listed, with the source opened again.

    Raises:
        SourceError: a source cannot be opened any more, or no run has listed one that the photo is of.
    """
    prefixes = runs.sources(engine)
    of_source: dict[str, list[str]] = {}
    for uri in uris:
        prefix = next((prefix for prefix in prefixes if uri.startswith(prefix)), None)
        if prefix is None:
            raise SourceError(
                f"no run has listed a source of the photo {uri!r}; tag the source that it is of"
            )
        of_source.setdefault(prefix, []).append(uri)
    for prefix, photos in of_source.items():
        yield _opened(prefix), photos


def _opened(prefix: str) -> Source:
    try:
        return environment.source(spec_of(prefix))
    except UsageError as error:
        raise SourceError(
            f"the photos of {prefix!r} cannot be read: {error}. Is it mounted? If it is gone for good, tag "
            "an empty folder in its place with --accept-vanished"
        ) from error
