"""An upright RGB picture to the pixels that a checkpoint expects: those of Hugging Face's CLIP processor.

They stay bytes until they reach the image tower, which is where they are scaled and normalised.

The settings come from the checkpoint's own preprocessor_config.json or processor_config.json. Settings that
cannot be followed to the pixel are refused: a model fed with slightly other pixels gives slightly other
labels, and nobody notices.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_clip.decode import Limits, Picture, decode_picture
from fashion_clip.errors import CheckpointError

# How photos become pixels: `scaled` as Preprocessing has it, or `exact`, to the bit as transformers does.
Decode = Literal["scaled", "exact"]

# transformers' defaults for what a file leaves out (old ones have neither do_rescale nor rescale_factor).
_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": Image.Resampling.BICUBIC,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_PROCESSORS = (
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",  # the name before transformers 4.26
)
# Fields of newer processors that change pixels, with the values that do not.
_REFUSED_UNLESS: dict[str, tuple[object, ...]] = {
    "do_pad": (None, False),
    "reducing_gap": (None,),
    "use_square_size": (None, False),
    "default_to_square": (None, False),
}
# Above this, resizing before cropping costs gigabytes, as with a strip of 1 x 1,000,000 pixels. No photo is
# near it: at 224 pixels it takes sides of 1 : 1,276.
_MAX_RESIZED_PIXELS = 64_000_000
# How much larger than needed a JPEG is at least decoded, so that most of the scaling is done as transformers
# does it: with 1 the least cosine to an exact embedding was 0.987 and with 1.5 it was 0.9993.
_SCALED_MARGIN = 1.5


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, scale and normalise; a step whose field is None is left out.

    `resize` is the new shortest edge (an int, aspect ratio kept) or (height, width); `resample` is one of
    PIL.Image.Resampling; `crop` is (height, width); `rescale` multiplies values of 0..255.

    Where it is `scaled`, a JPEG may be decoded at a half, a quarter or an eighth of its size if that is large
    enough, and of what is resized only the part within the crop is made: nearly the same pixels, several
    times as quick.
    """

    resize: int | tuple[int, int] | None
    resample: int
    crop: tuple[int, int] | None
    rescale: float | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    scaled: bool = False

    @property
    def needed_edge(self) -> int | None:
        """The least edge in pixels that a photo may be decoded to; None if it must be decoded whole."""
        if not self.scaled or self.resize is None:
            return None
        edge = max(self.resize) if isinstance(self.resize, tuple) else self.resize
        return math.ceil(_SCALED_MARGIN * edge)

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of every result."""
        if self.crop is not None:
            return self.crop
        if isinstance(self.resize, tuple):
            return self.resize
        raise CheckpointError("they neither crop nor resize to a fixed height and width")

    def as_dict(self) -> dict[str, object]:
        """The settings of the checkpoint as JSON types, to be hashed into the encoder's identity."""
        return {name: value for name, value in asdict(self).items() if name != "scaled"}

    def pixels(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """Resize and crop a picture: uint8 (height, width, 3); `levels` gives them meaning."""
        values = np.asarray(picture.image if self.resize is None else self._resized(picture, self.resize))
        return values if self.crop is None else _center_crop(values, self.crop)

    def _resized(self, picture: Picture, target: int | tuple[int, int]) -> Image.Image:
        resample = Image.Resampling(self.resample)
        height, width = target if isinstance(target, tuple) else _keep_aspect(picture.size, target)
        if self.crop is not None and (self.scaled or height * width > _MAX_RESIZED_PIXELS):
            return _resize_centre(picture, (height, width), resample, self.crop)
        return picture.image.resize((width, height), resample, picture.box)

    def levels(self) -> npt.NDArray[np.float32]:
        """What the 256 levels of each channel become: float32 (3, 256), by transformers' order and types."""
        levels = np.arange(256, dtype=np.float32)
        if self.rescale is not None:
            levels = (np.arange(256, dtype=np.float64) * self.rescale).astype(np.float32)
        table = np.tile(levels, (3, 1))
        if self.mean is not None and self.std is not None:
            mean, std = np.array([self.mean, self.std], dtype=np.float32)
            table = (table - mean[:, None]) / std[:, None]
        return table


def photo_pixels(data: bytes, preprocessing: Preprocessing, limits: Limits) -> npt.NDArray[np.uint8]:
    """The bytes of a photo to what the image tower takes: uint8 (height, width, 3).

    Raises ImageError as decode_image does.
    """
    picture = decode_picture(data, limits, preprocessing.needed_edge)
    return np.ascontiguousarray(preprocessing.pixels(picture))


def load_preprocessing(folder: Path) -> Preprocessing:
    """Read a checkpoint folder's image processor; CheckpointError where it is missing or not supported."""
    return parse_preprocessing(_read_config(folder), repr(str(folder)))


def parse_preprocessing(config: Mapping[str, Any], where: str) -> Preprocessing:
    """Take the settings from a parsed preprocessor_config.json; `where` names it in a CheckpointError."""
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or _PROCESSORS[0]
    if kind not in _PROCESSORS:
        raise CheckpointError(f"{where}: the image processor is {kind!r}; only CLIP's own is supported")
    for field, harmless in _REFUSED_UNLESS.items():
        if config.get(field) not in harmless:
            raise CheckpointError(
                f"{where}: the image processor's {field} = {config[field]!r} is not supported"
            )
    given = _DEFAULTS | {key: value for key, value in config.items() if value is not None}
    try:
        preprocessing = Preprocessing(
            resize=_resize_target(given["size"]) if given["do_resize"] else None,
            resample=int(Image.Resampling(given["resample"])),
            crop=_height_width(given["crop_size"]) if given["do_center_crop"] else None,
            rescale=float(given["rescale_factor"]) if given["do_rescale"] else None,
            mean=_three(given["image_mean"]) if given["do_normalize"] else None,
            std=_three(given["image_std"]) if given["do_normalize"] else None,
        )
        _ = preprocessing.output_size
    except (ValueError, TypeError, KeyError, CheckpointError) as error:
        raise CheckpointError(f"{where}: the image processor's settings cannot be used: {error}") from error
    return preprocessing


def _read_config(folder: Path) -> Mapping[str, Any]:
    """The image processor's fields, from where transformers looks for them, in its order."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{str(path)!r} cannot be read as JSON: {error}") from error
        if name == "processor_config.json":
            document = document.get("image_processor") if isinstance(document, dict) else document
            if document is None:  # an old processor_config.json speaks of other things
                continue
        if not isinstance(document, dict):
            raise CheckpointError(f"{str(path)!r} must hold a JSON object, not {type(document).__name__}")
        return document
    raise CheckpointError(
        f"{str(folder)!r} holds no image processor; expected preprocessor_config.json or "
        "processor_config.json. Copy it from the checkpoint this one was made from"
    )


def _resize_target(size: object) -> int | tuple[int, int]:
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return _positive(size["shortest_edge"])
    if isinstance(size, Mapping | list):
        return _height_width(size)
    return _positive(size)


def _height_width(size: object) -> tuple[int, int]:
    if isinstance(size, Mapping):
        if set(size) != {"height", "width"}:
            raise ValueError(f"size {dict(size)!r} must have height and width, or shortest_edge alone")
        return _positive(size["height"]), _positive(size["width"])
    height, width = size if isinstance(size, list) else (size, size)
    return _positive(height), _positive(width)


def _positive(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"size {value!r} must be a whole number of pixels, or height and width")
    return value


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _keep_aspect(size: tuple[int, int], shortest_edge: int) -> tuple[int, int]:
    """(height, width) with the short edge as asked and the long edge rounded down, as transformers has it."""
    width, height = size
    longest_edge = int(shortest_edge * max(size) / min(size))
    return (longest_edge, shortest_edge) if width <= height else (shortest_edge, longest_edge)


def _resize_centre(
    picture: Picture, resized: tuple[int, int], resample: Image.Resampling, crop: tuple[int, int]
) -> Image.Image:
    """The centre of the resized picture without the rest.

    Nearly the same pixels: Pillow may resize the two directions in the other order and round between them.
    """
    height, width = min(resized[0], crop[0]), min(resized[1], crop[1])
    top, left = (resized[0] - height) // 2, (resized[1] - width) // 2
    first_x, first_y, last_x, last_y = picture.box
    scale_y, scale_x = (last_y - first_y) / resized[0], (last_x - first_x) / resized[1]
    box = (
        first_x + left * scale_x,
        first_y + top * scale_y,
        first_x + (left + width) * scale_x,
        first_y + (top + height) * scale_y,
    )
    return picture.image.resize((width, height), resample, box)


def _center_crop(values: npt.NDArray[np.uint8], crop: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Cut (height, width, 3) to the crop, or pad with zeros where it is smaller.

    Offsets round as in transformers: of an odd surplus the extra row is cut off the end, of an odd lack the
    extra row is put in front.
    """
    top, rows = _span(values.shape[0], crop[0])
    left, columns = _span(values.shape[1], crop[1])
    values = values[rows, columns]
    if values.shape[:2] == crop:
        return values
    padded = np.zeros((*crop, 3), dtype=np.uint8)
    padded[top : top + values.shape[0], left : left + values.shape[1]] = values
    return padded


def _span(has: int, wanted: int) -> tuple[int, slice]:
    """Where the kept part of one axis begins in the result, and which part of the source is kept."""
    if has >= wanted:
        first = (has - wanted) // 2
        return 0, slice(first, first + wanted)
    return math.ceil((wanted - has) / 2), slice(None)
