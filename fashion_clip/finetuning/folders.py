"""A tuned model as a Hugging Face folder, there whole or not at all."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_clip.errors import UsageError

if TYPE_CHECKING:
    from transformers import CLIPModel

# What belongs to a checkpoint beside its weights and config.json; neither is changed by training.
_COPIED = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def write_model(model: "CLIPModel", base: Path, folder: Path) -> None:
    """Write a model in float32 with the tokenizer and image processor of the folder it was made from.

    What an earlier try has left is written anew.

    Raises:
        UsageError: the folder exists.
    """
    if folder.exists():
        raise UsageError(f"{str(folder)!r} exists; give another folder, or delete it first")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _save(model, partial)
    (partial / "model.safetensors").chmod(0o644)  # it is written for the owner alone
    for name in _COPIED:
        if (base / name).is_file():
            shutil.copyfile(base / name, partial / name)
    partial.replace(folder)


def _save(model: Any, folder: Path) -> None:
    """Without transformers' progress bar: there is one file to write."""
    from transformers import utils

    logging: Any = utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.float().save_pretrained(folder, max_shard_size="100GB")
    finally:
        if shown:
            logging.enable_progress_bar()
