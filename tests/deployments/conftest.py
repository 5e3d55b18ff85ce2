"""What the tests of deployments share."""

from tests.catalogue_fixtures import clean_environment, prefect_api

__all__ = ["clean_environment", "prefect_api"]
