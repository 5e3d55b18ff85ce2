"""How a run went: its losses and its figures on validation, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ZeroShot:
    """How well prompts alone label photos, 0..1.

    accuracy: attribute -> the share that is right of photos whose label is known and not kept out, with all
        labels to choose from.
    kept_out: the same of photos of kept-out labels, all attributes together, with the attribute's kept-out
        labels to choose from; None without such photos.
    kept_out_answers: how many these are.
    """

    accuracy: Mapping[str, float]
    kept_out: float | None
    kept_out_answers: int

    @property
    def mean(self) -> float:
        """Over the attributes."""
        return float(np.mean(list(self.accuracy.values())))


@dataclass(frozen=True)
class History:
    """A run so far.

    steps_per_epoch: of the optimizer. losses: of each step. epochs: figures on validation, the first of the
    old weights, then after each epoch.
    """

    steps_per_epoch: int
    losses: tuple[float, ...] = ()
    epochs: tuple[ZeroShot, ...] = ()

    @property
    def to_measure(self) -> bool:
        """An epoch is over, or none has begun, and its figures are wanting."""
        return len(self.epochs) * self.steps_per_epoch <= len(self.losses)

    @property
    def best(self) -> int:
        """The number of the epoch with the best figure, the first of equals; 0 is before the first."""
        return int(np.argmax([figures.mean for figures in self.epochs]))

    def over(self, epochs: int, patience: int) -> bool:
        """All epochs are done, or so many in a row were no better."""
        done = len(self.epochs) - 1
        return not self.to_measure and (done >= epochs or done - self.best >= patience)

    def to_document(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, for JSON; `parse_history` reads it back."""
        figures = [
            {"accuracy": dict(each.accuracy), "kept_out": each.kept_out, "answers": each.kept_out_answers}
            for each in self.epochs
        ]
        return {"steps_per_epoch": self.steps_per_epoch, "losses": list(self.losses), "epochs": figures}


@dataclass(frozen=True)
class FineTuned:
    """A finished run: a model folder with its best epoch's weights, not interpolated, and how it went."""

    folder: Path
    history: History


def parse_history(document: Mapping[str, Any]) -> History:
    """The history that a document describes."""
    epochs = [ZeroShot(each["accuracy"], each["kept_out"], each["answers"]) for each in document["epochs"]]
    return History(document["steps_per_epoch"], tuple(document["losses"]), tuple(epochs))
