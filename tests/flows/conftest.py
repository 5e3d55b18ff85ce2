"""What the tests of flows share."""

from tests.catalogue_fixtures import (
    catalogue,
    clean_environment,
    empty_catalogue,
    engine,
    model_copy,
    other_model,
    prefect_api,
)

__all__ = [
    "catalogue",
    "clean_environment",
    "empty_catalogue",
    "engine",
    "model_copy",
    "other_model",
    "prefect_api",
]
