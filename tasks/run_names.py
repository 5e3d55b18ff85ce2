"""What flow runs are called in Prefect: what they do, and to what. Parameters are anybody's text."""

import re
from typing import Any

from prefect.runtime import flow_run

from tasks.settings import settings

LONGEST = 40  # characters of what stands in a name


def plain(uri: str) -> str:
    """The last part of an address, of letters and digits alone."""
    last = uri.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9]+", "-", last).strip("-")[:LONGEST] or "photos"


def nightly() -> str:
    """Such as `tag photos`, by the source's last part."""
    source = _parameter("source") or settings().source
    return f"tag {plain(source)}" if source else "tag"


def retraining() -> str:
    """Such as `retrain head`, or `retrain auto for drop 3`."""
    drop = _parameter("drop")
    return f"retrain {_parameter('rung')}" + ("" if drop is None else f" for drop {drop}")


def evaluation() -> str:
    """Such as `evaluate on truth`, or by the data set's last part."""
    dataset = _parameter("dataset")
    return f"evaluate on {plain(dataset) if dataset else 'truth'}"


def relabelling() -> str:
    """Such as `relabel with products`, by the taxonomy or the model."""
    other = _parameter("model_version") or _parameter("taxonomy") or settings().taxonomy
    return f"relabel with {plain(other)}" if other else "relabel"


def _parameter(name: str) -> Any:
    return flow_run.parameters.get(name)
