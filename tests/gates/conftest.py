"""What the tests of the gates share."""

from tests.catalogue_fixtures import (
    _misled_files,
    _tagged_files,
    clean_environment,
    empty_catalogue,
    engine,
    misled,
    prefect_api,
    tagged,
)

__all__ = [
    "_misled_files",
    "_tagged_files",
    "clean_environment",
    "empty_catalogue",
    "engine",
    "misled",
    "prefect_api",
    "tagged",
]
