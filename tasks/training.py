"""From labelled photos to a model folder: heads learned on embeddings, of towers as they are or fine-tuned.

Needs no database. What a killed training has done lies beside the output; the same request goes on with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as version_of
from logging import Logger
from typing import TYPE_CHECKING, Any

from fashion_clip.calibrating import calibrate
from fashion_clip.taxonomy import Taxonomy
from fashion_clip.unknown import REFERENCE
from tasks.labelled import Labelled
from tasks.ladder import CERTAINTY, PRECISION
from tasks.progress import Progress, shown
from tasks.serving import facts_of, labeller_for, load_chosen_model
from tasks.training_gains import Gain, gains_of
from tasks.training_material import Floats, Material, Stage, digest_of, material_of, open_request
from tasks.training_request import Request, check_output
from tasks.training_towers import Towers, tuned_towers
from tasks.training_work import check_work, claimed, read_photos, what_was_read

if TYPE_CHECKING:
    from fashion_clip.model import Model


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished training.

    folder: the model's. model, parent: names of the versions. photos: how many each part has. calibrated:
    attributes whose confidences were fitted. facts: of how it was made, as JSON. warnings: sentences.
    """

    folder: str
    model: str
    parent: str
    method: str
    data: str
    photos: Mapping[str, int]
    gains: tuple[Gain, ...]
    calibrated: tuple[str, ...]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def train(request: Request, log: Logger) -> Trained:
    """Trains a model and writes its folder; what is learned is measured on photos that taught nothing.

    Args:
        log: gets a line now and then where no terminal shows a bar.

    Raises:
        UsageError: the output exists, the data is too little, or another training's work is in the way.
        CheckpointError, TaxonomyError: either cannot be loaded.
        SourceError: the data cannot be read, or none of its photos.
        FashionClipError: the output cannot be written.
    """
    check_output(request.output)
    check_work(request.work, request.options())
    labelled = open_request(request)
    model = load_chosen_model(request.model)
    with claimed(request.work, request.options() | _opened(labelled, model)):
        with shown(log, "reading") as progress:
            read_photos(request, labelled, model.encoder, progress)
        stage = Stage(request, labelled, model, material_of(labelled, what_was_read(request.work)))
        towers = tuned_towers(stage, log) if request.tunes else Towers(model, stage.material.vectors, {})
        with shown(log, "learning from") as progress:
            learned = _with_heads(towers, labelled.taxonomy, stage.material, progress)
        made = _with_calibration(learned, labelled.taxonomy, stage.material, towers.vectors)
        trained = _told(stage, towers, made)
        _write(stage, towers, made, trained)
    return trained


def _opened(labelled: Labelled, model: "Model") -> dict[str, str]:
    """What tells the data, the taxonomy and the model from others."""
    return {
        "data": labelled.source.uri,
        "photos or labels": digest_of(labelled),
        "taxonomy": labelled.taxonomy.version,
        "model": facts_of(model).fingerprint,
    }


def _with_heads(towers: Towers, taxonomy: Taxonomy, material: Material, progress: Progress) -> "Model":
    """With heads of the attributes that have examples enough; the others keep what they had."""
    from fashion_clip.head_file import LearnedHeads
    from fashion_clip.heads import fit_head

    model = towers.model
    prompts = labeller_for(replace(model, learned=None, calibration=None), taxonomy)
    heads = {head.attribute: head for head in (model.learned.heads if model.learned else ())}
    taught = material.taught
    progress.started(len(material.parts.training))
    for number, name in enumerate(taught):
        heads[name] = fit_head(
            prompts.head(name), material.truths(name, material.parts.training, towers.vectors)
        )
        done = [len(material.parts.training) * after // len(taught) for after in (number, number + 1)]
        progress.advanced(done[1] - done[0])
    learned = LearnedHeads(tuple(heads[name] for name in sorted(heads)))
    return replace(model, learned=learned, calibration=None)


def _with_calibration(model: "Model", taxonomy: Taxonomy, material: Material, vectors: Floats) -> "Model":
    """Calibrated on the part that validates; an attribute with too few products in it stays out."""
    training, validation = material.parts.training, material.parts.validation
    found = calibrate(
        labeller_for(model, taxonomy),
        {name: material.truths(name, validation, vectors) for name in material.truth},
        vectors[training[:: len(training) // REFERENCE + 1]],
        PRECISION,
        CERTAINTY,
    )
    return replace(model, calibration=found if found.attributes else None)


def _told(stage: Stage, towers: Towers, made: "Model") -> Trained:
    request, material = stage.request, stage.material
    sides = {"training": "training", "validation": "validation", "held out": "judge"}
    untaught = [
        f"{name}: too few photos to learn from, so that it keeps its prompts"
        for name in material.truth
        if name not in material.taught
    ]
    return Trained(
        folder=str(request.output),
        model=replace(facts_of(made), checkpoint=str(request.output.absolute())).version,
        parent=facts_of(stage.model).version,
        method=request.method,
        data=stage.labelled.source.uri,
        photos={name: len(getattr(material.parts, part)) for name, part in sides.items()},
        gains=gains_of(stage, made, towers.vectors),
        calibrated=tuple(made.calibration.attributes) if made.calibration else (),
        facts={**towers.facts, "heads": _of_heads(made, material)},
        warnings=(*material.warnings, *towers.warnings, *untaught),
    )


def _of_heads(made: "Model", material: Material) -> dict[str, dict[str, Any]]:
    return {
        head.attribute: {
            "labels with examples": len(head.labels),
            "held to prompts": head.prompt_share,
            "penalty": head.penalty,
        }
        for head in (made.learned.heads if made.learned else ())
        if head.attribute in material.taught
    }


def _write(stage: Stage, towers: Towers, made: "Model", trained: Trained) -> None:
    from fashion_clip.model_folder import write_model_folder

    facts = facts_of(made)
    description = {
        "version": trained.model,
        "rung": trained.method,
        "parent": trained.parent,
        "encoder": facts.encoder_identity,
        "precision": facts.precision,
        "decode": facts.decode,
        "taxonomy": stage.labelled.taxonomy.to_document(),
        "made": {
            "figures": dict(trained.facts),
            "held out": [asdict(gain) for gain in trained.gains],
            "seed": stage.request.seed,
            "code": version_of("fashion-clip-flows"),
            "data": trained.data,
            "truth": digest_of(stage.labelled),
            "photos": dict(trained.photos),
        },
    }
    write_model_folder(
        stage.request.output,
        made.encoder.folder,
        made.learned,
        made.calibration,
        description,
        towers.pictures,
    )
