"""Settings that cannot be right are refused with what they were; defaults go by the model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fashion_clip.checkpoint import load_checkpoint
from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import UsageError
from fashion_clip.finetuning.settings import FineTuning, TrainingPhotos, check_settings, default_settings
from tests.fashion_clip.finetuning.demo_pairs import DEMO

SETTINGS = FineTuning("full", 1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"accumulation": 0}, "accumulation is 0"),
        ({"lora_rank": -1}, "lora_rank is -1"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"kept_out": {"articleType": frozenset({"Bags", "Hats"})}}, "'Hats' of 'articleType'"),
        ({"kept_out": {"size": frozenset({"S"})}}, "'S' of 'size'"),
    ],
)
def test_what_cannot_be_right_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_settings(replace(SETTINGS, **change), DEMO)


def test_what_can_be_right_is_not() -> None:
    check_settings(replace(SETTINGS, kept_out={"articleType": frozenset({"Bags"})}), DEMO)


def test_narrow_towers_learn_faster() -> None:
    checkpoint = load_checkpoint(str(MODEL_DIR))
    full, lora = default_settings("full", checkpoint), default_settings("lora", checkpoint)
    assert full.method == "full"
    assert 1e-5 < full.learning_rate < lora.learning_rate


def test_photos_of_uneven_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="as long"):
        TrainingPhotos(np.zeros((2, 4, 4, 3), np.uint8), {"articleType": np.zeros(3, np.int64)}, ("", ""))
