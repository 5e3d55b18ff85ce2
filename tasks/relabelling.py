"""The Prefect tasks of relabelling: what to label for, a page of it, and the move of the pointer."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from fashion_clip.errors import CatalogError, UsageError
from fashion_clip.taxonomy import load_taxonomy
from tasks import environment
from tasks.catalog import models, relabelling
from tasks.serving import load_model, require_served, scored


@task(name="begin-label-set", cache_policy=NO_CACHE)
def begin_label_set(run_id: int, taxonomy: str | None, model_version: str | None) -> int:
    """The label set to fill, begun or as it was left; returns its id.

    What is left out, taxonomy or registered model, is that of the labels that are served.

    Raises:
        CatalogError: another relabelling is under way.
        UsageError: no such model, or one that the stored embeddings are not of.
    """
    engine = environment.catalogue()
    other = relabelling.other_run(engine, run_id)
    if other is not None:
        raise CatalogError(f"run {other} is relabelling this catalogue already; wait until it has ended")
    current = require_served(engine)
    wanted = current.taxonomy if taxonomy is None else load_taxonomy(taxonomy)
    label_set = models.label_set_for(engine, model_version or current.model_version, wanted)
    if label_set.encoder_id != current.encoder_id:
        raise UsageError(
            f"model {label_set.model_version} has embeddings of its own, which the catalogue does not hold; "
            f"relabel for one that was made from {current.model_version}"
        )
    return label_set.label_set_id


@task(name="relabel-page", cache_policy=NO_CACHE)
def relabel_page(run_id: int, label_set_id: int, after: int) -> tuple[int, int]:
    """Labels the next contents after a content id; returns the last one's id and how many there were."""
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    page = relabelling.lacking(engine, label_set, after)
    if page.content_ids:
        top = scored(load_model(label_set).labeller, page.vectors)
        relabelling.write_labels(engine, run_id, label_set, page, top)
    return (page.content_ids[-1] if page.content_ids else after), len(page.content_ids)


@task(name="serve-label-set", cache_policy=NO_CACHE)
def serve_label_set(run_id: int, label_set_id: int, champion: str, *, reason: str | None = None) -> bool:
    """Serves the set if no more than a page of contents came meanwhile, which is labelled; else False.

    champion: the model that was served when the set was begun. reason: why, kept beside what is served.
    """
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    labeller = load_model(label_set).labeller
    made = f"relabelled for taxonomy {label_set.taxonomy.name} by {label_set.model_version}"
    return relabelling.serve_if_whole(
        engine, run_id, label_set, champion, lambda vectors: scored(labeller, vectors), reason or made
    )
