"""Both towers of a model, fine-tuned on the photos of a training and mixed with the old ones.

Under torchrun all processes take part in `finetune`; whatever else there is to do the main one does, and the
others wait for its photos and leave when the tuning is over.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fashion_clip.taxonomy import Taxonomy
from tasks.labelled import NO_TRUTH
from tasks.progress import shown
from tasks.serving import checkpoint_name, load_chosen_model
from tasks.settings import DEFAULT_MODEL, settings
from tasks.training_material import Floats, Material, Stage, material_of, open_request
from tasks.training_request import Request
from tasks.training_steps import Steps, steps_shown
from tasks.training_work import PIXELS, mapped_pixels, what_was_read

if TYPE_CHECKING:
    from fashion_clip.checkpoint import Checkpoint
    from fashion_clip.finetuning.history import FineTuned
    from fashion_clip.finetuning.settings import FineTuning, TrainingPhotos
    from fashion_clip.model import Model

VALIDATION, TUNING, ALPHA = "validation.bin", "tuning", "alpha.json"
AT_ONCE = 1_024  # photos that are embedded at once
LONGEST_WAIT = timedelta(days=2)  # of the other processes, for the photos


@dataclass(frozen=True, eq=False)
class Towers:
    """What heads are to stand on.

    model: without heads of its own making. vectors: float32 (m, dimension), its unit rows of the material's
    photos. facts: how it was made, as JSON. pictures: of how it went. warnings: sentences.
    """

    model: "Model"
    vectors: Floats
    facts: Mapping[str, Any]
    pictures: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def is_main() -> bool:
    """Whether this process is the only one, or the first that torchrun has started."""
    return int(os.environ.get("RANK", "0")) == 0


def tuned_towers(stage: Stage, log: Logger) -> Towers:
    """The towers fine-tuned and mixed with the old ones, or what a killed run has left of that gone on with.

    Raises:
        UsageError: settings that cannot be right, or weights that ran away.
    """
    from fashion_clip.checkpoint import load_checkpoint
    from fashion_clip.finetuning.interpolation import interpolate

    request, material, taxonomy = stage.request, stage.material, stage.labelled.taxonomy
    checkpoint = load_checkpoint(str(stage.model.encoder.folder))
    pixels = mapped_pixels(request.work / PIXELS, checkpoint.preprocessing.output_size)
    _keep_validation(request.work, pixels, material)
    _wait_for_everyone()
    with steps_shown(log) as steps:
        tuned = _tuned(request, checkpoint, taxonomy, material, steps)
    found = _alpha(request, checkpoint, tuned, taxonomy, material)
    folder = request.work / f"mixed-{found['alpha']:g}"
    if not folder.is_dir():
        interpolate(checkpoint, tuned, found["alpha"], folder)
    mixed = load_chosen_model(str(folder))
    vectors = _vectors(mixed, pixels, log)
    facts = _facts(settings_of(request, checkpoint), tuned) | found
    return Towers(mixed, vectors, facts, (request.work / TUNING / "curves.png",), _warnings(tuned, found))


def take_part(request: Request) -> None:
    """What every other process does: waits for the photos, and takes its share of the steps."""
    if not request.tunes:
        return
    from fashion_clip.checkpoint import load_checkpoint

    _wait_for_everyone()
    labelled = open_request(request)
    checkpoint = load_checkpoint(checkpoint_name(request.model or settings().model or DEFAULT_MODEL))
    material = material_of(labelled, what_was_read(request.work))
    _tuned(request, checkpoint, labelled.taxonomy, material, lambda step, steps, loss: None)


def settings_of(request: Request, checkpoint: "Checkpoint") -> "FineTuning":
    """The usual settings of the checkpoint, but for what is asked for."""
    from fashion_clip.finetuning.settings import default_settings

    usual = default_settings("lora" if request.method == "lora" else "full", checkpoint)
    asked = {name: getattr(request, name) for name in ("epochs", "batch_size", "learning_rate")}
    given = {name: value for name, value in asked.items() if value is not None}
    return replace(usual, seed=request.seed, **given)


def _wait_for_everyone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    import torch
    from accelerate import PartialState

    # Without a GPU accelerate would leave each process by itself.
    PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT).wait_for_everyone()


def _tuned(
    request: Request, checkpoint: "Checkpoint", taxonomy: Taxonomy, material: Material, steps: Steps
) -> "FineTuned":
    from fashion_clip.finetuning.training import finetune

    training = _training(request.work, checkpoint, material)
    validation = _validation(request.work, checkpoint, material)
    chosen = settings_of(request, checkpoint)
    return finetune(checkpoint, taxonomy, training, validation, chosen, request.work / TUNING, steps)


def _training(work: Path, checkpoint: "Checkpoint", material: Material) -> "TrainingPhotos":
    """All photos, as they lie in the file; of those that do not teach nothing is known, so none is drawn."""
    from fashion_clip.finetuning.settings import NOT_KNOWN, TrainingPhotos

    teaches = np.zeros(len(material.products), dtype=bool)
    teaches[material.parts.training] = True
    truth = {
        name: np.where(teaches & (column != NO_TRUTH), column, NOT_KNOWN)
        for name, column in material.truth.items()
    }
    pixels = mapped_pixels(work / PIXELS, checkpoint.preprocessing.output_size)
    return TrainingPhotos(pixels, truth, ("",) * len(teaches))


def _validation(work: Path, checkpoint: "Checkpoint", material: Material) -> "TrainingPhotos":
    from fashion_clip.finetuning.settings import NOT_KNOWN, TrainingPhotos

    rows = material.parts.validation
    truth = {
        name: np.where(column[rows] != NO_TRUTH, column[rows], NOT_KNOWN)
        for name, column in material.truth.items()
    }
    pixels = mapped_pixels(work / VALIDATION, checkpoint.preprocessing.output_size)
    return TrainingPhotos(pixels, truth, ("",) * len(rows))


def _keep_validation(work: Path, pixels: npt.NDArray[np.uint8], material: Material) -> None:
    """In a file of its own: it is measured as a whole, again and again, and need not lie in memory."""
    partial = work / f"{VALIDATION}.partial"
    with partial.open("wb") as file:
        for row in material.parts.validation:
            file.write(pixels[row].tobytes())
    partial.replace(work / VALIDATION)


def _alpha(
    request: Request, checkpoint: "Checkpoint", tuned: "FineTuned", taxonomy: Taxonomy, material: Material
) -> dict[str, Any]:
    """The share of the tuned weights, and the mean accuracy on validation of all that were tried."""
    from fashion_clip.finetuning.interpolation import choose_alpha

    if request.alpha is not None:
        return {"alpha": request.alpha}
    file = request.work / ALPHA
    if not file.is_file():
        validation = _validation(request.work, checkpoint, material)
        choice = choose_alpha(checkpoint, tuned, taxonomy, validation, {})
        tried = {f"{alpha:g}": figures.mean for alpha, figures in choice.tried}
        partial = request.work / f"{ALPHA}.partial"
        partial.write_text(json.dumps({"alpha": choice.alpha, "validation": tried}), encoding="utf-8")
        partial.replace(file)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _vectors(model: "Model", pixels: npt.NDArray[np.uint8], log: Logger) -> Floats:
    parts = []
    with shown(log, "embedding anew") as progress:
        progress.started(len(pixels))
        for start in range(0, len(pixels), AT_ONCE):
            parts.append(model.encoder.encode_pixels(np.asarray(pixels[start : start + AT_ONCE])))
            progress.advanced(len(parts[-1]))
    return np.concatenate(parts)


def _facts(chosen: "FineTuning", tuned: "FineTuned") -> dict[str, Any]:
    return {
        "learning_rate": chosen.learning_rate,
        "batch_size": chosen.batch_size,
        "steps": len(tuned.history.losses),
        "epochs": len(tuned.history.epochs) - 1,
        "best_epoch": tuned.history.best,
    }


def _warnings(tuned: "FineTuned", found: Mapping[str, Any]) -> tuple[str, ...]:
    asked_for = "validation" not in found
    if tuned.history.best and (asked_for or found["alpha"]):
        return ()
    return (
        "fine-tuning made labels by prompts no better on the part that validates, so that the towers stay as "
        "they were and only heads were learned; try other epochs or another learning rate, or method head",
    )
