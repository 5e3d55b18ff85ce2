"""The rungs of retraining that move the towers: photos read once, fine-tuned, mixed with the old weights.

What a killed run has done lies in a work folder beside the models, under a name that says from what it was
made, and is gone on with by the next one.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from fashion_clip.calibration import share_of
from fashion_clip.errors import RetrainingRefusedError, UsageError
from fashion_clip.taxonomy import Attribute
from tasks.catalog.evidence import Evidence
from tasks.ladder import Challenger, Rung, Stage, learned, with_calibration
from tasks.progress import Progress
from tasks.registry import work_folder
from tasks.serving import load_like
from tasks.training_photos import PhotoPixels, photo_pixels_of

if TYPE_CHECKING:
    from fashion_clip.finetuning.settings import TrainingPhotos

ALPHABET = 20  # labels with truth, from which on an attribute has some kept out of training
KEPT_OUT = 0.1  # of these, about
MOST_FREQUENT = 0.05  # of the truth: what is more frequent is not kept out
LOCK = "lock"
AT_ONCE = 1_024  # photos that are embedded at once


@contextmanager
def claimed_work(stage: Stage, rung: Rung) -> Iterator[Path]:
    """The folder in which a rung works on just this truth, in just these parts; this process's alone.

    Raises:
        RetrainingRefusedError: another process is at it, such as a preview.
    """
    from filelock import FileLock, Timeout

    parts = [stage.evidence.version(rows) for rows in vars(stage.parts).values()]
    told = "\n".join([*parts, stage.champion.label_set.taxonomy.version])
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    work = work_folder(f"{rung}-{stage.champion.label_set.model_version}-{name}")
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / LOCK, timeout=0):
            yield work
    except Timeout:
        raise RetrainingRefusedError(
            f"rung {rung} is being climbed by another process; wait until it has ended"
        ) from None


def with_tower(
    engine: Engine, stage: Stage, rung: Rung, seed: int, work: Path, progress: Progress
) -> Challenger:
    """Towers fine-tuned on the truth that trains, mixed with the champion's, with heads and a calibration.

    Raises:
        UsageError: there is nothing to train on, or nothing to measure by.
        SourceError: the photos cannot be read.
    """
    from fashion_clip.checkpoint import load_checkpoint
    from fashion_clip.finetuning.interpolation import choose_alpha, interpolate
    from fashion_clip.finetuning.settings import default_settings
    from fashion_clip.finetuning.training import finetune

    label_set, told = stage.champion.label_set, stage.evidence
    preprocessing = stage.champion.encoder.preprocessing
    photos = {
        name: photo_pixels_of(engine, told, rows, preprocessing, work / name, progress)
        for name, rows in vars(stage.parts).items()
    }
    training, validation = (_side(told, photos[name]) for name in ("training", "validation"))
    checkpoint = load_checkpoint(str(stage.champion.encoder.folder))
    truth = {name: one.truth for name, one in told.told.items()}
    kept_out = kept_out_labels(truth, label_set.taxonomy.attributes)
    method: Literal["lora", "full"] = "lora" if rung is Rung.LORA else "full"
    chosen = replace(default_settings(method, checkpoint), seed=seed, kept_out=kept_out)
    advanced = _Steps(progress).advanced
    tuned = finetune(checkpoint, label_set.taxonomy, training, validation, chosen, work / "towers", advanced)
    choice = choose_alpha(checkpoint, tuned, label_set.taxonomy, validation, kept_out)
    folder = work / f"mixed-{choice.alpha:g}"
    if not folder.is_dir():
        interpolate(checkpoint, tuned, choice.alpha, folder)
    model = load_like(label_set, str(folder))
    vectors = np.zeros((len(told.photos), model.encoder.dimension), dtype=np.float32)
    for part in photos.values():
        for start in range(0, len(part.rows), AT_ONCE):
            rows = part.rows[start : start + AT_ONCE]
            vectors[rows] = model.encoder.encode_pixels(np.asarray(part.pixels[start : start + AT_ONCE]))
    model = learned(stage, model, vectors, photos["training"].rows)
    reference = vectors[photos["training"].rows]
    model = with_calibration(stage, model, vectors, photos["validation"].rows, reference)
    facts = {
        "alpha": choice.alpha,
        "learning_rate": chosen.learning_rate,
        "epochs": len(tuned.history.epochs) - 1,
        "best_epoch": tuned.history.best,
        "validation": {f"{alpha:g}": figures.mean for alpha, figures in choice.tried},
    }
    rows = np.sort(np.concatenate([part.rows for part in photos.values()]))
    return Challenger(rung, model, folder, vectors, rows, facts, kept_out)


def forget_work(version: str) -> None:
    """Removes what the rungs that start from a version have left over, but for what is being worked on."""
    from filelock import FileLock, Timeout

    for rung in (Rung.LORA, Rung.FULL):
        for folder in work_folder("").glob(f"{rung}-{version}-*"):
            with suppress(Timeout), FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def kept_out_labels(
    truth: Mapping[str, npt.NDArray[np.int64]], attributes: tuple[Attribute, ...]
) -> Mapping[str, frozenset[str]]:
    """Attribute -> labels that no caption may utter, so that they tell whether zero-shot survives.

    Of attributes with many labels about a tenth, always the same ones, and none that is frequent.

    Args:
        truth: attribute -> int64 (n,), into the attribute's labels, negative where there is none.
    """
    found = {}
    for attribute in attributes:
        if (told := truth.get(attribute.name)) is None:
            continue
        counts = np.bincount(told[told >= 0], minlength=len(attribute.labels))
        if np.count_nonzero(counts) < ALPHABET:
            continue
        chosen = {
            label.name
            for label, count in zip(attribute.labels, counts, strict=True)
            if 0 < count <= MOST_FREQUENT * counts.sum()
            and share_of("kept out", f"{attribute.name} {label.name}") < KEPT_OUT
        }
        if len(chosen) > 1:
            found[attribute.name] = frozenset(chosen)
    return found


def _side(told: Evidence, photos: PhotoPixels) -> "TrainingPhotos":
    from fashion_clip.finetuning.settings import TrainingPhotos

    if not len(photos.rows):
        raise UsageError("no photo with truth could be read that a tower may learn from, or be measured by")
    truth = {name: one.truth[photos.rows] for name, one in told.told.items()}
    return TrainingPhotos(photos.pixels, truth, ("",) * len(photos.rows))


class _Steps:
    """Tells a bar of steps taken."""

    def __init__(self, progress: Progress):
        self._progress, self._done, self._started = progress, 0, False

    def advanced(self, step: int, steps: int, loss: float) -> None:
        if not self._started:
            self._progress.started(steps)
            self._started = True
        self._progress.advanced(step - self._done)
        self._done = step
