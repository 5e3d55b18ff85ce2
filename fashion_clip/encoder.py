"""A CLIP model as two functions: pictures and texts to unit vectors in one space."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer

from fashion_clip.checkpoint import Checkpoint, load_checkpoint
from fashion_clip.decode import Picture
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import ImageTower, Precision, Runtime, best_precision, open_tower

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

TEXT_BATCH = 32
# Counted up with any change that gives other embeddings for the same weights, so that stored ones are remade;
# by a catalogue where a library or the hardware has changed them.
GENERATION = 1

# What changes the function of a tower without showing in its tensors.
_IMAGE_SETTINGS = ("hidden_act", "layer_norm_eps", "num_attention_heads", "patch_size", "image_size")
_TEXT_SETTINGS = ("hidden_act", "layer_norm_eps", "num_attention_heads", "eos_token_id")
_SHOWN = 80  # characters of a text that a warning repeats

Item = TypeVar("Item")


class ClipEncoder:
    """A loaded model. Its methods may be called from several threads at once.

    name: as it was given, a folder or a hub name. folder: where the checkpoint lies.
    identity: sha256 (64 hex digits) of all that decides an image's embedding; the same for every copy of the
        weights, whatever its folder, the precision it is stored in, and the runtime and device it runs on.
    text_identity: the same for text: its tower, the logit scale and the tokenizer.
    precision, decode, generation: what the image tower multiplies in, how photos become pixels, and how often
        embeddings were made anew although the weights are the same; in the identity.
    dimension: the length of an embedding.
    context_length: how many tokens of a text are read, begin and end marks included.
    logit_scale: what a cosine is multiplied by before the softmax (the inverse temperature, commonly 100).
    device: cpu, mps, cuda or cuda:N.
    preprocessing: what makes the pixels for encode_pixels.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        runtime: Runtime,
        precision: Precision,
        decode: Decode,
        generation: int = GENERATION,
    ):
        model: Any = checkpoint.model
        self.name, self.folder = checkpoint.name, checkpoint.folder
        self.preprocessing = replace(checkpoint.preprocessing, scaled=decode == "scaled")
        self.precision, self.decode, self.generation = precision, decode, generation
        self._tokenizer = _plain_tokenizer(checkpoint.tokenizer)
        self.identity = _image_identity(checkpoint, precision, decode, generation)
        self.text_identity = _text_identity(checkpoint, self._tokenizer)
        self.dimension: int = model.visual_projection.out_features
        self.context_length: int = model.config.text_config.max_position_embeddings
        self.logit_scale = float(model.logit_scale.detach().exp())
        self.device = device
        self._tower: ImageTower = open_tower(checkpoint, self.identity, runtime, precision, device)
        self._text_model = model.text_model.to(device)
        self._text_projection = model.text_projection.to(device)

    @property
    def batch_size(self) -> int:
        """How many pictures at once keep the image tower busy."""
        return self._tower.batch_size

    def encode_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Embed upright RGB pictures, as decode_image gives them: float32 (n, dimension), unit rows."""
        parts = [
            self.encode_pixels(np.stack([self.preprocessing.pixels(Picture.whole(image)) for image in batch]))
            for batch in _batches(images, self.batch_size)
        ]
        return self._join(parts)

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed pixels of `preprocessing`, uint8 (n, height, width, 3): float32 (n, dimension), unit rows."""
        return self._join([self._tower.encode(pixels)] if len(pixels) else [])

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts: float32 (n, dimension), unit rows.

        Of a text with more tokens than context_length the rest is cut off, which a logged warning says.
        """
        ids = [self._token_ids(text) for text in texts]
        parts = []
        with torch.inference_mode():
            for batch in _batches(ids, TEXT_BATCH):
                longest = max(len(row) for row in batch)
                # Padded with the end mark: the text tower reads its result at the first one.
                padded = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in batch])
                mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
                output = self._text_model(
                    input_ids=padded.to(self.device), attention_mask=mask.to(self.device)
                )
                parts.append(_unit_rows(self._text_projection(output.pooler_output)))
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


def load_encoder(
    name: str,
    device: str | None = None,
    runtime: Runtime = "auto",
    precision: Precision | Literal["auto"] = "auto",
    decode: Decode = "scaled",
    generation: int = GENERATION,
) -> ClipEncoder:
    """Load a folder or hub model onto the device asked for, else a GPU where there is one, else the CPU.

    precision: `auto` is bfloat16 where the hardware multiplies in it, else float32.

    Raises CheckpointError for a model, and UsageError for a device or runtime, that cannot be used.
    """
    chosen = _choose_device("cpu" if runtime == "openvino" and device is None else device)
    return ClipEncoder(
        load_checkpoint(name),
        chosen,
        runtime,
        best_precision(chosen) if precision == "auto" else precision,
        decode,
        generation,
    )


def automatic_precision(runtime: Runtime) -> Precision:
    """What precision `auto` of load_encoder is here."""
    return best_precision(_choose_device("cpu" if runtime == "openvino" else None))


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


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _unit_rows(features: torch.Tensor) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit


def _plain_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> Tokenizer:
    """An own copy that neither pads nor truncates: calls of transformers' change its state."""
    plain: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    return plain


def _image_identity(checkpoint: Checkpoint, precision: Precision, decode: Decode, generation: int) -> str:
    header = {
        "kind": "image",
        "generation": generation,
        "decode": decode,
        "precision": precision,
        "preprocessing": checkpoint.preprocessing.as_dict(),
        "settings": _settings(checkpoint.model.config.vision_config, _IMAGE_SETTINGS),
    }
    return _digest(header, checkpoint.model, ("vision_model.", "visual_projection."))


def _text_identity(checkpoint: Checkpoint, tokenizer: Tokenizer) -> str:
    header = {
        "kind": "text",
        "generation": GENERATION,
        "precision": "float32",
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
