"""From the label set that the catalogue serves to a loaded model, the same for every flow."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from fashion_clip.errors import CheckpointError, UsageError
from fashion_clip.machine import local_path
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import Precision, Runtime
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks import registry
from tasks.catalog import models, versions
from tasks.catalog.models import LabelSet, ModelFacts
from tasks.catalog.tables import CANDIDATES
from tasks.settings import DEFAULT_MODEL, DEFAULT_TAXONOMY, settings

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder
    from fashion_clip.head_file import LearnedHeads
    from fashion_clip.labeller import Labeller
    from fashion_clip.model import Model
    from fashion_clip.scoring import Head, TopLabels


@dataclass(frozen=True)
class ServedModel:
    """A label set, the model that its labels come from, and what makes labels of embeddings."""

    label_set: LabelSet
    model: "Model"
    labeller: "Labeller"

    @property
    def encoder(self) -> "ClipEncoder":
        """That of the model, whose embeddings the catalogue holds."""
        return self.model.encoder


def check_request(engine: Engine, served: LabelSet, model: str | None, taxonomy: str | None) -> None:
    """A catalogue that has a champion is tagged by it: what is asked for must be what is served.

    A model that was served before will do: it is what a cron line names for ever. A checkpoint under another
    name is loaded to compare; one that moved is still the same model.

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
    if model is None or checkpoint_name(model) in versions.ever_served(engine):
        return
    other = replace(_model_of(served, checkpoint_name(model)), calibration=served.calibration)
    if facts_of(other).fingerprint != served.fingerprint:
        raise UsageError(
            f"this catalogue is served by model {served.model_version} ({served.checkpoint!r}), "
            f"not by {model!r}; leave the option out, put it in place with fashion-clip models promote "
            f"{model}, {another}"
        )


def begin_catalogue(engine: Engine, model: str | None, taxonomy: str | None) -> LabelSet:
    """Starts an empty catalogue with the model and taxonomy asked for, or the defaults.

    Raises:
        CheckpointError, TaxonomyError: either cannot be loaded.
    """
    wanted: Taxonomy = load_taxonomy(taxonomy or DEFAULT_TAXONOMY)
    return models.begin(engine, facts_of(load_chosen_model(model)), wanted)


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
        CheckpointError: the checkpoint cannot be loaded, or its folder in MODELS_DIR was changed.
        UsageError: the weights there are no longer those that were registered.
    """
    name = _registered_folder(label_set) or checkpoint_name(model or label_set.checkpoint)
    found = replace(_model_of(label_set, name), calibration=label_set.calibration)
    if facts_of(found).fingerprint != label_set.fingerprint:
        raise UsageError(
            f"the checkpoint {name!r} has changed since the catalogue registered it as "
            f"{label_set.model_version}; put the registered weights back"
        )
    return ServedModel(label_set, found, labeller_for(found, label_set.taxonomy))


def load_chosen_model(model: str | None) -> "Model":
    """The model asked for, or the settings', as the settings want it run.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    from fashion_clip.encoder import GENERATION, automatic_precision

    chosen = settings()
    return _model(
        checkpoint_name(model or chosen.model or DEFAULT_MODEL),
        chosen.runtime,
        automatic_precision(chosen.runtime) if chosen.precision == "auto" else chosen.precision,
        "scaled" if chosen.decode == "auto" else chosen.decode,
        GENERATION,
    )


def load_like(label_set: LabelSet, checkpoint: str) -> "Model":
    """Another checkpoint, run as the label set's encoder is."""
    return _model_of(label_set, checkpoint_name(checkpoint))


def scored(labeller: "Labeller", vectors: npt.NDArray[np.float32]) -> "dict[str, TopLabels]":
    """Attribute -> the labels to be stored of vectors, float32 (n, dimension)."""
    from fashion_clip.labeller import label

    return label(labeller, vectors, CANDIDATES)


def next_generation(label_set: LabelSet) -> ModelFacts:
    """The label set's model, as one whose embeddings are to be made anew here and now."""
    name = _registered_folder(label_set) or label_set.checkpoint
    anew = _model_of(replace(label_set, generation=label_set.generation + 1), name)
    facts = facts_of(replace(anew, calibration=label_set.calibration))
    return replace(facts, checkpoint=label_set.checkpoint, digest=label_set.digest)


def labeller_for(model: "Model", taxonomy: Taxonomy) -> "Labeller":
    """What makes labels of the model's vectors; heads are kept for the life of the process."""
    from fashion_clip.labeller import Labeller

    return Labeller(taxonomy, _heads(model.encoder, model.learned, taxonomy), model.calibration)


def checkpoint_name(model: str) -> str:
    """A hub name as it is; a folder as an absolute path, since a worker runs in another folder."""
    folder = local_path(model)
    return str(folder.resolve()) if folder.exists() else model


def facts_of(model: "Model") -> ModelFacts:
    """What identifies a model."""
    encoder = model.encoder
    return ModelFacts(
        encoder.name,
        encoder.identity,
        encoder.text_identity,
        encoder.dimension,
        encoder.precision,
        encoder.decode,
        model.calibration,
        model.learned.version if model.learned else None,
        generation=encoder.generation,
    )


def _registered_folder(label_set: LabelSet) -> str | None:
    if label_set.digest is None:
        if label_set.checkpoint.startswith(models.REGISTERED):
            raise CheckpointError(
                f"model {label_set.model_version} was rejected, and its weights were not kept; make it again "
                "with fashion-clip retrain, or choose another: fashion-clip models list"
            )
        return None
    return str(registry.bring(label_set.checkpoint, label_set.digest))


def _model_of(label_set: LabelSet, name: str) -> "Model":
    """The checkpoint, run so that its vectors go with the label set's."""
    return _model(name, settings().runtime, label_set.precision, label_set.decode, label_set.generation)


@lru_cache(maxsize=2)
def _model(name: str, runtime: Runtime, precision: Precision, decode: Decode, generation: int) -> "Model":
    from fashion_clip import model  # torch and transformers: only where there is work

    return model.load_model(name, runtime, precision, decode, generation)


@lru_cache(maxsize=2)
def _heads(encoder: "ClipEncoder", learned: "LearnedHeads | None", taxonomy: Taxonomy) -> "tuple[Head, ...]":
    from fashion_clip.model import Model

    return Model(encoder, learned).labeller(taxonomy).heads
