"""Which weights move: all of both towers, or low-rank additions to their matrices."""

import copy
import warnings
from typing import TYPE_CHECKING, Any

import torch

from fashion_clip.checkpoint import Checkpoint
from fashion_clip.finetuning.settings import FineTuning

if TYPE_CHECKING:
    from transformers import CLIPModel

# All matrices of every layer of both towers: LoRA (Hu et al., ICLR 2022) began with those of attention, QLoRA
# (Dettmers et al., NeurIPS 2023, section 4) found all of them needed to match full fine-tuning.
_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def tunable(checkpoint: Checkpoint, settings: FineTuning) -> torch.nn.Module:
    """A copy of the checkpoint's model that takes its arguments and whose moving weights require gradients.

    The logit scale stays: the old model's confidences hang on it, and the loss is that of pretraining as it
    ended. Modules stay in eval mode, since CLIP has no dropout in training either.
    """
    model = copy.deepcopy(checkpoint.model)
    if settings.method == "lora":
        return _with_lora(model, settings)
    model.requires_grad_(True)
    model.logit_scale.requires_grad_(False)
    return model


def inner(model: torch.nn.Module) -> "CLIPModel":
    """The CLIPModel of what `tunable` gave, whose layers hold the additions where there are any."""
    given: Any = model
    clip: CLIPModel = given.get_base_model() if hasattr(given, "get_base_model") else given
    return clip


def merged(model: torch.nn.Module) -> "CLIPModel":
    """A plain CLIPModel of the same function; of one with additions it takes these in and uses it up."""
    given: Any = model
    clip: CLIPModel = given.merge_and_unload() if hasattr(given, "merge_and_unload") else given
    return clip


def _with_lora(model: "CLIPModel", settings: FineTuning) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    rank = settings.lora_rank
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=_TARGETS)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that goes in its v6
        torch.manual_seed(settings.seed)  # additions begin as random matrices times zero
        return get_peft_model(model, config).train(False)
