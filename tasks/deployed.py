"""What a run that Prefect's UI or API started may touch: what was configured, and nothing else there.

Whoever reaches the form may name a source, a model or a taxonomy. Without this a form would list, and show
thumbnails of, any folder that the worker can read.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from fashion_clip.errors import UsageError
from fashion_clip.machine import local_path
from fashion_clip.taxonomy import shipped_taxonomies
from tasks import environment
from tasks.catalog import versions
from tasks.settings import DEFAULT_MODEL, Settings, settings
from tasks.sources.s3 import bucket_and_prefix

_SERVE = "start it with fashion-clip serve, or give an absolute path"
_RELATIVE = "which is relative to a folder"
# What a regular expression of Python's and one of JavaScript's both take for more than itself.
_SPECIAL = re.compile(r"[.*+?^${}()|\[\]\\]")


def check(
    sources: Iterable[str | None] = (), models: Iterable[str | None] = (), taxonomy: str | None = None
) -> None:
    """Refuses, in a run of a deployment, places outside of the configured ones, and relative ones.

    A source, a data set or a taxonomy's file may be FASHION_CLIP_SOURCE, one of FASHION_CLIP_SOURCES, or what
    lies below one; a model the configured one, a registered one, or a folder below MODELS_DIR or a source.
    Runs that a person starts by a command may read what that person may.

    Raises:
        UsageError: which value, and what to do.
    """
    from prefect.runtime import deployment  # not above: `serve` needs the rest, and no Prefect

    if deployment.id is None:
        return
    chosen = settings()
    refuse_relative(chosen)
    for source in filter(None, sources):
        refuse_source(source, chosen)
    for model in filter(None, models):
        refuse_model(model, chosen)
    if taxonomy:
        refuse_taxonomy(taxonomy, chosen)


def refuse_relative(chosen: Settings) -> None:
    """Raises UsageError for a relative path: a worker deletes the folder that it runs a flow in."""
    if (database := sqlite_file(chosen)) is not None and not local_path(database).is_absolute():
        raise UsageError(
            f"FASHION_CLIP_DATABASE_URL names {database!r}, which is relative: in a worker its folder is "
            f"deleted after the run; {_SERVE} (sqlite:////FOLDER/FILE)"
        )
    refuse_relative_model(chosen)
    taxonomy = None if chosen.taxonomy in shipped_taxonomies() else chosen.taxonomy
    named = {"SOURCE": chosen.source, "MODELS_DIR": chosen.models_dir, "TAXONOMY": taxonomy}
    places = [*named.items(), *(("SOURCES", source) for source in chosen.sources)]
    for name, place in places:
        if place and is_relative(place):
            raise UsageError(f"FASHION_CLIP_{name} names {place!r}, {_RELATIVE}; {_SERVE}")


def refuse_relative_model(chosen: Settings) -> None:
    """Raises UsageError for a folder that a worker, in a folder of its own, would take for a hub's name."""
    model = chosen.model
    if model and is_relative(model) and (model.startswith(".") or Path(model).is_dir()):
        raise UsageError(f"FASHION_CLIP_MODEL names {model!r}, {_RELATIVE}; {_SERVE}")


def sqlite_file(chosen: Settings) -> str | None:
    """The path of the database's file as its URL has it; None where it is none, or no URL."""
    try:
        url = make_url(chosen.database_url.get_secret_value())
    except ArgumentError:
        return None  # told by whoever opens it, without the text, which may hold a password
    return url.database if url.get_backend_name() == "sqlite" else None


def is_relative(place: str) -> bool:
    """Whether it is a local path whose meaning hangs on the working folder."""
    return "://" not in place and not place.startswith("~") and not Path(place).is_absolute()


def refuse_source(source: str, chosen: Settings) -> None:
    """Raises UsageError unless it is a configured source, or lies below one."""
    if not _within(source, _sources(chosen)):
        raise UsageError(
            f"{source!r} is no source that runs of deployments may read; set FASHION_CLIP_SOURCE to it, or "
            'add it, or what it lies in, to FASHION_CLIP_SOURCES (a JSON list such as ["/data/photos", '
            '"hf://NAME:SPLIT"]), where the worker is started'
        )


def refuse_model(model: str, chosen: Settings) -> None:
    """Raises UsageError unless it is configured, registered, or lies in a configured place."""
    if model == (chosen.model or DEFAULT_MODEL):
        return
    if _within(model, [*_sources(chosen), chosen.models_dir, *filter(None, [chosen.model])]):
        return
    known = versions.history(environment.catalogue())
    if model not in {version.version for version in known}:
        raise UsageError(
            f"{model!r} is no model that runs of deployments may load; give a version that is registered "
            "(fashion-clip models list), or set FASHION_CLIP_MODEL where the worker is started"
        )


def refuse_taxonomy(taxonomy: str, chosen: Settings) -> None:
    """Raises UsageError unless it ships, is the configured one, or lies below a source."""
    if taxonomy in shipped_taxonomies() or taxonomy == chosen.taxonomy:
        return
    if not _within(taxonomy, [*_sources(chosen), *filter(None, [chosen.taxonomy])]):
        raise UsageError(
            f"{taxonomy!r} is no taxonomy that runs of deployments may read; give one of "
            f"{', '.join(shipped_taxonomies())}, or set FASHION_CLIP_TAXONOMY where the worker is started"
        )


def source_pattern(chosen: Settings) -> str | None:
    """A regular expression of what `refuse_source` lets through, for a form; None if nothing is configured.

    It reads text only, and lets through what a symbolic link leads elsewhere; `refuse_source` does not.
    """
    alternatives = sorted({_pattern_of(place) for place in _sources(chosen)})
    if not alternatives:
        return None
    return rf"^(?!.*(^|/)\.\.(/|$))({'|'.join(alternatives)})$"


def _sources(chosen: Settings) -> list[str]:
    return [place for place in (chosen.source, *chosen.sources) if place]


def _pattern_of(place: str) -> str:
    text = _SPECIAL.sub(r"\\\g<0>", place.rstrip("/"))
    return text if place.startswith("hf://") else text + "(/.*)?"


def _within(asked: str, places: Sequence[str]) -> bool:
    return any(asked == place or _lies_below(asked, place) for place in places)


def _lies_below(asked: str, place: str) -> bool:
    if asked.startswith("s3://") and place.startswith("s3://"):
        (bucket, prefix), (own_bucket, own_prefix) = bucket_and_prefix(asked), bucket_and_prefix(place)
        return bucket == own_bucket and prefix.startswith(own_prefix)
    if "://" in asked or "://" in place or is_relative(asked):
        return False
    return resolved(asked).is_relative_to(resolved(place))


def resolved(path: str) -> Path:
    """The path without links and `..`. Raises UsageError for what can be none."""
    try:
        return local_path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{path!r} is no path that can be opened: {error}") from None
