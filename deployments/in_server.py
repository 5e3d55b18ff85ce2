"""What Prefect's server loads when it starts, by the entry point `prefect.collections`: a block and a repair.

Prefect 3.8's scheduler inserts its runs with a key `state` that is no column. SQLAlchemy 2.0 passed over it;
2.1 refuses it unless it is told what to do, and no scheduled run is ever made.
"""

import sys
from collections.abc import MutableMapping
from typing import Any

from deployments.email_block import SmtpEmail

__all__ = ["SmtpEmail", "pass_over_state"]

_TABLES = "prefect.server.database.orm_models"  # loaded in a server alone; importing it takes seconds


def pass_over_state() -> None:
    """Makes SQLAlchemy 2.1 do as 2.0 did: a run's state is inserted by the statement that follows."""
    from prefect.server.database import orm_models

    for table in (orm_models.FlowRun, orm_models.TaskRun):
        hybrid: Any = table.__mapper__.all_orm_descriptors["state"]
        hybrid.inplace.bulk_dml(_nothing)


def _nothing(_table: Any, _row: MutableMapping[str, Any], _state: Any) -> None:
    pass


if _TABLES in sys.modules:
    pass_over_state()
