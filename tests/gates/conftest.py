"""What the tests of the gates share."""

from tests.catalogue_fixtures import _tagged_files, empty_catalogue, engine, prefect_api, tagged

__all__ = ["_tagged_files", "empty_catalogue", "engine", "prefect_api", "tagged"]
