"""What a fine-tuning run is given and told: photos with their truth, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fashion_clip.checkpoint import Checkpoint
from fashion_clip.errors import UsageError
from fashion_clip.taxonomy import Taxonomy

Method = Literal["lora", "full"]

NOT_KNOWN = -2  # as a true label: nobody has said what it is

# At the width of ViT-B/32. The first is FLYP's, the second that of CLIP-LoRA (Zanella and Ben Ayed, CVPR
# workshops 2024).
_RATES: dict[Method, float] = {"full": 1e-5, "lora": 2e-4}
_WIDTH = 768
# The powers of the width that lead from there to 3e-4 and 3e-3 at a width of 192. There, of one small model,
# 3e-4 and 5e-4 did well for all weights, 1e-3 no better, and 3e-3 well for LoRA; no other width was tried.
_NARROWER: dict[Method, float] = {"full": 2.5, "lora": 2.0}


@dataclass(frozen=True, eq=False)
class TrainingPhotos:
    """n photos and what is known of them.

    pixels: uint8 (n, height, width, 3), as Preprocessing.pixels makes them; may be a np.memmap.
    truth: attribute -> int64 (n,), into the attribute's labels in the taxonomy, or NONE_OF_THEM or NOT_KNOWN;
        of an attribute that is missing nothing is known.
    names: n product names, '' for none.
    """

    pixels: npt.NDArray[np.uint8]
    truth: Mapping[str, npt.NDArray[np.int64]]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.pixels), len(self.names), *(len(column) for column in self.truth.values())}
        if len(lengths) != 1:
            raise ValueError(f"pixels, names and every column of truth must be as long: {sorted(lengths)}")

    def column(self, attribute: str) -> npt.NDArray[np.int64]:
        """int64 (n,): the truth of an attribute, NOT_KNOWN where it is missing."""
        found = self.truth.get(attribute)
        return np.full(len(self.names), NOT_KNOWN, dtype=np.int64) if found is None else found


@dataclass(frozen=True)
class FineTuning:
    """The settings of a run.

    method: `full` moves all weights but the logit scale, `lora` low-rank additions to both towers' matrices.
    epochs: at most so many; one draws as many photos as there are.
    batch_size: photos that are told apart at once, of all processes together.
    accumulation: batches of which a step takes the mean gradient.
    learning_rate: the highest, reached after the share `warmup` of all steps; then a half cosine down to 0.
    weight_decay: of matrices; embeddings of words and positions, norms and biases have none.
    lora_rank: of `lora`.
    patience: so many epochs in a row without a better validation figure end the run.
    kept_out: attribute -> names of labels that no caption may utter, by which zero-shot is measured.
    """

    method: Method
    learning_rate: float
    epochs: int = 10
    batch_size: int = 128
    accumulation: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.1
    lora_rank: int = 16
    patience: int = 5
    seed: int = 0
    kept_out: Mapping[str, frozenset[str]] = field(default_factory=dict)


def default_settings(method: Method, checkpoint: Checkpoint) -> FineTuning:
    """Settings for a checkpoint; of narrower towers the learning rate is higher."""
    config: Any = checkpoint.model.config
    narrower = _WIDTH / config.vision_config.hidden_size
    return FineTuning(method, _RATES[method] * narrower ** _NARROWER[method])


def check_settings(settings: FineTuning, taxonomy: Taxonomy) -> None:
    """Raises UsageError for a value out of its range, and for a kept-out label that the taxonomy has not."""
    for name in ("epochs", "batch_size", "accumulation", "lora_rank", "patience"):
        if (whole := getattr(settings, name)) < 1:
            raise UsageError(f"{name} is {whole!r}; it must be at least 1")
    if settings.batch_size < 2:
        raise UsageError("batch_size is 1; a contrastive loss needs at least 2 photos to tell apart")
    if settings.seed < 0:
        raise UsageError(f"seed is {settings.seed!r}; it must be at least 0")
    if not settings.learning_rate > 0:
        raise UsageError(f"learning_rate is {settings.learning_rate!r}; it must be above 0, such as 1e-5")
    if not 0 <= settings.warmup <= 1:
        raise UsageError(f"warmup is {settings.warmup!r}; it is a share of all steps, 0 to 1")
    if not settings.weight_decay >= 0:
        raise UsageError(f"weight_decay is {settings.weight_decay!r}; it must be at least 0, such as 0.1")
    labels = {each.name: {label.name for label in each.labels} for each in taxonomy.attributes}
    for attribute, kept_out in settings.kept_out.items():
        for label in sorted(kept_out - labels.get(attribute, set())):
            raise UsageError(
                f"kept_out names {label!r} of {attribute!r}, which is no label of taxonomy {taxonomy.name!r}"
            )
