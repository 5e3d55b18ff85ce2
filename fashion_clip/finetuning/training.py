"""Contrastive fine-tuning with the loss of pretraining, from photos with truth to a tuned model folder.

The method is FLYP (Goyal et al., "Finetune Like You Pretrain", CVPR 2023), with truth telling which captions
of a batch are true of which photos. Under torchrun several processes share each batch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fashion_clip.checkpoint import Checkpoint
from fashion_clip.errors import UsageError
from fashion_clip.finetuning.batches import Batch, make_batch
from fashion_clip.finetuning.captions import Sayings, find_sayings
from fashion_clip.finetuning.folders import write_model
from fashion_clip.finetuning.history import FineTuned, History, ZeroShot
from fashion_clip.finetuning.measuring import measure_zero_shot
from fashion_clip.finetuning.sampling import draw_weights, epoch_order
from fashion_clip.finetuning.session import (
    Session,
    learning_rate,
    open_session,
    restore,
    state_tensors,
    take_step,
)
from fashion_clip.finetuning.settings import FineTuning, TrainingPhotos, check_settings
from fashion_clip.finetuning.state import (
    check_folder,
    claim_folder,
    drop_state,
    load_state,
    read_history,
    run_digest,
    save_state,
    write_history,
)
from fashion_clip.taxonomy import Taxonomy

Progress = Callable[[int, int, float], None]

_SAVE_EVERY = 600.0  # seconds, within an epoch; its end is always saved


@dataclass(frozen=True, eq=False)
class Course:
    """What stays the same all run long.

    order: the photos of an epoch, int64 (steps_per_epoch * accumulation * batch_size,).
    """

    taxonomy: Taxonomy
    training: TrainingPhotos
    validation: TrainingPhotos
    settings: FineTuning
    sayings: Sayings
    batch_size: int
    steps_per_epoch: int
    order: Callable[[int], npt.NDArray[np.int64]]


def finetune(
    checkpoint: Checkpoint,
    taxonomy: Taxonomy,
    training: TrainingPhotos,
    validation: TrainingPhotos,
    settings: FineTuning,
    work: Path,
    progress: Progress,
) -> FineTuned:
    """Fine-tune a copy of a checkpoint; its weights after the epoch that was best on validation count.

    They lie under `work` as a model folder, beside it the history as JSON and as a picture, `curves.png`.
    After a kill the same call goes on from the last state that was saved, to the same end; after the end it
    returns what is there.

    Args:
        progress: called after each step with its number, the number of all steps, and its loss.

    Raises:
        UsageError: settings that cannot be right, nothing to train on or to measure by, or a work folder of a
            run with another model, taxonomy, settings or photos.
    """
    check_settings(settings, taxonomy)
    run = run_digest(checkpoint, taxonomy, training, validation, settings)
    check_folder(work, run)
    folder = work / "tuned"
    if folder.is_dir():
        return FineTuned(folder, read_history(work))
    session = open_session(checkpoint, settings)
    course = _plan(taxonomy, training, validation, settings, session.accelerator.num_processes)
    if session.accelerator.is_main_process:
        claim_folder(work, run)
    history = _train(session, course, _resumed(session, course, work), work, progress)
    if session.accelerator.is_main_process:
        write_history(work, history)
        write_model(session.finished(), checkpoint.folder, folder)
        drop_state(work)
    session.accelerator.wait_for_everyone()
    return FineTuned(folder, history)


def _plan(
    taxonomy: Taxonomy,
    training: TrainingPhotos,
    validation: TrainingPhotos,
    settings: FineTuning,
    processes: int,
) -> Course:
    sayings = find_sayings(taxonomy, training, settings.kept_out)
    photos = len(sayings.rows)
    size = min(settings.batch_size, photos) // processes * processes
    if size < 2:
        raise UsageError(
            f"{photos} of the {len(training.names)} training photos have something to say of them, and 2 for "
            "each process are the least. Give photos with labels that are not kept out, or with names"
        )
    steps = max(1, photos // (size * settings.accumulation))
    weights = draw_weights(sayings)
    draws = steps * settings.accumulation * size

    @lru_cache(maxsize=1)
    def order(epoch: int) -> npt.NDArray[np.int64]:
        # Of fewer photos than a step takes some come twice.
        return np.resize(epoch_order(weights, settings.seed, epoch), draws)

    return Course(taxonomy, training, validation, settings, sayings, size, steps, order)


def _resumed(session: Session, course: Course, work: Path) -> History:
    saved = load_state(work)
    if saved is None:
        return History(course.steps_per_epoch)
    history, tensors = saved
    if history.steps_per_epoch != course.steps_per_epoch:
        raise UsageError(
            f"{str(work)!r} was begun with {history.steps_per_epoch} steps an epoch, which are now "
            f"{course.steps_per_epoch}: go on with as many processes as then, or give another work folder"
        )
    restore(session, tensors, len(history.losses))
    return history


def _train(session: Session, course: Course, history: History, work: Path, progress: Progress) -> History:
    main = session.accelerator.is_main_process
    steps = course.settings.epochs * course.steps_per_epoch
    saved = time.monotonic()
    while not history.over(course.settings.epochs, course.settings.patience):
        if ended := history.to_measure:
            history = replace(history, epochs=(*history.epochs, _measured(session, course)))
            if history.best == len(history.epochs) - 1:
                session.keep_as_best()
        else:
            loss = _step(session, course, len(history.losses), steps)
            history = replace(history, losses=(*history.losses, loss))
            if main:
                progress(len(history.losses), steps, loss)
        if main and (ended or time.monotonic() - saved > _SAVE_EVERY):
            save_state(work, history, state_tensors(session))
            saved = time.monotonic()
    return history


def _step(session: Session, course: Course, step: int, steps: int) -> float:
    settings, size = course.settings, course.batch_size
    epoch, within = divmod(step, course.steps_per_epoch)

    def batch(number: int) -> Batch:
        start = (within * settings.accumulation + number) * size
        return make_batch(
            course.training,
            course.sayings,
            course.order(epoch),
            range(start, start + size),
            session.share(size),
            (settings.seed, epoch),
        )

    return take_step(session, batch, settings.accumulation, learning_rate(settings, step, steps))


def _measured(session: Session, course: Course) -> ZeroShot:
    """The main process's figures: a rounding of another's must not send the two different ways."""
    from accelerate.utils import broadcast_object_list

    figures: list[ZeroShot | None] = [None]
    if session.accelerator.is_main_process:
        figures[0] = measure_zero_shot(
            session.clip,
            session.checkpoint,
            course.taxonomy,
            course.validation,
            course.settings.kept_out,
            str(session.accelerator.device),
        )
    broadcast_object_list(figures)
    assert figures[0] is not None
    return figures[0]
