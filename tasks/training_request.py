"""What a training is asked for, checked before anything is loaded."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fashion_clip.errors import UsageError

METHODS = ("head", "lora", "full")
# Whole numbers: the least that makes sense, and the most that torch takes.
_RANGES = {"epochs": (1, 10_000), "batch_size": (2, 1_000_000), "seed": (0, 2**32 - 1), "limit": (1, 2**32)}
_OF_TOWERS = ("epochs", "batch_size", "learning_rate", "alpha")


@dataclass(frozen=True)
class Request:
    """What to train, on what, and where to.

    dataset: see `tasks.labelled.open_labelled`. output: the model folder to be made. model: a hub name or a
    folder, that of the settings if None. taxonomy: a shipped name or a TOML file. epochs, batch_size,
    learning_rate: of fine-tuning, its defaults if None. alpha: the share of the tuned weights, 0..1, found on
    validation if None. limit: photos at most, drawn at random.

    Raises:
        UsageError: a value that cannot be right.
    """

    dataset: str
    output: Path
    model: str | None = None
    method: str = "head"
    taxonomy: str | None = None
    attribute: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    alpha: float | None = None
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method!r}: expected one of {', '.join(METHODS)}")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{_option(name)} {value}: expected a whole number from {least} to {most}")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise UsageError(
                f"--learning-rate {self.learning_rate}: expected a number above 0 and at most 1, such as 1e-5"
            )
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UsageError(_told_of_alpha(str(self.alpha)))
        if self.method == "head" and (
            given := [name for name in _OF_TOWERS if getattr(self, name) is not None]
        ):
            raise UsageError(
                f"{_option(given[0])} {getattr(self, given[0])} goes with fine-tuning, and method 'head' "
                "does none: leave it out, or give --method lora or --method full"
            )

    @property
    def tunes(self) -> bool:
        """Whether the towers move."""
        return self.method != "head"

    @property
    def work(self) -> Path:
        """The folder beside the output that holds what a killed training has done."""
        return self.output.with_name(f"{self.output.name}.training")

    def options(self) -> dict[str, Any]:
        """All that was given but for what is compared once it is opened: data, model and taxonomy."""
        opened = ("dataset", "output", "model", "taxonomy")
        return {name: value for name, value in asdict(self).items() if name not in opened}


def alpha_of(text: str) -> float | None:
    """A share of the tuned weights; None for `auto`. Raises UsageError for what is neither."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(_told_of_alpha(text)) from None


def check_output(output: Path) -> None:
    """Raises UsageError for a folder that is there already, or cannot be made."""
    if os.path.lexists(output):
        raise UsageError(
            f"--output-model-path {str(output)!r} exists; give a folder that does not, or remove it"
        )
    above = next(folder for folder in output.absolute().parents if os.path.lexists(folder))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        found = "may not be written" if above.is_dir() else "is no folder"
        raise UsageError(f"--output-model-path {str(output)!r}: {str(above)!r} {found}; give another place")


def _told_of_alpha(text: str) -> str:
    return f"--alpha {text}: expected auto, or a share of the new weights from 0 (none) to 1 (all)"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
