"""The Prefect tasks of embedding a catalogue anew: what for, a shard of it, and the move of the pointer."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from fashion_clip.errors import CatalogError
from tasks import environment
from tasks.catalog import models, reembedding, relabelling
from tasks.catalog.reembedding import Reembedded, Waiting
from tasks.catalog.vectors import VECTOR
from tasks.drift import refuse_drift
from tasks.embedding import embed
from tasks.photo_sources import by_source
from tasks.serving import ServedModel, load_model, scored


@task(name="begin-reembedding", cache_policy=NO_CACHE)
def begin_reembedding(run_id: int, served_id: int, model_version: str) -> int:
    """The label set to fill, of a registered model and the served taxonomy, begun or as it was left; its id.

    served_id: the label set that is served.

    Raises:
        CatalogError: another run embeds this catalogue anew.
        UsageError: no such model, or its checkpoint cannot be loaded.
        EncoderDriftError: it gives other vectors here than those that the catalogue holds.
    """
    engine = environment.catalogue()
    other = relabelling.other_run(engine, run_id, reembedding.FLOW)
    if other is not None:
        raise CatalogError(f"run {other} embeds this catalogue anew already; wait until it has ended")
    label_set = models.label_set_for(engine, model_version, models.label_set(engine, served_id).taxonomy)
    if label_set.label_set_id != served_id:
        refuse_drift(engine, load_model(label_set))
    return label_set.label_set_id


@task(name="reembed-shard", cache_policy=NO_CACHE)
def reembed_shard(run_id: int, label_set_id: int, before: int, size: int) -> tuple[int, int]:
    """Embeds and labels up to `size` photos, the newest before a photo_id; returns the last and how many.

    Raises:
        SourceError: a source as a whole cannot be read.
        QuarantineError: too many photos cannot be read or have changed.
    """
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    photos = reembedding.to_do(engine, label_set, before, size)
    if photos:
        made, why = _made(engine, load_model(label_set), photos)
        reembedding.commit(engine, run_id, label_set, made)
        if why:
            told = ", ".join(f"{count} {reason}" for reason, count in Counter(why.values()).most_common())
            get_run_logger().warning("photos not embedded, which the next night reads again: %s", told)
        if len(why) > reembedding.MOST_LOST * len(photos):  # few are counted at the end
            reembedding.refuse_losses(engine, label_set)
    return (photos[-1].photo_id if photos else before), len(photos)


def _made(engine: Engine, model: ServedModel, photos: Sequence[Waiting]) -> tuple[Reembedded, dict[str, str]]:
    """What photos came to; and URI -> why a lost one is lost."""
    by_uri = {photo.uri: photo for photo in photos}
    vectors: dict[str, npt.NDArray[np.float16]] = {}
    why: dict[str, str] = {}
    for source, uris in by_source(engine, list(by_uri)):
        found = embed(model.encoder, source, uris, lambda _: None)
        why |= {uri: error.reason for uri, error in found.failed.items()}
        for row, vector in zip(found.rows, found.vectors, strict=True):
            uri = uris[row]
            if found.digests[uri] == by_uri[uri].sha256:
                vectors[uri] = vector
            else:
                why[uri] = "its bytes have changed"
    made = np.array(list(vectors.values()), dtype=VECTOR).reshape(-1, model.label_set.dimension)
    # Of the float16 vectors that are stored, so that relabelling gives the same labels.
    top = scored(model.labeller, made.astype(np.float32)) if vectors else {}
    return Reembedded([by_uri[uri] for uri in vectors], made, top, [by_uri[uri] for uri in why]), why


@task(name="serve-reembedded", cache_policy=NO_CACHE)
def serve_reembedded(run_id: int, label_set_id: int, served_id: int, *, reason: str | None = None) -> bool:
    """Serves the set if nothing is left to be embedded; else False.

    served_id: the label set that was served when this one was begun. reason: why, kept beside what is served.
    """
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    labeller = load_model(label_set).labeller
    made = f"embedded anew by {label_set.model_version}"
    lost = reembedding.serve_if_whole(
        engine, run_id, label_set, served_id, lambda vectors: scored(labeller, vectors), reason or made
    )
    if lost:
        get_run_logger().warning("%d photos have no labels until a night has read them again", lost)
    return lost is not None
