"""A CLIP model as two functions: pictures and texts to unit vectors in one space."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer

from fashion_clip.checkpoint import Checkpoint, load_checkpoint
from fashion_clip.errors import UsageError

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

BATCH_SIZE = 32  # larger batches are no faster
DECODE_MODE = "exact"  # whole pictures are decoded; no scaled-down JPEG decoding
PRECISION = "float32"
# Counted up with any change that gives other embeddings for the same weights, so that stored ones are remade.
GENERATION = 1

# What changes the function of a tower without showing in its tensors.
_IMAGE_SETTINGS = ("hidden_act", "layer_norm_eps", "num_attention_heads", "patch_size", "image_size")
_TEXT_SETTINGS = ("hidden_act", "layer_norm_eps", "num_attention_heads", "eos_token_id")
_SHOWN = 80  # characters of a text that a warning repeats

Item = TypeVar("Item")


class ClipEncoder:
    """A loaded model. Its methods may be called from several threads at once.

    name: as it was given, a folder or a hub name.
    identity: sha256 (64 hex digits) of all that decides an image's embedding; the same for every copy of the
        weights, whatever its folder, the precision it is stored in and the device it runs on.
    text_identity: the same for text: its tower, the logit scale and the tokenizer.
    dimension: the length of an embedding.
    context_length: how many tokens of a text are read, begin and end marks included.
    logit_scale: what a cosine is multiplied by before the softmax (the inverse temperature, commonly 100).
    device: cpu, mps, cuda or cuda:N.
    preprocessing: what makes the pixels for encode_pixels.
    """

    def __init__(self, checkpoint: Checkpoint, device: str):
        model: Any = checkpoint.model
        self.name = checkpoint.name
        self.preprocessing = checkpoint.preprocessing
        self._tokenizer = _plain_tokenizer(checkpoint.tokenizer)
        self.identity = _image_identity(checkpoint)
        self.text_identity = _text_identity(checkpoint, self._tokenizer)
        self.dimension: int = model.visual_projection.out_features
        self.context_length: int = model.config.text_config.max_position_embeddings
        self.logit_scale = float(model.logit_scale.detach().exp())
        self.device = device
        self._model: CLIPModel = model.to(device)

    def encode_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Embed upright RGB pictures, as decode_image gives them: float32 (n, dimension), unit rows."""
        parts = [
            self.encode_pixels(np.stack([self.preprocessing.pixels(image) for image in batch]))
            for batch in _batches(images)
        ]
        return self._join(parts)

    def encode_pixels(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed preprocessed pictures, float32 (n, 3, height, width): float32 (n, dimension), unit rows."""
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH_SIZE):
                batch = torch.tensor(pixels[start : start + BATCH_SIZE], device=self.device)
                parts.append(_unit_rows(self._model.get_image_features(pixel_values=batch).pooler_output))
        return self._join(parts)

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts: float32 (n, dimension), unit rows.

        Of a text with more tokens than context_length the rest is cut off, which a logged warning says.
        """
        ids = [self._token_ids(text) for text in texts]
        parts = []
        with torch.inference_mode():
            for batch in _batches(ids):
                longest = max(len(row) for row in batch)
                # Padded with the end mark: the text tower reads its result at the first one.
                padded = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in batch])
                mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
                output = self._model.get_text_features(
                    input_ids=padded.to(self.device), attention_mask=mask.to(self.device)
                )
                parts.append(_unit_rows(output.pooler_output))
        return self._join(parts)

    def _token_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        if len(ids) <= self.context_length:
            return ids
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        log.warning(
            "the text %r has %d tokens; the last %d are cut off, since %s reads %d",
            shown, len(ids), len(ids) - self.context_length, self.name, self.context_length,
        )  # fmt: skip
        return [*ids[: self.context_length - 1], ids[-1]]

    def _join(self, parts: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        return np.concatenate([np.empty((0, self.dimension), dtype=np.float32), *parts])


def load_encoder(name: str, device: str | None = None) -> ClipEncoder:
    """Load a folder or hub model onto the device asked for, else a GPU where there is one, else the CPU.

    Raises CheckpointError for a model, and UsageError for a device, that cannot be used.
    """
    chosen = _choose_device(device)
    return ClipEncoder(load_checkpoint(name), chosen)


def _choose_device(asked: str | None) -> str:
    if asked is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        if torch.device(asked).type not in ("cpu", "cuda", "mps"):
            raise UsageError(f"device {asked!r} is not supported; use cpu, cuda, cuda:N or mps")
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {asked!r} cannot be used ({reason}); use cpu or leave it out") from error
    return asked


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]


def _unit_rows(features: torch.Tensor) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit


def _plain_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> Tokenizer:
    """An own copy that neither pads nor truncates: calls of transformers' change its state."""
    plain: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    return plain


def _image_identity(checkpoint: Checkpoint) -> str:
    header = {
        "kind": "image",
        "generation": GENERATION,
        "decode": DECODE_MODE,
        "precision": PRECISION,
        "preprocessing": checkpoint.preprocessing.as_dict(),
        "settings": _settings(checkpoint.model.config.vision_config, _IMAGE_SETTINGS),
    }
    return _digest(header, checkpoint.model, ("vision_model.", "visual_projection."))


def _text_identity(checkpoint: Checkpoint, tokenizer: Tokenizer) -> str:
    header = {
        "kind": "text",
        "generation": GENERATION,
        "precision": PRECISION,
        "settings": _settings(checkpoint.model.config.text_config, _TEXT_SETTINGS),
        "tokenizer": tokenizer.to_str(),
    }
    return _digest(header, checkpoint.model, ("text_model.", "text_projection.", "logit_scale"))


def _settings(config: object, names: Sequence[str]) -> dict[str, object]:
    return {name: getattr(config, name) for name in names}


def _digest(header: Mapping[str, object], model: "CLIPModel", prefixes: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    for name, tensor in sorted(model.named_parameters(), key=lambda item: item[0]):
        if name.startswith(prefixes):
            digest.update(f"\n{name} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()
