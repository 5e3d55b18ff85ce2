"""The Prefect tasks of relabelling: what to label for, a page of it, and the move of the pointer."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from fashion_clip.errors import CatalogError
from fashion_clip.taxonomy import load_taxonomy
from tasks import environment
from tasks.catalog import models, relabelling
from tasks.serving import load_model, require_served, scored


@task(name="begin-label-set", cache_policy=NO_CACHE)
def begin_label_set(run_id: int, taxonomy: str) -> int:
    """The label set to fill, begun or as it was left; returns its id.

    Raises:
        CatalogError: another relabelling is under way.
    """
    engine = environment.catalogue()
    other = relabelling.other_run(engine, run_id)
    if other is not None:
        raise CatalogError(f"run {other} is relabelling this catalogue already; wait until it has ended")
    return models.label_set_for(engine, require_served(engine), load_taxonomy(taxonomy)).label_set_id


@task(name="relabel-page", cache_policy=NO_CACHE)
def relabel_page(run_id: int, label_set_id: int, after: int) -> tuple[int, int]:
    """Labels the next contents after a content id; returns the last one's id and how many there were."""
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    page = relabelling.lacking(engine, label_set, after)
    if page.content_ids:
        top = scored(load_model(label_set).heads, page.vectors)
        relabelling.write_labels(engine, run_id, label_set, page, top)
    return (page.content_ids[-1] if page.content_ids else after), len(page.content_ids)


@task(name="serve-label-set", cache_policy=NO_CACHE)
def serve_label_set(run_id: int, label_set_id: int) -> bool:
    """Serves the set if no more than a page of contents came meanwhile, which is labelled; else False."""
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    heads = load_model(label_set).heads
    reason = f"relabelled for taxonomy {label_set.taxonomy.name}"
    return relabelling.serve_if_whole(
        engine, run_id, label_set, lambda vectors: scored(heads, vectors), reason
    )
