"""What a run needs to go on after a kill: one safetensors file, replaced as a whole, and whose it is.

The checkpoints of transformers and of accelerate are not used: both pickle parts of what they save, and lie
in their place half-written; transformers' Trainer, once killed, forgets that it had decided to stop.
"""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fashion_clip.checkpoint import Checkpoint
from fashion_clip.errors import UsageError
from fashion_clip.finetuning.history import History, parse_history
from fashion_clip.finetuning.settings import FineTuning, TrainingPhotos
from fashion_clip.taxonomy import Taxonomy

if TYPE_CHECKING:
    import torch

_RUN, _STATE, _HISTORY = "run.json", "state.safetensors", "history.json"


def run_digest(
    checkpoint: Checkpoint,
    taxonomy: Taxonomy,
    training: TrainingPhotos,
    validation: TrainingPhotos,
    settings: FineTuning,
) -> dict[str, str]:
    """sha256 (64 hex digits) of each thing that decides how a run goes, by its name."""
    told = asdict(settings) | {"kept_out": {k: sorted(v) for k, v in sorted(settings.kept_out.items())}}
    weights = hashlib.sha256()
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        weights.update(f"\n{name} {list(tensor.shape)}\n".encode())
        weights.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return {
        "model": weights.hexdigest(),
        "taxonomy": taxonomy.version,
        "settings": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(),
        "training": _digest_photos(training),
        "validation": _digest_photos(validation),
    }


def check_folder(work: Path, run: dict[str, str]) -> None:
    """Raises UsageError where the folder holds another run's work, or cannot be read."""
    path = work / _RUN
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} cannot be read ({error}); delete {str(work)!r}") from error
    if other := [name for name, digest in run.items() if found.get(name) != digest]:
        raise UsageError(
            f"{str(work)!r} holds a run with other {', '.join(other)}; give another work folder, or delete it"
        )


def claim_folder(work: Path, run: dict[str, str]) -> None:
    """Make the folder this run's."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / _RUN).exists():
        _replace(work / _RUN, json.dumps(run, indent=2).encode())


def save_state(work: Path, history: History, tensors: "dict[str, torch.Tensor]") -> None:
    """Write a run's tensors and history, so that a kill at any moment leaves this state or the one before."""
    from safetensors.torch import save_file

    partial = work / f"{_STATE}.partial"
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, partial, metadata={"history": json.dumps(history.to_document())})
    _settle(partial, work / _STATE)


def load_state(work: Path) -> "tuple[History, dict[str, torch.Tensor]] | None":
    """The last state that was saved whole; None where a run has saved none. Raises UsageError if damaged."""
    from safetensors import SafetensorError, safe_open

    path = work / _STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            history = parse_history(json.loads(file.metadata()["history"]))
            return history, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{str(path)!r} is damaged ({error}); delete {str(work)!r} and train anew"
        ) from error


def drop_state(work: Path) -> None:
    """Of a finished run nothing is left to go on from; its state is several times its model's size."""
    (work / _STATE).unlink(missing_ok=True)


def write_history(work: Path, history: History) -> None:
    """The history as JSON and as a picture beside it."""
    from fashion_clip.plots.style import to_png
    from fashion_clip.plots.training_curves import training_curves

    _replace(work / "curves.png", to_png(training_curves(history)))
    _replace(work / _HISTORY, json.dumps(history.to_document()).encode())


def read_history(work: Path) -> History:
    """What `write_history` wrote."""
    return parse_history(json.loads((work / _HISTORY).read_text(encoding="utf-8")))


def _digest_photos(photos: TrainingPhotos) -> str:
    digest = hashlib.sha256(f"{photos.pixels.shape}\n".encode())
    for start in range(0, len(photos.pixels), 1024):
        digest.update(np.ascontiguousarray(photos.pixels[start : start + 1024]).data)
    for name, column in sorted(photos.truth.items()):
        digest.update(f"\n{name}\n".encode())
        digest.update(np.ascontiguousarray(column, dtype="<i8").data)
    digest.update(json.dumps(photos.names).encode())
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    _settle(partial, path)


def _settle(partial: Path, path: Path) -> None:
    """Put a written file in its place, once it is on the disk: a crash of the machine must not empty it."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
