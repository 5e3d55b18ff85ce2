"""Another image tower for the whole catalogue: every photo embedded anew beside the nights, then served."""

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from tasks import environment
from tasks.catalog import models, reembedding, runs
from tasks.catalog.runs import RunSummary
from tasks.progress import Progress, shown
from tasks.reembedding import begin_reembedding, reembed_shard, serve_reembedded
from tasks.relabelling import relabel_page
from tasks.serving import require_served
from tasks.shard_size import Pace


@flow(name=reembedding.FLOW)
def reembed_catalog(model_version: str, reason: str | None = None) -> RunSummary:
    """Embeds and labels the catalogue's photos, newest first, and serves the labels when all are there.

    Until then the old labels are served, and nights go on with the old model. It may be interrupted anywhere;
    the next run goes on where it was. Back to a former model it is the same, and quick: its vectors are kept.

    Args:
        model_version: a registered version.
        reason: why, kept in SQL beside what is served from when; what was made, if left out.
    """
    engine = environment.catalogue()
    current = require_served(engine)
    with runs.recorded(engine, reembedding.FLOW, f"model {model_version}", flow_run.id) as run_id:
        label_set_id = begin_reembedding(run_id, current.label_set_id, model_version)
        with shown(get_run_logger(), "embedding") as progress:
            progress.started(reembedding.contents_to_do(engine, models.label_set(engine, label_set_id)))
            while label_set_id != current.label_set_id:
                _embed(run_id, label_set_id, progress)
                _label(run_id, label_set_id)
                if serve_reembedded(run_id, label_set_id, current.label_set_id, reason=reason):
                    break
    return runs.summary(engine, run_id)


def _embed(run_id: int, label_set_id: int, progress: Progress) -> None:
    """A task a shard, until none of the photos that were there is left."""
    before, photos, pace = reembedding.BEGINNING, 1, Pace()
    while photos:
        before, photos = reembed_shard(run_id, label_set_id, before, pace.shard_size())
        pace.finished(photos)
        progress.advanced(photos)


def _label(run_id: int, label_set_id: int) -> None:
    """Contents with a vector from before and without labels, a task a page."""
    after, labelled = 0, 1
    while labelled:
        after, labelled = relabel_page(run_id, label_set_id, after)
