"""Other labels for the whole catalogue: scored from stored embeddings, and served when all are there."""

from typing import Annotated

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from tasks import deployed, environment, run_names
from tasks.catalog import relabelling, runs
from tasks.catalog.runs import RunSummary
from tasks.progress import Progress, shown
from tasks.relabelling import begin_label_set, relabel_page, serve_label_set
from tasks.serving import require_served


@flow(name=relabelling.FLOW, flow_run_name=run_names.relabelling)
def relabel_catalog(
    taxonomy: Annotated[str | None, Field(max_length=500)] = None,
    model_version: Annotated[str | None, Field(max_length=200)] = None,
    reason: Annotated[str | None, Field(max_length=500)] = None,
) -> RunSummary:
    """Labels every embedded photo for another taxonomy or calibration, without opening one, and serves that.

    It may be interrupted anywhere; the next run goes on where it was.

    Args:
        taxonomy: a shipped taxonomy's name or a TOML file; the one that is served where a model is given,
            else FASHION_CLIP_TAXONOMY.
        model_version: a registered version with the champion's embeddings; the champion if left out.
        reason: why; kept in SQL. What was made, if left out.
    """
    deployed.check(taxonomy=taxonomy)
    engine = environment.catalogue()
    wanted = taxonomy if model_version else environment.taxonomy_name(taxonomy)
    current = require_served(engine)
    told = f"taxonomy {wanted}" if wanted else f"model {model_version}"
    with runs.recorded(engine, relabelling.FLOW, told, flow_run.id) as run_id:
        label_set_id = begin_label_set(run_id, wanted, model_version)
        with shown(get_run_logger()) as progress:
            progress.started(relabelling.embedded(engine, current))
            while label_set_id != current.label_set_id:
                _fill(run_id, label_set_id, progress)
                if serve_label_set(run_id, label_set_id, current.model_version, reason=reason):
                    break
    return runs.summary(engine, run_id)


def _fill(run_id: int, label_set_id: int, progress: Progress) -> None:
    """A task a page, until nothing is lacking."""
    after, labelled = 0, 1
    while labelled:
        after, labelled = relabel_page(run_id, label_set_id, after)
        progress.advanced(labelled)
