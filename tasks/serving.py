"""From the label set that the catalogue serves to a loaded model, the same for every flow."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from fashion_clip.errors import UsageError
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.catalog import models
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.settings import DEFAULT_MODEL, DEFAULT_TAXONOMY

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder
    from fashion_clip.scoring import Head


@dataclass(frozen=True)
class ServedModel:
    """A label set, the encoder that its embeddings come from, and a head for each of its attributes."""

    label_set: LabelSet
    encoder: "ClipEncoder"
    heads: tuple["Head", ...]


def check_request(served: LabelSet, model: str | None, taxonomy: str | None) -> None:
    """A catalogue that has a champion is tagged by it: what is asked for must be what is served.

    A checkpoint under another name is loaded to compare; one that moved is still the same model.

    Raises:
        UsageError: another model or taxonomy was asked for.
    """
    advice = "leave the option out, or start another catalogue with another FASHION_CLIP_DATABASE_URL"
    if taxonomy is not None and load_taxonomy(taxonomy).version != served.taxonomy.version:
        raise UsageError(
            f"this catalogue is tagged with taxonomy {served.taxonomy.name!r}, version "
            f"{served.taxonomy.version[:12]}, and {taxonomy!r} differs from it; {advice}"
        )
    if model is None or checkpoint_name(model) == served.checkpoint:
        return
    if _facts(model).fingerprint != served.fingerprint:
        raise UsageError(
            f"this catalogue is served by model {served.model_version} ({served.checkpoint!r}), "
            f"not by {model!r}; {advice}"
        )


def begin_catalogue(engine: Engine, model: str | None, taxonomy: str | None) -> LabelSet:
    """Starts an empty catalogue with the model and taxonomy asked for, or the defaults.

    Raises:
        CheckpointError, TaxonomyError: either cannot be loaded.
    """
    wanted: Taxonomy = load_taxonomy(taxonomy or DEFAULT_TAXONOMY)
    return models.begin(engine, _facts(model or DEFAULT_MODEL), wanted)


def load_model(label_set: LabelSet, model: str | None = None) -> ServedModel:
    """The loaded model of a label set, kept for the life of the process.

    `model` is where its checkpoint lies now, if it has moved since it was registered.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UsageError: the weights there are no longer those that were registered.
    """
    name = model or label_set.checkpoint
    if _facts(name).fingerprint != label_set.fingerprint:
        raise UsageError(
            f"the checkpoint {name!r} has changed since the catalogue registered it as "
            f"{label_set.model_version}; put the registered weights back"
        )
    encoder = _encoder(checkpoint_name(name))
    return ServedModel(label_set, encoder, _heads(encoder, label_set.taxonomy))


def checkpoint_name(model: str) -> str:
    """A hub name as it is; a folder as an absolute path, since a worker runs in another folder."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.exists() else model


def _facts(model: str) -> ModelFacts:
    name = checkpoint_name(model)
    encoder = _encoder(name)
    return ModelFacts(name, encoder.identity, encoder.text_identity, encoder.dimension)


@lru_cache(maxsize=2)
def _encoder(name: str) -> "ClipEncoder":
    from fashion_clip.encoder import load_encoder  # torch and transformers: only where there is work

    return load_encoder(name)


@lru_cache(maxsize=1)
def _heads(encoder: "ClipEncoder", taxonomy: Taxonomy) -> "tuple[Head, ...]":
    from fashion_clip.scoring import zero_shot_heads

    return zero_shot_heads(encoder, taxonomy)
