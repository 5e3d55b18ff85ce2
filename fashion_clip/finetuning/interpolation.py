"""Old and tuned weights mixed: most of what fine-tuning gains, and little of what it loses elsewhere.

WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fashion_clip.checkpoint import Checkpoint, load_checkpoint
from fashion_clip.finetuning.folders import write_model
from fashion_clip.finetuning.history import FineTuned, ZeroShot
from fashion_clip.finetuning.measuring import measure_zero_shot
from fashion_clip.finetuning.settings import TrainingPhotos
from fashion_clip.taxonomy import Taxonomy

ALPHAS = tuple(number / 10 for number in range(11))
# Of the old model's accuracy on kept-out labels so much must be left; on fewer answers chance would decide.
RETAINED = 0.9
LEAST_KEPT_OUT = 50


@dataclass(frozen=True)
class Choice:
    """A share of the tuned weights, 0..1, and the figures of all that were tried, in ascending order."""

    alpha: float
    tried: tuple[tuple[float, ZeroShot], ...]


def interpolate(checkpoint: Checkpoint, tuned: FineTuned, alpha: float, folder: Path) -> None:
    """Write a model folder with (1 - alpha) of the old and alpha of the tuned weights, in float32.

    With 0 it has exactly the old weights, with 1 exactly the tuned ones.

    Raises:
        UsageError: the folder exists.
    """
    model = copy.deepcopy(checkpoint.model)
    _mix(model, checkpoint, _weights(tuned), alpha)
    write_model(model, checkpoint.folder, folder)


def choose_alpha(
    checkpoint: Checkpoint,
    tuned: FineTuned,
    taxonomy: Taxonomy,
    validation: TrainingPhotos,
    kept_out: Mapping[str, frozenset[str]],
) -> Choice:
    """The alpha of ALPHAS whose zero-shot accuracy on validation is best, all attributes counting alike.

    Where validation has LEAST_KEPT_OUT answers among kept-out labels, an alpha must keep RETAINED of the old
    accuracy on these. Of equal ones the least is taken.

    Raises:
        UsageError: validation has no photo with a known label that is not kept out.
    """
    model, new = copy.deepcopy(checkpoint.model), _weights(tuned)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tried = []
    for alpha in ALPHAS:
        _mix(model, checkpoint, new, alpha)
        tried.append((alpha, measure_zero_shot(model, checkpoint, taxonomy, validation, kept_out, device)))
    return Choice(best_alpha(tried), tuple(tried))


def best_alpha(tried: list[tuple[float, ZeroShot]]) -> float:
    """The one that `choose_alpha` takes of figures in ascending order, the first those of the old weights."""
    old = tried[0][1]
    least = 0.0 if old.kept_out is None or old.kept_out_answers < LEAST_KEPT_OUT else RETAINED * old.kept_out
    fit = [(alpha, figures) for alpha, figures in tried if (figures.kept_out or 0.0) >= least]
    return max(fit, key=lambda pair: pair[1].mean)[0]


def _weights(tuned: FineTuned) -> dict[str, torch.Tensor]:
    model = load_checkpoint(str(tuned.folder)).model
    return {name: weight.detach() for name, weight in model.named_parameters()}


def _mix(
    model: torch.nn.Module, checkpoint: Checkpoint, new: Mapping[str, torch.Tensor], alpha: float
) -> None:
    old = dict(checkpoint.model.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            one, other = old[name].to(weight.device), new[name].to(weight.device)
            # lerp from -0.0 with weight 0 gives +0.0, which another digest would come of.
            weight.copy_(one if alpha == 0 else other if alpha == 1 else torch.lerp(one, other, alpha))
