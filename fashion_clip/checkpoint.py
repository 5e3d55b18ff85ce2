"""A model's name to its weights, tokenizer and preprocessing.

A name is a folder in Hugging Face form or a model of the Hugging Face hub, `owner/name` or
`owner/name@revision`. A hub model is first brought into the hub's local cache, so everything after that
reads one folder. Weights are safetensors only, since loading a pickle runs whatever code its author put
into it; and no code of a repository is ever run.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_clip.errors import CheckpointError, UsageError
from fashion_clip.machine import local_path
from fashion_clip.preprocessing import Preprocessing, load_preprocessing

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
# Exact names, so that copies of the weights for other libraries are not downloaded too.
_HUB_FILES = [
    "config.json",
    *_WEIGHTS,
    "model-*-of-*.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    *_TOKENIZER_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
]
_CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")
_ADAPTER = "adapter_config.json"
# Repositories whose main branch holds pickled weights only, with the commit of the hub's own conversion
# robot. transformers searches the pull requests for such a commit at every load, and does not find it again
# without a network; a named commit is the same bytes for everybody and is found in the cache.
_CONVERTED = {"openai/clip-vit-base-patch32": "c237dc49a33fc61debc9276459120b7eac67e7ef"}
_HUB_TIMEOUT = 15.0  # seconds
# Of checkpoints made before transformers 4.31. It is wrong: the model then takes the largest id for the end.
_LEGACY_EOS = 2


@dataclass(frozen=True)
class Checkpoint:
    """A loaded CLIP checkpoint: the model in float32 and eval mode, on the CPU."""

    name: str
    folder: Path
    model: "CLIPModel"
    tokenizer: "PreTrainedTokenizerBase"
    preprocessing: Preprocessing


def load_checkpoint(name: str) -> Checkpoint:
    """Load a folder or hub model, whatever precision its weights are stored in.

    Raises CheckpointError, which says what was found and what to do, unless all parts are there and belong
    together.
    """
    folder = checkpoint_folder(name)
    _check_type(folder, name)
    _check_files(folder, name)
    _check_code(folder, name)
    preprocessing = load_preprocessing(folder)
    model = _load_model(folder, name)
    _check_image_size(preprocessing, model, name)
    return Checkpoint(name, folder, model, _load_tokenizer(folder, name, model), preprocessing)


def checkpoint_folder(name: str) -> Path:
    """The local folder of a model, downloaded into the hub's cache where need be.

    What exists as a folder is one; what begins with `.`, `~` or `/` can only be one; all else is a hub name.
    Raises CheckpointError.
    """
    try:
        path = local_path(name)
    except UsageError as error:
        raise CheckpointError(f"model {name!r}: {error}") from None
    if name and path.is_dir():
        return path
    if name and path.exists():
        raise CheckpointError(
            f"model {name!r} is a file; give the folder with config.json and model.safetensors"
        )
    if not name or name[0] in ".~" or path.is_absolute():
        raise CheckpointError(f"model {name!r}: no such folder; give a folder or a hub name (owner/name)")
    return _hub_folder(name)


def model_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that make up the model, without whatever else lies there."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and any(path.match(pattern) for pattern in _HUB_FILES)
    )


def _hub_folder(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    repository, _, asked = name.partition("@")
    revision = asked or _CONVERTED.get(repository)
    trouble: Exception | None = None
    try:
        # Fails at once where the download would retry for half a minute, before it too turns to the cache.
        HfApi().model_info(repository, revision=revision, timeout=_HUB_TIMEOUT)
    except Exception as error:
        # Every exception, here and below: the hub's client passes on those of its HTTP and Xet libraries.
        trouble = error
    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=_HUB_FILES, local_files_only=trouble is not None
        )
    except Exception as error:
        what = f"{repository}{f' --revision {revision}' if revision else ''}"
        raise CheckpointError(
            f"model {name!r}: there is no such folder, and {_hub_trouble(trouble or error, what)}"
        ) from error
    return Path(folder)


def _hub_trouble(error: Exception, what: str) -> str:
    from huggingface_hub import errors

    by_hand = (
        f"download it on a machine with access (`hf download {what} --local-dir FOLDER`) and give that folder"
    )
    match error:
        case errors.HFValidationError():
            return "it is no name of the Hugging Face hub: write owner/name or owner/name@revision"
        case errors.GatedRepoError():
            return (
                "the hub gives it to approved accounts only: ask for access there, then run `hf auth login`"
            )
        case errors.RepositoryNotFoundError():
            return "the hub knows no such model, or hides it: check the spelling, or run `hf auth login`"
        case errors.RevisionNotFoundError():
            return "the hub has the model, but not that revision: check what stands after the @"
        case errors.OfflineModeIsEnabled():
            return (
                f"the local cache does not hold it while HF_HUB_OFFLINE is set: unset that once, or {by_hand}"
            )
        case _:
            return (
                f"the Hugging Face hub cannot be reached ({_short(error)}): check the network, or {by_hand}"
            )


def _check_type(folder: Path, name: str) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"model {name!r}: {str(folder)!r} holds no config.json, so it is no model folder"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"model {name!r}: {str(path)!r} cannot be read as JSON: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "clip":
        raise CheckpointError(
            f"model {name!r} is of type {kind!r}; only CLIP models (type 'clip') can be used"
        )


def _check_files(folder: Path, name: str) -> None:
    if not any((folder / file).is_file() for file in _WEIGHTS):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        raise CheckpointError(
            f"model {name!r}: {str(folder)!r} holds no model.safetensors"
            f"{f', only {pickles[0]!r}' if pickles else ''}. Pickled weights are not loaded, since they can "
            "run code. Where you trust them, convert them once: in Python, transformers.CLIPModel."
            f"from_pretrained({name!r}).save_pretrained('FOLDER'), put the tokenizer's and image processor's "
            "files beside them and give that folder. Or name a revision of the hub that has safetensors: "
            "owner/name@revision"
        )
    has = {file for file in _TOKENIZER_FILES if (folder / file).is_file()}
    # Checked here, because transformers makes up a tokenizer of two words where it finds none.
    if "tokenizer.json" not in has and has != {"vocab.json", "merges.txt"}:
        raise CheckpointError(
            f"model {name!r}: {str(folder)!r} holds no tokenizer; expected tokenizer.json, or vocab.json and "
            "merges.txt. Copy them from the checkpoint this one was made from"
        )


def _check_code(folder: Path, name: str) -> None:
    """No code of a repository is run; a model that asks for it would not be what its author meant.

    Nor is an adapter applied, which transformers does unasked: the weights would not be those of the file.
    """
    if (folder / _ADAPTER).exists():
        raise CheckpointError(
            f"model {name!r}: an adapter lies beside the weights ({str(folder / _ADAPTER)!r}), and none is "
            "applied here; merge the adapter into the weights first, in Python: PeftModel.merge_and_unload()"
        )
    for path in sorted(folder.glob("*.json")):
        if path.name in _CONFIGS and "auto_map" in path.read_text(encoding="utf-8", errors="replace"):
            raise CheckpointError(
                f"model {name!r}: {str(path)!r} names program code of its own (auto_map), which is never "
                "run; use a plain CLIP checkpoint"
            )


def _load_model(folder: Path, name: str) -> "CLIPModel":
    import torch
    from transformers import CLIPModel

    where = f"model {name!r}: the weights in {str(folder)!r}"
    try:
        with _quiet():
            loaded: Any = CLIPModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                attn_implementation="sdpa",  # a config.json can name another, even code of the hub
                output_loading_info=True,
            )
    except Exception as error:
        # Every exception: on damaged folders transformers, safetensors and torch raise a dozen types.
        raise CheckpointError(
            f"{where} are damaged or do not fit config.json ({_short(error)}). Copy or download it again"
        ) from error
    model: CLIPModel = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise CheckpointError(
            f"{where} lack {len(missing)} tensors, the first is {missing[0]!r}. Copy or download it again"
        )
    if bad := [key for key, value in model.named_parameters() if not torch.isfinite(value).all()]:
        raise CheckpointError(
            f"{where} hold values that are no numbers in {len(bad)} tensors, the first is {bad[0]!r}. "
            "The training that made them went wrong: use an earlier checkpoint"
        )
    model.train(False)
    return model


def _load_tokenizer(folder: Path, name: str, model: "CLIPModel") -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            end = tokenizer("a photo")["input_ids"][-1]
    except Exception as error:
        # Every exception: on a damaged file the tokenizers library raises a bare Exception.
        raise CheckpointError(f"model {name!r}: its tokenizer cannot be loaded ({_short(error)})") from error
    text: Any = model.config.text_config
    expected = text.vocab_size - 1 if text.eos_token_id == _LEGACY_EOS else text.eos_token_id
    if end != expected or len(tokenizer) > text.vocab_size:
        raise CheckpointError(
            f"model {name!r}: its tokenizer is another model's: it has {len(tokenizer)} tokens and ends a "
            f"text with number {end}; the model has {text.vocab_size} and looks for number {expected}"
        )
    return tokenizer


def _check_image_size(preprocessing: Preprocessing, model: "CLIPModel", name: str) -> None:
    vision: Any = model.config.vision_config
    height, width = preprocessing.output_size
    if (height, width) != (vision.image_size, vision.image_size):
        raise CheckpointError(
            f"model {name!r} takes pictures of {vision.image_size} x {vision.image_size}, but its image "
            f"processor makes {height} x {width}: one of the two is another model's"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar, and its warnings, whose causes are checked here and raise."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    hook = logging.set_tqdm_hook(lambda factory, args, kwargs: factory(*args, **{**kwargs, "disable": True}))
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)


def _short(error: Exception) -> str:
    """One line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
