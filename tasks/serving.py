"""From the label set that the catalogue serves to a loaded model, the same for every flow."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from fashion_clip.calibration import Calibration
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import Precision, Runtime
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.catalog import models
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.catalog.tables import CANDIDATES
from tasks.settings import DEFAULT_MODEL, DEFAULT_TAXONOMY, settings

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder
    from fashion_clip.labeller import Labeller
    from fashion_clip.scoring import Head, TopLabels


@dataclass(frozen=True)
class ServedModel:
    """A label set, the encoder that its embeddings come from, and what makes labels of them."""

    label_set: LabelSet
    encoder: "ClipEncoder"
    labeller: "Labeller"


def check_request(served: LabelSet, model: str | None, taxonomy: str | None) -> None:
    """A catalogue that has a champion is tagged by it: what is asked for must be what is served.

    A checkpoint under another name is loaded to compare; one that moved is still the same model.

    Raises:
        UsageError: another model or taxonomy was asked for.
    """
    another = "or start another catalogue with another FASHION_CLIP_DATABASE_URL"
    if taxonomy is not None and load_taxonomy(taxonomy).version != served.taxonomy.version:
        raise UsageError(
            f"this catalogue is tagged with taxonomy {served.taxonomy.name!r}, version "
            f"{served.taxonomy.version[:12]}, and {taxonomy!r} differs from it; leave it out, relabel the "
            f"catalogue with fashion-clip relabel --taxonomy {taxonomy}, {another}"
        )
    for name, asked, has in (
        ("PRECISION", settings().precision, served.precision),
        ("DECODE", settings().decode, served.decode),
    ):
        if asked not in ("auto", has):
            raise UsageError(
                f"FASHION_CLIP_{name}={asked}, but this catalogue's embeddings were made with {has}, and two "
                f"kinds must not be mixed; leave it out, {another}"
            )
    if model is None or checkpoint_name(model) == served.checkpoint:
        return
    if facts_of(_encoder_of(served, model), served.calibration).fingerprint != served.fingerprint:
        raise UsageError(
            f"this catalogue is served by model {served.model_version} ({served.checkpoint!r}), "
            f"not by {model!r}; leave the option out, {another}"
        )


def begin_catalogue(engine: Engine, model: str | None, taxonomy: str | None) -> LabelSet:
    """Starts an empty catalogue with the model and taxonomy asked for, or the defaults.

    Raises:
        CheckpointError, TaxonomyError: either cannot be loaded.
    """
    wanted: Taxonomy = load_taxonomy(taxonomy or DEFAULT_TAXONOMY)
    return models.begin(engine, facts_of(load_chosen_encoder(model)), wanted)


def require_served(engine: Engine) -> LabelSet:
    """The served label set. Raises UsageError if the catalogue is empty."""
    current = models.served(engine)
    if current is None:
        raise UsageError("the catalogue is empty: tag some photos first, with fashion-clip tag FOLDER")
    return current


def load_model(label_set: LabelSet, model: str | None = None) -> ServedModel:
    """The loaded model of a label set, kept for the life of the process.

    `model` is where its checkpoint lies now, if it has moved since it was registered.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UsageError: the weights there are no longer those that were registered.
    """
    name = model or label_set.checkpoint
    encoder = _encoder_of(label_set, name)
    if facts_of(encoder, label_set.calibration).fingerprint != label_set.fingerprint:
        raise UsageError(
            f"the checkpoint {name!r} has changed since the catalogue registered it as "
            f"{label_set.model_version}; put the registered weights back"
        )
    return ServedModel(label_set, encoder, labeller_for(encoder, label_set.taxonomy, label_set.calibration))


def load_chosen_encoder(model: str | None) -> "ClipEncoder":
    """The encoder of the model asked for, or of the settings', as the settings want it run.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    from fashion_clip.encoder import automatic_precision

    chosen = settings()
    return _encoder(
        checkpoint_name(model or chosen.model or DEFAULT_MODEL),
        chosen.runtime,
        automatic_precision(chosen.runtime) if chosen.precision == "auto" else chosen.precision,
        "scaled" if chosen.decode == "auto" else chosen.decode,
    )


def scored(labeller: "Labeller", vectors: npt.NDArray[np.float32]) -> "dict[str, TopLabels]":
    """Attribute -> the labels to be stored of vectors, float32 (n, dimension)."""
    from fashion_clip.labeller import label

    return label(labeller, vectors, CANDIDATES)


def labeller_for(encoder: "ClipEncoder", taxonomy: Taxonomy, calibration: Calibration | None) -> "Labeller":
    """What makes labels of the encoder's vectors."""
    from fashion_clip.labeller import Labeller

    return Labeller(taxonomy, _heads(encoder, taxonomy), calibration)


def checkpoint_name(model: str) -> str:
    """A hub name as it is; a folder as an absolute path, since a worker runs in another folder."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.exists() else model


def facts_of(encoder: "ClipEncoder", calibration: Calibration | None = None) -> ModelFacts:
    """What identifies the model that an encoder and a calibration are."""
    return ModelFacts(
        encoder.name,
        encoder.identity,
        encoder.text_identity,
        encoder.dimension,
        encoder.precision,
        encoder.decode,
        calibration,
    )


def _encoder_of(label_set: LabelSet, model: str) -> "ClipEncoder":
    """The checkpoint, run so that its vectors go with the label set's."""
    return _encoder(checkpoint_name(model), settings().runtime, label_set.precision, label_set.decode)


@lru_cache(maxsize=2)
def _encoder(name: str, runtime: Runtime, precision: Precision, decode: Decode) -> "ClipEncoder":
    from fashion_clip.encoder import load_encoder  # torch and transformers: only where there is work

    return load_encoder(name, runtime=runtime, precision=precision, decode=decode)


@lru_cache(maxsize=1)
def _heads(encoder: "ClipEncoder", taxonomy: Taxonomy) -> "tuple[Head, ...]":
    from fashion_clip.scoring import zero_shot_heads

    return zero_shot_heads(encoder, taxonomy)
