"""Bytes of a photo to an upright RGB picture.

JPEG (with MPO, the several pictures in one file of some phones, which the same plugin opens), PNG, WEBP,
AVIF, GIF, BMP and TIFF are what shops and studios deliver. JPEG 2000 is left out: hardly a catalogue holds
any, and its decoder is slow and has a long record of memory faults. The list is closed because Pillow knows
thirty formats more, of which EPS starts another program.

Colour profiles are not applied: transformers' processor, which the checkpoints were made with, applies none.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import (  # the plugins are imported here so that threads do not do so at their first picture
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from fashion_clip.errors import ImageError

Reason = Literal[
    "empty",  # no bytes at all
    "too_large",  # more than Limits.max_bytes
    "too_many_pixels",  # more than Limits.max_pixels, by the header
    "not_an_image",  # none of FORMATS
    "truncated",  # the data ends early
    "broken",  # one of FORMATS, but damaged
    "unsupported",  # one of FORMATS, in a variant that cannot be made RGB
    "out_of_memory",  # more than this machine, or the process that decodes, may take
    # Only where another process decodes (decoders.py):
    "too_slow",  # not decoded in the time it was given
    "decoder_died",  # the process that decoded it ended
]
REASONS: tuple[Reason, ...] = get_args(Reason)

FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
)
MAX_BYTES = 64 * 1024 * 1024
# The number from which Pillow warns of a decompression bomb. Pillow takes 4 bytes for an RGB pixel: 360 MB.
MAX_PIXELS = 89_478_485

_MODES_THAT_CONVERT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_OUT_OF_MEMORY = re.compile("out of memory|decoder error -9", re.IGNORECASE)  # where it is no MemoryError
_STRIP_PIXELS = 1_000_000  # converted at once, so that a large picture is there twice and not five times
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation to what makes the picture upright
# What each does to a place (x, y): swaps the two, then mirrors the first, mirrors the second.
_MOVES = {
    Image.Transpose.FLIP_LEFT_RIGHT: (False, True, False),
    Image.Transpose.ROTATE_180: (False, True, True),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, False, True),
    Image.Transpose.TRANSPOSE: (True, False, False),
    Image.Transpose.ROTATE_270: (True, True, False),
    Image.Transpose.TRANSVERSE: (True, True, True),
    Image.Transpose.ROTATE_90: (True, False, True),
}


@dataclass(frozen=True)
class Limits:
    """What a photo may have: bytes as stored, and pixels (width x height) by its header.

    Pillow itself refuses more than 178,956,970 pixels, except in the processes of decoders.py.
    """

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Picture:
    """An upright RGB picture, perhaps decoded at a part of its size.

    size: (width, height) of the whole one. box: (left, top, right, bottom), in pixels of `image`, which it
    fills; a photo of 33 pixels at half its size is 17 wide, of which it fills 16.5.
    """

    image: Image.Image
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    @classmethod
    def whole(cls, image: Image.Image) -> "Picture":
        """A picture as it is."""
        return cls(image, image.size, (0, 0, *image.size))


def decode_image(data: bytes, limits: Limits = Limits()) -> Image.Image:
    """Decode one photo to mode RGB, turned upright by its EXIF orientation, transparency laid on white.

    Of an animation the first frame is taken. The limits are checked before anything is decoded. The result
    carries no metadata. May be called from several threads.

    Raises ImageError, whose reason is one of REASONS, for every input that gives no picture.
    """
    return decode_picture(data, limits, None).image


def decode_picture(data: bytes, limits: Limits, needed_edge: int | None) -> Picture:
    """As decode_image; with `needed_edge`, in pixels, a JPEG may come smaller.

    It comes at a half, a quarter or an eighth of its size if both edges stay that long, for which its decoder
    takes a third of the time.
    """
    check_bytes(data, limits)
    try:
        return _decode(data, limits, needed_edge)
    except ImageError:
        raise
    except Exception as error:
        # Every exception: on damaged files Pillow's plugins have been seen to raise OSError, ValueError,
        # SyntaxError, IndexError, TypeError, RuntimeError, NotImplementedError, struct.error and more, and
        # one bad photo must never end a night's run.
        raise ImageError(_reason(error, data), _detail(error, data)) from error


def check_bytes(data: bytes, limits: Limits) -> None:
    """Raise ImageError for a photo of no bytes, or of more than the limit."""
    if not data:
        raise ImageError("empty", "the file holds no bytes")
    if len(data) > limits.max_bytes:
        raise ImageError("too_large", f"{len(data)} bytes, more than the limit of {limits.max_bytes}")


def _decode(data: bytes, limits: Limits, needed_edge: int | None) -> Picture:
    stored = Image.open(BytesIO(data), formats=FORMATS)
    width, height = size = stored.size
    if width * height > limits.max_pixels:
        raise ImageError(
            "too_many_pixels", f"{width} x {height}, more than {limits.max_pixels} pixels in all"
        )
    _mend_transparency(stored, data)
    # Only JPEG's plugin follows; it says what of its result the picture fills.
    drafted = stored.draft(None, (needed_edge, needed_edge)) if needed_edge else None
    stored.load()
    turn = _TURNS.get(_orientation(stored))
    image = _to_rgb(stored)
    del stored  # its pixels need not be there while the picture is turned
    picture = Picture(image, size, drafted[1] if drafted else (0, 0, *size))
    if turn is not None:
        picture = _turned(picture, turn)
    picture.image.info = {}  # else the EXIF orientation stays, and whoever applies it turns it again
    return picture


def _turned(picture: Picture, turn: Image.Transpose) -> Picture:
    """As it is before it is turned, the picture fills its image from (0, 0) on."""
    swaps, mirrors_x, mirrors_y = _MOVES[turn]
    image = picture.image.transpose(turn)
    size, (right, bottom) = picture.size, picture.box[2:]
    if swaps:
        size, right, bottom = (size[1], size[0]), bottom, right
    left, right = (image.width - right, image.width) if mirrors_x else (0, right)
    top, bottom = (image.height - bottom, image.height) if mirrors_y else (0, bottom)
    return Picture(image, size, (left, top, right, bottom))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Damaged metadata raises as many types as damaged pixels do. The pixels are good and stay as stored.
        return 1


def _mend_transparency(image: Image.Image, data: bytes) -> None:
    """Bring a PNG's one clear colour to the 8 bits of the pixels; Pillow leaves it in the file's own depth.

    Of 16 bits a channel Pillow keeps the upper 8, so colours that differ in the lower 8 alone are clear too.
    """
    clear = image.info.get("transparency")
    if image.format != "PNG" or clear is None:
        return
    depth = data[24]  # of the first chunk, IHDR
    if image.mode == "L" and isinstance(clear, int) and depth in (2, 4):
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _in_strips(image, _grey_of_16_bits)
    if image.mode in ("I", "F"):
        white = _white_of(image)
        return _in_strips(image, lambda strip: _grey_of_32_bits(strip, white))
    if image.has_transparency_data:
        return _in_strips(image, _on_white)
    if image.mode not in _MODES_THAT_CONVERT:
        raise ImageError("unsupported", f"pixels of mode {image.mode!r}; store the picture as RGB or grey")
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    picture = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        picture.paste(convert(strip), (0, top))
    return picture


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(top, strip) from top to bottom, each as wide as the picture."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _on_white(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image  # Pillow takes La no further in one step
    rgba = straight.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255 (Pillow's own conversion clips at 255 and gives a white picture)."""
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    clear = image.info.get("transparency")  # of a PNG: the one value that is clear
    if clear is not None:
        grey[values == clear] = 255
    return Image.fromarray(grey)


def _white_of(image: Image.Image) -> float:
    """What is white in 32 bits; no such file says it: the first of 1, 255, 65535 that nothing exceeds."""
    strips = (_floats(strip) for _, strip in _strips(image))
    brightest = max(float(values.max(where=np.isfinite(values), initial=0.0)) for values in strips)
    return next((usual for usual in (1.0, 255.0, 65535.0) if brightest <= usual), brightest)


def _grey_of_32_bits(image: Image.Image, white: float) -> Image.Image:
    """Scale 0..white to 0..255; what is no number becomes black."""
    parts = np.clip(_floats(image) / white, 0.0, 1.0)
    return Image.fromarray((np.nan_to_num(parts) * 255).round().astype(np.uint8))


def _floats(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32)


def _reason(error: Exception, data: bytes) -> Reason:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "too_many_pixels"
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return "out_of_memory"
    if isinstance(error, NotImplementedError) or str(error).startswith("Unsupported"):
        return "unsupported"
    if isinstance(error, UnidentifiedImageError):
        return "broken" if _has_a_known_signature(data) else "not_an_image"
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "truncated"
    return "broken"


def _has_a_known_signature(data: bytes) -> bool:
    accepts = [Image.OPEN[name][1] for name in FORMATS]
    return any(accept is not None and accept(data[:16]) is True for accept in accepts)


def _detail(error: Exception, data: bytes) -> str:
    """One line that is safe to log: what a file holds may stand in Pillow's messages."""
    if isinstance(error, UnidentifiedImageError):  # Pillow's message names an address in memory
        return f"cannot be opened as {', '.join(FORMATS)}; begins with {data[:16]!r}"
    return f"{type(error).__name__}: {str(error)[:200]!r}"
