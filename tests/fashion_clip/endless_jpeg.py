"""A picture that takes minutes to decode."""

from io import BytesIO

from PIL import Image


def endless_jpeg(scans: int = 30_000) -> bytes:
    """A megabyte of progressive JPEG that repeats its last scan; every scan is a walk over 16 megapixels."""
    out = BytesIO()
    Image.new("L", (4000, 4000), 128).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]
