"""What the tests of tasks share."""

from tests.catalogue_fixtures import (
    _tagged_files,
    catalogue,
    clean_environment,
    empty_catalogue,
    engine,
    model_copy,
    other_model,
    prefect_api,
    tagged,
)

__all__ = [
    "_tagged_files",
    "catalogue",
    "clean_environment",
    "empty_catalogue",
    "engine",
    "model_copy",
    "other_model",
    "prefect_api",
    "tagged",
]
