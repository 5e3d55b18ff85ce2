"""Bytes of a photo to an upright RGB picture.

JPEG (with MPO, the several pictures in one file of some phones, which the same plugin opens), PNG, WEBP,
AVIF, GIF, BMP and TIFF are what shops and studios deliver. JPEG 2000 is left out: hardly a catalogue holds
any, and its decoder is slow and has a long record of memory faults. The list is closed because Pillow knows
thirty formats more, of which EPS starts another program.

Colour profiles are not applied: transformers' processor, which the checkpoints were made with, applies none.
"""

from io import BytesIO
from typing import Literal, get_args

import numpy as np
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
    "too_large",  # more than MAX_BYTES
    "too_many_pixels",  # more than MAX_PIXELS, by the header
    "not_an_image",  # none of FORMATS
    "truncated",  # the data ends early
    "broken",  # one of FORMATS, but damaged
    "unsupported",  # one of FORMATS, in a variant that cannot be made RGB
    "out_of_memory",  # this machine's fault, not the picture's
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
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation to what makes the picture upright


def decode_image(data: bytes) -> Image.Image:
    """Decode one photo to mode RGB, turned upright by its EXIF orientation, transparency laid on white.

    Of an animation the first frame is taken. Byte and pixel limits are checked before anything is decoded.
    The result carries no metadata. May be called from several threads.

    Raises ImageError, whose reason is one of REASONS, for every input that gives no picture.
    """
    if not data:
        raise ImageError("empty", "the file holds no bytes")
    if len(data) > MAX_BYTES:
        raise ImageError("too_large", f"{len(data)} bytes, more than the limit of {MAX_BYTES}")
    try:
        return _decode(data)
    except ImageError:
        raise
    except Exception as error:
        # Every exception: on damaged files Pillow's plugins have been seen to raise OSError, ValueError,
        # SyntaxError, IndexError, TypeError, RuntimeError, NotImplementedError, struct.error and more, and
        # one bad photo must never end a night's run.
        raise ImageError(_reason(error, data), _detail(error, data)) from error


def _decode(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data), formats=FORMATS) as stored:
        width, height = stored.size
        if width * height > MAX_PIXELS:
            raise ImageError("too_many_pixels", f"{width} x {height}, more than {MAX_PIXELS} pixels in all")
        stored.load()
        picture = _to_rgb(stored)
        turn = _TURNS.get(_orientation(stored))
        if turn is not None:
            picture = picture.transpose(turn)
        picture.info = {}  # else the EXIF orientation stays, and whoever applies it turns the picture again
        return picture


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Damaged metadata raises as many types as damaged pixels do. The pixels are good and stay as stored.
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _grey_of_16_bits(image)
    elif image.mode in ("I", "F"):
        image = _grey_of_32_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    if image.mode not in _MODES_THAT_CONVERT:
        raise ImageError("unsupported", f"pixels of mode {image.mode!r}; store the picture as RGB or grey")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255 (Pillow's own conversion clips at 255 and gives a white picture)."""
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")  # of a PNG: the one value that is clear
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _grey_of_32_bits(image: Image.Image) -> Image.Image:
    """Scale to 0..255. No such file says what is white: the first of 1, 255, 65535 that nothing exceeds."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    brightest = float(values.max())
    white = next((usual for usual in (1.0, 255.0, 65535.0) if brightest <= usual), brightest)
    return Image.fromarray((np.clip(values / white, 0.0, 1.0) * 255).round().astype(np.uint8))


def _reason(error: Exception, data: bytes) -> Reason:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "too_many_pixels"
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, NotImplementedError):
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
