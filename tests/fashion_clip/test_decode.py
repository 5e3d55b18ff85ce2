"""Every format, mode and orientation becomes the same upright RGB picture; everything else one ImageError."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fashion_clip import decode
from fashion_clip.decode import MAX_PIXELS, REASONS, Limits, decode_image, decode_picture
from fashion_clip.errors import ImageError

USUAL = Limits()
WHITE, RED, GREEN, BLUE = (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def smooth_picture(width: int = 48, height: int = 32) -> Image.Image:
    """Different at every corner, and smooth, so that lossy formats keep it nearly."""
    x = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, 0)
    y = np.linspace(255, 40, height, dtype=np.uint8)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 255 - x // 2], axis=2))


def values(image: Image.Image) -> npt.NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)


def reason_of(data: bytes, limits: Limits = USUAL) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, limits)
    assert caught.value.reason in REASONS
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 400
    return caught.value.reason


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "JPEG", "AVIF", "MPO"])
def test_formats_give_the_picture(format: str) -> None:
    picture = smooth_picture()
    options = {"lossless": True} if format == "WEBP" else {"quality": 95}
    decoded = decode_image(encoded(picture, format, **options))
    assert decoded.mode == "RGB"
    assert decoded.size == picture.size
    assert np.abs(values(decoded) - values(picture)).max() <= (
        0 if format in ("PNG", "BMP", "TIFF", "WEBP") else 12
    )


def test_gif_and_other_formats() -> None:
    red = Image.new("RGB", (5, 4), RED)
    assert decode_image(encoded(red, "GIF")).getpixel((4, 3)) == RED
    for format in ("PPM", "TGA", "ICO", "JPEG2000"):
        assert reason_of(encoded(red, format)) == "not_an_image"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format: str, orientation: int) -> None:
    stored = smooth_picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95}
    data = encoded(stored, format, exif=exif, **options)
    expected = {
        1: stored,
        2: ImageOps.mirror(stored),
        3: stored.rotate(180),
        4: ImageOps.flip(stored),
        5: ImageOps.mirror(stored).rotate(90, expand=True),
        6: stored.rotate(-90, expand=True),
        7: ImageOps.mirror(stored).rotate(-90, expand=True),
        8: stored.rotate(90, expand=True),
    }[orientation]
    decoded = decode_image(data)
    assert decoded.size == expected.size
    assert np.abs(values(decoded) - values(expected)).max() <= 12
    again = ImageOps.exif_transpose(decoded)
    assert again.tobytes() == decoded.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("damage", [b"no TIFF header", b"II*\x00\xff\xff\xff\x7f", b"MM\x00*"])
def test_damaged_exif_leaves_the_picture_as_stored(damage: bytes) -> None:
    picture = smooth_picture()
    data = encoded(picture, "JPEG", quality=95, exif=b"Exif\x00\x00" + damage)
    assert np.abs(values(decode_image(data)) - values(picture)).max() <= 12


def test_an_orientation_that_is_no_number() -> None:
    tag = struct.pack("<HHI4s", 0x0112, 2, 4, b"six\x00")
    tiff = b"II*\x00" + struct.pack("<IH", 8, 1) + tag + struct.pack("<I", 0)
    data = encoded(smooth_picture(), "JPEG", exif=b"Exif\x00\x00" + tiff)
    assert decode_image(data).size == smooth_picture().size


def transparent_samples() -> dict[str, Image.Image]:
    rgba = Image.new("RGBA", (3, 1), (*RED, 255))
    rgba.putpixel((1, 0), (*BLUE, 0))
    rgba.putpixel((2, 0), (*BLUE, 128))
    palette = Image.new("P", (3, 1))
    palette.putpalette([*RED, *BLUE, *BLUE])
    palette.putdata([0, 1, 2])
    return {"RGBA": rgba, "P": palette}


def test_transparency_lies_on_white() -> None:
    samples = transparent_samples()
    half = (127, 127, 255)
    for data in (encoded(samples["RGBA"]), encoded(samples["P"], transparency=bytes([255, 0, 128]))):
        decoded = decode_image(data)
        assert [decoded.getpixel((x, 0)) for x in range(3)] == [RED, WHITE, half]
    one_clear = decode_image(encoded(samples["P"], "GIF", transparency=1))
    assert [one_clear.getpixel((x, 0)) for x in range(3)] == [RED, WHITE, BLUE]


def test_transparency_of_grey_and_of_one_colour() -> None:
    grey = Image.new("LA", (2, 1), (10, 255))
    grey.putpixel((1, 0), (10, 0))
    decoded = decode_image(encoded(grey))
    assert [decoded.getpixel((x, 0)) for x in range(2)] == [(10, 10, 10), WHITE]
    colour = Image.new("RGB", (2, 1), RED)
    colour.putpixel((1, 0), GREEN)
    decoded = decode_image(encoded(colour, transparency=GREEN))
    assert [decoded.getpixel((x, 0)) for x in range(2)] == [RED, WHITE]
    bits = Image.new("1", (2, 1), 0)
    bits.putpixel((1, 0), 1)
    assert decode_image(encoded(bits, transparency=0)).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(("bits", "row"), [(2, b"\x1b"), (4, b"\x05\xaf")])  # levels 0, 1/3, 2/3, 1 of each
def test_the_clear_level_of_few_bits(bits: int, row: bytes) -> None:
    third = (2**bits - 1) // 3
    for clear, expected in ((third, [0, 255, 170, 255]), (0, [255, 85, 170, 255])):
        chunks = [(b"tRNS", struct.pack(">H", clear))]
        decoded = decode_image(png(4, 1, bits=bits, colour=0, chunks=chunks, rows=b"\x00" + row))
        assert values(decoded)[0, :, 1].tolist() == expected


def test_colours_of_sixteen_bits_and_the_clear_one() -> None:
    pixels = np.array([[0x1234, 0x5678, 0x9ABC], [0xFFFF, 0xFFFF, 0], [0x12FF, 0, 0]], dtype=">u2")
    chunks = [(b"tRNS", pixels[0].tobytes())]
    rows = b"\x00" + pixels.tobytes()
    decoded = decode_image(png(3, 1, bits=16, colour=2, rows=rows))
    assert [decoded.getpixel((x, 0)) for x in range(3)] == [(0x12, 0x56, 0x9A), (255, 255, 0), (0x12, 0, 0)]
    clear = decode_image(png(3, 1, bits=16, colour=2, chunks=chunks, rows=rows))
    assert [clear.getpixel((x, 0)) for x in range(3)] == [WHITE, (255, 255, 0), (0x12, 0, 0)]


@pytest.mark.parametrize("colour", [4, 6])  # grey or RGB, with alpha
def test_sixteen_bits_with_alpha(colour: int) -> None:
    channels = 1 if colour == 4 else 3
    pixels = np.array([[*[0x4000] * channels, 0x8080], [*[0x4000] * channels, 0]], dtype=">u2")
    decoded = decode_image(png(2, 1, bits=16, colour=colour, rows=b"\x00" + pixels.tobytes()))
    assert [decoded.getpixel((x, 0)) for x in range(2)] == [(159, 159, 159), WHITE]


def test_alpha_that_the_colour_is_multiplied_with() -> None:
    straight = encoded(Image.new("LA", (2, 2), (100, 128)), "TIFF")
    extra_samples = struct.pack("<HHIH", 338, 3, 1, 2)
    assert straight.count(extra_samples) == 1
    data = straight.replace(extra_samples, struct.pack("<HHIH", 338, 3, 1, 1))
    assert Image.open(BytesIO(data)).mode == "La"
    assert decode_image(data).getpixel((0, 0)) == (227, 227, 227)  # 100 are there, and 127 of white


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        decoded = decode_image(encoded(Image.fromarray(levels), format))
        assert values(decoded)[0, :, 0].tolist() == [0, 1, 128, 255]
    clear = decode_image(png_of_16_bits(levels, transparent=32896))
    assert values(clear)[0, :, 1].tolist() == [0, 1, 255, 255]


def png_of_16_bits(levels: npt.NDArray[np.uint16], transparent: int) -> bytes:
    height, width = levels.shape
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in levels)
    return png(
        width, height, bits=16, colour=0, chunks=[(b"tRNS", struct.pack(">H", transparent))], rows=rows
    )


def png(
    width: int,
    height: int,
    bits: int = 8,
    colour: int = 2,
    chunks: list[tuple[bytes, bytes]] | None = None,
    rows: bytes = b"",
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *(chunks or []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 127.4, 255.0]], dtype=np.float32), [0, 127, 255]),
        (np.array([[0, 32768, 65535]], dtype=np.int32), [0, 128, 255]),
        (np.array([[-5, 100_000, 200_000]], dtype=np.int32), [0, 128, 255]),
        (np.array([[0.0, np.nan, 0.0]], dtype=np.float32), [0, 0, 0]),
        (np.array([[-np.inf, 127.5, 255.0, np.inf]], dtype=np.float32), [0, 128, 255, 255]),
    ],
)
def test_thirty_two_bits_are_scaled_by_their_range(stored: npt.NDArray[Any], expected: list[int]) -> None:
    decoded = decode_image(encoded(Image.fromarray(stored), "TIFF"))
    assert values(decoded)[0, :, 2].tolist() == expected


def test_cmyk_and_other_modes_keep_their_colours() -> None:
    for mode, format in (("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")):
        decoded = decode_image(encoded(Image.new("RGB", (16, 16), RED).convert(mode), format))
        assert np.abs(values(decoded)[8, 8] - np.array(RED)).max() <= 4
    assert decode_image(encoded(Image.new("L", (3, 3), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert decode_image(encoded(Image.new("1", (3, 3), 1))).getpixel((0, 0)) == WHITE
    assert reason_of(encoded(Image.new("LAB", (3, 3)), "TIFF")) == "unsupported"


def test_sixteen_bits_of_either_byte_order() -> None:
    stored = Image.new("I;16B", (2, 2), 0x8000)
    assert decode_image(encoded(stored, "TIFF")).getpixel((1, 1)) == (128, 128, 128)


def ycck_jpeg(red: int, green: int, blue: int, key: int) -> bytes:
    """A JPEG as Photoshop writes CMYK: all inverted, and the three colours stored as YCbCr."""
    luma = Image.new("RGB", (16, 16), (red, green, blue)).convert("YCbCr").split()
    stored = [*(band.point(lambda value: 255 - value) for band in luma), Image.new("L", (16, 16), key)]
    data = encoded(Image.merge("CMYK", stored), "JPEG", quality=95)
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def test_cmyk_as_photoshop_stores_it() -> None:
    ink = {"red": 0, "green": 155, "blue": 205, "key": 55}
    expected = np.array([(255 - ink[name]) * (255 - ink["key"]) / 255 for name in ("red", "green", "blue")])
    plain = encoded(Image.new("CMYK", (16, 16), tuple(ink.values())), "JPEG", quality=95)
    for data in (plain, ycck_jpeg(**ink)):
        assert Image.open(BytesIO(data)).mode == "CMYK"
        assert np.abs(values(decode_image(data))[8, 8] - expected).max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "I", "F"])
def test_strips_make_no_seams(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = smooth_picture(23, 41)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    elif mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    data = encoded(picture, "TIFF" if mode in ("I", "F") else "PNG", **options)
    whole = decode_image(data).tobytes()
    monkeypatch.setattr(decode, "_STRIP_PIXELS", 23 * 7)
    assert decode_image(data).tobytes() == whole
    monkeypatch.setattr(decode, "_STRIP_PIXELS", 1)
    assert decode_image(data).tobytes() == whole


def test_what_is_white_may_stand_in_any_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(np.array([[0.5], [1.0], [255.0], [51.0]], dtype=np.float32)), "TIFF")
    monkeypatch.setattr(decode, "_STRIP_PIXELS", 1)
    assert values(decode_image(data))[:, 0, 0].tolist() == [0, 1, 255, 51]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    if format == "WEBP":
        options["lossless"] = True
    assert decode_image(encoded(frames[0], format, **options)).getpixel((3, 3)) == RED


def test_nothing_and_things_that_are_no_picture() -> None:
    assert reason_of(b"") == "empty"
    assert reason_of(b"hello, this is text\n" * 10) == "not_an_image"
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"
    assert reason_of(b"\x00") == "not_an_image"


def test_the_detail_does_not_vary_from_run_to_run() -> None:
    details = set()
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            decode_image(b"\x1b[31m\nno picture")
        details.add(caught.value.detail)
    assert len(details) == 1
    assert "\\x1b" in details.pop()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_truncated_file(format: str) -> None:
    data = encoded(smooth_picture(200, 200), format)
    assert reason_of(data[: len(data) * 2 // 3]) == "truncated"
    assert reason_of(data[:20]) in ("broken", "truncated")


def test_a_variant_that_nobody_reads() -> None:
    data = bytearray(encoded(smooth_picture(), "BMP"))
    data[28] = 3  # bits a pixel
    assert reason_of(bytes(data)) == "unsupported"


def test_a_damaged_file() -> None:
    data = bytearray(encoded(smooth_picture()))
    data[20] ^= 0xFF  # the width; the header's checksum no longer fits
    assert reason_of(bytes(data)) == "broken"


def test_too_many_bytes() -> None:
    data = encoded(smooth_picture())
    decode_image(data, Limits(max_bytes=len(data)))
    assert reason_of(data, Limits(max_bytes=len(data) - 1)) == "too_large"


@pytest.mark.parametrize("side", [9460, 13_380, 40_000])  # Pillow warns of the first and refuses the others
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_by_the_header(side: int) -> None:
    assert side * side > MAX_PIXELS
    assert (
        reason_of(png(side, side)) == "too_many_pixels"
    )  # the pixels are missing: decoding would say truncated
    assert reason_of(png(9_000, 9_000)) == "truncated"


def test_as_many_pixels_as_allowed() -> None:
    data = encoded(smooth_picture(40, 30))
    assert decode_image(data, Limits(max_pixels=40 * 30)).size == (40, 30)
    assert reason_of(data, Limits(max_pixels=40 * 30 - 1)) == "too_many_pixels"


def test_threads_decode_alike() -> None:
    files = [
        encoded(smooth_picture(60 + n, 50), format) for n in range(8) for format in ("JPEG", "PNG", "WEBP")
    ]
    expected = [decode_image(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert [image.tobytes() for image in pool.map(decode_image, files)] == expected


SEEDS = [encoded(smooth_picture(16, 12), name) for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")]


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata in some of these
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damage_anywhere_gives_a_picture_or_an_image_error(seed: bytes, data: st.DataObject) -> None:
    damaged = bytearray(seed[: data.draw(st.integers(1, len(seed)))])
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(damaged)).mode == "RGB"
    except ImageError as error:
        assert error.reason in REASONS


def test_the_demo_photos_decode() -> None:
    from fashion_clip.demo import PHOTOS_DIR

    photos: list[Path] = sorted(PHOTOS_DIR.iterdir())[:20]
    assert photos
    assert {decode_image(photo.read_bytes()).mode for photo in photos} == {"RGB"}


# At a part of its size --------------------------------------------------------------------------------------


def test_a_jpeg_comes_as_small_as_is_enough() -> None:
    data = encoded(Image.new("RGB", (801, 1067)), "JPEG")
    for edge, size in ((None, (801, 1067)), (401, (801, 1067)), (400, (401, 534)), (100, (101, 134))):
        picture = decode_picture(data, Limits(), edge)
        assert picture.image.size == size
        assert picture.size == (801, 1067)
    assert picture.box == (0, 0, 801 / 8, 1067 / 8)


@pytest.mark.parametrize(
    ("orientation", "size", "box"),
    [
        (1, (9, 17), (0, 0, 8.25, 16.5)),
        (2, (9, 17), (0.75, 0, 9, 16.5)),
        (3, (9, 17), (0.75, 0.5, 9, 17)),
        (4, (9, 17), (0, 0.5, 8.25, 17)),
        (5, (17, 9), (0, 0, 16.5, 8.25)),
        (6, (17, 9), (0.5, 0, 17, 8.25)),
        (7, (17, 9), (0.5, 0.75, 17, 9)),
        (8, (17, 9), (0, 0.75, 16.5, 9)),
    ],
)
def test_the_part_that_it_fills_turns_with_the_picture(
    orientation: int, size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (33, 66)), "JPEG", exif=exif)
    picture = decode_picture(data, Limits(), 8)
    assert picture.image.size == size
    assert picture.box == box
    assert picture.size == ((33, 66) if orientation < 5 else (66, 33))


def test_other_formats_come_whole() -> None:
    for format_ in ("PNG", "WEBP", "GIF", "TIFF", "BMP"):
        picture = decode_picture(encoded(Image.new("RGB", (80, 60)), format_), Limits(), 8)
        assert (picture.image.size, picture.box) == ((80, 60), (0, 0, 80, 60))


def test_the_limit_is_of_the_whole_picture() -> None:
    data = encoded(Image.new("RGB", (80, 60)), "JPEG")
    with pytest.raises(ImageError, match="too_many_pixels"):
        decode_picture(data, Limits(max_pixels=80 * 60 - 1), 8)
